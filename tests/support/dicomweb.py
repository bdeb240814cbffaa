"""An Orthanc with DICOMweb and, where it is installed, Orthanc's own web viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.orthanc import Forward, Orthanc

_PLUGINS = Path("/usr/share/orthanc/plugins")
_DICOMWEB = _PLUGINS / "libOrthancDicomWeb.so"
_WEB_VIEWER = _PLUGINS / "libOrthancWebViewer.so"
ROOT = "/dicom-web/"


def is_installed() -> bool:
    """Tell whether Orthanc's DICOMweb plugin is installed."""
    return _DICOMWEB.exists()


def has_web_viewer() -> bool:
    """Tell whether Orthanc's own web viewer is installed."""
    return _WEB_VIEWER.exists()


class DicomWebOrthanc(Orthanc):
    """A PACS that browsers can read from; it forwards nothing by itself."""

    def __init__(self, folder: Path, node_port: int) -> None:
        super().__init__(folder, node_port, Forward.NONE)

    def _configuration(self, node_port: int) -> dict[str, Any]:
        plugins = [str(plugin) for plugin in (_DICOMWEB, _WEB_VIEWER) if plugin.exists()]
        return super()._configuration(node_port) | {
            "Plugins": plugins,
            "DicomWeb": {"Enable": True, "Root": ROOT},
            "WebViewer": {"CacheEnabled": False},
        }

    def web_viewer_url(self, study_instance_uid: str, series_description: str) -> str:
        """Return where Orthanc's own web viewer shows the series of a study with this description."""
        (series,) = self.find("Series", StudyInstanceUID=study_instance_uid, SeriesDescription=series_description)
        return f"http://127.0.0.1:{self.http_port}/web-viewer/app/viewer.html?series={series['ID']}"
