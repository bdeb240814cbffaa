"""Which runtime runs the model here, and how the worker holds it: released when idle, loaded again, ended when lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from dicom_node.core.errors import BundleError, EngineLost, WorkerCrashed
from dicom_node.inference import known_answer, machine, plans
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.services.strikes import Strikes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.embedder import Embedder
    from dicom_node.settings import AnalysisSettings

log = structlog.get_logger(__name__)

# A prime, so that no row or channel is favoured.
_SAMPLED: Final = 97
_Sample = tuple[bytes, float]


class HeldEngine:
    """An embedder that can be released and comes back by itself with the next image.

    prove asks an embedder its known answer, whenever it was loaded and in `test`, and raises BundleError where it gives
    another. Whatever the runtime fails with becomes EngineLost: the process must end, and the next one chooses afresh.
    """

    def __init__(
        self, load: Callable[[], Embedder], prove: Callable[[Embedder], None], strikes: Strikes | None = None
    ) -> None:
        self._load = load
        self._prove = prove
        self._strikes = strikes
        self._last: tuple[_Sample, _Sample] | None = None
        self._engine: Embedder | None = self._proved()
        self.runtime = self._engine.runtime
        """Name and version of what computes, as results state it; the same after a release."""

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features as the embedder does. Raises EngineLost where the runtime fails."""
        if self._strikes is not None:
            self._strikes.note()
        try:
            features = self._loaded().embed(tensor)
        except WorkerCrashed as error:
            raise EngineLost(str(error)) from None
        self._check_other(tensor, features)
        if self._strikes is not None:
            self._strikes.clear()
        return features

    def load(self) -> None:
        """Bring the network back after a release, if it is not there. Raises EngineLost where it does not come."""
        if self._engine is not None:
            return
        if self._strikes is not None:
            self._strikes.note()
        try:
            self._loaded()
        finally:
            if self._strikes is not None:
                self._strikes.take_back()

    def test(self) -> None:
        """Ask the known answer again, unless the network is released: it is asked when it comes back.

        Raises EngineLost where it gives another or none; the process that comes next will say so of every image.
        """
        if self._engine is None:
            return
        try:
            self._prove(self._engine)
        except (BundleError, WorkerCrashed) as error:
            message = f"the self-test failed: {error}"
            raise EngineLost(message) from None

    def release(self) -> bool:
        """Release the network until the next image; returns whether it was loaded."""
        if self._engine is None:
            return False
        self._engine.close()
        self._engine = None
        return True

    def close(self) -> None:
        """Release the network."""
        self.release()

    def _loaded(self) -> Embedder:
        if self._engine is None:
            try:
                self._engine = self._proved()
            except (BundleError, WorkerCrashed) as error:
                message = f"the model could not be loaded again: {error}"
                raise EngineLost(message) from None
            log.info("engine.loaded", runtime=self.runtime)
        return self._engine

    def _proved(self) -> Embedder:
        engine = self._load()
        try:
            self._prove(engine)
        except (BundleError, WorkerCrashed):
            engine.close()
            raise
        return engine

    def _check_other(self, tensor: NDArray[np.float32], features: NDArray[np.float32]) -> None:
        """Raise EngineLost where another image than the last one has the very same features: the output is stuck."""
        given, found = _sample(tensor), _sample(features)
        if self._last is not None and self._last[0] != given and self._last[1] == found:
            message = "the model gave the features of the image before for another one"
            raise EngineLost(message)
        self._last = given, found


