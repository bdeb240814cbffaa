"""The pictures of docs/capacity.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from tests.benchmarks import fleet_sources as model
from tests.benchmarks.fleet_arrivals import HOUR_S, SITES, Site, after_outage, day, rates, with_casualties

COLOURS = ("#31688e", "#d1495b", "#66a182", "#edae49")


def draw_run(figures: dict[str, Any], file: Path) -> None:
    """Draw arrivals, the queue's age and how busy the machine was."""
    line, plan = figures["timeline"], figures["plan"]
    figure, axes = _figure(3)
    width = (line["hour"][1] - line["hour"][0]) * 0.9
    axes[0].bar(line["hour"], line["studies"], width, color=COLOURS[0], align="edge")
    axes[0].set_ylabel(f"studies in {60 * width / 0.9:.1f} min")
    axes[0].set_title(f"{plan['site']}, Monday, at speed {plan['speed']:g}")
    for axis in axes:
        axis.axvline(plan["end_h"], color="grey", lw=1, ls="--")  # nothing new is sent from here on
    axes[1].step(line["hour"], line["age_s"], where="post", color=COLOURS[1])
    axes[1].set_ylabel("oldest waiting, s")
    for name, colour, label in (
        ("worker_busy", COLOURS[0], "worker busy"),
        ("worker_cores", COLOURS[1], "worker, of all cores"),
        ("node_cores", COLOURS[2], "node, of all cores"),
    ):
        axes[2].step(line["hour"], line[name], where="post", color=colour, label=label)
    axes[2].set_ylim(0, 1.05)
    axes[2].set_ylabel("share")
    axes[2].set_xlabel("hour of the day (simulated)")
    axes[2].legend(loc="upper right", fontsize=8)
    _save(figure, file)


def draw_arrivals(file: Path, seed: int = 1) -> None:
    """Draw a hospital's Monday: what is expected by source, one that was drawn, and its bursts."""
    site, hours = SITES["hospital"], np.arange(24)
    figure, axes = _figure(2)
    parts = [[site.studies_a_day * share for share in rates(source, 0)] for source in model.SOURCE_SHARES]
    axes[0].stackplot(hours, parts, step="post", labels=list(model.SOURCE_SHARES), colors=COLOURS[:3])
    axes[0].step(hours, _studies_by_hour(site, seed), where="post", color="black", lw=1, label="a drawn Monday")
    axes[0].set_ylabel("studies an hour")
    axes[0].legend(loc="upper right", fontsize=8)
    axes[0].set_title("1,000 beds, Monday")
    usual = day(site, seed)
    edges = np.arange(0, 24 * 60 + 1, 10) / 60
    cases = (
        ("PACS back at 11", after_outage(usual), COLOURS[1]),
        ("mass casualty at 10", with_casualties(usual, seed), COLOURS[2]),
        ("usual", usual, COLOURS[0]),
    )
    for label, sends, colour in cases:
        at = [send.at_s / HOUR_S for send in sends for _ in send.images]
        axes[1].step(edges[:-1], np.histogram(at, edges)[0] + 0.5, where="post", lw=1, label=label, color=colour)
    axes[1].set_yscale("log")
    axes[1].set_ylabel("images in 10 min")
    axes[1].set_xlabel("hour of the day")
    axes[1].legend(loc="upper left", fontsize=8)
    _save(figure, file)


def _studies_by_hour(site: Site, seed: int) -> list[int]:
    at = [int(s.at_s // HOUR_S) for s in day(site, seed) if s.images[0].number == 0 and not s.again]
    return [at.count(hour) for hour in range(24)]


def draw_loads(figures: dict[str, Any], file: Path) -> None:
    """Draw the queue's age and the turnaround over the studies in the busiest hour."""
    figure, (axis,) = _figure(1)
    loads = figures["loads"]
    peaks = [load["peak_studies_h"] for load in loads]
    axis.plot(
        peaks, [max(load["age_p95_s"], 0.1) for load in loads], "o-", color=COLOURS[1], label="age of the queue, p95"
    )
    axis.plot(peaks, [load["turnaround"]["p95"] for load in loads], "s-", color=COLOURS[0], label="turnaround, p95")
    axis.plot(peaks, [load["turnaround"]["p50"] for load in loads], "^-", color=COLOURS[2], label="turnaround, p50")
    axis.axhline(300, color="grey", lw=1, ls="--")
    for site in SITES:
        peak = figures["needs"][f"{site}_peak_studies_h"]
        axis.axvline(peak, color=COLOURS[3], lw=1, ls=":")
        axis.text(peak, 0.02, f" {site}", fontsize=8, transform=axis.get_xaxis_transform())
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("studies in the busiest hour of the Monday")
    axis.set_ylabel("seconds, after the quiet period")
    axis.legend(loc="upper left", fontsize=8)
    _save(figure, file)


def _figure(rows: int) -> tuple[Any, Any]:
    import matplotlib as mpl  # noqa: PLC0415 - the other benchmarks need no plots

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure, axes = plt.subplots(rows, 1, figsize=(8, 2.2 * rows + 1), sharex=rows == 3, squeeze=False)
    for axis in axes[:, 0]:
        axis.grid(alpha=0.3)
    return figure, axes[:, 0]


def _save(figure: Any, file: Path) -> None:
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    figure.clear()
    with Picture.open(file) as drawn:
        small = drawn.convert("RGB").quantize(32, dither=Picture.Dither.NONE)
    small.save(file, optimize=True)
