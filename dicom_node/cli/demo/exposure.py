"""What a detector makes of a phantom: attenuation, scatter, unsharpness, noise, collimation and a lead marker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dicom_node.cli.demo.skeleton import Tube, View, project

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 12
# Attenuation at about 55 kV, per millimetre; bone is what it adds to the soft tissue that it takes the place of.
_SOFT = 0.0215
_COMPACT = 0.062
_SPONGY = 0.0165
_MARROW = 0.004
_PHOTONS = 9000.0
_SCATTER = 0.06
_COMPRESSION = 0.50  # share of what varies slowly that the processing takes out, as every maker's does
_LIGHT = -0.05  # what is shown black after that; white is what only one pixel in 300 exceeds


def expose(bones: Sequence[Tube], soft: Sequence[Tube], view: View, marker: str, seed: int) -> NDArray[np.uint16]:
    """Return a 12-bit radiograph [rows, columns], bone bright; the same seed gives the same image."""
    random = np.random.default_rng(seed)
    flesh = _flesh(soft, view)
    attenuation = _SOFT * flesh * (1.0 + 0.030 * _texture(random, view, (38.0, 7.0)))
    attenuation += _skeleton(bones, view, random)
    cv2.GaussianBlur(attenuation, (0, 0), 0.20 / view.spacing, dst=attenuation)
    _lead(attenuation, view, marker)
    exposure = np.exp(-attenuation)
    exposure = (1.0 - _SCATTER) * exposure + _SCATTER * cv2.GaussianBlur(exposure, (0, 0), 9.0 / view.spacing)
    exposure *= 1.0 - 0.10 * np.linspace(0.0, 1.0, view.shape[0], dtype=np.float32)[:, None] ** 2  # the heel effect
    counts = exposure * _PHOTONS + random.normal(size=view.shape).astype(np.float32) * np.sqrt(exposure * _PHOTONS)
    measured = -np.log(np.maximum(counts, 1.0) / _PHOTONS)
    slow = cv2.GaussianBlur(measured, (0, 0), 11.0 / view.spacing)
    flat = measured - _COMPRESSION * slow
    dense = max(float(np.percentile(flat, 99.7)), 1.1)
    grey = np.clip((flat - _LIGHT) / (dense - _LIGHT), 0.0, 1.0) ** 0.85
    shown = (0.025 + 0.965 * grey) * _collimation(view)
    return np.asarray(np.round(shown * (2**BITS - 1)), dtype=np.uint16)


def _flesh(soft: Sequence[Tube], view: View) -> NDArray[np.float32]:
    """Return the soft tissue's thickness in mm: the tubes melt into each other, then skin rounds off what is sharp."""
    total = np.zeros(view.shape, dtype=np.float32)
    for tube in soft:
        chords = project(tube, view)
        if chords is not None:
            total[chords.window] += chords.whole**3
    return np.asarray(cv2.GaussianBlur(np.cbrt(total), (0, 0), 1.1 / view.spacing), dtype=np.float32)


def _skeleton(bones: Sequence[Tube], view: View, random: np.random.Generator) -> NDArray[np.float32]:
    total = np.zeros(view.shape, dtype=np.float32)
    lattice = 1.0 + 0.20 * _texture(random, view, (1.5, 0.55)) + 0.16 * _texture(random, view, (0.6, 0.9))
    for bone in bones:
        chords = project(bone, view)
        if chords is None:
            continue
        spongy = _MARROW + (_SPONGY - _MARROW) * np.sqrt(chords.ends)
        total[chords.window] += _COMPACT * (chords.whole - chords.inner)
        total[chords.window] += spongy * chords.inner * lattice[chords.window]
    return total


def _texture(random: np.random.Generator, view: View, grain_mm: tuple[float, float]) -> NDArray[np.float32]:
    """Return noise of mean 0 and deviation 1 with this grain along and across the limb."""
    along, across = (0.5 * grain / view.spacing for grain in grain_mm)
    noise = random.normal(size=view.shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=along)
    return np.asarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), dtype=np.float32)


def _lead(attenuation: NDArray[np.float32], view: View, marker: str) -> None:
    """Lay the side letter and the word PHANTOM in lead on the detector, so that the image itself says what it is."""
    rows, columns = view.shape
    scale = columns / 170.0
    stamp = np.zeros(view.shape, dtype=np.uint8)
    place = (int(columns - 20 * scale), int(rows * 0.055 + 9 * scale))
    cv2.putText(stamp, marker, place, cv2.FONT_HERSHEY_DUPLEX, 0.42 * scale, 255, round(0.9 * scale), cv2.LINE_AA)
    small = (int(columns - 33 * scale), int(rows * 0.055 + 14.5 * scale))
    cv2.putText(stamp, "PHANTOM", small, cv2.FONT_HERSHEY_DUPLEX, 0.14 * scale, 255, round(0.3 * scale), cv2.LINE_AA)
    attenuation += stamp.astype(np.float32) / 255.0 * 2.1


def _collimation(view: View) -> NDArray[np.float32]:
    """Return 1 in the exposed field and 0 outside: four blades, a little askew, with a soft edge."""
    rows, columns = view.shape
    corners = np.array([[0.035, 0.025], [0.968, 0.030], [0.972, 0.975], [0.030, 0.970]]) * (columns, rows)
    field = np.zeros(view.shape, dtype=np.float32)
    cv2.fillConvexPoly(field, np.round(corners).astype(np.int32), 1.0)
    return np.asarray(cv2.GaussianBlur(field, (0, 0), 0.5 / view.spacing), dtype=np.float32)
