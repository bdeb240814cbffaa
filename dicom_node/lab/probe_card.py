"""The model card of an exported probe, written from the measured figures and never by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dicom_node.lab.evaluation_run import text_of
from dicom_node.lab.runs import jsonable

if TYPE_CHECKING:
    from dicom_node.lab.acceptance import Acceptance

KIND: Final = "probe"


def measured(found: dict[str, Any], accepted: Acceptance, embedder: str) -> dict[str, Any]:
    """Return everything that was measured, as the bundle keeps it; found: the head run's metrics.json."""
    kept: dict[str, Any] = jsonable({"card": KIND, "run": found, "accepted": accepted, "embedder": embedder})
    return kept


def text(tables: dict[str, Any], found: dict[str, Any]) -> str:
    """Return the card in Markdown, from the manifest's tables and the measured figures."""
    head, made = _head(tables, found["embedder"]), _made(tables, found["accepted"])
    parts = [head, _use(tables), _figures(found["run"]), _thresholds(tables), made]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _head(tables: dict[str, Any], embedder: str) -> str:
    return f"""
# {tables["title"]}

`{tables["name"]}` {tables["version"]}: a linear probe on the frozen features of `{embedder}`. **For demonstration.
Research software, not a medical device: do not use it for diagnosis or treatment.** Every figure below is
written by the command from what it measured.
"""


def _use(tables: dict[str, Any]) -> str:
    use = tables["intended_use"]
    return f"""
## Intended use

{use["statement"]} Modalities: {", ".join(use["modalities"])}. Body parts: {", ".join(use["body_parts"])}. From
{use["min_age_years"]:g} years. Anything else is "not analysed".
"""


def _figures(found: dict[str, Any]) -> str:
    counts = found["counts"]
    excluded = ", ".join(f"{reason} {count}" for reason, count in counts["excluded"].items()) or "none"
    rows = [("all", found), *found["regions"].items(), ("without hardware", found["hardware"]["without"])]
    cells = [(name, one["images"], one["fractured"], one["auc"], one["average_precision"]) for name, one in rows]
    lines = [f"| {name} | {n} | {positive} | {text_of(auc)} | {text_of(ap)} |" for name, n, positive, auc, ap in cells]
    platt = found["calibration"]["platt"]
    table = "\n".join(lines)
    return f"""
## Figures

{counts["listed"]} images listed = {counts["scored"]} scored + {sum(counts["excluded"].values())} excluded ({excluded})
+ {counts["failed"]} failed. Scored out of fold, whole groups ({found["groups"]}) apart; 95 % intervals by drawing
whole groups again. **The head never saw the group that it scored; the embedder was taken as it is.**
Where it was itself trained on these images, the figures flatter.

| part | images | fractured | AUC | average precision |
| --- | ---: | ---: | ---: | ---: |
{table}

Shortcuts alone (file size, format, view flags, grey levels; no anatomy):
AUC {text_of(found["shortcuts_alone"]["auc"])}.
Calibrated (Platt, cross-fitted): Brier {text_of(platt["brier"])}, ECE {text_of(platt["ece"])}.
"""


def _thresholds(tables: dict[str, Any]) -> str:
    gate = tables["gate"]
    return f"""
## Thresholds

Negative below {gate["p_low"]:.4f}, positive from {gate["p_high"]:.4f} where the map ({gate["map"]}) is plausible,
inconclusive between. {gate["bound"]["statement"]}
"""


def _made(tables: dict[str, Any], accepted: dict[str, Any]) -> str:
    training = tables["training"]
    skipped = f"; {accepted['skipped']} were not analysed" if accepted["skipped"] else ""
    return f"""
## How it was made

Data: {training["data"]}. Embedder: `{training["embedder_bundle"]}`, bundle SHA-256
`{training["embedder_bundle_sha256"]}`.

```
{training["command"]}
```

Accepted: {accepted["images"]} images through the node's own pipeline, the logits differ from the fitted probe's by
at most {accepted["largest_logit_difference"]:.2g}{skipped}.
"""
