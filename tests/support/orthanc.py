"""A real Orthanc on loopback, as the PACS that forwards studies to the node and gets the results back."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import subprocess
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom

from tests.support.waiting import free_port, is_open, until

if TYPE_CHECKING:
    from typing_extensions import Self

NODE_AE = "DICOMNODE"
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

# SendToModality goes through one long-lived association and forgets what it could not send; the REST route makes a job
# of its own for each instance, which fails visibly and can be sent again.
_LUA = """
local MODE = '{mode}'
local WANTED = {{ {wanted} }}
local ANY = {any_modality}

local function ours(origin)
  return origin['RequestOrigin'] == 'DicomProtocol' and origin['RemoteAet'] == '{node_ae}'
end

function OnStoredInstance(id, tags, metadata, origin)
  if MODE ~= 'send' and MODE ~= 'jobs' then return end
  if ours(origin) then return end
  if not ANY and not WANTED[tags['Modality']] then return end
  if MODE == 'send' then
    SendToModality(id, 'node')
  else
    RestApiPost('/modalities/node/store', DumpJson({{ Resources = {{ id }}, Synchronous = false }}), false)
  end
end

function OnStableStudy(id, tags, metadata)
  if MODE == 'naive' then
    RestApiPost('/modalities/node/store', DumpJson({{ Resources = {{ id }}, Synchronous = false }}), false)
  end
end
"""


class Forward(str, Enum):
    """The rule by which Orthanc forwards to the node."""

    NONE = "none"
    SEND = "send"  # each original instance as it arrives
    JOBS = "jobs"  # the same, one job an instance, so that a failed one can be sent again
    NAIVE = "naive"  # whole stable studies, the node's own results included: the misconfigured PACS


def is_installed() -> bool:
    """Tell whether Orthanc is on the PATH."""
    return shutil.which("Orthanc") is not None


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _dicomweb(users: dict[str, str] | None) -> dict[str, Any]:
    """Return the settings that load the DICOMweb plugin, if it is wanted."""
    if users is None:
        return {}
    return {"Plugins": [str(DICOMWEB)], "AuthenticationEnabled": True, "RegisteredUsers": users}


class Orthanc:
    """One Orthanc with its own storage; it can be stopped and started again on the same ports and data."""

    def __init__(
        self,
        folder: Path,
        node_port: int,
        forward: Forward = Forward.SEND,
        modalities: tuple[str, ...] = (),
        *,
        dicomweb: dict[str, str] | None = None,
    ) -> None:
        """dicomweb: users and passwords; with it the DICOMweb plugin is loaded and every request must name one."""
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        self.ae_title = "ORTHANC"
        self._headers = {"Authorization": _basic(*next(iter(dicomweb.items())))} if dicomweb else {}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "orthanc.json").write_text(json.dumps(self._configuration(node_port) | _dicomweb(dicomweb)))
        lua = _LUA.format(
            mode=forward.value,
            wanted=", ".join(f"{modality} = true" for modality in modalities),
            any_modality="false" if modalities else "true",
            node_ae=NODE_AE,
        )
        (folder / "forward.lua").write_text(lua)

    def _configuration(self, node_port: int) -> dict[str, Any]:
        node = {"AET": NODE_AE, "Host": "127.0.0.1", "Port": node_port, "AllowStorageCommitment": True}
        return {
            "Name": "test PACS",
            "StorageDirectory": "db",
            "IndexDirectory": "db",
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "KeepAlive": True,
            "LuaScripts": ["forward.lua"],
            "StableAge": 1,
            "JobsHistorySize": 100000,
            "ConcurrentJobs": 2,
            "DicomScuTimeout": 30,
            "Plugins": [],
            "DicomModalities": {"node": node},
        }

    @property
    def pid(self) -> int:
        """The process id of the running Orthanc."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Orthanc:
        """Start it and wait until both ports answer."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            ["Orthanc", "orthanc.json"], cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        log.close()
        until(lambda: is_open(self.http_port) and is_open(self.dicom_port), 60, "Orthanc answers")
        return self

    def stop(self) -> None:
        """Stop it; its data stay."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # REST -------------------------------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=60)
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            message = f"Orthanc answered {answer.status} to {method} {path}: {content[:300]!r}"
            raise RuntimeError(message)
        return content

    def get(self, path: str) -> Any:
        """Return the JSON answer of a GET."""
        return json.loads(self._call("GET", path))

    def post(self, path: str, body: Any) -> Any:
        """Return the JSON answer of a POST of JSON."""
        return json.loads(self._call("POST", path, json.dumps(body).encode()) or b"null")

    def add_modality(self, name: str, ae_title: str, port: int) -> None:
        """Make another AE known, as a destination of C-MOVE too."""
        self._call("PUT", f"/modalities/{name}", json.dumps([ae_title, "127.0.0.1", port]).encode())

    def upload(self, file: Path) -> str:
        """Store one file as if a modality had sent it; returns Orthanc's id of the instance."""
        return str(json.loads(self._call("POST", "/instances", file.read_bytes()))["ID"])

    def find(self, level: str, **query: str) -> list[dict[str, Any]]:
        """Return the resources of a level ("Study", "Series", "Instance") that match DICOM attributes."""
        return list(self.post("/tools/find", {"Level": level, "Query": query, "Expand": True}))

    def count_instances(self) -> int:
        """Return how many instances are stored."""
        return int(self.get("/statistics")["CountInstances"])

    def datasets(self, study_instance_uid: str, *modalities: str) -> list[pydicom.Dataset]:
        """Return the stored data sets of a study, of the given modalities, pixels left out."""
        found = []
        for series in self.find("Series", StudyInstanceUID=study_instance_uid):
            if modalities and series["MainDicomTags"].get("Modality") not in modalities:
                continue
            found += [self.dataset(identifier) for identifier in series["Instances"]]
        return found

    def dataset(self, identifier: str) -> pydicom.Dataset:
        """Return one stored data set by Orthanc's id, pixels left out."""
        return pydicom.dcmread(BytesIO(self.file(identifier)), stop_before_pixels=True)

    def file(self, identifier: str) -> bytes:
        """Return one stored file by Orthanc's id."""
        return self._call("GET", f"/instances/{identifier}/file")

    def delete(self, path: str) -> None:
        """Delete a resource."""
        self._call("DELETE", path)

    # jobs -------------------------------------------------------------------------------------------------------------

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs with their states."""
        return list(self.get("/jobs?expand"))

    def resubmit_failed(self) -> int:
        """Send again what could not be sent; returns how many jobs that were."""
        failed = [job["ID"] for job in self.jobs() if job["State"] == "Failure"]
        for identifier in failed:
            self._call("POST", f"/jobs/{identifier}/resubmit", b"{}")
        return len(failed)

    def is_forwarding(self) -> bool:
        """Tell whether a job is still waiting or running."""
        return any(job["State"] in {"Pending", "Running", "Retry"} for job in self.jobs())

    def complaints(self) -> list[str]:
        """Return the warnings and errors in its log."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith(("E", "W"))]
