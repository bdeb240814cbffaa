"""A C-STORE that hardly moves from the middle of its data set on, until it is told to go on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.sender import Answer, RawSender, read_part10

if TYPE_CHECKING:
    from typing_extensions import Self


class Halfway:
    """Sends one file in a thread of its own; `go_on` lets the rest follow, and `answer` is what the peer said."""

    def __init__(self, port: int, file: Path) -> None:
        self._part = read_part10(file)
        self._sender = RawSender(port)
        self._halved, self._go_on = threading.Event(), threading.Event()
        self.answer: Answer | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        refusal = self._sender._open(((self._part.sop_class_uid, self._part.transfer_syntax_uid),))
        assert refusal is None, refusal
        association: Any = self._sender._association
        # Many small fragments, whatever the size of the file.
        provider = association.dimse
        provider.__class__ = type("Small", (type(provider),), {"maximum_pdu_size": 1024})
        send, sent = association.dul.send_pdu, []

        def send_halfway(primitive: Any) -> None:
            sent.append(primitive)
            if len(sent) >= 3:  # the command and a first part of the data set are on their way
                self._halved.set()
                self._go_on.wait(0.5)  # a peer that does not move at all is taken for one that stalls
            send(primitive)

        association.dul.send_pdu = send_halfway
        self._thread.start()
        assert self._halved.wait(60)
        return self

    def _run(self) -> None:
        self.answer = self._sender.send_part10(self._part)

    def go_on(self) -> Answer | None:
        """Send the rest and return the answer."""
        self._go_on.set()
        self._thread.join(60)
        return self.answer

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._thread.join(30)
