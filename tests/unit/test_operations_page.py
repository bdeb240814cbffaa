"""Every command that the pages for administrators name exists, takes those options, and ends with what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dicom_node.cli import exits
from dicom_node.cli.main import COMMANDS, build_parser

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "docs" / name for name in ("operations.md", "monitoring.md")] + [REPOSITORY / "README.md"]
_INLINE = re.compile(r"`(?:sudo )?(dicom-node [^`]+)`")
_FENCED = re.compile(r"^(?:sudo )?(?:\.venv/bin/)?(dicom-node .*)$", re.MULTILINE)


def commands() -> list[str]:
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found |= {re.sub(r"\s+", " ", one) for one in _INLINE.findall(text)} | set(_FENCED.findall(text))
    return sorted(one for one in found if "…" not in one)


def test_there_are_commands_to_look_at():
    assert len(commands()) > 25


@pytest.mark.parametrize("line", commands())
def test_a_command_on_the_page_is_one(line):
    words = shlex.split(line.split("|")[0], comments=True)[1:]
    if words[0] in {"lab", "engine"}:
        assert words[0] in COMMANDS
        return
    build_parser({words[0]}).parse_args(words)


def test_the_table_of_statuses_is_the_programs_own():
    text = PAGES[0].read_text(encoding="utf-8")
    section = text.partition("## What the commands end with")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", section, re.MULTILINE)) == {
        str(status): meaning for status, meaning in exits.MEANINGS.items()
    }


def test_every_unit_and_file_on_the_page_is_shipped():
    text = PAGES[0].read_text(encoding="utf-8")
    units = set(re.findall(r"dicom-node[\w-]*@?\d?\.(?:service|socket|target)\b", text))
    shipped = {file.name for file in (REPOSITORY / "systemd").iterdir()}
    assert {re.sub(r"@\d", "@", unit) for unit in units} <= shipped
    assert set(re.findall(r"scripts/(\w+)", text)) <= {file.name for file in (REPOSITORY / "scripts").iterdir()}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= {
        slug(title) for title in re.findall(r"^## (.*)$", text, re.MULTILINE)
    }


def slug(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
