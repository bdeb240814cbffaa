"""Google's ELIXR-C as it is delivered: read, looked through, and asked for features as the reference."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

INPUT: Final = "EfficientNet/grayscale_to_rgb"
POOLED: Final = "average_pooling2d/AvgPool"
_SIGNATURE: Final = "serving_default"
_EXAMPLE: Final = "input_example"
_SIDE: Final = 1280


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the network is taken out of its graph.

    colour: the tensor [n, 1280, 1280, 3] that goes in. fine: the one that comes out, before the last average pool.
    pooled: after it. pool: its side. decodes: the type that a PNG is decoded to.
    """

    colour: str
    fine: str
    pooled: str
    pool: int
    decodes: str


@dataclass(frozen=True, slots=True)
class Features:
    """What the SavedModel says of one image: fine, float32 [40, 40, 1376], and pooled, float32 [8, 8, 1376]."""

    fine: NDArray[np.float32]
    pooled: NDArray[np.float32]


class SavedModel:
    """A SavedModel that was found to be of ELIXR-C's kind; `graph` is its graph with the weights as constants."""

    def __init__(self, folder: Path) -> None:
        # The signature holds its variables weakly: they live as long as what was loaded.
        self._loaded = _load(folder)
        self._signature = _signature(self._loaded, folder)
        self._output = next(iter(self._signature.structured_outputs))
        frozen = convert_to_constants.convert_variables_to_constants_v2(self._signature)
        self.graph: Any = frozen.graph.as_graph_def()
        self.cut = _cut(self.graph)
        inside = frozen.graph
        self.grid = _grid(self._signature.structured_outputs[self._output])
        wanted = [inside.get_tensor_by_name(name) for name in (self.cut.fine, self.cut.pooled)]
        self._inner = frozen.prune(frozen.inputs[:1], wanted)
        self.sha256 = digest(folder)

    def answer(self, plane: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.float32]:
        """Return the features [rows, columns, channels] of a plane by the signature itself, untouched."""
        given = {_EXAMPLE: tf.constant([example(plane)])}
        with _asked():
            return np.asarray(self._signature(**given)[self._output].numpy()[0], dtype=np.float32)

    def features(self, plane: NDArray[np.uint8] | NDArray[np.uint16]) -> Features:
        """Return the features of a plane before and after the last pool, from inside the same graph."""
        with _asked():
            fine, pooled = self._inner(tf.constant([example(plane)]))
            return Features(fine.numpy()[0], pooled.numpy()[0])


def example(plane: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return a plane as the signature takes it: a serialised tf.train.Example with a PNG of its depth."""
    _, png = cv2.imencode(".png", plane)
    values = {"image/encoded": png.tobytes(), "image/format": b"png"}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in values.items()}
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def digest(folder: Path) -> str:
    """Return one SHA-256 (hex) over the names and contents of a folder's files."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                inner = hashlib.sha256()
                while chunk := stream.read(1 << 20):
                    inner.update(chunk)
            total.update(f"{inner.hexdigest()}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        message = (
            f"the SavedModel fails on an image ({type(error).__name__}): is it elixr-c-v2-pooled, and is there memory "
            "for it? Nothing was written"
        )
        raise LabError(message) from None


def _load(folder: Path) -> Any:
    tf.get_logger().setLevel("ERROR")
    if not (folder / "saved_model.pb").is_file():
        message = f"{folder}: holds no saved_model.pb; give the folder elixr-c-v2-pooled of CXR Foundation"
        raise LabError(message)
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # noqa: BLE001 - TensorFlow's exceptions share no base class
        message = f"{folder}: TensorFlow cannot read it ({type(error).__name__}); fetch the SavedModel again"
    raise LabError(message)


def _signature(loaded: Any, folder: Path) -> Any:
    signature = loaded.signatures.get(_SIGNATURE)
    inputs = {} if signature is None else signature.structured_input_signature[1]
    fits = list(inputs) == [_EXAMPLE] and inputs[_EXAMPLE].dtype == tf.string
    if not fits or len(signature.structured_outputs) != 1:
        message = f"{folder}: has no signature {_SIGNATURE} from {_EXAMPLE} to one output; is it elixr-c-v2-pooled?"
        raise LabError(message)
    return signature


def _grid(output: Any) -> tuple[int, int, int]:
    sizes = output.shape.as_list()[1:] if output.shape.rank == 4 else []  # noqa: PLR2004 - batch and three axes
    if len(sizes) != 3 or None in sizes:  # noqa: PLR2004 - rows, columns, channels
        message = f"the SavedModel's output has shape {output.shape}, wanted is [batch, rows, columns, channels]"
        raise LabError(message)
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _cut(graph: Any) -> Cut:
    colour, pooled = _node(graph, INPUT), _node(graph, POOLED)
    size, steps = list(pooled.attr["ksize"].list.i), list(pooled.attr["strides"].list.i)
    padding = pooled.attr["padding"].s.decode()
    fits = pooled.op == "AvgPool" and size == steps and size[0] == size[3] == 1 and size[1] == size[2]
    if not fits or padding != "VALID":
        message = f"{POOLED} is {pooled.op} {size} in steps of {steps} ({padding}), not a plain average pool"
        raise LabError(message)
    fine = str(pooled.input[0])
    decoders = [node for node in graph.node if node.op in {"DecodePng", "DecodeImage"}]
    kinds = {tf.as_dtype(node.attr["dtype"].type).name for node in decoders}
    return Cut(
        f"{colour.name}:0",
        fine if ":" in fine else f"{fine}:0",
        f"{pooled.name}:0",
        int(size[1]),
        ", ".join(sorted(kinds)) or "unknown",
    )


def _node(graph: Any, name: str) -> Any:
    """Return the node of this name; a SavedModel of TensorFlow 2 puts the name of a call before it."""
    found = [node for node in graph.node if node.name == name or node.name.endswith(f"/{name}")]
    if len(found) != 1:
        message = f"the SavedModel has {len(found)} tensors named {name}, wanted is one; is it elixr-c-v2-pooled?"
        raise LabError(message)
    return found[0]
