"""Which model answered: the identity that every result carries."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.core.identifiers import derived_uid

NODE_MANUFACTURER = "dicom-node project"
"""Manufacturer (0008,0070) of everything this node writes; with our UID root it tells our own results."""

FALLBACK = "runtime fallback"
"""The parameter of a result that says why TensorRT, which the settings ask for, did not make it."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A bundle's name and digest, and what ran it.

    bundle_sha256 is the digest of the bundle's SHA256SUMS, so one changed byte anywhere in the bundle is another model.
    parameters are the thresholds and settings a reader needs to repeat the decision, as (name, value) in words.
    """

    name: str
    version: str
    manufacturer: str
    bundle_sha256: str
    demonstration: bool
    runtime: str
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def device_uid(self) -> str:
        """The Device UID (0018,1002) of this algorithm, derived from the bundle's digest."""
        return derived_uid("device", self.bundle_sha256)
