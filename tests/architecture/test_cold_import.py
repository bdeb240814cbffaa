"""Each process starts without what it must not need: a model runtime in the node, a training library anywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LAB_ONLY = {
    "torch",
    "sklearn",
    "joblib",
    "matplotlib",
    "onnx",
    "onnxscript",
    "pytorch_grad_cam",
    "tensorflow",
    "tf2onnx",
}
TESTS_ONLY = {"fhir", "hl7", "hl7apy"}
NODE_NEVER = LAB_ONLY | TESTS_ONLY | {"onnxruntime", "tensorrt", "pycuda", "highdicom", "cv2", "imagecodecs", "psycopg"}
WORKER_NEVER = LAB_ONLY | {"sqlalchemy", "pynetdicom", "tensorrt", "pycuda"}

LIST_MODULES = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules_after_importing(*names: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES, *names], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("dicom_node.services.node", NODE_NEVER),
        ("dicom_node.services.worker", WORKER_NEVER),
        ("dicom_node.services.page", NODE_NEVER | {"pynetdicom", "pydicom", "PIL"}),
        ("dicom_node.services.supervisor", NODE_NEVER | {"sqlalchemy", "pynetdicom"}),
        ("dicom_node.cli.main", NODE_NEVER | {"sqlalchemy", "pynetdicom", "pydicom", "numpy"}),
        ("dicom_node.core.decision", NODE_NEVER | {"pydicom", "pydantic", "sqlalchemy", "pynetdicom"}),
    ],
)
def test_a_cold_import_brings_nothing_that_it_must_not(module: str, never: set[str]) -> None:
    assert modules_after_importing(module) & never == set()
