"""Progress on the terminal: a bar where a person looks on, plain lines in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import track as rich_track

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")

_console = Console()


def track(items: Sequence[T], what: str) -> Iterable[T]:
    """Yield the items, with a bar on an interactive terminal."""
    if not _console.is_interactive:
        say(f"{what}: {len(items)}")
        return items
    return rich_track(items, description=what, console=_console)


def say(line: str) -> None:
    """Print one line at once."""
    _console.print(line, markup=False, highlight=False, soft_wrap=True)
