"""The folder of received bytes and of results: written once, on disk before anyone is told."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.ledger.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dicom_node.core.identifiers import SpoolKey
    from dicom_node.settings import NodeSettings


@dataclass(frozen=True, slots=True)
class StateFolders:
    """Where things lie under the state folder; every name is a digest or a number, never an attribute of a patient."""

    root: Path
    server: Server | None = None

    @classmethod
    def of(cls, node: NodeSettings) -> StateFolders:
        """Return the folders, and the ledger, that the settings name."""
        where = (node.ledger_url, node.ledger_password_file, node.state_dir)
        return cls(node.state_dir, Server(*where) if node.ledger_url else None)

    @property
    def ledger(self) -> Path | Server:
        """The SQLite file, or the PostgreSQL database in its place."""
        return self.server or self.file

    @property
    def file(self) -> Path:
        """The SQLite file, where the ledger is in one."""
        return self.root / "ledger.sqlite"

    @property
    def incoming(self) -> Path:
        """Files being written, and empty ones for what comes; at start some may be kept instances by another name."""
        return self.root / "incoming"

    @property
    def instances(self) -> Path:
        """Received instances as Part 10 files."""
        return self.root / "instances"

    @property
    def work(self) -> Path:
        """Folders a worker is filling; emptied at start."""
        return self.root / "work"

    @property
    def ahead(self) -> Path:
        """Results composed before their study is closed, out of the worker's reach; emptied at start."""
        return self.root / "ahead"

    @property
    def worker(self) -> Path:
        """What the worker keeps from one start to the next; it writes here and into `work` only."""
        return self.root / "worker"

    @property
    def analyses(self) -> Path:
        """What was found in each image: rendering and maps."""
        return self.root / "analyses"

    @property
    def results(self) -> Path:
        """Published results, a folder a version."""
        return self.root / "results"

    @property
    def socket(self) -> Path:
        """The Unix socket between node and worker."""
        return self.root / "worker.sock"

    @property
    def control(self) -> Path:
        """The Unix socket for an administrator's commands."""
        return self.root / "control.sock"

    @property
    def reloaded(self) -> Path:
        """Touched whenever the node has taken over its configuration anew, for the status page to do so too."""
        return self.root / "reloaded"

    @property
    def strikes(self) -> Path:
        """Where the worker counts the images in a row that its engine did not answer."""
        return self.worker / "engine-strikes.json"

    @property
    def rebuilds(self) -> Path:
        """Where the worker notes that it has a plan built."""
        return self.worker / "engine-rebuilds.json"

    @property
    def build_output(self) -> Path:
        """What the last such build said."""
        return self.worker / "engine-build.log"

    @property
    def audit_key(self) -> Path:
        """The key of the audit trail's pseudonyms; readable by the service user only."""
        return self.root / "audit.key"

    @property
    def audit_heads(self) -> Path:
        """Where the audit trail's head is written down, besides the log."""
        return self.root / "audit-heads.jsonl"

    @property
    def quarantine(self) -> Path:
        """Files of the spool that are not what was received; for a person to look at."""
        return self.root / "quarantine"

    @property
    def reserve(self) -> Path:
        """Holds room on the disk that the ledger gets when everything else is full."""
        return self.root / "reserve"

    @property
    def lock(self) -> Path:
        """Held by the one node that owns this folder."""
        return self.root / "node.lock"

    def create(self) -> None:
        """Make the folders, readable by the service user only."""
        below = (self.incoming, self.instances, self.work, self.ahead, self.worker, self.analyses, self.results)
        for folder in (self.root, *below):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # All at once, so that receiving makes none: each new folder costs a sync of its own.
        for number in range(256):
            (self.instances / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
        fsync_folder(self.instances)
        fsync_folder(self.root)

    def instance_path(self, key: SpoolKey) -> Path:
        """Return the file of a received instance."""
        return self.instances / f"{key}.dcm"

    def name_of_result(self, version_id: int) -> str:
        """Return where a version is published, as a path from the state folder."""
        return f"{self.results.name}/{version_id % 256:02x}/{version_id}"

    def set_aside(self, file: Path) -> None:
        """Move a file of the spool into the quarantine, durably; what is gone already is no error."""
        make_folder(self.quarantine)
        with suppress(FileNotFoundError):
            file.replace(self.quarantine / file.name)
            fsync_folder(self.quarantine)

    def clear_leftovers(self) -> None:
        """Remove what a crash left half-written: nothing in here was ever published."""
        for folder in (self.work, self.ahead):
            for entry in folder.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()


def write_durably(target: Path, temporary: Path, chunks: Iterable[bytes]) -> None:
    """Write chunks to `target` so that after a power cut it is there whole or not at all.

    temporary > fsync > rename > fsync of the folder. Raises OSError with nothing left behind.
    """
    make_folder(target.parent)
    try:
        with temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)


def publish_folder(source: Path, target: Path) -> None:
    """Move a finished folder to its final name, durably; an orphan of the same name (a crash's leftover) gives way."""
    sync_files(source)
    move_folder(source, target)


def sync_files(folder: Path) -> None:
    """Make a folder's files survive a power cut."""
    for file in sorted(folder.iterdir()):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    fsync_folder(folder)


def move_folder(source: Path, target: Path) -> None:
    """Move a folder whose files are on the disk, durably; an orphan of the same name gives way."""
    make_folder(target.parent)
    if target.exists():
        shutil.rmtree(target)
    source.rename(target)
    fsync_folder(target.parent)


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each of a folder's files, in the order of their names."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def combined_digest(digests: Mapping[str, str]) -> str:
    """Return the SHA-256 over names and digests of a folder's files."""
    total = hashlib.sha256()
    for name, digest in digests.items():
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 over names and contents of a folder's files, in the order of their names."""
    return combined_digest(file_digests(folder))


def data_set_digest(path: Path, size: int) -> str:
    """Return the SHA-256 of the last `size` bytes of a file, its data set; of all where it is shorter."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - size, 0))
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def free_bytes(folder: Path) -> int:
    """Return the bytes that an unprivileged process may still write to the folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fsync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder that survives a power cut, where it is not there yet."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fsync_folder(folder.parent)
