"""docs/tensorrt-calls.md lists every call to TensorRT and CUDA, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "dicom_node" / "inference" / "tensorrt_embedder.py"
TABLE = REPOSITORY / "docs" / "tensorrt-calls.md"
ROW = re.compile(r"^\| (`.+?) \|", flags=re.MULTILINE)
#: What the file uses of Python, numpy and this package, beside what it defines itself.
OURS = {
    "append",
    "array",
    "callback",
    "close",
    "copyto",
    "dtype",
    "float32",
    "get",
    "items",
    "join",
    "keys",
    "popleft",
    "prod",
    "splitlines",
    "strip",
}
OURS |= {
    "device",
    "embedder",
    "input_name",
    "input_shape",
    "manifest",
    "output_name",
    "output_shape",
    "pop",
    "__init__",
    "__name__",
}
OURS |= {"onnx", "progress", "timing_cache", "workspace_bytes"}


def listed() -> set[str]:
    return {name for row in ROW.findall(TABLE.read_text(encoding="utf-8")) for name in re.findall(r"`([^`]+)`", row)}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def tree() -> ast.Module:
    return ast.parse(SOURCE.read_text(encoding="utf-8"))


def used_names() -> set[str]:
    names = {dotted(node) for node in ast.walk(tree()) if isinstance(node, ast.Attribute)}
    return {name for name in names if name.split(".")[0] in {"trt", "cuda"}}


def used_members() -> set[str]:
    """Return the attributes that are neither this file's own nor Python's: TensorRT's and pycuda's."""
    nodes = list(ast.walk(tree()))
    defined = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    defined |= {
        node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    defined |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node.value) == "self"
    }
    direct = {name.rpartition(".")[2] for name in used_names()}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes - defined - direct - OURS


def callbacks() -> set[str]:
    """Return the methods that TensorRT calls on our own subclasses."""
    classes = [node for node in ast.walk(tree()) if isinstance(node, ast.ClassDef)]
    ours = [one for one in classes if any(dotted(base).startswith("trt.") for base in one.bases)]
    methods = {node.name for one in ours for node in one.body if isinstance(node, ast.FunctionDef)}
    return methods - {"__init__"}


def test_every_name_of_tensorrt_and_cuda_is_listed() -> None:
    assert used_names() - listed() == set()
    assert used_members() - listed() == set()
    assert callbacks() - listed() == set()


def test_nothing_is_listed_that_is_not_used() -> None:
    assert len(listed()) > 60
    assert listed() - used_names() - used_members() - callbacks() == set()
