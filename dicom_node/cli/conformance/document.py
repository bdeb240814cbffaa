"""The statement, in the order of PS3.2 Annex N."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydicom.uid import UID

from dicom_node import __version__
from dicom_node.cli.conformance import commitment, network, objects, terms
from dicom_node.cli.conformance.markdown import anchor
from dicom_node.cli.conformance.samples import kinds, of_kind, samples
from dicom_node.part10.preface import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicom_node.report.request import SR_LADDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydicom.dataset import Dataset

    from dicom_node.cli.conformance.samples import Sample
    from dicom_node.settings import Settings

_OBJECTS: Final = {
    "sc": "Secondary Capture Image: the summary page and the heatmaps",
    "pr": "Grayscale Softcopy Presentation State",
    "sr": "Structured Report",
}

_OVERVIEW: Final = """\
dicom-node receives radiographs by C-STORE, looks for fractures in them, and sends a Structured Report and a Secondary
Capture series back into the study. It is research software, not a medical device. This statement follows the structure
of DICOM PS3.2, Annex N; it says what the network and the objects hold, not how good the answers are. It is made by
`dicom-node conformance` from the code and a configuration: here the defaults, with `--config` a site's own."""

_MODEL: Final = """\
One application entity. It is an SCP of Verification and Storage, and an SCU of Storage and
Storage Commitment (Push Model) for its results, on request of Query/Retrieve (FIND) too.

```mermaid
flowchart LR
  pacs[PACS or modality] -- C-STORE, C-ECHO --> node[dicom-node AE]
  node -- C-STORE, N-ACTION, C-FIND --> destination[each destination]
  destination -- N-EVENT-REPORT --> node
```

1. **Receive**: an instance is on disk and in the ledger before C-STORE is answered with 0x0000. Its data set is stored
   as it comes: no attribute is coerced, no transfer syntax is changed.
2. **Analyse**: CR and DX images that fit the model's intended use. Other instances are kept and not analysed.
3. **Send**: once a study has been quiet, its result goes to each destination over one association: Secondary Captures
   first, the report that points at them last. What fails is tried again, over days.
4. **Prove**: the destination is asked to commit to what it stored, or C-FIND looks for it there, as configured.

There is no Query/Retrieve as an SCP, no retrieval, no Modality Worklist, no printing and no media interchange."""

_ASSOCIATIONS: Final = """\
The called AE title must be the node's own, else the association is rejected (0x01, 0x01, 0x07). One more association
than the limit is rejected as "local limit exceeded" (0x02, 0x03, 0x02). Asynchronous operations are not negotiated: one
operation at a time. Extended negotiation and user identity are ignored. A SOP class that is proposed in several
contexts is accepted in each."""

_CONTEXTS: Final = """\
Storage of every class of the standard, retired ones too, and of private classes. A context with any other abstract
syntax is refused (result 3). Data sets are stored as they come, so any transfer syntax but
Deflated Explicit VR Little Endian (1.2.840.10008.1.2.1.99) is accepted for storage: of those proposed, the first."""

_LADDER: Final = """\
The report is written in the richest class that its destination takes, in this order: {classes}. Basic Text
SR holds what the others do as text and codes, without coordinates."""

_CHARSETS: Final = """\
Every Specific Character Set of PS3.3 C.12.1.1.2 is read, with and without code extensions. A result is written in the
source image's character set where all its text can be said in it, in ISO_IR 192 (UTF-8) otherwise, and without one
where all is plain ASCII. Texts of the node's own are English and ASCII."""

_MEDIA: Final = "None: the node writes no media and reads none."

_OPEN: Final = """\
DICOM without TLS has neither encryption nor passwords. The node listens on loopback unless it is told otherwise; AE
titles are checked as configured. Put it into a network segment of its own, or into a tunnel."""

_PRESENCE: Final = """\
Read off composed results: from full and from bare source images, of every outcome, first and later versions.
Presence: ALWAYS, with a value; VNAP, present but not always with a value; ANAP, not always present; EMPTY. An item's
attributes are counted over the items. A value with the source "source image" is that image's own, made legal."""

