"""From stored codes to the greys a reader sees: Modality LUT, VOI, polarity (PS3.3 C.11, PS3.4 N.2).

At most 65,536 different codes can occur, so the whole chain runs once over a table of them and never over the pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

KEYWORDS: Final = (
    "PhotometricInterpretation",
    "PresentationLUTShape",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
)
"""The attributes that decide how a code becomes a grey."""

TRANSFORM: Final = "greyscale 1"
"""Names what makes greys of stored values; a change of a single grey makes it the next number."""

_WHITE: Final = 65535
_LUT_ENTRIES_MAX: Final = 65536


def code_values(bits: int, *, signed: bool) -> NDArray[np.float64]:
    """Return the stored value (float64) that each code 0 … 2**bits-1 stands for."""
    values = np.arange(1 << bits, dtype=np.float64)
    if signed:
        values[1 << (bits - 1) :] -= float(1 << bits)
    return values


def grey_table(
    dataset: Dataset, values: NDArray[np.float64], present: Callable[[], NDArray[np.bool_]], *, little_endian: bool
) -> NDArray[np.uint16]:
    """Return the grey (uint16, 65535 = white) of every code.

    values: the stored value of each code; present: which codes occur in the image, asked only where no VOI is given.
    Raises NotAnalysable where a table is shorter than it says, or a factor is not a number.
    """
    actual = _modality(dataset, values, little_endian=little_endian)
    share = _voi(dataset, actual, little_endian=little_endian)
    if share is None:
        share = _full_range(actual, present() & ~_padding(dataset, values))
    if is_inverse(dataset):
        share = 1.0 - share
    return np.asarray(np.rint(np.clip(share, 0.0, 1.0) * _WHITE), dtype=np.uint16)


def _modality(dataset: Dataset, values: NDArray[np.float64], *, little_endian: bool) -> NDArray[np.float64]:
    item = _first_item(dataset, "ModalityLUTSequence")
    if item is not None:
        table, first, _bits = lookup_table(item, signed=bool(values.min() < 0), little_endian=little_endian)
        return _look_up(values, table, first)
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if slope is None or intercept is None:
        return values
    if not np.isfinite([slope, intercept]).all() or slope == 0.0:
        _refuse("the image's rescale slope or intercept is not usable")
    return values * slope + intercept


def _voi(dataset: Dataset, actual: NDArray[np.float64], *, little_endian: bool) -> NDArray[np.float64] | None:
    """Return the share of white after the first VOI LUT or window, or None where there is neither."""
    item = _first_item(dataset, "VOILUTSequence")
    if item is not None:
        table, first, bits = lookup_table(item, signed=bool(actual.min() < 0), little_endian=little_endian)
        # Some writers name fewer bits than their entries use; the larger range keeps them from wrapping.
        top = max(float((1 << bits) - 1), float(table.max()))
        return _look_up(np.rint(actual), table, first) / top
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if center is None or width is None or not np.isfinite([center, width]).all():
        return None
    return _window(actual, center, width, _text(dataset, "VOILUTFunction") or "LINEAR")


def _window(actual: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64] | None:
    """Return the share of white under a window (PS3.3 C.11.2.1.2), or None where its width allows none."""
    if function == "SIGMOID" and width > 0.0:
        exponent = np.clip(-4.0 * (actual - center) / width, -700.0, 700.0)  # beyond it exp() overflows
        return np.asarray(1.0 / (1.0 + np.exp(exponent)), dtype=np.float64)
    if function == "LINEAR_EXACT" and width > 0.0:
        return np.asarray(np.clip((actual - center) / width + 0.5, 0.0, 1.0), dtype=np.float64)
    if width < 1.0:
        return None
    if width == 1.0:
        return np.asarray(actual > center - 0.5, dtype=np.float64)
    return np.asarray(np.clip((actual - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0), dtype=np.float64)


def _full_range(actual: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Spread the values that occur over the whole range: files without a VOI seldom use all their bits."""
    seen = actual[present]
    if seen.size == 0 or seen.min() == seen.max():
        return np.zeros_like(actual)
    low, high = float(seen.min()), float(seen.max())
    return np.asarray(np.clip((actual - low) / (high - low), 0.0, 1.0), dtype=np.float64)


def _padding(dataset: Dataset, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which codes are padding (PS3.3 C.7.5.1.1.2): they must not stretch the range."""
    value = _number(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(values.shape, dtype=np.bool_)
    limit = _number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return np.asarray((values >= low) & (values <= high), dtype=np.bool_)


def is_inverse(dataset: Dataset) -> bool:
    """Tell whether low values are bright."""
    # MONOCHROME1 and the shape INVERSE say the same thing and stand together in a DX image: inverted once, not twice.
    monochrome1 = _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    return monochrome1 or _text(dataset, "PresentationLUTShape") == "INVERSE"


def lookup_table(item: Dataset, *, signed: bool, little_endian: bool) -> tuple[NDArray[np.float64], int, int]:
    """Return a LUT's entries, the first value mapped and the bits of an entry (PS3.3 C.11.1.1)."""
    count, first, bits = (int(number) for number in item["LUTDescriptor"].value)
    count = count or _LUT_ENTRIES_MAX
    if not 0 < count <= _LUT_ENTRIES_MAX or not 1 <= bits <= 16:  # noqa: PLR2004 - 8 to 16 in the standard
        _refuse("a look-up table of the image has an impossible descriptor")
    if signed and first > 0x7FFF:  # noqa: PLR2004 - written as US where SS was meant
        first -= 0x10000
    entries = _entries(item["LUTData"].value, count, little_endian=little_endian)
    if entries.size < count:
        _refuse("a look-up table of the image holds fewer entries than it says")
    return entries[:count].astype(np.float64), first, bits


def _entries(data: Any, count: int, *, little_endian: bool) -> NDArray[np.uint16]:
    if isinstance(data, bytes):
        if count <= len(data) <= count + 1:  # one byte an entry, which the standard allows for 8-bit tables
            return np.frombuffer(data, dtype=np.uint8).astype(np.uint16)
        order = "<u2" if little_endian else ">u2"
        return np.frombuffer(data, dtype=order, count=len(data) // 2).astype(np.uint16)
    return np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)


def _look_up(values: NDArray[np.float64], table: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    index = np.clip(values - first, 0, table.size - 1).astype(np.intp)
    return np.asarray(table[index], dtype=np.float64)


def _first_item(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    if value is not None and not isinstance(value, (str, bytes)) and hasattr(value, "__getitem__"):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return value.strip().upper() if isinstance(value, str) else ""


def _refuse(text: str) -> NoReturn:
    raise NotAnalysable(Reason(ReasonCode.UNDECODABLE, text))
