"""The lab's command line: quick to ask for help, and help that can be followed."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dicom_node.cli.main import main
from dicom_node.lab import bundle_files, command
from tests.support.system import BUNDLE

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "sklearn", "scipy", "joblib", "matplotlib", "cv2", "onnxruntime", "numpy", "rich")


@pytest.mark.parametrize("words", [["lab", "--help"], ["lab", "evaluate", "--help"], ["lab", "import-probe", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom dicom_node.cli.main import main\n"
        f"try: main({words})\nexcept SystemExit: pass\n"
        f"sys.stderr.write(' '.join(one for one in {HEAVY} if one in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert done.stderr == ""
    assert "usage: " in done.stdout


def _subparsers() -> dict[str, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("name", sorted(command.COMMANDS))
def test_every_command_says_what_goes_in_what_comes_out_and_how(name: str) -> None:
    text = _subparsers()[name].format_help()
    for words in ("goes in:", "comes out:", "example:", f"dicom-node lab {name}"):
        assert words in text
    assert all(action.help for action in _subparsers()[name]._actions)


def test_an_option_called_run_does_not_replace_what_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "gate", "--run", str(tmp_path / "none")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "none" in line


def test_the_shipped_card_says_what_its_files_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "compact-fracatlas"
    shutil.copytree(BUNDLE, copy)
    assert main(["lab", "card", str(copy)]) == 0
    out = capsys.readouterr().out
    assert "already says what was measured" in out
    assert "What was aimed at" in out
    (copy / "metrics.json").write_text("{}", encoding="utf-8")
    bundle_files.write_sums(copy)
    assert main(["lab", "card", str(copy)]) == 1
    assert "export the bundle again" in capsys.readouterr().err
    assert main(["lab", "card", str(tmp_path / "none")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "complete bundle folder" in line
