from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of public test data: DICOM_NODE_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DICOM_NODE_DATA", beside))
    if not (folder / "dicom" / "manifest.csv").is_file():
        pytest.skip(f"no test data in {folder}; set DICOM_NODE_DATA to the folder that holds dicom/ and fracatlas/")
    return folder
