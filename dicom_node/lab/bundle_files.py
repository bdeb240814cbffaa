"""The files of a bundle, made beside its place and moved there only when they are whole."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from dicom_node.inference import known_answer
from dicom_node.inference.bundle import BUILT_HERE, load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@contextmanager
def made_aside(out: Path) -> Iterator[Path]:
    """Yield an empty folder; it becomes `out` where the block ends without an error, and is removed otherwise.

    Raises LabError where `out` is there already.
    """
    out = out.resolve()
    if out.exists():
        message = f"{out} exists; give a new folder, or remove the old bundle first"
        raise LabError(message)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.parent / f".{out.name}.new-{os.getpid()}"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    try:
        yield made
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_head(made: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    """Write head.safetensors."""
    path = made / "head.safetensors"
    save_file(tensors, str(path))
    path.chmod(0o644)  # save_file makes it private; a node runs as another user


def write_untried(made: Path, tables: dict[str, Any]) -> None:
    """Write manifest.toml, a card that claims nothing, and SHA256SUMS, so that the bundle can be loaded and tried."""
    (made / "manifest.toml").write_text(to_toml(tables), encoding="utf-8")
    (made / "MODEL_CARD.md").write_text("Not tried yet.\n", encoding="utf-8")
    write_sums(made)


def state_known_answer(folder: Path, tables: dict[str, Any]) -> None:
    """Put into a manifest's tables what the bundle in this folder answers to the known image; a start will ask it."""
    bundle = load_bundle(folder)
    embedder = OnnxEmbedder(bundle, threads=0)
    logit = known_answer.answer(bundle, embedder)
    embedder.close()
    tables["known_answer"] = {"logit": logit, "tolerance": known_answer.TOLERANCE}


def to_toml(table: dict[str, Any], prefix: str = "") -> str:
    """Return a table as TOML: plain values first, then the tables and the arrays of tables within."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not _tables(value)]
    for key, value in table.items():
        for one in _tables(value):
            head = f"[{prefix}{key}]" if isinstance(value, dict) else f"[[{prefix}{key}]]"
            lines.append(f"\n{head}\n{to_toml(one, f'{prefix}{key}.').rstrip()}")
    return "\n".join(lines) + "\n"


def _tables(value: Any) -> list[dict[str, Any]]:
    """Return the tables that a value is or holds, none where it is a plain value."""
    if isinstance(value, dict):
        return [value]
    return value if isinstance(value, list) and value and isinstance(value[0], dict) else []


def _value(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        message = "a manifest holds finite numbers only"
        raise ValueError(message)
    # JSON's strings, numbers, booleans and lists are TOML's.
    return json.dumps(value, ensure_ascii=False)


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over every other file, in the form that sha256sum -c reads."""
    made = (path for path in folder.iterdir() if path.suffix not in BUILT_HERE)  # a device's own plans come and go
    names = sorted(path.name for path in made if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
