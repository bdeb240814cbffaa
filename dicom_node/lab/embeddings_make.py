"""Making embeddings: images are read and prepared by threads while the network works on the one before them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dicom_node.core.errors import NotAnalysable
from dicom_node.inference import quality
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.preprocess import prepare
from dicom_node.lab import embeddings
from dicom_node.lab.cache import read_grey
from dicom_node.lab.embeddings import EMBEDDED, EXCLUDED, FAILED, Listing, Row
from dicom_node.lab.progress import track
from dicom_node.lab.runs import LabError, RunFolder, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.inference.embedder import Embedder
    from dicom_node.lab.dataset import Image

CHUNK: Final = 64
_AHEAD: Final = 16
UNREADABLE: Final = "unreadable"
_FAILURES: Final = "failures.json"


@dataclass(frozen=True, slots=True)
class Ready:
    """An image ready for the network, or the reason code why it never will be."""

    tensor: NDArray[np.float32] | None
    intensity: NDArray[np.float64]
    size: tuple[int, int]
    reason: str = ""


def config(listing: Listing, bundle: Bundle, data: Path) -> dict[str, object]:
    """Return what a run of `lab embed` is: the list, the embedder and the shape of what it gives."""
    manifest = bundle.manifest
    return {
        "command": "embed",
        "data": data.resolve().name,
        "listing": listing.digest,
        "images": len(listing.images),
        "embedder": manifest.name,
        "bundle_sha256": bundle.sha256,
        "preprocessing": manifest.preprocessing.id,
        "shape": [*manifest.head.grid, manifest.head.channels],
    }


def make(listing: Listing, bundle: Bundle, embedder: Embedder, run: RunFolder, threads: int) -> dict[str, object]:
    """Embed what the run does not hold yet, write the index and return where every image went."""
    wanted = [image for image in listing.images if image.trainable]
    chunks = [wanted[start : start + CHUNK] for start in range(0, len(wanted), CHUNK)]
    if not wanted:
        message = "no image of the list may be learnt from: every one is excluded by its flags"
        raise LabError(message)
    features, facts = _tables(run.path, wanted, int(np.prod(run.config["shape"])))
    failures = embeddings.read_failures(run.path / _FAILURES)
    waiting = [number for number in range(len(chunks)) if not run.done(_stage(number))]
    rows = [row for number in waiting for row in range(number * CHUNK, number * CHUNK + len(chunks[number]))]
    with ThreadPoolExecutor(threads) as pool:
        ready = _ahead(pool, listing.folder, bundle.manifest.preprocessing.id, [wanted[row] for row in rows])
        for row, one in zip(track(rows, "embedding, images"), ready, strict=True):
            reason = _embed(one, bundle, embedder, features[row])
            if reason:
                failures[wanted[row].name] = reason
            else:
                facts[row] = _facts(wanted[row], one.size, one.intensity)
            if row % CHUNK == CHUNK - 1 or row == len(wanted) - 1:
                features.flush()
                facts.flush()
                write_json(run.path / _FAILURES, failures)
                run.mark(_stage(row // CHUNK))
    return _finish(listing, run, failures)


def _stage(number: int) -> str:
    return f"chunk-{number:05d}"


def _tables(folder: Path, wanted: Sequence[Image], width: int) -> tuple[Any, Any]:
    facts = len(_facts(wanted[0], (1, 1), np.zeros(4)))
    tables = []  # memory maps, whose flush() the array's type does not know
    for name, kind, columns in ((embeddings.FEATURES, np.float32, width), (embeddings.FACTS, np.float64, facts)):
        path = folder / name
        if path.exists():
            tables.append(np.load(path, mmap_mode="r+"))
        else:
            tables.append(np.lib.format.open_memmap(path, "w+", np.dtype(kind), (len(wanted), columns)))
    return tables[0], tables[1]


def _facts(image: Image, size: tuple[int, int], intensity: NDArray[np.float64]) -> NDArray[np.float64]:
    # A plain list does not say the size; for FracAtlas it is the file's.
    known = image if image.width else replace(image, height=size[0], width=size[1], file_bytes=max(1, image.file_bytes))
    row: NDArray[np.float64] = embeddings.facts([known], intensity[None])[0]
    return row


def _ahead(pool: ThreadPoolExecutor, folder: Path, preprocessing: str, images: Sequence[Image]) -> Iterator[Ready]:
    """Yield the prepared images in order; only a few of them wait in memory."""
    waiting: deque[Future[Ready]] = deque()
    for image in images:
        waiting.append(pool.submit(_read, folder / image.name, preprocessing))
        if len(waiting) > _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read(path: Path, preprocessing: str) -> Ready:
    grey = read_grey(path)
    if grey is None:
        return Ready(None, np.zeros(4), (0, 0), UNREADABLE)
    size = (int(grey.shape[0]), int(grey.shape[1]))
    try:
        quality.check_image(grey)
        tensor = prepare(preprocessing, grey).tensor
        quality.check_finite(tensor)
    except NotAnalysable as error:
        return Ready(None, np.zeros(4), size, error.reason.code.value)
    intensity = np.array([grey.mean(), grey.std(), *np.percentile(grey[::4, ::4], (5, 95))])
    return Ready(tensor, intensity, size)


def _embed(one: Ready, bundle: Bundle, embedder: Embedder, row: NDArray[np.float32]) -> str:
    """Write the pooled features of one image into its row; return a reason code, '' where all went well."""
    if one.tensor is None:
        return one.reason
    features = embedder.embed(one.tensor)
    if not np.isfinite(features).all():
        return "non_finite"
    rows, columns = bundle.manifest.head.grid
    pool = bundle.manifest.embedder.pool
    blocks = features.reshape(rows, pool, columns, pool, -1)
    row[:] = np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64), dtype=np.float32).reshape(-1)
    return ""


def _finish(listing: Listing, run: RunFolder, failures: dict[str, str]) -> dict[str, object]:
    rows, number = [], 0
    for image in listing.images:
        if not image.trainable:
            rows.append(Row(EXCLUDED, image.exclusion or "", scored=False, row=-1))
            continue
        failed = failures.get(image.name)
        if failed:
            rows.append(Row(FAILED, failed, scored=False, row=-1))
        else:
            # A near-duplicate is learnt from and not scored: embedded, with the reason beside it.
            rows.append(Row(EMBEDDED, image.exclusion or "", scored=image.exclusion is None, row=number))
        number += 1
    counts = embeddings.account(rows)
    embeddings.write_index(run.path, listing, rows)
    run.save_metrics(counts)
    run.mark("embed")
    return counts
