"""Puts the double in the place of `tensorrt` and `pycuda`, in this process and in its children."""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_OURS = ("tensorrt", "pycuda", "pycuda.driver", "dicom_node.inference.tensorrt_embedder")
_TENSORRT = """
from tests.support.tensorrt_double import *
def __getattr__(name):
    if name == "__version__":
        return STATE.version
    raise AttributeError(name)
"""


def write(folder: Path) -> Path:
    """Write modules of those names that are the double into a folder, and return it."""
    (folder / "pycuda").mkdir(parents=True)
    (folder / "tensorrt.py").write_text(_TENSORRT)
    (folder / "pycuda" / "__init__.py").write_text("")
    (folder / "pycuda" / "driver.py").write_text("from tests.support.cuda_double import *\n")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment for a child that is to find the double."""
    return dict(os.environ, PYTHONPATH=f"{folder}{os.pathsep}{REPOSITORY}")


def forget() -> None:
    """Let the next import find what is installed then."""
    for name in _OURS:
        sys.modules.pop(name, None)
    package = sys.modules.get("dicom_node.inference")
    if package is not None and hasattr(package, "tensorrt_embedder"):
        del package.tensorrt_embedder
