"""Checks of state folder, disk and ledger."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

from dicom_node.cli.doctor import server
from dicom_node.cli.doctor.findings import Finding, Patient, bad, good, note, unknown
from dicom_node.cli.words import age, counted
from dicom_node.core.errors import LedgerError
from dicom_node.ledger.migrations import SCHEMA_VERSION

_MIB = 1 << 20
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p"}
_VOLATILE = {"tmpfs", "ramfs"}
_OLD_S = 3600.0
_RECENT_S = 30 * 86400.0
_RECORDS = 1000  # of the audit trail, from its end


def state_folder(patient: Patient) -> Finding:
    """Check that the state folder is there, and its owner's alone."""
    name, root = "state folder", patient.folders.root
    if not root.exists():
        return note(
            name, f"{root} is not there yet", "it is made at the first start; make sure that its parent is there"
        )
    found = root.stat()
    if found.st_mode & 0o077:
        return bad(name, f"{root} may be read by others (mode {found.st_mode & 0o777:o})", f"chmod 700 {root}")
    if not os.access(root, os.W_OK):
        return unknown(name, f"{root} belongs to another user", "run doctor as root: sudo dicom-node doctor")
    return good(name, f"{root}, its owner's alone")


def file_system(patient: Patient) -> Finding:
    """Check that the state folder lies on a disk that keeps what it was told to keep."""
    name, where = "file system", _existing(patient)
    kind = _mount_kind(str(where))
    if kind in _REMOTE:
        return bad(
            name, f"{where} is on {kind}: what is acknowledged may be lost", "set node.state_dir to a local disk"
        )
    if kind in _VOLATILE:
        return bad(name, f"{where} is on {kind}: a restart loses everything", "set node.state_dir to a local disk")
    return good(name, f"{where} is on {kind or 'a file system of unknown kind'}")


def disk_space(patient: Patient) -> Finding:
    """Check that there is room above the reserve."""
    name, where = "disk space", _existing(patient)
    status = os.statvfs(where)
    free, reserve = status.f_bavail * status.f_frsize // _MIB, patient.settings.node.reserve_mib
    if free < reserve:
        return bad(name, f"{free} MiB free, below the reserve of {reserve}", "every C-STORE is refused: make room")
    if free < 2 * reserve:
        return note(name, f"{free} MiB free, reserve {reserve}", "make room soon: below the reserve images are refused")
    return good(name, f"{free} MiB free, reserve {reserve}")


def inodes(patient: Patient) -> Finding:
    """Check that there are inodes left."""
    name, where = "inodes", _existing(patient)
    status = os.statvfs(where)
    if not status.f_files:
        return good(name, "this file system does not count them")
    share = status.f_favail / status.f_files
    if share < 0.05:  # noqa: PLR2004 - said in words below
        return bad(name, f"{share:.0%} left on the disk of {where}", "remove small files, or move the state folder")
    return good(name, f"{share:.0%} left")


def ledger(patient: Patient) -> Finding:
    """Check that the ledger is whole."""
    return _ledger_file(patient) if patient.folders.server is None else server.ledger(patient)


def _ledger_file(patient: Patient) -> Finding:
    name, file = "ledger", patient.folders.file
    if not file.exists():
        spooled = patient.folders.instances.is_dir() and any(patient.folders.instances.iterdir())
        if spooled:
            return bad(
                name, f"{file} is missing, and there are received images", "restore a backup; do not start the node"
            )
        return note(name, f"{file} is not there yet", "it is made at the first start")
    if not os.access(file, os.R_OK):
        return unknown(name, f"{file} may not be read by this user", "run doctor as root: sudo dicom-node doctor")
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        return bad(name, f"it cannot be read ({error})", "stop the node and restore a backup")
    if answer != "ok":
        return bad(name, "it is damaged (PRAGMA quick_check)", "stop the node and restore a backup")
    return good(name, f"whole, {file.stat().st_size // _MIB} MiB")


def schema(patient: Patient) -> Finding:
    """Check that ledger and program are of one version."""
    name = "ledger's version"
    if not _can_be_read(patient):
        return unknown(name, "no ledger that can be read")
    try:
        found = _schema(patient)
    except LedgerError:
        return unknown(name, "no ledger that can be read")
    except (sqlite3.DatabaseError, TypeError):
        return bad(name, "it has no version", "this is no ledger of dicom-node, or a damaged one: restore a backup")
    if found < SCHEMA_VERSION:
        return note(name, f"schema {found}, this program has {SCHEMA_VERSION}", "the next start brings it up to date")
    if found != SCHEMA_VERSION:
        return bad(name, f"schema {found}, this program has {SCHEMA_VERSION}", "install the version that it belongs to")
    return good(name, f"schema {found}")


