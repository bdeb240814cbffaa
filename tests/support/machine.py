"""A machine in namespaces of its own: systemd boots as PID 1 with this checkout's units, installed as a package would.

Nothing of the host changes: the mounts, the network, the processes and the control groups are the machine's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = REPOSITORY / "systemd"
SYSTEMD = Path("/lib/systemd/systemd")
#: Targets that every system has, empty here, so that the units are used as they are.
TARGETS = ("sysinit", "basic", "shutdown", "sockets", "network-online", "multi-user", "umount", "final", "default")
_ENVIRONMENT = ("PYTHONPATH=/opt/dicom-node/source", "LD_LIBRARY_PATH=/opt/dicom-node/python/lib")
_PYTHON = "/opt/dicom-node/current/bin/python"
_CGROUPS = Path("/sys/fs/cgroup")

_ENTER = r"""
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
  [ -e "$hierarchy/cgroup.procs" ] && mkdir -p "$hierarchy/$NAME" 2>/dev/null || continue
  for file in cpuset.cpus cpuset.mems; do
    if [ -e "$hierarchy/$NAME/$file" ]; then cat "$hierarchy/$file" >"$hierarchy/$NAME/$file"; fi
  done
  echo $$ >"$hierarchy/$NAME/cgroup.procs" 2>/dev/null || true
done
exec unshare --fork --kill-child --pid --mount --uts --ipc --net --cgroup --mount-proc bash -c "$BOOT"
"""
_BOOT = r"""
set -e
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
cp -a /etc/. "$ROOT/etc"
mount --bind "$ROOT/etc" /etc
systemd-sysusers "$UNITS/dicom-node.sysusers"
mount -t tmpfs tmpfs /opt
mkdir -p /opt/dicom-node/current/bin /opt/dicom-node/current/lib /opt/dicom-node/python /opt/dicom-node/source
# The virtual environment as it is, on its interpreter, which may lie where no service may look.
mount --bind "$BASE" /opt/dicom-node/python
mount --bind "$VENV/lib" /opt/dicom-node/current/lib
ln -s "/opt/dicom-node/python/bin/$PYTHON" /opt/dicom-node/current/bin/python
echo "home = /opt/dicom-node/python/bin" >/opt/dicom-node/current/pyvenv.cfg
mount --bind "$REPOSITORY" /opt/dicom-node/source
mount -t tmpfs tmpfs /var/lib
systemd-tmpfiles --create "$UNITS/dicom-node.tmpfiles"
chgrp dicom-node /etc/dicom-node/dicom-node.toml
chmod 640 /etc/dicom-node/dicom-node.toml
export SYSTEMD_UNIT_PATH="$ROOT/units" container=dicom-node-test
exec /lib/systemd/systemd --system --log-target=console --show-status=no </dev/null >"$ROOT/systemd.log" 2>&1
"""


def missing() -> str:
    """Return what keeps such a machine from booting here, or nothing."""
    if os.geteuid() != 0:
        return "root (systemd as PID 1 in private namespaces)"
    if not SYSTEMD.exists() or not shutil.which("systemctl"):
        return "systemd"
    if not shutil.which("unshare") or not shutil.which("nsenter") or not shutil.which("ip"):
        return "unshare, nsenter and ip"
    namespaces = ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--mount-proc"]
    tried = subprocess.run([*namespaces, "mount", "-t", "tmpfs", "t", "/mnt"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "the right to make namespaces"


class Machine:
    """One booted system; `start` and `stop` its units with `systemctl`."""

    def __init__(self, root: Path, config: str, *, drop_ins: dict[str, str] | None = None) -> None:
        self.root = root
        self._name = f"dicom-node-test-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self.outer_pid = 0
        (root / "etc" / "dicom-node").mkdir(parents=True)
        (root / "etc" / "dicom-node" / "dicom-node.toml").write_text(config)
        units = root / "units"
        units.mkdir()
        for target in TARGETS:
            (units / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
        for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.socket"), *UNITS.glob("*.target")]:
            shutil.copy(unit, units)
        source = f"[Service]\nEnvironment={' '.join(_ENVIRONMENT)}\n"
        source += "StandardOutput=append:/run/units.log\nStandardError=append:/run/units.log\n"
        for unit in ("dicom-node.service", "dicom-node-worker@.service", "dicom-node-page.service"):
            self._drop_in(unit, "source.conf", source)
        for unit, text in (drop_ins or {}).items():
            self._drop_in(unit, "test.conf", text)

    def _drop_in(self, unit: str, name: str, text: str) -> None:
        folder = self.root / "units" / f"{unit}.d"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    def __enter__(self) -> Self:
        environment = dict(
            os.environ,
            NAME=self._name,
            ROOT=str(self.root),
            UNITS=str(UNITS),
            VENV=sys.prefix,
            BASE=sys.base_prefix,
            PYTHON=f"python{sys.version_info.major}.{sys.version_info.minor}",
            REPOSITORY=str(REPOSITORY),
            BOOT=_BOOT,
        )
        environment.pop("PYTHONPATH", None)
        with (self.root / "boot.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", _ENTER], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            until(self._is_booted, 60, f"systemd runs; logs in {self.root}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for folder in [_CGROUPS, *_CGROUPS.iterdir()]:
            own = folder / self._name
            if own.is_dir():
                until(lambda own=own: _remove(own), 60, f"{own} is empty")

    def _is_booted(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            message = f"the machine did not boot: {(self.root / 'boot.log').read_text()[-1500:]}"
            raise RuntimeError(message)
        children = psutil.Process(self._process.pid).children()
        if not children or "systemd" not in children[0].name():
            return False
        self.outer_pid = children[0].pid
        return self.run("systemctl", "is-active", "default.target").stdout.strip() == "active"

    def _inside(self, *command: str) -> list[str]:
        target = ["nsenter", "-t", str(self.outer_pid)]
        return [*target, "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup", *command]

    @contextmanager
    def running(self, program: str) -> Iterator[None]:
        """Run lines of Python inside, beside what the block does, from their first line of output on."""
        command = self._inside("env", *_ENVIRONMENT, _PYTHON, "-c", program)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            try:
                yield
            finally:
                for inside in psutil.Process(process.pid).children():
                    inside.kill()

    def run(self, *command: str, check: bool = False, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command inside as root."""
        line = self._inside(*command)
        done = subprocess.run(line, input=given, capture_output=True, text=True, check=False, timeout=200)
        if check and done.returncode:
            message = f"{' '.join(command)} ended with {done.returncode}: {done.stderr}\n{self.log()[-3000:]}"
            raise RuntimeError(message)
        return done

    def systemctl(self, *words: str) -> str:
        """Run systemctl inside, and fail where it does."""
        return self.run("systemctl", *words, check=True).stdout.strip()

    def dicom_node(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `dicom-node …` inside as an administrator would, with sudo."""
        return self.run("env", *_ENVIRONMENT, _PYTHON, "-m", "dicom_node.cli.main", *words)

    def python(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a few lines of Python inside."""
        return self.run("env", *_ENVIRONMENT, _PYTHON, "-c", program)

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit)

    def pid(self, unit: str) -> int:
        """Return the main process's id, as seen inside."""
        return int(self.show(unit, "MainPID"))

    def log(self) -> str:
        """Return what the units wrote."""
        return self.run("cat", "/run/units.log").stdout


def _remove(folder: Path) -> bool:
    """Remove a control group and those below it; false while a process is still in one."""
    try:
        for below in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            below.rmdir()
        folder.rmdir()
    except OSError:
        return False
    return True
