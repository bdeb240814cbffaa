"""Instances for ledger tests."""

from __future__ import annotations

import hashlib

from dicom_node.core.findings import Reason, ReasonCode
from dicom_node.core.identifiers import spool_key
from dicom_node.core.study import InstanceHeader, Judgement, Role
from dicom_node.ledger.instances import Arrival

CR = "1.2.840.10008.5.1.4.1.1.1"


def an_arrival(uid: str, *, content: str = "pixels", study: str = "1.2.3", role: Role = Role.VIEW) -> Arrival:
    digest = hashlib.sha256(content.encode()).hexdigest()
    reason = None if role is Role.VIEW else Reason(ReasonCode.MODALITY, "not analysed: modality MR")
    return Arrival(
        header=InstanceHeader(CR, uid, study, f"{study}.1", "1.2.840.10008.1.2.1", modality="CR"),
        judgement=Judgement(role, reason),
        sha256=digest,
        size=len(content),
        spool_key=spool_key(uid, digest),
        calling_ae="PACS",
    )