def queue_age(patient: Patient) -> Finding:
    """Check that nothing waits for hours."""
    name = "queue"
    if patient.status is None:
        return unknown(name, "the node does not run", "")
    queues = [patient.status["jobs"], *patient.status["destinations"].values()]
    oldest = min((queue["oldest_at"] for queue in queues if queue["oldest_at"] is not None), default=None)
    waiting = sum(queue["waiting"] for queue in queues)
    if oldest is not None and time.time() - oldest > _OLD_S:
        text = f"{counted(waiting, 'item')}, the oldest for {age(time.time() - oldest)}"
        return bad(name, text, "`dicom-node queue list` says what, and what went wrong with it")
    parked = sum(queue["parked"] for queue in queues)
    if parked:
        return note(name, f"{counted(parked, 'item')} parked", "`dicom-node queue retry` takes them up again")
    return good(name, f"{counted(waiting, 'item')} waiting")


def dead_letters(patient: Patient) -> Finding:
    """Check that nothing was given up."""
    name = "given up"
    if patient.status is None:
        return unknown(name, "the node does not run", "")
    queues = [patient.status["jobs"], *patient.status["destinations"].values()]
    number = sum(queue["dead"] for queue in queues)
    if number:
        return bad(
            name, counted(number, "item"), "`dicom-node dead list` says why; `dicom-node dead replay` tries again"
        )
    return good(name, "nothing")


def circuits(patient: Patient) -> list[Finding]:
    """Check that the node is not leaving a destination alone because it failed."""
    found = []
    for name, queue in (patient.status["destinations"] if patient.status else {}).items():
        if queue["failures"]:
            text = f"failed {counted(queue['failures'], 'time')} in a row: {queue['last_error']}"
            do = f"`dicom-node destinations test {name}` tries it now; the node goes on trying by itself"
            found.append(bad(f"sending to {name}", text, do))
    return found


def reserve_file(patient: Patient) -> Finding:
    """Check that the ledger has its reserve for the day when the disk is full."""
    name, wanted = "ledger's reserve", patient.settings.keep.ledger_reserve_mib
    if not wanted:
        return note(name, "none is kept (keep.ledger_reserve_mib = 0)", "keep some, so that a full disk stops no study")
    if patient.status is None:
        return unknown(name, "the node does not run: it makes and frees the reserve")
    if not patient.folders.reserve.exists():
        do = "make room: the node makes it again by itself within seconds"
        return bad(name, f"its {wanted} MiB are used up, or there was never room for them", do)
    return good(name, f"{patient.folders.reserve.stat().st_size // _MIB} MiB")


def audit_trail(patient: Patient) -> Finding:
    """Check that the end of the audit trail is whole; all of it takes `dicom-node audit verify`."""
    from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import

    name = "audit trail"
    if not _can_be_read(patient):
        return unknown(name, "no ledger that can be read")
    try:
        verdict, looked = Overview(patient.folders.ledger).verify_end(_RECORDS)
    except LedgerError:
        return unknown(name, "no ledger that can be read")
    if verdict.problem:
        return bad(name, verdict.problem, "`dicom-node audit verify` reads all of it; then docs/operations.md")
    return good(name, f"the last {looked} records follow each other, up to {verdict.head.seq}")


def dates(patient: Patient) -> Finding:
    """Check that no result carries a wrong date: one of the future, or one from around a step of the clock."""
    from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import

    name, file, now = "dates of results", patient.folders.ledger, time.time()
    if not file.exists() or not _can_be_read(patient):
        return unknown(name, "no ledger that can be read")
    future, stepped = Overview(file).dates(now)
    do = "see the clock right; `dicom-node audit show` has clock.stepped between results that have a wrong date"
    if future:
        return bad(name, f"{counted(future, 'result')} of the future: the clock was ahead, or is behind now", do)
    if stepped is not None and abs(now - stepped.at) < _RECENT_S:
        return note(name, stepped.detail, do)
    return good(name, "none of the future")


CHECKS = (
    dates,
    state_folder,
    file_system,
    disk_space,
    reserve_file,
    inodes,
    ledger,
    schema,
    audit_trail,
    queue_age,
    dead_letters,
    circuits,
)


def _can_be_read(patient: Patient) -> bool:
    return patient.folders.server is not None or os.access(patient.folders.file, os.R_OK)


def _schema(patient: Patient) -> int:
    if patient.folders.server is not None:
        from dicom_node.ledger.overview import Overview  # noqa: PLC0415 - slow to import

        return Overview(patient.folders.server).schema_version()
    with closing(sqlite3.connect(f"file:{patient.folders.file}?mode=ro", uri=True, timeout=5)) as connection:
        return int(connection.execute("SELECT max(version) FROM schema_version").fetchone()[0])


def _existing(patient: Patient) -> os.PathLike[str]:
    where = patient.folders.root
    while not where.exists():
        where = where.parent
    return where


def _mount_kind(path: str) -> str:
    """Return the type of the file system that a path lies on."""
    best, kind = "", ""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:  # noqa: PTH123 - no path of ours
        for line in mounts:
            _, target, found, *_ = line.split()
            inside = path == target or path.startswith(f"{target.rstrip('/')}/")
            if inside and len(target) >= len(best):
                best, kind = target, found
    return kind
