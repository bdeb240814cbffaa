"""The worker's two jobs: an image becomes a finding with maps, a study's findings become a report and heatmaps."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.core.decision import aggregate
from dicom_node.core.errors import IdentityMismatch, NotAnalysable, WorkerCrashed
from dicom_node.core.findings import Reason, ReasonCode, not_analysed
from dicom_node.core.identifiers import SpoolKey
from dicom_node.core.intended_use import ViewAttributes, exclusion
from dicom_node.core.summary import SUMMARY_FILE
from dicom_node.ledger.spool import StateFolders, data_set_digest, folder_digest
from dicom_node.part10.encoder import Encoder
from dicom_node.part10.greyscale import TRANSFORM
from dicom_node.part10.sandbox import DecodeLimits, DecodePool
from dicom_node.part10.writer import EXPLICIT_LITTLE, encode
from dicom_node.report.agreement import require_one_patient, require_same_identity
from dicom_node.report.display import to_display
from dicom_node.report.package import compose
from dicom_node.report.request import Predecessor, ReportOptions, ReportRequest, ResultObject, SourceView
from dicom_node.report.summary import summary
from dicom_node.services import view_files
from dicom_node.services.lookahead import Lookahead
from dicom_node.services.messages import (
    AHEAD,
    Analysed,
    AnalyseJob,
    Composed,
    ComposedObject,
    ComposeJob,
    Image,
    ViewToCompose,
)
from dicom_node.services.pace import Pace, Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dicom_node.core.radiograph import EvidenceMap, Radiograph
    from dicom_node.inference.pipeline import Look, Pipeline
    from dicom_node.services.model import Model
    from dicom_node.settings import Settings

log = structlog.get_logger(__name__)

_MIB = 1 << 20
_ENGINE = ("prepare", "infer", "maps")  # the stages that are the model's; to wait for it is none
_AHEAD_BYTES = 64 * _MIB  # more than any radiograph; what is larger is decoded in its own time


class _TooLargeError(Exception):
    """An image is too large to be held ahead."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """An image that was looked at, and how long each stage of it took."""

    attributes: ViewAttributes
    radiograph: Radiograph
    look: Look | Reason
    stages: Stages


class Workbench:
    """A model, a decoder in a process of its own, and the state folder that both read from and write to."""

    def __init__(self, settings: Settings, model: Model, timer: Callable[[], float] = time.perf_counter) -> None:
        analysis = settings.analysis
        self._folders = StateFolders(settings.node.state_dir)
        self._model = model
        self._timer = timer
        self._preprocessing = model.bundle.manifest.preprocessing.id if model.bundle else None
        self._pace = Pace()
        self.turn = threading.Lock()
        """Held by whoever uses the model: one image at a time."""
        self._ahead: Lookahead[Image, _Seen] = Lookahead(self._glance, AHEAD)
        self._decoder = DecodePool(
            DecodeLimits(memory_bytes=analysis.decode_memory_mib * _MIB, wall_s=analysis.decode_wall_s)
        )
        self._options = ReportOptions(
            series_number_base=settings.results.series_number,
            presentation_states=settings.results.presentation_states,
            compressed=settings.results.compress,
        )

    def warm_up(self) -> None:
        """Start the decoder's process, so that the first image need not wait for it; one that fails is its news."""
        with suppress(WorkerCrashed):
            self._decoder.warm_up()

    def forget(self) -> None:
        """Let go of images that were looked at ahead and that nobody asked for: their study may be gone by now."""
        self._ahead.begin(())

    def close(self) -> None:
        """End what is on its way, and the decoder's process."""
        self._ahead.close()
        self._decoder.close()

    def analyse(self, job: AnalyseJob) -> Analysed:
        """Decode and score one image; what is kept of it goes into the job's folder.

        The images that come next are looked at meanwhile: decoded and prepared while the network has this one, and
        given to the network while this one is judged and kept. Raises EngineLost where the network fails.
        """
        pipeline, image = self._model.pipeline, job.image
        if pipeline is None:
            text = f"no usable model: {self._model.problem}"
            return Analysed(not_analysed(image.sop_instance_uid, Reason(ReasonCode.NO_MODEL, text)), None, None)
        try:
            seen = self._seen(job)
        except NotAnalysable as error:
            return Analysed(not_analysed(image.sop_instance_uid, error.reason, pipeline.model), None, None)
        return self._kept(job, seen, pipeline)

    def _seen(self, job: AnalyseJob) -> _Seen:
        """Look at an image, or take what was seen of it ahead. Raises NotAnalysable, EngineLost."""
        begun = self._ahead.take(job.image)
        if begun is not None:
            self._ahead.begin(job.upcoming)
            try:
                return begun.result()
            except (NotAnalysable, _TooLargeError):
                log.info("image.again", sop_instance=job.image.sop_instance_uid)  # in its own time, with its own answer
        return self._look(job.image, self._first(job.upcoming))

    @contextmanager
    def _first(self, upcoming: tuple[Image, ...]) -> Iterator[None]:
        """Hold the turn, and only then begin what comes next: it must not come to the network before."""
        with self.turn:
            self._ahead.begin(upcoming)
            self._model.load()  # an image waits for it; it is no part of how long the network takes
            yield

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        with self.turn:
            self._model.load()
            yield

    def _glance(self, image: Image) -> _Seen:
        """Look at an image ahead, unless its pixels are too many to be held besides others."""

        def measure(radiograph: Radiograph) -> None:
            if radiograph.grey.nbytes > _AHEAD_BYTES:
                raise _TooLargeError

        return self._look(image, self._in_turn(), measure)

    def _look(
        self,
        image: Image,
        turn: AbstractContextManager[object],
        measure: Callable[[Radiograph], object] = lambda _radiograph: None,
    ) -> _Seen:
        pipeline, bundle = self._model.pipeline, self._model.bundle
        if pipeline is None or bundle is None:
            raise NotAnalysable(Reason(ReasonCode.NO_MODEL, "no usable model"))
        stages = Stages(self._timer)
        path = self._folders.instance_path(SpoolKey(image.spool_key))
        if image.sha256 and not _is_whole(path, image):
            text = "not analysed: the stored file is not what was received"
            raise NotAnalysable(Reason(ReasonCode.DAMAGED, text))
        header = _header(path, image.sop_class_uid, image.sop_instance_uid, image.study_instance_uid)
        attributes = _attributes(header, image)
        excluded = exclusion(bundle.intended_use, attributes)
        if excluded is not None:
            raise NotAnalysable(excluded)
        stages.end("read")
        radiograph = self._decoder.decode(path)
        stages.end("decode")
        measure(radiograph)
        look = pipeline.look(attributes, radiograph, stages.end, turn)
        return _Seen(attributes, radiograph, look, stages)

    def _kept(self, job: AnalyseJob, seen: _Seen, pipeline: Pipeline) -> Analysed:
        """Judge an image that was looked at, and keep what a report needs of it."""
        stages, radiograph = seen.stages, seen.radiograph
        stages.end("queue")
        analysis = pipeline.judge(job.image.sop_instance_uid, seen.attributes, seen.look, stages.end)
        asked = "infer" in stages.took_ms
        engine_ms = round(sum(stages.took_ms.get(stage, 0.0) for stage in _ENGINE), 2) if asked else None
        folder = self._folders.root / job.folder
        maps: dict[str, EvidenceMap] = {}
        if analysis.shown_map is not None and analysis.evidence is not None:
            maps = {"shown": analysis.shown_map, "evidence": analysis.evidence}
        view_files.save(folder, to_display(radiograph), maps, analysis.features)
        folder_sha256, pixels_sha256 = folder_digest(folder), pixels_digest(radiograph)
        stages.end("keep")
        reason = analysis.finding.reason
        broken = reason.text if reason is not None and reason.blames_model else None
        return Analysed(
            analysis.finding,
            folder_sha256,
            engine_ms,
            broken or (None if engine_ms is None else self._pace.alert(engine_ms)),
            pixels_sha256,
            f"{TRANSFORM}, {self._preprocessing}",
            stages.took_ms,
        )

    def compose(self, job: ComposeJob) -> Composed:
        """Aggregate a study's views and write its report and heatmaps into the job's folder.

        Raises IdentityMismatch, after which nothing may be sent: where an image's file is not what was received or its
        header cannot be read, where the images name different patients, or where a written object does not say what its
        source says.
        """
        stages = Stages(self._timer)
        gate = self._model.bundle.gate if self._model.bundle else None
        identity = self._model.pipeline.model if self._model.pipeline else None
        views = tuple(self._source_view(view, job.study_instance_uid) for view in job.views)
        require_one_patient(job.study_instance_uid, [view.header for view in views])
        findings = tuple(view.finding for view in views)
        finding = aggregate(findings, gate.disagreement_margin if gate else 1.0, identity)
        request = ReportRequest(
            study_instance_uid=job.study_instance_uid,
            version=job.version,
            made_at=datetime.fromtimestamp(job.closed_at).astimezone(),
            finding=finding,
            views=views,
            gate=gate,
            predecessors=_predecessors(job),
            options=self._options,
        )
        folder = self._folders.root / job.folder
        folder.mkdir(mode=0o700)
        stages.end("read")
        made = compose(request)
        stages.end("compose")
        encoder = Encoder()  # the rungs of the report share most of their values
        objects = tuple(_write(folder, number, item, encoder) for number, item in enumerate(made, start=1))
        (folder / SUMMARY_FILE).write_bytes(summary(request))
        stages.end("write")
        for item in objects:
            require_same_identity(job.study_instance_uid, request.source, folder / item.file)
        digest = folder_digest(folder)
        stages.end("check")
        return Composed(finding, digest, objects, stages.took_ms)

    def _source_view(self, view: ViewToCompose, study_instance_uid: str) -> SourceView:
        path = self._folders.instance_path(SpoolKey(view.spool_key))
        if view.sha256 and path.exists() and not _is_whole(path, view):
            where = f"study {study_instance_uid}: the stored file of image {view.sop_instance_uid}"
            message = f"{where} is not what was received; send it again"
            raise IdentityMismatch(message)
        header = _header_of_patient(path, view.sop_instance_uid, study_instance_uid)
        if view.folder is None:
            return SourceView(header, view.finding, None, None)
        display, shown = view_files.load(self._folders.root / view.folder)
        return SourceView(header, view.finding, display, shown)


