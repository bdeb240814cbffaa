"""`python -m dicom_node.lab`."""

from __future__ import annotations

import argparse
import sys

from dicom_node.lab import command


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m dicom_node.lab", description="Train and export models.")
    command.add_arguments(parser)
    return command.run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
