"""What the model says about files without any node around it: the answer that results must equal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pydicom

from dicom_node.core.decision import aggregate
from dicom_node.core.findings import StudyFinding, ViewFinding
from dicom_node.core.intended_use import ViewAttributes
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.part10.decode import decode


@lru_cache(maxsize=1)
def _pipeline(folder: Path) -> tuple[Pipeline, float]:
    bundle = load_bundle(folder)
    return Pipeline(bundle, OnnxEmbedder(bundle, threads=1)), bundle.gate.disagreement_margin


def analyse(bundle: Path, files: Sequence[Path]) -> StudyFinding:
    """Return the finding on a study, straight from its files."""
    pipeline, margin = _pipeline(bundle)
    return aggregate(tuple(_view(pipeline, file) for file in files), margin, pipeline.model)


def _view(pipeline: Pipeline, file: Path) -> ViewFinding:
    header = pydicom.dcmread(file, stop_before_pixels=True)
    attributes = ViewAttributes(
        modality=str(header.get("Modality", "")),
        body_part=str(header.get("BodyPartExamined", "")),
        patient_age=str(header.get("PatientAge", "")),
        image_type=tuple(str(value) for value in header.get("ImageType", ())),
    )
    return pipeline.analyse(str(header.SOPInstanceUID), attributes, decode(file)).finding
