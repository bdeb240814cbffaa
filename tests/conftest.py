from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support import cuda_double, tensorrt_modules
from tests.support.postgres import PostgresServer

# The same examples in every run, on however slow a machine; what looks for new ones is `scripts/bench fuzz`.
settings.register_profile(
    "alike", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("alike")


@pytest.fixture(autouse=True)
def log_as_before():
    """Set the log up as it was: a program's own set-up, called within a test, would filter every later test's."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of public test data: DICOM_NODE_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DICOM_NODE_DATA", beside))
    if not (folder / "dicom" / "manifest.csv").is_file():
        pytest.skip(f"no test data in {folder}; set DICOM_NODE_DATA to the folder that holds dicom/ and fracatlas/")
    return folder


@pytest.fixture(scope="session")
def postgres():
    """Return a running PostgreSQL server."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Return the state of a drawn device: TensorRT and pycuda are the strict double while this test runs."""
    monkeypatch.syspath_prepend(str(tensorrt_modules.write(tmp_path / "modules")))
    tensorrt_modules.forget()
    yield cuda_double.reset()
    tensorrt_modules.forget()


@pytest.fixture
def compact(tmp_path) -> Path:
    """Return a copy of the default bundle, for plans to be built beside it."""
    bundle = Path(__file__).resolve().parents[1] / "engines" / "compact-fracatlas"
    return Path(shutil.copytree(bundle, tmp_path / bundle.name, ignore=shutil.ignore_patterns("*.plan")))
