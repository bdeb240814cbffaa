"""/metrics says what the ledger holds, however often counting begins anew; alerts and dashboard ask for no other."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, update

from dicom_node.ledger import audit, recent
from dicom_node.ledger import database as tables
from dicom_node.ledger.tally import Tally
from dicom_node.web.metrics import Metrics
from dicom_node.web.outside import Certificate, NodeWord
from tests.support.page_site import DIGEST, Site

MONITORING = Path(__file__).resolve().parents[3] / "config" / "monitoring"


def samples(site: Site) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and the values of its labels, in the order of their names."""
    text = Metrics(site.outside()).text().decode()
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_counts_are_those_of_the_rows(site):
    found = samples(site.fail())
    assert {key[1]: value for key, value in found.items() if key[0] == "dicom_node_results_total"} == {
        "positive": 1.0,
        "negative": 1.0,
        "inconclusive": 1.0,
        "not-analysed": 1.0,
    }
    wanted = {
        ("dicom_node_instances_total", "", "view"): 5.0,
        ("dicom_node_refusals_total", "0xA700"): 1.0,
        ("dicom_node_worker_crashes_total",): 1.0,
        ("dicom_node_result_failures_total",): 1.0,
        ("dicom_node_results_failed",): 1.0,
        ("dicom_node_destination_waiting", "pacs"): 1.0,
        ("dicom_node_destination_failing", "pacs"): 1.0,
        ("dicom_node_destination_dead", "teaching"): 1.0,
        ("dicom_node_oldest_item_age_seconds",): 7200.0,
        ("dicom_node_recent_outcome_share", "not-analysed"): 0.25,
    }
    assert {key: found[key] for key in wanted} == wanted


def test_who_was_turned_away_is_counted_by_why(site):
    assert not [key for key in samples(site) if key[0] == "dicom_node_associations_refused_total"]
    site.node = replace(site.node, refused={"rejected": 3, "tls": 1})
    found = samples(site)
    assert found["dicom_node_associations_refused_total", "rejected"] == 3.0
    assert found["dicom_node_associations_refused_total", "tls"] == 1.0
    site.node = NodeWord("no answer")
    assert not [key for key in samples(site) if key[0] == "dicom_node_associations_refused_total"]


def test_durations_are_those_of_the_rows(site):
    with site.writing() as connection:
        for _ in range(4):
            audit.note(connection, site.now, "image.analysed", engine_ms=150.0)
        audit.note(connection, site.now, "image.analysed", engine_ms=None)
    found = samples(site)
    for name, number, total_s in (
        ("closing_wait_seconds", 4.0, 120.0),
        ("analysis_seconds", 4.0, 6.0),
        ("model_seconds", 4.0, 0.6),
        ("report_seconds", 4.0, 12.0),
        ("delivery_seconds", 4.0, 4.0),
    ):
        labels = ("pacs",) if name == "delivery_seconds" else ()
        assert found[(f"dicom_node_{name}_count", *labels)] == number
        assert found[(f"dicom_node_{name}_sum", *labels)] == pytest.approx(total_s, abs=1e-4)
    assert found["dicom_node_analysis_seconds_bucket", "1.0"] == 0.0
    assert found["dicom_node_analysis_seconds_bucket", "2.0"] == 4.0
    assert found["dicom_node_analysis_seconds_bucket", "+Inf"] == 4.0


def test_what_was_open_is_counted_once_when_it_comes_to_rest(site):
    site.fail()
    tally = Tally()
    for _ in range(3):
        with recent.reading(site.folders.ledger) as connection:
            counts = tally.advance(connection)
    assert (counts.deliveries["pacs"].number, counts.analyses.number) == (4, 4)
    with site.writing() as connection:
        done = update(tables.delivery).where(tables.delivery.c.state == "ready")
        connection.execute(done.values(state="done", done_at=site.now))
        job = update(tables.job).where(tables.job.c.state == "ready")
        connection.execute(job.values(state="done", crashes=2))
        row = {"bundle_sha256": DIGEST, "finding": "{}", "made_at": site.now}
        connection.execute(insert(tables.analysis).values(instance_id=5, **row))
    for _ in range(2):
        with recent.reading(site.folders.ledger) as connection:
            counts = tally.advance(connection)
    assert (counts.deliveries["pacs"].number, counts.analyses.number, counts.crashes) == (5, 5, 3)
    with recent.reading(site.folders.ledger) as connection:
        assert Tally().advance(connection) == counts


def test_a_ledger_from_a_backup_is_counted_from_its_beginning(site, tmp_path):
    tally = Tally()
    with recent.reading(site.folders.ledger) as connection:
        assert tally.advance(connection).analyses.number == 4
    with recent.reading(Site(tmp_path / "backup").fill(2).folders.ledger) as connection:
        assert tally.advance(connection).analyses.number == 2


def test_drift_is_said_where_there_is_enough_to_compare(site):
    assert ("dicom_node_score_drift",) not in samples(site)
    _publish(site, [0.1 + 0.001 * (number % 100) for number in range(900)])
    calm = samples(site)[("dicom_node_score_drift",)]
    _publish(site, [0.6 + 0.001 * (number % 100) for number in range(200)])
    moved = samples(site)
    assert calm < 0.1
    assert moved[("dicom_node_score_drift",)] > 0.25
    assert moved[("dicom_node_score_mean",)] > moved[("dicom_node_score_reference_mean",)] + 0.3


def _publish(site: Site, probabilities: list[float]) -> None:
    row = {"state": "published", "closed_at": 1.0, "published_at": 2.0, "outcome": "negative", "bundle_sha256": DIGEST}
    with site.writing() as connection:
        for probability in probabilities:
            number = connection.exec_driver_sql("SELECT max(number) FROM version").scalar() + 1
            values = {"study_id": 1, "number": number, "probability": probability, **row}
            connection.execute(insert(tables.version).values(**values))


def test_before_the_first_start_the_node_is_down_and_nothing_is_counted(tmp_path):
    found = samples(Site(tmp_path))
    assert ("dicom_node_up",) in found
    assert not [key for key in found if key[0].endswith("_total")]


def test_alerts_and_dashboard_ask_for_nothing_that_is_not_there(site):
    site.certificates = (Certificate("Page certificate", 90.0),)
    site.node = replace(site.node, refused={"rejected": 1})
    _publish(site.fail(), [0.2] * 800)
    names = {key[0] for key in samples(site)}
    rules = (MONITORING / "dicom-node.rules.yml").read_text()
    dashboard = json.loads((MONITORING / "dicom-node-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for text in (rules, " ".join(asked)):
        used = set(re.findall(r"\bdicom_node_[a-z_]+", text))
        assert len(used) > 10
        assert used - names == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
