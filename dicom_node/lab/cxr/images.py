"""The images that an import is tried on: a user's radiographs, or drawn ones, and extremes to find an overflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from dicom_node.core.errors import NotAnalysable
from dicom_node.inference import quality
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})
_DRAWN: Final = 8
_TOP: Final = 65535


@dataclass(frozen=True, slots=True)
class Trial:
    """The planes (uint16) to try, whether they are radiographs, and how many files were of no use."""

    planes: tuple[NDArray[np.uint16], ...]
    real: bool
    skipped: int


def read(folder: Path | None, count: int) -> Trial:
    """Return up to `count` images, evenly spread over the sorted files; drawn ones where there is no folder.

    Files that cannot be decoded, or that the node would not analyse (flat, too small), are skipped and counted. Raises
    LabError where none is left.
    """
    if folder is None:
        return Trial(tuple(_drawn(number) for number in range(min(count, _DRAWN))), real=False, skipped=0)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    chosen = [files[int(place)] for place in np.linspace(0, len(files) - 1, min(count, len(files)))] if files else []
    planes = [plane for plane in map(_plane, chosen) if plane is not None]
    if not planes:
        message = (
            f"{folder}: holds no radiograph that can be read (PNG, JPEG, TIFF, BMP or WebP); give --images another"
        )
        raise LabError(message)
    return Trial(tuple(planes), real=True, skipped=len(chosen) - len(planes))


def extremes() -> dict[str, NDArray[np.uint16]]:
    """Return images at the ends of what can come in: flat, saturated, noise, single pixels, steps."""
    noise = np.random.default_rng(1).integers(0, _TOP + 1, (1500, 1200), dtype=np.uint16)
    y, x = np.indices((1280, 1280))
    white = np.full((900, 700), _TOP, dtype=np.uint16)
    dot = np.zeros((1280, 1280), dtype=np.uint16)
    dot[640, 640] = _TOP
    return {
        "flat black": np.zeros((900, 700), dtype=np.uint16),
        "flat white": white,
        "16-bit noise": noise,
        "black and white noise": np.where(noise > _TOP // 2, _TOP, 0).astype(np.uint16),
        "checkerboard, 1 pixel": ((y + x) % 2 * _TOP).astype(np.uint16),
        "checkerboard, 32 pixels": ((y // 32 + x // 32) % 2 * _TOP).astype(np.uint16),
        "white, one black pixel": (_TOP - dot).astype(np.uint16),
        "black, one white pixel": dot,
        "saturated, dark rim": np.pad(white, 40),
        "ramp": np.linspace(0, _TOP, 1280 * 1280).reshape(1280, 1280).astype(np.uint16),
    }


def _plane(path: Path) -> NDArray[np.uint16] | None:
    """Return an image's greys as uint16 over the full range, or None where it is of no use."""
    found = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if found is None or found.dtype not in (np.uint8, np.uint16):
        return None
    scale = np.uint16(257 if found.dtype == np.uint8 else 1)
    grey: NDArray[np.uint16] = np.asarray(found, dtype=np.uint16) * scale
    try:
        quality.check_image(grey)
    except NotAnalysable:
        return None
    return grey


def _drawn(number: int) -> NDArray[np.uint16]:
    """Return a limb of two bones, drawn: soft tissue, cortex and grain, another for every number."""
    random = np.random.default_rng(number)
    rows, columns = int(random.integers(900, 1500)), int(random.integers(600, 1100))
    canvas = np.zeros((rows, columns), dtype=np.float32)
    middle = (columns // 2, rows // 2)
    cv2.ellipse(canvas, middle, (columns // 3, rows // 2 - 20), 0, 0, 360, 14000, -1)
    for side in (-1, 1):
        x = middle[0] + side * columns // 9
        end = (x + int(random.integers(-20, 21)), rows - 60)
        cv2.line(canvas, (x, 60), end, 46000, columns // 9)
        cv2.line(canvas, (x, 60), end, 33000, columns // 14)
    soft = cv2.GaussianBlur(canvas, (0, 0), 3.0) + random.normal(0.0, 700.0, canvas.shape)
    return np.asarray(np.clip(soft, 0, _TOP), dtype=np.uint16)
