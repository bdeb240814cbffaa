from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.cli.demo import command
from dicom_node.cli.demo.walk import save_png
from dicom_node.cli.main import main


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--study", "--out", "--keep", "--bundle", "--embedded"))


def test_a_missing_folder_is_one_line_and_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(arguments("--study", str(tmp_path / "none"))) == 1
    assert "there is no such folder" in capsys.readouterr().out


def test_a_folder_without_a_radiograph_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert command.run(arguments("--study", str(tmp_path))) == 1
    said = capsys.readouterr().out
    assert "no study with a CR or DX image in it" in said
    assert "Left out" in said
    assert "not a medical device" in said


def test_a_capture_becomes_a_png_with_its_colours(tmp_path: Path) -> None:
    capture = Dataset()
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.Rows, capture.Columns, capture.BitsAllocated, capture.BitsStored = 2, 2, 8, 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    capture.PixelData = bytes([200, 10, 20] * 4)
    path = tmp_path / "deep" / "page.png"
    save_png(capture, path)
    assert np.array_equal(cv2.imread(str(path))[0, 0], [20, 10, 200])
