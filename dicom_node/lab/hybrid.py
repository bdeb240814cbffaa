"""The networks of the triage and of the folder CNN, their inputs, and the scores and maps that a trained one gives."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.inference import stretch
from dicom_node.inference.evidence import evidence_map
from dicom_node.inference.preprocess import LCN_LETTERBOX_512, Prepared, prepare
from dicom_node.lab import gradcam, layouts
from dicom_node.lab.network import CHANNELS, CompactEmbedder
from dicom_node.lab.resnet import ResNet18
from dicom_node.lab.runs import LabError, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.inference.bundle import Head
    from dicom_node.lab.layouts import Listing, Row

STRETCH: Final = "stretch"
NETWORKS: Final = ("resnet18", "compact")
WEIGHTS: Final = "best.pt"
# Local contrast lies in [-5, 5]: 16-bit whole numbers hold it to 1/6000.
_LCN_SCALE: Final = 6000.0
_LCN_SIDE: Final = 512
_CHUNK: Final = 32


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is and what it is fed.

    outputs: 1 logit (binary cross-entropy) or 2 (cross-entropy). preprocessing: "stretch" (as the published systems do,
    to `side` x `side` pixels) or lcn-letterbox-512-v1; preprocessing_id is what a bundle calls either.
    """

    network: str
    outputs: int
    preprocessing: str
    side: int

    def __post_init__(self) -> None:
        if self.network not in NETWORKS or self.preprocessing not in {STRETCH, LCN_LETTERBOX_512}:
            message = f"unknown network or preprocessing: {self.network!r}, {self.preprocessing!r}"
            raise LabError(message)
        if self.preprocessing == LCN_LETTERBOX_512 and self.side != _LCN_SIDE:
            message = f"{LCN_LETTERBOX_512} makes {_LCN_SIDE}-px inputs, not {self.side}"
            raise LabError(message)
        if self.preprocessing == STRETCH and not stretch.is_side(self.side):
            message = f"--side {self.side}: give a multiple of {stretch.SIDE_STEP} up to {stretch.SIDE_MAX}"
            raise LabError(message)

    @property
    def preprocessing_id(self) -> str:
        """Return the id under which a node prepares images for this network."""
        return stretch.id_of(self.side) if self.preprocessing == STRETCH else self.preprocessing

    def prepare(self, grey: NDArray[np.uint8]) -> Prepared:
        """Return what a node makes of an image (uint8 [rows, columns]); training knows no other way."""
        return prepare(self.preprocessing_id, np.asarray(grey, dtype=np.uint16) * np.uint16(257))


class CompactClassifier(nn.Module):  # type: ignore[misc] # torch is read as Any
    """The compact embedder under global average pooling and one linear layer."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embedder = CompactEmbedder()
        self.fc = nn.Linear(CHANNELS, outputs)

    def features(self, x: Tensor) -> Tensor:
        """Return the feature map, channels first."""
        return self.embedder(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [B, outputs]."""
        return self.fc(self.features(x).mean((2, 3)))

    @property
    def target_layer(self) -> nn.Module:
        """Return the layer whose output is the feature map."""
        return self.embedder


Classifier = ResNet18 | CompactClassifier


def build(shape: Shape) -> Classifier:
    """Return an untrained network of this shape."""
    return ResNet18(shape.outputs) if shape.network == "resnet18" else CompactClassifier(shape.outputs)


def save(path: Path, shape: Shape, state: dict[str, Tensor]) -> None:
    """Write a network aside and move it into place."""
    aside = path.with_name(f"{path.name}.new")
    torch.save({"shape": asdict(shape), "state": state}, aside)
    aside.replace(path)


def load(run: Path) -> tuple[Classifier, Shape]:
    """Return the best network of a run, ready to be asked."""
    path = run / WEIGHTS
    if not path.exists():
        message = f"{run}: holds no {WEIGHTS}; give the folder of a finished `lab train`"
        raise LabError(message)
    found = torch.load(path, weights_only=True)
    shape = Shape(**found["shape"])
    model = build(shape)
    model.load_state_dict(found["state"])
    return model.eval(), shape


@dataclass(frozen=True, slots=True)
class Inputs:
    """The prepared images on disk: codes [n, side, side], uint8 for the stretch (exact), int16 for local contrast."""

    codes: NDArray[Any]

    def batch(self, places: NDArray[np.int64]) -> Tensor:
        """Return the inputs [B, 1, side, side] at these places."""
        chosen = self.codes[places]
        if chosen.dtype == np.uint8:
            return torch.from_numpy(stretch.unit(chosen))[:, None]
        return torch.from_numpy(np.asarray(chosen, dtype=np.float32) / np.float32(_LCN_SCALE))[:, None]


