"""A site for the status page: a ledger with studies in every state, and neighbours that say what they are told."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import insert

from dicom_node.destination_settings import address_of
from dicom_node.ledger import audit
from dicom_node.ledger import database as tables
from dicom_node.ledger.database import open_ledger
from dicom_node.ledger.spool import StateFolders
from dicom_node.settings import Settings
from dicom_node.web.application import application
from dicom_node.web.login import Login
from dicom_node.web.metrics import Metrics
from dicom_node.web.outside import BundleWord, Certificate, Destination, NodeWord, Outside
from dicom_node.web.serving import listen, server
from tests.support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

NOW = 1_790_000_000.0
DIGEST = "5eed" * 16
CANARY = "Canary^Patient"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "images" / "heatmap-page.png"
_SC, _PLAIN, _JPEG_LS = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
_OUTCOMES = (
    ("positive", 0.91, None),
    ("negative", 0.04, None),
    ("inconclusive", 0.31, "the probability lies between the thresholds"),
    ("not-analysed", None, "BodyPartExamined CHEST is outside the intended use"),
)


class Site:
    """One state folder, and what its neighbours answer; change the attributes to change how things stand."""

    def __init__(self, folder: Path, **page: Any) -> None:
        self.folders = StateFolders(folder / "state")
        pacs = {"host": "10.0.0.7", "port": 104}
        self.settings = Settings.model_validate(
            {
                "node": {"state_dir": self.folders.root, "reserve_mib": 0},
                "keep": {"soft_reserve_mib": 0},
                "page": {"port": free_port(), **page},
                "destinations": [
                    {"name": "pacs", "ae_title": "MAINPACS", **pacs},
                    {"name": "teaching", "ae_title": "TEACH", **pacs},
                ],
            }
        )
        self.node = NodeWord(None, accepting=True, workers=1, bundle_sha256=DIGEST, running_for_s=86400.0)
        self.bundle = BundleWord("compact-fracatlas 1.1.0", DIGEST, demonstration=True)
        self.certificates: tuple[Certificate, ...] = ()
        self.echo_problem: str | None = None
        self.asked: list[str] = []
        self.now = NOW

    def outside(self) -> Outside:
        """Return what the page asks."""
        return Outside(
            settings=self.settings,
            config=Path("/etc/dicom-node/dicom-node.toml"),
            folders=self.folders,
            destinations=tuple(Destination(one.name, address_of(one)) for one in self.settings.destinations),
            ask_node=lambda: self.node,
            echo=self._echo,
            certificates=lambda: self.certificates,
            bundle=lambda: self.bundle,
            clock=lambda: self.now,
        )

    def app(self) -> Any:
        """Return the application."""
        outside, file = self.outside(), self.settings.page.password_file
        return application(outside, Metrics(outside), Login(Path(file)) if file else None)

    def _echo(self, name: str) -> str | None:
        self.asked.append(name)
        return self.echo_problem

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve the page over HTTP; yields its address."""
        page = self.settings.page
        serving = server(self.app(), page)
        sock = listen(page)
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        until(lambda: serving.started, 60, "the page is served")
        try:
            yield f"http://127.0.0.1:{page.port}"
        finally:
            serving.stop()
            thread.join(10)

    # the ledger -------------------------------------------------------------------------------------------------------

    def fill(self, studies: int = 8) -> Site:
        """Write studies with every outcome, their pictures, and deliveries that are done."""
        with self.writing() as connection:
            for number in range(1, studies + 1):
                self._study(connection, number)
        return self

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a transaction of the ledger, made where there is none."""
        self.folders.create()
        ledger = open_ledger(self.folders.ledger)
        try:
            with ledger.transaction() as connection:
                yield connection
        finally:
            ledger.close()

    def _study(self, connection: Connection, number: int) -> None:
        outcome, probability, reason = _OUTCOMES[(number - 1) % len(_OUTCOMES)]
        came = NOW - 3600.0 + 60.0 * number
        uid = study_uid(number)
        study = _put(connection, tables.study, **_study_row(uid, came))
        image = _put(connection, tables.instance, **_instance_row(study, number, came))
        state = "done"
        _put(connection, tables.job, **_job_row(image, came, state, crashes=int(number == 1)))
        finding = '{"outcome": "%s", "probability": %s, "reason": null}' % (outcome, probability or "null")  # noqa: UP031
        analysis = {"bundle_sha256": DIGEST, "finding": finding, "folder": None, "folder_sha256": None}
        connection.execute(insert(tables.analysis).values(instance_id=image, made_at=came + 1.5, **analysis))
        version = _put(
            connection,
            tables.version,
            study_id=study,
            number=1,
            state="published",
            closed_at=came + 30.0,
            outcome=outcome,
            probability=probability,
            reason_code=reason and "between-thresholds",
            reason_text=reason,
            bundle_sha256=DIGEST,
            folder=f"results/{number}",
            folder_sha256="0" * 64,
            published_at=came + 33.0,
        )
        self._pictures(connection, version, number, outcome)
        for name in ("pacs", "teaching"):
            _put(connection, tables.delivery, **_delivery_row(version, study, name, came + 33.0))
        for at, event, detail in (
            (came, "instance.stored", "view"),
            (came + 30.0, "study.closed", "version 1 of 1 radiographs"),
            (came + 33.0, "result.published", f"version 1: {outcome}"),
            (came + 34.0, "delivery.done", "version 1 is at pacs"),
        ):
            note(connection, at, event, uid, detail)

    def _pictures(self, connection: Connection, version: int, number: int, outcome: str) -> None:
        folder = self.folders.results / str(number)
        folder.mkdir(parents=True)
        heatmap = outcome in {"positive", "inconclusive"}
        position = 0
        for slot in ("sc-1", "sc-2") if heatmap else ("sc-1",):
            for syntax in (_JPEG_LS, _PLAIN):
                file = f"{position:03d}-sc.dcm"
                if syntax == _PLAIN:
                    self._put_picture(folder / file, dark=slot == "sc-1")
                connection.execute(
                    insert(tables.result_object).values(
                        version_id=version,
                        position=position,
                        kind="sc",
                        slot=slot,
                        sop_class_uid=_SC,
                        sop_instance_uid=picture_uid(number, slot),
                        series_instance_uid="2.25.7",
                        transfer_syntax_uid=syntax,
                        file=file,
                    )
                )
                position += 1

    def _put_picture(self, file: Path, *, dark: bool) -> None:
        """Put one of two pictures in place: each is written once, and linked from then on."""
        drawn = self.folders.root / f"drawn-{dark}.dcm"
        if not drawn.exists():
            write_picture(drawn, dark=dark)
        file.hardlink_to(drawn)

    def fail(self) -> Site:
        """Let everything go wrong that can: a PACS that is down, results given up, a report that cannot be written."""
        with self.writing() as connection:
            uid, came = study_uid(90), NOW - 7200.0
            study = _put(connection, tables.study, **_study_row(uid, came))
            image = _put(connection, tables.instance, **_instance_row(study, 90, came))
            _put(connection, tables.job, **_job_row(image, came, "ready"))
            row = {"study_id": study, "closed_at": came + 30.0}
            failed = _put(connection, tables.version, number=1, state="failed", reason_text="no room", **row)
            sent = {"state": "ready", "done_at": None, "run_after": NOW + 60.0, "attempts": 5}
            down = "MAINPACS at 10.0.0.7:104 cannot be reached: check that it runs and that host and port are right"
            _put(connection, tables.delivery, **{**_delivery_row(failed, study, "pacs", came), **sent}, last_error=down)
            given_up = {**_delivery_row(failed, study, "teaching", came), "state": "dead", "done_at": None}
            refused = "TEACH at 10.0.0.7:104 answered C-STORE with 0x0124"
            _put(connection, tables.delivery, **given_up, last_error=refused)
            note(connection, came, "instance.refused", "", "0xA700: disk space is down to the reserve")
        return self


def study_uid(number: int) -> str:
    """Return the UID of a drawn study."""
    return f"1.2.826.0.1.3680043.10.999.{number}"


def picture_uid(number: int, slot: str) -> str:
    """Return the UID of a study's picture."""
    return f"2.25.{number}.{slot.removeprefix('sc-')}"


