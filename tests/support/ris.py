"""A system that takes HL7 messages over MLLP and reads them with a library of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hl7

if TYPE_CHECKING:
    import socket


class Ris:
    """An MLLP listener; `codes` are its next acknowledgements, then AA."""

    def __init__(self, *codes: str, slow: bool = False) -> None:
        self.codes, self._slow = list(codes), slow
        self.messages: list[hl7.Message] = []

    def __call__(self, connection: socket.socket) -> None:
        """Read messages and acknowledge each until the peer leaves."""
        received = b""
        while True:
            while b"\x1c\r" not in received:
                part = connection.recv(4096)
                if not part:
                    return
                received += part
            frame, _, received = received.partition(b"\x1c\r")
            message = hl7.parse(frame.removeprefix(b"\x0b").decode())
            self.messages.append(message)
            code = self.codes.pop(0) if self.codes else "AA"
            if code == "silence":
                continue
            answer = (
                b"\x0b" + str(message.create_ack(code)).encode() + b"\x1c\r" if code != "noise" else b"\x0bhello\x1c\r"
            )
            for piece in [answer[i : i + 7] for i in range(0, len(answer), 7)] if self._slow else [answer]:
                connection.sendall(piece)
