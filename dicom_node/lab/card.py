"""The model card, written from the measured figures and never by hand."""
# ruff: noqa: E501 - a line of Markdown is longer here, with its formulas, than on the page

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_node.lab.dataset import Conservation
    from dicom_node.lab.evaluate import Evaluation
    from dicom_node.lab.export import Parity
    from dicom_node.lab.metrics import Interval, Operating


def bound_statement(evaluation: Evaluation) -> str:
    """Return what is certified about p_low, in one sentence."""
    bound = evaluation.bound
    if not bound.certified:
        return (
            f"Not certified for a miss rate of {bound.target:.0%}: with {bound.positives} fractures and no miss the exact "
            f"upper bound is {bound.reached:.1%} at {bound.confidence:.0%} confidence."
        )
    interval = evaluation.miss_interval
    return (
        f"{bound.missed} of {bound.positives} held-out fractures lie below p_low; exact binomial (Clopper-Pearson) upper "
        f"bound of the miss rate per image {bound.reached:.1%} at {bound.confidence:.0%} confidence, if images were "
        f"independent. They come from {evaluation.positive_groups} groups; drawing whole groups again gives "
        f"{interval.low:.1%} to {interval.high:.1%} (95 %)."
    )


def text(tables: dict[str, Any], evaluation: Evaluation, counts: Conservation, parity: Parity) -> str:
    """Return the card in Markdown."""
    parts = [
        _head(tables),
        _use(tables),
        _data(tables, evaluation, counts),
        _figures(evaluation),
        _thresholds(evaluation),
        _policies(evaluation),
        _localisation(evaluation),
        _weak(evaluation),
        _training(tables, parity),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _head(tables: dict[str, Any]) -> str:
    return f"""
# {tables["title"]}

`{tables["name"]}` {tables["version"]}. **For demonstration. Research software, not a medical device: do not use it for diagnosis
or treatment.** It shows that the node works from image to report; its figures are far from those of an approved product.
Every figure below is written by the training command from what it measured.
"""


def _use(tables: dict[str, Any]) -> str:
    use = tables["intended_use"]
    return f"""
## Intended use

{use["statement"]}

- Modalities: {", ".join(use["modalities"])}. Body Part Examined: {", ".join(use["body_parts"])}. An image that states another part is
  out of scope; one that states none is analysed.
- Age from {use["min_age_years"]} years, applied only where the age is stated. The training data do not state ages.
"""


def _data(tables: dict[str, Any], evaluation: Evaluation, counts: Conservation) -> str:
    excluded = "".join(f"  - `{code}`: {number}\n" for code, number in counts.excluded.items())
    return f"""
## Data

{tables["training"]["data"]}.

- {counts.listed} images listed = {counts.scored} scored + {sum(counts.excluded.values())} excluded + {counts.failed} unreadable.
{excluded}- Scored: {evaluation.bound.positives} fractured ({evaluation.prevalence:.1%}), {evaluation.groups} groups ({evaluation.positive_groups} with a fracture).
- There are no patient identifiers: images of one patient are neighbours, so folds and intervals go by group. Near-duplicates are
  learnt from but not scored; truncated, contradictory and border images are neither.
- Each scored image was scored by a model that saw no image of its group. The shipped model learnt from every trainable image, so
  **the figures belong to the method**, not to these very weights, and no figure on these images can be measured with them.
"""


def _figures(evaluation: Evaluation) -> str:
    regions = "".join(
        f"| {part.name} | {part.images} | {part.fractured} | {_number(part.auc)} |\n" for part in evaluation.subgroups
    )
    folds = ", ".join(_number(value) for value in evaluation.fold_aucs)
    return f"""
## Figures (out of fold, {len(evaluation.fold_aucs)} grouped folds)

| Figure | Value | 95 % interval, by group |
| --- | --- | --- |
| AUC, pooled | {evaluation.auc:.3f} | {_interval(evaluation.auc_interval)} |
| AUC, each fold | {folds} | |
| AUC without hardware cases | {_number(evaluation.auc_without_hardware)} | |
| Average precision (chance {evaluation.prevalence:.3f}) | {evaluation.average_precision:.3f} | {_interval(evaluation.average_precision_interval)} |
| **AUC of shortcuts alone, no anatomy** | {evaluation.shortcut_auc:.3f} | |
| Brier score (prevalence alone: {evaluation.brier_of_prevalence:.4f}) | {evaluation.brier:.4f} | |
| Negative log-likelihood | {evaluation.negative_log_likelihood:.4f} | |
| Calibration error, 10 bins of equal mass | {evaluation.calibration_error:.3f} | |

The shortcut model is a logistic regression on file size, width and height, view flags and four global grey levels, over the same
folds: what the model says beyond it is what it may have learnt about fractures.

| Region (an image may have several) | n | fractured | AUC |
| --- | --- | --- | --- |
{regions}"""


def _thresholds(evaluation: Evaluation) -> str:
    return f"""
## Thresholds

| Threshold | p | sensitivity | specificity | precision | flagged |
| --- | --- | --- | --- | --- | --- |
{_row("p_low", evaluation.at_low)}
{_row("p_high", evaluation.at_high)}

{bound_statement(evaluation)}
Platt scaling, both thresholds and their figures come from the same held-out scores, so the operating figures are a little
optimistic. Probabilities assume the prevalence of these data ({evaluation.prevalence:.1%}).
"""


def _policies(evaluation: Evaluation) -> str:
    rows = "".join(
        f"| {one.policy} | {one.positive} | {_number(one.ppv)} | {_number(one.sensitivity_of_positive)} | {one.inconclusive} | "
        f"{_number(one.inconclusive_fractured)} | {one.negative} | {_number(one.npv)} |\n"
        for one in evaluation.policies
    )
    return f"""
## The two gate policies, view by view

| Policy | positive | PPV | share of fractures called positive | inconclusive | fractured among them | negative | NPV |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}"""


def _localisation(evaluation: Evaluation) -> str:
    located, gate = evaluation.localisation, evaluation.gate
    return f"""
## Localisation (dense box head, 32 x 32 cells)

- Peak cell touches a fracture box: {_percent(located.hit)} of {located.fractured} held-out fractured images with boxes
  ({_percent(located.hit_flagged)} of the {located.flagged} at or above p_high); pointing at the body at random: {_percent(located.chance)}.
- Bounds of a trusted map: entropy <= {gate.entropy_max}, area <= {gate.area_max}, outside the body <= {gate.out_of_body_max}. They keep
  {_percent(located.trusted_true_positives)} of the flagged fractures whose peak is in a box. They were chosen on these same images.
"""


def _weak(evaluation: Evaluation) -> str:
    small = [part for part in evaluation.subgroups if part.fractured < 60]  # noqa: PLR2004 - too few for a claim
    few = ", ".join(f"{part.name} ({part.fractured} fractures)" for part in small) or "none"
    return f"""
## What is weak

- Trained from scratch on a few hundred fractures: fine, undisplaced fractures are missed and overlapping bones raise false alarms.
- Regions with too few fractures for a claim: {few}.
- The two largest groups hold {evaluation.two_largest_groups:.0%} of the scored images, so intervals by group are wide and folds differ.
- Of {evaluation.hardware[0]} scored images with hardware {evaluation.hardware[1]} are fractured: an implant raises the score, healed or not.
- One source of images, 8-bit JPEG, most of low resolution. No external test, no reader study, no children.
"""


def _training(tables: dict[str, Any], parity: Parity) -> str:
    run = tables["training"]
    return f"""
## How it was made

```
{run["command"]}
```

Seed {run["seed"]}; the models of the {run["folds"]} folds and the final one took {", ".join(str(steps) for steps in run["steps"])} steps, {run["model_minutes"]} minutes of
training in all. Another run gives close but not identical weights: a run by `--minutes` takes as many steps as the
machine is free for (`--steps` fixes them). The head's penalty is a fixed default, chosen once among eight on two of three folds
of the development data, which flatters the figures a little.

ONNX in float32; on {parity.images} images against the trained network: least cosine of the features {parity.least_cosine:.6f}, largest
difference of the logit {parity.largest_logit_difference:.2e}, same peak cell on {parity.peaks_equal}.
"""


def _interval(interval: Interval) -> str:
    return f"{_number(interval.low)} to {_number(interval.high)}"


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not measured"


def _percent(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "not measured"


def _row(name: str, at: Operating) -> str:
    return (
        f"| {name} | {at.threshold:.4f} | {_number(at.sensitivity)} | {_number(at.specificity)} | {_number(at.precision)} | "
        f"{at.flagged} |"
    )
