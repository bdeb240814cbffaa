"""The lab's command line: quick to ask for help, and help that can be followed."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dicom_node.cli.main import main
from dicom_node.lab import command

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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
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


def test_the_card_is_printed_and_a_missing_one_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "MODEL_CARD.md").write_text("# A card\n", encoding="utf-8")
    assert main(["lab", "card", str(tmp_path)]) == 0
    assert "# A card" in capsys.readouterr().out
    assert main(["lab", "card", str(tmp_path / "none")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "give the folder of a bundle" in line
