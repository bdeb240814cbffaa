"""Changing values in a TOML file's text, so that its comments stay: nothing is parsed and written back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_HEADER = re.compile(r"^\s*\[{1,2}\s*([A-Za-z0-9_.-]+)\s*\]{1,2}")


def replace_values(text: str, section: str, values: Mapping[str, Any]) -> str:
    """Return the text with these keys of a section's first block set; a key that is not there is added at its head."""
    lines, left = text.splitlines(), dict(values)
    current, head = "", None
    for number, line in enumerate(lines):
        found = _HEADER.match(line)
        if found:
            if head is not None and current == section:
                break  # the next block of the same name is another one's
            current = found.group(1)
            head = number if current == section else head
            continue
        key = line.split("=", 1)[0].strip()
        if current == section and "=" in line and key in left:
            lines[number] = f"{key} = {_value(left.pop(key))}"
    if left and head is None:
        lines += ["", f"[{section}]"]
        head = len(lines) - 1
    if left and head is not None:
        lines[head + 1 : head + 1] = [f"{key} = {_value(value)}" for key, value in left.items()]
    return "\n".join(lines) + "\n"


def enable_block(text: str, section: str) -> str:
    """Return the text with the block that is shown as a comment made real: `# [[section]]` and what follows it."""
    lines = text.splitlines()
    try:
        start = lines.index(f"# [[{section}]]")
    except ValueError:
        return f"{text.rstrip()}\n\n[[{section}]]\n"
    for number in range(start, len(lines)):
        if not lines[number].startswith("#"):
            break
        lines[number] = lines[number].removeprefix("# ")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return json.dumps(value)  # JSON's strings, numbers, booleans and lists are TOML's too
