"""What a changed configuration means for a running node: applied now, or what must be started again for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_node.settings import Settings

#: What the node takes over while it runs; a name with a dot at its end stands for the whole section.
LIVE = (
    "destinations",
    "study.",
    "page.",  # by the page, which follows the node
    "node.peers",
    "node.tls",
    "node.max_associations",
    "node.pending_per_address",
    "node.request_timeout_s",
    "node.network_timeout_s",
    "node.pdu_timeout_s",
    "node.max_object_mib",
    "node.reserve_mib",
)
#: What the worker reads at its start, and the node does not need; the rest needs both.
WORKERS = (
    "results.",
    "analysis.runtime",
    "analysis.fallback",
    "analysis.providers",
    "analysis.release_idle_s",
    "analysis.threads",
    "analysis.decode_memory_mib",
    "analysis.decode_wall_s",
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Keys whose value changed: those that can be applied, those for which the worker or everything must restart."""

    applied: tuple[str, ...] = ()
    restart_worker: tuple[str, ...] = ()
    restart_all: tuple[str, ...] = ()


def changes(before: Settings, after: Settings) -> Changes:
    """Return what differs between the settings in force and those of the file."""
    old, new = _flat(before), _flat(after)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    live = tuple(key for key in differing if _is_in(key, LIVE))
    worker = tuple(key for key in differing if _is_in(key, WORKERS))
    return Changes(live, worker, tuple(key for key in differing if key not in live and key not in worker))


def in_force(before: Settings, after: Settings) -> Settings:
    """Return the settings a node runs with once it has applied what it can of the new ones."""
    node = {key.removeprefix("node."): None for key in LIVE if key.startswith("node.")}
    live = {name: getattr(after.node, name) for name in node}
    update = {
        "destinations": after.destinations,
        "study": after.study,
        "page": after.page,
        "node": before.node.model_copy(update=live),
    }
    return before.model_copy(update=update)


def _is_in(key: str, names: tuple[str, ...]) -> bool:
    return any(key.startswith(name) if name.endswith(".") else key == name for name in names)


def _flat(settings: Settings) -> dict[str, Any]:
    """Return every setting by its dotted name; the destinations are one."""
    flat: dict[str, Any] = {}
    for section, value in settings.model_dump().items():
        if isinstance(value, dict):
            flat |= {f"{section}.{key}": item for key, item in value.items()}
        else:
            flat[section] = value
    return flat
