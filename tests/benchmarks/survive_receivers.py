"""The receivers that meet the same hostile peers: each a process in a folder of its own, killed where it grows too big.

The node is the process that serves the network (`dicom_node.services.node`), with every guard and sync on. The others
run with their own defaults.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support.authority import Authority
from tests.support.sender import storescu
from tests.support.waiting import free_port, is_open
from tests.support.wire import echo_answered

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from tests.support.authority import Certificate

CALLED = "BENCHSCP"
MOST_MB = 2000.0
"""Memory at which a receiver is killed, so that the machine stays usable."""
_MB = 1e6
_FILE_LIMIT = f"--fsize={4 << 30}"  # bytes a file may have
_SAMPLE_S = 0.02
#: DCMTK and Debian's Orthanc leave Nagle's algorithm on, 40 ms an answer; other builds switch it off, which is fair.
_NODELAY = {"TCP_NODELAY": "1"}
_STARTS, _START_S = 3, 30.0


@dataclass(frozen=True)
class Tls:
    """Certificates for a receiver with TLS, and for an honest client of it."""

    ca: Path
    server: Certificate
    client: Certificate

    @classmethod
    def made(cls, folder: Path) -> Tls:
        """Make a CA and what it signs."""
        folder.mkdir()
        authority = Authority(folder, "ca")
        return cls(authority.own.certificate, authority.sign("server"), authority.sign("client"))


def _node(folder: Path, port: int, tls: Tls | None) -> list[str]:
    lines = [f'[node]\nae_title = "{CALLED}"\nport = {port}\nstate_dir = "{folder / "files"}"\nreserve_mib = 64']
    if tls:
        files = {"certificate": tls.server.certificate, "key": tls.server.key, "ca": tls.ca}
        lines += ["[node.tls]", *(f'{key} = "{path}"' for key, path in files.items())]
    lines += ["[study]", "quiet_s = 3600.0", "max_wait_s = 7200.0", "[log]", 'format = "json"']
    config = folder / "node.toml"
    config.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "dicom_node.services.node", "--config", str(config)]


def _pynetdicom(folder: Path, port: int, tls: Tls | None) -> list[str]:
    if tls:
        return [sys.executable, "-c", _PYNETDICOM_TLS, str(port), *map(str, _files(tls)), str(tls.ca)]
    return [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-od", str(folder / "files"), str(port)]


#: Its own storescp has no TLS: this is the server of its documentation.
_PYNETDICOM_TLS = """
import ssl, sys
from pynetdicom import AE
port, key, certificate, ca = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain(certificate, key)
context.load_verify_locations(ca)
ae = AE()
ae.add_supported_context("1.2.840.10008.1.1")
ae.add_supported_context("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1")
ae.start_server(("127.0.0.1", int(port)), ssl_context=context)
"""


def _orthanc(folder: Path, port: int, tls: Tls | None) -> list[str]:
    files = str(folder / "files")
    settings: dict[str, object] = {"StorageDirectory": files, "IndexDirectory": files, "DicomAet": CALLED}
    settings |= {"HttpServerEnabled": False, "Plugins": [], "DicomPort": port}
    if tls:
        key, certificate = map(str, _files(tls))
        settings |= {"DicomTlsEnabled": True, "DicomTlsPrivateKey": key, "DicomTlsCertificate": certificate}
        settings |= {"DicomTlsTrustedCertificates": str(tls.ca)}
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    return ["Orthanc", str(config)]


def _storescp(folder: Path, port: int, tls: Tls | None) -> list[str]:
    secured = ["+tls", *map(str, _files(tls)), "+cf", str(tls.ca)] if tls else []
    program = Path(storescu() or "storescu").with_name("storescp")
    return [str(program), "-q", "+xa", *secured, "-od", str(folder / "files"), str(port)]


def _storescp_fork(folder: Path, port: int, tls: Tls | None) -> list[str]:
    program, *rest = _storescp(folder, port, tls)
    return [program, "--fork", *rest]


def _files(tls: Tls) -> tuple[Path, Path]:
    return tls.server.key, tls.server.certificate


RECEIVERS: dict[str, Callable[[Path, int, Tls | None], list[str]]] = {
    "dicom-node": _node,
    "pynetdicom": _pynetdicom,
    "Orthanc": _orthanc,
    "DCMTK": _storescp,
    "DCMTK --fork": _storescp_fork,
}


def is_installed(name: str) -> bool:
    """Tell whether a receiver can be run here."""
    program = {"Orthanc": "Orthanc"}.get(name, "storescp" if name.startswith("DCMTK") else sys.executable)
    return shutil.which(program) is not None


class DoesNotStartError(Exception):
    """A receiver ended at once or never listened, with the end of its log."""


class Receiver:
    """A running receiver."""

    def __init__(self, name: str, folder: Path, tls: Tls | None = None) -> None:
        self.name, self.is_node = name, name == "dicom-node"
        self.folder, self.tls = folder, tls
        self.port = 0
        self.ended = ""  # why it is no longer there, in words
        self.peak_mb = 0.0
        (folder / "files").mkdir(parents=True, exist_ok=True)
        self._stop = threading.Event()

    def command(self) -> list[str]:
        """Return the command of this receiver on its port, its settings written."""
        return RECEIVERS[self.name](self.folder, self.port, self.tls)

    def __enter__(self) -> Self:
        for _ in range(_STARTS):
            if self._listens():
                break
        else:
            message = f"does not start: {(self.folder / 'log').read_text(errors='replace')[-200:]}"
            raise DoesNotStartError(message)
        time.sleep(0.5)  # what it does at its start is over then
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()
        return self

    def _listens(self) -> bool:
        """Start it; false where it has ended or says nothing, as where another program was given its port meanwhile."""
        self.port, end = free_port(), time.monotonic() + _START_S
        with (self.folder / "log").open("wb") as log:
            line = ["prlimit", "--core=0", _FILE_LIMIT, *self.command()]
            environment = {**os.environ, **_NODELAY}
            self._popen = subprocess.Popen(line, stdout=log, stderr=log, env=environment, start_new_session=True)
        while self.alive() and time.monotonic() < end:
            if is_open(self.port):
                return True
            time.sleep(0.1)
        self._kill()
        return False

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watch.join()
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def alive(self) -> bool:
        """Tell whether it is still the process that was started."""
        return self._popen.poll() is None

    def terminate(self, limit_s: float) -> tuple[int | None, float]:
        """Send SIGTERM; returns its exit status, None where it was still there after limit_s, and the seconds."""
        started = time.monotonic()
        self._stop.set()
        self._popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(limit_s)
        return self._popen.poll(), time.monotonic() - started

    def memory_mb(self) -> float:
        """Return its memory: of one process what is resident, of several what each adds to it (PSS)."""
        pids = self._pids()
        if len(pids) == 1:
            return _resident_mb(pids[0])
        return sum(_proportional_mb(pid) for pid in pids)

    def grown_mb(self, before: float) -> float:
        """Return by how much its peak since `forget_peak` is above what it was."""
        return max(self.peak_mb, self.memory_mb()) - before

    def forget_peak(self) -> float:
        """Begin a new peak; returns the memory now, MB."""
        self.peak_mb = self.memory_mb()
        return self.peak_mb

    def threads(self) -> int:
        """Return how many threads it has, its children's too."""
        return sum(len(list(Path(f"/proc/{pid}/task").glob("*"))) for pid in self._pids())

    def cpu_s(self) -> float:
        """Return the CPU seconds that it used so far."""
        used = 0.0
        for pid in self._pids():
            with suppress(psutil.Error):
                used += sum(psutil.Process(pid).cpu_times()[:2])
        return used

    def kept_bytes(self) -> int:
        """Return the bytes of all its files."""
        sizes = 0
        for path in (self.folder / "files").rglob("*"):
            with suppress(OSError):
                sizes += path.stat().st_size if path.is_file() else 0
        return sizes

    def echo_s(self, limit_s: float = 3.0) -> float | None:
        """Return the seconds of an honest peer's C-ECHO, association and all; None where it has no answer."""
        started = time.monotonic()
        try:
            echo_answered(self.port, called=CALLED.encode(), timeout_s=limit_s)
        except (AssertionError, OSError):
            return None
        return time.monotonic() - started

    def after(self) -> str:
        """Return what is to be said of it after a case: empty where it lives and serves."""
        if self.ended or not self.alive():
            status = self._popen.wait()
            return self.ended or (f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}")
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            if self.echo_s() is not None:
                return ""
            time.sleep(0.2)
        return "no C-ECHO 10 s later"

    def _pids(self) -> list[int]:
        pid = self._popen.pid
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
            return [pid, *map(int, children)]
        return [pid]

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            used = self.memory_mb()
            self.peak_mb = max(self.peak_mb, used)
            if used > MOST_MB:
                self.ended = f"killed at {MOST_MB / 1e3:.0f} GB"
                self._kill()

    def _kill(self) -> None:
        for pid in reversed(self._pids()):
            with suppress(psutil.Error):
                psutil.Process(pid).kill()
        self._popen.wait()


