"""Renews docs/capacity.md and its pictures from a run's figures: what is between markers, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import fleet_pictures
from tests.benchmarks import fleet_sources as model
from tests.benchmarks.fleet_arrivals import HOUR_S, SITES
from tests.benchmarks.fleet_beyond import USED

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, IMAGES = DOCS / "capacity.md", DOCS / "images"
ROLES = {"worker-helper": "decoder of the worker"}


def renew(figures: dict[str, Any]) -> None:
    """Rewrite the blocks that this run is about; a hospital's run also makes the model's and the paper's."""
    name = run_name(figures["plan"])
    fleet_pictures.draw_run(figures, IMAGES / f"fleet-{name}.png")
    put("model", model_block())
    put(name, run_block(figures))
    if name == "hospital":
        fleet_pictures.draw_arrivals(IMAGES / "fleet-arrivals.png")
        fleet_pictures.draw_loads(figures, IMAGES / "fleet-load.png")
        put("paper", paper_block(figures))


def run_name(plan: dict[str, Any]) -> str:
    """Return the name of a run's block and picture: its site, and its burst where it has one."""
    return str(plan["site"]) if plan["event"] == "none" else f"{plan['site']}-{plan['event']}"


def put(name: str, text: str) -> None:
    """Replace what is between a block's markers."""
    page = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- fleet:{name} -->\n).*?(<!-- /fleet:{name} -->)", re.DOTALL)
    found, count = pattern.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)
    if count != 1:
        message = f"{PAGE} has no markers for {name}"
        raise ValueError(message)
    PAGE.write_text(found, encoding="utf-8")


def model_block() -> str:
    """Return the table of assumptions with their sources."""
    rows = [(item.what, item.value, item.source) for item in model.ASSUMPTIONS]
    lines = _table(("Assumption", "Value", "Source, and range"), rows)
    return "\n".join([*lines, "", *(f"{n}. {text}" for n, text in enumerate(model.REFERENCES, 1))])


def run_block(figures: dict[str, Any]) -> str:
    """Return what a replay showed."""
    plan, counts, machine = figures["plan"], figures["counts"], figures["machine"]
    wall_min, studies = plan["wall_s"] / 60, counts["studies"]
    load = machine["load_average_before"], machine["load_average_after"]
    seen, paper = figures["turnaround_s"], figures["paper_turnaround_s"]
    line = figures["timeline"]
    lines = [
        f"`{_command(plan)}`",
        "",
        (
            f"{_clock(plan['start_h'])} to {_clock(plan['end_h'])} at speed {plan['speed']:g}, seed {plan['seed']}: "
            f"{studies} studies, {counts['images']} images ({counts['radiographs']} radiographs), "
            f"{counts['gigabytes']:.1f} GB in {wall_min:.1f} min. {machine['processor']}, {machine['cores']} cores, "
            f"{machine['memory_gib']} GiB; load average {load[0]:.1f} before and {load[1]:.1f} after; other work took "
            f"{machine['other_work_share']:.0%} of the cores."
        ),
        "",
    ]
    rows = [
        (
            "acknowledged, sent again by the PACS, refused and tried again",
            f"{counts['acknowledged']}, {counts['sent_again']}, {counts['retried']}",
        ),
        ("**lost**, studies without their last result in the PACS", f"**{counts['lost']}**, {counts['unanswered']}"),
        ("results published (some studies have two), outcomes", f"{counts['versions']}; {_counts(counts['outcomes'])}"),
        ("last image to report in the PACS, less the quiet period: p50, p95, p99, longest", _times(seen)),
        ("the same on paper", _times(paper)),
        ("paper to replay: p50, p95", f"{paper['p50'] / seen['p50']:.2f}, {paper['p95'] / seen['p95']:.2f}"),
        (
            "oldest waiting image or result: p95, longest",
            f"{np.percentile(line['age_s'], 95):.1f} s, {max(line['age_s']):.1f} s",
        ),
        ("the benchmark's sender and PACS, of all cores", f"{machine['benchmark_share']:.0%}"),
        ("worker busy: mean, busiest sixtieth", f"{np.mean(line['worker_busy']):.0%}, {max(line['worker_busy']):.0%}"),
    ]
    rows += [
        (
            f"{ROLES.get(role, role)}: CPU a study, peak memory",
            f"{used['cpu_s'] / studies:.2f} s, {used['peak_mb']:.0f} MB",
        )
        for role, used in figures["processes"].items()
    ]
    lines += _table(("What", "Figure"), rows)
    name = run_name(plan)
    picture = f"![Arrivals, age of the queue and use of the machine: {name}](images/fleet-{name}.png)"
    return "\n".join([*lines, "", picture])


def _command(plan: dict[str, Any]) -> str:
    """Return the command that runs this again."""
    hours = f"{_clock(plan['start_h'])}-{_clock(plan['end_h'])}"
    event = "" if plan["event"] == "none" else f" --event {plan['event']}"
    what = f"--site {plan['site']} --speed {plan['speed']:g} --hours {hours}{event}"
    return f"scripts/bench --seed {plan['seed']} fleet {what} --page"


