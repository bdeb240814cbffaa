"""A backup of what the node knows, without images: ledger, configuration, the audit trail's key and head."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.core.errors import LedgerError, SettingsError
from dicom_node.ledger import audit
from dicom_node.ledger.audit import Head, verify
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.migrations import SCHEMA_VERSION, copy_database
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import fsync_folder, write_durably

if TYPE_CHECKING:
    from dicom_node.ledger.spool import StateFolders

_LEDGER, _CONFIG, _KEY, _HEADS, _LIST = (
    "ledger.sqlite",
    "dicom-node.toml",
    "audit.key",
    "audit-heads.jsonl",
    "backup.json",
)


def back_up(folders: StateFolders, config: Path, target: Path) -> Head:
    """Copy ledger, configuration and audit key into a new folder, the node running or not; returns the audit's head.

    Raises SettingsError where the folder exists, LedgerError where there is no ledger or its trail is not sound.
    """
    _refuse_server(folders)
    if target.exists():
        message = f"{target} exists: give a folder that does not, one for each backup"
        raise SettingsError(message)
    Overview(folders.file)  # says so where there is none
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        copy_database(folders.file, partial / _LEDGER)
        for source, name in ((config, _CONFIG), (folders.audit_key, _KEY), (folders.audit_heads, _HEADS)):
            if source.exists():
                write_durably(partial / name, partial / f"{name}.tmp", (source.read_bytes(),))
                (partial / name).chmod(0o600)
        head = _sound_head(partial / _LEDGER)
        digests = {file.name: _digest(file) for file in sorted(partial.iterdir())}
        listed = json.dumps({"schema": SCHEMA_VERSION, "audit_head": str(head), "sha256": digests}, indent=1)
        write_durably(partial / _LIST, partial / f"{_LIST}.tmp", (listed.encode(),))
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync_folder(target.parent)
    return head


def put_back(source: Path, folders: StateFolders, now: float) -> Head:
    """Put a backup into a state folder that has no ledger (any more); returns the audit's head.

    Instances that lie there and came after the backup are taken up when the node starts. Raises LedgerError where the
    backup is incomplete or altered, or there is a ledger.
    """
    _refuse_server(folders)
    _check(source)
    if folders.file.exists() and folders.file.stat().st_size:
        message = f"{folders.file} is there: move it aside first, nothing is overwritten"
        raise LedgerError(message)
    head = _sound_head(source / _LEDGER)
    folders.create()
    # Of the ledger that is gone: SQLite would play its log into this one, and its heads are not those of this trail.
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm", _HEADS):
        folders.set_aside(folders.root / name)
    for name in (_KEY, _HEADS, _LEDGER):  # the ledger last: with it the folder is a whole one
        if (source / name).exists():
            target = folders.root / name
            write_durably(target, folders.incoming / name, ((source / name).read_bytes(),))
            target.chmod(0o600)
    ledger = open_ledger(folders.file)
    try:
        with ledger.transaction() as connection:
            return audit.note(connection, now, "ledger.restored", detail=f"from the backup with head {head}, by hand")
    finally:
        ledger.close()
        _hand_over(folders)


def _hand_over(folders: StateFolders) -> None:
    """Give what an administrator made in the state folder to the folder's owner: the node runs as that user."""
    owner = folders.root.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in (*folders.root.iterdir(), *folders.instances.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _refuse_server(folders: StateFolders) -> None:
    if folders.server is not None:
        message = (
            f"the ledger is at {folders.server}: back it up and restore it there (pg_dump, pg_restore), together with "
            f"the configuration and {folders.audit_key} and {folders.audit_heads.name} beside it"
        )
        raise LedgerError(message)


def _check(source: Path) -> None:
    try:
        listed = json.loads((source / _LIST).read_text(encoding="utf-8"))["sha256"]
        wrong = [name for name, digest in listed.items() if _digest(source / name) != digest]
    except PermissionError:
        raise  # it may well be whole: whoever asks may not read it
    except (OSError, ValueError, KeyError) as error:
        message = f"{source} is no whole backup ({type(error).__name__}): take another"
        raise LedgerError(message) from error
    if wrong or _LEDGER not in listed:
        message = f"{source}: {', '.join(wrong) or _LEDGER} is not what was backed up: take another"
        raise LedgerError(message)


def _sound_head(ledger: Path) -> Head:
    verdict = verify(Overview(ledger).trail())
    if verdict.problem is not None:
        message = f"the audit trail is not sound ({verdict.problem}): keep this ledger as it is and ask who changed it"
        raise LedgerError(message)
    return verdict.head


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        digest = hashlib.sha256()
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
