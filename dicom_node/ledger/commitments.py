"""What proves a delivery beyond its storing: commitment, or being found; asked for from rows, so no restart forgets it.

A request's transaction UID is written before it is sent: whenever and wherever the report comes, it is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, exists, func, insert, literal, select, update

from dicom_node.ledger import audit
from dicom_node.ledger.database import (
    commitment,
    commitment_request,
    delivery,
    delivery_slot,
    progress,
    result_object,
    study,
    version,
)
from dicom_node.ledger.progress import write_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dicom_node.core.delivery import Backoff, Proof

PROVED = ("committed", "found", "stored")
"""The states in which nothing more is asked of a destination."""
SENT_AGAIN_MOST = 3
"""How often a delivery is sent again because the destination lacks some of it."""

_HOPING = ("waiting", "asked", "unanswered")  # states in which a report still counts
_DEMANDS: tuple[Proof, ...] = ("none", "auto", "auto+find", "find", "required")  # by number in `progress`: only add
_ADOPTED = "proof of "
_UNKNOWN_SLOTS = "what it stored was not written down: it was sent by an earlier version"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that a destination stored; number: its slot in the delivery."""

    number: int
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery whose proof is being asked for, under a transaction UID of its own."""

    delivery_id: int
    study_instance_uid: str
    version: int
    destination: str
    transaction_uid: str
    attempts: int
    first_asked_at: float
    stored: tuple[Stored, ...]


def begin(connection: Connection, delivery_id: int, destination: str, demand: Proof, now: float) -> None:
    """Note that a delivery that was just stored is to be proved; how often it was sent for that is kept."""
    if demand == "none":
        return
    fresh = {"destination": destination, "demand": demand, "state": "waiting", "run_after": now, **_UNASKED}
    before = connection.execute(select(commitment.c.state).where(commitment.c.delivery_id == delivery_id)).scalar()
    if before is None:
        connection.execute(insert(commitment).values(delivery_id=delivery_id, sent_again=0, **fresh))
        return
    anew = {} if before == "resending" else {"sent_again": 0}
    _set(connection, delivery_id, **fresh, **anew)


_UNASKED: dict[str, Any] = {"attempts": 0, "first_asked_at": None, "settled_at": None, "last_error": None}


def adopt(connection: Connection, demands: Mapping[str, Proof], now: float) -> int:
    """Bring the rows into line with the settings, at the start; returns how many deliveries are to be proved anew.

    What is committed stays so. A destination that is gone, or of which no proof is wanted, holds nothing back. Which
    settings the rows are in line with is remembered: only a change looks at all of them.
    """
    wanted = {name: demand for name, demand in demands.items() if demand != "none"}
    known = (progress.c.name >= _ADOPTED) & (progress.c.name < _ADOPTED + "\x7f")
    adopted = {row.name.removeprefix(_ADOPTED): row.value for row in connection.execute(select(progress).where(known))}
    for name in adopted.keys() - wanted.keys():
        unproved = (commitment.c.destination == name) & commitment.c.state.in_((*_HOPING, "failed"))
        connection.execute(update(commitment).where(unproved).values(state="stored", settled_at=now, demand="none"))
        connection.execute(delete(progress).where(progress.c.name == _ADOPTED + name))
    changed = {name: demand for name, demand in wanted.items() if adopted.get(name) != _DEMANDS.index(demand)}
    for name, demand in changed.items():
        write_progress(connection, _ADOPTED + name, _DEMANDS.index(demand))
    return sum(_adopt(connection, name, demand, now) for name, demand in changed.items())


def _adopt(connection: Connection, name: str, demand: Proof, now: float) -> int:
    """Ask anew for what was proved otherwise, and for what was delivered before any proof was wanted."""
    other = (commitment.c.destination == name) & (commitment.c.demand != demand)
    other &= commitment.c.state.in_((*_HOPING, "found", "stored"))
    values = {"demand": demand, "state": "waiting", "run_after": now, **_UNASKED}
    count = connection.execute(update(commitment).where(other).values(**values)).rowcount
    columns = {"sent_again": 0, "attempts": 0, "demand": demand, "state": "waiting", "run_after": now}
    missing = (
        select(delivery.c.id, delivery.c.destination, *(literal(value) for value in columns.values()))
        .join(study, study.c.id == delivery.c.study_id)
        .where(delivery.c.destination == name, delivery.c.state == "done", study.c.purged_at.is_(None))
        .where(~exists().where(commitment.c.delivery_id == delivery.c.id))
    )
    names = ["delivery_id", "destination", *columns]
    inserted = insert(commitment).from_select(names, missing).execution_options(preserve_rowcount=True)
    return count + connection.execute(inserted).rowcount


def take_due(
    connection: Connection, destination: str, now: float, limit: int, new_uid: Callable[[], str], backoff: Backoff
) -> tuple[tuple[Claim, ...], tuple[Claim, ...]]:
    """Take the destination's deliveries whose proof is due to be asked for; returns these, and those given up.

    Each is asked for again after the back-off's next wait, whatever happens until then; given up is what was asked for
    so long without an answer.
    """
    query = (
        select(commitment, delivery.c.version_id, version.c.number, study.c.study_instance_uid)
        .join(delivery, delivery.c.id == commitment.c.delivery_id)
        .join(version, version.c.id == delivery.c.version_id)
        .join(study, study.c.id == delivery.c.study_id)
        .where(commitment.c.destination == destination, commitment.c.state.in_(("waiting", "asked")))
        .where(commitment.c.run_after <= now)
        .order_by(commitment.c.run_after, commitment.c.delivery_id)
        .limit(limit)
    )
    asked, given_up = [], []
    for row in connection.execute(query).mappings().all():
        first = now if row["first_asked_at"] is None else float(row["first_asked_at"])
        stored = _stored(connection, row["delivery_id"], row["version_id"])
        names = (row["delivery_id"], row["study_instance_uid"], row["number"], destination)
        claim = Claim(*names, new_uid(), row["attempts"] + 1, first, stored)
        again = backoff.next_attempt(claim.attempts, now, first, 0.5)
        if not stored:
            _settle_unknown(connection, claim, row["demand"], now)
        elif again is None:
            given_up.append(claim)
            error = row["last_error"] or "it took the request and never reported"
            _give_up(connection, claim, error, now)
        else:
            asked.append(claim)
            _set(connection, claim.delivery_id, attempts=claim.attempts, first_asked_at=first, run_after=again)
            values = {"transaction_uid": claim.transaction_uid, "delivery_id": claim.delivery_id, "asked_at": now}
            connection.execute(insert(commitment_request).values(**values))
    return tuple(asked), tuple(given_up)


def next_due(connection: Connection, destination: str) -> float | None:
    """Return when the destination is to be asked next (epoch seconds), or None."""
    query = select(func.min(commitment.c.run_after)).where(
        commitment.c.destination == destination, commitment.c.state.in_(("waiting", "asked"))
    )
    value = connection.execute(query).scalar()
    return None if value is None else float(value)


def put_back(connection: Connection, claims: Iterable[Claim], error: str | None, now: float) -> None:
    """Note that these were not asked for: the destination could not be reached, which says nothing about them."""
    for claim in claims:
        first = None if claim.attempts == 1 else claim.first_asked_at
        connection.execute(
            delete(commitment_request).where(commitment_request.c.transaction_uid == claim.transaction_uid)
        )
        values = {"attempts": claim.attempts - 1, "first_asked_at": first, "run_after": now, "last_error": error}
        _set(connection, claim.delivery_id, **values)


def asked(connection: Connection, claim: Claim, now: float) -> None:
    """Note that the destination took the request; where its report was faster, that stands."""
    waiting = (commitment.c.delivery_id == claim.delivery_id) & (commitment.c.state == "waiting")
    connection.execute(update(commitment).where(waiting).values(state="asked", last_error=None))
    detail = f"version {claim.version}: {len(claim.stored)} objects at {claim.destination}"
    _note(connection, claim, now, "commitment.asked", detail)


def postpone(connection: Connection, claim: Claim, error: str, now: float) -> None:
    """Note that the destination would not say now; when it is asked again stands in the row, and a report counts."""
    _set(connection, claim.delivery_id, state="waiting", last_error=error)
    _note(connection, claim, now, "commitment.postponed", f"version {claim.version}: {error}")


def settle(connection: Connection, claim: Claim, state: str, why: str, now: float) -> None:
    """Note that the objects were found there, or that storing them is all the proof that is to be had."""
    _void(connection, claim.delivery_id, now)
    _set(connection, claim.delivery_id, state=state, settled_at=now, last_error=None)
    if state == "found":
        slots = delivery_slot.c.delivery_id == claim.delivery_id
        connection.execute(update(delivery_slot).where(slots).values(failure=None))
    event = "delivery.found" if state == "found" else "commitment.not-offered"
    _note(connection, claim, now, event, f"version {claim.version} at {claim.destination}: {why}")


def lacks(connection: Connection, claim: Claim, failed: Mapping[str, int], now: float, again_s: float) -> bool:
    """Note that the destination lacks objects: the delivery is sent again, or parked; true where it is sent again."""
    row = connection.execute(select(commitment).where(commitment.c.delivery_id == claim.delivery_id)).mappings().one()
    _void(connection, claim.delivery_id, now)
    error = f"{claim.destination} does not keep {_counted(failed)}"
    is_sent = bool(row["sent_again"] < SENT_AGAIN_MOST)
    values = {"state": "resending" if is_sent else "failed", "last_error": error}
    _set(connection, claim.delivery_id, sent_again=row["sent_again"] + is_sent, **values)
    fresh = {"state": "ready", "run_after": now + again_s * row["sent_again"], "created_at": now, "done_at": None}
    state = fresh if is_sent else {"state": "dead"}
    connection.execute(
        update(delivery).where(delivery.c.id == claim.delivery_id).values(last_error=error, interrupted=0, **state)
    )
    detail = f"version {claim.version}: {error}; {'sent again' if is_sent else 'given up'}"
    facts = {uid: f"0x{reason:04X}" for uid, reason in failed.items()}
    _note(connection, claim, now, "commitment.failed", detail, failed=facts)
    return is_sent


def claim_of(connection: Connection, transaction_uid: str) -> tuple[Claim, bool] | None:
    """Return what a transaction asked for, and whether a report about it still counts; None where it is not ours."""
    query = (
        select(commitment, commitment_request.c.answered_at, delivery.c.version_id, version.c.number)
        .add_columns(study.c.study_instance_uid)
        .select_from(commitment_request)
        .join(commitment, commitment.c.delivery_id == commitment_request.c.delivery_id)
        .join(delivery, delivery.c.id == commitment.c.delivery_id)
        .join(version, version.c.id == delivery.c.version_id)
        .join(study, study.c.id == delivery.c.study_id)
        .where(commitment_request.c.transaction_uid == transaction_uid)
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    stored = _stored(connection, row["delivery_id"], row["version_id"])
    names = (row["delivery_id"], row["study_instance_uid"], row["number"], row["destination"])
    claim = Claim(*names, transaction_uid, row["attempts"], row["first_asked_at"] or 0.0, stored)
    return claim, row["answered_at"] is None and row["state"] in _HOPING


def report(
    connection: Connection, claim: Claim, committed: frozenset[str], failed: Mapping[str, int], now: float
) -> tuple[bool, Mapping[str, int]]:
    """Note what a report says of each object; returns whether all are committed now, and which are not, with reasons.

    Only what was asked for counts. `lacks` is for the caller to call, where something failed.
    """
    ours = {one.sop_instance_uid: one.number for one in claim.stored}
    refused = {uid: reason for uid, reason in failed.items() if uid in ours}
    values = {uid: {"committed_at": now, "failure": None} for uid in committed & ours.keys()}
    values |= {uid: {"committed_at": None, "failure": reason} for uid, reason in refused.items()}
    for uid, said in values.items():
        slot = (delivery_slot.c.delivery_id == claim.delivery_id) & (delivery_slot.c.number == ours[uid])
        connection.execute(update(delivery_slot).where(slot).values(**said))
    _close(connection, claim.transaction_uid, now)
    open_slots = (delivery_slot.c.position.is_not(None)) & (delivery_slot.c.committed_at.is_(None))
    left = exists().where(delivery_slot.c.delivery_id == claim.delivery_id, open_slots)
    is_whole = not connection.execute(select(left)).scalar()
    if is_whole:
        _void(connection, claim.delivery_id, now)
        _set(connection, claim.delivery_id, state="committed", settled_at=now, last_error=None)
        detail = f"version {claim.version}: {len(ours)} objects at {claim.destination}"
        _note(connection, claim, now, "commitment.granted", detail)
    return is_whole, refused


def ask_anew(connection: Connection, study_instance_uid: str, now: float, destination: str = "") -> int:
    """Ask again for the proofs that were given up, of one study and destination or (empty) of all; return how many."""
    wanted = select(delivery.c.id).join(study, study.c.id == delivery.c.study_id)
    if study_instance_uid:
        wanted = wanted.where(study.c.study_instance_uid == study_instance_uid)
    chosen = (commitment.c.state == "unanswered") & commitment.c.delivery_id.in_(wanted)
    if destination:
        chosen &= commitment.c.destination == destination
    values = {"state": "waiting", "run_after": now, **_UNASKED}
    return connection.execute(update(commitment).where(chosen).values(**values)).rowcount


def unproved(connection: Connection, study_ids: list[int]) -> set[int]:
    """Return those studies of which some delivery lacks the proof that the settings ask for."""
    query = (
        select(delivery.c.study_id)
        .join(commitment, commitment.c.delivery_id == delivery.c.id)
        .where(delivery.c.study_id.in_(study_ids), commitment.c.state.not_in(PROVED))
    )
    return set(connection.execute(query).scalars())


def _stored(connection: Connection, delivery_id: int, version_id: int) -> tuple[Stored, ...]:
    there = (result_object.c.version_id == version_id) & (result_object.c.position == delivery_slot.c.position)
    columns = [result_object.c[name] for name in ("sop_class_uid", "sop_instance_uid", "series_instance_uid")]
    query = select(delivery_slot.c.number, *columns).join(result_object, there)
    query = query.where(delivery_slot.c.delivery_id == delivery_id).order_by(delivery_slot.c.number)
    return tuple(Stored(*row) for row in connection.execute(query))


def _settle_unknown(connection: Connection, claim: Claim, demand: str, now: float) -> None:
    if demand.startswith("auto"):
        settle(connection, claim, "stored", _UNKNOWN_SLOTS, now)
    else:
        _give_up(connection, claim, _UNKNOWN_SLOTS, now)


def _give_up(connection: Connection, claim: Claim, error: str, now: float) -> None:
    _set(connection, claim.delivery_id, state="unanswered", last_error=error)
    detail = f"version {claim.version} at {claim.destination}: {error}"
    _note(connection, claim, now, "commitment.unanswered", detail)


def _close(connection: Connection, transaction_uid: str, now: float) -> None:
    one = commitment_request.c.transaction_uid == transaction_uid
    connection.execute(update(commitment_request).where(one).values(answered_at=now))


def _void(connection: Connection, delivery_id: int, now: float) -> None:
    """Let no report of an earlier request count any more."""
    still = (commitment_request.c.delivery_id == delivery_id) & commitment_request.c.answered_at.is_(None)
    connection.execute(update(commitment_request).where(still).values(answered_at=now))


def _set(connection: Connection, delivery_id: int, **values: Any) -> None:
    connection.execute(update(commitment).where(commitment.c.delivery_id == delivery_id).values(**values))


def _counted(failed: Mapping[str, int]) -> str:
    reasons = sorted({f"0x{reason:04X}" for reason in failed.values()})
    return f"{len(failed)} of the objects ({', '.join(reasons)})"


def _note(connection: Connection, claim: Claim, now: float, event: str, detail: str, **facts: Any) -> None:
    audit.note(
        connection,
        now,
        event,
        study=claim.study_instance_uid,
        detail=detail,
        version=claim.version,
        destination=claim.destination,
        transaction_uid=claim.transaction_uid,
        **facts,
    )
