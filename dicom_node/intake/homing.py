"""At start: what a power cut left under its temporary name goes home where the ledger knows it, the rest goes."""

from __future__ import annotations

import hashlib
import mmap
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import MalformedDataSet
from dicom_node.core.identifiers import spool_key
from dicom_node.ledger import storage
from dicom_node.ledger.spool import fsync_folder, make_folder
from dicom_node.part10.file_head import split
from dicom_node.part10.header import scan

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.core.identifiers import SpoolKey
    from dicom_node.core.study import InstanceHeader
    from dicom_node.ledger.database import Database
    from dicom_node.ledger.spool import StateFolders

log = structlog.get_logger(__name__)


def bring_home(ledger: Database, folders: StateFolders) -> int:
    """Empty the folder of what arrives before anything is received; returns how many instances were moved home.

    The row is the truth: an instance is acknowledged once its row is on the disk, and the rename before it may be lost
    in a power cut. What has no row, or was purged, or is not what its row names, was never acknowledged or given up.
    Raises OSError or LedgerUnavailable.
    """
    moved = 0
    for file in sorted(folders.incoming.iterdir()):
        found = _known(ledger, file) if file.stat().st_size else None
        if found is None:
            file.unlink()
            continue
        header, target = found[0], folders.instance_path(found[1])
        make_folder(target.parent)
        file.replace(target)
        fsync_folder(target.parent)
        log.warning("instance.brought_home", study=header.study_instance_uid, sop_instance=header.sop_instance_uid)
        moved += 1
    fsync_folder(folders.incoming)
    return moved


def _known(ledger: Database, file: Path) -> tuple[InstanceHeader, SpoolKey] | None:
    """Return the header of a file and the spool key of a row that names these very bytes; None where none does."""
    try:
        header, data = spooled(file)
    except (MalformedDataSet, ValueError):
        return None
    with ledger.transaction() as connection:
        keys = storage.keys_of(connection, header.sop_instance_uid)
    if not keys:
        return None
    key = spool_key(header.sop_instance_uid, hashlib.sha256(data).hexdigest())
    return (header, key) if key in keys else None


def spooled(file: Path) -> tuple[InstanceHeader, memoryview]:
    """Return a spool file's header and its data set, mapped: only what is looked at is read.

    Raises MalformedDataSet, or ValueError for an empty file.
    """
    with file.open("rb") as handle:
        whole = memoryview(mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ))
    syntax, start = split(whole)
    data = whole[start:]
    return scan(data, syntax), data
