"""Checks of the machine: clock, language, memory, Python and packages."""

from __future__ import annotations

import ctypes
import importlib.metadata
import locale
import os
import re
import sys
import time
from pathlib import Path

import dicom_node
from dicom_node.cli.doctor.findings import Finding, Patient, bad, good, note, unknown
from dicom_node.core.running import EARLIEST

_OLDEST, _NEWEST = (3, 10), (3, 14)
_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64-bit Linux
_TIME_ERROR, _STA_UNSYNC = 5, 0x0040
_NEEDED_MIB = 1024
_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?:\s*;\s*([^\\]+))?", re.IGNORECASE | re.MULTILINE)


def clock(_patient: Patient) -> Finding:
    """Check that the clock was set, and by NTP: reports and logs carry its time."""
    name = "clock"
    if time.time() < EARLIEST:
        do = "set it (timedatectl set-time, or NTP): reports carry this date, and certificates do not hold"
        return bad(name, f"shows {time.strftime('%Y-%m-%d')}: it was never set", do)
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: modes = 0 only asks
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:
        return unknown(name, "the kernel does not say")
    if state == _TIME_ERROR:
        return note(name, "not synchronised", "timedatectl set-ntp true, or chrony; reports carry this clock's time")
    return good(name, "synchronised")


def language(_patient: Patient) -> Finding:
    """Check that names of files and output are UTF-8."""
    encoding = locale.getpreferredencoding(False)  # noqa: FBT003 - the standard library's own parameter
    if encoding.lower().replace("-", "") != "utf8":
        return note("locale", encoding, "LANG=C.UTF-8; only what is printed here is affected")
    return good("locale", encoding)


def memory(_patient: Patient) -> Finding:
    """Check that there is memory for node, worker and decoder."""
    found = _meminfo()
    free = found["MemAvailable"]
    if free < _NEEDED_MIB:
        return bad("memory", f"{free} MiB available", "node and worker need about 1 GiB; end other programs")
    return good("memory", f"{free} MiB of {found['MemTotal']} available")


def swap(_patient: Patient) -> Finding:
    """Check that swap is not what the machine lives on."""
    found = _meminfo()
    total, used = found["SwapTotal"], found["SwapTotal"] - found["SwapFree"]
    if total and used > total // 2:
        return note("swap", f"{used} of {total} MiB used", "the machine has too little memory; images take longer")
    return good("swap", f"{used} of {total} MiB used" if total else "none")


def load(_patient: Patient) -> Finding:
    """Check that the processors are not busy with other things."""
    cores, now = os.cpu_count() or 1, os.getloadavg()[1]
    if now > 2 * cores:
        return note("load", f"{now:.1f} on {cores} cores", "other programs take the processors; images wait longer")
    return good("load", f"{now:.1f} on {cores} cores")


def python(_patient: Patient) -> Finding:
    """Check that Python is one that this program is tested with."""
    text = sys.version.split()[0]
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        return bad("Python", text, f"use {_OLDEST[0]}.{_OLDEST[1]} to {_NEWEST[0]}.{_NEWEST[1]}")
    return good("Python", text)


def packages(_patient: Patient) -> Finding:
    """Check that the packages are those of the lock."""
    name, lock = "packages", _lock()
    if lock is None:
        return note(name, "no lock lies beside this installation", "install by scripts/install or the .deb")
    wanted = _pins(lock.read_text(encoding="utf-8"))
    installed = installed_versions()
    wrong = [
        f"{one} {installed[one]}, not {v}" for one, v in wanted.items() if one in installed and installed[one] != v
    ]
    if wrong:
        more = f" and {len(wrong) - 2} more" if len(wrong) > 2 else ""  # noqa: PLR2004 - two are named
        return bad(name, "; ".join(wrong[:2]) + more, "install again; other versions were not tested together")
    return good(name, f"{len(wanted)} as locked")


CHECKS = (clock, language, memory, swap, load, python, packages)


def installed_versions() -> dict[str, str]:
    """Return the installed packages with their versions."""
    return {_canonical(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}


def _meminfo() -> dict[str, int]:
    """Return /proc/meminfo in MiB."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines}


def _lock() -> Path | None:
    checkout = Path(dicom_node.__file__).parents[1] / "scripts" / "locks" / "serve.txt"
    return next((file for file in (Path(sys.prefix) / "serve.lock", checkout) if file.exists()), None)


def _pins(text: str) -> dict[str, str]:
    """Return the versions of a lock that count for this Python; one with a marker may be for another."""
    pins: dict[str, set[str]] = {}
    for match in _PIN.finditer(text):
        pins.setdefault(_canonical(match[1]), set()).add(match[2])
    return {name: versions.pop() for name, versions in pins.items() if len(versions) == 1}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