def encode(shape: Shape, grey: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the codes [side, side] of one image's prepared input."""
    tensor = shape.prepare(grey).tensor[0, 0]
    if shape.preprocessing == STRETCH:
        return np.asarray(np.rint(tensor * np.float32(255.0)), dtype=np.uint8)  # it came from whole numbers
    return np.asarray(np.rint(tensor * _LCN_SCALE), dtype=np.int16)


@dataclass(frozen=True, slots=True)
class Material:
    """The images that can be used, each with its place among the inputs."""

    listing: Listing
    places: NDArray[np.int64]
    inputs: Inputs

    def of(self, split: str) -> tuple[tuple[Row, ...], NDArray[np.int64]]:
        """Return the rows of one split and their places."""
        chosen = [index for index, row in enumerate(self.listing.rows) if row.split == split]
        return tuple(self.listing.rows[index] for index in chosen), self.places[chosen]


def gather(listing: Listing, shape: Shape, folder: Path) -> Material:
    """Look at every file once and keep its input in the folder; what is there already is not made again."""
    stamp = _stamp(listing, shape)
    facts, path = folder / "inputs.json", folder / "inputs.npy"
    if facts.exists() and (found := read_json(facts))["stamp"] == stamp:
        places = np.array(found["places"], dtype=np.int64)
        bad = [layouts.Excluded(listing.rows[place].path, code) for place, code in found["excluded"]]
        rows = tuple(listing.rows[place] for place in found["places"])
        used = layouts.Listing(rows, (*listing.excluded, *bad), listing.listed)
    else:
        codes = np.lib.format.open_memmap(
            path,
            "w+",
            np.dtype(np.uint8 if shape.preprocessing == STRETCH else np.int16),
            (len(listing.rows), shape.side, shape.side),
        )
        used, places = layouts.vet(listing, lambda index, grey: codes.__setitem__(index, encode(shape, grey)))
        codes.flush()
        by_path = {one.path: one.code for one in used.excluded}
        kept = set(places.tolist())
        bad_places = [(i, by_path[row.path]) for i, row in enumerate(listing.rows) if i not in kept]
        write_json(facts, {"stamp": stamp, "places": places.tolist(), "excluded": bad_places})
    used.check()
    return Material(used, places, Inputs(np.load(path, mmap_mode="r")))


def _stamp(listing: Listing, shape: Shape) -> str:
    digest = hashlib.sha256(json.dumps([shape.preprocessing, shape.side]).encode())
    for row in listing.rows:
        facts = row.path.stat() if row.path.exists() else None
        size, changed = (facts.st_size, facts.st_mtime_ns) if facts else (-1, 0)
        digest.update(f"{row.path}|{row.label}|{row.group}|{row.split}|{size}|{changed}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Answers:
    """What a network says about images, row by row.

    z: float64 [n], the logit of a fracture (with two outputs: their difference). maps: float32 [n, rows, columns], the
    exact evidence: sum(maps) + bias is z. residue: the most that any of them is away from it.
    """

    z: NDArray[np.float64]
    maps: NDArray[np.float32]
    bias: float
    residue: float


def margin_head(model: Classifier, rows: int, columns: int) -> Head:
    """Return the linear head of a fracture's logit over a feature map [rows, columns, channels]."""
    weight = model.fc.weight.detach().cpu().numpy().astype(np.float64)
    bias = model.fc.bias.detach().cpu().numpy().astype(np.float64)
    if len(bias) > 1:
        # softmax([l0, l1])[1] = sigmoid(l1 - l0): the margin is linear in the features as well.
        return gradcam.pooled_head((weight[1] - weight[0]).astype(np.float32), float(bias[1] - bias[0]), rows, columns)
    return gradcam.pooled_head(weight[0].astype(np.float32), float(bias[0]), rows, columns)


def margin(logits: Tensor) -> Tensor:
    """Return the logit of a fracture [B] from the outputs [B, 1 or 2]."""
    return logits[:, 1] - logits[:, 0] if logits.shape[1] > 1 else logits[:, 0]


def answer(model: Classifier, inputs: Inputs, places: NDArray[np.int64], device: str = "cpu") -> Answers:
    """Return scores and evidence maps; raises LabError where a map does not sum to its score."""
    model = model.to(device).eval()
    z, maps, residues, bias = [], [], [0.0], 0.0
    with torch.inference_mode():
        for chunk in chunks(places):
            x = inputs.batch(chunk).to(device)
            scores = margin(model(x)).double().cpu().numpy()
            features = model.features(x).permute(0, 2, 3, 1).cpu().numpy()
            head = margin_head(model, features.shape[1], features.shape[2])
            bias = head.bias
            for one, score in zip(features, scores, strict=True):
                evidence = evidence_map(one, head, 1)
                residues.append(gradcam.residue(evidence, bias, float(score)))
                maps.append(evidence)
            z.append(scores)
    worst = float(np.max(residues))  # NaN where any of them is
    if not worst <= gradcam.TOLERANCE:
        message = f"an evidence map is {worst:.2g} away from its score (at most {gradcam.TOLERANCE:g} is allowed)"
        raise LabError(message)
    return Answers(np.concatenate(z), np.stack(maps), bias, worst)


def chunks(places: NDArray[np.int64], size: int = _CHUNK) -> list[NDArray[np.int64]]:
    """Return the places in parts of at most this size."""
    return [places[start : start + size] for start in range(0, len(places), size)]


def sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / (1 + exp(-z)), without overflow at either end."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)), dtype=np.float64)


def read_grey(rows: Sequence[Row]) -> list[NDArray[np.uint8]]:
    """Return the pictures of these rows."""
    return [layouts.decode(row.path.read_bytes()) for row in rows]
