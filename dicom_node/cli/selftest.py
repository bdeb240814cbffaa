"""`dicom-node selftest`: the whole way of a study, with a node, a worker and a PACS of its own; the running node rests.

It has a state folder, ports and a PACS that exist only while it runs, and takes the bundle and the runtime of the
configuration. A marked study through the running node would reach the real PACS, so that is not done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node import settings as configuration
from dicom_node.cli import exits
from dicom_node.cli.demo import phantom, studies
from dicom_node.cli.demo.walk import Plan, Returned, walk
from dicom_node.cli.words import print_json
from dicom_node.core.errors import BundleError, DicomNodeError
from dicom_node.inference.bundle_digest import bundle_digest
from dicom_node.report.reading import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUIET_S = 1.0
_TOLERANCE = 0.5  # per cent; processors and runtimes round differently
#: What a bundle must say about the two drawn studies: outcome and probability in per cent, in the order they are drawn.
KNOWN = {
    "a6612dbed33842b73acdf09ef8607bd13dc86c033d8767dc49f19fcad9270c99": (
        ("Inconclusive", 25.88),
        ("Inconclusive", 12.70),
    ),
}


@dataclass(frozen=True, slots=True)
class Checked:
    """One study of the self-test: what came back, and what is wrong with it (empty: nothing)."""

    study: str
    outcome: str
    probability: float | None
    pictures: int
    seconds: float
    problem: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output format."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--keep", action="store_true", help="keep the working folder with its logs")


def run(arguments: argparse.Namespace) -> int:
    """Send the drawn studies and compare what comes back with what is known; 1 where anything differs."""
    analysis = configuration.load(arguments.config).analysis
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-selftest-"))
    voice = _Quiet() if arguments.json else _Voice()
    try:
        checked = examine(folder, analysis, voice)
    finally:
        if arguments.keep:
            sys.stderr.write(f"working folder: {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print_json([asdict(one) for one in checked])
    for one in [] if arguments.json else checked:
        answer = f"{one.outcome}{f' ({one.probability:.2f} %)' if one.probability is not None else ''}"
        print(f"{'BAD ' if one.problem else 'good'}  {answer}, {one.pictures} pictures, after {one.seconds:.1f} s")
        if one.problem:
            sys.stderr.write(f"      {one.problem}\n")
    return exits.FAILED if any(one.problem for one in checked) else exits.GOOD


def examine(folder: Path, analysis: configuration.AnalysisSettings, voice: Any) -> list[Checked]:
    """Return what became of the two drawn studies; of a bundle without known answers, that it gave one.

    Raises DicomNodeError where PACS or node do not run.
    """
    digest = _digest(analysis)
    with _silent_log(folder / "selftest.log"):
        to_send, _ = studies.collect(phantom.write(folder / "phantoms"))
        wanted = {"runtime": analysis.runtime, "providers": analysis.providers, "threads": analysis.threads}
        more = "\n".join(f"{key} = {json.dumps(value)}" for key, value in wanted.items())
        plan = Plan(folder, analysis.bundle, _QUIET_S, to_send, embedded=True, analysis=more)
        returned = {one.study.study_uid: one for one in walk(plan, voice)}
    known = KNOWN.get(digest, ())
    return [
        _check(study.title, returned.get(study.study_uid), known[number] if number < len(known) else None)
        for number, study in enumerate(to_send)
    ]


def _digest(analysis: configuration.AnalysisSettings) -> str:
    try:
        return bundle_digest(analysis.bundle)
    except BundleError as error:
        message = f"there is no bundle to test: {error}"
        raise DicomNodeError(message) from error


def _check(title: str, returned: Returned | None, known: tuple[str, float] | None) -> Checked:
    if returned is None:
        return Checked(title, "no report came back", None, 0, 0.0, "run again with --keep and read the logs it names")
    lines = dict(line.split(": ", 1) for line in describe(returned.report) if ": " in line)
    outcome = lines.get("Outcome", "unknown")
    text = lines.get("Probability")
    probability = float(text.split()[0]) if text else None
    problem = ""
    if probability is None:
        problem = f"not analysed: {lines.get('Reason', 'no reason was given')}"
    elif known and (outcome != known[0] or abs(probability - known[1]) > _TOLERANCE):
        problem = (
            f"this bundle must say {known[0]} ({known[1]:.2f} %): the runtime computes something else; do not use it"
        )
    elif not returned.captures:
        problem = "the report came without pictures"
    return Checked(title, outcome, probability, len(returned.captures), returned.seconds, problem)


class _Quiet:
    """Says nothing: the answer is JSON."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Print what went wrong, beside the JSON."""
        sys.stderr.write(f"{text}\n")


class _Voice(_Quiet):
    """A line for each stage."""

    _last = ""

    def say(self, text: str) -> None:
        """Print a stage once."""
        if text != self._last:
            print(text, flush=True)
        self._last = text


@contextmanager
def _silent_log(path: Path) -> Iterator[None]:
    """Send this process's own events to a file."""
    before = structlog.get_config()
    with path.open("w", encoding="utf-8") as log:
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=log), cache_logger_on_first_use=False)
        try:
            yield
        finally:
            structlog.configure(**before)
