"""The phantom's parts: bones and soft tissue as tubes in millimetres, and what a parallel beam sees of them.

A tube is an elliptical cross-section that changes along an axis, so the path of a ray through it has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float, float]
"""Millimetres: x to the right of the frontal image, y towards the elbow, z towards the back of the hand."""

_THIN_CORTEX = 0.45  # mm, at the joints


@dataclass(frozen=True, slots=True)
class Tube:
    """One bone or one volume of soft tissue.

    profile: (share of the length, half width in mm); depth: depth over width of the cross-section; cortex: thickness
    of the compact bone at mid-shaft in mm; caps: length of the rounded ends in mm; keep: the part of the axis, in mm
    from the start, that this piece is made of, with `jag` turning its cut ends into broken ones.
    """

    start: Point
    end: Point
    profile: tuple[tuple[float, float], ...]
    depth: float = 0.9
    cortex: float = 0.0
    caps: tuple[float, float] = (2.0, 2.0)
    keep: tuple[float, float] = (-1e9, 1e9)
    jag: float = 0.0

    def moved(self, by: Point) -> Tube:
        """Return the tube at another place."""
        return replace(self, start=_plus(self.start, by), end=_plus(self.end, by))


@dataclass(frozen=True, slots=True)
class View:
    """How the limb lies on the detector: turned by `angle` degrees about its axis; field (left, top) and size in mm."""

    name: str
    angle: float
    origin: tuple[float, float]
    size: tuple[float, float]
    spacing: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return round(self.size[1] / self.spacing), round(self.size[0] / self.spacing)


@dataclass(frozen=True, slots=True)
class Chords:
    """A ray's path through one tube, millimetres a pixel, in the window (rows, columns) that the tube covers."""

    window: tuple[slice, slice]
    whole: NDArray[np.float32]
    inner: NDArray[np.float32]
    ends: NDArray[np.float32]


def fractured(bone: Tube, at: float, gap: float, offset: Point, tilt: Point) -> tuple[Tube, Tube]:
    """Break a bone across its axis: the part before `at` mm moves by `offset`, its far end by `tilt` besides."""
    moved = bone.moved(offset)
    distal = replace(moved, start=_plus(moved.start, tilt), keep=(-1e9, at - gap / 2), jag=1.0)
    return distal, replace(bone, keep=(at + gap / 2, 1e9), jag=1.0)


def project(tube: Tube, view: View) -> Chords | None:
    """Return a ray's path through the tube for each pixel near it, or None where it lies outside the field."""
    start, end = _flat(tube.start, view), _flat(tube.end, view)
    window = _window(start, end, max(width for _, width in tube.profile) + 2.0, view)
    if window is None:
        return None
    axis = np.subtract(end, start)
    length = float(np.hypot(*axis))
    axis = axis / length
    rows, columns = window
    y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5) * view.spacing + view.origin[1] - start[1]
    x = (np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] + 0.5) * view.spacing + view.origin[0]
    x = x - start[0]
    along = x * axis[0] + y * axis[1]
    across = x * axis[1] - y * axis[0]
    half, chord = _turned(tube, view.angle, along / length)
    whole = _ellipse(across, half * _caps(along, length, tube.caps), chord * _caps(along, length, tube.caps))
    near_end = np.clip(1.0 - np.minimum(along, length - along) / (0.22 * length), 0.0, 1.0)
    cortex = _THIN_CORTEX + (tube.cortex - _THIN_CORTEX) * (1.0 - near_end) ** 1.5
    inner_caps = _caps(along - _THIN_CORTEX, length - 2 * _THIN_CORTEX, tube.caps)
    inner = _ellipse(across, np.maximum(half - cortex, 0.0) * inner_caps, np.maximum(chord - cortex, 0.0) * inner_caps)
    kept = _kept(tube, along, across)
    whole = whole * kept
    return Chords(window, whole, np.minimum(inner * kept, whole), np.broadcast_to(near_end, whole.shape))


def _kept(tube: Tube, along: NDArray[np.float32], across: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much of each ray a broken piece still fills: its ends are jagged, and soft over half a millimetre."""
    line = along
    if tube.jag:
        line = along + tube.jag * (0.55 * np.sin(across * 1.1 + 0.6) + 0.3 * np.sin(across * 2.9) + 0.10 * across)
    softness = 0.25
    low = np.clip((line - tube.keep[0]) / softness, 0.0, 1.0)
    high = np.clip((tube.keep[1] - line) / softness, 0.0, 1.0)
    return np.asarray(low * high, dtype=np.float32)


def _turned(tube: Tube, angle: float, share: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return half width and half depth of the cross-section as the beam sees it."""
    knots = np.asarray(tube.profile, dtype=np.float32)
    width = np.interp(share, knots[:, 0], knots[:, 1]).astype(np.float32)
    depth = width * tube.depth
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    half = np.sqrt((width * cosine) ** 2 + (depth * sine) ** 2)
    return half, width * depth / np.maximum(half, 1e-3)


def _ellipse(across: NDArray[np.float32], half: NDArray[np.float32], depth: NDArray[np.float32]) -> NDArray[np.float32]:
    share = across / np.maximum(half, 1e-3)
    return np.asarray(2.0 * depth * np.sqrt(np.clip(1.0 - share**2, 0.0, None)), dtype=np.float32)


def _caps(along: NDArray[np.float32], length: float, caps: tuple[float, float]) -> NDArray[np.float32]:
    """Return the factor that rounds a tube's two ends and is zero beyond them."""
    first = np.clip(along / caps[0], 0.0, 1.0)
    last = np.clip((length - along) / caps[1], 0.0, 1.0)
    return np.asarray(np.sqrt(np.clip((2 - first) * first * (2 - last) * last, 0.0, 1.0)), dtype=np.float32)


def _window(
    start: tuple[float, float], end: tuple[float, float], margin: float, view: View
) -> tuple[slice, slice] | None:
    rows, columns = view.shape
    left, right = sorted((start[0], end[0]))
    top, bottom = sorted((start[1], end[1]))
    above, below = (top - margin - view.origin[1]), (bottom + margin - view.origin[1])
    before, after = (left - margin - view.origin[0]), (right + margin - view.origin[0])
    row = slice(max(int(above / view.spacing), 0), min(int(below / view.spacing), rows))
    column = slice(max(int(before / view.spacing), 0), min(int(after / view.spacing), columns))
    return (row, column) if row.start < row.stop and column.start < column.stop else None


def _flat(point: Point, view: View) -> tuple[float, float]:
    """Return a point's place on the detector: the limb is turned about its long axis."""
    angle = np.radians(view.angle)
    return float(point[0] * np.cos(angle) + point[2] * np.sin(angle)), point[1]


def _plus(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]
