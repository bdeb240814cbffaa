"""Draws heatmap-page.png and summary-page.png of the README: the phantom, with a finding made up for the picture.

Run it from the repository root: `.venv/bin/python docs/images/draw.py`.
"""
# ruff: noqa: INP001 - a script beside its pictures

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image

from dicom_node.cli.demo import phantom
from dicom_node.core.decision import Gate, Policy
from dicom_node.core.findings import Localisation, Outcome, Region, StudyFinding, ViewFinding
from dicom_node.core.model_identity import ModelIdentity
from dicom_node.core.radiograph import EvidenceMap, InputGeometry
from dicom_node.report.heatmap_page import heatmap_page
from dicom_node.report.page import summary_page
from dicom_node.report.request import ReportRequest, SourceView

CELLS = 32
WIDTH = 820
#: The fracture in millimetres from the wrist, and how far the made-up evidence reaches.
PLACE, REACH = {"PA": (-11.0, 23.0), "LL": (1.0, 23.0)}, 9.0
MODEL = ModelIdentity("Illustration: a finding made up for this picture", "0", "nobody", "0" * 64, True, "none")  # noqa: FBT003
GATE = Gate(Policy.CERTIFIED, 0.10, 0.60, 0.5, 1.0, 1.0, 1.0, 0.5)


def view(of: phantom.Phantom, index: int, probability: float) -> SourceView:
    """Return a view of the phantom with evidence around its fracture."""
    dataset, lies = phantom.image(of, index), of.views[index]
    rows, columns = lies.shape
    place = [(p - origin) / lies.spacing for p, origin in zip(PLACE[lies.name], lies.origin, strict=True)]
    angle = np.linspace(0.0, 2.0 * np.pi, 25)
    ring = [(float(place[0] + 95 * np.cos(a)), float(place[1] + 55 * np.sin(a))) for a in angle]
    finding = ViewFinding(
        sop_instance_uid=dataset.SOPInstanceUID,
        outcome=Outcome.POSITIVE,
        reason=None,
        probability=probability,
        logit=float(np.log(probability / (1.0 - probability))),
        localisation=Localisation(0.4, 0.05, 0.0, (place[0], place[1]), on_border=False, trusted=True),
        regions=(Region((*ring[:-1], ring[0])),),
        model=MODEL,
        negative_below=GATE.p_low,
    )
    y, x = np.mgrid[0.5:CELLS, 0.5:CELLS] / CELLS
    distance = np.hypot((x * columns - place[0]) * 0.7, y * rows - place[1]) * lies.spacing / REACH
    values = np.exp(-(distance**2)).astype(np.float32) - 0.05
    geometry = InputGeometry(rows, columns, 512, 512, 512 / rows, 512 / columns, 0.0, 0.0)
    shown = EvidenceMap(values.astype(np.float32), np.ones((CELLS, CELLS), dtype=np.bool_), geometry, "localiser")
    grey = (dataset.pixel_array >> (phantom.BITS - 8)).astype(np.uint8)
    del dataset.PixelData
    return SourceView(dataset, finding, grey, shown)


def main() -> None:
    """Write both pages beside this file."""
    wrist = phantom.phantoms()[0]
    views = (view(wrist, 0, 0.91), view(wrist, 1, 0.84))
    finding = StudyFinding(Outcome.POSITIVE, None, 0.91, tuple(v.finding for v in views), MODEL)
    made_at = datetime(2026, 1, 5, 10, 20, tzinfo=timezone.utc)
    request = ReportRequest(wrist.study_uid, 1, made_at, finding, views, GATE)
    pages = {"heatmap-page": heatmap_page(request, views[0], 1), "summary-page": summary_page(request)}
    for name, page in pages.items():
        picture = Image.fromarray(page)
        picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        picture.save(Path(__file__).with_name(f"{name}.png"), optimize=True)


if __name__ == "__main__":
    main()
