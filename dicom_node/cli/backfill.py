"""`dicom-node backfill`: old studies, day by day, through the same door as new ones."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.arguments import above_zero, calendar_day, count
from dicom_node.cli.words import counted, print_json
from dicom_node.core.errors import DestinationRefused, DestinationUnavailable, SettingsError
from dicom_node.deliver.dicom import peer_of
from dicom_node.destination_settings import DicomDestination
from dicom_node.dimse.query import FoundStudy, find_studies, move_study
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import ask

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from dicom_node.dimse.scu import Peer
    from dicom_node.settings import Settings

_SECONDS_A_MINUTE = 60.0
_TRIES, _BUSY_S = 3, 5.0
_PATIENCE_S = 60.0


@dataclass
class Tally:
    """What became of the studies."""

    found: int = 0
    known: int = 0
    fetched: int = 0
    instances: int = 0
    failed: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which studies, from whom and how fast."""
    parser.add_argument("pacs", nargs="?", help="name of the destination to ask (default: the first)")
    parser.add_argument("--from", dest="first", type=calendar_day, required=True, help="first study date, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=calendar_day, help="last study date (default: as --from)")
    parser.add_argument(
        "--modality", action="append", choices=("CR", "DX"), help="more than once for both (default: both)"
    )
    parser.add_argument(
        "--per-minute", type=above_zero, default=6.0, help="studies a minute, at most (default: %(default)s)"
    )
    parser.add_argument(
        "--most-waiting", type=count, default=20, help="pause while more jobs wait (default: %(default)s)"
    )
    parser.add_argument("--limit", type=count, default=0, help="stop after so many studies; 0: no limit (default)")
    parser.add_argument("--dry-run", action="store_true", help="only count the studies")
    parser.add_argument("--json", action="store_true", help="print JSON instead of progress")


def run(arguments: argparse.Namespace) -> int:
    """Fetch the studies that are not here yet; 1 where one failed. Running it again goes on where it stopped."""
    settings = configuration.load(arguments.config)
    pacs = _pacs(settings, arguments.pacs)
    days = _days(arguments.first, arguments.last or arguments.first)
    modalities = tuple(arguments.modality or ("CR", "DX"))
    own, tally = settings.node.ae_title, Tally()
    studies = _new_studies(settings, _peer(pacs), days, modalities, tally)
    if arguments.dry_run:
        for _ in studies:
            pass
    else:
        control = StateFolders.of(settings.node).control
        pace = Pace(
            lambda: int(ask(control, "status")["jobs"]["waiting"]), arguments.per_minute, arguments.most_waiting
        )
        pace.start()  # fails here, and not after an hour, where no node runs
        _fetch(studies, (_peer(pacs), own), pace, tally, _shown(arguments, tally))
    print_json(asdict(tally)) if arguments.json else _print(tally, dry=arguments.dry_run)
    return exits.FAILED if tally.failed else exits.GOOD


class Pace:
    """Lets a study through when its time has come and the node is not behind."""

    def __init__(self, waiting: Callable[[], int], per_minute: float, most_waiting: int) -> None:
        self._waiting, self._every_s, self._most = waiting, _SECONDS_A_MINUTE / max(per_minute, 0.01), most_waiting
        self._next = 0.0

    def start(self) -> None:
        """Ask the node once. Raises NodeSilent where none answers."""
        self._waiting()

    def wait(self) -> None:
        """Return when the next study may be fetched."""
        time.sleep(max(self._next - time.monotonic(), 0.0))
        while self._waiting() > self._most:
            time.sleep(1.0)
        self._next = time.monotonic() + self._every_s


def _pacs(settings: Settings, name: str | None) -> DicomDestination:
    dicom = [one for one in settings.destinations if isinstance(one, DicomDestination)]
    found = next((one for one in dicom if name in (None, one.name, one.ae_title)), None)
    if found is None:
        message = f"{name or 'no destination'}: name a [[destinations]] block of kind dicom; that PACS is asked"
        raise SettingsError(message)
    return found


def _peer(pacs: DicomDestination) -> Peer:
    return peer_of(pacs.model_copy(update={"timeout_s": max(pacs.timeout_s, _PATIENCE_S)}))


def _days(first: date, last: date) -> list[str]:
    if last < first:
        message = f"--to {last} is before --from {first}"
        raise SettingsError(message)
    return [(first + timedelta(days=number)).strftime("%Y%m%d") for number in range((last - first).days + 1)]


def _new_studies(
    settings: Settings, peer: Peer, days: list[str], modalities: tuple[str, ...], tally: Tally
) -> Iterator[FoundStudy]:
    """Yield the studies that the ledger does not know, day by day, so that no answer is huge."""
    ledger = StateFolders.of(settings.node).ledger
    overview = Overview(ledger) if ledger.exists() else None
    for day in days:
        on_day: dict[str, FoundStudy] = {}
        for modality in modalities:
            for one in find_studies(peer, settings.node.ae_title, day, modality):
                on_day[one.study_instance_uid] = one
        for uid, one in on_day.items():
            tally.found += 1
            if overview is not None and overview.study(uid) is not None:
                tally.known += 1
            else:
                yield one


def _fetch(
    studies: Iterator[FoundStudy], ends: tuple[Peer, str], pace: Pace, tally: Tally, show: Callable[[FoundStudy], bool]
) -> None:
    """Have the PACS send each study to us, until `show` says that it is enough."""
    peer, own = ends
    for one in studies:
        pace.wait()
        for attempt in range(_TRIES):
            try:
                moved = move_study(peer, own, one.study_instance_uid, own)
            except DestinationRefused:
                raise  # it would refuse every other one too
            except DestinationUnavailable as error:
                if attempt + 1 == _TRIES:
                    tally.failed.append(f"{one.study_instance_uid}: {error}")
                time.sleep(_BUSY_S)
            else:
                tally.fetched += 1
                tally.instances += moved.completed
                if moved.failed:
                    tally.failed.append(f"{one.study_instance_uid}: {counted(moved.failed, 'instance')} not sent")
                break
        if not show(one):
            return


def _shown(arguments: argparse.Namespace, tally: Tally) -> Callable[[FoundStudy], bool]:
    """Return what shows the progress, and says whether to go on."""

    def show(one: FoundStudy) -> bool:
        if not arguments.json and sys.stderr.isatty():
            first = (arguments.last or arguments.first).toordinal() - arguments.first.toordinal() + 1
            done = date.fromisoformat(_dashed(one.study_date)).toordinal() - arguments.first.toordinal() + 1
            filled = "#" * (30 * min(done, first) // first)
            sys.stderr.write(f"\r[{filled:<30}] {_dashed(one.study_date)}  {counted(tally.fetched, 'study')} fetched")
            sys.stderr.flush()
        return not arguments.limit or tally.fetched + len(tally.failed) < arguments.limit

    return show


def _dashed(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:8]}"


def _print(tally: Tally, *, dry: bool) -> None:
    if sys.stderr.isatty() and not dry:
        sys.stderr.write("\n")
    print(f"{counted(tally.found, 'study')} at the PACS, {tally.known} known here")
    if not dry:
        print(f"{counted(tally.fetched, 'study')} fetched, {counted(tally.instances, 'instance')}")
    for line in tally.failed:
        sys.stderr.write(f"{line}\n")
