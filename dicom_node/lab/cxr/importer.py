"""From SavedModel and probe to a bundle: built aside, tried against the SavedModel, and only then put in its place."""

from __future__ import annotations

import glob
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from safetensors import SafetensorError

from dicom_node.core.intended_use import attributes_within
from dicom_node.core.radiograph import Radiograph
from dicom_node.inference import cxr_preprocess
from dicom_node.inference.bundle import Bundle, load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.inference.preprocess import prepare
from dicom_node.lab import bundle_files, probe_file, thresholds
from dicom_node.lab import probe as probes
from dicom_node.lab.cxr import card, images, onnx_export, parity
from dicom_node.lab.cxr.saved_model import SavedModel
from dicom_node.lab.progress import track
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.lab.cxr.parity import Parity, Range, Rehearsal
    from dicom_node.lab.probe_file import ProbeFile

#: What the published probe's features were made with; its file does not say.
FITTED_WITH: Final = {
    "5ab04c187564f84cd26dfac5467f2949094f1045efc9b59d2d97260ec3f0dad6": cxr_preprocess.EDGEFRACTURE_V1,
}
_ASIDE: Final = ("new", "rehearsal")
_VERSION: Final = "0.1.0"
_SAME: Final = 1e-4
_KEY: Final = re.compile(r"[^a-z0-9_]+")
_STATEMENT: Final = (
    "Adult extremities, hip and shoulder on plain radiographs, by a head that was fitted elsewhere and is not "
    "certified here. Demonstration and research only: not a medical device, not for diagnosis or treatment. Not for "
    "chest, spine, skull or children."
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: files, the preprocessing that the probe was fitted with, precision, thresholds, what to try.

    float32_first: how many convolutions from the image on stay float32 in an FP16 network.
    """

    saved_model: Path
    probe: Path
    digest: str
    out: Path
    preprocessing: str
    precision: str
    bands: tuple[float, float]
    map_bounds: tuple[float, float]
    images: Path | None
    count: int
    name: str
    command: str
    float32_first: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of trying: served is the ONNX file as the node runs it, half the rehearsal of FP16."""

    served: Parity
    real: bool
    skipped: int
    half: Parity | None
    range: Range | None
    extremes: int


def run(request: Request) -> Tried:
    """Import, try, and put the bundle in its place; raises LabError, and then leaves nothing behind."""
    out = request.out.resolve()
    if out.exists():
        message = f"{out} exists; give a new folder, or remove the old bundle first"
        raise LabError(message)
    model = SavedModel(request.saved_model)
    rows, columns, channels = model.grid
    found = probe_file.read(request.probe, request.digest, rows * columns * channels)
    check_preprocessing(found, request.preprocessing)
    trial = images.read(request.images, request.count)
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(out)
    made, aside = (out.parent / f".{out.name}.{kind}-{os.getpid()}" for kind in _ASIDE)
    try:
        for folder in (made, aside):
            folder.mkdir()
        tried = _fill(request, model, found, trial, (made, aside))
        made.rename(out)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)[:120]
        message = f"{out}: cannot be written ({reason}); free space there, or give another --out"
        raise LabError(message) from None
    finally:
        for folder in (made, aside):
            shutil.rmtree(folder, ignore_errors=True)
    return tried


def _clear_leftovers(out: Path) -> None:
    """Remove what imports to this place left that were killed, most often for lack of memory: gigabytes each."""
    for kind in _ASIDE:
        for left in out.parent.glob(f".{glob.escape(out.name)}.{kind}-*"):
            number = left.name.rpartition("-")[2]
            if number.isdecimal() and (int(number) == os.getpid() or not _runs(int(number))):
                shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def check_preprocessing(found: ProbeFile, asked: str) -> None:
    """Raise LabError where a probe is known to be fitted on features of another preprocessing."""
    known = FITTED_WITH.get(found.sha256) or found.holdout_metrics.get("preprocessing")
    if known is not None and known != asked:
        message = (
            f"the probe was fitted on features of preprocessing {str(known)[:64]!r}, which {asked!r} does not give: "
            f"give --preprocessing {str(known)[:64]}, or a probe that was fitted with {asked}"
        )
        raise LabError(message)


