"""A bundle's manifest.toml: its schema, and nothing else.

Every table but [metrics] and [training] is closed: a misspelt threshold must fail, not fall back to a default.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dicom_node.core.decision import Gate, Policy, RegionGate
from dicom_node.core.errors import BundleError
from dicom_node.core.intended_use import IntendedUse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Size = Annotated[int, Field(ge=1, le=16384)]
_Word = Annotated[str, Field(min_length=1, max_length=64)]
_Code = Annotated[str, Field(pattern=r"^[A-Z0-9 _]{1,16}$")]

#: A dense box head tells where better than the evidence does; a bundle that has one is gated and drawn by it.
MapKind = Literal["evidence", "localiser"]
_LOCALISER: Final = "localiser"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PreprocessingTable(_Table):
    """Which preprocessing the model was trained with."""

    id: _Word


class EmbedderTable(_Table):
    """The network's named input [1, 1, rows, columns] and output [1, rows, columns, channels], both float32."""

    input_name: _Word
    input_shape: Annotated[list[_Size], Field(min_length=4, max_length=4)]
    output_name: _Word
    output_shape: Annotated[list[_Size], Field(min_length=4, max_length=4)]
    pool: _Size


class HeadTable(_Table):
    """The linear head's grid (rows, columns) and channels, and whether a dense box head stands beside it."""

    grid: Annotated[list[_Size], Field(min_length=2, max_length=2)]
    channels: _Size
    localiser: bool = False


class CalibrationTable(_Table):
    """p = sigmoid(a z + d)."""

    id: _Word
    method: Literal["platt", "temperature", "none"]
    a: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
    d: _Finite


class BoundTable(_Table):
    """How p_low was found: the miss rate it keeps below `fnr` with `confidence`, and the counts behind it."""

    fnr: _Share
    confidence: _Share
    positives: Annotated[int, Field(ge=0)]
    missed: Annotated[int, Field(ge=0)]
    statement: str


class RegionTable(_Table):
    """A body region's own p_low with its bound; without p_low it could not be certified and is inconclusive only."""

    name: _Word
    body_parts: Annotated[list[_Code], Field(min_length=1)]
    p_low: _Share | None = None
    bound: BoundTable


class GateTable(_Table):
    """The thresholds of `core.decision.Gate`, and which map they measure (by default the localiser's, where one is)."""

    policy: Literal["certified", "localisation"]
    p_low: _Share
    p_high: _Share
    alpha: _Share
    entropy_max: _Share
    area_max: _Share
    out_of_body_max: _Share
    disagreement_margin: _Share
    map: MapKind | None = None
    bound: BoundTable | None = None
    regions: list[RegionTable] = []

    @model_validator(mode="after")
    def _in_order(self) -> GateTable:
        if self.p_low > self.p_high:
            message = "p_low must not lie above p_high"
            raise ValueError(message)
        if self.alpha <= 0.0:
            message = "alpha must be above 0, or every cell is active"
            raise ValueError(message)
        parts = [part for region in self.regions for part in region.body_parts]
        if len(parts) != len(set(parts)):
            message = "a body part belongs to one region only"
            raise ValueError(message)
        return self


class IntendedUseTable(_Table):
    """The images this bundle may score (core.intended_use.IntendedUse says what each key does)."""

    modalities: Annotated[list[_Code], Field(min_length=1)]
    body_parts: Annotated[list[_Code], Field(min_length=1)]
    body_part_required: bool
    min_age_years: Annotated[float, Field(ge=0.0, le=150.0)]
    age_required: bool = False
    view_positions: list[_Code] = []
    burned_in_annotation: bool = False
    statement: Annotated[str, Field(min_length=1)]


class KnownAnswerTable(_Table):
    """The logit of the radiograph of `known_answer` when the bundle was made, and how far off it may be elsewhere."""

    logit: _Finite
    tolerance: Annotated[float, Field(gt=0.0, allow_inf_nan=False)]


class Manifest(_Table):
    """The whole of manifest.toml, schema 1."""

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
    version: _Word
    manufacturer: _Word
    title: _Word
    demonstration: bool
    preprocessing: PreprocessingTable
    embedder: EmbedderTable
    head: HeadTable
    calibration: CalibrationTable
    gate: GateTable
    intended_use: IntendedUseTable
    known_answer: KnownAnswerTable | None = None
    metrics: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @model_validator(mode="after")
    def _shapes_agree(self) -> Manifest:
        rows, columns, channels = self.embedder.output_shape[1:]
        pool = self.embedder.pool
        if self.embedder.output_shape[0] != 1 or self.embedder.input_shape[:2] != [1, 1]:
            message = "embedder: batch and input channels must be 1"
            raise ValueError(message)
        if [rows, columns, channels] != [self.head.grid[0] * pool, self.head.grid[1] * pool, self.head.channels]:
            message = "embedder.output_shape must be head.grid times pool, with head.channels channels"
            raise ValueError(message)
        if self.gate.map == _LOCALISER and not self.head.localiser:
            message = "gate.map names a localiser that the head does not have"
            raise ValueError(message)
        return self

    @property
    def gate_map(self) -> MapKind:
        """Return which map is measured, drawn and shown."""
        return self.gate.map or ("localiser" if self.head.localiser else "evidence")

    def core_gate(self) -> Gate:
        """Return the thresholds as the decision takes them."""
        table = self.gate
        return Gate(
            policy=Policy(table.policy),
            p_low=table.p_low,
            p_high=table.p_high,
            alpha=table.alpha,
            entropy_max=table.entropy_max,
            area_max=table.area_max,
            out_of_body_max=table.out_of_body_max,
            disagreement_margin=table.disagreement_margin,
            regions=tuple(RegionGate(one.name, tuple(one.body_parts), one.p_low) for one in table.regions),
        )

    def core_intended_use(self) -> IntendedUse:
        """Return the scope as the exclusion takes it."""
        table = self.intended_use
        return IntendedUse(
            modalities=tuple(table.modalities),
            body_parts=tuple(table.body_parts),
            body_part_required=table.body_part_required,
            min_age_years=float(table.min_age_years),
            statement=table.statement,
            age_required=table.age_required,
            view_positions=tuple(table.view_positions),
            burned_in_annotation=table.burned_in_annotation,
        )


def parse_manifest(content: bytes) -> Manifest:
    """Return the manifest in these bytes; raises BundleError naming the first key that is wrong."""
    try:
        return Manifest.model_validate(tomllib.loads(content.decode("utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the manifest"
        message = f"manifest.toml: {key}: {first['msg']}; correct the key and renew SHA256SUMS"
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number without end, nested without end
        message = f"manifest.toml: not valid TOML ({error}); correct the file and renew SHA256SUMS"
    raise BundleError(message)