def _is_whole(path: Path, image: Image | ViewToCompose) -> bool:
    try:
        return data_set_digest(path, image.size) == image.sha256
    except FileNotFoundError:
        return False


def pixels_digest(radiograph: Radiograph) -> str:
    """Return the SHA-256 over a radiograph's size and grey values (uint16, little endian, by rows)."""
    grey = np.ascontiguousarray(radiograph.grey, dtype="<u2")
    digest = hashlib.sha256(f"{radiograph.rows}x{radiograph.columns}\0".encode())
    digest.update(grey.data)
    return digest.hexdigest()


def _predecessors(job: ComposeJob) -> tuple[Predecessor, ...]:
    return tuple(
        Predecessor(
            sop_instance_uid=before.sop_instance_uid,
            sop_class_uid=before.sop_class_uid,
            series_instance_uid=before.series_instance_uid,
            study_instance_uid=job.study_instance_uid,
        )
        for before in job.predecessors
    )


def _write(folder: Path, number: int, item: ResultObject, encoder: Encoder) -> ComposedObject:
    name = f"{number:03d}-{item.kind}.dcm"
    (folder / name).write_bytes(encode(item.dataset, encoder))
    return ComposedObject(
        kind=item.kind,
        slot=item.slot,
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        series_instance_uid=item.series_instance_uid,
        transfer_syntax_uid=str(item.dataset.file_meta.get("TransferSyntaxUID", EXPLICIT_LITTLE)),
        file=name,
    )


