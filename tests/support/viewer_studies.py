"""Studies for the viewer: drawn phantoms with a made-up finding on each view, and the result composed from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.uid import UID

from dicom_node.cli.demo import phantom
from dicom_node.core.decision import aggregate
from dicom_node.core.findings import Outcome
from dicom_node.core.identifiers import derived_uid
from dicom_node.part10.decode import decode
from dicom_node.part10.writer import encode
from dicom_node.report.display import to_display
from dicom_node.report.package import ReportRequest, ResultObject, SourceView, compose
from tests.conformance import report_cases as cases

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicom_node.core.findings import StudyFinding

#: The broken wrist's break, as a share of height and width.
_BREAK = (0.61, 0.41)


@dataclass(frozen=True)
class ViewedStudy:
    """One study as files: the radiographs, and the result's objects beside them."""

    study_instance_uid: str
    files: tuple[Path, ...]
    objects: tuple[ResultObject, ...]
    finding: StudyFinding

    def captures(self) -> list[Dataset]:
        """Return the pages of the Secondary Capture series, the summary first."""
        return [made.dataset for made in self.objects if made.kind == "sc"]

    def report(self) -> Dataset:
        """Return the Structured Report that was sent."""
        (report,) = [made.dataset for made in self.objects if made.slot == "sr"]
        return report


def write(folder: Path, name: str, *outcomes: Outcome, rung: str = "sr") -> ViewedStudy:
    """Write a phantom's views, one an outcome, and the result that says these outcomes; rung: the report's kind."""
    folder.mkdir(parents=True, exist_ok=True)
    radiographs = [_radiograph(folder, name, index) for index in range(len(outcomes))]
    views = tuple(_view(path, outcome) for path, outcome in zip(radiographs, outcomes, strict=True))
    study_uid = str(views[0].header.StudyInstanceUID)
    found = aggregate(tuple(view.finding for view in views), cases.GATE.disagreement_margin, cases.MODEL)
    made = compose(ReportRequest(study_uid, 1, cases.MADE, found, views, cases.GATE))
    sent = [item for item in made if item.slot != "sr" or item.kind == rung]
    objects = tuple({item.slot: item for item in reversed(sent)}.values())[::-1]  # the best of each slot
    return ViewedStudy(study_uid, (*radiographs, *(_written(folder, made) for made in objects)), objects, found)


def _radiograph(folder: Path, name: str, index: int) -> Path:
    """Write one view of the broken wrist as a study of its own name."""
    image = phantom.image(phantom.phantoms()[0], index)
    image.StudyInstanceUID = UID(derived_uid("viewed", name))
    image.SeriesInstanceUID = UID(derived_uid("viewed", name, "series", str(index)))
    image.SOPInstanceUID = UID(derived_uid("viewed", name, "image", str(index)))
    image.AccessionNumber = image.StudyID = name.upper()[:16]
    path = folder / f"view-{index}.dcm"
    path.write_bytes(encode(image))
    return path


def _view(path: Path, outcome: Outcome) -> SourceView:
    from pydicom import dcmread  # noqa: PLC0415

    header = dcmread(path, stop_before_pixels=True)
    rows, columns = int(header.Rows), int(header.Columns)
    regions = (cases.box(rows, columns, _BREAK),) if outcome is Outcome.POSITIVE else ()
    finding = cases.finding(str(header.SOPInstanceUID), outcome, regions=regions)
    if outcome is Outcome.NOT_ANALYSED:
        return SourceView(header, finding, None, None)
    return SourceView(header, finding, to_display(decode(path)), cases.letterboxed(rows, columns, at=_BREAK))


def _written(folder: Path, made: ResultObject) -> Path:
    path = folder / f"{made.kind}-{made.sop_instance_uid}.dcm"
    path.write_bytes(encode(made.dataset))
    return path
