"""What is negotiated and answered on the network: contexts, statuses, settings."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from pydicom._uid_dict import UID_dictionary  # pydicom offers no other list of what the standard registers
from pydicom.uid import UID

from dicom_node import settings as configuration
from dicom_node.cli.conformance.markdown import table
from dicom_node.dimse import status
from dicom_node.dimse.commitment import PROVING
from dicom_node.dimse.references import IMPLICIT_LITTLE, SYNTAXES
from dicom_node.dimse.sop_classes import STORAGE_COMMITMENT, VERIFICATION, is_storage_class

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.cli.conformance.samples import Sample

#: (0000,0900) as this node means it. A new constant in `dimse/status.py` needs a line here, or no statement is made.
MEANINGS = {
    0x0000: ("Success", "the instance is on disk, synced, and in the ledger (C-STORE); verified (C-ECHO)"),
    0xA700: (
        "Refused: Out of Resources",
        "too little disk, too large a data set, or a failure of ours; nothing is kept, send it again",
    ),
    0xA900: (
        "Error: Data Set does not match SOP Class",
        "the data set's SOP Class or Instance UID is not the command's; nothing is kept",
    ),
    0xC000: ("Error: Cannot understand", "the data set cannot be read, or names no study or instance; nothing is kept"),
    0x0110: ("Processing failure", "a failure of ours, outside C-STORE"),
    0x0113: ("No such event type", "N-EVENT-REPORT of another type than 1 and 2"),
    0x0115: ("Invalid argument value", "N-EVENT-REPORT that cannot be read, or of a transaction that is not ours"),
    0x0122: ("SOP Class not supported", "C-STORE on a context that is not for storage"),
    0x0211: ("Unrecognized operation", "a service other than those listed here"),
}
_STANDARD = "1.2.840.10008"
ONLY_HEARD = {"DUPLICATE", "NO_SUCH_ACTION"}
"""Names of statuses that destinations answer with and the node never does."""
_ANSWERS = (
    0x0000,
    0xB000,
    0xB006,
    0xB007,
    0xA700,
    0xA900,
    0xC000,
    0x0110,
    0x0111,
    0x0117,
    0x0122,
    0x0124,
    0x0210,
    0x0213,
)


def accepted_classes() -> list[str]:
    """Return every SOP class of the standard that a peer may propose and this node accepts."""
    return [VERIFICATION, *(uid for uid in UID_dictionary if is_sop_class(uid) and is_storage_class(uid))]


def is_sop_class(uid: str) -> bool:
    """Tell whether the standard's registry lists this UID as a SOP class."""
    return UID(uid).type in {"SOP Class", "Meta SOP Class"}


def scp_contexts() -> str:
    """Return the table of the contexts that are accepted."""
    first = "the first that is proposed"
    rows = [(_name(uid), uid, first, "SCP") for uid in accepted_classes()]
    rows.append((_name(STORAGE_COMMITMENT), STORAGE_COMMITMENT, "Implicit or Explicit VR Little Endian", "SCU"))
    rows.append(("every private SOP class", f"any UID outside {_STANDARD}", first, "SCP"))
    return table(("SOP class", "UID", "Transfer syntax", "Role"), rows)


def _name(uid: str) -> str:
    return f"{UID(uid).name}{' (retired)' if UID(uid).is_retired else ''}"


def scu_contexts(samples: tuple[Sample, ...], ladder: tuple[str, ...]) -> str:
    """Return the table of the contexts that are proposed to a destination."""
    pairs = [
        (str(made.sop_class_uid), str(made.dataset.file_meta.TransferSyntaxUID))
        for sample in samples
        for made in sample.objects
    ]
    written = dict.fromkeys(syntax for uid, syntax in pairs if uid in ladder)
    pairs += [(uid, syntax) for uid in ladder for syntax in written]
    rows = [(UID(uid).name, uid, UID(syntax).name, syntax, "SCU") for uid, syntax in sorted(set(pairs))]
    plain = ((VERIFICATION, IMPLICIT_LITTLE), *((uid, syntax) for uid in PROVING for syntax in SYNTAXES))
    rows += [(UID(uid).name, uid, UID(syntax).name, syntax, "SCU") for uid, syntax in plain]
    return table(("SOP class", "UID", "Transfer syntax", "UID", "Role"), rows)


def statuses() -> dict[str, int]:
    """Return the DIMSE statuses that the node has names for and answers with; every answer is one of them."""
    named = {name: value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    return {name: value for name, value in named.items() if name not in ONLY_HEARD}


def status_answers() -> str:
    """Return the table of the statuses that are answered; KeyError where one has no meaning written down."""
    rows = [(f"0x{value:04X}", *MEANINGS[value]) for value in sorted(statuses().values())]
    return table(("Status", "Service status", "When, and what it means"), rows)


def status_behaviour() -> str:
    """Return the table of what is done about a destination's answer."""

    def behaviour(value: int) -> str:
        if status.is_stored(value):
            return "stored: the delivery goes on"
        return "tried again later" if status.may_pass(value) else "the delivery is given up until `dicom-node retry`"

    return table(("Status", "Behaviour"), [(f"0x{value:04X}", behaviour(value)) for value in _ANSWERS])


def sections() -> dict[str, type[BaseModel]]:
    """Return every section of the settings by its name in the file (`node`, `node.tls`, `destinations`)."""
    return dict(_sections("", configuration.Settings))


def _sections(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            yield f"{prefix}{name}", inner
            yield from _sections(f"{prefix}{name}.", inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def settings_table(section: str, values: BaseModel | None = None) -> str:
    """Return a section's keys with their value in this configuration, or the default, and what they mean."""
    model = sections()[section]
    meanings = _docstrings(model)
    rows = []
    for name, field in model.model_fields.items():
        if list(_models(field.annotation)):
            continue
        value = getattr(values, name) if values else field.get_default(call_default_factory=True)
        shown = "(required)" if value is PydanticUndefined else f"`{_in_toml(value)}`"
        rows.append((f"`{name}`", shown, meanings.get(name, "")))
    return table(("Key", "Value", "Meaning"), rows)


def _in_toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_in_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool | float | int) else f'"{value}"'


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the line below each field in the settings' source."""
    definition = ast.parse(inspect.getsource(model)).body[0]
    lines = definition.body if isinstance(definition, ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, line in pairwise(lines):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(line, ast.Expr):
            found[field.target.id] = str(getattr(line.value, "value", ""))
    return found
