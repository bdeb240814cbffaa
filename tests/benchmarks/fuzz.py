"""Changed bytes by the hundred thousand against what reads received bytes first: data sets, requests, commands, talks.

Whatever is read or refused in the words of its own error is sound; anything else is a find, and its input is kept.
"""

from __future__ import annotations

import hashlib
import resource
import socket
import struct
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import structlog
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from pydicom import dcmread
from rich.table import Table

from dicom_node.core.errors import MalformedDataSet, Rejected
from dicom_node.dimse import command, pdu
from dicom_node.dimse.admission import Admission
from dicom_node.dimse.association import Association, House
from dicom_node.dimse.fragments import Pace
from dicom_node.dimse.negotiation import check_request, negotiate
from dicom_node.dimse.peers import AllowList
from dicom_node.dimse.scp_settings import ScpSettings
from dicom_node.dimse.services import Services
from dicom_node.dimse.sink import WholeObjects
from dicom_node.part10.header import DEFLATED, EXPLICIT_BIG, IMPLICIT_LITTLE, scan
from tests.benchmarks import guided
from tests.support.fracatlas import data_folder
from tests.support.ledger_machine import LedgerMachine
from tests.support.wire import CR, EXPLICIT, RELEASE_RQ, associate_rq, c_echo_rq, c_store_rq, context, p_data, pdv
from tests.unit.part10.test_bombs import DATA_SETS, deflated
from tests.unit.part10.test_header import a_radiograph, encoded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rich.console import Console

