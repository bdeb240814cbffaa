"""The default model's card, written from the manifest and the measured figures beside it, and never by hand."""
# ruff: noqa: E501 - a line of Markdown is longer here, with its formulas, than on the page

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dicom_node.lab.runs import jsonable

if TYPE_CHECKING:
    from dicom_node.lab.acceptance import Acceptance
    from dicom_node.lab.dataset import Conservation
    from dicom_node.lab.evaluate import Evaluation
    from dicom_node.lab.export import Parity

KIND: Final = "default"
_FEW: Final = 60
_TARGETS: Final = (
    ("AUC, grouped", "auc", 0.90, 1),
    ("Average precision", "average_precision", 0.75, 1),
    ("Specificity at sensitivity .90", "specificity_at_sensitivity", 0.60, 1),
    ("Calibration error", "calibration_error", 0.05, -1),
)


def measured(evaluation: Evaluation, counts: Conservation, parity: Parity, accepted: Acceptance) -> dict[str, Any]:
    """Return everything that was measured, as the bundle keeps it."""
    facts = {"counts": counts, "evaluation": evaluation, "parity": parity, "accepted": accepted}
    found: dict[str, Any] = jsonable({"card": KIND, **facts})
    return found


def text(tables: dict[str, Any], found: dict[str, Any]) -> str:
    """Return the card in Markdown, from the manifest's tables and the measured figures."""
    evaluation = found["evaluation"]
    parts = [
        _head(tables),
        _use(tables),
        _data(tables, evaluation, found["counts"]),
        _figures(evaluation),
        _targets(evaluation),
        _thresholds(tables, evaluation),
        _policies(evaluation),
        _localisation(tables, evaluation),
        _weak(tables, evaluation),
        _training(tables, found["parity"], found["accepted"]),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _head(tables: dict[str, Any]) -> str:
    return f"""
# {tables["title"]}

`{tables["name"]}` {tables["version"]}. **For demonstration. Research software, not a medical device: do not use it for diagnosis
or treatment.** Every figure below is written by the training command from what it measured (`metrics.json` beside this file).
"""


def _use(tables: dict[str, Any]) -> str:
    use = tables["intended_use"]
    return f"""
## Intended use

{use["statement"]} The node enforces what a DICOM header states; anything else is "not analysed".

- Modalities: {", ".join(use["modalities"])}. Body Part Examined: {", ".join(use["body_parts"])}. An image that states another part is
  out of scope; one that states none is analysed, under the strictest threshold.
- Age from {use["min_age_years"]} years, applied only where the age is stated. The training data do not state ages.
- Projections: the data hold frontal, lateral and oblique views; none is excluded.
"""


def _data(tables: dict[str, Any], evaluation: dict[str, Any], counts: dict[str, Any]) -> str:
    excluded = "".join(f"  - `{code}`: {number}\n" for code, number in counts["excluded"].items())
    return f"""
## Data

{tables["training"]["data"]}.

- {counts["listed"]} images listed = {counts["scored"]} scored + {sum(counts["excluded"].values())} excluded + {counts["failed"]} unreadable.
{excluded}- Scored: {evaluation["fractured"]} fractured ({evaluation["prevalence"]:.1%}), {evaluation["groups"]} groups ({evaluation["positive_groups"]} with a fracture).
- There are no patient identifiers: images of one patient are neighbours, so folds and intervals go by group. Near-duplicates are
  learnt from but not scored; truncated, contradictory and border images are neither.
- Each scored image was scored by a model that saw no image of its group. The shipped model learnt from every trainable image, so
  **the figures belong to the method**, not to these very weights, and no figure on these images can be measured with them.
"""


def _figures(evaluation: dict[str, Any]) -> str:
    regions = "".join(
        f"| {one['name']} | {one['images']} | {one['fractured']} | {_number(one['auc'])} |\n"
        for one in evaluation["subgroups"]
    )
    folds = ", ".join(_number(value) for value in evaluation["fold_aucs"])
    return f"""
## Figures (out of fold, {len(evaluation["fold_aucs"])} grouped folds)

| Figure | Value | 95 % interval, by group |
| --- | --- | --- |
| AUC, pooled | {_number(evaluation["auc"])} | {_interval(evaluation["auc_interval"])} |
| AUC, each fold | {folds} | |
| AUC without hardware cases | {_number(evaluation["auc_without_hardware"])} | |
| AUC on large originals only | {_number(evaluation["auc_on_large_images"])} | |
| Average precision (chance {evaluation["prevalence"]:.3f}) | {_number(evaluation["average_precision"])} | {_interval(evaluation["average_precision_interval"])} |
| **AUC of shortcuts alone, no anatomy** | {_number(evaluation["shortcut_auc"])} | |
| Brier score (prevalence alone: {evaluation["brier_of_prevalence"]:.4f}) | {evaluation["brier"]:.4f} | |
| Negative log-likelihood | {evaluation["negative_log_likelihood"]:.4f} | |
| Calibration error, 10 bins of equal mass | {_number(evaluation["calibration_error"])} | {_interval(evaluation["calibration_error_interval"])} |
| AURC / AUGRC (risk against coverage; lower is better) | {_number(evaluation["aurc"])} / {_number(evaluation["augrc"])} | |

Probabilities are cross-fitted: calibrated on one half of the groups, measured on the other. The shortcut model is a logistic regression
on file size, width and height, view flags and four global grey levels, over the same folds: what the model says beyond it is what it
may have learnt about fractures.

| Region (an image may have several) | n | fractured | AUC |
| --- | --- | --- | --- |
{regions}"""


def aims(evaluation: dict[str, Any]) -> list[list[object]]:
    """Return what was aimed at and what was reached, a row a figure under a heading."""
    rows = [(name, evaluation[key], target, sign) for name, key, target, sign in _TARGETS]
    rows.append(("Peak in a fracture box", evaluation["localisation"]["hit"], 0.60, 1))
    table: list[list[object]] = [["figure", "aim", "reached", ""]]
    for name, value, target, sign in rows:
        aim = f"{'at least' if sign > 0 else 'at most'} {target:.2f}"
        table.append([name, aim, _number(value), _met(value, target, sign)])
    return table


def _targets(evaluation: dict[str, Any]) -> str:
    table = aims(evaluation)
    table.insert(1, ["---"] * len(table[0]))
    lines = "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in table)
    return f"""
## What was aimed at

{lines}
"""


def _met(value: float | None, target: float, sign: int) -> str:
    return "reached" if value is not None and sign * (value - target) >= 0 else "not reached"


def _thresholds(tables: dict[str, Any], evaluation: dict[str, Any]) -> str:
    gate = tables["gate"]
    regions = "".join(
        f"| {one['name']} | {_low(one)} | {one['bound']['positives']} | {one['bound']['missed']} | {one['bound']['statement']} |\n"
        for one in gate["regions"]
    )
    return f"""
## Thresholds

| Threshold | p | sensitivity | specificity | precision | flagged |
| --- | --- | --- | --- | --- | --- |
{_row("p_low, all images", evaluation["at_low"])}
{_row("p_high", evaluation["at_high"])}

The thresholds ship as fitted on all held-out scores. The figures beside them are those of the same procedure fitted on one half of the
groups and applied to the other, both ways round. {gate["bound"]["statement"]}

| Region | p_low | fractures | below it | bound |
| --- | --- | --- | --- | --- |
{regions}
An image that states a body part is held against its region's p_low; one that states none, or a part of several regions, against the
lowest. A region without a certified p_low is inconclusive only. Probabilities assume the prevalence of these data
({evaluation["prevalence"]:.1%}).
"""


def _low(region: dict[str, Any]) -> str:
    return f"{region['p_low']:.4f}" if region.get("p_low") is not None else "**cannot certify**"


def _policies(evaluation: dict[str, Any]) -> str:
    rows = "".join(_policy_row(one) for one in evaluation["policies"])
    return f"""
## The two gate policies, view by view, on groups that they were not fitted on

| Policy | coverage | accuracy | positive | PPV | PPV of as many by probability alone | fractures called positive | fractures called negative | NPV | inconclusive | fractured among them |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
Coverage is the share decided, accuracy is over the decided. `localisation` is the published two-step rule: negative below p_low, else
positive where the map is focused, else inconclusive.
"""


def _policy_row(one: dict[str, Any]) -> str:
    figures = one["figures"]
    cells = [
        one["policy"],
        _number(figures["coverage"]),
        _number(figures["accuracy"]),
        str(figures["positive"]),
        _number(figures["ppv_accepted"]),
        _number(one["ppv_probability_alone"]),
        _number(figures["found"]),
        _number(figures["missed"]),
        _number(figures["npv"]),
        str(figures["inconclusive"]),
        _number(figures["ppv_abstained"]),
    ]
    return f"| {' | '.join(cells)} |\n"


def _localisation(tables: dict[str, Any], evaluation: dict[str, Any]) -> str:
    located, gate = evaluation["localisation"], tables["gate"]
    return f"""
## Localisation (dense box head, 32 x 32 cells)

- Peak cell touches a fracture box: {_percent(located["hit"])} of {located["fractured"]} held-out fractured images with boxes
  ({_percent(located["hit_flagged"])} of the {located["flagged"]} at or above p_high); pointing at the body at random: {_percent(located["chance"])}.
- Bounds of a trusted map: entropy <= {gate["entropy_max"]}, area <= {gate["area_max"]}, outside the body <= {gate["out_of_body_max"]}. They keep
  {_percent(located["trusted_true_positives"])} of the flagged fractures whose peak is in a box. They were chosen on these same images.
"""


def _weak(tables: dict[str, Any], evaluation: dict[str, Any]) -> str:
    small = [one for one in evaluation["subgroups"] if one["fractured"] < _FEW]
    few = ", ".join(f"{one['name']} ({one['fractured']} fractures)" for one in small) or "none"
    hardware = evaluation["hardware"]
    start = {
        "imagenet": "Started from photographs (ImageNet) and taught on",
        "scratch": "Trained from scratch on",
    }[tables["training"]["start"]]
    return f"""
## What is weak

- {start} a few hundred fractures: fine, undisplaced fractures are missed and overlapping bones raise false alarms.
- Regions with too few fractures for a claim: {few}.
- The two largest groups hold {evaluation["two_largest_groups"]:.0%} of the scored images, so intervals by group are wide and folds differ.
- Of {hardware[0]} scored images with hardware {hardware[1]} are fractured: an implant raises the score, healed or not.
- One source of images, 8-bit JPEG, most of low resolution. No external test, no reader study, no children. Casts are not labelled.
"""


def _training(tables: dict[str, Any], parity: dict[str, Any], accepted: dict[str, Any]) -> str:
    run = tables["training"]
    return f"""
## How it was made

```
{run["command"]}
```

Network {run["network"]}, start {run["start"]}, seed {run["seed"]}; the models of the {run["folds"]} folds and the final one took {", ".join(str(steps) for steps in run["steps"])} steps, {run["model_minutes"]} minutes of
training in all. Another run gives close but not identical weights: a run by `--minutes` takes as many steps as the
machine is free for (`--steps` fixes them). The recipe was chosen on one of the folds, which flatters the figures a little.

ONNX in float32; on {parity["images"]} images against the trained network: least cosine of the features {parity["least_cosine"]:.6f}, largest
difference of the logit {parity["largest_logit_difference"]:.2e}, same peak cell on {parity["peaks_equal"]}.
Accepted: {accepted["images"]} images through the node's own pipeline, the logits differ from the trained network's by at most
{accepted["largest_logit_difference"]:.2g}, and every map adds up to its logit.
"""


def _interval(interval: dict[str, Any]) -> str:
    return f"{_number(interval['low'])} to {_number(interval['high'])}"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


def _row(name: str, at: dict[str, Any]) -> str:
    cells = [f"{at['threshold']:.4f}", *(_number(at[key]) for key in ("sensitivity", "specificity", "precision"))]
    return f"| {name} | {' | '.join(cells)} | {at['flagged']} |"
