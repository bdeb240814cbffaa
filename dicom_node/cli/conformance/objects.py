"""What the objects hold that are sent: attributes and content items, read off composed samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_node.cli.conformance.markdown import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom.dataelem import DataElement

_PIXELS: Final = "PixelData"
_TREE: Final = "ContentSequence"
_LONGEST: Final = 60
_MANY: Final = 3


@dataclass
class _Seen:
    """What was met at one place over all samples; sent: how often its parent was."""

    name: str
    tags: tuple[str, ...]
    vr: str
    sent: int = 0
    empty: int = 0
    values: dict[str, None] = field(default_factory=dict)
    copied: bool = True


def attributes(pairs: list[tuple[Dataset, Dataset]]) -> str:
    """Return the table of attributes; pairs: the source header of a result and an object of it.

    Presence as in PS3.2: ALWAYS with a value, VNAP (present, value not always), ANAP (not always present), EMPTY.
    """
    seen: dict[str, _Seen] = {}
    parents: dict[str, int] = {"": len(pairs)}
    for source, made in pairs:
        _Walk(source, frozenset(_texts(source)), seen, parents).note(made, "", ())
    rows = []
    for path, found in sorted(seen.items(), key=lambda pair: pair[1].tags):
        parent = path.rpartition("/")[0]
        name = "> " * path.count("/") + found.name
        rows.append((name, found.tags[-1], found.vr, *_value(found), _presence(found, parents[parent])))
    return table(("Attribute", "Tag", "VR", "Value", "Source", "Presence"), rows)


@dataclass(frozen=True)
class _Walk:
    """A walk over one object: what its source image holds, and where the findings are collected."""

    source: Dataset
    texts: frozenset[str]
    seen: dict[str, _Seen]
    parents: dict[str, int]

    def note(self, made: Dataset, prefix: str, above: tuple[str, ...]) -> None:
        """Collect a data set's elements, and its items' below them."""
        for element in made:
            path = f"{prefix}{element.keyword}"
            tags = (*above, f"({element.tag.group:04X},{element.tag.element:04X})")
            found = self.seen.setdefault(path, _Seen(element.name, tags, element.VR))
            found.sent += 1
            found.empty += element.is_empty
            if element.keyword in {_TREE, _PIXELS}:
                found.values["the page" if element.keyword == _PIXELS else "see the content tree"] = None
                found.copied = False
            elif element.VR == "SQ":
                self.parents[path] = self.parents.get(path, 0) + len(element.value)
                found.copied &= not element.is_empty and self.source.get(element.keyword) == element.value
                for item in element.value:
                    self.note(item, f"{path}/", tags)
            elif not element.is_empty:
                text = _text(element)
                found.values[text] = None
                # Within an item the source may hold the value elsewhere; at the top it must be the same attribute.
                found.copied &= text in self.texts if above else _same(self.source, element)


def _same(source: Dataset, element: DataElement) -> bool:
    return element.keyword in source and _text(source[element.keyword]) == _text(element)


def _text(element: DataElement) -> str:
    value = element.value
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _texts(source: Dataset) -> Iterator[str]:
    for element in source:
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        else:
            yield _text(element)


def _value(found: _Seen) -> tuple[str, str]:
    """Return what may stand there, and who says so."""
    values = list(found.values)
    if found.copied and (values or found.vr == "SQ"):
        return "", "source image"
    if not values or found.vr in {"DA", "TM", "DT"}:
        return "when it was made" if values else "", "node"
    if found.vr == "UI":
        return " or ".join(values) if all(value.startswith("1.2.840.10008.") for value in values) else "a UID", "node"
    varies = found.vr in {"IS", "US"} and len(values) > 1
    if varies or len(values) > _MANY or max(map(len, values)) > _LONGEST:
        return "varies", "node"
    return " or ".join(values), "node"


def _presence(found: _Seen, parent: int) -> str:
    if found.empty == found.sent:
        return "EMPTY"
    if found.sent < parent:
        return "ANAP"
    return "VNAP" if found.empty else "ALWAYS"


@dataclass
class _Node:
    """One kind of content item at its place: the codes that it held, and what was below it."""

    coded: set[str] = field(default_factory=set)
    below: dict[tuple[str, str, str, str], _Node] = field(default_factory=dict)


def content_tree(reports: list[Dataset]) -> str:
    """Return the content items of reports, each kind of item once at its place, with how its parent holds it."""
    root = _Node()
    for report in reports:
        _merge(report, root)
    return table(("Content item", "Relationship", "Concept name", "Template", "Coded values"), _rows(root, 0))


def _merge(item: Dataset, parent: _Node) -> None:
    name = item.ConceptNameCodeSequence[0] if "ConceptNameCodeSequence" in item else None
    concept = _code(name) if name is not None else ""
    key = (item.ValueType, str(item.get("RelationshipType", "")), concept, _template(item))
    node = parent.below.setdefault(key, _Node())
    node.coded.update(_code(code) for code in item.get("ConceptCodeSequence") or [])
    for inner in item.get(_TREE) or []:
        _merge(inner, node)


def _rows(parent: _Node, depth: int) -> Iterator[tuple[str, str, str, str, str]]:
    for (value_type, relation, concept, template), node in parent.below.items():
        yield "> " * depth + value_type, relation, concept, template, _few(sorted(node.coded))
        yield from _rows(node, depth + 1)


def _code(code: Dataset) -> str:
    return f"({code.CodeValue}, {code.CodingSchemeDesignator}, {code.CodeMeaning})"


def _template(item: Dataset) -> str:
    return ", ".join(f"TID {template.TemplateIdentifier}" for template in item.get("ContentTemplateSequence") or [])


def _few(values: list[str]) -> str:
    return "; ".join(values) if len(values) <= _MANY + 2 else f"{'; '.join(values[:_MANY])}; and others"
