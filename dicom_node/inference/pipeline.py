"""From one radiograph to one finding: the stages of inference in their order."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.core.decision import decide_view, is_trusted, lower_threshold
from dicom_node.core.errors import NotAnalysable
from dicom_node.core.findings import Localisation, Outcome, Reason, ViewFinding, not_analysed
from dicom_node.core.intended_use import ViewAttributes, exclusion, normal
from dicom_node.core.localisation import MapMeasures, measure
from dicom_node.core.radiograph import EvidenceMap, Radiograph
from dicom_node.inference import evidence as maps
from dicom_node.inference import head, quality
from dicom_node.inference.bundle import Bundle, identity
from dicom_node.inference.preprocess import prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from dicom_node.inference.embedder import Embedder
    from dicom_node.inference.preprocess import Prepared

_REGION_OUTCOMES = frozenset({Outcome.POSITIVE, Outcome.INCONCLUSIVE})


@dataclass(frozen=True, slots=True)
class Analysis:
    """What came of one image.

    shown_map: the map that was measured and is drawn; evidence: the map that sums to the logit, the attribution of
    record (the same object where the bundle has no localiser); features: the retrieval vector, float32 [channels].
    All three are None where the image was not analysed.
    """

    finding: ViewFinding
    shown_map: EvidenceMap | None
    evidence: EvidenceMap | None
    features: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Look:
    """What the network made of one image: features, float32 [rows, columns, channels], of this input."""

    prepared: Prepared
    features: NDArray[np.float32]


def _unheard(_stage: str) -> None:
    """Tell nobody that a stage ended."""


class Pipeline:
    """A bundle with a running embedder; holds no state of its own, so one instance serves image after image."""

    def __init__(self, bundle: Bundle, embedder: Embedder) -> None:
        self._bundle = bundle
        self._embedder = embedder
        self.model = identity(bundle, embedder.runtime)

    def analyse(
        self,
        sop_instance_uid: str,
        attributes: ViewAttributes,
        radiograph: Radiograph,
        ended: Callable[[str], object] = _unheard,
    ) -> Analysis:
        """Return the finding on one image, with its maps; `ended` is told each stage's name as it ends.

        An image outside the intended use or of no use is NOT_ANALYSED with its reason, never an error. BundleError and
        WorkerCrashed pass through: they say something about the model, not about the image.
        """
        return self.judge(sop_instance_uid, attributes, self.look(attributes, radiograph, ended), ended)

    def look(
        self,
        attributes: ViewAttributes,
        radiograph: Radiograph,
        ended: Callable[[str], object] = _unheard,
        turn: AbstractContextManager[object] | None = None,
    ) -> Look | Reason:
        """Return the network's features of an image, or why it was not asked: the first half of `analyse`.

        turn is held while the network runs, which does one image at a time. Raises as `analyse` does.
        """
        bundle = self._bundle
        reason = exclusion(bundle.intended_use, attributes)
        if reason is not None:
            return reason
        try:
            quality.check_image(radiograph.grey)
            prepared = prepare(bundle.manifest.preprocessing.id, radiograph.grey)
            quality.check_finite(prepared.tensor)
            ended("prepare")
            with turn or nullcontext():
                ended("wait")
                features = self._embedder.embed(prepared.tensor)
            ended("infer")
        except NotAnalysable as error:
            return error.reason
        return Look(prepared, features)

    def judge(
        self,
        sop_instance_uid: str,
        attributes: ViewAttributes,
        look: Look | Reason,
        ended: Callable[[str], object] = _unheard,
    ) -> Analysis:
        """Return the finding on an image that was looked at: the second half of `analyse`. Raises as it does."""
        try:
            if isinstance(look, Reason):
                raise NotAnalysable(look)  # noqa: TRY301 - one place answers for every reason
            return self._judge(sop_instance_uid, attributes, look, ended)
        except NotAnalysable as error:
            return Analysis(not_analysed(sop_instance_uid, error.reason, self.model), None, None, None)

    def _judge(
        self, sop_instance_uid: str, attributes: ViewAttributes, look: Look, ended: Callable[[str], object]
    ) -> Analysis:
        bundle, features = self._bundle, look.features
        quality.check_finite(features)
        quality.check_varied(features)
        z = head.logit(features, bundle.head, bundle.manifest.embedder.pool)
        shown, evidence = self._maps(features, look.prepared)
        quality.check_sum(evidence.values, bundle.head.bias, z)
        finding = self._finding(sop_instance_uid, normal(attributes.body_part), z, shown)
        vector = head.retrieval_vector(features)
        ended("maps")
        return Analysis(finding, shown, evidence, vector)

    def _maps(self, features: NDArray[np.float32], prepared: Prepared) -> tuple[EvidenceMap, EvidenceMap]:
        bundle = self._bundle
        values = maps.evidence_map(features, bundle.head, bundle.manifest.embedder.pool)
        body = prepared.body_cells(*values.shape)
        evidence = EvidenceMap(values, body, prepared.geometry, "evidence")
        located = maps.localiser_map(features, bundle.head) if bundle.gate_map == "localiser" else None
        if located is None:
            return evidence, evidence
        quality.check_finite(located)
        return EvidenceMap(located, body, prepared.geometry, "localiser"), evidence

    def _finding(self, sop_instance_uid: str, body_part: str, z: float, shown: EvidenceMap) -> ViewFinding:
        gate, calibration = self._bundle.gate, self._bundle.manifest.calibration
        probability = head.probability(z, calibration.a, calibration.d)
        measures = measure(shown.values, shown.body, gate.alpha)
        outcome, reason = decide_view(probability, measures, gate, body_part)
        trusted = is_trusted(measures, gate)
        drawn = trusted and outcome in _REGION_OUTCOMES
        return ViewFinding(
            sop_instance_uid=sop_instance_uid,
            outcome=outcome,
            reason=reason,
            probability=probability,
            logit=z,
            localisation=_localisation(measures, shown, trusted=trusted),
            regions=maps.regions(shown, gate.alpha) if drawn else (),
            model=self.model,
            negative_below=lower_threshold(gate, body_part),
        )


def _localisation(measures: MapMeasures, shown: EvidenceMap, *, trusted: bool) -> Localisation:
    rows, columns = shown.values.shape
    return Localisation(
        entropy=measures.entropy,
        area=measures.area,
        out_of_body=measures.out_of_body,
        peak=maps.cell_centre(maps.peak_cell(shown), (rows, columns), shown.geometry),
        on_border=measures.on_border,
        trusted=trusted,
    )
