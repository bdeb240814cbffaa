"""A disk of 64 MiB that fills up and gets room again (C39, figure 20)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.benchmarks.survive_table import Sight
from tests.support.small_disk import CrampedNode, missing, remove, small_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.benchmarks.survive_table import Scale

_FULL = 0xA700
_EXPECTED = "0xA700, nothing acknowledged lost, nothing half-written, on again in 30 s"
_LIMIT_S = 60.0


def rows(folder: Path, _scale: Scale) -> Iterator[tuple[str, str, Sight]]:
    """Yield what was seen below the reserve, without a free page and without inodes."""
    kinds = {
        "below the reserve": (16, lambda node: node.ballast(40)),
        "disk full to the last page": (0, CrampedNode.fill),
        "no inode left": (0, CrampedNode.take_inodes),
    }
    for number, (what, (reserve_mib, take)) in enumerate(kinds.items()):
        own = folder / f"full-{number}"
        own.mkdir()
        yield what, _EXPECTED, _seen(own, reserve_mib, take)


def _seen(folder: Path, reserve_mib: int, take: Callable[[CrampedNode], Path]) -> Sight:
    lack = missing()
    if lack:
        return Sight(f"not run: needs {lack}", held=True)
    with (
        small_disk(folder / "disk", "size=64m,nr_inodes=1000") as disk,
        CrampedNode(folder, disk, reserve_mib, reserve_mib, 2) as node,
    ):
        node.store(65536)
        ballast = take(node)
        refused = 0 if not node.accepts() else node.until_refused(65536)
        remove(ballast)
        again_s = _again(node)
        alive, status = node.alive(), node.stop()
        problems = node.problems()
    answer = f"0x{refused:04X}" if refused else "associations told to come back"
    kept = f"{len(node.acknowledged)} acknowledged, {'all whole' if not problems else '; '.join(problems)}"
    held = refused in (0, _FULL) and again_s <= 30.0 and alive and status == 0 and not problems
    return Sight(f"{answer}, {kept}, on again after {again_s:.1f} s", held)


def _again(node: CrampedNode) -> float:
    """Return the seconds until an instance is stored again."""
    began = time.monotonic()
    while time.monotonic() < began + _LIMIT_S:
        if node.accepts() and node.store(65536) == 0:
            break
        time.sleep(0.1)
    return time.monotonic() - began
