"""`dicom-node lab embed`: what a bundle's network says about each image, kept on disk."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

SUMMARY: Final = "run a bundle's embedder over a data set and keep its features"
_DETAILS: Final = """\
goes in:   --data, a folder of the FracAtlas layout (dataset.csv, fractures.json, images/) or a CSV file whose first
           line is image,label,group (image: a path beside the file; label: 0 or 1; group: the patient; further
           columns it knows: split, regions separated by ';', hardware), and --bundle, a model bundle of which only
           the preprocessing and the embedder are used
comes out: in --out: features.npy (float32, a row an image), index.csv (every listed image with its status and reason
           code), metrics.json (listed = embedded + excluded + failed), config.json, log.txt
after Ctrl-C the same command goes on where it stopped

example:   dicom-node lab embed --data fracatlas --bundle engines/compact-fracatlas --out runs/embeddings
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("--data", type=Path, required=True, help="FracAtlas-like folder, or CSV file image,label,group")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle whose embedder is used")
    parser.add_argument("--out", type=Path, required=True, help="folder of the embeddings: new, or one to be resumed")
    parser.add_argument("--limit", type=int, default=0, help="only the first N listed images (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="cores for the network (default 1)")
    parser.add_argument("--readers", type=int, default=2, help="threads that read and prepare images (default 2)")


def run(args: argparse.Namespace) -> int:
    """Embed, and say where every image went."""
    import cv2  # noqa: PLC0415 - loaded only where it is used: `--help` stays quick

    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415
    from dicom_node.inference.onnx_embedder import OnnxEmbedder  # noqa: PLC0415
    from dicom_node.lab import embeddings, embeddings_make  # noqa: PLC0415
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import RunFolder  # noqa: PLC0415

    cv2.setNumThreads(1)
    listing = embeddings.read_listing(args.data)
    if args.limit:
        listing = listing.first(args.limit)
    bundle = load_bundle(args.bundle)
    folder = RunFolder.open(args.out, embeddings_make.config(listing, bundle, args.data))
    embedder = OnnxEmbedder(bundle, threads=args.threads)
    start = time.monotonic()
    try:
        counts = embeddings_make.make(listing, bundle, embedder, folder, max(1, args.readers))
    finally:
        embedder.close()
    folder.log(f"finished in {time.monotonic() - start:.0f} s: {counts}")
    say(f"{args.out}: {counts}")
    return 0
