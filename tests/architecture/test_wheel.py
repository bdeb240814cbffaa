"""What a wheel brings along of `engines/`: the default bundle, whole, and nothing that lies beside it."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = "engines/compact-fracatlas"


def test_the_wheel_packs_the_default_bundle_file_by_file() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = tables["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    sums = (ROOT / BUNDLE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    names = [*(line.split("  ")[1] for line in sums), "SHA256SUMS"]
    # A folder named here would be packed with the plans in it: hatch asks no ignore file about what it is told to take.
    manual = {"config/dicom-node.toml": "dicom_node/config/dicom-node.toml"}  # what `dicom-node init` fills in
    assert packed == {f"{BUNDLE}/{name}": f"dicom_node/{BUNDLE}/{name}" for name in names} | manual