def paper_block(figures: dict[str, Any]) -> str:
    """Return how far one machine goes."""
    limits, needs, service = figures["limits"], figures["needs"], figures["service"]
    lines = [
        _in_short(figures),
        "",
        (
            f"Measured in that run: receiving {1e3 * service['receive_s']:.0f} ms and "
            f"{1e3 * service['receive_s_per_mb']:.1f} ms a MB; the worker {needs['analyse_s']:.2f} s a radiograph "
            f"({needs['model_views_a_study']:.1f} of {needs['views_a_study']:.1f} a study go through the model) and "
            f"{needs['compose_s']:.2f} s a result; sending {service['send']['p50']:.2f} s. Composing is "
            f"{_composing_share(needs):.0%} of the worker's time. Medians by region:"
        ),
        "",
        *_table(("Region", "a view", "a result"), _region_rows(service)),
        "",
        *_table(("One machine ends at", "Studies an hour", "Because"), _limit_rows(limits)),
        "",
        *_table(
            (
                "Hospitals",
                "Studies on the Monday",
                "in its busiest hour",
                "worker busy then",
                "age p95",
                "age longest",
                "turnaround p50",
                "p95",
                "longest",
            ),
            [_load_row(load) for load in figures["loads"]],
        ),
        "",
        "![Load against age of the queue and turnaround](images/fleet-load.png)",
        "",
        *_table(
            (
                "Burst, on paper",
                "Studies that day",
                "age longest",
                "nothing older than a minute after",
                "turnaround p95",
                "longest",
            ),
            [_burst_row(burst) for burst in figures["bursts"]],
        ),
        "",
        *_other_machine(needs),
    ]
    return "\n".join(lines)


def _composing_share(needs: dict[str, float]) -> float:
    composing = needs["compose_s"] * needs["versions_a_study"]
    return composing / (composing + needs["analyse_s"] * needs["views_a_study"])


def _region_rows(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the worker's time by body region: the medians of its kinds, weighted by their samples."""

    def median(what: str, region: str) -> str:
        kinds = [found for name, found in service[what].items() if name.startswith(region)]
        samples = sum(found["samples"] for found in kinds)
        return f"{sum(found['p50'] * found['samples'] for found in kinds) / samples:.2f} s" if samples else "none"

    return [(region.lower(), median("analyse", region), median("compose", region)) for region in model.REGION_SHARES]


def _in_short(figures: dict[str, Any]) -> str:
    """Return the answer in one sentence or two."""
    limits, machine, peak = figures["limits"], figures["machine"], figures["needs"]["hospital_peak_studies_h"]
    twice, late = limits["twice_studies_h"], limits["five_minutes_studies_h"]
    if twice is None or late is None:
        return "In short: the machine's end was not reached in the range that was simulated."
    return (
        f"In short: this machine ({machine['cores']} cores, {machine['other_work_share']:.0%} of them busy with other "
        f"work) answers 95 % of studies within twice the time of an idle one up to {twice:,.0f} studies in the busiest "
        f"hour, which are {twice / peak:.0f} hospitals of 1,000 beds; at {late:,.0f} ({late / peak:.0f} hospitals) one "
        "result in twenty comes more than five minutes after its quiet period. A region of ten has "
        f"{figures['needs']['region_peak_studies_h']:,.0f} in that hour."
    )


def _limit_rows(limits: dict[str, Any]) -> list[tuple[str, ...]]:
    def hour(key: str) -> str:
        return "beyond the table" if limits[key] is None else f"{limits[key]:,.0f}"

    return [
        (
            "p95 turnaround twice that of an idle node",
            hour("twice_studies_h"),
            "images wait for the worker at the peak",
        ),
        ("p95 turnaround five minutes", hour("five_minutes_studies_h"), "the peak's backlog is worked off later"),
        ("the worker is always busy", hour("worker_studies_h"), f"{limits['worker_s_a_study']:.2f} s a study"),
        ("the cores are always busy", hour("cpu_studies_h"), f"{limits['cpu_s_a_study']:.2f} CPU s a study"),
        ("one association never stops", hour("receive_studies_h"), f"{limits['receive_mb_s']:.0f} MB/s, synced"),
    ]


def _load_row(load: dict[str, Any]) -> tuple[str, ...]:
    turnaround = load["turnaround"]
    return (
        f"{load['hospitals']:.1f}",
        f"{load['studies']:,}",
        f"{load['peak_studies_h']:,}",
        f"{load['busiest_hour']:.0%}",
        _time(load["age_p95_s"]),
        _time(load["age_longest_s"]),
        *(_time(turnaround[q]) for q in ("p50", "p95", "longest")),
    )


def _burst_row(burst: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{burst['site']}: {burst['name']}",
        f"{burst['studies']:,}",
        _time(burst["age_longest_s"]),
        _time(burst["over_after_s"]),
        _time(burst["turnaround"]["p95"]),
        _time(burst["turnaround"]["longest"]),
    )


def _other_machine(needs: dict[str, float]) -> list[str]:
    """Return the formula for a machine that was not measured, with what each site asks of it."""
    views, versions = needs["views_a_study"], needs["versions_a_study"]
    lines = [
        (
            "A machine that was not measured, such as a Jetson: with one worker, *studies an hour = 3600 x "
            f"{USED:g} / ({views:.1f} a + {versions:.2f} c)*, where *a* is the seconds that it takes for a radiograph "
            "(check, decode, model, save) and *c* for a result. Both are unknown until this benchmark has run on it. A "
            f"plan that keeps the worker below {USED:.0%} in the busiest hour asks for"
        ),
        "",
    ]
    for site in SITES:
        peak = needs[f"{site}_peak_studies_h"]
        allowed = USED * HOUR_S / peak
        lines.append(
            f"- {site}, {peak:.0f} studies in that hour: *{views:.1f} a + {versions:.2f} c* up to {allowed:.1f} s."
        )
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _clock(hour: float) -> str:
    return f"{int(hour):02d}:{round(hour % 1 * 60):02d}"


def _times(found: dict[str, float]) -> str:
    return ", ".join(f"{found[q]:.2f} s" for q in ("p50", "p95", "p99", "longest"))


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < HOUR_S else f"{seconds / HOUR_S:.1f} h"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
