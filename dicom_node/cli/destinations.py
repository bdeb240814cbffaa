"""`dicom-node destinations`: what waits for each, what it accepted; `destinations test NAME` asks it now."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli.deliveries import proofs, takes
from dicom_node.cli.tables import print_json, when
from dicom_node.core.errors import DestinationRefused, DestinationUnavailable, LedgerError
from dicom_node.deliver.probe import probe
from dicom_node.destination_settings import address_of
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders

if TYPE_CHECKING:
    import argparse

    from dicom_node.settings import Settings

_NOTHING: dict[str, Any] = {"waiting": 0, "dead": 0, "done": 0, "oldest_at": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do."""
    parser.add_argument("action", nargs="?", choices=("list", "test"), default="list", help="default: %(default)s")
    parser.add_argument("name", nargs="?", default="", help="one destination (default: all of them)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """List the destinations, or connect to them; 1 where one cannot be used."""
    settings = configuration.load(arguments.config)
    return _test(settings, arguments) if arguments.action == "test" else _list(settings, arguments)


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    try:
        known = Overview(StateFolders.of(settings.node).ledger).destinations()
    except LedgerError:
        known = {}  # the node has not run yet
    rows = [_row(item.name, item.kind, address_of(item), known) for item in settings.destinations]
    configured = {item.name for item in settings.destinations}
    rows += [_row(name, "", "not in the configuration", known) for name in sorted(set(known) - configured)]
    if arguments.name:
        rows = [row for row in rows if row["name"] == arguments.name]
        if not rows:
            return _unknown(arguments.name)
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        _print(row)
    if not rows:
        print("results are sent nowhere: add a [[destinations]] block")
    return 0


def _print(row: dict[str, Any]) -> None:
    """Print a destination over a few lines: what it accepts alone fills most of a terminal's width."""
    since = f" since {when(row['oldest_at'])}" if row["waiting"] else ""
    given_up = f", {row['dead']} given up" if row["dead"] else ""
    print(f"{row['name']}: {row['state']}; {row['where']}")
    print(f"    {row['done']} delivered, {row['waiting']} waiting{since}{given_up}")
    for line in (proofs(row.get("proofs") or {}), takes(row.get("accepted") or ()), row.get("last_error")):
        if line:
            print(f"    {line}")


def _row(name: str, kind: str, where: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    row = {"name": name, "kind": kind, "where": where, **_NOTHING, **known.get(name, {})}
    state = "down" if row.get("failures") else ("up" if row.get("reached_at") else "not tried yet")
    return row | {"state": state}


def _unknown(name: str) -> int:
    sys.stderr.write(f"there is no destination {name!r} in the configuration\n")
    return 1


def _test(settings: Settings, arguments: argparse.Namespace) -> int:
    chosen = [item for item in settings.destinations if arguments.name in {"", item.name}]
    if not chosen:
        return _unknown(arguments.name)
    rows = []
    for item in chosen:
        began = time.monotonic()
        try:
            found = {"name": item.name, "ok": True, **probe(item, settings.node.ae_title)}
        except (DestinationUnavailable, DestinationRefused) as error:
            found = {"name": item.name, "ok": False, "answer": str(error)}
        rows.append(found | {"ms": round(1000.0 * (time.monotonic() - began), 1)})
    if arguments.json:
        print_json(rows)
    else:
        for row in rows:
            accepts = takes(row.get("accepted") or ())
            print(f"{row['name']}: {row['answer']} ({row['ms']} ms){'; ' + accepts if accepts else ''}")
    return 0 if all(row["ok"] for row in rows) else 1
