"""`dicom-node audit`: check the audit trail, show what happened, hand it on."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli.arguments import count
from dicom_node.cli.tables import print_json, print_table, when
from dicom_node.ledger import atna
from dicom_node.ledger.audit import Head, Record, verify
from dicom_node.ledger.overview import Overview
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.auditing import parse_head, read_heads

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do and with which records."""
    parser.add_argument(
        "action", choices=("verify", "show", "export"), help="check the chain, list it, or write it out"
    )
    parser.add_argument(
        "study", nargs="?", default="", help="UID of a study or an instance: only its records (show, export)"
    )
    parser.add_argument("--last", type=count, default=0, metavar="N", help="only the newest N records (show, export)")
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="SEQ:HASH",
        help="a head that the node's log or the audit record repository holds (verify); may be repeated",
    )
    parser.add_argument("--format", choices=("json", "atna"), default="json", help="how to write it out (export)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do it; `verify` returns 1 where a record is missing, changed, or not the one that was noted."""
    settings = configuration.load(arguments.config)
    folders = StateFolders.of(settings.node)
    overview = Overview(folders.ledger)
    if arguments.action == "verify":
        try:
            noted = [parse_head(text) for text in arguments.head]
        except ValueError as error:
            sys.stderr.write(f"--head: {error}\n")
            return 2
        return _verify(overview, [*read_heads(folders.audit_heads), *noted], as_json=arguments.json)
    records: Iterable[Record] = overview.trail(arguments.study, arguments.last)
    if arguments.study:
        records = list(records) or overview.trail_of_instance(arguments.study)
        if not records:
            sys.stderr.write(f"{arguments.study}: no record names it, as a study or as an instance\n")
            return 1
    if arguments.action == "export":
        for record in records:
            _export(record, arguments.format, settings.node.ae_title)
    elif arguments.json:
        print_json([_plain(record) for record in records])
    else:
        print_table("Audit trail", ("number", "when", "event", "what"), [_row(record) for record in records])
    return 0


def _verify(overview: Overview, heads: list[Head], *, as_json: bool) -> int:
    verdict = verify(overview.trail(), heads)
    if as_json:
        print_json({"records": verdict.records, "head": str(verdict.head), "problem": verdict.problem})
    elif verdict.problem:
        sys.stderr.write(f"{verdict.problem}; the {verdict.records} before it are sound. Keep a copy, ask who did it\n")
    else:
        print(f"{verdict.records} records, none missing or changed since they were written; head {verdict.head}")
    return 1 if verdict.problem else 0


def _export(record: Record, how: str, ae_title: str) -> None:
    if how == "json":
        print(json.dumps(_plain(record), ensure_ascii=False))
        return
    message = atna.message(record, ae_title)
    if message is not None:
        print(message.decode())


def _plain(record: Record) -> dict[str, Any]:
    return asdict(record) | {"facts": record.details()}


def _row(record: Record) -> tuple[object, ...]:
    about = record.sop_instance_uid or record.study_instance_uid
    facts = ", ".join(f"{name} {value}" for name, value in record.details().items() if isinstance(value, str | float))
    return record.seq, when(record.at), record.event, "\n".join(part for part in (about, record.detail, facts) if part)
