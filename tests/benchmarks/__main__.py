"""`scripts/bench`: what the node does under load and under kill -9, and what the lab's long steps cost."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tests.benchmarks import (
    admin,
    answer,
    crashes,
    cxr,
    endtoend,
    fleet,
    fuzz,
    ingest,
    kills,
    ledger,
    ledger_server,
    performance,
    report,
    sending,
    start,
    survive,
    throughput,
)
from tests.benchmarks.printing import print_figures
from tests.benchmarks.workload import prepare
from tests.support import orthanc
from tests.support.system import BUNDLE

_MODULES = {
    "answer": answer,
    "throughput": throughput,
    "ingest": ingest,
    "survive": survive,
    "crashes": crashes,
    "ledger": ledger,
    "ledger-postgresql": ledger_server,
    "fuzz": fuzz,
    "start": start,
    "fleet": fleet,
    "performance": performance,
}
_HELP = {
    "throughput": "a queue of radiographs through the worker, beside bare ONNX Runtime",
    "answer": "from the close of a study to its report at the PACS, stage by stage",
    "crashes": "kills, failing system calls and power cuts at every point from C-STORE to delivery (needs strace)",
    "fleet": "a Monday of a hospital or a region against the node at accelerated time, and on paper beyond",
    "fuzz": "changed bytes against what reads received bytes first; finds are kept",
    "ledger": "what each step of the ledger costs as it grows",
    "ledger-postgresql": "the same on a PostgreSQL server",
    "ingest": "receiving, beside Orthanc and DCMTK's storescp",
    "performance": "every performance figure beside its peer, kept, drawn, and told in docs/performance.md",
    "start": "how long node, worker and commands take to start, beside Orthanc and storescp",
    "survive": "peers that stall, flood and never end, in the numbers of the fault list: a table of expected and seen",
}


def main() -> int:
    """Run one benchmark; 0: every result was right, 1: one was lost, doubled or wrong, 2: it cannot run."""
    arguments = _arguments()
    console = Console(stderr=True)
    if arguments.bench == "admin":
        return admin.run(arguments.studies, arguments.rounds, arguments.output, console)
    if arguments.bench == "cxr":
        return cxr.run(arguments.images, Console())
    if arguments.bench == "report":
        return report.run(arguments.rounds, arguments.seed, arguments.output, Console())
    if arguments.bench == "send":
        return sending.run(arguments.rounds, arguments.seed, arguments.output, Console())
    if arguments.bench in _MODULES:
        return _MODULES[arguments.bench].run(arguments, Console())
    return _lab(arguments, console) if arguments.bench == "lab" else _node(arguments, console)


def _lab(arguments: argparse.Namespace, console: Console) -> int:
    try:
        from tests.benchmarks import lab  # noqa: PLC0415 - the other benchmarks need none of the lab's libraries
    except ImportError as error:
        console.print(f"the lab's libraries are not installed ({error.name}): scripts/setup dev")
        return 2
    return lab.run(arguments, console)


def _node(arguments: argparse.Namespace, console: Console) -> int:
    if not orthanc.is_installed():
        console.print("Orthanc is not installed: apt-get install orthanc")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-bench-"))
    started = time.monotonic()
    try:
        workload = prepare(folder, arguments.studies, arguments.singles, arguments.bundle, arguments.seed, console)
        if arguments.bench == "end-to-end":
            figures = endtoend.run(folder, workload, arguments.limit_s, console)
        else:
            figures = kills.run(folder, workload, arguments.kills, arguments.seed, arguments.limit_s, console)
    finally:
        if arguments.keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    figures.wall_s = time.monotonic() - started
    print_figures(figures, Console())
    if arguments.output:
        arguments.output.write_text(json.dumps(asdict(figures), indent=1))
    return 1 if figures.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws the studies and the moments of the kills")
    subparsers = parser.add_subparsers(dest="bench", required=True)
    sub = subparsers.add_parser(
        "cxr", help="CXR Foundation: preprocessing, maps, FP16 rehearsed", description=cxr.__doc__
    )
    sub.add_argument("--images", type=int, default=16, help="radiographs to rehearse FP16 on (default %(default)s)")
    text = "composing a result of three radiographs, beside highdicom called naively"
    sub = subparsers.add_parser("report", help=text, description=report.__doc__)
    sub.add_argument("--rounds", type=int, default=5, help="turns of both sides (default %(default)s)")
    sub.add_argument("--output", type=Path, help="write the record to this file")
    sub = subparsers.add_parser("send", help="C-STORE beside DCMTK's storescu", description=sending.__doc__)
    sub.add_argument("--rounds", type=int, default=5, help="rounds; medians are printed (default %(default)s)")
    sub.add_argument("--output", type=Path, help="write the record to this file")
    text = "what an administrator waits for: READY, status, restarts (needs root and systemd)"
    sub = subparsers.add_parser("admin", help=text, description=admin.__doc__)
    sub.add_argument("--studies", type=int, default=1_000_000, help="studies in the ledger (default %(default)s)")
    sub.add_argument("--rounds", type=int, default=3, help="how often each is measured (default %(default)s)")
    sub.add_argument("--output", type=Path, help="write the figures to this file, as JSON")
    help_ = {
        "end-to-end": "studies through Orthanc and back, as fast as it forwards them",
        "survive-kills": "the same with kill -9 of node, worker and supervisor at random moments",
    }
    for name, text in help_.items():
        _add_node_arguments(subparsers.add_parser(name, help=text, description=text), name)
    for name, module in _MODULES.items():
        module.add_arguments(subparsers.add_parser(name, help=_HELP[name], description=module.__doc__))
    text = "embedding images and fitting the linear head: speed and memory (needs no Orthanc)"
    _add_lab_arguments(subparsers.add_parser("lab", help=text, description=text))
    return parser.parse_args()


def _add_node_arguments(sub: argparse.ArgumentParser, name: str) -> None:
    sub.add_argument("--studies", type=int, default=200, help="studies of 1 to 4 views (default %(default)s)")
    sub.add_argument("--output", "--json", type=Path, help="write the figures to this file")
    sub.add_argument("--bundle", type=Path, default=BUNDLE, help="folder of the model bundle")
    sub.add_argument("--limit-s", type=float, default=900.0, help="give up after this long (default %(default)s)")
    sub.add_argument("--keep", action="store_true", help="keep the working folder")
    if name == "end-to-end":
        sub.add_argument("--singles", type=int, default=20, help="studies sent alone afterwards, for the latency")
    else:
        sub.add_argument("--kills", type=int, default=20, help="processes to kill (default %(default)s)")
        sub.set_defaults(singles=0)


def _add_lab_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--images", type=int, default=300, help="images to embed (default %(default)s)")
    sub.add_argument("--readers", type=int, nargs="+", default=[1, 2, 4], help="reader threads (default 1 2 4)")
    sub.add_argument("--rows", type=int, default=4000, help="embeddings to fit the head on (default %(default)s)")
    sub.add_argument("--naive-rows", type=int, default=1000, help="of both ways side by side (default %(default)s)")
    sub.add_argument("--width", type=int, default=88064, help="length of an embedding (default %(default)s)")
    sub.add_argument("--bundle", type=Path, default=BUNDLE, help="folder of the model bundle")
    sub.add_argument("--output", "--json", type=Path, help="write the figures to this file")


if __name__ == "__main__":
    sys.exit(main())
