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
from dicom_node.report.identity import code_item
from dicom_node.report.request import NO_MODEL

if TYPE_CHECKING:
    from datetime import datetime

    from dicom_node.core.decision import Gate
    from dicom_node.core.model_identity import ModelIdentity

MANUFACTURER = "The dicom-node team"
MODEL_NAME = "dicom-node"
_LO = 64
_DIGEST_SHOWN = 16


def observer(model: ModelIdentity | None) -> ObserverContext:
    """Return the device observer (TID 1001, TID 1004); its UID is derived from the bundle's digest."""
    attributes = DeviceObserverIdentifyingAttributes(
        uid=device_uid(model),
        name=algorithm_name(model),
        manufacturer_name=model.manufacturer if model else MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=model.bundle_sha256[:_DIGEST_SHOWN] if model else NO_MODEL,
    )
    return ObserverContext(
        observer_type=CodedConcept.from_code(codes.DEVICE), observer_identifying_attributes=attributes
    )


def algorithm(model: ModelIdentity | None, gate: Gate | None) -> AlgorithmIdentification:
    """Return the algorithm and the parameters a reader needs to repeat the decision (TID 4019)."""
    return _identification(model, _parameters(model, gate))


def brief_algorithm(model: ModelIdentity | None) -> AlgorithmIdentification:
    """Return the algorithm for a view or region: the parameters stand once, in the study's group."""
    return _identification(model, [f"bundle sha256={model.bundle_sha256}"] if model else [])


def device_uid(model: ModelIdentity | None) -> str:
    """Return the Device UID of the model's bundle, or this software's own where there is no model."""
    return model.device_uid if model else derived_uid("device", NO_MODEL, __version__)


def algorithm_name(model: ModelIdentity | None) -> str:
    """Return the model's name, marked where it is only a demonstration, or the node's where there is no model."""
    if model is None:
        return f"{MODEL_NAME} (no model)"
    return f"{model.name} (demonstration model)" if model.demonstration else model.name


def contributing_equipment(model: ModelIdentity | None, made: datetime) -> Dataset:
    """Return the item of Contributing Equipment Sequence (PS3.3 C.12.1.1.5) for the algorithm."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = (model.manufacturer if model else MANUFACTURER)[:_LO]
    item.ManufacturerModelName = algorithm_name(model)[:_LO]
    item.SoftwareVersions = (model.version if model else __version__)[:_LO]
    item.DeviceUID = device_uid(model)
    item.ContributionDateTime = made.strftime("%Y%m%d%H%M%S")
    digest = f"bundle sha256 {model.bundle_sha256}" if model else "no model was loaded"
    item.ContributionDescription = f"Fracture triage; {digest}"
    return item


def _identification(model: ModelIdentity | None, parameters: list[str]) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=algorithm_name(model),
        version=model.version if model else __version__,
        manufacturer=model.manufacturer if model else MANUFACTURER,
        parameters=parameters or None,
    )


def _parameters(model: ModelIdentity | None, gate: Gate | None) -> list[str]:
    lines = [f"{name}={value}" for name, value in model.parameters] if model else []
    if gate is not None:
        lines += [
            f"policy={gate.policy.value}",
            f"p_low={gate.p_low:.4f}",
            f"p_high={gate.p_high:.4f}",
            f"activation level={gate.alpha:.3f}",
            f"entropy_max={gate.entropy_max:.4f}",
            f"area_max={gate.area_max:.4f}",
            f"out_of_body_max={gate.out_of_body_max:.4f}",
            f"disagreement_margin={gate.disagreement_margin:.4f}",
        ]
    if model is not None:
        lines += [f"runtime={model.runtime}", f"bundle sha256={model.bundle_sha256}"]
    lines.append(f"dicom-node={__version__}")
    return lines
