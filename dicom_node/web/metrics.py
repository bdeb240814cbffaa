"""/metrics in Prometheus' text format: counted from the ledger's rows, so that a restart loses nothing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from dicom_node import __version__
from dicom_node.core.drift import stability_index
from dicom_node.core.errors import LedgerError
from dicom_node.ledger import recent
from dicom_node.ledger.tally import BOUNDS, Counts, Durations, Tally, recent_outcomes, recent_scores
from dicom_node.web.facts import Facts, Queue, Rows, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from dicom_node.web.outside import Outside

_RECENT = 200
_REFERENCE = 2000
_ENOUGH = 500  # reference scores without which nothing is said about drift
_MIB = 1 << 20
_DAY_S = 86400.0


class Metrics:
    """Collects at each scrape, one scrape at a time."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._tally = Tally()
        self._one_at_a_time = threading.Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Source(self))

    def text(self) -> bytes:
        """Return the whole exposition."""
        with self._one_at_a_time:
            return bytes(generate_latest(self._registry))

    def families(self) -> Iterator[Metric]:
        """Yield every metric as it stands."""
        facts = gather(self._outside)
        yield _info("build", "This program.", version=__version__)
        yield from _of_the_node(facts)
        yield from _of_the_machine(facts)
        if facts.rows is not None:
            yield from _of_the_queues(facts, facts.rows)
        try:
            yield from self._of_the_ledger()
        except LedgerError:
            yield _gauge("ledger_readable", "Whether the ledger could be read.", 0)

    def _of_the_ledger(self) -> Iterator[Metric]:
        ledger = self._outside.folders.ledger
        if not ledger.exists():
            return
        bundle = self._outside.bundle().sha256
        with recent.reading(ledger) as connection:
            counts = self._tally.advance(connection)
            outcomes = recent_outcomes(connection, _RECENT)
            scores = recent_scores(connection, bundle, _RECENT + _REFERENCE)
        yield _gauge("ledger_readable", "Whether the ledger could be read.", 1)
        yield from _counters(counts)
        yield from _histograms(counts)
        yield from _shares(outcomes)
        yield from _drift(scores)


