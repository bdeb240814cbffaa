"""The model as the worker holds it: a verified bundle with a running embedder, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import BundleError
from dicom_node.inference.bundle import Bundle, load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.services.digest import installed_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.settings import AnalysisSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Model:
    """Either bundle and pipeline, or the problem in words; sha256 names the bundle that was found, or "none"."""

    sha256: str
    bundle: Bundle | None
    pipeline: Pipeline | None
    problem: str | None

    @property
    def runtime(self) -> str:
        """What runs the model, in words."""
        return self.pipeline.model.runtime if self.pipeline else "none"


def load_model(settings: AnalysisSettings) -> Model:
    """Load and verify the bundle; whatever is wrong with it becomes the problem that every report states."""
    sha256 = installed_bundle(settings)
    try:
        bundle = load_bundle(settings.bundle, settings.bundle_sha256 or None)
        pipeline = Pipeline(bundle, OnnxEmbedder(bundle, threads=settings.threads))
    except BundleError as error:
        log.error("bundle.refused", reason=str(error))  # noqa: TRY400 - said in one line
        return Model(sha256, None, None, _for_readers(str(error), settings.bundle))
    return Model(sha256, bundle, pipeline, None)


def _for_readers(problem: str, folder: Path) -> str:
    """Return the problem as a report may state it: which file, but not where on this machine it lies."""
    return problem.replace(f"{folder}/", "").replace(str(folder), folder.name)
