from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"

WriteImage = Callable[..., Path]


@pytest.fixture
def write_image(tmp_path: Path) -> WriteImage:
    """Return a function that writes a 64 x 64, 12-bit CR image holding every code once, changed as asked."""

    def write(
        *, pixels: bytes | None = None, syntax: str = EXPLICIT, frame: bytes | None = None, **changes: Any
    ) -> Path:
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CR_STORAGE
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
        dataset.Modality, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = "CR", 64, 64, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        codes = np.arange(4096, dtype=np.uint16)
        dataset.PixelData = codes.astype(">u2" if syntax == BIG_ENDIAN else "<u2").tobytes()
        if pixels is not None:
            dataset.PixelData = pixels
        if frame is not None:
            dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OW" if frame is None else "OB"
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write
