"""The embedder as ONNX, and the proof that it answers as the trained network does."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import onnxruntime
import torch

from dicom_node.lab.features import POOL
from dicom_node.lab.network import CHANNELS, STRIDE, ChannelsLast

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.lab.cache import Cache
    from dicom_node.lab.experiment import Model

OPSET: Final = 20
INPUT: Final = "image"
OUTPUT: Final = "features"
SIDE: Final = 512
_COSINE: Final = 0.9999
_LOGIT: Final = 1e-2
MIB: Final = 2**20
_LARGEST: Final = 16 * MIB


class ExportError(RuntimeError):
    """The exported model is not the trained one, or is too large to ship."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How closely the exported model follows the trained one, over these images."""

    images: int
    least_cosine: float
    largest_logit_difference: float
    peaks_equal: int


def write_onnx(model: Model, path: Path) -> None:
    """Export the default model's embedder, small enough to be shipped."""
    embedder = model.embedder.to(memory_format=torch.contiguous_format)
    write_network(ChannelsLast(embedder), SIDE, path, largest=_LARGEST)


def write_network(network: torch.nn.Module, side: int, path: Path, largest: int) -> None:
    """Export image [B, 1, side, side] to features, channels last, in float32 with a free batch axis, as one file.

    Raises ExportError where the file has more than `largest` bytes.
    """
    sample = torch.zeros((2, 1, side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (sample,),
            str(path),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            external_data=False,
            verbose=False,
        )
    _forget_origin(path)
    size = path.stat().st_size
    if size > largest:
        message = f"the ONNX file has {size / MIB:.1f} MiB, more than the {largest // MIB} MiB that are allowed"
        raise ExportError(message)
    onnx.checker.check_model(str(path), full_check=True)


def _forget_origin(path: Path) -> None:
    """Remove what the exporter notes of this machine: each node carries the stack trace, with paths, that made it."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(model, str(path))


def check_parity(model: Model, path: Path, cache: Cache, rows: NDArray[np.int64]) -> Parity:
    """Compare the file with the network on these images, and raise where it is not the same model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    network = ChannelsLast(model.embedder).eval()
    cosines, differences, peaks = [], [], 0
    for row in rows:
        inputs = cache.tensors(np.array([row]))
        (answer,) = session.run([OUTPUT], {INPUT: inputs})
        with torch.no_grad():
            wanted = network(torch.from_numpy(inputs)).numpy()
        cosines.append(_cosine(answer, wanted))
        ours, theirs = (_logit(model, features) for features in (answer, wanted))
        differences.append(abs(ours - theirs))
        peaks += int(answer[0, :, :, -4].argmax() == wanted[0, :, :, -4].argmax())
    parity = Parity(len(rows), min(cosines), max(differences), peaks)
    if parity.least_cosine < _COSINE or not parity.largest_logit_difference < _LOGIT:
        message = f"the ONNX file does not answer as the trained network does: {parity}"
        raise ExportError(message)
    return parity


def output_shape() -> list[int]:
    """Return the shape of the features of one image."""
    return [1, SIDE // STRIDE, SIDE // STRIDE, CHANNELS]


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _logit(model: Model, features: NDArray[np.float32]) -> float:
    n, rows, columns, channels = features.shape
    blocks = features.reshape(n, rows // POOL, POOL, columns // POOL, POOL, channels)
    return float(model.head.logits(np.asarray(blocks.mean(axis=(2, 4)), dtype=np.float32))[0])
