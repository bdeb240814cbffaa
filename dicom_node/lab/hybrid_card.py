"""The model card of an exported classifier, written from the measured figures and never by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dicom_node.lab.hybrid_run import account, shown
from dicom_node.lab.runs import jsonable

if TYPE_CHECKING:
    from dicom_node.lab.acceptance import Acceptance
    from dicom_node.lab.gate_serving import Served

KIND: Final = "classifier"
_ROWS = ("coverage", "accuracy", "precision", "recall", "found", "missed", "npv", "ppv_abstained")


def measured(found: dict[str, Any], served: Served, accepted: Acceptance) -> dict[str, Any]:
    """Return everything that was measured, as the bundle keeps it; found: the run's metrics.json."""
    kept: dict[str, Any] = jsonable({"card": KIND, "run": found, "served": served, "accepted": accepted})
    return kept


def text(tables: dict[str, Any], found: dict[str, Any]) -> str:
    """Return the card in Markdown, from the manifest's tables and the measured figures."""
    served, accepted = found["served"], found["accepted"]
    parts = [_head(tables), _use(tables), _figures(tables, found["run"]), _gate(served), _made(tables, accepted)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _head(tables: dict[str, Any]) -> str:
    return f"""
# {tables["title"]}

`{tables["name"]}` {tables["version"]}. **For demonstration. Research software, not a medical device: do not use it for
diagnosis or treatment.** Every figure below is written by the command from what it measured.
"""


def _use(tables: dict[str, Any]) -> str:
    use = tables["intended_use"]
    return f"""
## Intended use

{use["statement"]} Modalities: {", ".join(use["modalities"])}. Anything else is "not analysed".
"""


def _figures(tables: dict[str, Any], found: dict[str, Any]) -> str:
    one, counts = found["validation"], tables["metrics"]
    interval = one["roc_auc_95_by_group"]
    at = one["at_the_likelier_class"]
    rows = [(name, shown(at[name])) for name in ("precision", "sensitivity", "specificity", "f1", "accuracy")]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""
## Figures

{account(found["images"])}. Measured on {counts["images"]} validation images, {counts["fractured"]} fractured,
{counts["groups"]} groups. **The epoch kept was chosen on these same images, so the figures are a little too good.**

ROC-AUC {shown(one["roc_auc"])} (95 % by drawing whole groups again: {shown(interval["low"])} to
{shown(interval["high"])}), average precision {shown(one["average_precision"])}, AURC {shown(one["aurc"])}, AUGRC
{shown(one["augrc"])}. Before calibration: Brier {shown(one["brier"])}, ECE {shown(one["calibration_error"])}.

| at the likelier class | |
| --- | ---: |
{table}
"""


def _gate(served: dict[str, Any]) -> str:
    lines = [f"| {name.replace('_', ' ')} | {shown(served['figures'][name])} |" for name in _ROWS]
    table = "\n".join(lines)
    return f"""
## Thresholds

Policy: {served["gate"]["policy"]}. {served["words"]}

On the {served["figures"]["cases"]} images of the groups that these thresholds were not fitted on:

| figure | |
| --- | ---: |
{table}
"""


def _made(tables: dict[str, Any], accepted: dict[str, Any]) -> str:
    training = tables["training"]
    skipped = f"; {accepted['skipped']} were not analysed" if accepted["skipped"] else ""
    start = training.get("start_weights_sha256")
    origin = "from scratch" if start is None else f"from published weights, SHA-256 `{start}`"
    return f"""
## How it was made

Data: {training["data"]}. Trained {origin}, {training["epochs"]} epochs, epoch {training["best_epoch"]} kept;
{training["optimizer"]} at {training["rate"]:g}, batches of {training["batch"]}, seed {training["seed"]}. Input:
{tables["preprocessing"]["id"]}.

```
{training["command"]}
```

Accepted: {accepted["images"]} images through the node's own pipeline, the logits differ from the trained network's
by at most {accepted["largest_logit_difference"]:.2g}, and every map adds up to its logit{skipped}.
"""
