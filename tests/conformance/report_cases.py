"""Synthetic studies for the tests of reports: headers, pictures, findings, requests."""

from __future__ import annotations

import warnings
from datetime import datetime, timezone

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from dicom_node.core.decision import Gate, Policy, aggregate
from dicom_node.core.findings import Localisation, Outcome, Reason, ReasonCode, Region, ViewFinding, not_analysed
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.model_identity import ModelIdentity
from dicom_node.core.radiograph import EvidenceMap, InputGeometry
from dicom_node.report.package import Predecessor, ReportOptions, ReportRequest, SourceView
from dicom_node.report.request import SR_LADDER

CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
STUDY = derived_uid("test", "study")
MADE = datetime(2026, 3, 14, 15, 9, 26, tzinfo=timezone.utc)
GATE = Gate(Policy.CERTIFIED, 0.12, 0.71, 0.4, 0.8, 0.3, 0.2, 0.6)
MODEL = ModelIdentity(
    name="fracatlas-embedding-head",
    version="1.4.0",
    manufacturer="The dicom-node team",
    bundle_sha256="5f2b" * 16,
    demonstration=False,
    runtime="onnxruntime 1.20 CPU",
    parameters=(("temperature", "1.31"), ("calibration", "cal-2026-03")),
)


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def header(number=1, sop_class=DX, rows=800, columns=600, **changes):
    """A clean CR or DX header; a change of None removes the attribute."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPClassUID = UID(sop_class)
    ds.SOPInstanceUID = UID(derived_uid("test", "image", str(number)))
    ds.StudyInstanceUID = UID(STUDY)
    ds.SeriesInstanceUID = UID(derived_uid("test", "series"))
    ds.Modality = "DX" if sop_class == DX else "CR"
    ds.PatientName, ds.PatientID = "Tester^Anna", "PID-1"
    ds.PatientBirthDate, ds.PatientSex = "19700102", "F"
    ds.AccessionNumber, ds.StudyID = "ACC1", "ST1"
    ds.StudyDate, ds.StudyTime = "20260314", "101500"
    ds.StudyDescription = "Right hand, two views"
    ds.ReferringPhysicianName = "Refer^Rita"
    ds.BodyPartExamined, ds.ViewPosition = "HAND", "PA" if number == 1 else "LL"
    ds.ImageLaterality = "R"
    ds.PatientOrientation = ["L", "F"]
    ds.InstanceNumber = number
    ds.Rows, ds.Columns = rows, columns
    for keyword, value in changes.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def picture(rows, columns):
    """A bright bone-like bar on dark."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    bone = np.exp(-(((x / columns - 0.5 - 0.1 * np.sin(3 * y / rows)) / 0.12) ** 2))
    return (30 + 190 * bone).astype(np.uint8)


def letterboxed(rows, columns, cells=(12, 12), kind="evidence", at=(0.4, 0.5)):
    """A map with one bump at (vertical, horizontal) of the image, laid on a 384-pixel letterboxed input."""
    side = 384
    scale = side / max(rows, columns)
    geometry = InputGeometry(
        rows, columns, side, side, scale, scale, (side - rows * scale) / 2, (side - columns * scale) / 2
    )
    centre_y = (at[0] * rows * scale + geometry.pad_top) / side * cells[0] - 0.5
    centre_x = (at[1] * columns * scale + geometry.pad_left) / side * cells[1] - 0.5
    y, x = np.mgrid[0 : cells[0], 0 : cells[1]].astype(np.float32)
    values = 1.4 * np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / 2.2) - 0.15
    return EvidenceMap(values.astype(np.float32), np.ones(cells, dtype=bool), geometry, kind)


def box(rows, columns, at=(0.4, 0.5), size=0.16):
    y, x, r = at[0] * rows, at[1] * columns, size * min(rows, columns) / 2
    return Region(((x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r), (x - r, y - r)))


def finding(uid, outcome, model=MODEL, **parts):
    if outcome is Outcome.NOT_ANALYSED:
        reason = parts.get("reason") or Reason(ReasonCode.UNDECODABLE, "the pixel data could not be decoded")
        return not_analysed(uid, reason, model)
    trusted = outcome is Outcome.POSITIVE
    probability = {Outcome.POSITIVE: 0.873, Outcome.NEGATIVE: 0.041, Outcome.INCONCLUSIVE: 0.46}[outcome]
    reason = None
    if outcome is Outcome.INCONCLUSIVE:
        reason = Reason(ReasonCode.BETWEEN_THRESHOLDS, "the probability lies between the two thresholds")
    return ViewFinding(
        sop_instance_uid=uid,
        outcome=outcome,
        reason=parts.get("reason", reason),
        probability=parts.get("probability", probability),
        logit=0.0,
        localisation=Localisation(0.412, 0.083, 0.021, (100.0, 100.0), on_border=False, trusted=trusted),
        regions=parts.get("regions", ()),
        model=model,
        negative_below=parts.get("negative_below", GATE.p_low),
    )


def view(outcome, source=None, model=MODEL, **parts):
    """One view of an outcome, with picture, map and region as the pipeline would give them."""
    source = header() if source is None else source
    rows, columns = int(source.Rows), int(source.Columns)
    drawn = outcome is not Outcome.NOT_ANALYSED
    if outcome is Outcome.POSITIVE:
        parts.setdefault("regions", (box(rows, columns),))
    found = finding(str(source.SOPInstanceUID), outcome, model, **parts)
    return SourceView(
        header=source,
        finding=found,
        display=picture(rows, columns) if drawn else None,
        shown_map=letterboxed(rows, columns) if drawn else None,
    )


