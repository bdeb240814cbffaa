"""The network between its two tensors as ONNX: in float32, in FP16, and in FP16 as a processor can rehearse it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.lab.cxr.saved_model import SavedModel

IMAGE: Final = "image"
FEATURES: Final = "features"
LARGEST: Final = "largest"
SIDE: Final = 1280
OPSET: Final = 18
FP16_MAX: Final = 65504.0
DATA_FILE: Final = "embedder.onnx.data"
# A protobuf message ends at 2 GiB, which the whole network in float32 comes close to.
_ONE_FILE_MAX: Final = 1 << 30
_ONE: Final = "rehearsal/one"


def convert(model: SavedModel) -> Any:
    """Return the network in float32: image [1, 1, 1280, 1280] in, features [1, 40, 40, 1376] out, colours tripled."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, [1, 1, SIDE, SIDE], name=IMAGE)
        colour = tf.tile(tf.reshape(image, [1, SIDE, SIDE, 1]), [1, 1, 1, 3])
        (fine,) = tf.import_graph_def(
            model.graph, input_map={model.cut.colour: colour}, return_elements=[model.cut.fine], name=""
        )
        tf.identity(tf.ensure_shape(fine, [1, *_fine_shape(model)]), name=FEATURES)
    kept = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [FEATURES])
    left = sorted({node.op for node in kept.node if node.op.startswith(("Decode", "Parse", "ResizeBilinear"))})
    if left:
        message = (
            f"the cut still reaches {', '.join(left)}: the SavedModel's network does not start at {model.cut.colour}"
        )
        raise LabError(message)
    try:
        converted, _ = tf2onnx.convert.from_graph_def(
            kept, input_names=[f"{IMAGE}:0"], output_names=[f"{FEATURES}:0"], opset=OPSET
        )
    except Exception as error:  # noqa: BLE001 - the converter raises almost anything
        reason = f"{type(error).__name__}: {str(error)[:120]}".splitlines()[0]
        message = f"tf2onnx cannot convert the network ({reason}); use the versions that scripts/setup cxr installs"
        raise LabError(message) from None
    return _plain(converted)


def to_fp16(model: Any, float32_first: int = 0) -> Any:
    """Return the network with weights and arithmetic in FP16; image and features stay float32.

    float32_first: so many convolutions from the image on, and what lies between them, stay float32 too.
    """
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.abs(numpy_helper.to_array(tensor)).max(initial=0.0) > FP16_MAX:
            message = f"the weights {tensor.name[:80]} exceed FP16's {FP16_MAX:g}; use --precision fp32"
            raise LabError(message)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept = _up_to(copy, float32_first)
    half = OnnxModel(convert_float_to_float16(copy, keep_io_types=True, node_block_list=kept))
    half.topological_sort()  # the converter puts its casts last
    del half.model.graph.value_info[:]  # types from before
    return half.model


def _up_to(model: Any, convolutions: int) -> list[str]:
    """Return the names of the nodes before the convolution of this number, counted from nought."""
    places = [place for place, node in enumerate(model.graph.node) if node.op_type == "Conv"]
    if convolutions >= len(places):
        message = f"the network has {len(places)} convolutions: keep fewer in float32, or use --precision fp32"
        raise LabError(message)
    return [node.name for node in model.graph.node[: places[convolutions]]] if convolutions else []


def rehearsal(half: Any) -> tuple[Any, tuple[str, ...]]:
    """Return an FP16 network as float32 arithmetic that rounds each result to FP16, and the names of these results.

    ONNX Runtime has no FP16 arithmetic on a processor: it computes in float32 and drops the roundings between, so that
    an overflow does not show. Here each result passes through FP16 explicitly, as where a device accumulates in float32
    and stores in FP16. A second output, `largest`, is each result's largest magnitude before it is rounded.
    """
    inferred = shape_inference.infer_shapes(half).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    unknown = [name for node in half.graph.node for name in node.output if name and not kinds.get(name)]
    if unknown:
        message = f"the type of {unknown[0][:80]} is not known, so FP16 cannot be rehearsed; use --precision fp32"
        raise LabError(message)
    made = onnx.ModelProto()
    made.CopyFrom(half)
    del made.graph.node[:]
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    made.graph.initializer.append(numpy_helper.from_array(np.array([1], dtype=np.int64), _ONE))
    rounded: list[str] = []
    for node in half.graph.node:
        made.graph.node.extend(_rounded(node, kinds, rounded))
    largest = [f"{name}/largest" for name in rounded]
    made.graph.node.append(helper.make_node("Concat", largest, [LARGEST], axis=0))
    made.graph.output.append(helper.make_tensor_value_info(LARGEST, TensorProto.FLOAT, [len(rounded)]))
    del made.graph.value_info[:]
    return made, tuple(rounded)


def write(model: Any, path: Path, one_file_max: int = _ONE_FILE_MAX) -> None:
    """Write a network; one larger than `one_file_max` bytes keeps its weights in a second file beside it.

    Raises LabError where it holds what ONNX does not know: the converter leaves such operators as they are.
    """
    size = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    if size > one_file_max:
        onnx.save(model, str(path), save_as_external_data=True, location=DATA_FILE)
    else:
        onnx.save(model, str(path))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        reason = str(error).splitlines()[0][:120]
        message = f"the network cannot be written as ONNX ({reason}); is it elixr-c-v2-pooled? Nothing was written"
        raise LabError(message) from None


def _fine_shape(model: SavedModel) -> tuple[int, int, int]:
    rows, columns, channels = model.grid
    return rows * model.cut.pool, columns * model.cut.pool, channels


def _plain(model: Any) -> Any:
    """Give input and output their names, and forget what the converter noted of where it ran."""
    names = {f"{IMAGE}:0": IMAGE, f"{FEATURES}:0": FEATURES}
    for node in model.graph.node:
        node.doc_string = ""
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
        value.doc_string = ""
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:]
    return model


def _rounded(node: Any, kinds: dict[str, int], rounded: list[str]) -> list[Any]:
    """Return a node with float32 arithmetic, its FP16 results rounded and their largest magnitudes taken."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
            message = f"the network branches ({node.op_type}), which cannot be rehearsed in FP16; use --precision fp32"
            raise LabError(message)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT16:
            attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32)))
    nodes = [copy]
    for index, name in enumerate(node.output):
        if kinds.get(name) != TensorProto.FLOAT16:
            continue
        raw, half, size, largest = (f"{name}/{part}" for part in ("raw", "half", "size", "largest"))
        copy.output[index] = raw
        rounded.append(name)
        nodes += [
            helper.make_node("Cast", [raw], [half], to=TensorProto.FLOAT16),
            helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT),
            helper.make_node("Abs", [raw], [size]),
            helper.make_node("ReduceMax", [size], [f"{largest}-kept"], keepdims=0),
            helper.make_node("Reshape", [f"{largest}-kept", _ONE], [largest]),
        ]
    return nodes