def _fill(
    request: Request, model: SavedModel, found: ProbeFile, trial: images.Trial, folders: tuple[Path, Path]
) -> Tried:
    made, aside = folders
    rehearsal = _write_networks(request, model, made, aside)
    probe_file.write_head(made / "head.safetensors", probes.fold(found.probe), model.grid)
    tables = _manifest(request, model, found)
    (made / "NOTICE").write_text(card.notice(tables["training"]), encoding="utf-8")
    # The user's weights, under terms of their own: git is not to take them by accident.
    (made / ".gitignore").write_text("*\n", encoding="utf-8")
    _write_words(made, tables, "Not tried yet.\n")
    bundle = load_bundle(made)
    _check_signature(model, request.preprocessing, trial.planes[0])
    tried = _try(bundle, model, found, trial, rehearsal)
    _accept(request, tried)
    tables["metrics"] = _metrics(tried, tables) | tables["metrics"]
    bundle_files.state_known_answer(made, tables)
    _write_words(made, tables, card.text(tables))
    load_bundle(made)
    return tried


def _write_networks(request: Request, model: SavedModel, made: Path, aside: Path) -> Rehearsal | None:
    network = onnx_export.convert(model)
    if request.precision == "fp32":
        onnx_export.write(network, made / "embedder.onnx")
        return None
    half = onnx_export.to_fp16(network, request.float32_first)
    onnx_export.write(half, made / "embedder.onnx")
    rehearsed, results = onnx_export.rehearsal(half)
    onnx_export.write(rehearsed, aside / "rehearsal.onnx")
    return parity.Rehearsal(aside / "rehearsal.onnx", results, _threads())


def _check_signature(model: SavedModel, preprocessing: str, grey: NDArray[np.uint16]) -> None:
    """See that the tensor taken by its name is what the signature itself answers."""
    plane = cxr_preprocess.client_plane(preprocessing, grey)
    answer, taken = model.answer(plane), model.features(plane).pooled
    if not np.abs(answer - taken).max() <= _SAME * max(1.0, float(np.abs(answer).max())):
        message = f"{model.cut.pooled} is not what the SavedModel's signature answers; is it elixr-c-v2-pooled?"
        raise LabError(message)


def _try(
    bundle: Bundle, model: SavedModel, found: ProbeFile, trial: images.Trial, rehearsal: Rehearsal | None
) -> Tried:
    embedder = OnnxEmbedder(bundle, threads=_threads())
    served, half = [], []
    try:
        for number, grey in enumerate(track(trial.planes, "against the SavedModel, images")):
            wanted = parity.reference(model, found.probe, bundle, grey)
            served.append(parity.difference(wanted, parity.candidate(embedder.embed, bundle, grey)))
            if rehearsal is not None:
                rehearsal.image = f"image {number + 1}"
                half.append(parity.difference(wanted, parity.candidate(rehearsal.embed, bundle, grey)))
        _check_pipeline(bundle, embedder, trial.planes[0])
    finally:
        embedder.close()
    extremes = {} if rehearsal is None else images.extremes()
    if rehearsal is not None:
        for name, grey in track(list(extremes.items()), "FP16 overflow, extreme images"):
            rehearsal.image = name
            rehearsal.embed(prepare(bundle.manifest.preprocessing.id, grey).tensor)
    return Tried(
        parity.summary(served),
        trial.real,
        trial.skipped,
        parity.summary(half) if half else None,
        None if rehearsal is None else rehearsal.range,
        len(extremes),
    )


def _check_pipeline(bundle: Bundle, embedder: OnnxEmbedder, grey: NDArray[np.uint16]) -> None:
    attributes = attributes_within(bundle.intended_use)
    finding = Pipeline(bundle, embedder).analyse("1.2.3", attributes, Radiograph(grey)).finding
    if finding.probability is None:
        message = f"the node's pipeline does not analyse the first image: {finding.reason}; nothing was written"
        raise LabError(message)


def _accept(request: Request, tried: Tried) -> None:
    if tried.range is not None and tried.range.overflows:
        message = (
            f"FP16 overflows: {tried.range.result[:80]} reaches {tried.range.largest:.6g} on {tried.range.image}, FP16 "
            f"holds {onnx_export.FP16_MAX:g}; use --precision fp32; nothing was written"
        )
        raise LabError(message)
    bounds = parity.BOUNDS[request.precision]
    parity.check("the ONNX file", tried.served, bounds)
    if tried.half is not None:
        parity.check("the network in FP16", tried.half, bounds)


