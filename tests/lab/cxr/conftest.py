"""TensorFlow for these tests: where it is missing they are skipped, visibly; in CI it must be there."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def tf() -> Any:
    """Return the module tensorflow."""
    try:
        importlib.import_module("tf2onnx")
        return importlib.import_module("tensorflow")
    except ImportError as error:
        reason = f"{error.name} is not installed: scripts/setup cxr"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
