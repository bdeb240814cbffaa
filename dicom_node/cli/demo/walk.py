"""One walk: PACS and node up, studies in, results fetched back from the PACS, everything down again."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

import cv2
from pydicom import dcmread

from dicom_node.cli.demo.node import NodeProcess
from dicom_node.cli.demo.pacs import LOOPBACK, DemoError, EmbeddedPacs, OrthancPacs, Pacs, orthanc_program
from dicom_node.core.errors import DestinationRefused, DestinationUnavailable
from dicom_node.dimse.scu import send

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import FileDataset

    from dicom_node.cli.demo.studies import Study

_MODALITY_AE = "DEMOMODALITY"
_STALLED_S = 120.0
_POLL_S = 0.25
_PORTS = range(28_000, 32_768)
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, slots=True)
class Returned:
    """What came back into the PACS for one study: the report, the captures in order, and the seconds it took."""

    study: Study
    report: FileDataset
    captures: tuple[FileDataset, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to walk through: a working folder, the model bundle, the quiet period and the studies.

    analysis is further lines of TOML for the node's section of that name.
    """

    folder: Path
    bundle: Path
    quiet_s: float
    studies: tuple[Study, ...]
    embedded: bool = False
    analysis: str = ""


class Voice(Protocol):
    """How the walk talks to a person: the present stage, which may be overwritten, and what must stay."""

    def say(self, text: str) -> None:
        """Show the present stage."""

    def warn(self, text: str) -> None:
        """Print a line that stays."""


def walk(plan: Plan, voice: Voice) -> tuple[Returned, ...]:
    """Send the studies to a PACS and return what the node put back into it.

    A study that got no report is missing from the answer, and the reason was said. Raises DemoError, one line for a
    person, where PACS or node do not run.
    """
    with _running(plan, voice) as (pacs, node):
        started = time.monotonic()
        sent = [study for study in (_send(pacs, study, voice) for study in plan.studies) if study.radiographs]
        return _wait(pacs, node, sent, started, voice)


@contextmanager
def _running(plan: Plan, voice: Voice) -> Iterator[tuple[Pacs, NodeProcess]]:
    """Start PACS and node, and end both whatever happens."""
    pacs_port, http_port, node_port = _free_ports(3)
    program = None if plan.embedded else orthanc_program()
    folder = plan.folder / "pacs"
    pacs: Pacs = OrthancPacs(program, folder, pacs_port, http_port) if program else EmbeddedPacs(folder, pacs_port)
    node = NodeProcess(plan.folder / "node", node_port, plan.bundle, plan.quiet_s, plan.analysis)
    with ExitStack() as stack:
        voice.say(f"starting a PACS ({pacs.name})")
        stack.callback(pacs.stop)
        pacs.start(node.peer)
        voice.say("starting the node")
        stack.callback(node.stop)
        node.start(pacs.peer)
        yield pacs, node


def _send(pacs: Pacs, study: Study, voice: Voice) -> Study:
    """Send a study, and return what of it the PACS took: one bad object must not keep the others back."""
    voice.say(f"sending to the PACS: {study.title}")
    try:
        send(pacs.peer, _MODALITY_AE, study.objects)
    except (DestinationRefused, DestinationUnavailable):
        refused: set[str] = set()
        for item in study.objects:
            try:
                send(pacs.peer, _MODALITY_AE, [item])
            except (DestinationRefused, DestinationUnavailable) as error:
                voice.warn(f"{item.path}: the PACS did not take it: {error}")
                refused.add(item.sop_instance_uid)
        return study.without(refused)
    return study


def _wait(
    pacs: Pacs, node: NodeProcess, studies: Sequence[Study], started: float, voice: Voice
) -> tuple[Returned, ...]:
    """Wait until each study's report is in the PACS; give up when nothing has moved for two minutes."""
    images = sum(study.radiographs for study in studies)
    back: dict[str, Returned] = {}
    moved, moved_at = -1, time.monotonic()
    while True:
        seen = node.check()
        for study in studies:
            found = None if study.study_uid in back else _results(pacs, study, time.monotonic() - started)
            if found is not None:
                back[study.study_uid] = found
        voice.say(
            f"received {seen.received}/{images} · analysed {seen.analysed}/{images} · "
            f"closed {seen.closed}/{len(studies)} · report back {len(back)}/{len(studies)}"
        )
        if len(back) == len(studies):
            break
        if seen.events + len(back) != moved:
            moved, moved_at = seen.events + len(back), time.monotonic()
        if time.monotonic() - moved_at > _STALLED_S:
            hint = f"; the last trouble in its log: {seen.trouble}" if seen.trouble else ""
            voice.warn(f"nothing has moved for {_STALLED_S:.0f} s{hint}")
            break
        time.sleep(_POLL_S)
    return tuple(back[study.study_uid] for study in studies if study.study_uid in back)


def _results(pacs: Pacs, study: Study, seconds: float) -> Returned | None:
    """Return what is in the PACS besides what was sent, once a report is among it: it is sent last."""
    sent = {item.sop_instance_uid for item in study.objects}
    new = [uid for uid in pacs.instances(study.study_uid) if uid not in sent]
    objects = [dcmread(BytesIO(pacs.read(uid))) for uid in new]
    reports = [item for item in objects if item.Modality == "SR"]
    if not reports:
        return None
    latest = max(reports, key=lambda item: (str(item.get("ContentDate", "")), str(item.get("ContentTime", ""))))
    captures = [item for item in objects if item.SOPClassUID == _SECONDARY_CAPTURE]
    captures.sort(key=lambda item: (int(item.SeriesNumber or 0), int(item.InstanceNumber or 0)))
    return Returned(study, latest, tuple(captures), seconds)


def save_png(capture: FileDataset, path: Path) -> None:
    """Write a Secondary Capture's pixels as a PNG."""
    pixels = capture.pixel_array
    shown = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels  # noqa: PLR2004 - has colours
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), shown):
        message = f"{path} could not be written"
        raise DemoError(message)


def _free_ports(count: int) -> list[int]:
    """Return free ports on loopback: held together, so that they differ, and let go just before use.

    Below those that the kernel gives by itself: one of these could go to any connection before it is used.
    """
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(_PORTS, len(_PORTS)):  # chance, not a secret
            sock = held.enter_context(socket.socket())
            with suppress(OSError):
                sock.bind((LOOPBACK, port))
                ports.append(port)
            if len(ports) == count:
                return ports
    message = f"{count} free ports between {_PORTS[0]} and {_PORTS[-1]} are needed: end what listens there"
    raise DemoError(message)
