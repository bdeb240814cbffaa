"""What is kept of an analysed image between analysis and composition: a folder with one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from dicom_node.core.radiograph import EvidenceMap, InputGeometry

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_FILE = "view.safetensors"


def save(
    folder: Path,
    display: NDArray[np.uint8],
    maps: dict[str, EvidenceMap],
    features: NDArray[np.float32] | None,
) -> None:
    """Write a new folder with the display rendering, the maps ("shown", "evidence") and the retrieval vector."""
    tensors: dict[str, NDArray[np.generic]] = {"display": np.ascontiguousarray(display)}
    metadata: dict[str, str] = {}
    for name, map_ in maps.items():
        tensors[f"{name}.values"] = np.ascontiguousarray(map_.values, dtype=np.float32)
        tensors[f"{name}.body"] = np.ascontiguousarray(map_.body, dtype=np.uint8)
        metadata[name] = json.dumps({"kind": map_.kind, "geometry": asdict(map_.geometry)}, sort_keys=True)
    if features is not None:
        tensors["features"] = np.ascontiguousarray(features, dtype=np.float32)
    folder.mkdir(mode=0o700)
    save_file(tensors, folder / _FILE, metadata=metadata)


def load(folder: Path) -> tuple[NDArray[np.uint8], EvidenceMap | None]:
    """Return the display rendering and the map that is shown to readers, None where there is none."""
    with safe_open(folder / _FILE, framework="numpy") as file:
        display: NDArray[np.uint8] = file.get_tensor("display")
        described = (file.metadata() or {}).get("shown")
        if described is None:
            return display, None
        facts = json.loads(described)
        shown = EvidenceMap(
            values=file.get_tensor("shown.values"),
            body=file.get_tensor("shown.body").astype(bool),
            geometry=InputGeometry(**facts["geometry"]),
            kind=facts["kind"],
        )
    return display, shown
