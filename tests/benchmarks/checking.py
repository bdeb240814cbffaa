"""Holding what came out against what had to come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.progress import track

from dicom_node.core.findings import StudyFinding
from tests.benchmarks.figures import Figures
from tests.benchmarks.workload import Workload
from tests.support.fracatlas import Study
from tests.support.system import System, result_problems

TOLERANCE = 1e-3  # a report states its probability to a tenth of a per cent


def check(system: System, workload: Workload, studies: Sequence[Study], figures: Figures, console: Console) -> None:
    """Compare every study's results in the PACS with the model's own answer, and note what is wrong."""
    listed = {row["sop_instance_uid"] for row in system.node.instances() if row["role"] == "view"}
    sent = {uid for study in studies for uid in study.sop_instance_uids}
    figures.problems += [f"{uid}: lost" for uid in sent - listed]
    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda study: _check_study(system, study, workload.expected), studies)
        for outcome, versions, problems in track(
            answers,
            "checking the PACS",
            total=len(studies),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            outcomes[outcome] += 1
            figures.versions += versions
            figures.problems += problems
            figures.correct += not problems
    figures.outcomes = dict(sorted(outcomes.items()))
    strangers = set(system.node.studies()) - set(workload.expected)
    figures.problems += [f"{uid}: nobody sent this study" for uid in strangers]


def _check_study(system: System, study: Study, expected: dict[str, StudyFinding]) -> tuple[str, int, list[str]]:
    uid = study.study_instance_uid
    if uid not in system.node.studies():
        return "missing", 0, [f"{uid}: the node never heard of it"]
    published = [row for row in system.node.study(uid)["versions"] if row["state"] == "published"]
    if not published:
        return "missing", 0, [f"{uid}: no result"]
    problems = result_problems(system, study, versions=len(published))
    latest, wanted = published[-1], expected[uid]
    if set(latest["views"]) != set(study.sop_instance_uids):
        problems.append(f"{uid}: the result is of {len(latest['views'])} of {len(study.files)} views")
    made = {item["sop_instance_uid"] for item in latest["objects"]}
    report = next((report for report in system.reports(uid) if report.sop_instance_uid in made), None)
    if report is None:
        return "missing", len(published), [*problems, f"{uid}: the latest report is not in the PACS"]
    if report.outcome != wanted.outcome.value or not _equal(report.probability, wanted.probability):
        found = f"{report.outcome} {report.probability} instead of {wanted.outcome.value} {wanted.probability}"
        problems.append(f"{uid}: {found}")
    return report.outcome, len(published), problems


def _equal(found: float | None, wanted: float | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return abs(found - wanted) <= TOLERANCE
