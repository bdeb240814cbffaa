"""Milliseconds an image, of any runtime, on inputs of the right shape (a network's time does not depend on values)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicom_node.core.errors import BundleError, WorkerCrashed
from dicom_node.inference import plans
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.services.engine import current_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.embedder import Embedder

_WARM_UP: Final = 5


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of single images, and the mean of images in a row where the runtime can overlap them."""

    runtime: str
    median: float
    p95: float
    in_a_row: float | None = None

    def __str__(self) -> str:
        overlapped = f", {self.in_a_row:.2f} ms mean with two on their way" if self.in_a_row is not None else ""
        return f"{self.runtime}: median {self.median:.2f} ms, 95th percentile {self.p95:.2f} ms{overlapped}"


def onnx_runtime(bundle: Bundle, images: int) -> Times:
    """Measure ONNX Runtime on all cores. Raises BundleError where it cannot run the bundle."""
    embedder = OnnxEmbedder(bundle, threads=0)
    try:
        return _single(embedder, _inputs(bundle, images))
    finally:
        embedder.close()


def tensorrt(bundle: Bundle, images: int) -> Times | str:
    """Measure the accepted plan of this device, or return in words why there is none, or why it failed."""
    try:
        plans.require_modules()
        facts = plans.accepted(bundle.folder, current_key(bundle, precision=""))
        from dicom_node.inference.tensorrt_embedder import TensorRtEmbedder  # noqa: PLC0415 - absent on most machines

        embedder = TensorRtEmbedder(bundle, plans.read_plan(bundle.folder, facts))
    except (BundleError, WorkerCrashed) as reason:
        return f"TensorRT: {reason}"
    try:
        tensors = _inputs(bundle, images)
        single = _single(embedder, tensors)
        total = _milliseconds(lambda: list(embedder.embed_all(tensors)))
        return Times(single.runtime, single.median, single.p95, total / len(tensors))
    except (BundleError, WorkerCrashed) as reason:
        return f"TensorRT: {reason}"
    finally:
        embedder.close()


def _inputs(bundle: Bundle, images: int) -> list[NDArray[np.float32]]:
    """Return one drawn input, as many times as asked: only its shape matters."""
    shape = tuple(bundle.manifest.embedder.input_shape)
    tensor = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return [tensor] * max(1, images)


def _single(embedder: Embedder, tensors: list[NDArray[np.float32]]) -> Times:
    for tensor in tensors[:_WARM_UP]:
        embedder.embed(tensor)
    times = [_milliseconds(lambda tensor=tensor: embedder.embed(tensor)) for tensor in tensors]  # type: ignore[misc]
    return Times(embedder.runtime, float(np.median(times)), float(np.percentile(times, 95)))


def _milliseconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return (time.perf_counter() - begun) * 1000.0
