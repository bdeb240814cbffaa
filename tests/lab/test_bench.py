"""`scripts/bench lab` runs without Orthanc and without FracAtlas, and its table holds what it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")
pytest.importorskip("torch", reason="the lab needs torch: pip install 'dicom-node[lab]'")


def test_the_lab_bench_measures_every_part(tmp_path: Path) -> None:
    sizes = ["--images", "6", "--readers", "1", "2", "--rows", "80", "--naive-rows", "60", "--width", "400"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "lab", *sizes, "--json", str(tmp_path / "figures.json")],
        env={**os.environ, "DICOM_NODE_DATA": str(tmp_path / "none"), "PATH": ""},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=290,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert [one["part"] for one in found["embed"]] == [
        *["decode and prepare"] * 2, "network", "command, one image", *["command"] * 2,
    ]  # fmt: skip
    assert all(one["seconds"] > 0 for one in found["embed"])
    assert [(one["way"], one["rows"]) for one in found["head"]] == [
        ("lab head", 80), ("lab head", 60), ("scikit-learn pipeline", 60),
    ]  # fmt: skip
    assert all(one["peak_rss"] > one["peak_private"] > one["before"] > 0 for one in found["head"])
    assert "phantoms" in done.stdout
