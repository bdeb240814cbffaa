"""The status page's process: reads the ledger, asks the node, decodes nothing, changes nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node.core.errors import BundleError, DicomNodeError, SettingsError
from dicom_node.destination_settings import address_of
from dicom_node.dimse.tls import days_left
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.bundle_digest import bundle_digest
from dicom_node.ledger.spool import StateFolders
from dicom_node.services import process
from dicom_node.services.asking import NodeSilent, ask
from dicom_node.services.following import Following
from dicom_node.web.application import application
from dicom_node.web.login import Login
from dicom_node.web.metrics import Metrics
from dicom_node.web.outside import BundleWord, Certificate, Destination, NodeWord, Outside
from dicom_node.web.serving import listen, server

if TYPE_CHECKING:
    from dicom_node.settings import Settings

log = structlog.get_logger(__name__)

_ASK_S = 3.0
_FRESH_S = 2.0  # two browsers and a scrape within it are one question
_ECHO_S = 10.0


def main(argv: list[str] | None = None) -> int:
    """Serve the page until SIGTERM; returns the exit status (2: the settings need a person)."""
    start = process.begin("page", argv)
    try:
        return serve(start.settings, start.config)
    except SettingsError as error:
        log.error("page.settings", reason=str(error))  # noqa: TRY400 - said in one line
        return process.EXIT_SETTINGS


def serve(settings: Settings, config: Path) -> int:
    """Serve the page until SIGTERM, and anew by the settings of each reload of the node.

    Raises SettingsError where the password file cannot be used.
    """
    following, stopping = Following(settings, config, _login), threading.Event()
    while True:
        status = _serve(following, config, stopping)
        if status != process.EXIT_OK or stopping.is_set():
            log.info("page.stopped")
            return status
        log.info("page.reloaded")


def _serve(following: Following, config: Path, stopping: threading.Event) -> int:
    """Serve the page by one state of the settings."""
    page, login = following.settings.page, _login(following.settings)
    outside = surroundings(following.settings, config)
    try:
        sock = listen(page)
        metrics = Metrics(outside)
        serving = server(application(outside, metrics, login), page)
    except OSError as error:
        log.error("page.unavailable", address=f"{page.host}:{page.port}", cause=error.strerror)  # noqa: TRY400 - in one line
        return process.EXIT_FAILED

    def stop() -> None:
        stopping.set()
        serving.stop()

    process.on_stop_signal(stop)
    if stopping.is_set():  # the signal came between two servings
        serving.stop()
    # The first count reads the whole ledger: begun now, it is done when somebody asks.
    threading.Thread(target=metrics.text, name="first-count", daemon=True).start()
    log.info("page.ready", host=page.host, port=page.port, login=login is not None)
    over = threading.Event()
    following.watch(serving.stop, over)
    serving.run(sockets=[sock])
    over.set()
    return process.EXIT_OK


def _login(settings: Settings) -> Login | None:
    return Login(Path(settings.page.password_file)) if settings.page.password_file else None


def surroundings(settings: Settings, config: Path) -> Outside:
    """Return what the page asks: this node, its destinations, its files."""
    folders = StateFolders.of(settings.node)
    return Outside(
        settings=settings,
        config=config,
        folders=folders,
        destinations=tuple(Destination(one.name, address_of(one)) for one in settings.destinations),
        ask_node=_NodeAsked(folders),
        echo=lambda name: _echo(settings, name),
        certificates=lambda: _certificates(settings),
        bundle=_BundleRead(settings),
        clock=time.time,
    )


class _NodeAsked:
    """Asks the node, at most every two seconds where it answers."""

    def __init__(self, folders: StateFolders) -> None:
        self._folders = folders
        self._asked_at = float("-inf")
        self._word = NodeWord(silence="not asked yet")

    def __call__(self) -> NodeWord:
        now = time.monotonic()
        if now - self._asked_at > _FRESH_S or not self._word.running:
            self._word = self._ask()
            self._asked_at = now
        return self._word

    def _ask(self) -> NodeWord:
        try:
            answer = ask(self._folders.control, "status", _ASK_S)
        except NodeSilent as silence:
            return NodeWord(silence=str(silence))
        if "error" in answer:
            return NodeWord(silence=str(answer["error"]))
        return NodeWord(
            silence=None,
            accepting=bool(answer["accepting"]),
            problem=str(answer["problem"]),
            workers=int(answer["workers"]),
            late_loops=tuple(answer["late_loops"]),
            bundle_sha256=str(answer["bundle_sha256"]),
            running_for_s=float(answer["running_for_s"]),
            refused={str(why): int(number) for why, number in answer["refused"].items()},
        )


class _BundleRead:
    """Verifies the bundle once for each digest."""

    def __init__(self, settings: Settings) -> None:
        self._analysis = settings.analysis
        self._read = BundleWord("unknown", "")

    def __call__(self) -> BundleWord:
        try:
            digest = bundle_digest(self._analysis.bundle)
            if digest != self._read.sha256:
                bundle = load_bundle(self._analysis.bundle, self._analysis.bundle_sha256 or None)
                manifest = bundle.manifest
                title = f"{manifest.name} {manifest.version}"
                self._read = BundleWord(title, bundle.sha256, demonstration=manifest.demonstration)
        except BundleError as error:
            return replace(self._read, title="None that can be used", problem=str(error).rstrip("."))
        return self._read


def _echo(settings: Settings, name: str) -> str | None:
    """Return None where a destination answers, else one line on what is wrong."""
    from dicom_node.deliver.probe import probe  # noqa: PLC0415 - a page that nobody asks does without pynetdicom

    one = next(one for one in settings.destinations if one.name == name)
    patient = one.model_copy(update={"timeout_s": min(one.timeout_s, _ECHO_S)})
    try:
        probe(patient, settings.node.ae_title)
    except (DicomNodeError, OSError) as error:
        return str(error) if isinstance(error, DicomNodeError) else f"the connection broke ({error.strerror})"
    return None


def _certificates(settings: Settings) -> tuple[Certificate, ...]:
    tls = settings.node.tls
    files = [
        ("DICOM certificate", tls and tls.certificate),
        ("Page certificate", settings.page.certificate),
        ("Audit certificate", settings.audit.certificate),
    ]
    return tuple(Certificate(name, _days_left(Path(file))) for name, file in files if file)


def _days_left(file: Path) -> float | None:
    try:
        return days_left(file, datetime.now(timezone.utc))
    except SettingsError:
        return None


if __name__ == "__main__":
    process.end(main())
