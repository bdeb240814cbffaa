"""The result in brief: `result.json`, from which FHIR and HL7 copies are made (core.summary says what is in it)."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING

from dicom_node.core.summary import (
    FORMAT,
    AlgorithmSummary,
    CodeSummary,
    OrderSummary,
    PatientSummary,
    ResultSummary,
    StudySummary,
    ViewSummary,
)
from dicom_node.report.identity import code_of, identify, items_of, text_of
from dicom_node.report.narrative import in_words, view_in_words

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from dicom_node.core.model_identity import ModelIdentity
    from dicom_node.report.request import ReportRequest, SourceView


def summary(request: ReportRequest) -> bytes:
    """Return a result in brief as JSON, the same bytes for the same request."""
    finding, source = request.finding, request.source
    mended = identify(source, request.study_instance_uid)  # as the report has them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of each odd value that is read here
        brief = ResultSummary(
            format=FORMAT,
            version=request.version,
            made_at=request.made_at.isoformat(),
            patient=_patient(mended),
            order=_order(source),
            study=_study(mended, source),
            outcome=finding.outcome.value,
            probability=finding.probability,
            reason_code=finding.reason.code.value if finding.reason else "",
            reason_text=finding.reason.text if finding.reason else "",
            narrative=in_words(finding),
            views=tuple(_view(view) for view in request.views),
            algorithm=_algorithm(finding.model),
        )
    return json.dumps(asdict(brief), ensure_ascii=False, indent=1, sort_keys=True).encode()


def _patient(mended: Dataset) -> PatientSummary:
    return PatientSummary(
        patient_id=text_of(mended, "PatientID"),
        issuer=text_of(mended, "IssuerOfPatientID"),
        name=text_of(mended, "PatientName"),
        birth_date=text_of(mended, "PatientBirthDate"),
        sex=text_of(mended, "PatientSex"),
    )


def _order(source: Dataset) -> OrderSummary:
    requests = [*items_of(source, "RequestAttributesSequence"), source]

    def first(keyword: str) -> str:
        return next((value for item in requests if (value := text_of(item, keyword))), "")

    issuers = items_of(source, "IssuerOfAccessionNumberSequence")
    return OrderSummary(
        accession_number=text_of(source, "AccessionNumber"),
        accession_issuer=text_of(issuers[0], "LocalNamespaceEntityID") if issuers else "",
        placer_order_number=first("PlacerOrderNumberImagingServiceRequest"),
        filler_order_number=first("FillerOrderNumberImagingServiceRequest"),
    )


def _study(mended: Dataset, source: Dataset) -> StudySummary:
    code = code_of(items_of(source, "ProcedureCodeSequence"))
    return StudySummary(
        study_instance_uid=text_of(mended, "StudyInstanceUID"),
        study_id=text_of(mended, "StudyID"),
        date=text_of(mended, "StudyDate"),
        time=text_of(mended, "StudyTime"),
        description=text_of(mended, "StudyDescription"),
        procedure=CodeSummary(code.value, code.scheme_designator, code.meaning) if code else None,
    )


def _view(view: SourceView) -> ViewSummary:
    finding = view.finding
    return ViewSummary(
        sop_class_uid=text_of(view.header, "SOPClassUID"),
        sop_instance_uid=finding.sop_instance_uid,
        outcome=finding.outcome.value,
        probability=finding.probability,
        words=view_in_words(finding),
        reason_code=finding.reason.code.value if finding.reason else "",
    )


def _algorithm(model: ModelIdentity | None) -> AlgorithmSummary | None:
    if model is None:
        return None
    return AlgorithmSummary(
        name=model.name,
        version=model.version,
        manufacturer=model.manufacturer,
        bundle_sha256=model.bundle_sha256,
        device_uid=model.device_uid,
        demonstration=model.demonstration,
    )
