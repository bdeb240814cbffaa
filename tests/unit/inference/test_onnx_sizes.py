"""The memory that a network will want, from its file alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dicom_node.core.errors import BundleError
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_sizes import network_sizes


def network(tmp_path, kind=np.float32, *, quantised=False):
    """Return a file with one convolution of 8 planes over a 1 x 1 x 64 x 64 image, batch axis named."""
    proto = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    image = helper.make_tensor_value_info("image", proto, ["batch", 1, 64, 64])
    output = helper.make_tensor_value_info("features", proto, ["batch", 8, 1, 1])
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["planes"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["planes"], ["features"]),
    ]
    if quantised:
        nodes.append(helper.make_node("QuantizeLinear", ["features", "scale"], ["q"]))
    weights = [numpy_helper.from_array(np.zeros((8, 1, 3, 3), kind), "w")]
    weights += [numpy_helper.from_array(np.ones((), kind), "scale")] if quantised else []
    graph = helper.make_graph(nodes, "one", [image], [output], weights)
    path = tmp_path / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    return path


@pytest.mark.parametrize(("kind", "bytes_each", "word"), [(np.float32, 4, "float"), (np.float16, 2, "float16")])
def test_weights_and_the_largest_activation_are_counted(tmp_path, kind, bytes_each, word):
    sizes = network_sizes(network(tmp_path, kind), (1, 1, 64, 64))
    assert sizes.weights == 8 * 9 * bytes_each
    assert sizes.largest_activation == 8 * 64 * 64 * bytes_each
    assert sizes.precision == word
    assert sizes.to_run == sizes.weights + 2 * sizes.largest_activation
    assert sizes.to_build(1000) == 2 * sizes.weights + 2 * sizes.largest_activation + 1000


def test_quantised_layers_are_said(tmp_path):
    assert network_sizes(network(tmp_path, quantised=True), (1, 1, 64, 64)).precision == "float, quantised"


def test_the_default_bundle_is_small(compact):
    bundle = load_bundle(compact)
    sizes = network_sizes(bundle.embedder_path, bundle.manifest.embedder.input_shape)
    assert sizes.weights == sum(
        numpy_helper.to_array(item).nbytes for item in onnx.load(str(bundle.embedder_path)).graph.initializer
    )
    assert sizes.precision == "float"
    assert sizes.largest_activation >= 4 * 512 * 512


def test_what_is_no_network_is_said_in_one_line(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(BundleError, match="not a readable ONNX model"):
        network_sizes(tmp_path / "x.onnx", (1, 1, 64, 64))
