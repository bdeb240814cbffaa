"""A disk so small that it can be filled, and a node on it whose acknowledgements are held against what it kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.ledger.audit import verify
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders, data_set_digest
from tests.support.waiting import free_port, is_open, until
from tests.support.wire import CR, EXPLICIT, RawPeer, associate_rq, context
from tests.unit.part10.test_header import a_radiograph, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

_HEAD = 132  # preamble and "DICM": what any file that holds a part of an instance begins with


def missing() -> str:
    """Return what is needed for a disk of our own and is not here; empty where nothing is."""
    if os.geteuid() != 0:
        return "root, to mount a small disk"
    line = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    with suppress(OSError):
        if subprocess.run(line, check=False, capture_output=True).returncode == 0:
            return ""
    return "leave to mount a small disk"


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs of these options (size=64m, nr_inodes=1000) on a folder that is made for it."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class CrampedNode:
    """The process that serves the network, with its state on a small disk."""

    def __init__(self, folder: Path, disk: Path, reserve_mib: int, soft_mib: int, ledger_mib: int) -> None:
        self.port, self._folder, self._disk = free_port(), folder, disk
        self.state = StateFolders(disk / "state")
        self.acknowledged: dict[str, str] = {}  # SOP Instance UID: SHA-256 of what was sent
        self._number = 0
        text = f'[node]\nport = {self.port}\nstate_dir = "{self.state.root}"\nreserve_mib = {reserve_mib}\n'
        text += f"[keep]\nsoft_reserve_mib = {soft_mib}\nledger_reserve_mib = {ledger_mib}\n"
        text += '[study]\nquiet_s = 3600.0\nmax_wait_s = 7200.0\n[log]\nformat = "json"\n'
        (folder / "cramped.toml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        line = [sys.executable, "-m", "dicom_node.services.node", "--config", str(self._folder / "cramped.toml")]
        with (self._folder / "cramped.log").open("wb") as log:
            self._popen = subprocess.Popen(line, stdout=log, stderr=log)
        until(lambda: is_open(self.port), 60, f"the node listens; log: {self._folder / 'cramped.log'}")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int | None:
        """Stop it as systemd does; returns its exit status, None where it had to be killed."""
        self._popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self._popen.wait(60)
        self._popen.kill()
        self._popen.wait()
        return None

    def alive(self) -> bool:
        """Tell whether it is still the process that was started."""
        return self._popen.poll() is None

    def accepts(self) -> bool:
        """Tell whether a new association is accepted."""
        with RawPeer(self.port) as peer:
            return peer.send(associate_rq(context(1, CR, (EXPLICIT,)))).pdu()[0] == 2

    def store(self, size: int, peer: RawPeer | None = None) -> int:
        """Send an instance of so many bytes, on this association or on one of its own; returns the status."""
        if peer is None:
            with RawPeer(self.port) as own:
                return self.store(size, own.associate(context(1, CR, (EXPLICIT,))))
        self._number += 1
        ds = a_radiograph()
        ds.SOPInstanceUID = uid = f"1.2.3.39.{self._number}"
        ds.add_new(0x7FE00010, "OW", self._number.to_bytes(4, "little") * (size // 4))
        data = encoded(ds)
        status = peer.store(uid, data)
        if status == 0:
            self.acknowledged[uid] = hashlib.sha256(data).hexdigest()
        return status

    def until_refused(self, size: int, peer: RawPeer | None = None, most: int = 2000) -> int:
        """Send instances until one is not stored; returns its status."""
        for _ in range(most):
            status = self.store(size, peer)
            if status:
                return status
        return 0

    def ballast(self, mib: int) -> Path:
        """Take so much of the disk; whoever removes the file makes room."""
        path = self._disk / f"ballast-{mib}"
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, mib << 20)
        return path

    def fill(self) -> Path:
        """Take whatever is left, to the last page, and what the node gives its ledger when it sees that."""
        path = self._disk / "ballast"
        self._fill(path)
        until(lambda: not self.state.reserve.exists(), 60, "the ledger was given its reserve")
        self._fill(path)
        return path

    def _fill(self, path: Path) -> None:
        with suppress(OSError), path.open("ab", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass

    def take_inodes(self) -> Path:
        """Make files until no more can be made; returns their folder."""
        folder = self._disk / "files"
        folder.mkdir()
        with suppress(OSError):
            for number in range(1_000_000):
                (folder / str(number)).touch()
        return folder

    def problems(self) -> list[str]:
        """Return what is lost, torn or left half-written, once the node has stopped."""
        with closing(sqlite3.connect(self.state.ledger)) as connection:
            (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
            query = "SELECT sop_instance_uid, spool_key, size FROM instance WHERE is_current AND storage = 'spool'"
            rows = {uid: (key, size) for uid, key, size in connection.execute(query)}
        found = [] if whole == "ok" else [f"the ledger: {whole}"]
        verdict = verify(Overview(self.state.ledger).trail())
        found += [f"the trail: {verdict.problem}"] if verdict.problem else []
        for uid, digest in self.acknowledged.items():
            path = self.state.instance_path(rows[uid][0]) if uid in rows else None
            if path is None or not path.exists() or data_set_digest(path, rows[uid][1]) != digest:
                found.append(f"{uid} was acknowledged and is lost")
        found += [f"{uid} was refused and is kept" for uid in rows.keys() - self.acknowledged.keys()]
        files = list(self.state.instances.rglob("*.dcm"))
        found += [f"{len(files)} files for {len(rows)} instances"] if len(files) != len(rows) else []
        return found + [f"half-written: {path.name}" for path in self.state.incoming.iterdir() if _is_begun(path)]


def _is_begun(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_HEAD)[128:] == b"DICM"


def remove(ballast: Path) -> None:
    """Make room again."""
    if ballast.is_dir():
        shutil.rmtree(ballast)
    else:
        ballast.unlink()
