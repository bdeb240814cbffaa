"""Writing one picture in each transfer syntax that modalities send."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import imagecodecs
import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID


@dataclass(frozen=True)
class Syntax:
    """A transfer syntax and the depths it is used with."""

    uid: str
    bits: tuple[int, ...] = (8, 12, 16)


SYNTAXES = {
    "explicit": Syntax("1.2.840.10008.1.2.1"),
    "implicit": Syntax("1.2.840.10008.1.2"),
    "big-endian": Syntax("1.2.840.10008.1.2.2", (12, 16)),
    "rle": Syntax("1.2.840.10008.1.2.5"),
    "jpeg-baseline": Syntax("1.2.840.10008.1.2.4.50", (8,)),
    "jpeg-lossless": Syntax("1.2.840.10008.1.2.4.70"),
    "jpeg-ls": Syntax("1.2.840.10008.1.2.4.80"),
    "jpeg-2000": Syntax("1.2.840.10008.1.2.4.90"),
}
_BY_PYDICOM = {"rle", "jpeg-ls"}
_FRAMES = {"jpeg-baseline", "jpeg-lossless", "jpeg-2000"}


def encode(dataset: Dataset, name: str) -> None:
    """Give a data set with native little endian pixels the named transfer syntax."""
    syntax = SYNTAXES[name]
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    if name in _BY_PYDICOM:
        dataset.compress(UID(syntax.uid), generate_instance_uid=False)
        return
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    if name in _FRAMES:
        _encapsulate(dataset, name)
    elif name == "big-endian":
        dataset.PixelData = _pixels(dataset).byteswap().tobytes()
    elif len(dataset.PixelData) % 2:
        dataset.PixelData += b"\0"
    dataset.file_meta.TransferSyntaxUID = UID(syntax.uid)


def _pixels(dataset: Dataset) -> np.ndarray:
    dtype = np.uint8 if dataset.BitsAllocated == 8 else np.dtype("<u2")
    count = dataset.Rows * dataset.Columns
    return np.frombuffer(dataset.PixelData, dtype)[:count].reshape(dataset.Rows, dataset.Columns)


def _encapsulate(dataset: Dataset, name: str) -> None:
    pixels, bits = _pixels(dataset), int(dataset.BitsStored)
    if name == "jpeg-lossless":
        stream = imagecodecs.jpeg_encode(pixels, lossless=True, bitspersample=bits)
    elif name == "jpeg-2000":
        stream = imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, bitspersample=bits)
    else:
        stream = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
        dataset.LossyImageCompressionRatio = round(pixels.size / len(stream), 1)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
