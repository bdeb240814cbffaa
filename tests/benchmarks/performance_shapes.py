"""Kept JSON of benchmarks that have a shape of their own, as records."""

from __future__ import annotations

import importlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.record import AT_LEAST, AT_MOST, Curve, Figure, Peer, Record, from_json

_WORKLOADS = {
    "A": "DX of 10 MB",
    "B": "CR of 0.5 MB",
    "C": "CR in JPEG-LS",
    "D": "CR in JPEG 2000",
}
_PEERS = {"orthanc": "Orthanc", "bare": "bare Python"}
_CPU_GOAL_S_PER_GB = 1.0
_THROUGHPUT_GOAL = 0.9  # of the bare runtime
_ANSWER_GOALS_MS = {"2 views": 150.0, "3 views": 600.0}


def read(path: Path) -> Record:
    """Return a kept file as a record; raises KeyError, TypeError or ValueError where nobody knows its shape."""
    found, name = json.loads(path.read_text(encoding="utf-8")), path.stem
    if isinstance(found, dict) and "figures" in found and isinstance(found["figures"], list):
        record = from_json(found)
    else:
        record = _SHAPES[name](found)
    return replace(record, method=record.method or _docstring(name))


def _docstring(name: str) -> str:
    """Return how a benchmark says that it measures."""
    try:
        return importlib.import_module(f"tests.benchmarks.{name}").__doc__ or ""
    except ImportError:
        return ""


def _ingest(found: Any) -> Record:
    """Return the runs of `ingest`, one dict a receiver and round, as the node's figures beside each receiver's."""
    rows = found["rows"] if isinstance(found, dict) else found
    keys = sorted({(row["workload"], row["sender"], row["associations"]) for row in rows})
    goals = importlib.import_module("tests.benchmarks.ingest")._GOALS
    figures: list[Figure] = []
    for key in keys:
        of = _by_receiver(rows, key)
        wanted = goals.get((key[0], key[2]), {})
        figures += [_rate(key, of, peer, wanted.get(peer)) for peer in of if peer != "node"]
        figures += _costs(key, of)
    curve = Curve([_name(key) for key in keys], _lines(rows, keys), "", "MB/s, median")
    machine = found.get("machine", {}) if isinstance(found, dict) else {}
    rounds = max((figure.n for figure in figures), default=0)
    return Record("ingest", machine, 1, rounds, figures, {"Receiving": curve})


def _by_receiver(rows: Sequence[Mapping[str, Any]], key: tuple[str, str, int]) -> dict[str, list[Mapping[str, Any]]]:
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if (row["workload"], row["sender"], row["associations"]) == key:
            of.setdefault(row["receiver"], []).append(row)
    return of


def _name(key: tuple[str, str, int]) -> str:
    workload, sender, associations = key
    by = "" if sender == "raw" else f", by {sender}"
    return f"{_WORKLOADS.get(workload, workload)}, {associations} association{'s' * (associations > 1)}{by}"


def _rate(
    key: tuple[str, str, int], of: Mapping[str, list[Mapping[str, Any]]], peer: str, goal: float | None
) -> Figure:
    beside = Peer.of(_PEERS.get(peer, peer), [row["mb_per_s"] for row in of[peer]], goal)
    return Figure.of(f"{_name(key)}: rate", "MB/s", [row["mb_per_s"] for row in of["node"]], (AT_LEAST, None), beside)


def _costs(key: tuple[str, str, int], of: Mapping[str, list[Mapping[str, Any]]]) -> list[Figure]:
    """Return latency, CPU and memory of the node, beside storescp's, Orthanc's and a bare receiver's."""
    made = []
    for name, field, unit, peer in (
        ("p99", "p99_ms", "ms", "storescp"),
        ("CPU", "cpu_s_per_gb", "s/GB", "orthanc"),
        ("CPU", "cpu_s_per_gb", "s/GB", "bare"),
        ("peak memory", "peak_rss_mb", "MB", "orthanc"),
    ):
        ours, theirs = ([row[field] for row in of.get(who, ()) if row.get(field) is not None] for who in ("node", peer))
        if not ours or (peer == "bare" and not theirs):
            continue
        large = key[0] == "A"
        beside = (
            Peer.of(_PEERS.get(peer, peer), theirs, 1.0 if large and field == "p99_ms" else None) if theirs else None
        )
        goal = (AT_MOST, _CPU_GOAL_S_PER_GB if large and (field, peer) == ("cpu_s_per_gb", "orthanc") else None)
        made.append(Figure.of(f"{_name(key)}: {name}", unit, ours, goal, beside))
    return made


