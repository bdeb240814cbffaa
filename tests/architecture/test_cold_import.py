"""Each process starts without what it must not need: a model runtime in the node, a training library anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import free_port

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
#: What the node needs for sending, for implicit VR or never: until it is READY nobody waits for these.
NODE_NOT_YET = NODE_NEVER | {"pydicom", "pynetdicom", "numpy", "PIL", "safetensors", "shtab", "starlette", "uvicorn"}
COMMAND_NEVER = NODE_NOT_YET | {"sqlalchemy", "structlog", "rich", "asyncio"}
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
        ("dicom_node.services.node", NODE_NOT_YET),
        ("dicom_node.services.worker", WORKER_NEVER),
        ("dicom_node.services.page", NODE_NEVER | {"pynetdicom", "pydicom", "PIL"}),
        ("dicom_node.services.supervisor", NODE_NEVER | {"sqlalchemy", "pynetdicom"}),
        ("dicom_node.cli.main", NODE_NEVER | {"sqlalchemy", "pynetdicom", "pydicom", "numpy"}),
        ("dicom_node.core.decision", NODE_NEVER | {"pydicom", "pydantic", "sqlalchemy", "pynetdicom"}),
    ],
)
def test_a_cold_import_brings_nothing_that_it_must_not(module: str, never: set[str]) -> None:
    assert modules_after_importing(module) & never == set()


LIST_AT_READY = """
import json, os, sys
from dicom_node.services import node

def ready(_notifier, _text):
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), flush=True)
    os._exit(0)

node.Notifier.ready = ready
node.main(["--config", sys.argv[1]])
"""
LIST_AFTER_COMMAND = """
import json, sys
from contextlib import redirect_stdout, suppress
from io import StringIO
from dicom_node.cli.main import main

with redirect_stdout(StringIO()) as answer, suppress(SystemExit):
    main(sys.argv[1:])
print(json.dumps([answer.getvalue(), *sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.toml"
    destination = '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 9\n'
    path.write_text(f'[node]\nport = {free_port()}\nstate_dir = "state"\nreserve_mib = 1\n{destination}')
    return path


def printed(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_a_node_is_ready_before_it_imports_what_only_sending_needs(config: Path) -> None:
    modules = set(printed(LIST_AT_READY, str(config)))
    assert modules >= {"sqlalchemy", "dicom_node"}
    assert modules & NODE_NOT_YET == set()


@pytest.mark.parametrize(("command", "says"), [("--help", "fractures"), ("status --config", "NOT RUNNING")])
def test_help_and_status_answer_without_what_other_commands_need(command: str, says: str, config: Path) -> None:
    arguments = command.split()
    answer, *modules = printed(LIST_AFTER_COMMAND, *arguments, *([str(config)] if "--config" in arguments else []))
    assert says in answer
    assert set(modules) & COMMAND_NEVER == set()
