"""A whole installation in a folder: Orthanc as the PACS, and a node that it forwards to and that sends results back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.fracatlas import Study
from tests.support.node import Node
from tests.support.orthanc import Forward, Orthanc
from tests.support.results import Reported, read_report
from tests.support.waiting import free_port, until

if TYPE_CHECKING:
    from typing_extensions import Self

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = Path(os.environ.get("DICOM_NODE_TEST_BUNDLE", REPOSITORY / "engines" / "compact-fracatlas"))
UNFINISHED = {"waiting", "composing"}


class System:
    """Orthanc and node, started together and stopped together."""

    def __init__(
        self,
        folder: Path,
        bundle: Path = BUNDLE,
        forward: Forward = Forward.SEND,
        *,
        quiet_s: float = 3.0,  # the views of a study are sent one after the other
        analysis: dict[str, Any] | None = None,
    ) -> None:
        port = free_port()
        self.pacs = Orthanc(folder / "pacs", port, forward)
        self.node = Node(folder / "node", bundle, quiet_s=quiet_s, port=port)
        self.node.settings["analysis"] |= analysis or {}
        self.node.sends_to("pacs", self.pacs.ae_title, self.pacs.dicom_port)

    def __enter__(self) -> Self:
        self.pacs.start()
        try:
            self.node.start()
        except BaseException:
            self.pacs.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.node.stop()
        self.pacs.stop()

    def upload(self, study: Study) -> None:
        """Store a study in the PACS as if a modality had sent it; the PACS forwards it by its rule."""
        for file in study.files:
            self.pacs.upload(file)

    def reports(self, study_instance_uid: str) -> list[Reported]:
        """Return the node's reports that the PACS holds for a study."""
        return [read_report(dataset) for dataset in self.pacs.datasets(study_instance_uid, "SR")]

    def settle(self, limit_s: float = 120) -> None:
        """Wait until every study is closed and answered, and nothing was logged for longer than the quiet period."""

        def is_calm() -> bool:
            if any(study["state"] == "open" or study["result"] in UNFINISHED for study in self.node.studies().values()):
                return False
            before = len(self.node.events())
            time.sleep(self.node.settings["study"]["quiet_s"] + 0.5)
            return len(self.node.events()) == before

        until(is_calm, limit_s, "nothing is going on any more")

    def wait_result(self, study: Study, version: int = 1, limit_s: float = 120) -> tuple[dict[str, Any], Reported]:
        """Wait until a version of a study is in the PACS; returns what the node and what the report say."""
        listed = self.node.wait_versions(study.study_instance_uid, version, limit_s)

        def newest() -> Reported | None:
            uids = objects(listed, version)
            return next((r for r in self.reports(study.study_instance_uid) if r.sop_instance_uid in uids), None)

        return listed, until(newest, 60, f"the PACS holds the report of version {version}")


def objects(listed: dict[str, Any], version: int | None = None) -> set[str]:
    """Return the SOP Instance UIDs of the results that the node lists for a study."""
    versions = [row for row in listed["versions"] if version in {None, row["version"]}]
    return {item["sop_instance_uid"] for row in versions for item in row["objects"]}


def delivered(listed: dict[str, Any], destination: str = "pacs") -> set[str]:
    """Return the SOP Instance UIDs that the node says a destination has: of each slot the alternative that it took."""
    slots = [slot for row in listed["deliveries"] if row["destination"] == destination for slot in row["slots"]]
    return {slot["sop_instance_uid"] for slot in slots} - {None}


def result_problems(system: System, study: Study, versions: int = 1) -> list[str]:
    """Return what is wrong with a study's results in the PACS: lost, doubled, under other UIDs, in the wrong study."""
    listed = system.node.study(study.study_instance_uid)
    stored = system.pacs.datasets(study.study_instance_uid)
    extra = {str(d.SOPInstanceUID): d for d in stored if str(d.SOPInstanceUID) not in study.sop_instance_uids}
    reports = [d for d in extra.values() if d.Modality == "SR"]
    heatmaps = {str(d.SeriesInstanceUID) for d in extra.values() if d.Modality not in {"SR", "PR"}}
    problems = []
    published = [row["version"] for row in listed["versions"] if row["state"] == "published"]
    if len(published) != versions:
        problems.append(f"{len(published)} published versions instead of {versions}")
    if len(reports) != versions or len({str(d.SeriesInstanceUID) for d in reports}) > versions:
        problems.append(f"{len(reports)} reports instead of {versions}")
    if len(heatmaps) != versions:
        problems.append(f"{len(heatmaps)} heatmap series instead of {versions}")
    if set(extra) != delivered(listed):
        problems.append("the results in the PACS are not those that the node says it has")
    strangers = [
        d for d in extra.values() if (d.AccessionNumber, d.PatientID) != (study.accession_number, study.patient_id)
    ]
    if strangers:
        problems.append(f"{len(strangers)} results with another accession number or patient")
    return [f"{study.study_instance_uid}: {problem}" for problem in problems]
