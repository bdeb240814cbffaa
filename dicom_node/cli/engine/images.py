"""Images to try a runtime on: a folder of the user's own, else radiographs drawn by this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from dicom_node.cli.demo import anatomy
from dicom_node.cli.demo.exposure import BITS, expose
from dicom_node.cli.demo.phantom import phantoms
from dicom_node.core.errors import BundleError, NotAnalysable
from dicom_node.inference.acceptance import IMAGES_MIN
from dicom_node.part10.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

VARIANTS: Final = 16
DRAWN: Final = f"64 drawn radiographs: 4 views of 2 phantoms, each in {VARIANTS} positions and exposures"
_MOST: Final = 512  # of a folder; more tell nothing new
_EIGHT_TO_SIXTEEN: Final = 257


def trial_images(folder: Path | None) -> Iterator[NDArray[np.uint16]]:
    """Yield the images, uint16 with bone bright: the folder's (DICOM, PNG, JPEG, TIFF), or the drawn ones.

    Of a large folder 512 evenly spaced files are taken; files that are no image are passed over. Raises BundleError
    where the folder is not there.
    """
    if folder is None:
        yield from drawn()
        return
    paths = _files(folder)
    for path in paths[:: max(1, len(paths) // _MOST)]:
        grey = _read(path)
        if grey is not None:
            yield grey


def require_enough(folder: Path | None) -> None:
    """Raise BundleError where a folder cannot hold the images that a plan is tried on, before it is built."""
    found = IMAGES_MIN if folder is None else len(_files(folder))
    if found < IMAGES_MIN:
        message = f"{folder}: {found} files, a plan is tried on at least {IMAGES_MIN}; give more, or leave --images out"
        raise BundleError(message)


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        message = f"{folder}: not a folder; give --images a folder of radiographs"
        raise BundleError(message)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def drawn() -> Iterator[NDArray[np.uint16]]:
    """Yield 64 radiographs of the phantoms: each view turned, mirrored, enlarged and exposed in 16 ways, by number."""
    for phantom in phantoms():
        for index, view in enumerate(phantom.views):
            grey = expose(phantom.bones, anatomy.flesh(), view, "R", seed=1000 * phantom.number + index)
            for variant in range(VARIANTS):
                yield _vary(grey, variant)


def _vary(grey: NDArray[np.uint16], variant: int) -> NDArray[np.uint16]:
    """Return the image turned by up to 24 degrees, enlarged by up to 30 %, darker or brighter, with its own noise."""
    rows, columns = grey.shape
    turned = cv2.getRotationMatrix2D((columns / 2, rows / 2), 3.0 * (variant - 7), 1.0 + 0.02 * variant)
    moved = cv2.warpAffine(grey, turned, (columns, rows))
    unit = np.asarray(moved, dtype=np.float32) / (2**BITS - 1)
    noise = np.random.default_rng(variant).normal(0.0, 0.004, unit.shape).astype(np.float32)
    exposed = np.clip(unit, 0.0, 1.0) ** (0.7 + 0.05 * variant) + noise
    mirrored = exposed[:, ::-1] if variant % 2 else exposed
    return np.asarray(np.clip(mirrored, 0.0, 1.0) * 65535.0, dtype=np.uint16)


def _read(path: Path) -> NDArray[np.uint16] | None:
    plain = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if plain is not None:
        deep = np.asarray(plain, dtype=np.uint16)
        return deep * np.uint16(_EIGHT_TO_SIXTEEN) if plain.dtype == np.uint8 else deep
    try:
        return decode(path).grey
    except NotAnalysable:
        return None
