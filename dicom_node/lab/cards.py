"""Any bundle's card from the files beside it: manifest.toml and metrics.json say everything that it states."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from dicom_node.inference.bundle import load_bundle
from dicom_node.lab import bundle_files, card, hybrid_card, probe_card
from dicom_node.lab.cxr import card as cxr_card
from dicom_node.lab.runs import LabError, read_json, write_json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST: Final = "manifest.toml"
MEASURED: Final = "metrics.json"
CARD: Final = "MODEL_CARD.md"
_WRITERS: Final = {card.KIND: card.text, probe_card.KIND: probe_card.text, hybrid_card.KIND: hybrid_card.text}


def write(folder: Path, tables: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write manifest.toml, metrics.json, MODEL_CARD.md and SHA256SUMS over all that is there.

    folder holds the bundle as `bundle_files.write_untried` left it: it is asked its known answer here.
    """
    bundle_files.state_known_answer(folder, tables)
    (folder / MANIFEST).write_text(bundle_files.to_toml(tables), encoding="utf-8")
    write_json(folder / MEASURED, measured)
    (folder / CARD).write_text(_WRITERS[measured["card"]](tables, measured), encoding="utf-8")
    bundle_files.write_sums(folder)


def renew(folder: Path) -> bool:
    """Write a bundle's card anew from its measured files, and tell whether that changed the bundle.

    A manifest without a known answer, of an earlier version, gets one.

    Raises BundleError where the bundle does not verify, LabError where it holds no measured figures.
    """
    load_bundle(folder)
    tables = tomllib.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    before = [(folder / name).read_text(encoding="utf-8") for name in (CARD, MANIFEST)]
    if "known_answer" not in tables:
        bundle_files.state_known_answer(folder, tables)
    renewed = [_text(folder, tables), bundle_files.to_toml(tables)]
    if renewed == before:
        return False
    for name, text in zip((CARD, MANIFEST), renewed, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    bundle_files.write_sums(folder)
    return True


def _text(folder: Path, tables: dict[str, Any]) -> str:
    if cxr_card.is_import(tables):
        return cxr_card.text(tables)
    measured = read_json(folder / MEASURED)
    writer = _WRITERS.get(str(measured.get("card")))
    if writer is None:
        message = f"{folder / MEASURED}: does not say which card it belongs to; export the bundle again"
        raise LabError(message)
    return writer(tables, measured)
