"""What the steps of the ledger cost on a PostgreSQL server, started for it on the same disk as the files would be.

The server has its own settings but for the number of connections. The ledgers, the steps and the bounds are those of
`scripts/bench ledger`; no figure here is to be held against one there, which is of another run.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.benchmarks import ledger
from tests.support.postgres import PostgresServer


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sizes."""
    ledger.add_arguments(parser)


def run(arguments: Namespace, console: Console) -> int:
    """Measure and print; 1: a step is not flat."""
    with TemporaryDirectory(prefix="dicom-node-server-") as disk:
        Path(disk).chmod(0o755)  # the server is another user
        with PostgresServer(Path(disk)) as server:
            return ledger.measure(arguments, console, server)
