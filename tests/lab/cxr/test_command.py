"""`dicom-node engine`: quick to ask for help, a plain word where TensorFlow is missing, and what the probe must say."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.cli.engine import command
from dicom_node.cli.main import main
from dicom_node.inference import cxr_preprocess
from dicom_node.lab.cxr import command as import_cxr

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("tensorflow", "tf2onnx", "torch", "sklearn", "cv2", "onnxruntime", "numpy", "rich")


@pytest.mark.parametrize("words", [["engine", "--help"], ["engine", "import-cxr", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom dicom_node.cli.main import main\n"
        f"try: main({words})\nexcept SystemExit: pass\n"
        f"sys.stderr.write(' '.join(one for one in {HEAVY} if one in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert done.stderr == ""
    assert "usage: " in done.stdout


def test_every_engine_command_says_what_goes_in_what_comes_out_and_how() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    assert set(action.choices) == set(command.COMMANDS)
    text = action.choices["import-cxr"].format_help()
    for words in ("goes in:", "comes out:", "example:", "dicom-node engine import-cxr"):
        assert words in text


def test_the_ids_it_offers_are_those_that_the_node_knows() -> None:
    assert import_cxr._IDS == cxr_preprocess.IDS


def test_without_tensorflow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("dicom_node.lab.cxr.") and name.count(".") == 3]:
        if not name.endswith(".command"):
            monkeypatch.delitem(sys.modules, name)
    for name in ("tensorflow", "tf2onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ["--saved-model", tmp_path, "--probe", tmp_path / "p", "--sha256", "0" * 64, "--out", tmp_path / "out"]
    assert main(["engine", "import-cxr", *map(str, words)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "scripts/setup cxr" in line


def test_bands_out_of_order_or_range_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--saved-model", tmp_path, "--probe", tmp_path / "p", "--out", tmp_path / "out", "--bands", 0.7, 0.4]
    assert main(["engine", "import-cxr", *map(str, words)]) == 1
    assert "LOW not above HIGH" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["engine", "import-cxr", *map(str, words[:-1]), "1.5"])


def test_the_published_probe_is_known_to_be_fitted_with_edgefracture_v1(tf: object) -> None:  # noqa: ARG001 - may skip
    from dicom_node.lab.cxr import importer  # noqa: PLC0415 - needs TensorFlow
    from dicom_node.lab.probe import LinearProbe  # noqa: PLC0415 - as above
    from dicom_node.lab.probe_file import ProbeFile  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - as above

    published = "5ab04c187564f84cd26dfac5467f2949094f1045efc9b59d2d97260ec3f0dad6"
    numbers = np.zeros(1)
    found = ProbeFile(LinearProbe(numbers, 0.0, numbers, numbers), 3.49, {}, published, "scikit-learn")
    importer.check_preprocessing(found, "edgefracture-v1")
    with pytest.raises(LabError, match="give --preprocessing edgefracture-v1"):
        importer.check_preprocessing(found, "google-dicom-v2")