_CODES: Final = (
    "A code, once sent, is never given another meaning. The scheme is identified in every report that uses it."
)


def statement(settings: Settings) -> str:
    """Return the conformance statement of the program with these settings, in Markdown."""
    made = samples(settings.results.series_number)
    parts = list(_parts(settings, made))
    contents = "\n".join(f"- [{title}](#{anchor(title)})" for title, _ in parts)
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts)
    head = "<!-- Made by `dicom-node conformance --output docs/conformance-statement.md`; a test compares them. -->"
    return f"{head}\n# DICOM conformance statement\n\ndicom-node {__version__}\n\n{contents}\n\n{body}\n"


def _parts(settings: Settings, made: tuple[Sample, ...]) -> Iterator[tuple[str, str]]:
    yield "1 Overview", _OVERVIEW
    yield "2 Implementation model", _MODEL
    yield "3 Association policies", f"{_ASSOCIATIONS}\n\n{_identity()}"
    yield "4 Contexts accepted as an SCP", _accepted()
    yield "5 Statuses answered", network.status_answers()
    yield "6 Contexts proposed as an SCU", network.scu_contexts(made, SR_LADDER)
    yield "7 Statuses understood", network.status_behaviour()
    yield "8 Storage commitment", commitment.behaviour()
    yield "9 Network configuration", _configuration(settings)
    yield "10 Media interchange", _MEDIA
    yield "11 Character sets", _CHARSETS
    yield "12 Security", _security()
    yield from _objects(made)
    yield "Annex: coded terms of public schemes", terms.standard_terms()
    yield "Annex: coded terms of our own", f"{_CODES}\n\n{terms.own_terms()}"


def _ladder() -> str:
    return _LADDER.format(classes=", ".join(UID(uid).name for uid in SR_LADDER))


def _identity() -> str:
    version = f"Implementation Version Name `{IMPLEMENTATION_VERSION}`"
    return f"Implementation Class UID `{IMPLEMENTATION_CLASS_UID}`, {version}."


def _accepted() -> str:
    return f"{_CONTEXTS}\n\n{network.scp_contexts()}"


def _configuration(settings: Settings) -> str:
    """Return the sections that shape the network side; those of TLS have their place under Security."""
    parts = []
    for name, values in _configured(settings):
        if not name.endswith(".tls"):
            parts.append(f"### `{name}`\n\n{network.settings_table(name, values)}")
    return "\n\n".join(parts)


def _configured(settings: Settings) -> Iterator[tuple[str, BaseModel | None]]:
    for name in network.sections():
        top = name.partition(".")[0]
        if top in {"node", "study", "results", "destinations"}:
            yield name, getattr(settings, name) if name in {"node", "study", "results"} else None


def _security() -> str:
    secured = [name for name in network.sections() if name.endswith(".tls")]
    tables = [f"### `{name}`\n\n{network.settings_table(name)}" for name in secured]
    return "\n\n".join([_OPEN, *tables])


def _objects(made: tuple[Sample, ...]) -> Iterator[tuple[str, str]]:
    for kind in kinds(made):
        pairs = of_kind(made, kind)
        preface = f"{_ladder()}\n\n{_PRESENCE}" if kind == "sr" else _PRESENCE
        yield f"Annex: {_OBJECTS.get(kind, kind)}", f"{preface}\n\n{objects.attributes(pairs)}"
    yield from _trees([report for _, report in of_kind(made, "sr")])


def _trees(reports: list[Dataset]) -> Iterator[tuple[str, str]]:
    """Return the content tree of each class; a class whose tree is another's is named with it."""
    trees: dict[str, list[str]] = {}
    for uid in dict.fromkeys(str(report.SOPClassUID) for report in reports):
        tree = objects.content_tree([report for report in reports if uid == report.SOPClassUID])
        trees.setdefault(tree, []).append(UID(uid).name.removesuffix(" Storage"))
    for tree, names in trees.items():
        yield f"Annex: content tree of {', '.join(names)}", tree
