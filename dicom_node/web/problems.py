"""What is wrong, why it matters, and the command that mends it: worst first."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dicom_node.web.words import age, mebibytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.web.facts import Facts, Rows
    from dicom_node.web.outside import Outside

DEFAULT_CONFIG = Path("/etc/dicom-node/dicom-node.toml")
_LATE_S = 900.0
_SOON_DAYS = 30.0

Level = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that needs a person; bad: results do not come, warn: they soon may not."""

    level: Level
    what: str
    why: str
    command: str


def find_problems(facts: Facts, outside: Outside) -> tuple[Problem, ...]:
    """Return everything that is wrong."""
    found = [*_node(facts, outside), *_ledger(facts, outside), *_disk(facts, outside), *_model(facts, outside)]
    if facts.rows is not None:
        found += [*_destinations(facts, facts.rows, outside), *_results(facts, facts.rows, outside)]
    found += _certificates(facts)
    return tuple(sorted(found, key=lambda one: one.level != "bad"))


def command(outside: Outside, words: str) -> str:
    """Return a command of ours as it is to be typed, with the configuration where it is not the usual one."""
    usual = outside.config == DEFAULT_CONFIG
    return f"sudo dicom-node {words}" if usual else f"dicom-node {words} --config {shlex.quote(str(outside.config))}"


def _unit(outside: Outside, words: str) -> str:
    """Return the command that starts what is missing: by systemd where the configuration is the service's."""
    return f"sudo systemctl {words}" if outside.config == DEFAULT_CONFIG else command(outside, "serve")


def _node(facts: Facts, outside: Outside) -> Iterator[Problem]:
    node = facts.node
    if not facts.started_once and not node.running:
        return
    if node.silence is not None:
        why = f"Nothing is accepted and nothing is sent until it runs again; a PACS keeps trying. {node.silence}."
        yield Problem("bad", "The node is not running", why, _unit(outside, "start dicom-node.target"))
        return
    if not node.accepting and not node.problem:
        why = "Somebody paused it: a PACS that sends is told to come back."
        yield Problem("bad", "The node does not accept images", why, command(outside, "queue resume"))
    elif not node.accepting and not (facts.disk and facts.disk.is_full):
        why = f"{_sentence(node.problem)} A PACS that sends is told to come back."
        yield Problem("bad", "The node does not accept images", why, command(outside, "doctor"))
    if node.workers == 0:
        why = "Images are accepted and kept, but none is analysed until a worker runs."
        yield Problem("bad", "No worker is connected", why, _unit(outside, "restart dicom-node-worker@1"))
    if node.late_loops:
        why = f"{', '.join(node.late_loops)}: under systemd the watchdog restarts the node within half a minute."
        yield Problem("bad", "A part of the node hangs", why, _unit(outside, "restart dicom-node"))


def _ledger(facts: Facts, outside: Outside) -> Iterator[Problem]:
    if facts.ledger_problem:
        yield Problem("bad", "The ledger cannot be read", facts.ledger_problem, command(outside, "doctor"))


def _disk(facts: Facts, outside: Outside) -> Iterator[Problem]:
    disk = facts.disk
    if disk is None:
        return
    room = f"{mebibytes(disk.free)} are free; {mebibytes(disk.reserve)} stay in reserve."
    purge = command(outside, "purge")  # what every destination has, and keep.days lets go
    if disk.is_full:
        why = f"{room} A PACS that sends is told to come back until there is room, and keeps its images."
        yield Problem("bad", "The disk is full", why, purge)
    elif disk.is_filling:
        yield Problem("warn", "The disk is filling up", f"{room} Down to it no more images are accepted.", purge)


def _model(facts: Facts, outside: Outside) -> Iterator[Problem]:
    if facts.bundle.problem:
        why = f'Every image is answered "not analysed". {facts.bundle.problem}.'
        yield Problem("bad", "The model cannot be used", why, command(outside, "bundle"))


def _destinations(facts: Facts, rows: Rows, outside: Outside) -> Iterator[Problem]:
    for name, queue in rows.destinations.items():
        if queue.dead:
            why = f"Tried for days, or refused by it. {_sentence(queue.last_error)}"
            what = f"{_counted(queue.dead, 'result')} for {name} {_was(queue.dead)} given up"
            yield Problem("bad", what, why.strip(), command(outside, "dead replay"))
        if queue.waiting and queue.last_error:
            since = age(facts.now - (queue.oldest_at or facts.now))
            why = (
                f"{_counted(queue.waiting, 'result')} to be sent, the oldest for {since}. {_sentence(queue.last_error)}"
            )
            yield Problem("bad", f"{name} does not take results", why, command(outside, f"echo {name}"))
        if queue.parked:
            what = f"{_counted(queue.parked, 'result')} for {name} {_was(queue.parked)} parked"
            yield Problem("warn", what, "A person put them aside.", command(outside, "queue retry"))


def _results(facts: Facts, rows: Rows, outside: Outside) -> Iterator[Problem]:
    if rows.failed:
        why = _sentence(rows.failed_results[0]["reason_text"] or "") if rows.failed_results else ""
        what = f"{_counted(rows.failed, 'result')} could not be written"
        yield Problem("bad", what, f"Newest: {why}", command(outside, "dead list"))
    oldest = rows.jobs.oldest_at
    if oldest is not None and facts.now - oldest > _LATE_S:
        why = f"The oldest for {age(facts.now - oldest)}: no analysis takes that long."
        yield Problem(
            "warn", f"{_counted(rows.jobs.waiting, 'job')} waiting for long", why, command(outside, "queue list")
        )


def _certificates(facts: Facts) -> Iterator[Problem]:
    for one in facts.certificates:
        renew = "sudo dicom-node reload"
        if one.days is None:
            yield Problem(
                "bad",
                f"{one.name}: cannot be read",
                "Its file is missing or no PEM file. Put it in place, then reload.",
                renew,
            )
        elif one.days < 0:
            yield Problem(
                "bad",
                f"{one.name}: has expired",
                f"{age(-one.days * 86400).capitalize()} ago; peers refuse it. Renew it, then reload.",
                renew,
            )
        elif one.days < _SOON_DAYS:
            yield Problem(
                "warn",
                f"{one.name}: expires in {one.days:.0f} days",
                "Peers will then refuse it. Renew it, then reload.",
                renew,
            )


def _counted(number: int, thing: str) -> str:
    return f"1 {thing}" if number == 1 else f"{number} {thing}s"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _sentence(text: str | None) -> str:
    """Return an error as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