def write_picture(file: Path, *, dark: bool = False) -> None:
    """Write a Secondary Capture of ours, uncompressed, of a patient whose name must be seen nowhere."""
    image = Image.new("RGB", (820, 690), (20, 24, 28)) if dark else Image.open(PAGE).convert("RGB")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = _SC, "2.25.1"
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName = _SC, "2.25.1", CANARY
    dataset.Columns, dataset.Rows = image.size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    pixels = image.tobytes()
    dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(file, enforce_file_format=True)


def note(connection: Connection, at: float, event: str, uid: str, detail: str) -> None:
    """Add a record to the audit trail."""
    audit.note(connection, at, event, study=uid, detail=detail)


def _put(connection: Connection, table: Any, **row: Any) -> int:
    key = connection.execute(insert(table).values(**row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _study_row(uid: str, came: float) -> dict[str, Any]:
    times = {"first_received_at": came, "last_received_at": came, "closes_at": came + 30.0}
    return {"study_instance_uid": uid, "state": "closed", **times}


def _instance_row(study: int, number: int, came: float) -> dict[str, Any]:
    return {
        "study_id": study,
        "sop_instance_uid": f"1.2.3.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "series_instance_uid": f"1.2.4.{number}",
        "transfer_syntax_uid": _PLAIN,
        "modality": "DX",
        "sha256": f"{number:064d}",
        "size": 1000,
        "spool_key": f"00/{number}",
        "received_at": came,
        "calling_ae": "MODALITY",
        "role": "view",
        "is_current": True,
    }


def _job_row(image: int, came: float, state: str, crashes: int = 0) -> dict[str, Any]:
    numbers = {"priority": 1, "fence": 1, "attempts": 0, "crashes": crashes, "created_at": came, "run_after": came}
    key = f"analyse:{image}:{DIGEST}"
    return {"kind": "analyse", "key": key, "instance_id": image, "state": state, **numbers}


def _delivery_row(version: int, study: int, name: str, at: float) -> dict[str, Any]:
    times = {"created_at": at, "run_after": at, "done_at": at + 1.0}
    return {"version_id": version, "study_id": study, "destination": name, "state": "done", "attempts": 1, **times}