_LARGEST_SEED = 8192  # most of what a header can do is in its first pages, and short inputs are many inputs
_SYNTAXES = (EXPLICIT, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
_LONG_VRS = {"OB", "OW", "OF", "UN", "OD", "OL"}
_SLOW_S = 1.0
_HISTORIES, _STEPS = 25, 80
_MEMORY = 512 << 20  # more than now
_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFE, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass
class Tally:
    """What became of a target's inputs: how many, in how many seconds, with which answers, and the finds."""

    name: str
    inputs: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    answers: Counter[str] = field(default_factory=Counter)
    finds: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """What reads the bytes, the errors that it may raise, and the inputs to begin with."""

    name: str
    read: Callable[[bytes, Random], Any]
    refusals: tuple[type[Exception], ...]
    seeds: list[bytes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--inputs", type=int, default=200_000, help="for each target (default %(default)s)")
    parser.add_argument("--talks", type=int, default=20_000, help="whole associations (default %(default)s)")
    parser.add_argument("--finds", type=Path, default=Path("build/fuzz"), help="folder to keep finds in")
    parser.add_argument("--ledger", action="store_true", help="drive the ledger through drawn histories instead")
    parser.add_argument("--coverage-guided", action="store_true", help="with atheris instead (to be installed by hand)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of these two, a target (default %(default)s)")


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Try every target and print what became of its inputs; 1 where something was found."""
    if arguments.ledger:
        return histories(arguments.minutes, console)
    if arguments.coverage_guided:
        return guided.run(arguments.minutes, arguments.finds, console)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    structlog.configure(processors=[_swallow])
    warnings.simplefilter("ignore")  # of the broken files among the seeds
    table = Table("target", "seeds", "inputs", "inputs/s", "slowest", "answers", "finds")
    found = 0
    for target in targets():
        number = arguments.talks if target.name == "association" else arguments.inputs
        tally = fuzz(target, number, Random(f"{arguments.seed} {target.name}"))  # noqa: S311 - drawn again alike
        answers = ", ".join(f"{name} {count}" for name, count in tally.answers.most_common())
        rate, slowest = f"{tally.inputs / tally.seconds:,.0f}", f"{tally.slowest_s * 1e3:.0f} ms"
        table.add_row(
            tally.name, f"{len(target.seeds)}", f"{tally.inputs:,}", rate, slowest, answers, f"{len(tally.finds)}"
        )
        found += len(tally.finds)
        keep(tally, arguments.finds, console)
    console.print(table)
    return 1 if found else 0


def histories(minutes: float, console: Console) -> int:
    """Draw histories of the ledger for so long; what breaks a promise is made small and printed."""
    end, number = time.monotonic() + minutes * 60, 0
    plan = settings(
        max_examples=_HISTORIES,
        stateful_step_count=_STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < end:
        try:
            run_state_machine_as_test(LedgerMachine, settings=plan)
        except Exception:  # noqa: BLE001 - this is what is looked for
            console.print_exception()
            return 1
        number += _HISTORIES
    console.print(f"{number} histories of up to {_STEPS} steps: every promise held")
    return 0


def _swallow(*_: object) -> Any:
    raise structlog.DropEvent


def keep(tally: Tally, folder: Path, console: Console) -> None:
    """Write each kind of find once: the shortest input that showed it."""
    shortest: dict[str, bytes] = {}
    for what, data in tally.finds:
        if what not in shortest or len(data) < len(shortest[what]):
            shortest[what] = data
    for what, data in shortest.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{tally.name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        path.write_bytes(data)
        console.print(f"{tally.name}: {what}: {path}")


def fuzz(target: Target, number: int, random: Random) -> Tally:
    """Read `number` changed inputs; every find is kept, and nothing ends the run."""
    tally = Tally(target.name)
    begun = time.monotonic()
    for _ in range(number):
        data = changed(random, target.seeds)
        before = time.perf_counter()
        try:
            target.read(data, random)
            answer = "read"
        except target.refusals as refusal:
            answer = type(refusal).__name__
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            answer = "FOUND"
            tally.finds.append((f"{type(error).__name__}: {error}"[:200], data))
        took = time.perf_counter() - before
        if took > _SLOW_S:
            tally.finds.append((f"slow: {took:.1f} s", data))
        tally.slowest_s = max(tally.slowest_s, took)
        tally.answers[answer] += 1
        tally.inputs += 1
    tally.seconds = time.monotonic() - begun
    return tally


def changed(random: Random, seeds: list[bytes]) -> bytes:
    """Return a seed with one to four changes: bytes, lengths, pieces doubled, dropped, or taken from another seed."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        length = random.randint(1, 32)
        kind = random.randrange(7)
        if kind == 0:
            data[at : at + 1] = random.randbytes(1)
        elif kind == 1:
            data[at : at + 4] = struct.pack(random.choice("<>") + "L", random.choice(_EDGES))
        elif kind == 2:
            data[at : at + 2] = struct.pack(random.choice("<>") + "H", random.choice(_EDGES) & 0xFFFF)
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length] * random.randint(1, 8)
        elif kind == 5:
            other = random.choice(seeds)
            start = random.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
        else:
            del data[at:]
    return bytes(data)


def targets() -> list[Target]:
    """Return everything that reads a peer's bytes before it is known what they are."""
    violations = (pdu.ProtocolViolation, pdu.Rejection)
    requests = [request[6:] for request in _requests()]
    commands = [c_echo_rq(), c_store_rq("1.2.3"), c_store_rq("1.2.3").replace(b"\1\0\0\0\x10\1", b"\0\1\0\0\x10\1", 1)]
    return [
        Target("data set", _scan, (MalformedDataSet,), data_sets()),
        Target("association request", _request, violations, requests),
        Target("command", lambda data, _: command.decode(data), violations, commands),
        Target("association", _talk, (), _talks()),
    ]


def data_sets() -> list[bytes]:
    """Return data sets of our own and the headers of the public files, where they are here; a first byte tells how."""
    ds = a_radiograph()
    seeds = [encoded(ds), encoded(ds, implicit=True), encoded(ds, little=False), deflated(encoded(ds))]
    bombs = [data[:_LARGEST_SEED] for data, _ in DATA_SETS.values()]
    made = [bytes([number]) + seed for number, seed in enumerate(seeds)] + [b"\0" + seed for seed in bombs]
    folder = data_folder()
    paths = sorted((folder / "dicom").iterdir()) if folder else []
    return made + [seed for path in paths if 1 < len(seed := _header_of(path)) <= _LARGEST_SEED]


def _header_of(path: Path) -> bytes:
    """Return a file's data set without its pixels and other long values, encoded as it is; empty where it is broken."""
    try:
        ds = dcmread(path, stop_before_pixels=True)
        for element in [element for element in ds if element.VR in _LONG_VRS]:
            del ds[element.tag]
        kind = 1 if ds.original_encoding[0] else 0 if ds.original_encoding[1] else 2
        return bytes([kind]) + encoded(ds, implicit=kind == 1, little=kind != 2)
    except Exception:  # noqa: BLE001 - many of them are broken on purpose
        return b""


def _scan(data: bytes, _: Random) -> None:
    scan(data[1:], _SYNTAXES[data[0] % len(_SYNTAXES)] if data else EXPLICIT)


def _requests() -> list[bytes]:
    one = context(1, CR, (EXPLICIT, "1.2.840.10008.1.2.4.70", IMPLICIT_LITTLE))
    many = b"".join(context(2 * n + 1, CR, (EXPLICIT,)) for n in range(128))
    return [
        associate_rq(one + context(3)),
        associate_rq(context(1)),
        associate_rq(many),
        associate_rq(one, calling=b"A"),
    ]


def _request(data: bytes, _: Random) -> None:
    request = pdu.decode_request(data)
    check_request(request, "DICOMNODE")
    agreement = negotiate(request, None, takes_reports=True)
    pdu.encode_acceptance(data, agreement.answers, 131072, agreement.roles)


def _talks() -> list[bytes]:
    opened, store = _requests()[0], p_data(pdv(c_store_rq("1.2.3"), 3))
    whole = opened + store + p_data(pdv(encoded(a_radiograph()), 2)) + RELEASE_RQ
    pieces = (
        opened + store + p_data(pdv(bytes(300), 0), pdv(bytes(30), 2)) + p_data(pdv(c_echo_rq(2), 3, 3)) + RELEASE_RQ
    )
    return [whole, pieces, opened + p_data(pdv(c_echo_rq(), 3, 3)) + RELEASE_RQ, opened + store[:50]]


def _talk(data: bytes, _: Random) -> None:
    """Say all of it to an association of its own, which must end by itself and leave its seat."""
    admission: Admission[Association] = Admission(20, 6)
    scp_settings = ScpSettings("DICOMNODE", "127.0.0.1", 0, pace=Pace(idle_s=0.2, pdu_s=0.2), request_timeout_s=0.2)
    house = House(scp_settings, Services(WholeObjects(_judge)), admission, AllowList(()), None)
    ours, peer = socket.socketpair()
    with peer:
        association = Association(ours, "127.0.0.1", house)
        admission.enter(association)
        peer.sendall(data[:65536])
        peer.shutdown(socket.SHUT_WR)
        with structlog.testing.capture_logs() as logs:
            association.run()
        admission.gone(association)
    failed = [event for event in logs if event["event"] == "association.failed"]
    if failed or admission.inside():
        message = f"the association failed or kept its seat: {failed}"
        raise RuntimeError(message)


def _judge(received: Any) -> None:
    try:
        scan(received.dataset, received.transfer_syntax_uid)
    except MalformedDataSet as error:
        raise Rejected(str(error), 0xC000) from error
