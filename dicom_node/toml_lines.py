"""Where in a TOML file a key is set, for messages about it."""

from __future__ import annotations

import re
from typing import Any


def section_of(location: tuple[Any, ...]) -> str:
    """Return the section that a key is in, such as `node` or `node.peers`; empty at the top."""
    return ".".join(part for part in location[:-1] if isinstance(part, str))


_HEADER = re.compile(r"^\s*\[{1,2}\s*([A-Za-z0-9_.-]+)\s*\]{1,2}")


def line_of(text: str, location: tuple[Any, ...]) -> int:
    """Return the line (from 1) where a key is set, else of the section it belongs to, else 1."""
    section, found, count = "", 1, -1
    wanted = section_of(location) or (str(location[0]) if location else "")
    index = next((part for part in location if isinstance(part, int)), None)
    leaf = str(location[-1]) if len(location) > 1 else wanted
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header:
            section = header.group(1)
            count += section == wanted
            if section == wanted and (index is None or count == index):
                found = number
        here = section == wanted and (index is None or count == index)
        top = len(location) == 1 and not section
        if (here or top) and re.match(rf"\s*{re.escape(leaf)}\s*=", line):
            return number
    return found
