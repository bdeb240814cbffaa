"""What bounds `lab embed`: reading and preparing images, the network, or the command around them."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2

from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.onnx_embedder import OnnxEmbedder
from dicom_node.lab import embeddings, embeddings_make
from tests.support.fracatlas import data_folder, phantom

NETWORK, START, WHOLE = "network", "command, one image", "command"
_PREPARED = 48


@dataclass(frozen=True)
class Rate:
    """How fast one part was, in images a second."""

    part: str
    threads: str
    images: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def material(folder: Path, count: int) -> tuple[Path, str]:
    """Return data for `lab embed` and its name: FracAtlas where it is, else as many drawn phantoms."""
    shared = data_folder()
    if shared is not None and (shared / "fracatlas").is_dir():
        return shared / "fracatlas", "FracAtlas"
    lines = ["image,label,group"]
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), phantom(number))
        lines.append(f"{number}.png,{number % 2},{number}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv", "phantoms (FracAtlas is not here)"


def run(folder: Path, data: Path, bundle_folder: Path, count: int, readers: list[int]) -> list[Rate]:
    """Return the rates of each part alone, and of the whole command, for each number of reader threads."""
    cv2.setNumThreads(1)  # as the command does
    bundle = load_bundle(bundle_folder)
    listing = embeddings.read_listing(data).first(count)
    images = [image for image in listing.images if image.trainable]
    preprocessing = bundle.manifest.preprocessing.id

    def prepared(threads: int) -> float:
        started = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            for _ in embeddings_make._ahead(pool, listing.folder, preprocessing, images):
                pass
        return time.monotonic() - started

    prepared(max(readers))  # the files are in the page cache from here on
    rates = [Rate("decode and prepare", f"readers: {n}", len(images), prepared(n)) for n in readers]
    with ThreadPoolExecutor(2) as pool:
        ready = islice(embeddings_make._ahead(pool, listing.folder, preprocessing, images), _PREPARED)
        tensors = [one.tensor for one in ready if one.tensor is not None]
    embedder = OnnxEmbedder(bundle, threads=1)
    embedder.embed(tensors[0])
    started = time.monotonic()
    for number in range(len(images)):
        embedder.embed(tensors[number % len(tensors)])
    rates.append(Rate(NETWORK, "1 core", len(images), time.monotonic() - started))
    embedder.close()
    words = ["--data", str(data), "--bundle", str(bundle_folder)]
    started_up = _command(*words, "--limit", "1", "--out", str(folder / "one"))
    rates.append(Rate(START, "1 core", 1, started_up))
    for n in readers:
        out = folder / f"embeddings-{n}"
        seconds = _command(*words, "--limit", str(count), "--readers", str(n), "--out", str(out))
        rates.append(Rate(WHOLE, f"readers: {n}", len(images), seconds))
    return rates


def _command(*words: str) -> float:
    """Return how long `dicom-node lab embed` took with these options."""
    code = "import sys; from dicom_node.cli.main import main; sys.exit(main())"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code, "lab", "embed", *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started
