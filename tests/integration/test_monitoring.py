"""Prometheus' own tool on what is scraped, on the alerts, and on when they fire."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.web.metrics import Metrics
from dicom_node.web.outside import Certificate
from tests.support.page_site import Site
from tests.support.requirements import require

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "config" / "monitoring" / "dicom-node.rules.yml"
DASHBOARD = RULES.with_name("dicom-node-dashboard.json")
CASES = REPOSITORY / "tests" / "support" / "alerts.test.yml"


@pytest.fixture(scope="module", autouse=True)
def promtool() -> None:
    require(shutil.which("promtool"), "promtool (apt-get install --no-install-recommends prometheus)")


def run(*words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *words], input=given, capture_output=True, check=False, timeout=200)


def test_the_alerts_are_well_formed_and_fire_when_they_should():
    checked = run("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run("test", "rules", CASES)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_metric_is_named_and_typed_as_prometheus_wants(tmp_path):
    checked = run("check", "metrics", given=Metrics(Site(tmp_path).fill(4).fail().outside()).text())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_every_panel_of_the_dashboard_shows_something_of_what_is_scraped(tmp_path):
    site = Site(tmp_path).fill(4).fail()
    site.certificates = (Certificate("Page certificate", 90.0),)
    site.node = replace(site.node, refused=(("peer", 2),))
    families = text_string_to_metric_families(Metrics(site.outside()).text().decode())
    series = [_series(sample) for family in families for sample in family.samples]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
    # Drift needs 700 results; that these two names exist is tested elsewhere.
    wanted = [expr for _, expr in asked if "score_drift" not in expr and "score_reference" not in expr]
    assert len(wanted) > 20
    one = [{"labels": "{}", "value": 1}]
    cases = [{"expr": f"count({expr}) > bool 0", "eval_time": "2h", "exp_samples": one} for expr in wanted]
    test = {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": cases}],
    }
    (tmp_path / "panels.test.yml").write_text(json.dumps(test))  # JSON is YAML
    done = run("test", "rules", tmp_path / "panels.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def _series(sample: Sample) -> dict[str, str]:
    """Return a sample as a series that grows, as counters do: for two hours, a minute a step."""
    labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
    return {"series": f"{sample.name}{{{labels}}}", "values": f"{sample.value:g}+1x120"}


def test_the_dashboard_is_one_that_grafana_can_lay_out():
    board = json.loads(DASHBOARD.read_text())
    assert (board["uid"], board["title"]) == ("dicom-node", "dicom-node")
    (source,) = board["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in {"stat", "timeseries", "table"}
        assert panel["datasource"]["uid"] == f"${{{source['name']}}}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
