"""The acceptance test of an exported probe: the bundle, as the node runs it, answers as the fitted probe does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.core.findings import Outcome
from dicom_node.core.intended_use import ViewAttributes
from dicom_node.core.localisation import measure
from dicom_node.core.radiograph import Radiograph
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.pipeline import Pipeline
from dicom_node.lab.cache import read_grey
from dicom_node.lab.progress import track
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.localisation import MapMeasures
    from dicom_node.core.radiograph import EvidenceMap
    from dicom_node.inference.bundle import Bundle
    from dicom_node.inference.embedder import Embedder
    from dicom_node.lab.embeddings import Listing
    from dicom_node.lab.probe import LinearProbe

IMAGES: Final = 64
DIFFERENCE: Final = 1e-3
_UID: Final = "1.2.826.0.1.3680043.8.498.1"
_KEPT: Final = 0.95


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was tried. bounds: the gate's bounds on a map that keep nearly all maps of the fractured images tried."""

    images: int
    skipped: int
    largest_logit_difference: float
    bounds: dict[str, float]


class _Listening:
    """An embedder that keeps the last features, so that the probe can be asked about the very same ones."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.last: NDArray[np.float32] | None = None

    @property
    def runtime(self) -> str:
        return self._embedder.runtime

    def embed(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        self.last = self._embedder.embed(tensor)
        return self.last

    def close(self) -> None:
        self._embedder.close()


def accept(bundle: Bundle, probe: LinearProbe, listing: Listing) -> Acceptance:
    """Score images through the serving pipeline; raises LabError where a logit is not the probe's."""
    embedder = _Listening(OnnxEmbedder(bundle))
    pipeline = Pipeline(bundle, embedder)
    attributes = ViewAttributes(modality=bundle.intended_use.modalities[0], body_part=bundle.intended_use.body_parts[0])
    differences, maps, skipped = [], [], 0
    try:
        for image in track(_chosen(listing), "acceptance, images"):
            grey = read_grey(listing.folder / image.name)
            found = None if grey is None else pipeline.analyse(_UID, attributes, Radiograph(grey))
            if found is None or found.finding.outcome is Outcome.NOT_ANALYSED or embedder.last is None:
                skipped += 1
                continue
            z = found.finding.logit
            differences.append(abs((float("nan") if z is None else z) - _asked(embedder.last, probe, bundle)))
            if image.fractured and found.shown_map is not None:
                maps.append(_measured(found.shown_map, bundle))
    finally:
        embedder.close()
    largest = float(np.max(differences)) if differences else float("nan")
    if not largest <= DIFFERENCE:
        message = (
            f"the bundle does not answer as the probe does: over {len(differences)} images the logits differ by up to "
            f"{largest:g}, allowed is {DIFFERENCE:g}; nothing was written"
        )
        raise LabError(message)
    return Acceptance(len(differences), skipped, largest, _bounds(maps))


def _chosen(listing: Listing) -> list[Any]:
    """Return up to IMAGES images: half fractured, where there are as many, evenly spread over the list."""
    usable = [image for image in listing.images if image.exclusion is None]
    fractured = [image for image in usable if image.fractured]
    others = [image for image in usable if not image.fractured]
    return [*_spread(fractured, IMAGES // 2), *_spread(others, IMAGES - min(len(fractured), IMAGES // 2))]


def _spread(images: list[Any], count: int) -> list[Any]:
    if len(images) <= count:
        return images
    return [images[int(place)] for place in np.linspace(0, len(images) - 1, count)]


def _asked(features: NDArray[np.float32], probe: LinearProbe, bundle: Bundle) -> float:
    """Return z as the probe itself says it: pool, standardise, weigh; in float64, unfolded."""
    rows, columns = bundle.manifest.head.grid
    pool = bundle.manifest.embedder.pool
    pooled = features.astype(np.float64).reshape(rows, pool, columns, pool, -1).mean(axis=(1, 3)).reshape(-1)
    return float(((pooled - probe.mean) / probe.scale) @ probe.coef + probe.intercept)


def _measured(shown: EvidenceMap, bundle: Bundle) -> MapMeasures:
    return measure(shown.values, shown.body, bundle.gate.alpha)


def _bounds(maps: list[MapMeasures]) -> dict[str, float]:
    found = [one for one in maps if one.complete]
    if not found:
        return {}
    return {
        "entropy_max": _bound([one.entropy for one in found]),
        "area_max": _bound([one.area for one in found]),
        "out_of_body_max": max(0.1, _bound([one.out_of_body for one in found])),
    }


def _bound(values: list[float]) -> float:
    return float(min(1.0, max(0.02, np.ceil(np.quantile(np.array(values), _KEPT) * 1000) / 1000)))
