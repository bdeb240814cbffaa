"""`dicom-node doctor`."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.doctor import host, network, service, storage
from dicom_node.cli.doctor.findings import Finding, Patient, State, unknown
from dicom_node.cli.words import counted, print_json
from dicom_node.ledger.spool import StateFolders
from dicom_node.services.asking import NodeSilent, ask

if TYPE_CHECKING:
    import argparse

Check = Callable[[Patient], Any]
CHECKS: tuple[Check, ...] = (
    *service.CHECKS,
    *storage.CHECKS,
    *network.CHECKS,
    network.destinations,
    *host.CHECKS,
)
_SIGNS = {State.GOOD: "good", State.NOTE: "note", State.BAD: "BAD ", State.UNKNOWN: "  ? "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Examine everything; 1 where something is bad."""
    settings = configuration.load(arguments.config)
    findings = examine(patient_of(arguments.config, settings))
    if arguments.json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    return exits.FAILED if any(finding.state is State.BAD for finding in findings) else exits.GOOD


def patient_of(config: Any, settings: configuration.Settings) -> Patient:
    """Return the installation that a configuration describes, running or not."""
    folders = StateFolders.of(settings.node)
    try:
        status = ask(folders.control, "status", timeout_s=3.0)
    except NodeSilent:
        status = None
    return Patient(config, settings, folders, status)


def examine(patient: Patient) -> list[Finding]:
    """Return what every check says, in their order; they run side by side, since some of them wait for peers."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda check: _examine_one(check, patient), CHECKS))
    return [finding for answer in answers for finding in answer]


def _examine_one(check: Check, patient: Patient) -> list[Finding]:
    try:
        answer = check(patient)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not hide the others
        return [unknown(check.__name__.replace("_", " "), f"could not be examined ({type(error).__name__})")]
    return answer if isinstance(answer, list) else [answer]


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{_SIGNS[finding.state]}  {finding.check:<{width}}  {finding.seen}")
        if finding.do:
            print(f"{'':<{width + 8}}-> {finding.do}")
    worst = [finding for finding in findings if finding.state is State.BAD]
    print(f"{counted(len(findings), 'check')}, {len(worst)} bad ({time.strftime('%Y-%m-%d %H:%M:%S')})")
