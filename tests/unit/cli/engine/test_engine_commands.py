"""`dicom-node engine` from build to removal, on the strict double; the network and the comparison are real."""

from __future__ import annotations

import argparse
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dicom_node.cli.engine import building, command
from dicom_node.cli.engine.images import drawn, trial_images
from dicom_node.cli.main import main
from dicom_node.core.errors import BundleError
from dicom_node.inference import plans
from dicom_node.inference.bundle import load_bundle

HEAVY = ("cv2", "onnx", "onnxruntime", "numpy", "rich", "pydicom", "tensorrt")


def run(capsys, *words):
    status = main(["engine", *(str(word) for word in words)])
    said = capsys.readouterr()
    return status, " ".join((said.out + said.err).split())


@pytest.fixture
def one_image(monkeypatch):
    """Make the acceptance test short: two images, and two are enough."""
    images = list(drawn())[:2]
    monkeypatch.setattr("dicom_node.cli.engine.trial.trial_images", lambda _folder: images)
    monkeypatch.setattr("dicom_node.inference.acceptance.IMAGES_MIN", 2)


def test_a_plan_is_built_tried_listed_measured_and_removed(device, compact, capsys):
    before = load_bundle(compact).sha256
    status, said = run(capsys, "build", compact)
    assert status == 0, said
    for expected in (
        "no TensorRT plan was built: building it now",
        "weights 12 MiB (float)",
        "building needs about",
        "are free",
        "MiB of memory at most",
        "64 images, TensorRT 10.3.0 Orin against ONNX Runtime",
        "same peak 100.0%, same outcome 100.0%",
        "accepted",
    ):
        assert expected in said
    (facts,) = plans.saved(compact)
    assert device.log == ["build"]
    assert facts.acceptance.passed
    assert facts.acceptance.images == 64
    assert (facts.key.sm, facts.key.precision) == ("8.7", "float")
    assert load_bundle(compact).sha256 == before
    assert device.left() == []
    assert run(capsys, "build", compact)[1].startswith("an accepted plan is in place")
    assert main(["engine", "list", str(compact)]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    # On a screen of any width a plan is one line, and its name can be copied from it.
    assert first.startswith(f"{facts.key.name}: passed; TensorRT 10.3.0, Orin (SM 8.7), ")
    assert last == f"used here: embedder-{facts.key.name}.plan"
    status, said = run(capsys, "benchmark", compact, "--images", 3)
    assert "TensorRT 10.3.0 Orin: median" in said
    assert "mean with two on their way" in said
    status, said = run(capsys, "selftest", compact, "--images", 3)
    assert status == 0
    assert "passed on 64: cosine 1.0" in said
    assert device.left() == []
    device.fail = {"lost": 3}
    status, said = run(capsys, "selftest", compact, "--images", 3)
    assert status == 1
    for expected in ("the GPU failed on an image", "ONNX Runtime speed", "no accepted plan runs here"):
        assert expected in said
    device.fail = {}
    assert run(capsys, "remove", compact)[0] == 1
    assert run(capsys, "remove", compact, "0123")[0] == 1
    assert run(capsys, "remove", compact, facts.key.name)[0] == 0
    assert plans.saved(compact) == ()
    assert "used here: none (no TensorRT plan was built" in run(capsys, "list", compact)[1]
    assert "there is no plan to remove" in run(capsys, "remove", compact, "--all")[1]


@pytest.mark.parametrize("words", [("build", "--workspace-mib", "-5"), ("benchmark", "--images", "0")])
def test_a_number_that_makes_no_sense_is_refused_before_anything_begins(device, compact, capsys, words):
    with pytest.raises(SystemExit):
        main(["engine", words[0], str(compact), *words[1:]])
    assert f"{words[2]} is no whole number from 1 up" in capsys.readouterr().err
    assert device.log == []


@pytest.mark.parametrize("command_name", ["build", "verify"])
def test_too_few_images_are_said_before_anything_is_built(device, compact, tmp_path, capsys, command_name):
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "1.png").write_bytes(b"")
    status, said = run(capsys, command_name, compact, "--images", tmp_path / "few")
    assert status == 1
    assert "1 files, a plan is tried on at least 64; give more, or leave --images out" in said
    assert device.log == []


def test_a_mistyped_folder_holds_no_plan_to_remove(tmp_path, capsys):
    status, said = run(capsys, "remove", tmp_path / "gone", "--all")
    assert status == 1
    assert "not a folder" in said


