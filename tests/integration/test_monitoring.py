"""Prometheus' own tool on what is scraped, on the alerts, and on when they fire."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dicom_node.web.metrics import Metrics
from tests.support.page_site import Site
from tests.support.requirements import require

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "config" / "monitoring" / "dicom-node.rules.yml"
CASES = REPOSITORY / "tests" / "support" / "alerts.test.yml"


@pytest.fixture(scope="module", autouse=True)
def promtool() -> None:
    require(shutil.which("promtool"), "promtool (apt-get install --no-install-recommends prometheus)")


def run(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *words], input=given, capture_output=True, check=False, timeout=60)


def test_the_alerts_are_well_formed_and_fire_when_they_should():
    checked = run("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run("test", "rules", CASES)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_metric_is_named_and_typed_as_prometheus_wants(tmp_path):
    checked = run("check", "metrics", given=Metrics(Site(tmp_path).fill(4).fail().outside()).text())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
