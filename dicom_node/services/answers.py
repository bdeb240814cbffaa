"""What the log, the audit trail and the ledger are told of a job and of a worker's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicom_node.services.messages import Analysed, AnalyseJob, Composed, ComposeJob, Image

if TYPE_CHECKING:
    from dicom_node.core.findings import ViewFinding
    from dicom_node.ledger.results import ImageToAnalyse


def uids_of(job: AnalyseJob | ComposeJob) -> dict[str, Any]:
    """Return what every event about a job says of it."""
    if isinstance(job, AnalyseJob):
        return {"study": job.image.study_instance_uid, "sop_instance": job.image.sop_instance_uid}
    return {"study": job.study_instance_uid, "version": job.version}


def is_of(answer: Analysed | Composed, job: AnalyseJob | ComposeJob) -> bool:
    """Tell whether an answer is about the images that were asked about, and no others."""
    said = (answer.finding,) if isinstance(answer, Analysed) else answer.finding.views
    asked = (job.image,) if isinstance(job, AnalyseJob) else job.views
    return {one.sop_instance_uid for one in said} == {one.sop_instance_uid for one in asked}


def analysis_facts(answer: Analysed) -> dict[str, Any]:
    """Return what the audit trail says of an analysis: what was decoded, what ran, and what came of it."""
    times = {"engine_ms": answer.engine_ms, "decode_ms": answer.took_ms.get("decode")}
    made = {"pixels_sha256": answer.pixels_sha256, "transform": answer.transform}
    return finding_facts(answer.finding) | times | made


def finding_facts(finding: ViewFinding) -> dict[str, Any]:
    """Return what the audit trail says of a finding."""
    model = finding.model
    return {
        "outcome": finding.outcome.value,
        "reason": finding.reason.code.value if finding.reason else None,
        "probability": finding.probability,
        "logit": finding.logit,
        "model": f"{model.name} {model.version}" if model else None,
        "runtime": model.runtime if model else None,
        "parameters": dict(model.parameters) if model else None,
    }


def image_of(row: ImageToAnalyse) -> Image:
    """Return an image as the worker is told of it."""
    return Image(
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        study_instance_uid=row.study_instance_uid,
        modality=row.modality,
        spool_key=row.spool_key,
        sha256=row.sha256,
        size=row.size,
    )


def fields_of(item: object) -> dict[str, str]:
    """Return an object of a composed result as the ledger has it."""
    names = ("kind", "slot", "sop_class_uid", "sop_instance_uid", "series_instance_uid", "transfer_syntax_uid", "file")
    return {name: getattr(item, name) for name in names}
