"""Small files that ask for gigabytes (C23 to C28): how long until each is refused, and with how much memory.

Each is read in a process of its own that has done the same to a harmless file, so that what is counted is the file.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_MOST_MB = 50.0
_DECODE_S = 0.05
_ROUNDS = 5  # the fastest counts: the machine does other things too

# Seconds. A hundred thousand elements are within the bound and have to be looked at one by one.
SCANS = {"nesting": 0.1, "error text": 0.1, "elements": 0.5, "items": 0.1, "length": 0.1, "fragments": 0.1}
DECODES = ("JPEG", "JPEG-LS", "JPEG 2000", "RLE")

_PROGRAM = """
import resource, sys, time
from pathlib import Path
from tests.benchmarks.bombs import read
kind, name = sys.argv[1:]
read(kind, "harmless")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
answer = read(kind, name)
took = time.perf_counter() - began
print(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, answer, sep="|")
"""


@dataclass(frozen=True)
class Seen:
    """A case's name, what is promised, what happened, and whether the promise held."""

    case: str
    expected: str
    seen: str
    held: bool


def measured() -> list[Seen]:
    """Return a row for every bomb."""
    return [_row("scan", name, most_s) for name, most_s in SCANS.items()] + [
        _row("decode", name, _DECODE_S) for name in DECODES
    ]


def _row(kind: str, name: str, most_s: float) -> Seen:
    runs = [_once(kind, name) for _ in range(_ROUNDS)]
    took, grown = min(run[0] for run in runs), max(run[1] for run in runs)
    answer = runs[0][2]
    expected = f"{most_s * 1e3:.0f} ms and {_MOST_MB:.0f} MB at most"
    held = took <= most_s and grown <= _MOST_MB
    return Seen(f"{kind}: {name}", expected, f"{took * 1e3:.1f} ms, {grown:+.1f} MB: {answer}", held)


def _once(kind: str, name: str) -> tuple[float, float, str]:
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, kind, name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    took, grown, answer = done.stdout.strip().split("|")
    return float(took), float(grown), answer


def read(kind: str, name: str) -> str:
    """Make the bomb and read it, within the measured process; returns what it was refused for."""
    return _scan(name) if kind == "scan" else _decode(name)


_MADE: dict[str, object] = {}


def _scan(name: str) -> str:
    from dicom_node.core.errors import MalformedDataSet  # noqa: PLC0415 - only the child reads
    from dicom_node.part10.header import scan  # noqa: PLC0415
    from tests.unit.part10 import test_bombs as bombs  # noqa: PLC0415

    data = bombs.encoded(bombs.a_radiograph()) if name == "harmless" else bombs.DATA_SETS[name][0]
    try:
        scan(data, bombs.EXPLICIT_LITTLE)
    except MalformedDataSet as error:
        return str(error)
    return "read, no value converted"


def _decode(name: str) -> str:
    import numpy as np  # noqa: PLC0415

    from dicom_node.core.errors import NotAnalysable  # noqa: PLC0415
    from dicom_node.part10 import codestream, decode  # noqa: PLC0415
    from tests.unit.part10 import test_bombs as bombs  # noqa: PLC0415

    frames = _MADE.setdefault("frames", bombs.bomb_frames())
    assert isinstance(frames, dict)
    layout = decode._Layout(64, 64, 8, 8, 0, signed=False)
    if name == "harmless":
        decode._CODECS[codestream.Family.JPEG_LS](decode.imagecodecs.jpegls_encode(np.zeros((64, 64), np.uint8)))
        return "decoded"
    syntax, frame = frames[name]
    try:
        if syntax == bombs.RLE:
            decode._run_length(layout, frame)
        else:
            decode._compressed(layout, frame, decode._FAMILIES[syntax])
    except NotAnalysable as refused:
        return refused.reason.text
    return "decoded"
