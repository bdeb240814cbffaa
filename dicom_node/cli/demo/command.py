"""`dicom-node demo`: send a study to a PACS, and read back what the node says about it."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from dicom_node.cli.demo import phantom, studies
from dicom_node.cli.demo.walk import Plan, Returned, save_png, walk
from dicom_node.core.errors import DicomNodeError
from dicom_node.report.reading import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NOTICE = "Research software, not a medical device: not for diagnosis, treatment or any other clinical use."
_PHANTOM_NOTICE = (
    "These phantoms are drawn by a program and show nobody, and the model is a demonstration trained on other images:\n"
    "what it says about a phantom shows that the chain works and means nothing else, right or wrong."
)
_SKIPPED_SHOWN = 5
_WIDTH_PIPED = 110
_QUIET_PHANTOM_S, _QUIET_OWN_S = 2.0, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dicom-node demo`."""
    parser.add_argument("--study", type=Path, metavar="DIR", help="send the DICOM files in this folder, any depth")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo-out"), help="for PNGs (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the working folder: files of PACS and node, logs")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="model bundle (engines/compact-fracatlas)")
    parser.add_argument("--embedded", action="store_true", help="use the embedded PACS even where Orthanc is installed")


def run(args: argparse.Namespace) -> int:
    """Run the demonstration; 0 only if each study got its report."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_PIPED)
    folder = Path(tempfile.mkdtemp(prefix="dicom-node-demo-"))
    keep = bool(args.keep)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with (folder / "demo.log").open("w", encoding="utf-8") as log:
            _quiet_libraries(log)
            _demonstrate(args, folder, console)
    except DicomNodeError as error:
        keep = True
        console.print(Text(f"dicom-node demo: {error}", style="red"))
        return 1
    except KeyboardInterrupt:
        console.print("dicom-node demo: stopped; PACS and node have ended")
        return 130
    else:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
        if keep:
            console.print(f"Working folder (PACS, node, logs): {folder}", soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _demonstrate(args: argparse.Namespace, folder: Path, console: Console) -> None:
    console.print(Text(_NOTICE, style="bold"))
    with _progress(console) as say:
        if args.study is None:
            say("drawing two phantom studies")
            paths: Sequence[Path] = phantom.write(folder / "phantoms")
        else:
            if not args.study.is_dir():
                message = f"--study {args.study}: there is no such folder"
                raise DicomNodeError(message)
            say(f"reading {args.study}")
            paths = sorted(path for path in args.study.rglob("*") if path.is_file())
        to_send, skipped = studies.collect(paths)
        _say_skipped(skipped, console)
        if not to_send:
            message = f"{args.study}: no study with a CR or DX image in it"
            raise DicomNodeError(message)
        quiet = _QUIET_PHANTOM_S if args.study is None else _QUIET_OWN_S
        plan = Plan(folder, _bundle(args.bundle), quiet, to_send, embedded=args.embedded)
        returned = walk(plan, say)
    for result in returned:
        _show(result, args.out, console)
    if args.study is None:
        console.print(Text(_PHANTOM_NOTICE, style="bold"))


def _show(result: Returned, out: Path, console: Console) -> None:
    """Print one study's report in words, and where its captures are."""
    lines = Text("\n".join(describe(result.report)))
    console.print(Panel(lines, title=Text(result.study.title), title_align="left", expand=False))
    console.print(f"Report and {len(result.captures)} pictures back in the PACS after {result.seconds:.1f} s")
    name = result.study.accession or result.study.study_uid[-12:]
    folder = out / "".join(letter if letter.isalnum() else "-" for letter in name)
    for number, capture in enumerate(result.captures, start=1):
        path = folder / f"{number:02d}-{'summary' if number == 1 else 'heatmap'}.png"
        save_png(capture, path)
        console.print(f"  {path}", soft_wrap=True)
    console.print()


def _say_skipped(skipped: Sequence[str], console: Console) -> None:
    for line in skipped[:_SKIPPED_SHOWN]:
        console.print(Text(f"Left out: {line}", style="yellow"), soft_wrap=True)
    if len(skipped) > _SKIPPED_SHOWN:
        console.print(Text(f"Left out: {len(skipped) - _SKIPPED_SHOWN} more", style="yellow"))


def _bundle(given: Path | None) -> Path:
    """Return the bundle's folder: the given one, or the default beside the working folder or the checkout."""
    if given is not None:
        return given.resolve()
    default = Path("engines/compact-fracatlas")
    checkout = Path(__file__).resolve().parents[3] / default
    return checkout if checkout.exists() and not default.exists() else default.resolve()


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the present stage: one moving line on a terminal, else a line for each change."""
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(Text(text))
        return
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            console.print(text, soft_wrap=True)
            last = text

    yield say


def _quiet_libraries(log: object) -> None:
    """Send the embedded PACS's events to a file, and what pydicom remarks on odd files nowhere."""
    warnings.simplefilter("ignore")
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file=log),  # type: ignore[arg-type]
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the demonstration without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="dicom-node demo", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