def request(*views, model=MODEL, version=1, gate=GATE, made_at=MADE, **options):
    study = aggregate(tuple(v.finding for v in views), gate.disagreement_margin if gate else 1.0, model)
    before = ()
    if version > 1:
        before = tuple(
            Predecessor(derived_uid("test", "sr", sr_class), sr_class, derived_uid("test", "s"), STUDY)
            for sr_class in SR_LADDER
        )
    return ReportRequest(STUDY, version, made_at, study, views, gate, before, ReportOptions(**options))


def views(*outcomes, sop_class=DX, model=MODEL, **changes):
    return [
        view(outcome, header(number, sop_class, **changes), model) for number, outcome in enumerate(outcomes, start=1)
    ]


P, N, I, X = Outcome.POSITIVE, Outcome.NEGATIVE, Outcome.INCONCLUSIVE, Outcome.NOT_ANALYSED  # noqa: E741


def out_of_scope():
    reason = Reason(ReasonCode.BODY_PART, "the model was not trained on this body part (SKULL)")
    return view(X, header(BodyPartExamined="SKULL", ViewPosition="AP"), reason=reason)


def no_model():
    reason = Reason(ReasonCode.NO_MODEL, "no model bundle is installed, so nothing was analysed")
    return view(X, header(), None, reason=reason)


def outcomes():
    """Every kind of answer, by name."""
    return {
        "positive": request(*views(P)),
        "positive-two-views": request(*views(P, P)),
        "positive-and-negative": request(*views(P, I)),
        "negative": request(*views(N, sop_class=CR)),
        "negative-two-views": request(*views(N, N)),
        "negative-with-heatmap": request(*views(N), negative_heatmaps=True),
        "inconclusive": request(*views(I)),
        "inconclusive-skipped": request(*views(N, X)),
        "inconclusive-disagreeing": request(*views(P, N)),
        "four-views": request(*views(P, N, I, X)),
        "not-analysed-scope": request(out_of_scope()),
        "not-analysed-failed": request(*views(X, X)),
        "no-model": request(no_model(), model=None, gate=None),
        "version-2": request(*views(P, N, N), version=2),
        "uncompressed": request(*views(P), compressed=False),
    }


def odd_sources():
    """Sources with missing, empty and misused attributes that real devices send."""
    requested = Dataset()
    requested.RequestedProcedureID, requested.ScheduledProcedureStepID = "RP1", "SPS1"
    requested.RequestedProcedureDescription = "XR hand"
    requested.RequestedProcedureCodeSequence = Sequence([code("36554-4", "LN", "XR Hand")])
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    small, wrong = Dataset(), Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small.UniversalEntityID, small.UniversalEntityIDType, small.IdentifierTypeCode = "1.2.3.4", "iso", "m!"
        wrong.LocalNamespaceEntityID, wrong.UniversalEntityID, wrong.UniversalEntityIDType = "RIS", "1.2.3.4", "I!"
    lonely = Dataset()
    lonely.UniversalEntityID = "1.2.3.4"
    return {
        "bare": dict.fromkeys(
            [
                *("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName"),
                *("BodyPartExamined", "ViewPosition", "ImageLaterality", "PatientOrientation", "PatientSex"),
                *("PatientBirthDate", "PatientName", "InstanceNumber"),
            ]
        ),
        "sex-u": {"PatientSex": "U"},
        "empty-dates": {"StudyDate": "", "StudyTime": "", "PatientBirthDate": ""},
        "broken-dates": {"StudyDate": "2026-13-45", "StudyTime": "25:61", "PatientBirthDate": "unknown"},
        "old-dates": {"StudyDate": "2026.03.14", "StudyTime": "10:15:00", "PatientBirthDate": "1970.01.02"},
        "overlong": {"StudyDescription": "x" * 200, "ReferringPhysicianName": "y" * 300, "PatientName": "z" * 100},
        "control": {"StudyDescription": "a\x00b\x1bc\r\n", "PatientName": "Te\x07st^A"},
        "timezone": {"TimezoneOffsetFromUTC": "+0545"},
        "bad-timezone": {"TimezoneOffsetFromUTC": "CEST"},
        "orientation": {"PatientOrientation": ["??"], "ImageLaterality": "X", "BodyPartExamined": "hand!"},
        "side-both": {"ImageLaterality": "B"},
        "latin": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "StudyDescription": "Fuß rechts"},
        "no-charset": {"PatientName": "Müller^Jörg"},
        "request": {
            "RequestAttributesSequence": Sequence([requested]),
            "IssuerOfPatientID": "HOSPITAL",
            "IssuerOfPatientIDQualifiersSequence": Sequence([issuer]),
            "IssuerOfAccessionNumberSequence": Sequence([issuer]),
            "ProcedureCodeSequence": Sequence([code("36554-4", "LN", "XR Hand")]),
            "AnatomicRegionSequence": Sequence([code("85562004", "SCT", "Hand")]),
        },
        "odd-sequences": {
            "RequestAttributesSequence": Sequence([Dataset()]),
            "IssuerOfAccessionNumberSequence": Sequence([lonely]),
            "ProcedureCodeSequence": Sequence([Dataset()]),
            "ViewCodeSequence": Sequence([code("R-10202", "SRT", "frontal")]),
        },
        "illegal-codes": {
            "SpecificCharacterSet": "ISO_IR 6",
            "PatientIdentityRemoved": "YES",
            "PatientOrientation": ["AP", "F"],
            "IssuerOfPatientIDQualifiersSequence": Sequence([small]),
            "IssuerOfAccessionNumberSequence": Sequence([wrong]),
        },
        "lossy": {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5"},
    }


def rungs(objects):
    """The report of a result in each class, best first."""
    return [made for made in objects if made.slot == "sr"]
