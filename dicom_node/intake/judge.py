"""What an instance is to this node, from its header alone."""

from __future__ import annotations

from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.core.identifiers import UID_ROOT
from dicom_node.core.model_identity import NODE_MANUFACTURER
from dicom_node.core.study import InstanceHeader, Judgement, Role

CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_IMAGE_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_IMAGE_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_VIEWS = frozenset({CR_IMAGE, DX_IMAGE_FOR_PRESENTATION})


def judge(header: InstanceHeader, *, is_own_uid: bool) -> Judgement:
    """Return the role of an instance and, where it is not to be analysed, the reason.

    is_own_uid: whether the ledger knows the SOP Instance UID as one of our results. Another dicom-node's results are
    known by manufacturer and UID root, so that two nodes never answer each other.
    """
    made_by_us = header.manufacturer == NODE_MANUFACTURER and header.sop_instance_uid.startswith(UID_ROOT)
    if is_own_uid or made_by_us:
        return Judgement(Role.OWN_RESULT, Reason(ReasonCode.OWN_RESULT, "one of dicom-node's own results"))
    if header.sop_class_uid in _VIEWS:
        return Judgement(Role.VIEW)
    if header.sop_class_uid == DX_IMAGE_FOR_PROCESSING:
        text = "not analysed: DX image for processing, not for presentation"
        return Judgement(Role.KEPT, Reason(ReasonCode.IMAGE_KIND, text))
    return Judgement(Role.KEPT, Reason(ReasonCode.MODALITY, f"not analysed: {_kind(header)}"))


def _kind(header: InstanceHeader) -> str:
    """Name what the instance is by its modality, where that is a plain code string, else by its SOP class."""
    plain = header.modality.replace("_", "").isalnum() and header.modality.isascii() and len(header.modality) <= 16  # noqa: PLR2004 - CS, PS3.5 6.2
    return f"modality {header.modality}" if plain else f"SOP class {header.sop_class_uid}"
