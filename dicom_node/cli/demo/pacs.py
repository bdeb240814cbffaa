"""The PACS of the demonstration: Orthanc where it is installed, otherwise a small one made of our own SCP and SCU.

Both store what they get, forward each new image to the node by themselves, and are asked for the results afterwards.
"""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import time
import urllib.request
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from dicom_node.core.errors import DestinationRefused, DestinationUnavailable, DicomNodeError
from dicom_node.dimse.scp import ScpSettings, StorageScp, WholeObjects
from dicom_node.dimse.scu import Outgoing, Peer, echo, send
from dicom_node.part10 import header, writer

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.dimse.scp import Received

AE_TITLE = "DEMOPACS"
LOOPBACK = "127.0.0.1"
_START_S = 30.0
_ANSWER_S = 10.0
_ROUTE = """-- Forward every new instance to the node, but never what the node itself sent.
function OnStoredInstance(instanceId, tags, metadata, origin)
  if origin['RequestOrigin'] == 'DicomProtocol' and origin['RemoteAet'] == '{node}' then return end
  SendToModality(instanceId, 'node')
end
"""


class DemoError(DicomNodeError):
    """The demonstration cannot go on; the message is one line for a person."""


class Pacs(ABC):
    """What the walk needs of a PACS."""

    name: str
    port: int

    @property
    def peer(self) -> Peer:
        """Where to send a study."""
        return Peer(ae_title=AE_TITLE, host=LOOPBACK, port=self.port, timeout_s=_ANSWER_S)

    @abstractmethod
    def start(self, node: Peer) -> None:
        """Start, and forward to this node from now on."""

    @abstractmethod
    def stop(self) -> None:
        """Stop; may be called twice, or before start."""

    @abstractmethod
    def instances(self, study_uid: str) -> tuple[str, ...]:
        """Return the SOP Instance UIDs of a study, in the order of arrival where that is known."""

    @abstractmethod
    def read(self, sop_instance_uid: str) -> bytes:
        """Return an instance as a Part 10 file."""


def orthanc_program() -> str | None:
    """Return Orthanc's path, or None where it is not installed."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


class OrthancPacs(Pacs):
    """A real PACS: Orthanc with a configuration and a database of its own, on loopback."""

    name = "Orthanc"

    def __init__(self, program: str, folder: Path, port: int, http_port: int) -> None:
        self.port = port
        self.log = folder / "orthanc.log"
        self._program = program
        self._folder = folder
        self._http_port = http_port
        self._process: subprocess.Popen[bytes] | None = None
        self._ids: dict[str, str] = {}
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def start(self, node: Peer) -> None:
        """Write the configuration and the forwarding rule, start Orthanc and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "forward.lua").write_text(_ROUTE.format(node=node.ae_title), encoding="utf-8")
        (self._folder / "orthanc.json").write_text(json.dumps(self._configuration(node), indent=2), encoding="utf-8")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - found on PATH, arguments are ours
                [self._program, str(self._folder / "orthanc.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                message = f"Orthanc did not start; its log: {self.log}"
                raise DemoError(message)
            time.sleep(0.1)

    def stop(self) -> None:
        """End Orthanc, by force after ten seconds."""
        if self._process is not None:
            end(self._process)

    def instances(self, study_uid: str) -> tuple[str, ...]:
        """Ask Orthanc's REST interface, which is only used for reading."""
        query = {"Level": "Instance", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}
        found: list[dict[str, Any]] = json.loads(self._http("/tools/find", json.dumps(query).encode()))
        for item in found:
            self._ids[item["MainDicomTags"]["SOPInstanceUID"]] = item["ID"]
        return tuple(item["MainDicomTags"]["SOPInstanceUID"] for item in found)

    def read(self, sop_instance_uid: str) -> bytes:
        """Download the stored file."""
        return self._http(f"/instances/{self._ids[sop_instance_uid]}/file")

    def _configuration(self, node: Peer) -> dict[str, Any]:
        return {
            "Name": "dicom-node demo",
            "StorageDirectory": str(self._folder / "db"),
            "IndexDirectory": str(self._folder / "db"),
            "DicomAet": AE_TITLE,
            "DicomPort": self.port,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "LuaScripts": [str(self._folder / "forward.lua")],
            "DicomModalities": {
                "node": {"AET": node.ae_title, "Host": node.host, "Port": node.port, "AllowTranscoding": False}
            },
            "Plugins": [],
        }

    def _answers(self) -> bool:
        try:
            self._http("/system")
            echo(self.peer, "DEMOMODALITY")
        except (OSError, DicomNodeError):
            return False
        return True

    def _http(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://{LOOPBACK}:{self._http_port}{path}", data=body)
        with self._opener.open(request, timeout=30) as answer:
            return bytes(answer.read())


class EmbeddedPacs(Pacs):
    """A PACS in miniature: a folder of files, and a thread that forwards what came from others than the node."""

    name = "the small embedded one"

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder
        self._stored: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._outgoing: queue.Queue[Outgoing | None] = queue.Queue()
        self._scp = StorageScp(ScpSettings(ae_title=AE_TITLE, host=LOOPBACK, port=port), WholeObjects(self._store))
        self._node: Peer | None = None
        self._forwarder: threading.Thread | None = None

    def start(self, node: Peer) -> None:
        """Listen, and start the forwarding thread."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._node = node
        self._forwarder = threading.Thread(target=self._forward, args=(node,), name="demo-pacs-forward", daemon=True)
        self._forwarder.start()
        self._scp.start()

    def stop(self) -> None:
        """Stop listening and forwarding."""
        if self._forwarder is None:
            return
        self._scp.stop()
        self._outgoing.put(None)
        self._forwarder.join(timeout=10)
        self._forwarder = None

    def instances(self, study_uid: str) -> tuple[str, ...]:
        """Return what arrived for a study."""
        with self._lock:
            return tuple(self._stored.get(study_uid, ()))

    def read(self, sop_instance_uid: str) -> bytes:
        """Read the stored file."""
        return self._path(sop_instance_uid).read_bytes()

    def _path(self, sop_instance_uid: str) -> Path:
        return self._folder / f"{sop_instance_uid}.dcm"

    def _store(self, received: Received) -> None:
        found = header.scan(received.dataset, received.transfer_syntax_uid)
        ids = (received.sop_class_uid, received.sop_instance_uid, received.transfer_syntax_uid)
        path = self._path(found.sop_instance_uid)
        path.write_bytes(writer.wrap(received.dataset, *ids))
        with self._lock:
            members = self._stored.setdefault(found.study_instance_uid, [])
            if found.sop_instance_uid not in members:
                members.append(found.sop_instance_uid)
        if self._node is not None and received.calling_ae != self._node.ae_title:
            self._outgoing.put(Outgoing(*ids, path))

    def _forward(self, node: Peer) -> None:
        while (item := self._outgoing.get()) is not None:
            for pause in (0.5, 1.0, 2.0, 0.0):
                try:
                    send(node, AE_TITLE, [item])
                except DestinationUnavailable:
                    time.sleep(pause)
                except DestinationRefused:
                    break
                else:
                    break


def end(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Ask a process to end, and end it by force when it does not."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
