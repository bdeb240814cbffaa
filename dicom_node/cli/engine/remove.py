"""`dicom-node engine remove`: plans that are no longer wanted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

SUMMARY: Final = "remove a bundle's TensorRT plans"
_DETAILS: Final = """\
goes in:   a bundle's folder; without names, --all
comes out: a line a removed file, or that there was none; what an interrupted build left is removed too, the timing
           cache stays

example:   dicom-node engine remove engines/compact-fracatlas 0123456789abcdef
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _DETAILS
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("plans", nargs="*", help="names as `dicom-node engine list` prints them")
    parser.add_argument("--all", action="store_true", help="remove every plan")


def run(args: argparse.Namespace) -> int:
    """Remove; 1 where a name is unknown or none was given."""
    import sys  # noqa: PLC0415 - `--help` stays quick

    from dicom_node.inference import plans  # noqa: PLC0415

    if not args.bundle.is_dir():
        sys.stderr.write(f"{args.bundle}: not a folder; give the bundle's folder\n")
        return 1
    known = {facts.key.name for facts in plans.saved(args.bundle)}
    names = known if args.all else set(args.plans)
    if not args.all and (not names or names - known):
        unknown = ", ".join(sorted(names - known)) or "nothing was named"
        sys.stderr.write(f"{unknown}: no plan of {args.bundle}; see `dicom-node engine list`, or give --all\n")
        return 1
    removed = plans.remove(args.bundle, frozenset(names))
    for name in removed:
        print(f"removed {name}")
    if not removed:
        print(f"{args.bundle}: there is no plan to remove")
    return 0
