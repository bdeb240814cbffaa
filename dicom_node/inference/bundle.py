"""A model bundle: verified byte by byte before anything in it is believed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import numpy as np
import safetensors
import safetensors.numpy

from dicom_node.core.decision import Gate
from dicom_node.core.errors import BundleError
from dicom_node.core.intended_use import IntendedUse
from dicom_node.core.model_identity import ModelIdentity
from dicom_node.inference.bundle_digest import SUMS, read_sums
from dicom_node.inference.manifest import Manifest, MapKind, parse_manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MANIFEST: Final = "manifest.toml"
_EMBEDDER: Final = "embedder.onnx"
_HEAD: Final = "head.safetensors"
_CARD: Final = "MODEL_CARD.md"
_LICENCES: Final = frozenset({"LICENSE", "NOTICE"})
_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *]([^\0]+)")
BUILT_HERE: Final = frozenset({".plan", ".timing-cache"})
"""Endings of what a device builds for itself beside the bundle: bound to its own GPU, checked by a key of its own."""


@dataclass(frozen=True, slots=True)
class Head:
    """The linear head, float32: weight [grid rows, grid columns, channels], localiser_weight [channels] or None."""

    weight: NDArray[np.float32]
    bias: float
    localiser_weight: NDArray[np.float32] | None
    localiser_bias: float


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, all that the pipeline needs but the running embedder."""

    folder: Path
    sha256: str
    manifest: Manifest
    head: Head
    gate: Gate
    intended_use: IntendedUse

    @property
    def embedder_path(self) -> Path:
        """The ONNX file, verified when the bundle was loaded."""
        return self.folder / _EMBEDDER

    @property
    def gate_map(self) -> MapKind:
        """Which map the gate measures and readers see."""
        return self.manifest.gate_map


def load_bundle(folder: Path, expected_sha256: str | None = None) -> Bundle:
    """Return the bundle in a folder after verifying every file in it.

    Raises BundleError, one line with file and remedy, where a file is missing, altered or unlisted, where the manifest
    breaks its schema or the head its shape, or where the digest is not the expected one.
    """
    sums = read_sums(folder)
    digest = hashlib.sha256(sums).hexdigest()
    if expected_sha256 is not None and digest != expected_sha256.lower():
        message = (
            f"{folder}: the digest is {digest}, the settings expect {expected_sha256}; install the expected bundle"
        )
        raise BundleError(message)
    listed = _parse_sums(sums)
    _check_complete(folder, listed)
    for name, expected in listed.items():
        _check_file(folder, name, expected)
    manifest = parse_manifest(_read_verified(folder, _MANIFEST, listed))
    head = _load_head(_read_verified(folder, _HEAD, listed), manifest)
    return Bundle(
        folder=folder,
        sha256=digest,
        manifest=manifest,
        head=head,
        gate=manifest.core_gate(),
        intended_use=manifest.core_intended_use(),
    )


def identity(bundle: Bundle, runtime: str) -> ModelIdentity:
    """Return what every result says about the model: its name, digest and runtime, and the settings of its decision."""
    manifest, gate = bundle.manifest, bundle.gate
    calibration = manifest.calibration
    parameters = [
        ("preprocessing", manifest.preprocessing.id),
        ("calibration", f"{calibration.id} ({calibration.method}, a = {calibration.a:g}, d = {calibration.d:g})"),
        ("gate policy", gate.policy.value),
        ("negative below probability", f"{gate.p_low:g}"),
        ("positive from probability", f"{gate.p_high:g}"),
        ("map measured", bundle.gate_map),
        ("active from share of maximum", f"{gate.alpha:g}"),
        ("largest entropy trusted", f"{gate.entropy_max:g}"),
        ("largest active area trusted", f"{gate.area_max:g}"),
        ("largest share outside body", f"{gate.out_of_body_max:g}"),
        ("views disagree beyond", f"{gate.disagreement_margin:g}"),
        ("bundle SHA-256", bundle.sha256),
    ]
    for region in gate.regions:
        text = "inconclusive only" if region.p_low is None else f"{region.p_low:g}"
        parameters.append((f"negative below, {region.name}", text))
    if manifest.gate.bound is not None:
        parameters.append(("bound", manifest.gate.bound.statement))
    return ModelIdentity(
        name=manifest.name,
        version=manifest.version,
        manufacturer=manifest.manufacturer,
        bundle_sha256=bundle.sha256,
        demonstration=manifest.demonstration,
        runtime=runtime,
        parameters=tuple(parameters),
    )


def _parse_sums(content: bytes) -> dict[str, str]:
    listed: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        name = PurePosixPath(match[2]) if match else PurePosixPath()
        if match is None or name.is_absolute() or ".." in name.parts or str(name) in listed:
            message = f"{SUMS}: line {number} is no line of sha256sum for a file in the bundle; renew it with sha256sum"
            raise BundleError(message)
        listed[str(name)] = match[1]
    return listed


def _check_complete(folder: Path, listed: dict[str, str]) -> None:
    for name in (_MANIFEST, _EMBEDDER, _HEAD, _CARD):
        if name not in listed:
            message = f"{folder / SUMS}: does not list {name}; a bundle without it is not complete"
            raise BundleError(message)
    if not _LICENCES & listed.keys():
        message = f"{folder / SUMS}: lists neither LICENSE nor NOTICE; add the terms the model may be used under"
        raise BundleError(message)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            message = f"{path}: a link has no place in a bundle; put the file itself there"
            raise BundleError(message)
        if path.is_file() and name not in listed and name != SUMS and path.suffix not in BUILT_HERE:
            message = f"{path}: not listed in {SUMS}; remove the file or list it"
            raise BundleError(message)


def _check_file(folder: Path, name: str, expected: str) -> None:
    digest = hashlib.sha256()
    try:
        with (folder / name).open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        message = f"{folder / name}: cannot be read ({error.strerror}); restore the bundle"
        raise BundleError(message) from None
    if digest.hexdigest() != expected:
        message = f"{folder / name}: altered since {SUMS} was written; restore the bundle"
        raise BundleError(message)


def _read_verified(folder: Path, name: str, listed: dict[str, str]) -> bytes:
    """Read a small file again and check these very bytes, so that no swap fits between check and use."""
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != listed[name]:
        message = f"{folder / name}: altered while it was read; restore the bundle"
        raise BundleError(message)
    return content


def _load_head(content: bytes, manifest: Manifest) -> Head:
    try:
        tensors = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, ValueError):
        message = f"{_HEAD}: not a safetensors file; restore the bundle"
        raise BundleError(message) from None
    channels = manifest.head.channels
    wanted: dict[str, tuple[int, ...]] = {"weight": (*manifest.head.grid, channels), "bias": (1,)}
    if manifest.head.localiser:
        wanted |= {"localiser_weight": (channels,), "localiser_bias": (1,)}
    if tensors.keys() != wanted.keys():
        message = f"{_HEAD}: holds {sorted(tensors)}, the manifest needs {sorted(wanted)}; export the head again"
        raise BundleError(message)
    for name, shape in wanted.items():
        tensor = tensors[name]
        if tensor.dtype != np.float32 or tensor.shape != shape or not np.isfinite(tensor).all():
            message = f"{_HEAD}: {name} must be finite float32 of shape {shape}; export the head again"
            raise BundleError(message)
    return Head(
        weight=tensors["weight"],
        bias=float(tensors["bias"][0]),
        localiser_weight=tensors.get("localiser_weight"),
        localiser_bias=float(tensors["localiser_bias"][0]) if manifest.head.localiser else 0.0,
    )
