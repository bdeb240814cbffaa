"""A picture of a record: its curves, bars where a curve stands over names, lines where it stands over sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.record import Curve, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST, _WIDTH_IN, _HEIGHT_IN, _DPI = 2, 5.6, 4.2, 90
_COLOURS = ("#0b6e99", "#d9822b", "#5c7080", "#7a3e9d", "#2e8b57", "#a82255")
_MANY = 6


def draw(record: Record, path: Path) -> bool:
    """Draw the first curves of a record side by side into a PNG; false where it has none, or nothing can draw."""
    curves = list(record.curves.items())[:_MOST]
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only the lab's libraries have it
    except ImportError:
        return False
    if not curves:
        return False
    figure = Figure(figsize=(_WIDTH_IN * len(curves), _HEIGHT_IN), dpi=_DPI, layout="constrained")
    for axes, (name, curve) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        _lines(axes, curve) if _is_number(curve.x) else _bars(axes, curve)
        axes.set_title(f"{name[:1].upper()}{name[1:]}", fontsize=10)
        axes.grid(visible=True, axis="y" if not _is_number(curve.x) else "both", alpha=0.3)
        if 1 < len(curve.lines) <= _MANY:
            axes.legend(fontsize=7, framealpha=0.8)
    if any(len(curve.lines) > _MANY for _, curve in curves):
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=_MANY, fontsize=7)
    figure.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})
    _fewer_colours(path)
    return True


def _is_number(values: Any) -> bool:
    return all(isinstance(value, (int, float)) for value in values)


def _lines(axes: Axes, curve: Curve) -> None:
    for number, (name, values) in enumerate(curve.lines.items()):
        style = "-" if number < len(_COLOURS) else "--"
        axes.plot(curve.x, values, style, marker="o", markersize=3, color=_COLOURS[number % len(_COLOURS)], label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel(curve.y_label)


def _bars(axes: Axes, curve: Curve) -> None:
    """Draw a group of bars a name, names from the top: they are words, and words need width."""
    height = 0.8 / len(curve.lines)
    for number, (name, values) in enumerate(curve.lines.items()):
        places = [place + number * height for place in range(len(curve.x))]
        drawn = axes.barh(places, values, height, color=_COLOURS[number % len(_COLOURS)], label=name)
        axes.bar_label(drawn, fmt="%.3g", fontsize=7, padding=2)
    middle = (len(curve.lines) - 1) * height / 2
    axes.set_yticks([place + middle for place in range(len(curve.x))], [str(name) for name in curve.x], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(curve.y_label)


def _fewer_colours(path: Path) -> None:
    """Keep 64 colours: a drawing needs no more, and the repository keeps every version of it."""
    from PIL import Image  # noqa: PLC0415 - as above

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64)
    small.save(path, optimize=True)
