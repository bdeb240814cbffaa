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
from rich.status import Status
from rich.text import Text

from dicom_node.cli.demo import phantom, studies
from dicom_node.cli.demo.walk import Plan, Returned, Voice, save_png, walk
from dicom_node.core.errors import DicomNodeError
from dicom_node.report.reading import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
        with _quiet_libraries(folder / "demo.log"):
            _demonstrate(args, folder, console)
    except DicomNodeError as error:
        keep = keep or (folder / "node").exists()
        console.print(Text(f"dicom-node demo: {error}", style="red"), soft_wrap=True)
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
    with _talking(console) as voice:
        if args.study is None:
            voice.say("drawing two phantom studies")
            paths: Sequence[Path] = phantom.write(folder / "phantoms")
        else:
            if not args.study.is_dir():
                message = f"--study {args.study}: there is no such folder"
                raise DicomNodeError(message)
            voice.say(f"reading {args.study}")
            paths = sorted(path for path in args.study.rglob("*") if path.is_file())
        to_send, skipped = studies.collect(paths)
        _say_skipped(skipped, voice)
        if not to_send:
            message = f"{args.study}: no study with a CR or DX image in it"
            raise DicomNodeError(message)
        quiet = _QUIET_PHANTOM_S if args.study is None else _QUIET_OWN_S
        plan = Plan(folder, _bundle(args.bundle), quiet, to_send, embedded=args.embedded)
        returned = walk(plan, voice)
    for number, result in enumerate(returned, start=1):
        _show(result, args.out / f"study-{number}", console)
    if args.study is None:
        console.print(Text(_PHANTOM_NOTICE, style="bold"))
    if len(returned) < len(to_send):
        message = f"{len(to_send) - len(returned)} of {len(to_send)} studies got no report; logs: {folder}"
        raise DicomNodeError(message)


def _show(result: Returned, folder: Path, console: Console) -> None:
    """Print one study's report in words, and where its captures are."""
    lines = Text("\n".join(describe(result.report)))
    console.print(Panel(lines, title=Text(result.study.title), title_align="left", expand=False))
    console.print(f"Report and {len(result.captures)} pictures back in the PACS after {result.seconds:.1f} s")
    for number, capture in enumerate(result.captures, start=1):
        path = folder / f"{number:02d}-{'summary' if number == 1 else 'heatmap'}.png"
        save_png(capture, path)
        console.print(f"  {path}", soft_wrap=True)
    console.print()


def _say_skipped(skipped: Sequence[str], voice: Voice) -> None:
    for line in skipped[:_SKIPPED_SHOWN]:
        voice.warn(f"Left out: {line}")
    if len(skipped) > _SKIPPED_SHOWN:
        voice.warn(f"Left out: {len(skipped) - _SKIPPED_SHOWN} more")


def _bundle(given: Path | None) -> Path:
    """Return the bundle's folder: the given one, or the default beside the working folder or the checkout."""
    if given is not None:
        return given.resolve()
    default = Path("engines/compact-fracatlas")
    checkout = Path(__file__).resolve().parents[3] / default
    return checkout if checkout.exists() and not default.exists() else default.resolve()


class _ConsoleVoice:
    """Shows the present stage: one moving line on a terminal, else a line for each change."""

    def __init__(self, console: Console, status: Status | None) -> None:
        self._console = console
        self._status = status
        self._last = ""

    def say(self, text: str) -> None:
        """Show the present stage."""
        if self._status is not None:
            self._status.update(Text(text))
        elif text != self._last:
            self._console.print(Text(text), soft_wrap=True)
        self._last = text

    def warn(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(text, style="yellow"), soft_wrap=True)


@contextmanager
def _talking(console: Console) -> Iterator[_ConsoleVoice]:
    if console.is_terminal:
        with console.status("") as status:
            yield _ConsoleVoice(console, status)
    else:
        yield _ConsoleVoice(console, None)


@contextmanager
def _quiet_libraries(path: Path) -> Iterator[None]:
    """Send the embedded PACS's events to a file, and what pydicom remarks on odd files nowhere."""
    before = structlog.get_config()
    with path.open("w", encoding="utf-8") as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structlog.configure(
            processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
            logger_factory=structlog.WriteLoggerFactory(file=log),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.configure(**before)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the demonstration without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="dicom-node demo", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
