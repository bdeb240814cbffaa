"""Planes of every awkward kind, and where the golden values lie that TensorFlow made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cxr_legacy_resize.npz"
# Every 91st row and column: sizes that share no factor with the steps of the resize.
STEP = 91

SIZES = ((64, 64), (373, 454), (1023, 1), (1280, 1280), (1281, 1279), (2048, 1024), (2500, 3000), (4280, 3521))


def planes() -> dict[str, NDArray[Any]]:
    """Return the planes, by name: noise of odd sizes in 16 and 8 bit, flat ones, and the ends of the scale."""
    made: dict[str, NDArray[Any]] = {}
    for rows, columns in SIZES:
        made[f"noise-{rows}x{columns}"] = noise(rows, columns)
    made["noise-8bit-401x733"] = (noise(401, 733) >> 8).astype(np.uint8)
    made["flat-0"] = np.zeros((300, 200), dtype=np.uint16)
    made["flat-65535"] = np.full((211, 97), 65535, dtype=np.uint16)
    made["one-step"] = np.full((777, 555), 65534, dtype=np.uint16)
    made["one-step"][300:, 200:] = 65535
    made["black-and-white"] = (np.indices((640, 640)).sum(axis=0) % 2 * 65535).astype(np.uint16)
    made["one-white-pixel"] = np.zeros((1500, 1500), dtype=np.uint16)
    made["one-white-pixel"][700, 901] = 65535
    return made


def noise(rows: int, columns: int) -> NDArray[np.uint16]:
    """Return 16-bit noise from arithmetic alone, the same on every machine and in every version of numpy."""
    y, x = np.indices((rows, columns), dtype=np.uint64)
    mixed = (y * np.uint64(2654435761) + x * np.uint64(40503) + np.uint64(12345)) % np.uint64(2**32)
    mixed ^= mixed >> np.uint64(15)
    mixed = (mixed * np.uint64(2246822519)) % np.uint64(2**32)
    return (mixed >> np.uint64(16)).astype(np.uint16)


def sampled(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the positions of a [1280, 1280] plane that are kept as golden values, its last row and column too."""
    chosen = [*range(0, 1280, STEP), 1279]
    return plane[np.ix_(chosen, chosen)]