@pytest.mark.usefixtures("one_image")
def test_another_tensorrt_builds_again_and_says_in_one_line_what_differs(device, compact, capsys):
    assert run(capsys, "build", compact)[0] == 0
    device.version = "10.7.0"
    status, said = run(capsys, "build", compact)
    assert status == 0
    assert "is for something else (TensorRT was 10.3.0, is 10.7.0): building it now" in said
    assert {facts.key.tensorrt for facts in plans.saved(compact)} == {"10.3.0", "10.7.0"}


@pytest.mark.usefixtures("one_image")
def test_a_plan_that_computes_something_else_is_kept_but_never_used(device, compact, capsys):
    device.error = 0.05
    status, said = run(capsys, "build", compact)
    assert status == 1
    assert "out of bounds: logits differ" in said
    assert "NOT accepted: the node stays on ONNX Runtime" in said
    assert "used here: none (the TensorRT plan failed its acceptance test" in run(capsys, "list", compact)[1]
    assert run(capsys, "selftest", compact, "--images", 1)[0] == 1
    device.error = 0.0
    status, said = run(capsys, "verify", compact)
    assert status == 0, said
    device.fail = {"lost": 2}
    status, said = run(capsys, "verify", compact)
    assert status == 1
    assert "during the acceptance test; the plan is not used" in said
    device.fail = {}
    assert "never tried" in run(capsys, "list", compact)[1]


def test_too_little_memory_is_said_before_anything_is_built(device, compact, capsys, monkeypatch):
    monkeypatch.setattr("dicom_node.inference.machine.memory", lambda: (8 << 30, 10 << 20))
    status, said = run(capsys, "build", compact)
    assert status == 1
    assert "10 MiB are free too little memory: end other programs" in said
    assert plans.saved(compact) == ()
    assert device.log == []


def test_without_tensorrt_every_command_says_so_and_the_self_test_still_prints(compact, capsys, monkeypatch):
    monkeypatch.setattr(plans, "MODULES", ("no_such_module",))
    for words in (("build", compact), ("verify", compact)):
        status, said = run(capsys, *words)
        assert status == 1
        assert said.startswith("not installed here: no_such_module; TensorRT comes with JetPack")
    status, said = run(capsys, "selftest", compact, "--images", 1)
    assert status == 1
    for expected in ("ONNX Runtime speed", "median", "not installed here", "no accepted plan runs here"):
        assert expected in said
    assert run(capsys, "benchmark", compact, "--images", 1)[0] == 0


def test_a_network_that_no_runtime_takes_is_a_row_of_the_self_test(compact, capsys, monkeypatch):
    def refuses(*_args, **_options):
        message = "ONNX Runtime cannot load it"
        raise BundleError(message)

    monkeypatch.setattr("dicom_node.cli.engine.timing.OnnxEmbedder", refuses)
    status, said = run(capsys, "selftest", compact, "--images", 1)
    assert status == 1
    assert "ONNX Runtime cannot load it" in said
    assert "no accepted plan runs here" in said


def test_images_of_a_folder_are_read_whatever_they_are(tmp_path, hand):
    cv2.imwrite(str(tmp_path / "8.png"), (hand >> 8).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "16.png"), hand)
    (tmp_path / "notes.txt").write_text("no image")
    sixteen, eight = trial_images(tmp_path)
    np.testing.assert_array_equal(sixteen, hand)
    np.testing.assert_array_equal(eight, (hand >> 8) * 257)
    with pytest.raises(BundleError, match="not a folder"):
        next(trial_images(tmp_path / "none"))


@pytest.fixture
def hand():
    return np.tile(np.arange(200, dtype=np.uint16) * 300, (150, 1))


def test_progress_is_a_line_a_phase_where_nobody_looks_on(capsys):
    line = building.ProgressLine()
    for text in ("Building: 0 %", "Building: 50 %", "Tactics: 1 %"):
        line.tell(text)
    line.end()
    assert capsys.readouterr().out == "Building\nTactics\n"


@pytest.mark.parametrize("words", [["engine", "--help"], ["engine", "build", "--help"]])
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom dicom_node.cli.main import main\n"
        f"try: main({words})\nexcept SystemExit: pass\n"
        f"sys.stderr.write(' '.join(one for one in {HEAVY} if one in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert done.stderr == ""
    assert "usage: " in done.stdout


def test_every_command_says_what_goes_in_what_comes_out_and_how():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    assert set(action.choices) == set(command.COMMANDS)
    for sub in action.choices.values():
        assert all(words in sub.format_help() for words in ("goes in:", "comes out:", "example:"))
        assert all(one.help for one in sub._actions)
