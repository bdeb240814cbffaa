"""What an administrator's command asks a running node: one line of JSON there, one back, over a Unix socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import DicomNodeError
from dicom_node.services.asking import Answer, read_line
from dicom_node.services.listening import accept
from dicom_node.services.unix import listen

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)

_ACCEPT_S, _CLIENT_S = 1.0, 2.0


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
            sock = accept(self._listener)
            if sock is None:
                continue
            with sock:
                try:
                    self._serve(sock)
                except (OSError, ValueError) as error:
                    log.info("command.lost", cause=type(error).__name__)
        self._listener.close()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(_CLIENT_S)
        request = read_line(sock)
        name = str(request.get("command"))
        if name != "status":  # which changes nothing, and is asked often
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
