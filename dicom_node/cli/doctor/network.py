"""Checks of port, AE title, peers and certificates."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from dicom_node.cli.doctor.findings import Finding, Patient, bad, good, note, unknown
from dicom_node.cli.doctor.unheard import unheard
from dicom_node.cli.echo import ask_destination, ask_peer
from dicom_node.cli.words import lasts
from dicom_node.dimse.scu import Peer
from dicom_node.dimse.tls import TlsFiles, client_context, days_left, server_context

if TYPE_CHECKING:
    from dicom_node.destination_settings import DestinationSettings
    from dicom_node.settings import PeerSettings

_ECHO_S = 4.0
_LOOPBACK = ("127.", "::1", "localhost")
_SOON_DAYS = 30
_FLIGHTS = 4  # of a handshake, more than any takes


def port(patient: Patient) -> Finding:
    """Check that somebody listens on the port: the node or, while it is down, systemd; else it is free."""
    node = patient.settings.node
    host = "127.0.0.1" if node.host in {"", "0.0.0.0"} else node.host  # noqa: S104 - compared, not bound
    name, address = "port", f"{node.host}:{node.port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(2)
        listening = probe.connect_ex((host, node.port)) == 0
    if listening and patient.status:
        return good(name, f"{address} is listened on")
    if listening:
        do = "systemctl status dicom-node.socket; if it is not that, `ss -ltnp` names the program"
        return note(name, f"{address} is listened on, and the node does not run", do)
    if patient.status:
        do = "`systemctl cat dicom-node.socket` has another address: make it and node.host, node.port alike"
        return bad(name, f"the node runs, but nobody listens on {address}", do)
    return good(name, f"{address} is free")


def own_answer(patient: Patient) -> Finding:
    """Check that the node answers C-ECHO by its own AE title, where it lets this machine in."""
    node, name = patient.settings.node, "own C-ECHO"
    if patient.status is None:
        return unknown(name, "the node does not run")
    context = None
    if node.tls is not None:
        context = own_context(TlsFiles(node.tls.certificate, node.tls.key, node.tls.ca))
        if context is None:
            return unknown(name, "node.tls.ca does not vouch for our own certificate: ask from a peer, with its own")
    host = "127.0.0.1" if node.host in {"", "0.0.0.0"} else node.host  # noqa: S104 - compared, not bound
    calling = _may_call(node.peers, host) if node.peers else node.ae_title
    if calling is None:
        return unknown(name, "node.peers lets nobody in from this machine: ask from a peer")
    answer = ask_peer(node.ae_title, Peer(node.ae_title, host, node.port, _ECHO_S, context), calling)
    if answer["problem"]:
        return bad(name, answer["problem"], "`dicom-node status` says whether it is accepting; the log says why not")
    return good(name, f"{node.ae_title} answers{' over TLS' if context else ''} in {answer['ms']:.0f} ms")


def own_context(files: TlsFiles) -> ssl.SSLContext | None:
    """Return the context by which the node may be called with its own certificate; None where its CAs do not sign it.

    Tried without a socket, so that a node which is at fault is told from a certificate that only serves.
    """
    ours, theirs = client_context(files), server_context(files)
    to_node, to_us = ssl.MemoryBIO(), ssl.MemoryBIO()
    us, node = ours.wrap_bio(to_us, to_node), theirs.wrap_bio(to_node, to_us, server_side=True)
    for _ in range(_FLIGHTS):
        for side in (us, node):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return None
    return ours


def _may_call(peers: tuple[PeerSettings, ...], host: str) -> str | None:
    """Return the AE title by which the node may be called from the very address that it listens on."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    listed = (peer for peer in peers if any(address in network for network in peer.networks))
    return next((peer.ae_title for peer in listed if not peer.certificate_sha256), None)  # else its own is wanted


def reachable(patient: Patient) -> Finding:
    """Check that a PACS on another machine can reach the node; that not everybody may, the settings see to."""
    node, name = patient.settings.node, "who may connect"
    if node.host.startswith(_LOOPBACK):
        return note(name, f"{node.host}: this machine only", "set node.host to the address that faces the PACS")
    wide = [peer for peer in node.peers if any(network.prefixlen == 0 for network in peer.networks)]
    if wide:
        do = "name its address in node.peers, and close the port to others in the firewall"
        return bad(name, f"{wide[0].ae_title} from anywhere", do)
    return good(name, "; ".join(f"{peer.ae_title} from {', '.join(peer.addresses)}" for peer in node.peers))


def destinations(patient: Patient) -> list[Finding]:
    """Check that each destination answers, whatever its kind; all are asked at the same time."""
    found = patient.settings.destinations
    if not found:
        return [note("destinations", "none: results are made and sent nowhere", "add a [[destinations]] block")]
    own = patient.settings.node.ae_title

    def ask(one: DestinationSettings) -> Finding:
        name, answer = f"destination {one.name}", ask_destination(one, own, _ECHO_S)
        if answer["problem"]:
            knows = f"see that the PACS knows {own}; then " if one.kind == "dicom" else ""
            return bad(name, answer["problem"], f"{knows}`dicom-node echo {one.name}` asks again")
        return good(name, f"{answer['answer']} in {answer['ms']:.0f} ms")

    with ThreadPoolExecutor(max_workers=len(found)) as pool:
        return list(pool.map(ask, found))


def reports(patient: Patient) -> list[Finding]:
    """Check that a PACS that is asked for storage commitment may come and report it."""
    return unheard(patient.settings)


def certificate(patient: Patient) -> Finding:
    """Check that the node's certificate is good for a while yet."""
    name, tls = "certificate", patient.settings.node.tls
    if tls is None:
        return note(name, "no TLS: images and reports go in clear", "keep them on a network of their own")
    days = days_left(tls.certificate, datetime.now(timezone.utc))
    if days < 0:
        return bad(name, f"{lasts(days)}: every peer refuses it", "renew it now, then `dicom-node reload`")
    if days < _SOON_DAYS:
        return bad(name, lasts(days), "renew it, then `dicom-node reload`")
    return good(name, lasts(days))


CHECKS = (port, own_answer, reachable, reports, certificate)
