"""What an administrator's command asks a running node: one line of JSON there, one back, over a Unix socket."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.core.errors import DicomNodeError, Retryable
from dicom_node.services.messages import listen, socket_address

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)

Answer = dict[str, Any]
_ACCEPT_S, _CLIENT_S = 1.0, 2.0
_LONGEST = 1 << 20


class NodeSilent(Retryable):
    """No node answers: it is not running, or runs with another configuration."""


class Control:
    """Answers commands, one after the other; whoever may open the socket may give them: the service's user and root."""

    def __init__(
        self, path: Path, commands: Mapping[str, Callable[[Answer], Answer]], stopping: threading.Event
    ) -> None:
        self._commands = commands
        self._stopping = stopping
        self._listener = listen(path)
        self._listener.settimeout(_ACCEPT_S)

    def run(self) -> None:
        """Answer until the node stops."""
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except TimeoutError:
                continue
            with sock:
                try:
                    self._serve(sock)
                except (OSError, ValueError) as error:
                    log.info("command.lost", cause=type(error).__name__)
        self._listener.close()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(_CLIENT_S)
        request = _read(sock)
        name = str(request.get("command"))
        log.info("command.given", command=name)
        command = self._commands.get(name)
        if command is None:
            answer: Answer = {"error": f"this node does not know {name!r}: command and node are of different versions"}
        else:
            try:
                answer = command(request)
            except DicomNodeError as error:
                answer = {"error": str(error)}
        sock.sendall(json.dumps(answer).encode() + b"\n")


def ask(path: Path, command: str, timeout_s: float = 10.0, **arguments: Any) -> Answer:
    """Return a running node's answer; {"error": …} is one line for a person. Raises NodeSilent where none answers."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout_s)
            with socket_address(path) as address:
                sock.connect(address)
            sock.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            return _read(sock)
    except PermissionError as error:
        message = f"{path} may be opened by the service's user only: run this with sudo"
        raise NodeSilent(message) from error
    except (OSError, ValueError) as error:
        message = "the node does not answer: start it (systemctl start dicom-node.target, or `dicom-node serve`)"
        raise NodeSilent(message) from error


def _read(sock: socket.socket) -> Answer:
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
