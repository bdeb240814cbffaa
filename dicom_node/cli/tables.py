"""Printing ledger rows: JSON for programs, tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dicom_node import settings as configuration
from dicom_node.cli.words import print_json, when
from dicom_node.core.findings import whole_percent
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


__all__ = ["answer", "open_overview", "print_json", "print_table", "when"]


def open_overview(config: Path) -> Overview:
    """Return the read-only view of the configured node's ledger."""
    return Overview(StateFolders.of(configuration.load(config).node).ledger)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table; UIDs are folded rather than cut."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console().print(table)


def answer(row: dict[str, Any]) -> str:
    """Return a version's outcome in words, or what it waits for."""
    if row.get("outcome") is None:
        words = str(row.get("result") or row.get("state") or "")
        return f"{words}: {row['reason_text']}" if words == "failed" and row.get("reason_text") else words
    words = str(row["outcome"])
    if row.get("probability") is not None:
        words += f" ({whole_percent(row['probability'])})"
    return f"{words}: {row['reason_text']}" if row.get("reason_text") else words
