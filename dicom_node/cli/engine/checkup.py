"""The rows of the self-test, each filled in as far as this machine allows."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Final

from dicom_node import __version__
from dicom_node.cli.engine import timing
from dicom_node.cli.tables import print_table
from dicom_node.core.errors import BundleError, WorkerCrashed
from dicom_node.inference import machine, plans
from dicom_node.inference.bundle import load_bundle
from dicom_node.services.engine import current_key

if TYPE_CHECKING:
    from pathlib import Path

    from dicom_node.inference.bundle import Bundle

_MIB: Final = 1 << 20
_SILENT: Final = "not said by this machine"


def print_checkup(folder: Path, images: int) -> int:
    """Print everything about this device and a bundle on it; returns 0 where an accepted plan ran, 1 otherwise."""
    rows = _machine_rows()
    try:
        bundle = load_bundle(folder)
    except BundleError as error:
        rows.append(("bundle", str(error)))
        ran = False
    else:
        rows.append(("bundle", f"{bundle.manifest.name} {bundle.manifest.version}, {bundle.sha256[:16]}"))
        plan_rows, usable = _plan_rows(bundle)
        speed_rows, ran = _speed_rows(bundle, images)
        rows += plan_rows + speed_rows
        ran = ran and usable
    print_table("dicom-node self-test", ("what", "found"), rows)
    print("ok: an accepted plan runs here" if ran else "no accepted plan runs here: see the rows above")
    return 0 if ran else 1


def _machine_rows() -> list[tuple[str, str]]:
    total, free = machine.memory()
    return [
        ("dicom-node", __version__),
        ("Python", f"{platform.python_version()} {platform.machine()}"),
        ("system", f"{platform.system()} {platform.release()}"),
        ("ONNX Runtime", _version("onnxruntime")),
        ("numpy", _version("numpy")),
        ("pycuda", _version("pycuda")),
        ("board", machine.board() or _SILENT),
        ("L4T", machine.l4t() or _SILENT),
        ("NVIDIA driver", machine.driver() or _SILENT),
        ("power mode", machine.power_mode() or _SILENT),
        ("memory", f"{total / _MIB:.0f} MiB, {free / _MIB:.0f} MiB free, swap {machine.swap() / _MIB:.0f} MiB"),
    ]


def _plan_rows(bundle: Bundle) -> tuple[list[tuple[str, str]], bool]:
    """Return the rows about TensorRT and the plan, and whether the plan may be used here."""
    rows: list[tuple[str, str]] = []
    try:
        plans.require_modules()
        key = current_key(bundle, precision="")
        rows += [("TensorRT", key.tensorrt), ("GPU", f"{key.gpu}, SM {key.sm}"), ("platform", key.platform)]
        facts = plans.accepted(bundle.folder, key)
    except BundleError as reason:
        return [*rows, ("plan", str(reason))], False
    rows.append(("plan", f"{facts.key.name}, {facts.plan_bytes / _MIB:.1f} MiB, {facts.key.precision}"))
    rows.append(("build", f"{facts.build_s} s, {facts.peak_mib} MiB at most, on {facts.built_at}"))
    found = facts.acceptance
    if found is not None:
        differences = f"logit {found.logit:.4f}, probability {found.probability:.4f}"
        shares = f"peaks {found.peaks:.1%}, outcomes {found.outcomes:.1%}"
        rows.append(("acceptance", f"passed on {found.images}: cosine {found.cosine:.6f}, {differences}, {shares}"))
    return rows, True


def _speed_rows(bundle: Bundle, images: int) -> tuple[list[tuple[str, str]], bool]:
    """Return the rows about speed and power, and whether TensorRT ran."""
    idle = machine.watts()
    on_processor = _on_processor(bundle, images)
    on_gpu = timing.tensorrt(bundle, images)
    busy = machine.watts()
    power = _SILENT if idle is None or busy is None else f"{idle:.1f} W before, {busy:.1f} W right after"
    rows = [("ONNX Runtime speed", on_processor), ("TensorRT speed", str(on_gpu)), ("power", power)]
    return rows, isinstance(on_gpu, timing.Times)


def _on_processor(bundle: Bundle, images: int) -> str:
    try:
        return str(timing.onnx_runtime(bundle, images))
    except (BundleError, WorkerCrashed) as reason:
        return str(reason)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
