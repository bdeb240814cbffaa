"""What is said about an image and a study, in the words that the report uses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dicom_node.core.model_identity import ModelIdentity


class Outcome(str, Enum):
    """The three outcomes, and the fourth word for no answer at all."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    INCONCLUSIVE = "inconclusive"
    NOT_ANALYSED = "not-analysed"


class ReasonCode(str, Enum):
    """Why an outcome is not a plain positive or negative."""

    # not analysed, never attempted
    MODALITY = "modality-out-of-scope"
    BODY_PART = "body-part-out-of-scope"
    AGE = "age-out-of-scope"
    IMAGE_KIND = "image-kind-out-of-scope"
    NO_PIXELS = "no-pixel-data"
    OWN_RESULT = "own-result"
    MALFORMED = "malformed-data-set"
    NO_MODEL = "no-usable-model"
    # not analysed, attempted and failed
    IMPLAUSIBLE_SIZE = "implausible-size"
    UNDECODABLE = "undecodable"
    FLAT_IMAGE = "flat-image"
    NON_FINITE = "non-finite-output"
    MAP_MISMATCH = "map-does-not-sum-to-score"
    CRASHED = "worker-crashed"
    CONSTANT = "constant-output"
    DAMAGED = "stored-file-damaged"
    # inconclusive
    BETWEEN_THRESHOLDS = "between-thresholds"
    LOCALISATION_UNTRUSTED = "localisation-untrusted"
    NOT_CERTIFIED = "no-certified-threshold"
    VIEWS_DISAGREE = "views-disagree"
    VIEW_NOT_ANALYSED = "view-not-analysed"


NOT_ATTEMPTED = frozenset(
    {
        ReasonCode.MODALITY,
        ReasonCode.BODY_PART,
        ReasonCode.AGE,
        ReasonCode.IMAGE_KIND,
        ReasonCode.NO_PIXELS,
        ReasonCode.OWN_RESULT,
        ReasonCode.MALFORMED,
        ReasonCode.NO_MODEL,
    }
)


_MODEL_FAULTS = frozenset({ReasonCode.NON_FINITE, ReasonCode.MAP_MISMATCH, ReasonCode.CONSTANT})


@dataclass(frozen=True, slots=True)
class Reason:
    """A coded reason and one plain sentence for a person; never a patient's name."""

    code: ReasonCode
    text: str

    @property
    def blames_model(self) -> bool:
        """True where what the model gave cannot be right, whatever the image: somebody should look at the machine."""
        return self.code in _MODEL_FAULTS

    @property
    def attempted(self) -> bool:
        """True where the analysis was tried and failed, false where it was never started."""
        return self.code not in NOT_ATTEMPTED


@dataclass(frozen=True, slots=True)
class Localisation:
    """How the positive evidence lies on the map's native grid.

    entropy: normalised to [0, 1]; area: active share of the body's cells; out_of_body: share of the positive evidence
    outside the body; peak: (column, row) in pixels of the original image; trusted: whether a region may be shown.
    """

    entropy: float
    area: float
    out_of_body: float
    peak: tuple[float, float]
    on_border: bool
    trusted: bool


@dataclass(frozen=True, slots=True)
class Region:
    """One suspicious region: a closed polyline of (column, row) in original pixels, first point repeated."""

    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ViewFinding:
    """What is said about one image.

    probability and logit are None exactly where the outcome is NOT_ANALYSED: no model, no number. negative_below: the
    lower threshold that this image was held against, None where its body region has none.
    """

    sop_instance_uid: str
    outcome: Outcome
    reason: Reason | None
    probability: float | None
    logit: float | None
    localisation: Localisation | None
    regions: tuple[Region, ...]
    model: ModelIdentity | None
    negative_below: float | None = None

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.NOT_ANALYSED) != (self.probability is None):
            message = f"{self.sop_instance_uid}: a probability belongs to every analysed view and to no other"
            raise ValueError(message)
        if self.outcome in {Outcome.INCONCLUSIVE, Outcome.NOT_ANALYSED} and self.reason is None:
            message = f"{self.sop_instance_uid}: an outcome of {self.outcome.value} needs its reason"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class StudyFinding:
    """What is said about a study: its views, aggregated."""

    outcome: Outcome
    reason: Reason | None
    probability: float | None
    views: tuple[ViewFinding, ...]
    model: ModelIdentity | None


def whole_percent(probability: float) -> str:
    """Return a probability in whole percent, never as a certainty of 0 or 100 %."""
    if probability < 0.005:  # noqa: PLR2004 - what would round to 0 %
        return "<1%"
    return ">99%" if probability >= 0.995 else f"{probability:.0%}"  # noqa: PLR2004 - what would round to 100 %


def not_analysed(sop_instance_uid: str, reason: Reason, model: ModelIdentity | None = None) -> ViewFinding:
    """Return the finding of an image that got no answer, with its reason."""
    return ViewFinding(
        sop_instance_uid=sop_instance_uid,
        outcome=Outcome.NOT_ANALYSED,
        reason=reason,
        probability=None,
        logit=None,
        localisation=None,
        regions=(),
        model=model,
    )
