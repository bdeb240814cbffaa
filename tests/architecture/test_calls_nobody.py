"""No library of ours reports to its maker: a node in a hospital speaks with those that its settings name."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from pathlib import Path
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.settings import installed_bundle_folder
OnnxEmbedder(load_bundle(installed_bundle_folder(), None))
"""


def test_the_model_runtime_keeps_no_telemetry(tmp_path):
    """It writes its reports into the home folder before it sends them."""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=environment | {"HOME": str(tmp_path)})
    assert list(tmp_path.rglob("*")) == []
