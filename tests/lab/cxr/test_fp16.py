"""FP16 rehearsed on a processor: roundings that are really there, overflow that is really found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.preprocess import prepare
from dicom_node.lab.runs import LabError
from tests.lab.cxr.conftest import import_cxr
from tests.support.published_probe import Probe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def onnx_export(tf: Any) -> Any:  # noqa: ARG001 - skips where TensorFlow is missing
    from dicom_node.lab.cxr import onnx_export  # noqa: PLC0415 - needs TensorFlow

    return onnx_export


@pytest.fixture
def parity(tf: Any) -> Any:  # noqa: ARG001 - as above
    from dicom_node.lab.cxr import parity  # noqa: PLC0415 - as above

    return parity


def _two_products(first: float, second: float) -> Any:
    """Return a network that multiplies an image by two numbers in turn."""
    shape = [1, 1, 4, 4]
    weights = [
        numpy_helper.from_array(np.full((1, 1, 1, 1), w, np.float32), n) for w, n in ((first, "a"), (second, "b"))
    ]
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["between"], name="first"),
        helper.make_node("Conv", ["between", "b"], ["features"], name="second"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "features")]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _run(onnx_export: Any, parity: Any, folder: Path, network: Any, value: float) -> tuple[float, float, Any]:
    half = onnx_export.to_fp16(network)
    rehearsed, results = onnx_export.rehearsal(half)
    onnx_export.write(half, folder / "half.onnx")
    onnx_export.write(rehearsed, folder / "rehearsal.onnx")
    image = np.full((1, 1, 4, 4), value, dtype=np.float32)
    (plain,) = parity.session(folder / "half.onnx", 1).run(None, {"image": image})
    rehearsal = parity.Rehearsal(folder / "rehearsal.onnx", results, 1)
    rehearsal.image = "this one"
    return float(plain[0, 0, 0, 0]), float(rehearsal.embed(image)[0, 0, 0]), rehearsal.range


def test_the_first_convolutions_stay_float32_where_that_is_asked(onnx_export: Any, parity: Any, tmp_path: Path) -> None:
    network = _two_products(3.0, 1 / 3.0)
    half = onnx_export.to_fp16(network, 1)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds == {"a": TensorProto.FLOAT, "b": TensorProto.FLOAT16}
    onnx_export.write(half, tmp_path / "half.onnx")
    image = np.full((1, 1, 4, 4), 2.0, dtype=np.float32)
    (plain,) = parity.session(tmp_path / "half.onnx", 1).run(None, {"image": image})
    assert float(plain[0, 0, 0, 0]) == pytest.approx(2.0, rel=1e-2)
    with pytest.raises(LabError, match="has 2 convolutions"):
        onnx_export.to_fp16(network, 2)


def test_an_overflow_between_two_layers_is_found_where_onnx_runtime_hides_it(
    onnx_export: Any, parity: Any, tmp_path: Path
) -> None:
    plain, rehearsed, found = _run(onnx_export, parity, tmp_path, _two_products(300.0, 1 / 300.0), 300.0)
    assert plain == pytest.approx(300.0, rel=1e-2)
    assert rehearsed == np.inf
    assert found.overflows
    assert found.largest == pytest.approx(90000.0, rel=1e-2)
    assert (found.result, found.image) == ("between", "this one")


def test_each_result_is_rounded_as_numpy_rounds_to_float16(onnx_export: Any, parity: Any, tmp_path: Path) -> None:
    value, first, second = 1.2345, 1.7, 0.3
    _, rehearsed, found = _run(onnx_export, parity, tmp_path, _two_products(first, second), value)
    half = np.float16
    between = half(np.float32(half(value)) * np.float32(half(first)))
    assert rehearsed == float(half(np.float32(between) * np.float32(half(second))))
    assert found.largest == pytest.approx(value * first, rel=1e-3)
    assert not found.overflows


def test_weights_beyond_fp16_are_refused_and_not_clipped(onnx_export: Any) -> None:
    with pytest.raises(Exception, match="exceed FP16"):
        onnx_export.to_fp16(_two_products(1e5, 1.0))


def test_a_network_that_overflows_is_refused_in_fp16_and_taken_in_fp32(
    elixr: Any, probe: Probe, radiographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = elixr.write(tmp_path / "hot", elixr.Shape(gain=60000.0))
    options = ["--images", radiographs, "--count", 2]
    assert import_cxr(hot, probe, tmp_path / "half", "--precision", "fp16", *options) == 1
    assert "FP16 overflows: EfficientNet/" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "half").exists()
    assert import_cxr(hot, probe, tmp_path / "full", *options) == 0


def test_large_weights_go_into_a_file_of_their_own_and_serve(
    bundle_folder: Path, onnx_export: Any, tmp_path: Path
) -> None:
    import onnx  # noqa: PLC0415 - beside TensorFlow's

    from dicom_node.lab import bundle_files  # noqa: PLC0415 - as above

    for path in bundle_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    onnx_export.write(onnx.load(bundle_folder / "embedder.onnx"), tmp_path / "embedder.onnx", one_file_max=1)
    bundle_files.write_sums(tmp_path)
    assert (tmp_path / "embedder.onnx.data").stat().st_size > (tmp_path / "embedder.onnx").stat().st_size
    tensor = prepare("edgefracture-v1", np.arange(90000, dtype=np.uint16).reshape(300, 300)).tensor
    one, other = (OnnxEmbedder(load_bundle(folder)).embed(tensor) for folder in (bundle_folder, tmp_path))
    assert np.array_equal(one, other)
