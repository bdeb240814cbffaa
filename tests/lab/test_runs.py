"""A run's folder: resumed with the same configuration, refused with another, and a report in one file."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.core.errors import Permanent
from dicom_node.lab.runs import LabError, RunFolder, Section, jsonable

if TYPE_CHECKING:
    from pathlib import Path

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_the_same_configuration_resumes_with_its_stages(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", {"seed": 1, "data": tmp_path})
    assert not run.done("train")
    run.mark("train")
    again = RunFolder.open(tmp_path / "run", {"seed": 1, "data": tmp_path})
    assert again.done("train")
    assert not again.done("measure")
    lines = (tmp_path / "run" / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["new run in run", "resumed"]


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    RunFolder.open(tmp_path / "run", {"seed": 1, "folds": 5})
    with pytest.raises(LabError, match=r"another seed; give another folder") as caught:
        RunFolder.open(tmp_path / "run", {"seed": 2, "folds": 5})
    assert isinstance(caught.value, Permanent)
    assert "\n" not in str(caught.value)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(LabError, match="is not a run folder"):
        RunFolder.open(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", {})
    run.save_metrics({"auc": float("nan"), "folds": np.array([0.5, np.inf]), "n": np.int64(3), "path": tmp_path})
    text = (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"auc": None, "folds": [0.5, None], "n": 3, "path": str(tmp_path)}
    assert run.metrics()["n"] == 3
    assert jsonable({"a": (1, None, True)}) == {"a": [1, None, True]}


def test_a_run_without_metrics_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="finished run"):
        RunFolder.open(tmp_path / "run", {}).metrics()


def test_the_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", {})
    run.picture("roc").write_bytes(PIXEL)
    table = [["part", "AUC"], ["<all>", 0.81234], ["hip", None]]
    page = run.write_report("A & B", [Section("Result", "5 < 6", table, [run.picture("roc")]), Section("Empty")])
    text = page.read_text(encoding="utf-8")
    assert "A &amp; B" in text
    assert "5 &lt; 6" in text
    assert "<td>&lt;all&gt;</td><td>0.812</td>" in text
    assert f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}" in text
    assert "prefers-color-scheme: dark" in text
    assert not any(word in text for word in ("http:", "https:", "<script", "<link", "@import"))
