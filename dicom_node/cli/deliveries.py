"""What a destination was sent, and what it accepts, in words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dicom_node.deliver.ladder import NATIVE, SR_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterable

_SR_NAMES = {uid: name for name, uid in SR_CLASSES.items()}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
_KINDS = {"sc": "pages", "pr": "presentation states", "sr": "report"}


def sent(slots: Iterable[dict[str, Any]]) -> str:
    """Return what a destination has of a result in one line: the rung of the report, the pages, what was left out."""
    found: Counter[str] = Counter()
    missing: dict[str, str] = {}
    messages = []
    for slot in slots:
        kind = str(slot["slot"]).partition("-")[0]
        if kind not in _KINDS:
            messages.append(str(slot["note"]))
        elif slot["sop_class_uid"] is None:
            missing[kind] = str(slot["note"])
        else:
            found[_object(kind, slot)] += 1
    words = [name if number == 1 else f"{number} x {name}" for name, number in found.items()]
    return "; ".join([*words, *(f"no {_KINDS[kind]} ({why})" for kind, why in missing.items()), *messages])


_PROOFS = {
    "waiting": "to be asked to commit",
    "asked": "asked to commit",
    "resending": "lacked objects, sent again",
    "failed": "lacks objects",
    "unanswered": "never committed",
    "committed": "committed",
    "found": "found there",
    "stored": "stored, no commitment offered",
}


def proof(state: str | None) -> str:
    """Return in words what is proved of a delivery; empty where no proof was asked for."""
    return _PROOFS[state] if state else ""


def proofs(states: dict[str, int]) -> str:
    """Return how many deliveries are proved, and how many are not yet or never will be, in one line."""
    return ", ".join(f"{states[state]} {words}" for state, words in _PROOFS.items() if states.get(state))


def _object(kind: str, slot: dict[str, Any]) -> str:
    """Return what was stored, and the answer of a PACS that changed something in it, or had it before."""
    told = f" (answered 0x{slot['status']:04X})" if slot.get("status") else ""
    return f"{_name(kind, slot)}{told}"


def _name(kind: str, slot: dict[str, Any]) -> str:
    if kind == "sr":
        return f"report {_SR_NAMES.get(slot['sop_class_uid'], slot['sop_class_uid'])}"
    if kind == "pr":
        return "presentation state"
    return f"page {'uncompressed' if slot['transfer_syntax_uid'] in NATIVE else 'compressed'}"


def takes(accepted: Iterable[Iterable[str]]) -> str:
    """Return what a PACS accepted in one line: the best report class, the pages, presentation states."""
    contexts = {tuple(context) for context in accepted}
    if not contexts:
        return ""
    classes = {context[0] for context in contexts}
    report = next((name for name, uid in SR_CLASSES.items() if uid in classes), "none")
    pages = {syntax in NATIVE for sop_class, syntax in contexts if sop_class == _SECONDARY_CAPTURE}
    kinds = [word for native, word in ((False, "compressed"), (True, "uncompressed")) if native in pages]
    states = "yes" if _PRESENTATION_STATE in classes else "no"
    return f"report: {report}; pages: {' or '.join(kinds) or 'none'}; presentation states: {states}"
