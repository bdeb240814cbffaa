"""Which software and which settings these are, as digests that the audit trail states."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dicom_node

if TYPE_CHECKING:
    from dicom_node.settings import Settings


@dataclass(frozen=True, slots=True)
class Software:
    """Version and digest; the digest is over Python's version, every installed distribution and our own sources."""

    version: str
    sha256: str


def installed_software() -> Software:
    """Look at what is installed here."""
    total = hashlib.sha256(f"python {platform.python_version()} {platform.machine()}\n".encode())
    for line in sorted({f"{found.name}=={found.version}" for found in metadata.distributions()}):
        total.update(f"{line}\n".encode())
    package = Path(dicom_node.__file__).parent
    for source in sorted(package.rglob("*.py")):
        total.update(f"{source.relative_to(package)} {hashlib.sha256(source.read_bytes()).hexdigest()}\n".encode())
    return Software(dicom_node.__version__, total.hexdigest())


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as they are, defaults included, in JSON's types."""
    return dict(settings.model_dump(mode="json"))


def settings_digest(settings: Settings) -> str:
    """Return the SHA-256 over the settings as JSON."""
    return hashlib.sha256(json.dumps(plain_settings(settings), sort_keys=True).encode()).hexdigest()


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names (section.key) of the settings that differ."""
    names = []
    for section in sorted({*before, *now}):
        old, new = before.get(section), now.get(section)
        if isinstance(old, dict) and isinstance(new, dict):
            names += [f"{section}.{key}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        elif old != new:
            names.append(section)
    return names
