from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import pytest

from tests.support import fracatlas, orthanc, sender
from tests.support.orthanc import Forward
from tests.support.requirements import require
from tests.support.system import BUNDLE, System


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A copy: somebody may be renewing the bundle while the tests run."""
    require((BUNDLE / "manifest.toml").exists(), f"the model bundle {BUNDLE.name}")
    return Path(shutil.copytree(BUNDLE, tmp_path_factory.mktemp("bundle") / BUNDLE.name))


@pytest.fixture(scope="session")
def orthanc_installed() -> None:
    require(orthanc.is_installed(), "Orthanc")


@pytest.fixture(scope="session")
def dicomweb_installed(orthanc_installed) -> None:  # noqa: ARG001 - it is a plugin of Orthanc
    require(orthanc.DICOMWEB.exists(), "Orthanc's DICOMweb plugin")


@pytest.fixture(scope="session")
def openssl_installed() -> None:
    require(shutil.which("openssl"), "openssl")


@pytest.fixture(scope="session")
def dcmtk_installed() -> None:
    require(sender.storescu(), "DCMTK's storescu")


@pytest.fixture(scope="session")
def dicom_files() -> list[Path]:
    data = fracatlas.data_folder()
    if data is None or not (data / "dicom").is_dir():
        pytest.skip("the shared DICOM files are not here: set DICOM_NODE_DATA to their folder")
    return sorted(path for path in (data / "dicom").iterdir() if path.name != "manifest.csv")


@pytest.fixture(scope="module")
def factory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fracatlas.Factory:
    """Each file's own studies, the same ones whichever files this process ran before."""
    seed = zlib.crc32(request.path.name.encode())
    return fracatlas.Factory(tmp_path_factory.mktemp("studies"), seed)


@pytest.fixture(scope="session")
def system(tmp_path_factory, bundle, orthanc_installed):  # noqa: ARG001 - a fixture cannot be marked
    """Orthanc and a node that several tests share; each brings studies of its own."""
    with System(tmp_path_factory.mktemp("system"), bundle) as running:
        yield running


@pytest.fixture(scope="session")
def naive_system(tmp_path_factory, bundle, orthanc_installed):  # noqa: ARG001 - as above
    """The same with a PACS that forwards everything, the node's own results included."""
    with System(tmp_path_factory.mktemp("naive"), bundle, Forward.NAIVE) as running:
        yield running
