"""What an import measured, as a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from dicom_node.lab.cxr.onnx_export import FP16_MAX
from dicom_node.lab.cxr.parity import BOUNDS

if TYPE_CHECKING:
    from dicom_node.lab.cxr.importer import Tried
    from dicom_node.lab.cxr.parity import Bounds, Parity


def print_table(precision: str, tried: Tried) -> None:
    """Print the comparison with the SavedModel, and for FP16 its rehearsal and the search for overflow."""
    kind = "radiographs" if tried.real else "drawn images, no radiograph"
    title = f"against the SavedModel: {tried.served.images} {kind}; {tried.skipped} skipped"
    table = Table("", "as served here", *(["FP16 rehearsed"] if tried.half else []), "bound", title=title)
    columns = [tried.served, *([tried.half] if tried.half else [])]
    bounds = BOUNDS[precision]
    table.add_row("least cosine", *[f"{one.cosine:.8f}" for one in columns], f">= {bounds.cosine:g}")
    table.add_row("largest |dz|", *[f"{one.logit:.2e}" for one in columns], f"<= {bounds.logit:g}")
    table.add_row("largest |dp|", *[f"{one.probability:.2e}" for one in columns], f"<= {bounds.probability:g}")
    table.add_row("same peak cell", *[_share(one, "same_peaks") for one in columns], "")
    table.add_row("same or tied peak cell", *[_share(one, "peaks") for one in columns], f">= {bounds.peaks:.0%}")
    table.add_row("same outcome", *[_share(one, "same_outcomes") for one in columns], "")
    table.add_row("same outcome, or by a tied peak", *[_share(one, "outcomes") for one in columns], _least(bounds))
    if tried.range is not None:
        reached = f"{tried.range.largest:.5g} ({tried.range.image})"
        table.add_row("largest magnitude", "", reached, f"<= {FP16_MAX:g}")
    console = Console()
    console.print(table)
    if tried.range is not None:
        console.print(
            f"overflow searched on these and {tried.extremes} extreme images; largest at {tried.range.result}"
        )


def _least(bounds: Bounds) -> str:
    return f">= {bounds.outcomes:.1%}"


def _share(found: Parity, name: str) -> str:
    return f"{getattr(found, name):.1%}"