class _Source:
    """What the registry asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        return self._metrics.families()


def _of_the_node(facts: Facts) -> Iterator[Metric]:
    node = facts.node
    yield _gauge("up", "Whether the node answers.", node.running)
    yield _gauge("accepting", "Whether the node accepts associations.", node.running and node.accepting)
    yield _gauge("workers", "Connected workers.", node.workers)
    yield _gauge("late_loops", "Parts of the node that hang.", len(node.late_loops))
    yield _gauge("uptime_seconds", "Since the node was started.", node.running_for_s)
    if node.running:
        words = "Connections and associations turned away since the node was started, by why."
        yield _counter("associations_refused", words, "reason", dict(node.refused))


def _of_the_machine(facts: Facts) -> Iterator[Metric]:
    if facts.disk is not None:
        yield _gauge("disk_free_bytes", "Free on the state folder's file system.", facts.disk.free * _MIB)
        yield _gauge(
            "disk_reserve_bytes", "At this many free bytes no new association is accepted.", facts.disk.reserve * _MIB
        )
    yield _gauge("bundle_usable", "Whether the model bundle can be used.", facts.bundle.problem is None)
    yield _info("bundle", "The model bundle.", digest=facts.bundle.sha256, name=facts.bundle.title)
    family = GaugeMetricFamily("dicom_node_certificate_left_seconds", "Until a certificate expires.", labels=["name"])
    for one in facts.certificates:
        if one.days is not None:
            family.add_metric([one.name], one.days * _DAY_S)
    yield family


def _of_the_queues(facts: Facts, rows: Rows) -> Iterator[Metric]:
    yield _gauge("studies_open", "Studies that still wait for images.", rows.open_studies)
    yield _gauge("jobs_waiting", "Analyses and reports to be made.", rows.jobs.waiting)
    yield _gauge("jobs_parked", "Analyses and reports that a person parked.", rows.jobs.parked)
    yield _gauge("results_failed", "Results that could not be written and wait for a person.", rows.failed)
    oldest = [one.oldest_at for one in (rows.jobs, *rows.destinations.values()) if one.oldest_at is not None]
    yield _gauge(
        "oldest_item_age_seconds", "Of the oldest job or delivery that waits; 0: none does.", _age(facts, oldest)
    )
    by_destination: dict[str, tuple[str, Callable[[Queue], float]]] = {
        "destination_waiting": ("Results to be sent.", lambda queue: queue.waiting),
        "destination_dead": ("Results that were given up.", lambda queue: queue.dead),
        "destination_parked": ("Results that a person parked.", lambda queue: queue.parked),
        "destination_failing": ("Whether results wait after an error.", _is_failing),
        "destination_oldest_age_seconds": ("Of the oldest result to be sent.", lambda queue: _queue_age(facts, queue)),
    }
    for name, (words, value) in by_destination.items():
        family = GaugeMetricFamily(f"dicom_node_{name}", words, labels=["destination"])
        for destination, queue in rows.destinations.items():
            family.add_metric([destination], float(value(queue)))
        yield family


def _is_failing(queue: Queue) -> bool:
    return bool(queue.waiting and queue.last_error)


def _queue_age(facts: Facts, queue: Queue) -> float:
    return _age(facts, [] if queue.oldest_at is None else [queue.oldest_at])


def _age(facts: Facts, times: list[float]) -> float:
    return max((0.0, *(facts.now - at for at in times)))


def _counters(counts: Counts) -> Iterator[Metric]:
    received = CounterMetricFamily(
        "dicom_node_instances", "Instances kept, by what they are to us and why.", labels=["role", "reason"]
    )
    for (role, reason), number in sorted(counts.instances.items()):
        received.add_metric([role, reason], number)
    yield received
    yield _counter("refusals", "Instances refused, by DIMSE status.", "status", counts.refusals)
    yield _counter("results", "Results published, by outcome.", "outcome", counts.results)
    yield CounterMetricFamily("dicom_node_result_failures", "Results that could not be written.", counts.failures)
    yield CounterMetricFamily("dicom_node_worker_crashes", "Jobs at which a worker ended.", counts.crashes)


def _histograms(counts: Counts) -> Iterator[Metric]:
    wait = "From a study's first image until it was closed."
    yield _histogram("closing_wait_seconds", wait, [({}, counts.closing)])
    yield _histogram("analysis_seconds", "From queued until analysed, an image.", [({}, counts.analyses)])
    yield _histogram("model_seconds", "In the model, an image: no wait, no decoding.", [({}, counts.models)])
    yield _histogram("report_seconds", "From closed until its report was written, a study.", [({}, counts.reports)])
    each = [({"destination": name}, durations) for name, durations in sorted(counts.deliveries.items())]
    yield _histogram("delivery_seconds", "From queued until stored at a destination, a result.", each, ["destination"])


def _shares(outcomes: list[str]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "dicom_node_recent_outcome_share", f"Share of an outcome among the last {_RECENT} results.", labels=["outcome"]
    )
    for outcome in ("positive", "negative", "inconclusive", "not-analysed") if outcomes else ():
        family.add_metric([outcome], outcomes.count(outcome) / len(outcomes))
    yield family


def _drift(scores: list[float]) -> Iterator[Metric]:
    """Compare the last scores with those before them: the bundle brings no histogram of this site's scores."""
    latest, before = scores[:_RECENT], scores[_RECENT:]
    if latest:
        yield _gauge("score_mean", f"Mean probability of the last {_RECENT} results.", sum(latest) / len(latest))
    if len(before) >= _ENOUGH:
        yield _gauge("score_reference_mean", "Mean probability of the results before them.", sum(before) / len(before))
        words = "Population stability index of the last probabilities against those before them; above 0.25: a shift."
        yield _gauge("score_drift", words, stability_index(before, latest))


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"dicom_node_{name}", words, float(value))


def _info(subject: str, words: str, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"dicom_node_{subject}_info", words, labels=list(labels))
    family.add_metric(list(labels.values()), 1.0)
    return family


def _counter(name: str, words: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"dicom_node_{name}", words, labels=[label])
    for key, number in sorted(values.items()):
        family.add_metric([key], number)
    return family


def _histogram(
    name: str, words: str, each: list[tuple[dict[str, str], Durations]], labels: list[str] | None = None
) -> Metric:
    family = HistogramMetricFamily(f"dicom_node_{name}", words, labels=labels or [])
    for values, durations in each:
        buckets: list[Any] = [(str(bound), number) for bound, number in zip(BOUNDS, durations.counts, strict=True)]
        family.add_metric(list(values.values()), [*buckets, ("+Inf", durations.number)], durations.total_s)
    return family
