"""The one screen: facts put into words, in the order in which a person asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dicom_node.web.facts import Facts, Queue, Rows, gather
from dicom_node.web.problems import Problem, command, find_problems
from dicom_node.web.words import age, mebibytes, outcome, percent, tone

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.web.echoes import Echo, Echoes
    from dicom_node.web.outside import Outside

Tone = Literal["good", "warn", "bad", "idle"]
_SOON_DAYS = 30.0


@dataclass(frozen=True, slots=True)
class Fact:
    """One tile: a heading, what is so, and a line of detail."""

    title: str
    value: str
    detail: str
    tone: Tone = "good"


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """One destination with its queue, and its last echo asked from this page."""

    name: str
    address: str
    state: str
    tone: Tone
    queue: str
    last_error: str
    echo: Echo | None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One result."""

    study: str
    version: int
    outcome: str
    tone: str
    probability: str
    reason: str
    at: float | None
    picture: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything that the page shows."""

    verdict: str
    tone: Tone
    problems: tuple[Problem, ...]
    facts: tuple[Fact, ...]
    destinations: tuple[DestinationRow, ...]
    results: tuple[ResultRow, ...]
    first_steps: tuple[tuple[str, str], ...]
    has_ledger: bool


def look(outside: Outside, echoes: Echoes, name_of: Callable[[str], str]) -> Screen:
    """Return how things stand now; name_of gives the patient's name in a picture, or nothing."""
    facts = gather(outside)
    problems = find_problems(facts, outside)
    verdict, verdict_tone = _verdict(facts, problems)
    rows = facts.rows
    return Screen(
        verdict=verdict,
        tone=verdict_tone,
        problems=problems,
        facts=_facts(facts, outside),
        destinations=tuple(_destination(one.name, one.address, facts, echoes) for one in outside.destinations),
        results=tuple(_result(row, name_of) for row in rows.latest) if rows else (),
        first_steps=_first_steps(facts, outside),
        has_ledger=facts.started_once,
    )


def _verdict(facts: Facts, problems: tuple[Problem, ...]) -> tuple[str, Tone]:
    node = facts.node
    if not node.running:
        return ("Not running", "bad") if facts.started_once else ("Not started yet", "idle")
    if facts.disk is not None and facts.disk.is_full:
        return "Refusing images: the disk is full", "bad"
    if not node.accepting:
        return ("Refusing images" if node.problem else "Paused: not accepting images"), "bad"
    if not problems:
        return "Accepting images, nothing needs you", "good"
    needs = "1 thing needs you" if len(problems) == 1 else f"{len(problems)} things need you"
    return f"Accepting images, {needs}", "bad" if problems[0].level == "bad" else "warn"


def _facts(facts: Facts, outside: Outside) -> tuple[Fact, ...]:
    return (
        _reception(facts, outside),
        _waiting(facts),
        _worker(facts),
        _disk(facts),
        Fact("Model", facts.bundle.title, _model_detail(facts), "bad" if facts.bundle.problem else "good"),
        *(_certificate(one.name, one.days) for one in facts.certificates),
    )


def _reception(facts: Facts, outside: Outside) -> Fact:
    node = outside.settings.node
    where = f"{node.ae_title} on {node.host}, port {node.port}"
    if not facts.node.running:
        return Fact("Reception", "Not listening", where, "bad" if facts.started_once else "idle")
    if facts.disk is not None and facts.disk.is_full:
        return Fact("Reception", "Refusing", where, "bad")
    value = "Accepting" if facts.node.accepting else "Refusing" if facts.node.problem else "Paused"
    return Fact("Reception", value, where, "good" if facts.node.accepting else "bad")


def _waiting(facts: Facts) -> Fact:
    rows = facts.rows
    if rows is None:
        return Fact("Waiting", "Nothing", "no study was received yet", "idle")
    oldest = _oldest(rows)
    detail = f"oldest for {age(facts.now - oldest)}" if oldest is not None else "every study is answered"
    if rows.open_studies:
        studies = "1 study" if rows.open_studies == 1 else f"{rows.open_studies} studies"
        detail += f"; {studies} still open for more images"
    late = rows.jobs.waiting and not facts.node.workers
    number = rows.jobs.waiting
    value = {0: "Nothing", 1: "1 job"}.get(number, f"{number} jobs")
    return Fact("Waiting", value, detail, "warn" if late else "good")