def _sample(array: NDArray[np.float32]) -> tuple[bytes, float]:
    """Return what tells one array from another without a copy of it: every so manieth value, and the sum of all."""
    return array.ravel()[::_SAMPLED].tobytes(), float(array.sum(dtype=np.float64))


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that was opened; fallback says why it is not TensorRT, None where it is what the settings ask for.

    stale: a build on this device may give TensorRT back.
    """

    engine: HeldEngine
    fallback: str | None
    stale: bool = False


def open_engine(bundle: Bundle, settings: AnalysisSettings, strikes_file: Path) -> Choice:
    """Open what the settings ask for.

    Raises BundleError where neither it nor (if allowed) ONNX Runtime can run the bundle, WorkerCrashed where only
    memory is short and nothing may take over: a new process may find more.
    """
    if settings.runtime == "onnxruntime" or (settings.runtime == "auto" and plans.missing_modules()):
        return Choice(_onnx(bundle, settings), None)
    try:
        return Choice(_tensorrt(bundle, settings, strikes_file), None)
    except (BundleError, WorkerCrashed) as error:
        if settings.runtime == "tensorrt" and not settings.fallback:
            raise
        log.warning("engine.fallback", reason=str(error))
        return Choice(_onnx(bundle, settings), str(error), isinstance(error, plans.NeedsBuild))


def _onnx(bundle: Bundle, settings: AnalysisSettings) -> HeldEngine:
    def load() -> OnnxEmbedder:
        # Also after a release, days later: somebody may have put another bundle in the place of the one whose head,
        # thresholds and digest are held here.
        load_bundle(bundle.folder, bundle.sha256)
        return OnnxEmbedder(bundle, threads=settings.threads, providers=settings.providers)

    return HeldEngine(load, lambda embedder: known_answer.check(bundle, known_answer.answer(bundle, embedder)))


def _tensorrt(bundle: Bundle, settings: AnalysisSettings, strikes_file: Path) -> HeldEngine:
    plans.require_modules()
    strikes = Strikes(strikes_file, plans.fingerprint(bundle.folder))
    # One fewer than would give an image up: the image in hand still gets its answer, from ONNX Runtime.
    limit = max(1, settings.crash_limit - 1)
    falls_back = settings.runtime == "auto" or settings.fallback
    if falls_back and strikes.count() >= limit:
        message = f"TensorRT ended the worker {strikes.count()} times in a row since this machine was started"
        raise BundleError(message)
    strikes.note()
    try:
        facts = plans.accepted(bundle.folder, current_key(bundle, precision=""))
        return HeldEngine(
            lambda: _module().TensorRtEmbedder(bundle, plans.read_plan(bundle.folder, facts)),
            lambda embedder: _prove_plan(bundle, facts, embedder),
            strikes,
        )
    finally:
        strikes.take_back()


def _prove_plan(bundle: Bundle, facts: plans.PlanFacts, embedder: Embedder) -> None:
    """Raise BundleError where a plan answers otherwise than in its acceptance test, or than the bundle says."""
    expected, found = facts.known_logit or 0.0, known_answer.answer(bundle, embedder)
    if not abs(found - expected) <= known_answer.TOLERANCE:  # so that NaN fails too
        message = f"the TensorRT plan answers {found:.3f} where it answered {expected:.3f}; {plans.BUILD}, with --again"
        raise BundleError(message)
    known_answer.check(bundle, found)


def _module() -> Any:
    """Import TensorRT only where a plan is about to be used. Raises BundleError where its libraries do not load."""
    try:
        from dicom_node.inference import tensorrt_embedder  # noqa: PLC0415 - absent on most machines
    except ImportError as error:
        message = f"TensorRT's modules do not load ({type(error).__name__}); see docs/jetson.md"
        raise BundleError(message) from None
    return tensorrt_embedder


def current_key(bundle: Bundle, precision: str) -> plans.PlanKey:
    """Return the key that a plan of this bundle needs on this device. Raises BundleError where there is no GPU."""
    module = _module()
    facts = module.device_facts()
    return plans.PlanKey(
        tensorrt=facts.tensorrt,
        gpu=facts.gpu,
        sm=facts.sm,
        platform=machine.platform_name(facts.cuda_driver),
        onnx_sha256=plans.network_sha256(bundle),
        precision=precision,
        shapes=plans.shapes(bundle),
        flags=module.FLAGS,
    )
