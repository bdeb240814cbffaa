"""Which algorithm answered: device observer, algorithm identification and contributing equipment.

Without a model the node itself is named, so that a "not analysed" report still says who wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import AlgorithmIdentification, CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset

from dicom_node import __version__
from dicom_node.core.identifiers import derived_uid
from dicom_node.report import codes
from dicom_node.report.identity import code_item, printable
from dicom_node.report.request import NO_MODEL

if TYPE_CHECKING:
    from datetime import datetime

    from dicom_node.core.decision import Gate, RegionGate
    from dicom_node.core.findings import ViewFinding
    from dicom_node.core.model_identity import ModelIdentity

MANUFACTURER = "The dicom-node team"
MODEL_NAME = "dicom-node"
#: What stands where a bundle says nothing that may be written, since a TEXT item is never empty (PS3.3 C.18.4).
UNNAMED = "unnamed"
_LO = 64
_DIGEST_SHOWN = 16


def observer(model: ModelIdentity | None) -> ObserverContext:
    """Return the device observer (TID 1001, TID 1004); its UID is derived from the bundle's digest."""
    attributes = DeviceObserverIdentifyingAttributes(
        uid=device_uid(model),
        name=algorithm_name(model),
        manufacturer_name=_manufacturer(model),
        model_name=MODEL_NAME,
        serial_number=model.bundle_sha256[:_DIGEST_SHOWN] if model else NO_MODEL,
    )
    return ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE), observer_identifying_attributes=attributes
    )


def algorithm(model: ModelIdentity | None, gate: Gate | None) -> AlgorithmIdentification:
    """Return the algorithm and the parameters a reader needs to repeat the decision (TID 4019)."""
    return _identification(model, _parameters(model, gate))


def brief_algorithm(model: ModelIdentity | None, finding: ViewFinding | None = None) -> AlgorithmIdentification:
    """Return the algorithm for a view or region: the other parameters stand once, in the study's group.

    finding: the view's, with the lower threshold that this image was held against (its body region may have its own).
    """
    lines = [f"bundle sha256={model.bundle_sha256}"] if model else []
    if finding is not None and finding.probability is not None:
        below = finding.negative_below
        lines.append(f"negative below={'none certified' if below is None else f'{below:g}'}")
    return _identification(model, lines)


def device_uid(model: ModelIdentity | None) -> str:
    """Return the Device UID of the model's bundle, or this software's own where there is no model."""
    return model.device_uid if model else derived_uid("device", NO_MODEL, __version__)


def algorithm_name(model: ModelIdentity | None) -> str:
    """Return the model's name, marked where it is only a demonstration, or the node's where there is no model."""
    if model is None:
        return f"{MODEL_NAME} (no model)"
    return printable(f"{model.name} (demonstration model)" if model.demonstration else model.name) or UNNAMED


def contributing_equipment(model: ModelIdentity | None, made: datetime) -> Dataset:
    """Return the item of Contributing Equipment Sequence (PS3.3 C.12.1.1.5) for the algorithm."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = _long_string(_manufacturer(model))
    item.ManufacturerModelName = _long_string(algorithm_name(model))
    item.SoftwareVersions = _long_string(model.version if model else __version__)
    item.DeviceUID = device_uid(model)
    item.ContributionDateTime = made.strftime("%Y%m%d%H%M%S")
    digest = f"bundle sha256 {model.bundle_sha256}" if model else "no model was loaded"
    item.ContributionDescription = f"Fracture triage; {digest}"
    return item


def _manufacturer(model: ModelIdentity | None) -> str:
    return (printable(model.manufacturer) or UNNAMED) if model else MANUFACTURER


def _long_string(text: str) -> str:
    """Return a text as one LO value, of which a backslash would make two (PS3.5 6.2)."""
    return printable(text).replace("\\", " ")[:_LO].strip()


def _identification(model: ModelIdentity | None, parameters: list[str]) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=algorithm_name(model),
        version=printable(model.version if model else __version__) or UNNAMED,
        manufacturer=_manufacturer(model),
        parameters=[printable(line) for line in parameters] or None,
    )


def _parameters(model: ModelIdentity | None, gate: Gate | None) -> list[str]:
    lines = [f"{name}={value}" for name, value in model.parameters] if model else []
    if gate is not None:
        lines += [
            f"policy={gate.policy.value}",
            f"p_low={gate.p_low:g}",
            *(f"p_low of {region.name}={_threshold(region)}" for region in gate.regions),
            f"p_high={gate.p_high:g}",
            f"activation level={gate.alpha:g}",
            f"entropy_max={gate.entropy_max:g}",
            f"area_max={gate.area_max:g}",
            f"out_of_body_max={gate.out_of_body_max:g}",
            f"disagreement_margin={gate.disagreement_margin:g}",
        ]
    if model is not None:
        lines += [f"runtime={model.runtime}", f"bundle sha256={model.bundle_sha256}"]
    lines.append(f"dicom-node={__version__}")
    return lines


def _threshold(region: RegionGate) -> str:
    return "none certified" if region.p_low is None else f"{region.p_low:g}"
