"""config/dicom-node.toml is the manual: every key is in it, with its default, and no other."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dicom_node.destination_settings import DESTINATION_KINDS, DicomDestination
from dicom_node.settings import PeerSettings, Settings, TlsSettings, load

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANUAL = Path(__file__).resolve().parents[2] / "config" / "dicom-node.toml"
SECTIONS = [name for name in Settings.model_fields if name != "destinations"]


def written() -> dict[str, Any]:
    return tomllib.loads(MANUAL.read_text(encoding="utf-8"))


def example_destinations() -> dict[str, dict[str, Any]]:
    """Return the destinations that are shown as comments, uncommented, by their kind."""
    blocks = re.findall(r"(?m)^# \[\[destinations\]\]\n(?:#.*\n)+", MANUAL.read_text(encoding="utf-8"))
    shown = [tomllib.loads(re.sub(r"(?m)^# ", "", block))["destinations"][0] for block in blocks]
    return {block["kind"]: block for block in shown}


EXAMPLES = {"[[node.peers]]": PeerSettings, "[node.tls]": TlsSettings}
NESTED = {"peers", "tls", "ledger_password_file"}  # inside [node], shown as comments: they have no default


def example(header: str) -> dict[str, Any]:
    """Return the section that is shown as a comment, uncommented."""
    lines = MANUAL.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"# {header}")
    end = next(number for number in range(start, len(lines)) if not lines[number].startswith("#"))
    shown = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines[start:end]))
    for name in header.strip("[]").split("."):
        shown = shown[name]
    return dict(shown[0] if isinstance(shown, list) else shown)


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    fields = {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    return {name: value for name, value in fields.items() if value is not PydanticUndefined and name not in NESTED}


def plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_every_key_with_its_default_and_no_other(section: str) -> None:
    model = type(getattr(Settings(), section))
    assert written()[section] == {name: plain(value) for name, value in defaults(model).items()}


def test_no_section_is_unknown() -> None:
    assert set(written()) == set(SECTIONS)


def test_the_destination_that_is_shown_has_every_key_and_the_defaults() -> None:
    shown = example_destinations()["dicom"]
    written_out = {name: value for name, value in defaults(DicomDestination).items() if value is not None}
    assert {name: shown[name] for name in written_out} == written_out


@pytest.mark.parametrize("kind", DESTINATION_KINDS)
def test_every_kind_of_destination_is_shown_and_each_of_its_keys_is_named(kind: str) -> None:
    destination = Settings.model_validate({"destinations": [example_destinations()[kind]]}).destinations[0]
    assert destination.kind == kind
    manual = MANUAL.read_text(encoding="utf-8")
    own = set(DESTINATION_KINDS[kind].model_fields)
    assert [name for name in own if not re.search(rf"(?m)^#.*\b{name}\b", manual)] == []


@pytest.mark.parametrize("model", DESTINATION_KINDS.values())
def test_every_key_of_a_destination_says_in_the_code_what_it_is(model: type[BaseModel]) -> None:
    source = Path(sys.modules[model.__module__].__file__ or "").read_text(encoding="utf-8")
    for name in model.model_fields:
        assert re.search(rf'^    {name}: .*\n    """', source, flags=re.MULTILINE), name


@pytest.mark.parametrize(("header", "model"), EXAMPLES.items(), ids=list(EXAMPLES))
def test_what_is_shown_as_a_comment_has_every_key_and_the_defaults(header: str, model: type[BaseModel]) -> None:
    shown = example(header)
    assert set(shown) == set(model.model_fields)
    assert {name: shown[name] for name in defaults(model)} == {name: plain(v) for name, v in defaults(model).items()}
    model.model_validate(shown)


def test_the_manual_can_be_used_as_it_is() -> None:
    loaded = load(MANUAL)
    assert loaded.model_copy(update={"node": Settings().node, "analysis": Settings().analysis}) == Settings()


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_says_in_the_code_what_it_is(section: str) -> None:
    kind = type(getattr(Settings(), section))
    source = Path(sys.modules[kind.__module__].__file__ or "").read_text(encoding="utf-8")
    for name in kind.model_fields:
        assert re.search(rf'^    {name}: .*(?:\n    \).*)?\n    """', source, flags=re.MULTILINE), name


def test_every_key_has_a_comment_above_it_or_above_its_group() -> None:
    lines = MANUAL.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z_0-9]+ = ", line):
            assert lines[number - 1].startswith("#") or re.match(r"[a-z_0-9]+ = ", lines[number - 1]), line
