"""`dicom-node engine import-cxr`: a user's CXR Foundation and a published probe become a bundle that serves."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dicom_node import subcommands

if TYPE_CHECKING:
    from dicom_node.lab.cxr.importer import Request, Tried

SUMMARY: Final = "turn your copy of CXR Foundation and a fracture probe into a model bundle"
_IDS: Final = ("edgefracture-v1", "google-dicom-v2")
_DETAILS: Final = """\
goes in:   the folder of the SavedModel elixr-c-v2-pooled (yours, under the terms of Health AI Developer Foundations);
           a joblib probe of 8 x 8 x 1376 features with its SHA-256, by --sha256 or in PROBE.sha256; which preprocessing
           the probe was fitted with; and, to try the result, a folder of radiographs
comes out: in --out: a bundle (embedder.onnx, head.safetensors, manifest.toml, MODEL_CARD.md, NOTICE, SHA256SUMS);
           a table of how closely it follows the SavedModel; beyond the bounds nothing is written

Offline, with the extras lab and cxr (scripts/setup cxr); the node itself needs neither. Nothing is fetched. The
published bands are a reference, certified for nobody's images. Without --images only drawn images are tried, and the
card says so.

example:   dicom-node engine import-cxr --saved-model elixr-c-v2-pooled --probe fracture_probe.joblib
           --sha256 5ab04c18... --images radiographs --precision fp16 --out engines/cxr-foundation
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("--saved-model", type=Path, required=True, help="folder of the SavedModel")
    parser.add_argument("--probe", type=Path, required=True, help="the probe, a joblib file")
    parser.add_argument("--sha256", help="the digest that the probe must have (default: read from PROBE.sha256)")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the bundle")
    parser.add_argument(
        "--preprocessing", choices=_IDS, default=_IDS[0], help="what the probe was fitted with (default: %(default)s)"
    )
    parser.add_argument(
        "--precision", choices=("fp32", "fp16"), default="fp32", help="of the embedder (default: %(default)s)"
    )
    parser.add_argument(
        "--float32-first",
        type=int,
        default=0,
        metavar="COUNT",
        help="with fp16: keep the first COUNT convolutions in float32, where roundings weigh most (default: 0)",
    )
    parser.add_argument("--images", type=Path, help="folder of radiographs to try the bundle on (PNG, JPEG, TIFF …)")
    parser.add_argument(
        "--count", type=subcommands.count, default=16, help="how many of them, evenly spread (default: %(default)s)"
    )
    parser.add_argument(
        "--bands",
        type=_share,
        nargs=2,
        default=(0.40, 0.70),
        metavar=("LOW", "HIGH"),
        help="negative below LOW, positive from HIGH; not certified (default: 0.40 0.70, as published)",
    )
    parser.add_argument(
        "--map-bounds",
        type=_share,
        nargs=2,
        default=(0.0, 0.0),
        metavar=("ENTROPY", "AREA"),
        help="largest entropy and area of a map that outlines regions (default: 0 0, which outlines none)",
    )
    parser.add_argument("--name", default="cxr-foundation", help="the bundle's name (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Import, try and report."""
    from dicom_node.lab.runs import LabError  # noqa: PLC0415 - `--help` stays quick

    low, high = args.bands
    if low > high or args.float32_first < 0:
        message = "--bands needs LOW not above HIGH, and --float32-first at least 0"
        raise LabError(message)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read on import: TensorFlow's chatter tells a user nothing
    try:
        from dicom_node.lab import probe_file  # noqa: PLC0415 - as above
        from dicom_node.lab.cxr.importer import run as import_bundle  # noqa: PLC0415
    except ImportError as error:
        message = f"{error.name} is not installed: scripts/setup cxr, or pip install 'dicom-node[lab,cxr]'"
        raise LabError(message) from None
    request = _request(args, probe_file.expected_digest(args.probe, args.sha256))
    _report(request, import_bundle(request))
    return 0


def _request(args: argparse.Namespace, digest: str) -> Request:
    from dicom_node.lab.cxr.importer import Request  # noqa: PLC0415 - as above

    return Request(
        saved_model=args.saved_model,
        probe=args.probe,
        digest=digest,
        out=args.out,
        preprocessing=args.preprocessing,
        precision=args.precision,
        bands=(args.bands[0], args.bands[1]),
        map_bounds=(args.map_bounds[0], args.map_bounds[1]),
        images=args.images,
        count=args.count,
        name=args.name,
        command=" ".join(["dicom-node", *_without_folders(sys.argv[1:])]),
        float32_first=args.float32_first,
    )


def _report(request: Request, tried: Tried) -> None:
    from dicom_node.lab.cxr.table import print_table  # noqa: PLC0415 - as above
    from dicom_node.lab.progress import say  # noqa: PLC0415

    print_table(request.precision, tried)
    say(f"{request.out}: accepted ({request.precision}, {request.preprocessing}); its terms are in NOTICE")


def _without_folders(words: list[str]) -> list[str]:
    """Return a command line that names files and not where they lie on this machine."""
    return [Path(word).name if "/" in word else word for word in words]


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        message = f"{text} is no share from 0 to 1"
        raise argparse.ArgumentTypeError(message)
    return value
