"""Who an SCP is and what it allows."""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.dimse.fragments import Pace
from dicom_node.dimse.peers import AllowedPeer
from dicom_node.dimse.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class ScpSettings:
    """Who we are and what we allow; sizes in bytes, times in seconds. Port 0 takes a free one.

    listen_fd: a listening socket that whoever started this process has opened; host and port then say nothing.
    """

    ae_title: str
    host: str
    port: int
    peers: tuple[AllowedPeer, ...] = ()
    max_associations: int = 20
    pending_per_address: int = 6
    request_timeout_s: float = 5.0
    pace: Pace = field(default_factory=Pace)
    max_object_bytes: int = 256 << 20
    tls: TlsFiles | None = None
    listen_fd: int | None = None
