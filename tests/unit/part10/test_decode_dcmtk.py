"""The greys against DCMTK's own rendering, which a hospital's viewers agree with."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.core.errors import NotAnalysable
from dicom_node.part10.decode import decode

pytestmark = pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK's dcmj2pnm is not installed")

DECOMPRESS = {"JPEG-LS": "dcmdjpls", "RLE": "dcmdrle"}
WINDOW = {"WindowCenter": 2000, "WindowWidth": 1500}


def rendered(path: Path, option: list[str], folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    picture = folder / "out.pgm"
    subprocess.run(["dcmj2pnm", "--write-raw-pnm", "-O", *option, path, picture], check=True, capture_output=True)
    return np.frombuffer(picture.read_bytes()[-shape[0] * shape[1] :], dtype=np.uint8).reshape(shape).astype(int)


def difference(path: Path, option: list[str], folder: Path, plain: Path | None = None) -> int:
    grey = (decode(path).grey >> 8).astype(int)
    return int(np.abs(rendered(plain or path, option, folder, grey.shape) - grey).max())


def test_the_public_radiographs_are_within_one_grey_level(shared_data: Path, tmp_path: Path) -> None:
    compared = 0
    with (shared_data / "dicom" / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["modality"] in {"CR", "DX", "MG"}]
    for row in rows:
        path, plain = shared_data / "dicom" / row["file"], tmp_path / "plain.dcm"
        try:
            decode(path)
        except NotAnalysable:
            continue
        if "2000" in row["transfer_syntax"]:  # a codec that DCMTK does not have
            continue
        tool = next((tool for word, tool in DECOMPRESS.items() if row["transfer_syntax"].startswith(word)), None)
        if tool is not None:
            subprocess.run([tool, path, plain], check=True, capture_output=True)
        has_window = "ModalitySequenceLUT" not in row["file"]  # the one radiograph there without a window
        option = ["+Wi", "1"] if has_window else ["+Wm"]
        assert difference(path, option, tmp_path, plain if tool else None) <= 1, row["file"]
        compared += 1
    assert compared >= 10


@pytest.mark.parametrize(
    ("changes", "option", "tolerance"),
    [
        (WINDOW, ["+Wi", "1"], 1),
        ({**WINDOW, "PhotometricInterpretation": "MONOCHROME1"}, ["+Wi", "1"], 1),
        ({**WINDOW, "PresentationLUTShape": "INVERSE"}, ["+Wi", "1"], 1),
        ({**WINDOW, "PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, ["+Wi", "1"], 1),
        ({**WINDOW, "VOILUTFunction": "SIGMOID"}, ["+Wi", "1"], 1),
        ({"WindowCenter": 2000, "WindowWidth": 1}, ["+Wi", "1"], 0),
        ({"WindowCenter": -2000, "WindowWidth": 1500, "RescaleSlope": -1, "RescaleIntercept": 0}, ["+Wi", "1"], 1),
        # DCMTK rounds rescaled values to whole numbers before the window, which costs it one level more.
        ({"WindowCenter": 500, "WindowWidth": 700, "RescaleSlope": 0.684, "RescaleIntercept": -200}, ["+Wi", "1"], 2),
        ({}, ["+Wm"], 1),
    ],
)
def test_each_part_of_the_grey_scale_agrees(
    write_image: Any, tmp_path: Path, changes: dict[str, Any], option: list[str], tolerance: int
) -> None:
    assert difference(write_image(**changes), option, tmp_path) <= tolerance
