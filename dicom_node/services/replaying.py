"""Making a published result again from the kept inputs, and saying whether it is the same or what differs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dicom_node.ledger.spool import StateFolders, file_digests
from dicom_node.services.messages import Analysed, AnalyseJob, ComposeJob, Image, Reference, ViewToCompose
from dicom_node.services.model import load_model
from dicom_node.services.software import changed_settings, installed_software, plain_settings
from dicom_node.services.workbench import Workbench

if TYPE_CHECKING:
    from dicom_node.ledger.replaying import Input, PublishedVersion
    from dicom_node.services.model import Model
    from dicom_node.settings import Settings


@dataclass(frozen=True)
class Replay:
    """What a replay came to; same: every file has the bytes that were published; differences: in plain words."""

    study_instance_uid: str
    version: int
    same: bool
    files: dict[str, str]
    differences: tuple[str, ...]


def replay(settings: Settings, wanted: PublishedVersion) -> Replay:
    """Analyse and compose a published version again, with the worker's own code, in a folder that is thrown away.

    The state folder is only read. Raises DicomNodeError as the worker's jobs do.
    """
    with tempfile.TemporaryDirectory(prefix="dicom-node-replay-") as name:
        root = Path(name)
        (root / "instances").symlink_to(StateFolders(settings.node.state_dir).instances.resolve())
        (root / "work").mkdir()
        elsewhere = settings.model_copy(update={"node": settings.node.model_copy(update={"state_dir": root})})
        model = load_model(elsewhere.analysis, StateFolders(root).strikes)
        bench = Workbench(elsewhere, model)
        try:
            answers = [_analyse(bench, wanted, view, number) for number, view in enumerate(wanted.inputs)]
            bench.compose(_composition(wanted, answers))
        finally:
            bench.close()
            model.release()
        files = file_digests(root / "work" / "composed")
    sent: dict[str, str] = wanted.published.details().get("files", {})
    differences = [*_of_files(sent, files), *_of_stack(settings, wanted, model), *_of_views(wanted, answers)]
    return Replay(wanted.study_instance_uid, wanted.number, files == sent, files, tuple(differences))


def _analyse(bench: Workbench, wanted: PublishedVersion, view: Input, number: int) -> Analysed:
    image = Image(
        sop_instance_uid=view.sop_instance_uid,
        sop_class_uid=view.sop_class_uid,
        study_instance_uid=wanted.study_instance_uid,
        modality=view.modality,
        spool_key=view.spool_key,
        sha256=view.sha256,
        size=view.size,
    )
    return bench.analyse(AnalyseJob(image, f"work/{number}"))


def _composition(wanted: PublishedVersion, answers: list[Analysed]) -> ComposeJob:
    return ComposeJob(
        study_instance_uid=wanted.study_instance_uid,
        version=wanted.number,
        closed_at=wanted.closed_at,
        views=tuple(
            ViewToCompose(
                view.sop_class_uid,
                view.sop_instance_uid,
                view.spool_key,
                answer.finding,
                f"work/{number}" if answer.folder_sha256 else None,
            )
            for number, (view, answer) in enumerate(zip(wanted.inputs, answers, strict=True))
        ),
        predecessors=tuple(Reference(*before) for before in wanted.predecessors),
        folder="work/composed",
    )


def _of_files(sent: dict[str, str], made: dict[str, str]) -> list[str]:
    if not sent:
        return ["the audit trail has no digests of what was sent: it is of an earlier version"]
    found = [f"{name}: other bytes" for name in sent if name in made and made[name] != sent[name]]
    found += [f"{name}: not made this time" for name in sent if name not in made]
    return found + [f"{name}: not sent then" for name in made if name not in sent]


def _of_stack(settings: Settings, wanted: PublishedVersion, model: Model) -> list[str]:
    """Say what is installed and configured otherwise than it was then."""
    then, found = wanted.published.details(), []
    if then.get("bundle_sha256") != model.sha256:
        found.append(f"model bundle: {then.get('bundle_sha256')} then, {model.sha256} now")
    software = installed_software()
    if then.get("software_sha256") != software.sha256:
        found.append(f"software: {then.get('software_sha256')} then, {software.sha256} ({software.version}) now")
    if wanted.configured is not None:
        names = changed_settings(wanted.configured.details().get("settings", {}), plain_settings(settings))
        found += [f"setting {name}: changed since" for name in names]
    return found


def _of_views(wanted: PublishedVersion, answers: list[Analysed]) -> list[str]:
    """Say which images were decoded or scored otherwise than they were then."""
    found = []
    for view, answer in zip(wanted.inputs, answers, strict=True):
        record = wanted.analysed.get(view.sop_instance_uid)
        then = record.details() if record else {}
        now = {
            "pixels_sha256": answer.pixels_sha256,
            "transform": answer.transform,
            "runtime": answer.finding.model.runtime if answer.finding.model else None,
            "outcome": answer.finding.outcome.value,
            "probability": answer.finding.probability,
        }
        pairs = [(name, then.get(name), value) for name, value in now.items() if then.get(name) != value]
        found += [f"{view.sop_instance_uid}: {name} {before} then, {value} now" for name, before, value in pairs]
    return found
