"""What is wrong in a TOML file, and where: messages about it."""

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


def why_unread(error: Exception) -> str:
    """Return why a configuration file could not be read, and what to do."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file; `sudo dicom-node init` writes one, and --config names one elsewhere"
    if isinstance(error, PermissionError):
        return "may not be read by this user: run it with sudo"
    if isinstance(error, UnicodeDecodeError):
        return "is not text in UTF-8: save it again in that encoding"
    return f"cannot be read ({type(error).__name__}); give an existing TOML file with --config"


def told(problem: Any, key: str) -> str:
    """Return what is wrong with a value and what is allowed, in the words of the file rather than of Python."""
    kind, given = problem["type"], problem["input"]
    if kind == "missing":
        return "is required"
    if kind == "string_pattern_mismatch" and key.endswith("ae_title"):
        return f"an AE title has 1 to 16 ASCII characters, no backslash, no space at its ends, not {given!r}"
    if kind == "tuple_type":
        return (
            f"write [[{key}]]: there may be several" if isinstance(given, dict) else f"a list is needed, not {given!r}"
        )
    if kind == "model_type":
        return f"write [{key}], once" if isinstance(given, list) else f"a section [{key}] is needed, not {given!r}"
    is_value = key and not isinstance(given, dict)  # else it is about several keys
    return f"{problem['msg']}, not {given!r}" if is_value else str(problem["msg"])
