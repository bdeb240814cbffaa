"""A small SavedModel with the signature, the tensor names and the steps of ELIXR-C, its network a few layers deep.

Like the real one it is a graph of TensorFlow 1: a batch of serialised tf.train.Example goes in at `input_example`; each
PNG is decoded to one channel, resized (legacy bilinear) to 1280 x 1280, stretched to [0, 1] and tripled; the network
ends in [batch, 40, 40, 1376], which a 5 x 5 average pool makes [batch, 8, 8, 1376]: `feature_maps_0`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

SIDE, CHANNELS = 1280, 1376
# The first layer's weights are large, so that what is in the image outweighs the biases: an import that takes the image
# wrongly would go unseen otherwise.
STEM = 10.0
v1 = tf.compat.v1


@dataclass(frozen=True)
class Shape:
    """What a test may change.

    cut: the name of the tripled image. pool: the side of the last pool. gain: what one layer multiplies by and the next
    divides by. half_pixel: another resize than the legacy one, which a re-trained model might have. answer: what the
    signature multiplies the pooled features by.
    """

    cut: str = "EfficientNet/grayscale_to_rgb"
    pool: int = 5
    gain: float = 1.0
    half_pixel: bool = False
    answer: float = 1.0
    seed: int = 11


def write(folder: Path, shape: Shape | None = None) -> Path:
    """Write the SavedModel into a folder and return it."""
    shape = shape or Shape()
    graph = v1.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        serialised = v1.placeholder(tf.string, [None], name="Placeholder")
        planes = tf.map_fn(partial(_plane, half_pixel=shape.half_pixel), serialised, fn_output_signature=tf.float32)
        scope, name = shape.cut.split("/")
        with v1.variable_scope(scope):
            colour = tf.tile(planes, [1, 1, 1, 3], name=name)
            features = _network(colour)
        pooled = tf.nn.avg_pool2d(features, shape.pool, shape.pool, "VALID", name="average_pooling2d/AvgPool")
        session.run(v1.global_variables_initializer())
        session.run(_drawn(graph, shape))
        builder = v1.saved_model.builder.SavedModelBuilder(str(folder))
        signature = v1.saved_model.signature_def_utils.predict_signature_def(
            {"input_example": serialised}, {"feature_maps_0": pooled * shape.answer}
        )
        builder.add_meta_graph_and_variables(
            session, [v1.saved_model.tag_constants.SERVING], {"serving_default": signature}
        )
        builder.save()
    return folder


def _plane(serialised: Any, *, half_pixel: bool) -> Any:
    keys = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image/encoded", "image/format")}
    encoded = tf.io.parse_single_example(serialised, keys)["image/encoded"]
    decoded = tf.image.decode_png(encoded, channels=1, dtype=tf.uint16)
    resized = v1.image.resize_bilinear(decoded[None], [SIDE, SIDE], half_pixel_centers=half_pixel)[0]
    low, high = tf.reduce_min(resized), tf.reduce_max(resized)
    return tf.cond(high > low, lambda: (resized - low) / (high - low), lambda: resized * 0.0)


def _network(colour: Any) -> Any:
    """Return the features: a stem, two blocks with squeeze and excitation, a wide last layer; stride 32 in all."""
    x = _convolution(colour, 8, 4, "stem")
    for number, channels in enumerate((16, 24), start=1):
        with v1.variable_scope(f"block_{number}"):
            x = _block(x, channels)
    x = _convolution(x, 32, 2, "reduce")
    x = _convolution(x, CHANNELS, 1, "head", kernel=1)
    return tf.identity(x, name="dropout/Identity")


def _block(x: Any, channels: int) -> Any:
    depthwise = v1.get_variable("depthwise", [3, 3, int(x.shape[-1]), 1])
    x = _swish(_normalised(tf.nn.depthwise_conv2d(x, depthwise, [1, 2, 2, 1], "SAME"), "depthwise_bn"))
    squeezed = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    squeezed = _swish(_weighed(squeezed, 4, "squeeze", 1, 1))
    x *= tf.sigmoid(_weighed(squeezed, int(x.shape[-1]), "excite", 1, 1))
    return _normalised(_weighed(x, channels, "project", 1, 1), "project_bn")


def _convolution(x: Any, channels: int, stride: int, name: str, kernel: int = 3) -> Any:
    return _swish(_normalised(_weighed(x, channels, name, stride, kernel), f"{name}_bn"))


def _weighed(x: Any, channels: int, name: str, stride: int, kernel: int) -> Any:
    weight = v1.get_variable(name, [kernel, kernel, int(x.shape[-1]), channels])
    return tf.nn.conv2d(x, weight, stride, "SAME")


def _normalised(x: Any, name: str) -> Any:
    with v1.variable_scope(name):
        size = [int(x.shape[-1])]
        ones, zeros = v1.ones_initializer(), v1.zeros_initializer()
        gamma, beta = (v1.get_variable(n, size, initializer=i) for n, i in (("gamma", ones), ("beta", zeros)))
        mean, variance = (v1.get_variable(n, size, initializer=i) for n, i in (("mean", zeros), ("variance", ones)))
        return v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)[0]


def _swish(x: Any) -> Any:
    return x * tf.sigmoid(x)


def _drawn(graph: Any, shape: Shape) -> list[Any]:
    """Return assignments of drawn weights, scaled so that each layer keeps its input's size."""
    random = np.random.default_rng(shape.seed)
    made = []
    with graph.as_default():
        for variable in v1.global_variables():
            size = variable.shape.as_list()
            if len(size) == 4:
                fan_in = size[0] * size[1] * (size[2] if "depthwise" not in variable.name else 1)
                value = random.normal(0.0, (2.2 / fan_in) ** 0.5, size)
            elif variable.op.name.endswith(("gamma", "variance")):
                value = random.uniform(0.8, 1.25, size)
            else:
                value = random.normal(0.0, 0.15, size)
            if variable.op.name.endswith("/stem"):
                value = value * STEM
            elif "reduce_bn/gamma" in variable.name:
                value = value * shape.gain
            elif variable.op.name.endswith("/head"):
                value = value / shape.gain
            made.append(v1.assign(variable, value.astype(np.float32)))
    return made
