"""Small files that ask for gigabytes (C23 to C28): how long until each is refused, and with how much memory.

Each is read in a process of its own that has done the same to a harmless file, so that what is counted is the file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.survive_table import Sight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.survive_table import Scale

REPOSITORY = Path(__file__).resolve().parents[2]
_MOST_MB = 50.0
_DECODE_S = 0.05
_ROUNDS = 5  # the fastest counts: the machine does other things too

# Seconds. A hundred thousand elements are within the bound and have to be looked at one by one.
SCANS = {"nesting": 0.1, "error text": 0.1, "elements": 0.5, "items": 0.1, "length": 0.1, "fragments": 0.1}
DECODES = ("JPEG", "JPEG-LS", "JPEG 2000", "RLE")

_PROGRAM = """
import sys, time
from pathlib import Path
from tests.benchmarks.bombs import made, memory_mb, read
kind, name = sys.argv[1:]
read(kind, made(kind, "harmless"))
bomb = made(kind, name)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = memory_mb("VmRSS")
began = time.perf_counter()
answer = read(kind, bomb)
took = time.perf_counter() - began
print(took, memory_mb("VmHWM") - before, answer, sep="|")
"""


def rows(_folder: Path, _scale: Scale) -> Iterator[tuple[str, str, Sight]]:
    """Yield every bomb, what is promised, and what was seen of the node's own reader and decoder."""
    for name, most_s in SCANS.items():
        yield _row("scan", name, most_s)
    for name in DECODES:
        yield _row("decode", name, _DECODE_S)


def _row(kind: str, name: str, most_s: float) -> tuple[str, str, Sight]:
    runs = [_once(kind, name) for _ in range(_ROUNDS)]
    took, grown = min(run[0] for run in runs), max(run[1] for run in runs)
    answer = runs[0][2]
    expected = f"{most_s * 1e3:.0f} ms and {_MOST_MB:.0f} MB at most"
    held = took <= most_s and grown <= _MOST_MB
    return f"{kind}: {name}", expected, Sight(f"{took * 1e3:.1f} ms, {grown:+.1f} MB: {answer}", held)


def _once(kind: str, name: str) -> tuple[float, float, str]:
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, kind, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    took, grown, answer = done.stdout.strip().split("|")
    return float(took), float(grown), answer


def memory_mb(field: str) -> float:
    """Return a field of this process's memory: VmRSS now, VmHWM at its peak."""
    text = Path("/proc/self/status").read_text(encoding="ascii").partition(f"{field}:")[2]
    return int(text.split()[0]) / 1024


def made(kind: str, name: str) -> Any:
    """Make the bomb, within the measured process; or a harmless file of its kind."""
    from tests.unit.part10 import test_bombs as bombs  # noqa: PLC0415 - only the child needs them

    if kind == "scan":
        return bombs.encoded(bombs.a_radiograph()) if name == "harmless" else bombs.DATA_SETS[name][0]
    return bombs.bomb_frames()["JPEG-LS" if name == "harmless" else name]


def read(kind: str, bomb: Any) -> str:
    """Read the bomb; returns what it was refused for."""
    return _scan(bomb) if kind == "scan" else _decode(*bomb)


def _scan(data: bytes) -> str:
    from dicom_node.core.errors import MalformedDataSet  # noqa: PLC0415 - only the child reads
    from dicom_node.part10.header import scan  # noqa: PLC0415

    try:
        scan(data, "1.2.840.10008.1.2.1")
    except MalformedDataSet as error:
        return str(error)
    return "read, no value converted"


def _decode(syntax: str, frame: bytes) -> str:
    from dicom_node.core.errors import NotAnalysable  # noqa: PLC0415
    from dicom_node.part10 import decode  # noqa: PLC0415

    layout = decode._Layout(64, 64, 8, 8, 0, signed=False)
    try:
        if syntax == decode._RLE:
            decode._run_length(layout, frame)
        else:
            decode._compressed(layout, frame, decode._FAMILIES[syntax])
    except NotAnalysable as refused:
        return refused.reason.text
    return "decoded"
