"""`dicom-node support-bundle`: an archive for a helper. Only what is on the list below goes in, and UIDs are disguised.

A list of what may go in, rather than of what may not: free text (errors, reasons, AE titles of peers, file names of
others) never does, since a peer can write anything into it.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import io
import json
import re
import secrets
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dicom_node import __version__
from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.doctor.command import examine, patient_of
from dicom_node.cli.doctor.findings import Patient
from dicom_node.cli.doctor.host import installed_versions
from dicom_node.cli.status import standing_now
from dicom_node.cli.words import print_json

_EVENTS = 2000
_LAST_DAYS_S = 7 * 86400.0
#: A UID within other words: four components, or a UUID's (2.25.…); with fewer it might be a version of a program.
_UID = re.compile(r"\b(?:2\.25\.[0-9]+|[0-9]+(?:\.[0-9]+){3,})\b")
#: Fields whose value is a UID, whatever it looks like: a peer may call an object by its patient's number.
_UID_FIELDS = frozenset(("study", "sop_instance"))
#: What the journal calls the fields of an event, where the log is no JSON.
_JOURNAL_NAMES = {
    "EVENT": "event",
    "DICOM_PROGRAM": "program",
    "DICOM_STUDY_UID": "study",
    "DICOM_SOP_UID": "sop_instance",
}
_LEVELS = {"2": "critical", "3": "error", "4": "warning", "6": "info", "7": "debug"}
#: Fields of a log event that are numbers, names of ours, or UIDs.
_FIELDS = frozenset(
    (
        "event",
        "level",
        "timestamp",
        "program",
        "study",
        "sop_instance",
        "version",
        "destination",
        "job",
        "kind",
        "outcome",
        "engine_ms",
        "crashes",
        "attempts",
        "again_in_s",
        "jobs",
        "deliveries",
        "views",
        "instances",
        "error",
        "at",
        "cause",
        "loops",
        "child",
        "status",
        "pid",
        "runtime",
        "bundle",
        "size",
    )
)
#: Settings whose value is a person's or a place's name, or a secret: only whether they are set is told.
_HIDDEN = re.compile(
    r"(^|\.)(hosts?|ae_title|addresses|state_dir|traces|bundle|url|syslog|folder|certificate.*|.*_file|.*_url|ca"
    r"|(sending|receiving)_.*|.*(token|password|key|secret|user).*)$"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file and the log."""
    parser.add_argument("--output", type=Path, help="file to write (default: dicom-node-support-DATE.tar.gz here)")
    parser.add_argument("--log", type=Path, help="log of `dicom-node serve` (default: the journal)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the archive and print what it holds."""
    settings = configuration.load(arguments.config)
    patient = patient_of(arguments.config, settings)
    output = arguments.output or Path(f"dicom-node-support-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
    members = collect(patient, arguments.log)
    with tarfile.open(output, "w:gz") as archive:
        for name, text in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(text.encode()), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(text.encode()))
    output.chmod(0o600)
    held = {name: len(text.splitlines()) for name, text in members.items()}
    if arguments.json:
        print_json({"written": str(output), "lines": held})
        return exits.GOOD
    print(f"{output} holds, and nothing else:")
    for name, lines in held.items():
        print(f"  {name:<16}{lines:>6} lines")
    print("no image, no name, no free text; UIDs are disguised. Look into it before you send it all the same.")
    return exits.GOOD


def collect(patient: Patient, log: Path | None) -> dict[str, str]:
    """Return the archive's members: name and text."""
    disguise = _disguise()
    parts: dict[str, Callable[[], Any]] = {
        "versions.json": lambda: {"dicom-node": __version__, **installed_versions()},
        "settings.json": lambda: _settings(patient.settings),
        "doctor.json": lambda: [{"check": finding.check, "state": finding.state.value} for finding in examine(patient)],
        "status.json": lambda: _status(patient.settings),
        "events.json": lambda: _event_counts(patient),
        "log.jsonl": lambda: "\n".join(json.dumps(one) for one in _log(log, disguise)),
    }
    return {name: _text(make) for name, make in parts.items()}


def _text(make: Callable[[], Any]) -> str:
    try:
        found = make()
    except Exception as error:  # noqa: BLE001 - one part that cannot be had must not keep the others back
        found = {"missing": type(error).__name__}
    return found if isinstance(found, str) else json.dumps(found, indent=2, default=str)


def _disguise() -> Disguise:
    """Return what replaces a UID by the same made-up word each time, in this archive only."""
    return Disguise(secrets.token_bytes(32))


@dataclass(frozen=True, slots=True)
class Disguise:
    """Replaces UIDs by made-up words; the same UID by the same word."""

    key: bytes

    def uid(self, uid: str) -> str:
        """Return the word for a UID."""
        return f"uid-{hmac.new(self.key, uid.encode(), hashlib.sha256).hexdigest()[:10]}"

    def within(self, text: str) -> str:
        """Return a text with a word in the place of every UID."""
        return _UID.sub(lambda found: self.uid(found[0]), text)


def _settings(settings: configuration.Settings) -> dict[str, Any]:
    """Return the settings; of those that name somebody, only whether they are set."""

    def shown(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: shown(f"{key}.{name}", one) for name, one in value.items()}
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
            return [shown(key, one) for one in value]
        return bool(value) if _HIDDEN.search(key) else value

    return {name: shown(name, value) for name, value in settings.model_dump(mode="json").items()}


def _status(settings: configuration.Settings) -> dict[str, Any]:
    found = standing_now(settings)
    queues = {"jobs": found.get("jobs"), **found.get("destinations", {})}
    numbers = ("waiting", "parked", "dead", "oldest_at")
    return {
        **{name: found.get(name) for name in ("running", "accepting", "workers", "bundle_sha256", "version", "disk")},
        "queues": {name: {one: queue[one] for one in numbers} for name, queue in queues.items() if queue},
        "latest": [{"outcome": one["outcome"], "state": one["state"]} for one in found.get("latest", [])],
    }


def _event_counts(patient: Patient) -> dict[str, int]:
    from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import
    from dicom_node.ledger.standing import event_counts  # noqa: PLC0415 - as above

    with Overview(patient.folders.ledger).reading() as connection:
        return event_counts(connection, time.time() - _LAST_DAYS_S)


def _log(file: Path | None, disguise: Disguise) -> list[dict[str, Any]]:
    """Return the last events, with the fields that are on the list and the UIDs disguised."""
    if file is not None:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    elif shutil.which("journalctl"):
        command = ["journalctl", "--unit", "dicom-node*", "--lines", str(_EVENTS), "--output", "json", "--no-pager"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
        lines = done.stdout.splitlines()
    else:
        return []
    return [event for line in lines[-_EVENTS:] if (event := _event(line, disguise))]


def _event(line: str, disguise: Disguise) -> dict[str, Any] | None:
    event = _object(line)
    if event is not None and "__REALTIME_TIMESTAMP" in event:
        event = _of_journal(event)
    if event is None or not re.fullmatch(r"[a-z_-]+\.[a-z_-]+", str(event.get("event", ""))):
        return None
    return {name: _kept(name, value, disguise) for name, value in event.items() if name in _FIELDS}


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _of_journal(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return an event from the journal's entry: its fields, or the line of JSON that a program wrote as its message."""
    if "EVENT" not in entry:
        return _object(str(entry.get("MESSAGE", "")))
    event = {_JOURNAL_NAMES.get(name, name.removeprefix("DICOM_").lower()): value for name, value in entry.items()}
    at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, timezone.utc)
    level = _LEVELS.get(str(entry.get("PRIORITY")), "info")
    return event | {"level": level, "timestamp": at.isoformat(timespec="milliseconds")}


def _kept(name: str, value: Any, disguise: Disguise) -> Any:
    """Return a value of the kinds that these fields have: a number, a list of places, a UID, or one word."""
    if name in _UID_FIELDS:
        return disguise.uid(str(value))
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, list):
        return [_kept(name, one, disguise) for one in value]
    text = disguise.within(str(value))
    return text if re.fullmatch(r"[\w.:,+/-]+( [\w.]+){0,4}", text) else "(left out)"
