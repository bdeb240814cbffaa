"""The model as the worker holds it: a verified bundle with a running embedder, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import BundleError
from dicom_node.core.model_identity import FALLBACK
from dicom_node.inference.bundle import Bundle, load_bundle
from dicom_node.inference.pipeline import Pipeline
from dicom_node.inference.plans import NeedsBuild
from dicom_node.services.digest import installed_bundle
from dicom_node.services.engine import HeldEngine, open_engine

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.settings import AnalysisSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Model:
    """Either bundle, pipeline and engine, or the problem in words; sha256 names the bundle that was found, or "none".

    fallback says why ONNX Runtime runs it although TensorRT was asked for; stale that a build may give TensorRT back.
    """

    sha256: str
    bundle: Bundle | None
    pipeline: Pipeline | None
    problem: str | None
    engine: HeldEngine | None = None
    fallback: str | None = None
    stale: bool = False

    @property
    def runtime(self) -> str:
        """What runs the model, in words, and why it is not what was asked for."""
        if self.pipeline is None:
            return "none"
        instead = f" (instead of TensorRT: {self.fallback})" if self.fallback else ""
        return f"{self.pipeline.model.runtime}{instead}"

    def load(self) -> None:
        """Bring the network back after a release. Raises EngineLost where it does not come."""
        if self.engine is not None:
            self.engine.load()

    def release(self) -> None:
        """Release the network's memory until the next image."""
        if self.engine is not None and self.engine.release():
            log.info("engine.released", runtime=self.runtime)

    def test(self) -> None:
        """Ask the network its known answer. Raises EngineLost where it gives another or none."""
        if self.engine is not None:
            self.engine.test()


def load_model(settings: AnalysisSettings, strikes_file: Path) -> Model:
    """Load and verify the bundle; whatever is wrong with it becomes the problem that every report states.

    strikes_file is where the engine's unanswered images are counted. Raises WorkerCrashed as `open_engine` does.
    """
    sha256 = installed_bundle(settings)
    try:
        bundle = load_bundle(settings.bundle, settings.bundle_sha256 or None)
        choice = open_engine(bundle, settings, strikes_file)
    except BundleError as error:
        log.error("bundle.refused", reason=str(error))  # noqa: TRY400 - said in one line
        problem = _for_readers(str(error), settings.bundle)
        return Model(sha256, None, None, problem, stale=isinstance(error, NeedsBuild))
    pipeline = Pipeline(bundle, choice.engine)
    fallback = _for_readers(choice.fallback, settings.bundle) if choice.fallback else None
    if fallback is not None:
        parameters = (*pipeline.model.parameters, (FALLBACK, fallback))
        pipeline.model = replace(pipeline.model, parameters=parameters)
    return Model(sha256, bundle, pipeline, None, choice.engine, fallback, choice.stale)


def _for_readers(problem: str, folder: Path) -> str:
    """Return the problem as a report may state it: which file, but not where on this machine it lies."""
    return problem.replace(f"{folder}/", "").replace(str(folder), folder.name)
