"""`lab embed`: every listed image is accounted for, the features are the bundle's, and a stop costs a chunk."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the lab needs scikit-learn: pip install 'dicom-node[lab]'")

from dicom_node.cli.main import main
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.inference.preprocess import prepare
from dicom_node.lab import embeddings, embeddings_make
from dicom_node.lab.cache import read_grey
from dicom_node.lab.runs import LabError, RunFolder

BUNDLE = Path(__file__).parents[2] / "engines" / "compact-fracatlas"


def _pooled(features: Any) -> Any:
    table, pool = load_bundle(BUNDLE).manifest.head, load_bundle(BUNDLE).manifest.embedder.pool
    return features.reshape(table.grid[0], pool, table.grid[1], pool, -1).mean((1, 3)).reshape(-1)


class Fake:
    """An embedder that answers at once: the input's means over the output's cells, repeated over the channels."""

    runtime = "fake"

    def __init__(self, fail_at: int = -1) -> None:
        self.seen = 0
        self._fail_at = fail_at

    def embed(self, tensor: Any) -> Any:
        if self.seen == self._fail_at:
            raise KeyboardInterrupt
        self.seen += 1
        _, rows, columns, channels = load_bundle(BUNDLE).manifest.embedder.output_shape
        height, width = tensor.shape[2:]
        blocks = tensor[0, 0].reshape(rows, height // rows, columns, width // columns).mean((1, 3))
        return np.repeat(blocks[:, :, None], channels, axis=2).astype(np.float32)

    def close(self) -> None:
        pass


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "index.csv").open(encoding="utf-8", newline="") as handle:
        return {row["image"]: row for row in csv.DictReader(handle)}


def test_every_image_is_embedded_excluded_or_failed(tiny_data: Path, tmp_path: Path) -> None:
    listing, bundle = embeddings.read_listing(tiny_data), load_bundle(BUNDLE)
    run = RunFolder.open(tmp_path / "run", embeddings_make.config(listing, bundle, tiny_data))
    counts = embeddings_make.make(listing, bundle, Fake(), run, 2)
    excluded = {"guard": 1, "label_conflict": 1, "truncated_jpeg": 1}
    assert counts == {"listed": 72, "embedded": 68, "excluded": excluded, "failed": {"unreadable": 1}}
    rows = _rows(run.path)
    assert (rows["T0001.jpg"]["status"], rows["T0001.jpg"]["reason"]) == ("failed", "unreadable")
    # Learnt from, for it lies in its own group, but not scored.
    assert (rows["T0007.jpg"]["status"], rows["T0007.jpg"]["scored"], rows["T0007.jpg"]["reason"]) == (
        "embedded", "0", "near_dup"
    )  # fmt: skip
    found = embeddings.load(run.path)
    assert (len(found.names), found.listed, int(found.scored.sum()), found.failed) == (68, 72, 67, 1)
    assert found.excluded == excluded | {"near_dup": 1}
    assert found.facts is not None
    assert np.isfinite(found.facts).all()
    row = found.names.index("T0040.jpg")
    grey = read_grey(tiny_data / "images" / "T0040.jpg")
    assert grey is not None
    features = Fake().embed(prepare(bundle.manifest.preprocessing.id, grey).tensor)
    assert found.features[row] == pytest.approx(_pooled(features), abs=1e-6)


def test_an_interruption_costs_a_chunk_at_most(tiny_data: Path, tmp_path: Path) -> None:
    listing, bundle = embeddings.read_listing(tiny_data), load_bundle(BUNDLE)
    config = embeddings_make.config(listing, bundle, tiny_data)
    stopped = Fake(fail_at=66)
    with pytest.raises(KeyboardInterrupt):
        embeddings_make.make(listing, bundle, stopped, RunFolder.open(tmp_path / "one", config), 2)
    with pytest.raises(LabError, match="it will go on"):
        embeddings.load(tmp_path / "one")
    second, whole = Fake(), Fake()
    embeddings_make.make(listing, bundle, second, RunFolder.open(tmp_path / "one", config), 2)
    embeddings_make.make(listing, bundle, whole, RunFolder.open(tmp_path / "other", config), 2)
    assert (whole.seen, second.seen) == (68, 5)
    resumed, straight = embeddings.load(tmp_path / "one"), embeddings.load(tmp_path / "other")
    assert resumed.names == straight.names
    assert np.array_equal(resumed.features, straight.features)


def test_the_command_with_the_shipped_bundle_and_a_plain_list(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    lines = ["image,label,group"]
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), random.integers(0, 255, (90, 70), dtype=np.uint8))
        lines.append(f"{index}.png,{index % 2},p{index}")
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((90, 70), 7, dtype=np.uint8))
    (tmp_path / "list.csv").write_text("\n".join([*lines, "flat.png,0,p9", "gone.png,1,p8"]) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    words = ["lab", "embed", "--data", str(tmp_path / "list.csv"), "--bundle", str(BUNDLE), "--out", str(out)]
    assert main(words) == 0
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8")) == {
        "listed": 5, "embedded": 3, "excluded": {}, "failed": {"flat-image": 1, "unreadable": 1},
    }  # fmt: skip
    found, bundle = embeddings.load(out), load_bundle(BUNDLE)
    grey = read_grey(tmp_path / "1.png")
    assert grey is not None
    features = OnnxEmbedder(bundle).embed(prepare(bundle.manifest.preprocessing.id, grey).tensor)
    assert found.features[1] == pytest.approx(_pooled(features), abs=1e-5)
    assert found.shape == (*bundle.manifest.head.grid, bundle.manifest.head.channels)
    assert (found.labels.tolist(), found.groups.tolist()) == ([False, True, False], ["p0", "p1", "p2"])
    assert main(words) == 0
    assert main([*words, "--limit", "2"]) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label\na.png,1\n", "has no column group"),
        ("image,label,group\n", "lists no image"),
        ("image,label,group\na.png,2,p\n", "line 2: needs an image, a group, and a label that is 0 or 1"),
        ("image,label,group\na.png,1,\n", "line 2"),
        ("image,label,group\na.png,1,p\na.png,0,p\n", "line 3: a.png is listed twice"),
    ],
)
def test_a_bad_list_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match=words):
        embeddings.read_listing(tmp_path / "list.csv")


def test_folders_that_hold_no_data_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"has no dataset\.csv"):
        embeddings.read_listing(tmp_path)
    with pytest.raises(LabError, match="cannot be read"):
        embeddings.read_listing(tmp_path / "none.csv")
    with pytest.raises(LabError, match="cannot be read"):
        embeddings.load(tmp_path)
