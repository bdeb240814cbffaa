"""What a radiologist sees of a result, in two web viewers that read it from a PACS.

Every picture is kept in build/screenshots, to be looked at.
"""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest

from dicom_node.cli.demo import phantom
from dicom_node.core.findings import Outcome
from dicom_node.report import codes
from dicom_node.report.narrative import WORDS, in_words
from tests.support import dicomweb, viewer_studies
from tests.support.requirements import require
from tests.support.viewer_pictures import likeness
from tests.support.viewer_screen import ALIKE, keep, shows
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

STUDIES = {
    "positive": (Outcome.POSITIVE, Outcome.NOT_ANALYSED),
    "negative": (Outcome.NEGATIVE,),
    "inconclusive": (Outcome.INCONCLUSIVE,),
    "not-analysed": (Outcome.NOT_ANALYSED,),
    "basic-text": (Outcome.POSITIVE, Outcome.POSITIVE),
}
# The summary, and a heatmap a view where there is one.
PAGES = {"positive": 2, "negative": 1, "inconclusive": 2, "not-analysed": 1, "basic-text": 3}


@pytest.fixture(scope="module")
def studies(pacs, tmp_path_factory):
    """Each study in the PACS, radiographs and result."""
    folder = tmp_path_factory.mktemp("studies")
    made = {
        name: viewer_studies.write(folder / name, name, *outcomes, rung="sr-11" if name == "basic-text" else "sr")
        for name, outcomes in STUDIES.items()
    }
    for file in (file for study in made.values() for file in study.files):
        pacs.upload(file)
    return made


@pytest.fixture(scope="module")
def analysed(pacs, node, tmp_path_factory):
    """A study that the PACS sent to a node and has a result of: its UID and the outcome in the node's own books."""
    folder = tmp_path_factory.mktemp("analysed")
    files = [file for file in phantom.write(folder) if file.parent.name == "phantom-2"]
    instances = [pacs.upload(file) for file in files]
    pacs.post("/modalities/node/store", {"Resources": instances, "Synchronous": True})
    study_uid = phantom.phantoms()[1].study_uid
    listed = node.wait_versions(study_uid)
    return study_uid, Outcome(listed["versions"][0]["outcome"])


def reported(study):
    """Return lines that OHIF shows of a report: words beside an outline, or all of it as text."""
    finding = study.finding
    if study.report().ConceptNameCodeSequence[0].CodeValue == codes.IMAGING_MEASUREMENT_REPORT.value:
        return {"Probability: 87.30 %"}
    outcome = codes.OUTCOMES[finding.outcome].meaning
    return {"1. AI fracture triage report", f"{codes.OUTCOME.meaning}: {outcome}", f"Comment: {in_words(finding)}"}


def named(outcome):
    """Return how the result's series are called."""
    return {f"AI: {outcome} - fracture triage", f"AI: {outcome} - fracture triage report"}


@pytest.mark.parametrize("name", STUDIES)
def test_ohif_lists_the_outcome_and_shows_every_page_and_the_report(ohif, ohif_server, studies, name):
    study, pages = studies[name], studies[name].captures()
    outcome = WORDS[STUDIES[name][0]]
    ohif.open(ohif_server.url(study.study_instance_uid), named(outcome))
    keep(ohif.page, f"ohif-{name}-study")
    wanted = {f"AI: {outcome} - fracture triage": "OT", f"AI: {outcome} - fracture triage report": "SR"}
    until(lambda: wanted.items() <= ohif.series().items(), 60, "each is listed with its modality")

    ohif.open_series(f"AI: {outcome} - fracture triage")
    assert len(pages) == PAGES[name]
    for number, shown in enumerate(pages, start=1):
        shows(ohif.viewport, shown)
        keep(ohif.page, f"ohif-{name}-page-{number}")
        screenshot = ohif.viewport.screenshot()
        assert all(likeness(screenshot, other) < ALIKE for other in pages if other is not shown)
        ohif.next_page()

    ohif.open_series(f"AI: {outcome} - fracture triage report")
    try:
        until(lambda: reported(study) <= set(ohif.lines()), 60, "the report is shown", every_s=0.3)
    finally:
        keep(ohif.page, f"ohif-{name}-report")


def test_ohif_shows_what_the_node_itself_sent(ohif, ohif_server, pacs, analysed):
    study_uid, outcome = analysed
    ohif.open(ohif_server.url(study_uid), named(WORDS[outcome]))
    (series,) = pacs.find("Series", StudyInstanceUID=study_uid, Modality="OT")
    sent = [pydicom.dcmread(BytesIO(pacs.file(identifier))) for identifier in series["Instances"]]
    summary = min(sent, key=lambda capture: int(capture.InstanceNumber))
    ohif.open_series(f"AI: {WORDS[outcome]} - fracture triage")
    shows(ohif.viewport, summary)
    keep(ohif.page, "ohif-node-page-1")


def test_orthancs_own_viewer_shows_the_summary_first_and_then_the_heatmap(page, pacs, studies):
    require(dicomweb.has_web_viewer(), "Orthanc's web viewer (orthanc-webviewer)")
    study = studies["positive"]
    summary, heatmap, *_ = study.captures()
    page.goto(pacs.web_viewer_url(study.study_instance_uid, "AI: POSITIVE - fracture triage"))
    drawn = page.locator("canvas").first
    shows(drawn, summary)
    keep(page, "orthanc-positive-page-1")
    drawn.hover()

    def turned() -> bool:  # it keeps the summary's zoom, so the page does not fill the viewport
        page.mouse.wheel(0, 100)  # it is the last page; what turns before that is read is lost
        screenshot = drawn.screenshot()
        return likeness(screenshot, heatmap) > likeness(screenshot, summary) + 0.3

    until(turned, 60, "the heatmap is drawn", every_s=1.0)
    keep(page, "orthanc-positive-page-2")
