"""What the settings mean for those who receive: who may come, how fast, over which certificate, onto how much room."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.study import Quiet
from dicom_node.dimse.scp import AllowedPeer, Pace, ScpSettings, TlsFiles
from dicom_node.dimse.tls import days_left
from dicom_node.intake.accept import IntakeSettings
from dicom_node.ledger.space import Watermarks

if TYPE_CHECKING:
    from dicom_node.settings import PeerSettings, Settings

log = structlog.get_logger(__name__)

_MIB = 1 << 20
_EXPIRES_SOON_DAYS = 30.0


def scp_settings(settings: Settings, listen_fd: int | None) -> ScpSettings:
    """Return who we are and whom we let in; listen_fd: a listening socket that was passed to this process."""
    node = settings.node
    return ScpSettings(
        ae_title=node.ae_title,
        host=node.host,
        port=node.port,
        peers=tuple(_allowed(peer) for peer in node.peers),
        max_associations=node.max_associations,
        pending_per_address=node.pending_per_address,
        request_timeout_s=node.request_timeout_s,
        pace=Pace(idle_s=node.network_timeout_s, pdu_s=node.pdu_timeout_s),
        tls=tls_files(settings),
        max_object_bytes=node.max_object_mib * _MIB,
        listen_fd=listen_fd,
    )


def intake_settings(settings: Settings, bundle_sha256: str) -> IntakeSettings:
    """Return what holds for each instance that is received."""
    return IntakeSettings(
        quiet=quiet_of(settings), bundle_sha256=bundle_sha256, reserve_bytes=settings.node.reserve_mib * _MIB
    )


def quiet_of(settings: Settings) -> Quiet:
    """Return when a study is closed."""
    return Quiet(settings.study.quiet_s, settings.study.max_wait_s)


def watermarks(settings: Settings) -> Watermarks:
    """Return below which free space what is given up."""
    keep = settings.keep
    return Watermarks(
        hard=settings.node.reserve_mib * _MIB,
        soft=keep.soft_reserve_mib * _MIB,
        reserve=keep.ledger_reserve_mib * _MIB,
    )


def tls_files(settings: Settings) -> TlsFiles | None:
    """Return our certificate, its key and whom we trust, or None where the port speaks plain DICOM."""
    tls = settings.node.tls
    return TlsFiles(tls.certificate, tls.key, tls.ca) if tls is not None else None


def warn_of_expiry(settings: Settings) -> None:
    """Say so in time that our certificate expires: a peer that checks it stops sending that day."""
    files = tls_files(settings)
    if files is None:
        return
    left = days_left(files.certificate, datetime.now(timezone.utc))
    if left < _EXPIRES_SOON_DAYS:
        log.warning("certificate.expires", certificate=str(files.certificate), days_left=round(left, 1))


def _allowed(peer: PeerSettings) -> AllowedPeer:
    return AllowedPeer(
        ae_title=peer.ae_title,
        networks=peer.networks,
        certificate_sha256=peer.certificate_sha256,
        sop_classes=frozenset(peer.sop_classes),
        associations_per_minute=peer.associations_per_minute,
    )
