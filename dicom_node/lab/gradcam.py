"""Where a score comes from, in closed form and by pytorch-grad-cam, for any network that ends in one linear head.

The gradient of z = sum(w * F) + b with respect to the feature map F is w itself, so Grad-CAM (Selvaraju et al., ICCV
2017) and HiResCAM (Draelos and Carin, arXiv 2011.08891) need no backward pass. pytorch-grad-cam is the reference.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.inference.bundle import Head
from dicom_node.inference.evidence import evidence_map
from dicom_node.lab.runs import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TOLERANCE: Final = 1e-3
"""The most that sum(M) + c may be away from z (models.md)."""

_STANDS_IN: Final = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def pooled_head(weight: NDArray[np.float32], bias: float, rows: int, columns: int) -> Head:
    """Return the head of a network with global average pooling and one linear layer, weight [channels].

    Every cell of the map [rows, columns] gets the same share of the weight: w / (rows * columns).
    """
    share = np.asarray(weight, dtype=np.float64) / (rows * columns)
    spread = np.broadcast_to(share.astype(np.float32), (rows, columns, len(share)))
    return Head(np.ascontiguousarray(spread), float(bias), None, 0.0)


def grad_cam(features: NDArray[np.float32], head: Head, pool: int) -> NDArray[np.float32]:
    """Return Grad-CAM's raw map [rows, columns] of features [rows, columns, channels]: signed, before any relu.

    A channel's weight is the mean over the cells of its gradient; `pool` is how many cells of the features, on a side,
    are averaged into one cell of the head.
    """
    weight = head.weight.mean(axis=(0, 1), dtype=np.float64) / (pool * pool)
    return np.asarray(features @ weight.astype(np.float32), dtype=np.float32)


def hires_cam(features: NDArray[np.float32], head: Head, pool: int) -> NDArray[np.float32]:
    """Return HiResCAM's raw map, which is the exact evidence map: its sum plus the bias is the logit."""
    return evidence_map(features, head, pool)


def residue(evidence: NDArray[np.float32], bias: float, z: float) -> float:
    """Return |sum(M) + c - z|: above TOLERANCE the map does not belong to the score."""
    return abs(float(evidence.sum(dtype=np.float64)) + bias - z)


def load_reference() -> Any:
    """Return the module pytorch_grad_cam.

    It imports torchvision for a few transforms and one target that are not used here. Where torchvision is missing or
    does not fit this build of torch, empty names stand in for it during the import and are gone afterwards.
    """
    try:
        with _TorchvisionStandIn():
            return importlib.import_module("pytorch_grad_cam")
    except ImportError as error:
        message = f"pytorch-grad-cam cannot be imported ({error}): pip install --no-deps grad-cam ttach tqdm"
        raise LabError(message) from error


class _TorchvisionStandIn:
    """While it is entered, `import torchvision` works: the real one if it does, else the names grad-cam asks for."""

    def __init__(self) -> None:
        self._added: list[str] = []

    def __enter__(self) -> None:
        if "pytorch_grad_cam" in sys.modules:
            return
        try:
            importlib.import_module("torchvision.transforms")
        except (ImportError, RuntimeError, OSError):
            # A torchvision of another build fails half-way, with operators that this torch does not have.
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            for name in _STANDS_IN:
                sys.modules[name] = _module(name)
                self._added.append(name)

    def __exit__(self, *_: object) -> None:
        for name in self._added:
            sys.modules.pop(name, None)


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__path__ = []
    vars(module)["__getattr__"] = _anything
    return module


def _anything(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _missing


def _missing(*_: object, **__: object) -> None:
    message = "this part of pytorch-grad-cam needs torchvision, which does not work beside this build of torch"
    raise LabError(message)


def raw_maps(
    model: Any, layer: Any, inputs: Any, method: str, target: Callable[[Any], Any] | None = None
) -> NDArray[np.float32]:
    """Return pytorch-grad-cam's own maps [B, rows, columns], before its relu, resizing and scaling to [0, 1].

    method: "GradCAM" or "HiResCAM". layer: whose output is the feature map. target: picks the score of one image from
    the network's output [outputs]; the first output where it is left out.
    """
    with getattr(load_reference(), method)(model=model, target_layers=[layer]) as cam:
        targets = [target or _first] * len(inputs)
        outputs = cam.activations_and_grads(inputs)
        model.zero_grad()
        sum(one(output) for one, output in zip(targets, outputs, strict=True)).backward()
        activations = cam.activations_and_grads.activations[0].cpu().numpy()
        gradients = cam.activations_and_grads.gradients[0].cpu().numpy()
        found = cam.get_cam_image(inputs, layer, targets, activations, gradients, eigen_smooth=False)
    model.zero_grad()
    return np.asarray(found, dtype=np.float32)


def _first(output: Any) -> Any:
    return output[0]


def relative_difference(maps: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the largest difference of two maps as a share of the reference's largest magnitude."""
    scale = float(np.abs(reference).max())
    gap = float(np.abs(maps.astype(np.float64) - reference).max())
    return gap / scale if scale > 0.0 else gap
