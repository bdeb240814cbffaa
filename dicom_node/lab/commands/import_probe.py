"""`dicom-node lab import-probe`: a published joblib probe, once and offline, becomes safetensors."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

SUMMARY: Final = "turn a published joblib probe into head.safetensors, without running anything in it"
_DETAILS: Final = """\
goes in:   a joblib or pickle file with a dict of model (LogisticRegression), scaler (StandardScaler) and temperature;
           its SHA-256, by --sha256 or in FILE.sha256; and the embedder it was fitted on: the folder of its bundle, or
           the shape of its features as ROWSxCOLUMNSxCHANNELS
comes out: in --out: head.safetensors (weight and bias, float32, scaler folded in) and probe.json (temperature,
           published figures, digest, who wrote it)

The digest is checked before any byte is interpreted. Then the file may name only what such a probe is made of; any
other global is refused by name, and nothing that the file names is called. Nothing is fetched from a network.

example:   dicom-node lab import-probe probe.joblib --sha256 5ab04c18... --embedder 8x8x1376 --out runs/imported
"""
_SHAPE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})x([1-9]\d{0,4})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("file", type=Path, help="the published probe")
    parser.add_argument("--sha256", help="the digest it must have (default: read from FILE.sha256)")
    parser.add_argument("--embedder", required=True, help="bundle folder, or shape such as 8x8x1376")
    parser.add_argument("--out", type=Path, required=True, help="new folder for head.safetensors and probe.json")


def run(args: argparse.Namespace) -> int:
    """Check, read and write."""
    from dicom_node.lab import probe, probe_file  # noqa: PLC0415 - `--help` stays quick
    from dicom_node.lab.progress import say  # noqa: PLC0415
    from dicom_node.lab.runs import LabError, write_json  # noqa: PLC0415

    shape = _shape(args.embedder)
    rows, columns, channels = shape
    digest = probe_file.expected_digest(args.file, args.sha256)
    found = probe_file.read(args.file, digest, rows * columns * channels)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        message = f"{args.out} exists and is not empty; give a new folder"
        raise LabError(message)
    args.out.mkdir(parents=True, exist_ok=True)
    probe_file.write_head(args.out / "head.safetensors", probe.fold(found.probe), shape)
    facts = {
        "source": args.file.name,
        "sha256": found.sha256,
        "written_by": found.written_by,
        "shape": list(shape),
        "temperature": found.temperature,
        "holdout_metrics": found.holdout_metrics,
    }
    write_json(args.out / "probe.json", facts)
    say(f"{args.out / 'head.safetensors'}: {rows} x {columns} x {channels}, temperature {found.temperature:g}")
    return 0


def _shape(text: str) -> tuple[int, int, int]:
    match = _SHAPE.fullmatch(text)
    if match:
        return int(match[1]), int(match[2]), int(match[3])
    from dicom_node.inference.bundle import load_bundle  # noqa: PLC0415 - as above
    from dicom_node.lab.runs import LabError  # noqa: PLC0415

    if not Path(text).is_dir():
        message = f"--embedder {text}: is neither a bundle's folder nor a shape such as 8x8x1376"
        raise LabError(message)
    table = load_bundle(Path(text)).manifest.head
    return table.grid[0], table.grid[1], table.channels
