"""What the audit trail says of the node itself, and where its head is written down outside the ledger."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.ledger import audit
from dicom_node.ledger.audit import Head
from dicom_node.services.software import changed_settings, plain_settings, settings_digest
from dicom_node.services.threads import pause

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.ledger.database import Database
    from dicom_node.services.software import Software
    from dicom_node.settings import Settings

log = structlog.get_logger(__name__)

_EVERY_S = 60.0
_HEAD_EVERY = 60  # rounds


class Auditor:
    """Notes start, stop and changed settings; logs the trail's head hourly, so that an older copy is noticed."""

    def __init__(
        self,
        ledger: Database,
        heads: Path,
        refusals: Callable[[], dict[str, int]],
        clock: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self._ledger = ledger
        self._heads = heads
        self._refusals = refusals
        self._refused: Counter[str] = Counter()
        self._clock = clock
        self._stopping = stopping

    def note_start(self, settings: Settings, software: Software, bundle_sha256: str) -> None:
        """Note with what the node starts, and whether the trail is older than a head that was written down."""
        digest, now = settings_digest(settings), self._clock()
        with self._ledger.transaction() as connection:
            trouble = self._rewound(connection)
            if trouble:
                audit.note(connection, now, "audit.rewound", detail=trouble)
            self._note_changes(connection, settings)
            audit.note(
                connection,
                now,
                "node.started",
                detail=f"version {software.version}",
                version=software.version,
                software_sha256=software.sha256,
                config_sha256=digest,
                bundle_sha256=bundle_sha256,
            )
        if trouble:
            log.error("audit.rewound", reason=trouble)

    def note_settings(self, settings: Settings) -> None:
        """Note that the settings were read again, and which of them changed."""
        with self._ledger.transaction() as connection:
            self._note_changes(connection, settings)
            detail = "the settings were read again"
            audit.note(
                connection, self._clock(), "node.reloaded", detail=detail, config_sha256=settings_digest(settings)
            )

    def _note_changes(self, connection: Any, settings: Settings) -> None:
        """Note the settings where they are not those of the last record about them."""
        plain, digest = plain_settings(settings), settings_digest(settings)
        before = audit.last(connection, "configuration.changed")
        if before is not None and before.details()["config_sha256"] == digest:
            return
        names = changed_settings(before.details()["settings"], plain) if before else []
        detail = f"changed: {', '.join(names)}" if names else "first start"
        facts: dict[str, Any] = {"config_sha256": digest, "settings": plain}
        audit.note(connection, self._clock(), "configuration.changed", detail=detail, **facts)

    def note_stop(self) -> None:
        """Note that the node stops in order; after this the head stands in the log."""
        self.note_refusals()
        with self._ledger.transaction() as connection:
            head = audit.note(connection, self._clock(), "node.stopped", detail="stopped in order")
        self._write_down(head)

    def run(self) -> None:
        """Note refused associations every minute and write the head down every hour, until the node stops."""
        rounds = 0
        while not pause(self._stopping, _EVERY_S):
            rounds += 1
            self.note_refusals()
            if rounds % _HEAD_EVERY == 0:
                self.step()

    def note_refusals(self) -> None:
        """Note how many connections and associations were refused since the last time: one record, however many."""
        now = Counter(self._refusals())
        new = now - self._refused
        if not new:
            return
        with self._ledger.transaction() as connection:
            detail = ", ".join(f"{kind}: {count}" for kind, count in sorted(new.items()))
            audit.note(connection, self._clock(), "association.refused", detail=detail, refused=dict(new))
        self._refused = now

    def step(self) -> None:
        """Write the head down now; the record about it goes to the audit record repository like every other."""
        with self._ledger.transaction() as connection:
            before = audit.head(connection)
            head = audit.note(connection, self._clock(), "audit.head", detail=str(before))
        self._write_down(head)

    def _write_down(self, head: Head) -> None:
        log.info("audit.head", head=str(head))
        try:
            with self._heads.open("a", encoding="ascii") as file:
                file.write(json.dumps({"at": self._clock(), "head": str(head)}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("audit.head-not-kept", cause=type(error).__name__)  # the log has it

    def _rewound(self, connection: Any) -> str:
        """Return what is wrong where the newest head that was written down is not in the trail, else nothing."""
        known = read_heads(self._heads)[-1:]
        if not known:
            return ""
        end = audit.head(connection)
        if known[0].seq > end.seq:
            return f"the trail ends at record {end.seq}, but record {known[0].seq} was noted: an older copy"
        (found,) = audit.after(connection, known[0].seq - 1, 1) or (None,)
        if found is None or found.hash != known[0].hash:
            return f"record {known[0].seq} is not the one that was noted: another trail"
        return ""


def read_heads(path: Path) -> list[Head]:
    """Return the heads that were written down, oldest first; a torn last line is left out."""
    heads = []
    for line in path.read_text(encoding="ascii", errors="replace").splitlines() if path.exists() else ():
        try:
            heads.append(parse_head(str(json.loads(line)["head"])))
        except (ValueError, KeyError, TypeError):
            continue
    return heads


def parse_head(text: str) -> Head:
    """Return a head from `SEQ:HASH`. Raises ValueError on anything else."""
    number, _, digest = text.partition(":")
    if len(digest) != 64 or not number.isdigit():  # noqa: PLR2004 - hexadecimal digits of a SHA-256
        message = f"{text!r} is not SEQ:HASH as the log states it"
        raise ValueError(message)
    return Head(int(number), digest)
