"""Pictures of where a network looked: pytorch-grad-cam's overlay beside the closed forms, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from dicom_node.core.radiograph import EvidenceMap
from dicom_node.inference.evidence import evidence_map
from dicom_node.lab import gradcam, hybrid
from dicom_node.report.heatmap import blend, share_of_maximum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.core.radiograph import InputGeometry
    from dicom_node.lab.hybrid import Classifier, Shape

HEIGHT: Final = 384
"""Of a panel, in pixels."""
_STRIP: Final = 44
_GAP: Final = 6
_WIDEST: Final = 640


@dataclass(frozen=True, slots=True)
class Explained:
    """One image: its maps by both ways [rows, columns], raw and signed, and how far they are from each other.

    z: the logit of a fracture. grad_difference, hires_difference: largest difference as a share of the reference's
    largest magnitude. residue: |sum(evidence) + bias - z|. scaled: pytorch-grad-cam's own display map [side, side].
    """

    z: float
    grad_cam: NDArray[np.float32]
    evidence: NDArray[np.float32]
    scaled: NDArray[np.float32]
    grad_difference: float
    hires_difference: float
    residue: float


def explain(model: Classifier, shape: Shape, grey: NDArray[np.uint8]) -> Explained:
    """Return one image's maps in closed form and by pytorch-grad-cam (its Grad-CAM and HiResCAM)."""
    import torch  # noqa: PLC0415 - the module's drawing needs none

    x = hybrid.Inputs(hybrid.encode(shape, grey)[None]).batch(np.array([0]))
    with torch.inference_mode():
        features = model.features(x).permute(0, 2, 3, 1).numpy()[0]
        z = float(hybrid.margin(model(x))[0])
    head = hybrid.margin_head(model, features.shape[0], features.shape[1])
    ours, evidence = gradcam.grad_cam(features, head, 1), evidence_map(features, head, 1)
    reference = {
        name: gradcam.raw_maps(model, model.target_layer, x, name, _margin)[0] for name in ("GradCAM", "HiResCAM")
    }
    with gradcam.load_reference().GradCAM(model=model, target_layers=[model.target_layer]) as cam:
        scaled = np.asarray(cam(input_tensor=x, targets=[_margin])[0], dtype=np.float32)
    return Explained(
        z=z,
        grad_cam=ours,
        evidence=evidence,
        scaled=scaled,
        grad_difference=gradcam.relative_difference(ours, reference["GradCAM"]),
        hires_difference=gradcam.relative_difference(evidence, reference["HiResCAM"]),
        residue=gradcam.residue(evidence, head.bias, z),
    )


def _margin(output: Any) -> Any:
    return output[1] - output[0] if len(output) > 1 else output[0]


def side_by_side(shape: Shape, grey: NDArray[np.uint8], explained: Explained, caption: str) -> NDArray[np.uint8]:
    """Return one picture, RGB: the image, pytorch-grad-cam's overlay, and our Grad-CAM and signed evidence."""
    geometry = shape.prepare(grey).geometry
    width = min(_WIDEST, max(1, round(grey.shape[1] * HEIGHT / grey.shape[0])))
    small = np.asarray(cv2.resize(grey, (width, HEIGHT), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    panels = [
        ("image", cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)),
        ("pytorch-grad-cam", reference_overlay(small, explained.scaled, geometry)),
        ("closed form", blend(small, _share(explained.grad_cam, geometry, small.shape))),
        ("evidence: + red, - blue", signed(small, explained.evidence, geometry)),
    ]
    drawn = [_captioned(panel, title) for title, panel in panels]
    gap = np.full((drawn[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    joined = np.hstack([part for panel in drawn for part in (panel, gap)][:-1])
    return np.vstack([_strip(caption, joined.shape[1]), joined])


def _share(plane: NDArray[np.float32], geometry: InputGeometry, size: tuple[int, ...]) -> NDArray[np.float32]:
    shown = EvidenceMap(plane, np.ones(plane.shape, dtype=np.bool_), geometry, "evidence")
    return share_of_maximum(shown, size[0], size[1])


def signed(grey: NDArray[np.uint8], evidence: NDArray[np.float32], geometry: InputGeometry) -> NDArray[np.uint8]:
    """Return grey with what speaks for a fracture in red and what speaks against it in blue, on one scale."""
    highest = float(np.abs(evidence).max()) or 1.0
    sides = []
    for plane in (evidence, -evidence):
        top = max(float(plane.max()), 0.0)
        sides.append(np.clip(_share(plane, geometry, grey.shape), 0, 1)[..., None] * (top / highest))
    base = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    red, blue = np.array([255, 40, 0], dtype=np.float32), np.array([0, 110, 255], dtype=np.float32)
    for_it, against = 0.6 * sides[0], 0.6 * sides[1]
    mixed = base * (1 - for_it - against) + red * for_it + blue * against
    return np.asarray(np.clip(mixed, 0, 255), dtype=np.uint8)


def reference_overlay(
    grey: NDArray[np.uint8], scaled: NDArray[np.float32], geometry: InputGeometry
) -> NDArray[np.uint8]:
    """Return pytorch-grad-cam's own overlay (its colours, its scaling to [0, 1]) on an image of this size."""
    top, left, bottom, right = (round(edge) for edge in geometry.content)
    laid = cv2.resize(scaled[top:bottom, left:right], (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_LINEAR)
    rgb = np.repeat(grey[..., None], 3, axis=2).astype(np.float32) / np.float32(255.0)
    show = gradcam.load_reference().utils.image.show_cam_on_image
    return np.asarray(show(rgb, np.clip(laid, 0, 1), use_rgb=True), dtype=np.uint8)


def _captioned(panel: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    return np.vstack([_strip(title, panel.shape[1]), panel])


def _strip(text: str, width: int) -> NDArray[np.uint8]:
    """Return a white strip with one line, as large as fits."""
    strip = np.full((_STRIP // 2, width, 3), 255, dtype=np.uint8)
    (length, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    size = 0.5 * min(1.0, (width - 8) / length)
    cv2.putText(strip, text, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
