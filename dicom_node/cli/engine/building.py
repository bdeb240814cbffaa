"""Building a plan: what it will take is said first, how far it is while it runs, what it took afterwards."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from dicom_node.cli.engine.images import require_enough
from dicom_node.cli.engine.trial import try_plan
from dicom_node.core.errors import BundleError
from dicom_node.inference import machine, onnx_sizes, plans
from dicom_node.inference.bundle import load_bundle
from dicom_node.services.engine import current_key

if TYPE_CHECKING:
    import argparse

    from dicom_node.inference.bundle import Bundle

_MIB: Final = 1 << 20
_WORKSPACE_MOST: Final = 1 << 30


class ProgressLine:
    """How far a build is: one line that changes on a terminal, a line a phase elsewhere. Called from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: set[str] = set()

    def tell(self, text: str) -> None:
        """Show the text, which begins with the phase's name and a colon."""
        with self._lock:
            phase = text.partition(":")[0]
            if sys.stdout.isatty():
                sys.stdout.write(f"\r\033[K{text}")
            elif phase not in self._phases:
                self._phases.add(phase)
                sys.stdout.write(f"{phase}\n")
            sys.stdout.flush()

    def end(self) -> None:
        """Leave the line that changes."""
        if sys.stdout.isatty():
            sys.stdout.write("\n")


def build(args: argparse.Namespace) -> int:
    """Build a plan and try it; returns 0 where an accepted plan is in place in the end, 1 where it was not accepted.

    args: as `dicom-node engine build` takes them. Raises BundleError and WorkerCrashed.
    """
    plans.require_modules()
    require_enough(args.images)
    bundle = load_bundle(args.bundle)
    sizes = onnx_sizes.network_sizes(bundle.embedder_path, bundle.manifest.embedder.input_shape)
    key = current_key(bundle, sizes.precision)
    if _in_place(bundle, key) and not args.again:
        return 0
    workspace = args.workspace_mib * _MIB if args.workspace_mib else min(_WORKSPACE_MOST, machine.memory()[1] // 4)
    _check_memory(sizes, workspace, anyway=args.anyway)
    facts = _build(bundle, key, workspace)
    return 0 if try_plan(bundle, facts, args.images) else 1


def _in_place(bundle: Bundle, key: plans.PlanKey) -> bool:
    """Say whether there is an accepted plan of this key, or in one line why what lies there is none."""
    try:
        found = plans.accepted(bundle.folder, key)
    except BundleError as reason:
        print(str(reason).rpartition("; ")[0] + ": building it now")
        return False
    print(f"an accepted plan is in place: embedder-{found.key.name}.plan (--again builds it anew)")
    return True


def _check_memory(sizes: onnx_sizes.NetworkSizes, workspace: int, *, anyway: bool) -> None:
    """Say what the build will take and what there is; raises BundleError where that is too little."""
    needed, free = sizes.to_build(workspace), machine.memory()[1]
    print(
        f"weights {sizes.weights / _MIB:.0f} MiB ({sizes.precision}), largest activation "
        f"{sizes.largest_activation / _MIB:.0f} MiB, workspace up to {workspace / _MIB:.0f} MiB"
    )
    print(f"building needs about {needed / _MIB:.0f} MiB, {free / _MIB:.0f} MiB are free")
    if needed > free and not anyway:
        message = "too little memory: end other programs, add swap, lower --workspace-mib, or try it --anyway"
        raise BundleError(message)


def _build(bundle: Bundle, key: plans.PlanKey, workspace: int) -> plans.PlanFacts:
    from dicom_node.inference import tensorrt_embedder  # noqa: PLC0415 - absent on most machines

    table, line = bundle.manifest.embedder, ProgressLine()
    request = plans.BuildRequest(
        onnx=bundle.embedder_path,
        input_name=table.input_name,
        input_shape=tuple(table.input_shape),
        workspace_bytes=workspace,
        timing_cache=plans.timing_cache(bundle.folder),
        progress=line.tell,
    )
    begun = time.monotonic()
    with machine.MemoryWatch() as watch:
        built = tensorrt_embedder.build_plan(request)
    line.end()
    facts = plans.PlanFacts(
        key=key,
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        plan_bytes=len(built.plan),
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        build_s=round(time.monotonic() - begun, 1),
        peak_mib=watch.peak_bytes // _MIB,
    )
    plans.save(bundle.folder, facts, built.plan, built.timing_cache)
    size = facts.plan_bytes / _MIB
    print(
        f"built embedder-{key.name}.plan: {size:.1f} MiB in {facts.build_s} s, {facts.peak_mib} MiB of memory at most"
    )
    return facts
