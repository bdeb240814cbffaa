"""How much memory a network will want, read from its ONNX file before anything is built. Needs the onnx package."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import onnx
from onnx import shape_inference

from dicom_node.core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_QUANTISED: Final = frozenset({"QuantizeLinear", "DequantizeLinear"})
_ACTIVATIONS: Final = 2  # a layer reads one and writes one
_BUILD_COPIES: Final = 2  # while building, TensorRT holds the network's weights and the plan's own


@dataclass(frozen=True, slots=True)
class NetworkSizes:
    """Bytes of all weights and of the largest activation, and the type that most of the weights have."""

    weights: int
    largest_activation: int
    precision: str

    @property
    def to_run(self) -> int:
        """Bytes that running takes at least: the weights, and what the largest layer reads and writes."""
        return self.weights + _ACTIVATIONS * self.largest_activation

    def to_build(self, workspace: int) -> int:
        """Bytes that building takes, an estimate: the weights twice, the largest layer and the workspace limit."""
        return _BUILD_COPIES * self.weights + _ACTIVATIONS * self.largest_activation + workspace


def network_sizes(path: Path, input_shape: Sequence[int]) -> NetworkSizes:
    """Return the sizes of a network for an input of this shape. Raises BundleError where the file is no ONNX model."""
    try:
        model = onnx.load(str(path), load_external_data=False)
        _pin(model.graph.input[0].type.tensor_type.shape, input_shape)
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # noqa: BLE001 - protobuf and onnx share no base class of errors
        message = f"{path}: not a readable ONNX model ({type(error).__name__}); export it again"
        raise BundleError(message) from None
    weights = [(item.data_type, math.prod(item.dims)) for item in graph.initializer]
    values = [value.type.tensor_type for value in (*graph.value_info, *graph.output)]
    activations = [_bytes(value.elem_type, math.prod(_dims(value.shape))) for value in values]
    return NetworkSizes(
        weights=sum(_bytes(kind, count) for kind, count in weights),
        largest_activation=max(activations, default=0),
        precision=_precision(weights, {node.op_type for node in graph.node}),
    )


def _pin(shape: Any, sides: Sequence[int]) -> None:
    for dimension, side in zip(shape.dim, sides, strict=True):
        dimension.dim_value = side


def _dims(shape: Any) -> list[int]:
    """Return the sides of a shape; one that stayed unknown counts as 1."""
    return [dimension.dim_value or 1 for dimension in shape.dim]


def _bytes(kind: int, count: int) -> int:
    if kind == onnx.TensorProto.UNDEFINED:
        return 0
    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize) * count


def _precision(weights: list[tuple[int, int]], operators: set[str]) -> str:
    counts: Counter[int] = Counter()
    for kind, count in weights:
        counts[kind] += count
    most = counts.most_common(1)[0][0] if counts else onnx.TensorProto.FLOAT
    name = str(onnx.TensorProto.DataType.Name(most)).lower()
    return f"{name}, quantised" if operators & _QUANTISED else name