def _resident_mb(pid: int) -> float:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096 / _MB
    return 0.0


def _proportional_mb(pid: int) -> float:
    with suppress(OSError, IndexError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        return int(text.partition("\nPss:")[2].split()[0]) * 1024 / _MB
    return 0.0


class Crowd:
    """Many connections that are opened without waiting for each, from several addresses; closed ones are renewed."""

    def __init__(self, port: int, addresses: int, first: bytes = b"", network: int = 1) -> None:
        self._port, self._addresses, self._first, self._network = port, addresses, first, network
        self._number = 0
        self._open: list[socket.socket] = []
        self.closed = 0  # by the receiver

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._open:
            sock.close()

    def grow(self, count: int) -> None:
        """Open more; each sends its first bytes, if it has any, as soon as it is connected."""
        fresh = [self._opened() for _ in range(count)]
        self._open += fresh
        time.sleep(0.2)
        self.say(self._first, fresh)

    def say(self, data: bytes, who: list[socket.socket] | None = None) -> None:
        """Let all, or some, send bytes."""
        for sock in self._open if who is None else who:
            with suppress(OSError):
                sock.send(data)

    def renew(self) -> None:
        """Replace those that the receiver has closed."""
        self.grow(self.drop_closed())

    def drop_closed(self) -> int:
        """Forget those that the receiver has closed; returns how many."""
        gone = [sock for sock in self._open if _is_closed(sock)]
        for sock in gone:
            sock.close()
        self._open = [sock for sock in self._open if sock not in gone]
        self.closed += len(gone)
        return len(gone)

    def _opened(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003 - named so by the library
        sock.bind((f"127.{self._network}.0.{self._number % self._addresses + 1}", 0))
        self._number += 1
        sock.connect_ex(("127.0.0.1", self._port))
        return sock


def _is_closed(sock: socket.socket) -> bool:
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
