"""Asking a running node: one line of JSON there, one back. Light, since every command starts with it."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from dicom_node.core.errors import Retryable
from dicom_node.services.unix import socket_address

if TYPE_CHECKING:
    from pathlib import Path

Answer = dict[str, Any]
_LONGEST = 1 << 20
SILENT = "the node does not answer: start it (systemctl start dicom-node.target, or `dicom-node serve`)"


class NodeSilent(Retryable):
    """No node answers: it is not running, or runs with another configuration."""


class NodeClosed(NodeSilent):
    """This user may not ask: whether a node runs is not known."""


def ask(path: Path, command: str, timeout_s: float = 10.0, **arguments: Any) -> Answer:
    """Return a running node's answer; {"error": …} is one line for a person. Raises NodeSilent where none answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            with socket_address(path) as address:
                sock.connect(address)
            sock.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            return read_line(sock)
    except PermissionError as error:
        message = f"{path} may be opened by the service's user only: run this with sudo"
        raise NodeClosed(message) from error
    except (OSError, ValueError) as error:
        raise NodeSilent(SILENT) from error


def read_line(sock: socket.socket) -> Answer:
    """Read one line. Raises ValueError on what is none, OSError on a peer that is gone or too slow."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = sock.recv(1 << 16)
        if not part or len(line) > _LONGEST:
            message = "not a line of JSON"
            raise ValueError(message)
        line += part
    value = json.loads(line)
    if not isinstance(value, dict):
        message = "not a JSON object"
        raise ValueError(message)  # noqa: TRY004 - what is on the wire is a value
    return value
