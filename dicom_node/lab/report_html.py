"""A report as one HTML file: tables and pictures inside it, nothing fetched, readable in light and dark."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STYLE: Final = """\
:root { color-scheme: light dark; --ink: #1b1f24; --page: #fff; --line: #d0d7de; --soft: #f3f5f7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e2e6ea; --page: #15191e; --line: #3a424b; --soft: #1f252c; } }
body { margin: 2rem auto; max-width: 66rem; padding: 0 1rem; color: var(--ink); background: var(--page);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
p { white-space: pre-line; max-width: 48rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--line); padding: .25rem .7rem; text-align: right; }
th { background: var(--soft); } th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; margin: .5rem .5rem .5rem 0; vertical-align: top; max-width: 100%; }
img { max-width: 100%; background: #fff; border: 1px solid var(--line); }
figcaption { font-size: .9rem; opacity: .8; }
footer { margin-top: 3rem; font-size: .9rem; opacity: .8; }
"""
_FOOT: Final = "Research software, not a medical device."


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report: text (plain, line breaks kept), a table whose first row is its heading, and pictures."""

    title: str
    text: str = ""
    table: Sequence[Sequence[object]] = ()
    pictures: Sequence[Path] = ()


def page(title: str, sections: Sequence[Section]) -> str:
    """Return the whole page; pictures (PNG) become part of it."""
    body = "\n".join(_section(one) for one in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n<footer>{_FOOT}</footer>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.table:
        parts.append(_table(section.table))
    parts += [_picture(path) for path in section.pictures]
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[object]]) -> str:
    head, *body = rows
    lines = [_row(head, "th"), *(_row(row, "td") for row in body)]
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _row(cells: Sequence[object], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell_text(cell))}</{tag}>" for cell in cells) + "</tr>"


def cell_text(cell: object) -> str:
    """Return a cell's text: numbers with three decimals, nothing defined as a dash."""
    if cell is None or (isinstance(cell, float) and cell != cell):  # noqa: PLR0124 - NaN is not itself
        return "–"  # noqa: RUF001 - an en dash, on purpose
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _picture(path: Path) -> str:
    coded = base64.b64encode(path.read_bytes()).decode("ascii")
    name = html.escape(path.stem.replace("_", " ").replace("-", " "))
    return f'<figure><img alt="{name}" src="data:image/png;base64,{coded}"><figcaption>{name}</figcaption></figure>'
