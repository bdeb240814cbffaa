"""Which destinations are asked for storage commitment although their report would be turned away here."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from dicom_node.cli.doctor.findings import Finding, note
from dicom_node.destination_settings import DicomDestination, demand_of

if TYPE_CHECKING:
    from dicom_node.settings import PeerSettings, Settings

_REFUSED = "its report of storage commitment would be refused"


def unheard(settings: Settings) -> list[Finding]:
    """Return the destinations whose report, on an association of their own, the peers' list does not let in.

    A host that is a name is believed to be at one of its peer's addresses: nothing is looked up here.
    """
    found = []
    for one in settings.destinations:
        if isinstance(one, DicomDestination) and demand_of(one) in {"auto", "auto+find", "required"}:
            why = _why(one, settings.node.peers)
            if why:
                do = f'list {one.ae_title} in [[node.peers]], or set commitment = "none" for it'
                found.append(note(f"commitment of {one.name}", why, do))
    return found


def _why(destination: DicomDestination, peers: tuple[PeerSettings, ...]) -> str:
    address = _address(destination.host)
    if not peers:
        is_near = destination.host == "localhost" or (address is not None and address.is_loopback)
        return "" if is_near else f"no other machine is let in: {_REFUSED}"
    titled = [peer for peer in peers if peer.ae_title == destination.ae_title]
    if not titled:
        return f"{destination.ae_title} is none of the peers: {_REFUSED}"
    if address is not None and not any(address in network for peer in titled for network in peer.networks):
        return f"{destination.ae_title} may not come from {destination.host}: {_REFUSED} if it comes from there"
    return ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