def _write_words(made: Path, tables: dict[str, Any], text: str) -> None:
    (made / "manifest.toml").write_text(bundle_files.to_toml(tables), encoding="utf-8")
    (made / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    bundle_files.write_sums(made)


def _manifest(request: Request, model: SavedModel, found: ProbeFile) -> dict[str, Any]:
    rows, columns, channels = model.grid
    pool = model.cut.pool
    return {
        "schema": 1,
        "name": request.name,
        "version": _VERSION,
        "manufacturer": "imported with dicom-node",
        "title": "CXR Foundation with a fracture probe (import)",
        "demonstration": True,
        "preprocessing": {"id": request.preprocessing},
        "embedder": {
            "input_name": onnx_export.IMAGE,
            "input_shape": [1, 1, onnx_export.SIDE, onnx_export.SIDE],
            "output_name": onnx_export.FEATURES,
            "output_shape": [1, rows * pool, columns * pool, channels],
            "pool": pool,
        },
        "head": {"grid": [rows, columns], "channels": channels, "localiser": False},
        "calibration": {
            "id": "temperature-published",
            "method": "temperature",
            "a": 1.0 / found.temperature,
            "d": 0.0,
        },
        "gate": _gate(request),
        "intended_use": {
            "modalities": ["CR", "DX"],
            "body_parts": list(thresholds.IN_SCOPE),
            "body_part_required": False,
            "min_age_years": 18,
            "statement": _STATEMENT,
        },
        "metrics": _published(found.holdout_metrics),
        "training": _origin(request, model, found),
    }


def _gate(request: Request) -> dict[str, Any]:
    low, high = request.bands
    entropy, area = request.map_bounds
    return {
        "policy": "certified",
        "map": "evidence",
        "p_low": low,
        "p_high": high,
        "alpha": 0.5,
        "entropy_max": entropy,
        "area_max": area,
        "out_of_body_max": 0.1,
        "disagreement_margin": 0.6,
        # A miss rate of at most 100 %, with no confidence, from no case: the bound that holds without data.
        "bound": {
            "fnr": 1.0,
            "confidence": 0.0,
            "positives": 0,
            "missed": 0,
            "statement": "Not certified here: published or chosen bands, no held-out data.",
        },
    }


def _origin(request: Request, model: SavedModel, found: ProbeFile) -> dict[str, Any]:
    return {
        "data": "not known to the import: embedder and probe were trained by their publishers",
        "saved_model_sha256": model.sha256,
        "cut_input": model.cut.colour,
        "cut_output": model.cut.fine,
        "decodes": model.cut.decodes,
        "probe": request.probe.name,
        "probe_sha256": found.sha256,
        "probe_written_by": found.written_by,
        "probe_preprocessing": request.preprocessing,
        "temperature": found.temperature,
        "precision": request.precision,
        "float32_first": request.float32_first,
        "converter": f"TensorFlow {tf.__version__}, tf2onnx {tf2onnx.__version__}, onnx {onnx.__version__}",
        "command": request.command,
    }


def _published(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the plain numbers among a probe's published figures, under names that say so."""
    return {
        f"published_{_KEY.sub('_', name.lower())[:48]}": float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _metrics(tried: Tried, tables: dict[str, Any]) -> dict[str, Any]:
    rows, columns = tables["embedder"]["output_shape"][1:3]
    found: dict[str, Any] = {
        "map_cells": f"{rows} x {columns}",
        "parity_source": "radiographs" if tried.real else "drawn images (no radiograph was tried)",
        "parity_images": tried.served.images,
        "parity_skipped": tried.skipped,
        **_figures("parity", tried.served),
    }
    if tried.half is not None and tried.range is not None:
        found |= _figures("fp16", tried.half)
        found |= {
            "fp16_extremes": tried.extremes,
            "fp16_largest_magnitude": tried.range.largest,
            "fp16_largest_magnitude_on": tried.range.image,
        }
    return found


def _figures(prefix: str, found: Parity) -> dict[str, float]:
    return {
        f"{prefix}_least_cosine": found.cosine,
        f"{prefix}_largest_logit_difference": found.logit,
        f"{prefix}_largest_probability_difference": found.probability,
        f"{prefix}_same_peak": found.same_peaks,
        f"{prefix}_agreeing_peak": found.peaks,
        f"{prefix}_same_outcome": found.same_outcomes,
        f"{prefix}_agreeing_outcome": found.outcomes,
    }


def _threads() -> int:
    return os.cpu_count() or 1
