"""A new bundle is made beside its place and moved there only when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from dicom_node.lab import bundle_writer
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


def write_texts(made: Path, tables: dict[str, Any], card: str) -> None:
    """Write manifest.toml and MODEL_CARD.md, and SHA256SUMS over all that is there."""
    (made / "manifest.toml").write_text(bundle_writer.to_toml(tables), encoding="utf-8")
    (made / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    bundle_writer.write_sums(made)
