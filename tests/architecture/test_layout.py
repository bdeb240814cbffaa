"""The tree is the one that docs/architecture.md draws, and no folder is a drawer for leftovers."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "dicom_node"
DRAWERS = {"utils", "util", "common", "helpers", "helper", "manager", "misc", "shared"}


def packages() -> set[str]:
    return {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_no_module_is_named_for_leftovers() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")} | {path.name for path in PACKAGE.rglob("*") if path.is_dir()}
    assert names & DRAWERS == set()


def test_the_architecture_page_names_every_folder_and_no_other() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z_0-9]+)/`", page, flags=re.MULTILINE))
    assert named == packages()


def test_there_is_no_global_statement() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert [name for name, source in sources.items() if re.search(r"^\s+global ", source, flags=re.MULTILINE)] == []
