"""DICOM studies to send: FracAtlas radiographs (or drawn phantoms) as CR and DX of many kinds."""

from __future__ import annotations

import csv
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, generate_uid

from tests.support import encoding

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
REGIONS = {"hand": "HAND", "leg": "LEG", "hip": "HIP", "shoulder": "SHOULDER"}

# (specific character set, patient's name): every one of them comes from a hospital's own worklist.
PATIENTS = (
    ("ISO_IR 100", "Müller^Jürgen"),
    ("ISO_IR 192", "Петрова^Анна"),
    ("ISO_IR 192", "王^小东"),
    ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO_IR 144", "Иванов^Пётр"),
    ("ISO_IR 166", "นามสกุล^ชื่อ"),
    ("", "Doe^Jane"),
    ("ISO_IR 127", "قباني^لنزار"),
)


@dataclass(frozen=True)
class Picture:
    """One grey radiograph, 8 bit and bright bone, with what is known of it."""

    name: str
    grey: NDArray[np.uint8]
    body_part: str


@dataclass(frozen=True)
class Study:
    """A study as its files on disk, and what identifies it in a PACS."""

    study_instance_uid: str
    accession_number: str
    patient_id: str
    patient_name: str
    files: tuple[Path, ...]
    kinds: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = field(default=())


def data_folder() -> Path | None:
    """Return the shared data folder: DICOM_NODE_DATA, else `shared/data` beside the repository; None where absent."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("DICOM_NODE_DATA", str(beside)))
    return folder if folder.is_dir() else None


class Pictures:
    """Radiographs by number: FracAtlas where it is there, phantoms otherwise."""

    def __init__(self, seed: int = 1) -> None:
        data = data_folder()
        self.folder = data / "fracatlas" if data and (data / "fracatlas").is_dir() else None
        self._rows: list[dict[str, str]] = []
        if self.folder is not None:
            with (self.folder / "dataset.csv").open(newline="") as table:
                self._rows = [row for row in csv.DictReader(table) if "truncated_jpeg" not in row["flags"]]
            random.Random(seed).shuffle(self._rows)  # noqa: S311 - as below

    @property
    def are_real(self) -> bool:
        """Tell whether the pictures are FracAtlas radiographs."""
        return bool(self._rows)

    def __getitem__(self, number: int) -> Picture:
        if not self._rows or self.folder is None:
            return Picture(f"phantom-{number}", phantom(number), "HAND")
        row = self._rows[number % len(self._rows)]
        grey = cv2.imread(str(self.folder / "images" / row["image_id"]), cv2.IMREAD_GRAYSCALE)
        part = next((REGIONS[region] for region in REGIONS if row[region] == "1"), "")
        return Picture(row["image_id"], grey, part)


def phantom(number: int) -> NDArray[np.uint8]:
    """Draw a forearm-like picture: two bones in soft tissue on black, every second one with a gap across a bone."""
    rng = np.random.default_rng(number)
    canvas = np.zeros((448, 320), np.float32)
    cv2.ellipse(canvas, (160, 224), (110, 210), 0, 0, 360, 70, -1)
    for x in (125, 195):
        cv2.line(canvas, (x, 40), (x + int(rng.integers(-8, 9)), 410), 190, 34)
    if number % 2:
        cv2.line(canvas, (100, 210), (150, 225), 70, 5)
    noisy = cv2.GaussianBlur(canvas, (0, 0), 1.5) + rng.normal(0, 4, canvas.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


class Factory:
    """Makes studies in a folder, the same ones for the same seed but for their UIDs, which are always fresh."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.folder = folder
        self.pictures = Pictures(seed)
        self._random = random.Random(seed)  # noqa: S311 - draws pictures, not secrets
        self._next_picture = 0
        self._next_study = 0
        folder.mkdir(parents=True, exist_ok=True)

    def study(
        self, views: int | None = None, patient: tuple[str, str] | None = None, patient_id: str | None = None
    ) -> Study:
        """Make one study of 1 to 4 views; modality, polarity, depth and transfer syntax are drawn at random."""
        number = self._next_study
        self._next_study += 1
        character_set, name = patient or PATIENTS[number % len(PATIENTS)]
        frame = Dataset()
        if character_set:
            frame.SpecificCharacterSet = character_set.split("\\")
        frame.PatientName = name
        frame.PatientID = patient_id or f"P{number:05d}-{self._random.randrange(10**6):06d}"
        frame.PatientBirthDate, frame.PatientSex, frame.PatientAge = "19700101", self._random.choice("MFO"), "054Y"
        frame.StudyInstanceUID, frame.StudyID = generate_uid(), str(number)
        frame.StudyDate, frame.StudyTime = "20260102", "101500"
        frame.AccessionNumber = f"A{number:05d}{self._random.randrange(10**6):06d}"
        frame.ReferringPhysicianName = ""
        frame.StudyDescription = "XR"
        made = [self.view(frame, index + 1) for index in range(views or self._random.randint(1, 4))]
        return Study(
            str(frame.StudyInstanceUID),
            str(frame.AccessionNumber),
            str(frame.PatientID),
            name,
            tuple(file for file, _, _ in made),
            tuple(kind for _, kind, _ in made),
            tuple(uid for _, _, uid in made),
        )

    def view(self, frame: Dataset, number: int) -> tuple[Path, str, str]:
        """Write one view of the study that `frame` describes; returns its file, its kind in words and its UID."""
        picture = self.pictures[self._next_picture]
        self._next_picture += 1
        bits = self._random.choice((8, 12, 16))
        syntax = self._random.choice([name for name, kind in encoding.SYNTAXES.items() if bits in kind.bits])
        dataset = Dataset()
        dataset.update(frame)
        is_dx = self._random.random() < 0.5
        dataset.SOPClassUID = UID(DX if is_dx else CR)
        dataset.Modality = "DX" if is_dx else "CR"
        dataset.SOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID = generate_uid()
        dataset.SeriesNumber, dataset.InstanceNumber = number, 1
        _describe(dataset, picture, self._random.choice("LR"), self._random.choice(("AP", "LL", "PA")), is_dx=is_dx)
        photometric = self._random.choice(("MONOCHROME1", "MONOCHROME2"))
        _add_pixels(dataset, picture.grey, bits, photometric)
        dataset.file_meta = FileMetaDataset()
        encoding.encode(dataset, syntax)
        file = self.folder / f"{dataset.SOPInstanceUID}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        return file, f"{dataset.Modality} {photometric} {bits} bit {syntax} {picture.name}", str(dataset.SOPInstanceUID)

    def later_view(self, study: Study) -> Path:
        """Write one more view for a study that exists already."""
        frame = Dataset()
        frame.PatientName, frame.PatientID = study.patient_name, study.patient_id
        frame.SpecificCharacterSet = "ISO_IR 192"
        frame.StudyInstanceUID, frame.AccessionNumber = study.study_instance_uid, study.accession_number
        frame.StudyDate, frame.StudyTime, frame.StudyID = "20260102", "101500", "1"
        frame.PatientBirthDate, frame.PatientSex, frame.PatientAge = "19700101", "O", "054Y"
        frame.ReferringPhysicianName = ""
        return self.view(frame, len(study.files) + 1)[0]


def _describe(dataset: Dataset, picture: Picture, side: str, position: str, *, is_dx: bool) -> None:
    dataset.Manufacturer, dataset.ManufacturerModelName = "Test Modality Inc", "Unit 1"
    if picture.body_part:
        dataset.BodyPartExamined = picture.body_part
    dataset.ViewPosition = position
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.ContentDate, dataset.ContentTime = "20260102", "101501"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20260102", "101500"
    if is_dx:
        dataset.ImageLaterality = side
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
        dataset.BurnedInAnnotation = "NO"
        dataset.ImagerPixelSpacing = [0.15, 0.15]
    else:
        dataset.Laterality = side


def _add_pixels(dataset: Dataset, grey: NDArray[np.uint8], bits: int, photometric: str) -> None:
    """Put the picture into a data set at a depth and polarity; the window covers the whole range."""
    top = 2**bits - 1
    values = (grey.astype(np.uint32) * top // 255).astype(np.uint8 if bits == 8 else np.uint16)
    if photometric == "MONOCHROME1":
        values = (top - values.astype(np.int64)).astype(values.dtype)
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PresentationLUTShape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    dataset.WindowCenter, dataset.WindowWidth = (top + 1) // 2, top + 1
    dataset.PixelData = values.tobytes()