def _lines(rows: Sequence[Mapping[str, Any]], keys: Sequence[tuple[str, str, int]]) -> dict[str, list[float]]:
    names = dict.fromkeys(row["receiver"] for row in rows)
    measured = {key: _by_receiver(rows, key) for key in keys}
    return {
        _PEERS.get(name, name): [
            statistics.median([row["mb_per_s"] for row in measured[key].get(name, ())] or [0.0]) for key in keys
        ]
        for name in names
    }


def _answer(found: Any) -> Record:
    """Return the kinds of `answer`, each with the spread of its moments and stages, as figures and bars of stages."""
    figures, stages, problems = [], {}, []
    for kind in found["kinds"]:
        label = f"{kind['kind']} to {kind['receiver']}"
        judged = next((name for name in ("report", "all") if name in kind["after_close_ms"]), None)
        for name, spread in kind["after_close_ms"].items():
            goal = next((ms for start, ms in _ANSWER_GOALS_MS.items() if kind["kind"].startswith(start)), None)
            figures.append(_spread(f"{label}: close to {name}", spread, goal if name == judged else None))
        stages[label] = {name: spread["median"] for name, spread in kind["stages_ms"].items()}
        problems += [f"{label}: {problem}" for problem in kind.get("problems", ())]
    names = list(dict.fromkeys(name for one in stages.values() for name in one))
    curve = Curve(
        names, {label: [one.get(name, 0.0) for name in names] for label, one in stages.items()}, "", "ms, median"
    )
    machine, rounds = found.get("machine", {}), max((kind["studies"] for kind in found["kinds"]), default=0)
    if "load" in found and not machine:
        machine = {"load": round(found["load"][0], 2)}
    curves = {"Stages of an answer": curve} if names else {}
    return Record("answer", machine, 1, rounds, figures, curves, problems=problems)


def _spread(name: str, spread: Mapping[str, float], goal: float | None) -> Figure:
    """Return a spread (median, p95, largest) as a figure; its lowest value was not kept."""
    return Figure(name, "ms", spread["median"], spread["median"], spread["largest"], int(spread["samples"]), goal)


def _throughput(found: Any) -> Record:
    """Return the rates of `throughput`: the node's beside the bare runtime's, by the clock and in CPU time."""
    figures: list[Figure] = []
    lines: dict[str, list[float]] = {}
    for threads, one in found["threads"].items():
        label = f"{threads} thread{'s' * (threads != '1')} of the runtime"
        figures += _beside_bare(label, one["rates"])
        lines[label] = [statistics.median(rate["per_s"]) for rate in one["rates"].values()]
    first = next(iter(found["threads"].values()))["rates"]
    curves = {"Radiographs": Curve(list(first), lines, "", "images/s, median")}
    machine = {"load": round(found["load"][0], 2)} if "load" in found else {}
    return Record("throughput", machine, 1, len(first["node"]["per_s"]), figures, curves)


def _beside_bare(label: str, rates: Mapping[str, Mapping[str, list[float]]]) -> list[Figure]:
    node, made = rates["node"], []
    for name, rate in rates.items():
        if name != "node":
            beside = Peer.of(f"ONNX Runtime, {name}", rate["per_s"], _THROUGHPUT_GOAL if name == "bare" else None)
            made.append(Figure.of(f"{label}: radiographs", "images/s", node["per_s"], (AT_LEAST, None), beside))
    bare = Peer.of("ONNX Runtime, bare", rates["bare"]["cpu_ms"])
    return [*made, Figure.of(f"{label}: CPU", "ms an image", node["cpu_ms"], None, bare)]


_SHAPES: dict[str, Callable[[Any], Record]] = {"ingest": _ingest, "answer": _answer, "throughput": _throughput}
