"""The bytes to send: a few templates of each kind, made from real radiographs, with UIDs that are put in when sent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from tests.benchmarks.fleet_arrivals import Image, Kind
from tests.support import encoding
from tests.support.fracatlas import CR, DX, Pictures, _add_pixels, _describe
from tests.support.sender import SECONDARY_CAPTURE

VARIANTS = {"EXTREMITY": 3}  # pictures of a kind that the model looks at; of the others one is enough
BITS, NOISE = 12, 6.0  # with grey values of 0 to 4095: it compresses about as radiographs do
BODY_PARTS = {"AXIAL": "LSPINE", "CHEST": "CHEST", "ABDOMEN": "ABDOMEN"}
_HEAD = 4096  # all UIDs are in the first bytes of a data set
# UIDs in the templates have the length of those that replace them.
_STUDY, _SERIES, _INSTANCE = (f"2.25.{digit * 39}" for digit in "123")
_NUMBER = "A0000000000"


@dataclass(frozen=True)
class Template:
    """A data set as it goes over the wire, with placeholders for what differs from image to image."""

    sop_class_uid: str
    transfer_syntax_uid: str
    dataset: bytes

    def filled(self, study_uid: str, series_uid: str, instance_uid: str, number: str) -> bytes:
        """Return the data set of one image; number: its patient's and accession number, 11 characters."""
        head = self.dataset[:_HEAD]
        pairs = ((_STUDY, study_uid), (_SERIES, series_uid), (_INSTANCE, instance_uid), (_NUMBER, number))
        for placeholder, value in pairs:
            head = head.replace(placeholder.encode(), value.encode())
        if len(head) != min(_HEAD, len(self.dataset)):
            message = "a value does not have the length of its placeholder"
            raise ValueError(message)
        return head + self.dataset[_HEAD:]


class Templates:
    """Templates by kind; the same picture is used for many images, under other UIDs."""

    def __init__(self, kinds: Iterable[Kind], seed: int, advance: Callable[[], None] = lambda: None) -> None:
        pictures = Pictures(seed)
        self.are_real = pictures.are_real
        self._made: dict[Kind, list[Template]] = {}
        number = 0
        for kind in sorted(set(kinds), key=str):
            self._made[kind] = []
            for _ in range(VARIANTS.get(kind.region, 1)):
                picture = pictures[number]
                self._made[kind].append(_template(kind, picture.grey, picture.body_part, number))
                number += 1
            advance()

    def of(self, image: Image) -> Template:
        """Return the template of an image: always the same."""
        made = self._made[image.kind]
        return made[(image.study + image.number) % len(made)]


def fresh_uid() -> str:
    """Return a UID of the placeholders' length."""
    return f"2.25.{10**38 + uuid.uuid4().int % (9 * 10**38)}"


def _template(kind: Kind, grey: NDArray[np.uint8], body_part: str, seed: int) -> Template:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = "Fleet^Patient", _NUMBER
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19700101", "O", "055Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = _STUDY, _SERIES, _INSTANCE
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", _NUMBER, ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyDescription = "20260105", "101500", "XR"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.Modality = 1, 1, kind.modality
    if kind.is_radiograph:
        dataset.SOPClassUID = UID(DX if kind.modality == "DX" else CR)
        picture_part = BODY_PARTS.get(kind.region, body_part)
        _describe(dataset, _Named(picture_part), "L", "AP", is_dx=kind.modality == "DX")  # type: ignore[arg-type]
    else:
        dataset.SOPClassUID, dataset.ConversionType = UID(SECONDARY_CAPTURE), "SD"
    _add_pixels(dataset, np.zeros((kind.rows, kind.columns), np.uint8), BITS, "MONOCHROME2")
    dataset.PixelData = _pixels(kind, grey, seed).tobytes()
    dataset.file_meta = FileMetaDataset()
    encoding.encode(dataset, "jpeg-lossless" if kind.compressed else "explicit")
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    del dataset.file_meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return Template(str(dataset.SOPClassUID), syntax, buffer.getvalue())


@dataclass(frozen=True)
class _Named:
    body_part: str


def _pixels(kind: Kind, grey: NDArray[np.uint8], seed: int) -> NDArray[np.uint16]:
    """Return the picture at the kind's matrix, with a detector's noise."""
    large = cv2.resize(grey, (kind.columns, kind.rows), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    noise = np.random.default_rng(seed).normal(0.0, NOISE, large.shape)
    values: NDArray[np.float64] = np.clip(large * (2**BITS - 1) / 255.0 + noise, 0, 2**BITS - 1)
    return values.astype(np.uint16)
