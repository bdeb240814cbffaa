"""Small data sets that cost a careless reader gigabytes (C22 to C26), sent by C-STORE as any other object."""

from __future__ import annotations

import time
import zlib
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from dicom_node.part10.header import DEFLATED
from tests.benchmarks.survive_receivers import CALLED
from tests.benchmarks.survive_table import Case, Sight
from tests.support.wire import ABORTED, ACCEPTED, CR, EXPLICIT, RawPeer, associate_rq, context
from tests.unit.part10.test_bombs import DATA_SETS
from tests.unit.part10.test_header import encoded

if TYPE_CHECKING:
    from tests.benchmarks.survive_receivers import Receiver
    from tests.benchmarks.survive_table import Scale

_LIMIT_S = 20.0
_MOST_S, _MOST_MB = 1.0, 50.0
_EXPECTED = f"{_MOST_S:.0f} s and {_MOST_MB:.0f} MB at most"
_SENT_AS = "1.2.3.4"
_RESULT = b"\x21\0"  # a presentation context in the answer; its result follows (PS3.8 9.3.3.2)
_NAMES = {
    "length": ("C22", "an element longer than the data set"),
    "nesting": ("C23", "20,000 nested items"),
    "error text": ("C24", "a broken value in 16 nested items"),
    "elements": ("C25", "a million elements, 8 MB"),
    "items": ("C25", "a million items, 8 MB"),
    "fragments": ("C25", "a million fragments, 8 MB"),
}


def _whole(bomb: bytes) -> bytes:
    """Return a data set that says what it is, as every receiver wants to know, and the bomb behind it."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = CR, _SENT_AS, "1.2.3", "1.2.3.1"
    ds.PatientID = "BENCH"
    return encoded(ds) + bomb


def _sent(receiver: Receiver, _scale: Scale, name: str) -> Sight:
    if name == "deflated":
        return _answered(receiver, _gibibyte(), DEFLATED)
    return _answered(receiver, _whole(DATA_SETS[name][0]), EXPLICIT)


@cache
def _gibibyte() -> bytes:
    """Return a data set whose pixel data of a GiB, all zero, were deflated."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    pieces = [compressor.compress(_whole(b"\xe0\x7f\x10\x00OW\0\0\0\0\0\x40"))]
    pieces += [compressor.compress(bytes(1 << 20)) for _ in range(1024)]
    return b"".join(pieces) + compressor.flush()


def _answered(receiver: Receiver, data: bytes, syntax: str) -> Sight:
    before, began = receiver.forget_peak(), time.monotonic()
    answer = _store(receiver, data, syntax)
    took, grown = time.monotonic() - began, receiver.grown_mb(before)
    after = receiver.after()
    text = f"{answer}, {took:.2f} s, {max(grown, 0):.0f} MB"
    held = took <= _MOST_S and grown <= _MOST_MB and not after
    return Sight(f"{text}; {after}" if after else text, held)


def _store(receiver: Receiver, data: bytes, syntax: str) -> str:
    """Return what a receiver answers, in words."""
    with suppress(OSError), RawPeer(receiver.port, timeout_s=_LIMIT_S) as peer:
        kind, body = peer.send(associate_rq(context(1, CR, (syntax,)), called=CALLED.encode())).pdu()
        if kind != ACCEPTED or body[body.index(_RESULT) + 6]:
            return "not accepted"
        try:
            return f"0x{peer.store(_SENT_AS, data, 16384):04X}"
        except AssertionError as unexpected:
            return "A-ABORT" if unexpected.args[0][0] == ABORTED else "closed"
        except TimeoutError:
            return f"no answer in {_LIMIT_S:.0f} s"
    return "closed"


CASES = (
    *(Case(number, what, _EXPECTED, partial(_sent, name=name)) for name, (number, what) in _NAMES.items()),
    Case("C26", "1 MB that inflates to a GiB", f"not accepted, {_EXPECTED}", partial(_sent, name="deflated")),
)
