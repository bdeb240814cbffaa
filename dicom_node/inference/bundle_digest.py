"""A bundle's identity: the digest of its list of digests. The node asks for it, and loads nothing else of a bundle."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from dicom_node.core.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

SUMS: Final = "SHA256SUMS"
_SUMS_MAX_BYTES: Final = 1 << 20


def bundle_digest(folder: Path) -> str:
    """Return the bundle's digest, the SHA-256 (hex) of its SHA256SUMS; raises BundleError. Verifies no other file."""
    return hashlib.sha256(read_sums(folder)).hexdigest()


def read_sums(folder: Path) -> bytes:
    """Return the bytes of a bundle's SHA256SUMS. Raises BundleError where there is none, or no end of it."""
    path = folder / SUMS
    try:
        with path.open("rb") as stream:
            content = stream.read(_SUMS_MAX_BYTES + 1)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); point the settings at a complete bundle folder"
        raise BundleError(message) from None
    if len(content) > _SUMS_MAX_BYTES:
        message = f"{path}: far too long for a list of digests; restore the bundle"
        raise BundleError(message)
    return content
