"""TensorRT plans beside a bundle: what each was built for, whether it was accepted, and which one may be used here.

A plan is three files whose endings a bundle's digest leaves out: `embedder-KEY.plan`, `embedder-KEY.facts.plan` (JSON)
and, shared by all of them, `embedder.timing-cache`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from dicom_node.core.errors import BundleError
from dicom_node.inference.acceptance import Acceptance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dicom_node.inference.bundle import Bundle

MODULES: Final = ("tensorrt", "pycuda")
BUILD: Final = "run `dicom-node engine build` on this device"
_FACTS: Final = ".facts.plan"
_CACHE: Final = "embedder.timing-cache"
_PARTIAL: Final = ".partial.plan"
_WORDS: Final = {
    "tensorrt": "TensorRT",
    "gpu": "GPU",
    "sm": "SM",
    "platform": "platform",
    "onnx_sha256": "network",
    "precision": "precision",
    "shapes": "shapes",
    "flags": "flags",
}


class NeedsBuild(BundleError):
    """No plan that fits this device lies beside the bundle; building one may mend that."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything that a plan is bound to; a plan whose key differs in one part is another plan.

    platform: L4T and drivers. precision: the type of the network's weights, decided when it was exported.
    """

    tensorrt: str
    gpu: str
    sm: str
    platform: str
    onnx_sha256: str
    precision: str
    shapes: str
    flags: str

    @property
    def name(self) -> str:
        """The first 16 hex digits of the SHA-256 over all parts."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def difference(self, here: PlanKey) -> str:
        """Return, in one line, which parts of this key differ from the one that is needed here; "" where none."""
        parts = []
        for field in fields(self):
            there, now = getattr(self, field.name), getattr(here, field.name)
            if there != now:
                parts.append(f"{_WORDS[field.name]} was {there[:40]}, is {now[:40]}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What is kept about a plan; peak_mib is memory taken while building.

    acceptance and known_logit (the plan's own answer to the known image, in that test) are None until it was tried.
    """

    key: PlanKey
    plan_sha256: str
    plan_bytes: int
    built_at: str
    build_s: float
    peak_mib: int
    acceptance: Acceptance | None = None
    known_logit: float | None = None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a plan is bound to on this device: TensorRT's version, the GPU's name and SM, the CUDA driver's version."""

    tensorrt: str
    gpu: str
    sm: str
    cuda_driver: str


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build: the network, its input (name, shape), the workspace limit in bytes, an earlier timing cache.

    progress is called with one line whenever TensorRT has come a step further, from threads of its own.
    """

    onnx: Path
    input_name: str
    input_shape: tuple[int, ...]
    workspace_bytes: int
    timing_cache: bytes
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A serialised plan, and the timing cache that makes the next build of the same network quick."""

    plan: bytes
    timing_cache: bytes


_ADAPTER: Final = TypeAdapter(PlanFacts)


def missing_modules() -> tuple[str, ...]:
    """Return which modules that TensorRT needs are not installed; nothing is imported."""
    return tuple(name for name in MODULES if importlib.util.find_spec(name) is None)


def require_modules() -> None:
    """Raise BundleError, with the way to install them, where TensorRT's modules are missing."""
    missing = missing_modules()
    if missing:
        message = f"not installed here: {', '.join(missing)}; TensorRT comes with JetPack, see docs/jetson.md"
        raise BundleError(message)


def network_sha256(bundle: Bundle) -> str:
    """Return the digest of the bundle's network, of the bytes that lie there now.

    Weights too many for one file lie beside the graph, in files whose names begin with the graph's.
    """
    path, digest = bundle.embedder_path, hashlib.sha256()
    for part in (path, *sorted(path.parent.glob(f"{path.name}.*"))):
        with part.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def shapes(bundle: Bundle) -> str:
    """Return the shapes that a plan of this bundle is built for, in words."""
    table = bundle.manifest.embedder
    sides = ((table.input_name, table.input_shape), (table.output_name, table.output_shape))
    return ", ".join(f"{name} {'x'.join(str(side) for side in shape)}" for name, shape in sides)


def timing_cache(folder: Path) -> bytes:
    """Return the timing cache of earlier builds, empty where there is none."""
    path = folder / _CACHE
    return path.read_bytes() if path.is_file() else b""


def save(folder: Path, facts: PlanFacts, plan: bytes, cache: bytes) -> None:
    """Write a plan with its facts and the timing cache, each whole or not at all; the facts come last.

    Raises BundleError where the folder cannot be written.
    """
    _write(folder / f"embedder-{facts.key.name}.plan", plan)
    _write(folder / _CACHE, cache)
    save_facts(folder, facts)


def save_facts(folder: Path, facts: PlanFacts) -> None:
    """Write a plan's facts anew, after an acceptance test. Raises BundleError where the folder cannot be written."""
    _write(folder / f"embedder-{facts.key.name}{_FACTS}", _ADAPTER.dump_json(facts, indent=2))


def saved(folder: Path) -> tuple[PlanFacts, ...]:
    """Return the facts of every plan here; what cannot be read counts as no plan."""
    found = []
    for path in sorted(folder.glob(f"embedder-*{_FACTS}")):
        try:
            found.append(_ADAPTER.validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return tuple(found)


def fingerprint(folder: Path) -> str:
    """Return one digest of all plans that are here, without asking any device."""
    return hashlib.sha256(" ".join(sorted(facts.plan_sha256 for facts in saved(folder))).encode()).hexdigest()


def remove(folder: Path, names: frozenset[str]) -> tuple[str, ...]:
    """Remove the plans of these keys, and what an interrupted build left; return the names of the removed files.

    A plan whose facts are not there, or cannot be read, is such a leftover: nothing names it, and nothing uses it.
    """
    kept = {f"embedder-{facts.key.name}" for facts in saved(folder)} - {f"embedder-{name}" for name in names}
    doomed = [path for path in folder.glob("embedder-*.plan") if path.name.partition(".")[0] not in kept]
    doomed += folder.glob(f"*{_PARTIAL}")
    for path in doomed:
        path.unlink(missing_ok=True)
    return tuple(sorted(path.name for path in doomed))


def read_plan(folder: Path, facts: PlanFacts) -> bytes:
    """Return a plan's bytes after checking them. Raises NeedsBuild where they are gone or not what was accepted."""
    path = folder / f"embedder-{facts.key.name}.plan"
    try:
        plan = path.read_bytes()
    except OSError as error:
        message = f"{path.name}: cannot be read ({error.strerror}); {BUILD}"
        raise NeedsBuild(message) from None
    if hashlib.sha256(plan).hexdigest() != facts.plan_sha256:
        message = f"{path.name}: altered since it was built; {BUILD}"
        raise NeedsBuild(message)
    return plan


def exact(folder: Path, here: PlanKey) -> PlanFacts:
    """Return the plan of exactly this key, accepted or not. Raises NeedsBuild saying what differs.

    The precision follows from the network's digest, so a plan's own word for it is taken: telling it anew would need
    the onnx package in the worker.
    """
    plans = saved(folder)
    if not plans:
        message = f"no TensorRT plan was built; {BUILD}"
        raise NeedsBuild(message)
    differences = {facts: facts.key.difference(replace(here, precision=facts.key.precision)) for facts in plans}
    fitting = [facts for facts, difference in differences.items() if not difference]
    if not fitting:
        newest = max(plans, key=lambda facts: facts.built_at)
        message = f"the TensorRT plan is for something else ({differences[newest]}); {BUILD}"
        raise NeedsBuild(message)
    return fitting[0]


def accepted(folder: Path, here: PlanKey) -> PlanFacts:
    """Return the plan of exactly this key with a passed acceptance.

    Raises BundleError saying why there is none: NeedsBuild where a build may mend that.
    """
    facts = exact(folder, here)
    if facts.acceptance is None or facts.known_logit is None:
        message = "the TensorRT plan was never tried; run `dicom-node engine verify`"
        raise NeedsBuild(message)
    if not facts.acceptance.passed:
        message = f"the TensorRT plan failed its acceptance test ({facts.acceptance.problems[0]}); {BUILD}"
        raise BundleError(message)
    return facts


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.chmod(0o644)  # an administrator may build what a node, as another user, reads
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        message = f"{path}: cannot be written ({error.strerror}); run this as a user who may write the bundle's folder"
        raise BundleError(message) from None
