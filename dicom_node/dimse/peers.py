"""Who may open an association: AE title, address, certificate, SOP classes and rate of each listed peer."""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from dicom_node.dimse.pdu import Rejection

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_AE_TITLE = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 6.2 AE
_RATE_WINDOW_S = 60.0
_PERMANENT, _TRANSIENT = 1, 2
_USER, _PRESENTATION = 1, 3


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A peer that may connect; certificate: SHA-256 in hex, empty for any that the CA signed; no classes: all."""

    ae_title: str
    networks: tuple[IpNetwork, ...]
    certificate_sha256: str = ""
    sop_classes: frozenset[str] = field(default_factory=frozenset)
    associations_per_minute: int = 0

    def takes(self, sop_class_uid: str) -> bool:
        """Tell whether this peer may send instances of a class."""
        return not self.sop_classes or sop_class_uid in self.sop_classes


class AllowList:
    """The listed peers; an empty list lets any AE title in, from this machine only."""

    def __init__(self, peers: tuple[AllowedPeer, ...]) -> None:
        self._peers = peers
        self._recent: dict[AllowedPeer, deque[float]] = {
            peer: deque() for peer in peers if peer.associations_per_minute
        }
        self._lock = threading.Lock()

    def lists_address(self, address: str) -> bool:
        """Tell whether any peer may come from an address; others are not even read."""
        ip = _ip(address)
        if not self._peers:
            return ip.is_loopback
        return any(_contains(peer, ip) for peer in self._peers)

    def admit(self, calling_ae: str, address: str, certificate_sha256: str | None) -> AllowedPeer | None:
        """Return the listed peer that calls, or None where nobody is listed.

        Raises Rejection: permanent for a stranger, transient for a peer above its rate.
        """
        if not _AE_TITLE.fullmatch(calling_ae):
            message = "the calling AE title is not one"
            raise Rejection(message, _PERMANENT, _USER, 3)
        if not self._peers:
            return None
        ip = _ip(address)
        for peer in self._peers:
            certified = not peer.certificate_sha256 or peer.certificate_sha256 == certificate_sha256
            if peer.ae_title == calling_ae and certified and _contains(peer, ip):
                self._check_rate(peer)
                return peer
        message = "the calling AE title, address and certificate are of no listed peer (node.peers)"
        raise Rejection(message, _PERMANENT, _USER, 3)

    def _check_rate(self, peer: AllowedPeer) -> None:
        recent = self._recent.get(peer)
        if recent is None:
            return
        now = time.monotonic()
        with self._lock:
            while recent and recent[0] < now - _RATE_WINDOW_S:
                recent.popleft()
            if len(recent) >= peer.associations_per_minute:
                message = "more associations than the peer may open in a minute (associations_per_minute)"
                raise Rejection(message, _TRANSIENT, _PRESENTATION, 1)
            recent.append(now)


def printable_title(title: str) -> str:
    """Return a received AE title as it may be logged: nothing but what PS3.5 allows in one."""
    return title if _AE_TITLE.fullmatch(title) else "(not an AE title)"


def _contains(peer: AllowedPeer, ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(ip in network for network in peer.networks)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return mapped if mapped is not None else ip