def _oldest(rows: Rows) -> float | None:
    times = [at for at in (rows.jobs.oldest_at, rows.open_since) if at is not None]
    return min(times, default=None)


def _worker(facts: Facts) -> Fact:
    if not facts.node.running:
        return Fact("Worker", "Unknown", "the node does not run", "idle")
    workers = facts.node.workers
    value = {0: "None", 1: "1 connected"}.get(workers, f"{workers} connected")
    return Fact("Worker", value, "analyses images, writes reports", "good" if workers else "bad")


def _disk(facts: Facts) -> Fact:
    disk = facts.disk
    if disk is None:
        return Fact("Disk", "No folder yet", "it is made at the first start", "idle")
    detail = f"{mebibytes(disk.reserve)} reserve, of {mebibytes(disk.total)}"
    low: Tone = "bad" if disk.is_full else "warn"
    return Fact("Disk", f"{mebibytes(disk.free)} free", detail, low if disk.is_filling else "good")


def _model_detail(facts: Facts) -> str:
    bundle = facts.bundle
    if bundle.problem:
        return bundle.problem
    kind = "demonstration, not for clinical use; " if bundle.demonstration else ""
    return f"{kind}digest {bundle.sha256[:12]}"


def _certificate(name: str, days: float | None) -> Fact:
    if days is None:
        return Fact(name, "Unreadable", "its file is missing or no PEM file", "bad")
    if days < 0:
        return Fact(name, "Expired", "peers refuse it", "bad")
    return Fact(name, f"{days:.0f} days left", "until peers refuse it", "good" if days >= _SOON_DAYS else "warn")


def _destination(name: str, address: str, facts: Facts, echoes: Echoes) -> DestinationRow:
    queue = facts.rows.destinations.get(name, Queue()) if facts.rows else Queue()
    state, state_tone = _state(queue) if facts.rows else ("Not asked yet", "idle")
    words = f"{queue.waiting} waiting" if queue.waiting else "empty"
    if queue.oldest_at is not None and queue.waiting:
        words += f", oldest {age(facts.now - queue.oldest_at)}"
    words += f", {queue.parked} parked" if queue.parked else ""
    words += f", {queue.dead} given up" if queue.dead else ""
    return DestinationRow(name, address, state, state_tone, words, queue.last_error or "", echoes.last(name))


def _state(queue: Queue) -> tuple[str, Tone]:
    if queue.dead:
        return "Given up", "bad"
    if queue.waiting and queue.last_error:
        return "Failing", "bad"
    if queue.waiting:
        return "Sending", "good"
    return ("Parked", "warn") if queue.parked else ("Idle", "good")


def _result(row: dict[str, Any], name_of: Callable[[str], str]) -> ResultRow:
    return ResultRow(
        study=row["study_instance_uid"],
        version=row["number"],
        outcome=outcome(row),
        tone=tone(row),
        probability=percent(row["probability"]),
        reason=row["reason_text"] or "",
        at=row["published_at"] or row["closed_at"],
        picture=row["heatmap"],
        name=name_of(row["summary"]) if row["summary"] else "",
    )


def _first_steps(facts: Facts, outside: Outside) -> tuple[tuple[str, str], ...]:
    """Return what to do on a machine where nothing was received yet."""
    if facts.rows is not None and facts.rows.latest:
        return ()
    node = outside.settings.node
    steps = []
    if not facts.node.running and not facts.started_once:
        usual = "sudo systemctl enable --now dicom-node.target"
        plain = command(outside, "serve")
        steps.append(("Start the node", usual if plain.startswith("sudo") else plain))
    if not outside.destinations:
        steps.append(("Name the PACS that gets the results", f"[[destinations]] in {outside.config}"))
    steps.append(
        ("Enter the node at the PACS as a destination", f"AE title {node.ae_title}, {node.host}, port {node.port}")
    )
    steps.append(("Send a drawn study through it", command(outside, "selftest")))
    return tuple(steps)
