"""Any bundle's card from the files beside it: manifest.toml and metrics.json say everything that it states."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from dicom_node.inference.bundle import load_bundle
from dicom_node.lab import bundle_files, card, hybrid_card, probe_card
from dicom_node.lab.runs import LabError, read_json, write_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MEASURED: Final = "metrics.json"
CARD: Final = "MODEL_CARD.md"
_WRITERS: Final = {card.KIND: card.text, probe_card.KIND: probe_card.text, hybrid_card.KIND: hybrid_card.text}


def write(folder: Path, tables: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write manifest.toml, metrics.json, MODEL_CARD.md and SHA256SUMS over all that is there."""
    (folder / "manifest.toml").write_text(bundle_files.to_toml(tables), encoding="utf-8")
    write_json(folder / MEASURED, measured)
    (folder / CARD).write_text(_WRITERS[measured["card"]](tables, measured), encoding="utf-8")
    bundle_files.write_sums(folder)


def renew(folder: Path) -> bool:
    """Write a bundle's card anew from its measured files, and tell whether that changed it.

    Raises BundleError where the bundle does not verify, LabError where it holds no measured figures.
    """
    load_bundle(folder)
    measured = read_json(folder / MEASURED)
    writer = _WRITERS.get(str(measured.get("card")))
    if writer is None:
        message = f"{folder / MEASURED}: does not say which card it belongs to; export the bundle again"
        raise LabError(message)
    tables = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
    text = writer(tables, measured)
    path = folder / CARD
    if path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    bundle_files.write_sums(folder)
    return True
