"""What this machine is: memory, driver, L4T, power, read from where the kernel and L4T write them.

Each function takes the root of the file system, and returns None where this machine does not say.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_L4T: Final = re.compile(r"R(\d+) \(release\), REVISION: ([\d.]+)")
_DRIVER: Final = re.compile(r"Kernel Module.*?\b(\d+\.\d+(?:\.\d+)?)\b")
_SAMPLE_S: Final = 0.05
_KIB: Final = 1024


def l4t(root: Path = _ROOT) -> str | None:
    """Return the version of Jetson Linux, such as 36.4.3."""
    match = _L4T.search(_text(root / "etc/nv_tegra_release"))
    return f"{match[1]}.{match[2]}" if match else None


def driver(root: Path = _ROOT) -> str | None:
    """Return the version of the NVIDIA kernel module, such as 540.4.0."""
    match = _DRIVER.search(_text(root / "proc/driver/nvidia/version"))
    return match[1] if match else None


def platform_name(cuda_driver: str, root: Path = _ROOT) -> str:
    """Return the part of a plan's key that names L4T and drivers; cuda_driver is CUDA's own version of it."""
    parts = [f"L4T {l4t(root)}" if l4t(root) else "", f"driver {driver(root)}" if driver(root) else ""]
    return ", ".join([part for part in parts if part] + [f"CUDA driver {cuda_driver}"])


def board(root: Path = _ROOT) -> str | None:
    """Return what the device tree calls this board."""
    return _text(root / "proc/device-tree/model").strip("\0 \n") or None


def memory(root: Path = _ROOT) -> tuple[int, int]:
    """Return total and available memory in bytes; on a Jetson the GPU takes its own from the same."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), flags=re.MULTILINE))
    return int(found.get("MemTotal", 0)) * _KIB, int(found.get("MemAvailable", 0)) * _KIB


def swap(root: Path = _ROOT) -> int:
    """Return the size of all swap in bytes."""
    match = re.search(r"^SwapTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), flags=re.MULTILINE)
    return int(match[1]) * _KIB if match else 0


def watts(root: Path = _ROOT) -> float | None:
    """Return what the whole module draws now, from the sensor that L4T labels VDD_IN."""
    for label in sorted((root / "sys/class/hwmon").glob("*/in*_label")):
        if _text(label).strip() == "VDD_IN":
            number = label.name.removeprefix("in").removesuffix("_label")
            millivolts = _text(label.with_name(f"in{number}_input")).strip()
            milliamperes = _text(label.with_name(f"curr{number}_input")).strip()
            if millivolts.isdigit() and milliamperes.isdigit():
                return int(millivolts) * int(milliamperes) / 1e6
    return None


def power_mode(root: Path = _ROOT) -> str | None:
    """Return the number of nvpmodel's mode as L4T keeps it."""
    match = re.search(r"pmode:0*(\d+)", _text(root / "var/lib/nvpmodel/status"))
    return match[1] if match else None


class MemoryWatch:
    """Watches, while a `with` block runs, how far available memory falls; peak_bytes is the largest fall so far.

    On a Jetson this holds what the GPU takes too. On a machine whose GPU has memory of its own it does not.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self.peak_bytes = 0
        self._root = root
        self._before = memory(root)[1]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)

    def __enter__(self) -> MemoryWatch:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._before - memory(self._root)[1])
            if self._ended.wait(_SAMPLE_S):
                return


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
