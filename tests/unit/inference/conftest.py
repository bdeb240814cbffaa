from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from onnx import TensorProto, helper

CHANNELS = 4
MANIFEST = """
schema = 1
name = "tiny"
version = "0.1.0"
manufacturer = "the tests"
title = "Tiny model (test)"
demonstration = true
[preprocessing]
id = "lcn-letterbox-512-v1"
[embedder]
input_name = "image"
input_shape = [1, 1, 512, 512]
output_name = "features"
output_shape = [1, 32, 32, 4]
pool = 4
[head]
grid = [8, 8]
channels = 4
localiser = true
[calibration]
id = "platt-test"
method = "platt"
a = 1.0
d = 0.0
[gate]
policy = "certified"
p_low = 0.1
p_high = 0.5
alpha = 0.5
entropy_max = 1.0
area_max = 1.0
out_of_body_max = 1.0
disagreement_margin = 0.6
[gate.bound]
fnr = 0.1
confidence = 0.95
positives = 61
missed = 2
statement = "at most 10 % missed, with 95 % confidence"
[intended_use]
modalities = ["CR", "DX"]
body_parts = ["HAND"]
body_part_required = false
min_age_years = 18
statement = "Adult hands"
[metrics]
auc = 0.5
[training]
seed = 1
"""

MakeBundle = Callable[..., Path]


def _network(*, dynamic: bool) -> bytes:
    """Return a network that averages 16 x 16 pixels and weighs the mean by four numbers."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch" if dynamic else 1, 1, 512, 512])
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch" if dynamic else 1, 32, 32, CHANNELS])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [CHANNELS, 1, 1, 1], [1.0, -1.0, 0.5, 0.25])
    nodes = [
        helper.make_node("AveragePool", ["image"], ["mean"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Conv", ["mean", "w"], ["planes"]),
        helper.make_node("Transpose", ["planes"], ["features"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(nodes, "tiny", [image], [output], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _write_sums(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Return a function that writes a bundle, with the manifest's text replaced and tensors changed as asked."""

    def make(
        replace: dict[str, str] | None = None, tensors: dict[str, Any] | None = None, *, dynamic: bool = True
    ) -> Path:
        folder = tmp_path / "bundle"
        folder.mkdir(exist_ok=True)
        manifest = MANIFEST
        for old, new in (replace or {}).items():
            assert old in manifest
            manifest = manifest.replace(old, new)
        generator = np.random.default_rng(7)
        head = {
            "weight": generator.normal(0, 0.3, (8, 8, CHANNELS)).astype(np.float32),
            "bias": np.array([0.25], dtype=np.float32),
            "localiser_weight": np.array([1, 0, 0, 0], dtype=np.float32),
            "localiser_bias": np.array([-0.05], dtype=np.float32),
            **(tensors or {}),
        }
        (folder / "manifest.toml").write_text(manifest)
        kept = {name: tensor for name, tensor in head.items() if tensor is not None}
        safetensors.numpy.save_file(kept, folder / "head.safetensors")
        (folder / "embedder.onnx").write_bytes(_network(dynamic=dynamic))
        (folder / "MODEL_CARD.md").write_text("# Tiny\n")
        (folder / "LICENSE").write_text("none\n")
        _write_sums(folder)
        return folder

    return make


@pytest.fixture
def write_sums() -> Callable[[Path], None]:
    """Return the function that lists a bundle's files with their digests again."""
    return _write_sums


@pytest.fixture
def hand() -> np.ndarray:
    """Return a drawn limb, uint16: a bright bar with texture on black."""
    grey = np.zeros((600, 400), dtype=np.float64)
    rows, columns = np.mgrid[0:600, 0:400]
    grey[:, 100:300] = 30000
    grey += 8000 * np.sin(rows / 9.0) * (np.abs(columns - 200) < 60)
    grey[280:300, 180:220] = 60000
    return np.clip(grey, 0, 65535).astype(np.uint16)
