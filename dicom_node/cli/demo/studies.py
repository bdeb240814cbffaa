"""Studies to send: DICOM files found in a folder, grouped, and what was left out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.dimse.scu import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydicom.dataset import FileDataset

RADIOGRAPHS = frozenset({"CR", "DX"})
_WANTED = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Modality", "AccessionNumber", "StudyDescription"]


@dataclass(frozen=True, slots=True)
class Study:
    """A study's files in sending order; radiograph_uids are the SOP instances that the node analyses."""

    study_uid: str
    accession: str
    description: str
    objects: tuple[Outgoing, ...]
    radiograph_uids: frozenset[str]

    @property
    def radiographs(self) -> int:
        """How many images of it the node analyses."""
        return sum(item.sop_instance_uid in self.radiograph_uids for item in self.objects)

    @property
    def title(self) -> str:
        """A line for a person; no patient's name, since a terminal is often shared."""
        about = self.description or "study without a description"
        return f"{about} (accession {self.accession or 'none'})"

    def without(self, sop_instance_uids: set[str]) -> Study:
        """Return the study less these objects."""
        kept = tuple(item for item in self.objects if item.sop_instance_uid not in sop_instance_uids)
        return replace(self, objects=kept)


def collect(paths: Iterable[Path]) -> tuple[tuple[Study, ...], tuple[str, ...]]:
    """Return the studies among these files, and a line for each file or study that is left out."""
    groups: defaultdict[str, list[tuple[Outgoing, FileDataset]]] = defaultdict(list)
    skipped: list[str] = []
    seen: set[str] = set()
    for path in paths:
        header = _header(path)
        if header is None:
            skipped.append(f"{path}: not a DICOM file with an image or document in it")
        elif str(header.SOPInstanceUID) in seen:
            skipped.append(f"{path}: the same instance again")
        else:
            seen.add(str(header.SOPInstanceUID))
            groups[str(header.StudyInstanceUID)].append((_outgoing(path, header), header))
    studies = tuple(_study(uid, members) for uid, members in groups.items())
    skipped += [f"{study.title}: has no CR or DX image" for study in studies if not study.radiographs]
    return tuple(study for study in studies if study.radiographs), tuple(skipped)


def _header(path: Path) -> FileDataset | None:
    try:
        header = dcmread(path, specific_tags=list(_WANTED), stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError):
        return None
    complete = all(header.get(name) for name in _WANTED[:3]) and header.file_meta.get("TransferSyntaxUID")
    return header if complete else None


def _outgoing(path: Path, header: FileDataset) -> Outgoing:
    return Outgoing(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        path=path,
    )


def _study(uid: str, members: list[tuple[Outgoing, FileDataset]]) -> Study:
    headers = [header for _, header in members]
    return Study(
        study_uid=uid,
        accession=next((str(h.AccessionNumber) for h in headers if h.get("AccessionNumber")), ""),
        description=next((str(h.StudyDescription) for h in headers if h.get("StudyDescription")), ""),
        objects=tuple(item for item, _ in members),
        radiograph_uids=frozenset(str(h.SOPInstanceUID) for h in headers if str(h.get("Modality", "")) in RADIOGRAPHS),
    )
