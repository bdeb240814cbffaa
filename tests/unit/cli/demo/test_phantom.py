from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.cli.demo import anatomy, phantom
from dicom_node.cli.demo.exposure import expose
from dicom_node.core.identifiers import is_conformant_uid


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return phantom.write(tmp_path_factory.mktemp("phantoms"))


def test_there_are_two_studies_of_two_views(files: tuple[Path, ...]) -> None:
    headers = [dcmread(path, stop_before_pixels=True) for path in files]
    assert len({header.SOPInstanceUID for header in headers}) == 4
    assert [header.Modality for header in headers] == ["DX", "DX", "CR", "CR"]
    assert len({header.StudyInstanceUID for header in headers}) == 2
    assert {header.PatientID for header in headers} == {"PHANTOM-1", "PHANTOM-2"}
    assert all(is_conformant_uid(header.SOPInstanceUID) for header in headers)


def test_the_same_phantom_has_the_same_bytes_every_time(files: tuple[Path, ...], tmp_path: Path) -> None:
    again = phantom.write(tmp_path)
    assert [hashlib.sha256(path.read_bytes()).digest() for path in again] == [
        hashlib.sha256(path.read_bytes()).digest() for path in files
    ]


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_bone_is_brighter_than_flesh_and_flesh_than_air(files: tuple[Path, ...], number: int) -> None:
    dataset = dcmread(files[number])
    grey = dataset.pixel_array.astype(float)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 4095 - grey
    rows, columns = grey.shape
    air = float(np.median(grey[int(rows * 0.1) : int(rows * 0.2), int(columns * 0.04) : int(columns * 0.07)]))
    levels = np.percentile(grey, [50, 99])
    assert air < 400
    assert levels[1] > air + 1500
    assert grey.max() <= 4095


def test_the_hand_is_monochrome1_so_that_polarity_is_exercised(files: tuple[Path, ...]) -> None:
    assert [dcmread(path).PhotometricInterpretation for path in files] == ["MONOCHROME2"] * 2 + ["MONOCHROME1"] * 2


def test_the_break_is_darker_than_the_whole_bone() -> None:
    view = anatomy.WRIST_VIEWS[0]
    broken = expose(anatomy.broken_wrist(), anatomy.flesh(), view, "R", seed=1).astype(float)
    whole = expose((*anatomy.forearm(), *anatomy.hand()), anatomy.flesh(), view, "R", seed=1).astype(float)
    row = round((23.0 - view.origin[1]) / view.spacing)
    column = round((-9.0 - view.origin[0]) / view.spacing)
    place = (slice(row - 20, row + 21), slice(column - 15, column + 16))
    assert broken[place].mean(axis=1).min() < whole[place].mean(axis=1).min() - 100


def test_the_image_itself_says_that_it_is_a_phantom(files: tuple[Path, ...]) -> None:
    grey = dcmread(files[0]).pixel_array
    rows, columns = grey.shape
    corner = grey[: int(rows * 0.2), int(columns * 0.75) :]
    assert (corner > 3000).mean() > 0.01


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (apt-get install dicom3tools)")
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_validator_finds_nothing(files: tuple[Path, ...], number: int) -> None:
    said = subprocess.run(["dciodvfy", "-new", str(files[number])], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert [line for line in lines if line.startswith(("Error", "Warning"))] == []
