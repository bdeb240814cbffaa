"""The preprocessed images on disk, so that an epoch costs what the network costs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from dicom_node.inference import preprocess
from dicom_node.inference.preprocess import LCN_LETTERBOX_512, prepare
from dicom_node.lab.progress import track

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.lab.dataset import Box, Image

CELLS: Final = 32
SIDE: Final = 512
# Inputs lie in [-5, 5]: 16-bit whole numbers hold them to 1/6000, and OpenCV can warp them as they are.
CODE_SCALE: Final = 6000.0


@dataclass(frozen=True, slots=True)
class Cache:
    """Preprocessed inputs, row for row with the list of images.

    inputs: int16 [n, 512, 512] (a memory map), the model's input times CODE_SCALE. body: bool [n, 32, 32].
    readable: bool [n]. scale and pad: [n, 2] as (y, x). intensity: [n, 4], mean, deviation and the 5th and 95th
    percentile of the raw grey levels.
    """

    inputs: NDArray[np.int16]
    body: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    scale: NDArray[np.float64]
    pad: NDArray[np.float64]
    intensity: NDArray[np.float64]

    def tensors(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the model's inputs [n, 1, 512, 512] of these rows."""
        tensors: NDArray[np.float32] = np.asarray(self.inputs[indices], dtype=np.float32)[:, None] / np.float32(
            CODE_SCALE
        )
        return tensors

    def input_boxes(self, index: int, boxes: Sequence[Box]) -> list[Box]:
        """Return boxes of the file as (top, left, bottom, right) in input pixels."""
        (scale_y, scale_x), (pad_y, pad_x) = self.scale[index], self.pad[index]
        return [
            (y * scale_y + pad_y, x * scale_x + pad_x, (y + h) * scale_y + pad_y, (x + w) * scale_x + pad_x)
            for x, y, w, h in boxes
        ]


def read_grey(path: Path) -> NDArray[np.uint16] | None:
    """Return an 8-bit image file as uint16 over the full range, or None where it cannot be decoded."""
    eight = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if eight is None:
        return None
    grey: NDArray[np.uint16] = np.asarray(eight, dtype=np.uint16) * np.uint16(257)
    return grey


def build(images: Sequence[Image], data: Path, folder: Path) -> Cache:
    """Return the cache of these images, made in this folder unless it is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "stamp.json"
    code = hashlib.sha256(Path(preprocess.__file__).read_bytes()).hexdigest()
    wanted = {"preprocessing": LCN_LETTERBOX_512, "code": code, "images": _digest(images), "scale": CODE_SCALE}
    if not (stamp.exists() and json.loads(stamp.read_text(encoding="utf-8")) == wanted):
        _fill(images, data, folder)
        stamp.write_text(json.dumps(wanted), encoding="utf-8")
    with np.load(folder / "facts.npz") as facts:
        return Cache(
            inputs=np.load(folder / "inputs.npy", mmap_mode="r"),
            **{name: facts[name] for name in ("body", "readable", "scale", "pad", "intensity")},
        )


def _digest(images: Sequence[Image]) -> str:
    listing = "\n".join(f"{image.name} {image.file_bytes}" for image in images)
    return hashlib.sha256(listing.encode()).hexdigest()


def _fill(images: Sequence[Image], data: Path, folder: Path) -> None:
    n = len(images)
    # Aside: a training that is running keeps reading the old file.
    aside = folder / "inputs.npy.new"
    inputs = np.lib.format.open_memmap(aside, "w+", np.dtype(np.int16), (n, SIDE, SIDE))
    body = np.zeros((n, CELLS, CELLS), dtype=np.bool_)
    readable = np.zeros(n, dtype=np.bool_)
    scale, pad, intensity = np.ones((n, 2)), np.zeros((n, 2)), np.zeros((n, 4))
    for index, image in enumerate(track(images, "preprocessing")):
        grey = read_grey(data / "images" / image.name)
        if grey is None:
            continue
        prepared = prepare(LCN_LETTERBOX_512, grey)
        geometry = prepared.geometry
        inputs[index] = np.rint(prepared.tensor[0, 0] * CODE_SCALE).astype(np.int16)
        body[index] = prepared.body_cells(CELLS, CELLS)
        scale[index] = geometry.scale_y, geometry.scale_x
        pad[index] = geometry.pad_top, geometry.pad_left
        intensity[index] = grey.mean(), grey.std(), *np.percentile(grey[::4, ::4], (5, 95))
        readable[index] = True
    inputs.flush()
    aside.replace(folder / "inputs.npy")
    np.savez(folder / "facts.npz", body=body, readable=readable, scale=scale, pad=pad, intensity=intensity)
