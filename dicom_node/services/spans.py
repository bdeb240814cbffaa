"""A study's way through the node as OpenTelemetry spans, made afterwards from its records in the audit trail.

A trace is one version of a study. Its spans carry no UID and nothing of a patient; who knows the study finds its trace,
since the trace's id is computed from the Study Instance UID.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dicom_node.ledger.audit import Record

Span = dict[str, Any]
_ARRIVALS = ("instance.stored", "instance.conflict")
_DELIVERIES = ("delivery.done", "delivery.dead")
#: The records after which there is something to tell.
TELLING = ("result.published", *_DELIVERIES)
_ERROR = 2  # STATUS_CODE_ERROR
_VERSION = re.compile(r"version (\d+) ")


def trace_id(study_instance_uid: str, version: int) -> str:
    """Return the id of a version's trace: 32 hexadecimal digits."""
    return hashlib.sha256(f"{study_instance_uid}/{version}".encode()).hexdigest()[:32]


def spans_of(record: Record, trail: Iterable[Record]) -> list[Span]:
    """Return the spans that a record completes, and there are none of most; trail: all records of its study, in order.

    The same record always makes the same spans, so that telling one twice does no harm.
    """
    version = record.details().get("version")
    if record.event not in TELLING or version is None:
        return []
    before = [one for one in trail if one.seq <= record.seq]
    trace = _Trace(trace_id(record.study_instance_uid, int(version)), before, int(version))
    return trace.delivery(record) if record.event in _DELIVERIES else trace.result(record)


class _Trace:
    """The spans of one version."""

    def __init__(self, identifier: str, trail: Sequence[Record], version: int) -> None:
        self._id = identifier
        self._trail = trail
        self._version = version

    def result(self, published: Record) -> list[Span]:
        """Return what led to a result, from its first image on."""
        facts = published.details()
        inputs = set(facts.get("inputs", {}))
        arrived = {one.sop_instance_uid: one for one in self._trail if one.event in _ARRIVALS}
        images = [one for uid, one in arrived.items() if uid in inputs]
        closed = max((one.at for one in self._trail if self._is_closing(one)), default=published.at)
        analysed = {one.sop_instance_uid: one for one in self._trail if one.event == "image.analysed"}
        first = min((one.at for one in images), default=closed)
        ready = max([closed, *(one.at for uid, one in analysed.items() if uid in inputs)])
        told = {"outcome": facts.get("outcome"), "version": self._version, "images": len(images)}
        spans = [self._span("study", "", (first, published.at), told), self._span("wait", "study", (first, closed), {})]
        for number, image in enumerate(sorted(images, key=lambda one: one.seq), start=1):
            size = {"size": image.details().get("size")}
            spans.append(self._span(f"receive {number}", "study", (image.at, image.at), size))
            if image.sop_instance_uid in analysed:
                spans += self._analysis(number, image, analysed[image.sop_instance_uid])
        return [*spans, self._span("compose", "study", (ready, published.at), {})]

    def delivery(self, ended: Record) -> list[Span]:
        """Return the way of a result to one destination, from when it was published."""
        facts = ended.details()
        begun = max((one.at for one in self._trail if self._is_publishing(one)), default=ended.at)
        told = {"destination": facts.get("destination"), "attempts": facts.get("attempts")}
        error = ended.detail if ended.event == "delivery.dead" else ""
        return [self._span(f"deliver {facts.get('destination')}", "study", (begun, ended.at), told, error)]

    def _analysis(self, number: int, image: Record, analysed: Record) -> list[Span]:
        """Return an image's span, from its arrival on, and in it those of the work on it."""
        facts, name = analysed.details(), f"analyse {number}"
        told = {key: facts.get(key) for key in ("outcome", "reason", "runtime")}
        spans = [self._span(name, "study", (image.at, analysed.at), told)]
        inferred_from = analysed.at - (facts.get("engine_ms") or 0.0) / 1000
        if facts.get("decode_ms") is not None:
            decoded_from = inferred_from - facts["decode_ms"] / 1000
            spans.append(self._span(f"decode {number}", name, (decoded_from, inferred_from), {}))
        if facts.get("engine_ms") is not None:
            spans.append(self._span(f"infer {number}", name, (inferred_from, analysed.at), {}))
        return spans

    def _is_closing(self, record: Record) -> bool:
        found = _VERSION.match(record.detail)
        return record.event == "study.closed" and found is not None and int(found[1]) == self._version

    def _is_publishing(self, record: Record) -> bool:
        return record.event == "result.published" and record.details().get("version") == self._version

    def _span(
        self, name: str, parent: str, interval: tuple[float, float], told: dict[str, Any], error: str = ""
    ) -> Span:
        """Return a span as OTLP has it in JSON; `told` without what is None."""
        start, end = (str(int(moment * 1e9)) for moment in (min(interval), max(interval)))
        span = {
            "traceId": self._id,
            "spanId": self._span_id(name),
            "name": name.rstrip(" 0123456789") if not name.startswith("deliver") else "deliver",
            "kind": 1,
            "startTimeUnixNano": start,
            "endTimeUnixNano": end,
            "attributes": attributes({f"dicom_node.{key}": value for key, value in told.items()}),
            "status": {"code": _ERROR, "message": error} if error else {},
        }
        return span | ({"parentSpanId": self._span_id(parent)} if parent else {})

    def _span_id(self, name: str) -> str:
        return hashlib.sha256(f"{self._id} {name}".encode()).hexdigest()[:16]


def attributes(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return attributes as OTLP has them in JSON; None is left out."""
    return [{"key": key, "value": _value(value)} for key, value in told.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}
