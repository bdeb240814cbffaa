"""The texts of an imported bundle: its notice, and its card, written from what was measured."""

from __future__ import annotations

from typing import Any, Final

TERMS: Final = "https://developers.google.com/health-ai-developer-foundations/terms"

NOTICE: Final = f"""\
The embedder in this folder was converted on this user's machine from this user's own copy of CXR Foundation (ELIXR-C),
a model of Google's Health AI Developer Foundations (HAI-DEF). It is a Model Derivative under HAI-DEF's terms:

HAI-DEF is provided under and subject to the Health AI Developer Foundations Terms of Use found at
{TERMS}

- The weights are not part of dicom-node and are not under its licence. Do not commit this folder, and do not pass it on
  except as those terms allow: with the terms, their use restrictions and this notice. (The .gitignore beside this file
  keeps git from taking it by accident.)
- Changes: the network was cut out between {{colour}} and {{fine}}, converted to ONNX{{half}}; a linear head was folded
  from the probe file {{probe}} (SHA-256 {{probe_sha256}}), which comes under its publisher's own terms.
- HAI-DEF's terms ask for clearance by the authorities before any clinical use.

Research software for demonstration. Not a medical device.
"""


def is_import(tables: dict[str, Any]) -> bool:
    """Tell whether a manifest's tables are those of an import: its figures are in the manifest itself."""
    return "saved_model_sha256" in tables.get("training", {})


def notice(training: dict[str, Any]) -> str:
    """Return the notice of an import."""
    half = " and rounded to FP16" if training["precision"] == "fp16" else ""
    return NOTICE.format(
        colour=training["cut_input"],
        fine=training["cut_output"],
        half=half,
        probe=training["probe"],
        probe_sha256=training["probe_sha256"],
    )


def text(tables: dict[str, Any]) -> str:
    """Return the card in Markdown."""
    parts = (_head, _use, _thresholds, _parity, _half, _made)
    return "\n\n".join(part(tables).strip() for part in parts if part(tables)) + "\n"


def _head(tables: dict[str, Any]) -> str:
    return f"""
# {tables["title"]}

`{tables["name"]}` {tables["version"]}: Google's CXR Foundation (ELIXR-C) as frozen embedder, a published linear probe
as head. **For demonstration. Research software, not a medical device: do not use it for diagnosis or treatment.**
Whose weights they are, and their terms: NOTICE. Every figure below is what the import measured, or marked as published.
"""


def _use(tables: dict[str, Any]) -> str:
    use = tables["intended_use"]
    return f"""
## Intended use

{use["statement"]} Modalities: {", ".join(use["modalities"])}. Body parts: {", ".join(use["body_parts"])}. From
{use["min_age_years"]:g} years. The embedder was trained on chest radiographs, the probe on its features of limbs.
Preprocessing: `{tables["preprocessing"]["id"]}`; a head fitted with another one does not fit.
"""


def _thresholds(tables: dict[str, Any]) -> str:
    gate, calibration = tables["gate"], tables["calibration"]
    published = {name: value for name, value in tables["metrics"].items() if name.startswith("published_")}
    lines = "\n".join(f"| {name.removeprefix('published_')} | {value} |" for name, value in published.items())
    table = f"\n| published with the probe, not measured here | |\n| --- | --- |\n{lines}\n" if published else ""
    trusted = gate["entropy_max"] > 0.0 and gate["area_max"] > 0.0
    regions = (
        f"Regions are outlined where the map's entropy is at most {gate['entropy_max']:g} and its area "
        f"at most {gate['area_max']:g}: bounds that were given, not fitted."
        if trusted
        else "No region is outlined: there were no labelled images to find out when this map says where. "
        "The heatmap is shown as the attribution of the score."
    )
    return f"""
## Thresholds: not certified

p = sigmoid(z / T) with the probe's temperature T = {1.0 / calibration["a"]:.6g}. Negative below {gate["p_low"]:g},
positive from {gate["p_high"]:g} where the map is plausible, inconclusive between. {gate["bound"]["statement"]}
Calibrate on your own labelled images and certify the thresholds (`dicom-node lab`) before you rely on an outcome.

{regions}
{table}"""


def _parity(tables: dict[str, Any]) -> str:
    metrics = tables["metrics"]
    return f"""
## Against the SavedModel

{metrics["parity_images"]} {metrics["parity_source"]}, each through the SavedModel as its client sends it and through
this bundle as the node runs it (ONNX Runtime on the processor):

| | |
| --- | --- |
| least cosine of the features | {metrics["parity_least_cosine"]:.7f} |
| largest difference of the logit | {metrics["parity_largest_logit_difference"]:.3g} |
| largest difference of p | {metrics["parity_largest_probability_difference"]:.3g} |
| same peak cell of the {metrics["map_cells"]} map | {metrics["parity_same_peak"]:.1%} |
| same, or tied with it to 1 % | {metrics["parity_agreeing_peak"]:.1%} |
| same outcome | {metrics["parity_same_outcome"]:.1%} |
| same, or positive and inconclusive by such a tie | {_agreeing(metrics, "parity"):.1%} |
"""


def _agreeing(metrics: dict[str, Any], prefix: str) -> float:
    # An import of an earlier version knew no ties of outcomes.
    return float(metrics.get(f"{prefix}_agreeing_outcome", metrics[f"{prefix}_same_outcome"]))


def _half(tables: dict[str, Any]) -> str:
    metrics = tables["metrics"]
    if "fp16_least_cosine" not in metrics:
        return ""
    return f"""
## FP16, rehearsed on a processor

Each layer's result rounded to FP16, sums in float32. Not measured on a GPU or a Jetson by this import.

| | |
| --- | --- |
| least cosine of the features | {metrics["fp16_least_cosine"]:.7f} |
| largest difference of the logit | {metrics["fp16_largest_logit_difference"]:.3g} |
| largest difference of p | {metrics["fp16_largest_probability_difference"]:.3g} |
| same peak cell | {metrics["fp16_same_peak"]:.1%} |
| same, or tied with it to 1 % | {metrics["fp16_agreeing_peak"]:.1%} |
| same outcome | {metrics["fp16_same_outcome"]:.1%} |
| same, or positive and inconclusive by such a tie | {_agreeing(metrics, "fp16"):.1%} |
| largest magnitude inside (FP16 holds 65504) | {metrics["fp16_largest_magnitude"]:.6g} |

Overflow was searched on these images and on {metrics["fp16_extremes"]} extreme ones (flat, saturated, 16-bit noise).
"""


def _made(tables: dict[str, Any]) -> str:
    training = tables["training"]
    return f"""
## How it was made

SavedModel: SHA-256 over its files `{training["saved_model_sha256"]}`; it decodes a PNG to {training["decodes"]}.
Probe: `{training["probe"]}`, SHA-256 `{training["probe_sha256"]}`, written by {training["probe_written_by"]}.
Converted with {training["converter"]}.

```
{training["command"]}
```
"""