def _header(path: Path, sop_class_uid: str, sop_instance_uid: str, study_instance_uid: str) -> Dataset:
    """Return the data set without pixels, for the analysis of the image.

    The scan at reception has bounded its nesting and size. Where pydicom still cannot read it, the UIDs of the ledger
    stand in: the decoder will say what is wrong with the image.
    """
    try:
        return dcmread(path, stop_before_pixels=True)
    except Exception:  # noqa: BLE001 - pydicom raises almost anything on a broken data set
        log.warning("header.unreadable", study=study_instance_uid, sop_instance=sop_instance_uid)
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = sop_class_uid, sop_instance_uid
        header.StudyInstanceUID = study_instance_uid
        return header


def _header_of_patient(path: Path, sop_instance_uid: str, study_instance_uid: str) -> Dataset:
    """Return the data set without pixels, for a result: without it nobody can say whose the result is."""
    try:
        return dcmread(path, stop_before_pixels=True)
    except FileNotFoundError as error:
        message = f"study {study_instance_uid}: the stored file of image {sop_instance_uid} is gone; send it again"
        raise IdentityMismatch(message) from error
    except Exception as error:
        message = (
            f"study {study_instance_uid}: the header of image {sop_instance_uid} cannot be read "
            f"({type(error).__name__}), so nobody can say whose result this is; correct the image at its source"
        )
        raise IdentityMismatch(message) from error


def _text(header: Dataset, keyword: str) -> str:
    """Return an attribute as text; one whose bytes cannot be read is as good as absent."""
    return str(_value(header, keyword) or "")


def _value(header: Dataset, keyword: str) -> Any:
    try:
        return header.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom converts when asked, and raises almost anything on wrong bytes
        return None


def _attributes(header: Dataset, image: Image) -> ViewAttributes:
    kind = _value(header, "ImageType")
    values = tuple(str(value) for value in kind) if isinstance(kind, (MultiValue, list)) else (str(kind or ""),)
    return ViewAttributes(
        modality=image.modality or "CR",  # a CR or DX SOP class without Modality: the class itself says what it is
        body_part=_text(header, "BodyPartExamined"),
        patient_age=_text(header, "PatientAge"),
        image_type=values,
        birth_date=_text(header, "PatientBirthDate"),
        study_date=_text(header, "StudyDate") or _text(header, "AcquisitionDate"),
        view_position=_text(header, "ViewPosition"),
        presentation_intent=_text(header, "PresentationIntentType"),
        burned_in_annotation=_text(header, "BurnedInAnnotation"),
    )
