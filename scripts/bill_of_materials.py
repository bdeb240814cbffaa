"""What is in the program, as a CycloneDX 1.6 bill of materials: the locked distributions and the model's files.

Everything is read from the tree (scripts/locks, scripts/setup, engines); only a licence is taken from what is
installed, and left out where that is another version. The same tree and installation give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import uuid
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
LOCKS = REPOSITORY / "scripts" / "locks"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(?:;\s*(.*?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_IN_SETUP = re.compile(r"^\s*\"\$\{pip\[@\]\}\" install (.*)$", re.MULTILINE)
_SHORT = 60  # characters; longer licence fields hold the whole text


@dataclass(frozen=True)
class Locked:
    """One distribution of a lock: its normalised name, version, marker, SHA-256 of each of its files, and the lock."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    lock: str

    @property
    def purl(self) -> str:
        """Return the package URL, which also is the reference within the bill."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(path: Path) -> list[Locked]:
    """Return every distribution of a lock in its order."""
    found: list[tuple[re.Match[str], list[str]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if pin := _PIN.match(line):
            found.append((pin, []))
        elif digest := _HASH.search(line):
            found[-1][1].append(digest[1])
    return [Locked(normal(pin[1]), pin[2], pin[3] or "", tuple(hashes), path.stem) for pin, hashes in found]


def pinned_in_setup() -> list[Locked]:
    """Return what scripts/setup installs without a lock: exact versions, and no hashes."""
    text = (REPOSITORY / "scripts" / "setup").read_text(encoding="utf-8")
    pins = [pin for line in _IN_SETUP.findall(text) for pin in re.findall(r"([a-z-]+)==([0-9.]+)", line)]
    return [Locked(normal(name), version, "", (), "setup") for name, version in pins]


def normal(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(item: Locked) -> dict[str, Any] | None:
    """Return what the installed distribution says of its licence, where it is the locked version."""
    try:
        found = metadata.metadata(item.name)
    except metadata.PackageNotFoundError:
        return None
    if found["Version"] != item.version:
        return None
    if "License-Expression" in found:
        return {"expression": found["License-Expression"]}
    classified = [text.split(" :: ")[-1] for text in found.get_all("Classifier") or [] if text.startswith("License ::")]
    stated = [text for text in ([found["License"]] if "License" in found else []) if text and len(text) <= _SHORT]
    names = [text for text in stated + classified if text not in {"OSI Approved", "UNKNOWN"}]
    return {"license": {"name": names[0]}} if names else None


def distribution(item: Locked, locks: list[str]) -> dict[str, Any]:
    """Return a distribution as a component; what the node runs with is required, all else is excluded from it."""
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": item.purl,
        "name": item.name,
        "version": item.version,
        "scope": "required" if "serve" in locks else "excluded",
        "purl": item.purl,
        "properties": [{"name": "dicom-node:lock", "value": name} for name in locks],
    }
    if item.marker:
        component["properties"].append({"name": "dicom-node:marker", "value": item.marker})
    if said := licence(item):
        component["licenses"] = [said]
    if item.hashes:
        # One reference a file: a distribution has a wheel for each platform, and a source archive.
        url = f"https://pypi.org/simple/{item.name}/"
        component["externalReferences"] = [
            {"type": "distribution", "url": url, "hashes": [{"alg": "SHA-256", "content": digest}]}
            for digest in item.hashes
        ]
    return component


def distributions() -> list[dict[str, Any]]:
    """Return every distribution of every lock once."""
    locked = [item for name in ("serve", "dev", "cxr") for item in read_lock(LOCKS / f"{name}.txt")] + pinned_in_setup()
    locks: dict[str, list[str]] = {}
    first: dict[str, Locked] = {}
    for item in locked:
        first.setdefault(item.purl, item)
        if item.lock not in locks.setdefault(item.purl, []):
            locks[item.purl].append(item.lock)
    return [distribution(first[purl], locks[purl]) for purl in sorted(first)]


def models() -> list[dict[str, Any]]:
    """Return each bundle of the tree as a model with the files that its SHA256SUMS lists; raises on another digest."""
    found = []
    for sums in sorted((REPOSITORY / "engines").glob("*/SHA256SUMS")):
        listed = dict(reversed(line.split()) for line in sums.read_text(encoding="utf-8").splitlines() if line)
        for name, digest in listed.items():
            if hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() != digest:
                message = f"{sums.parent / name} is not the file that SHA256SUMS lists; restore it"
                raise SystemExit(message)
        bundle = hashlib.sha256(sums.read_bytes()).hexdigest()
        files = [
            {
                "type": "file",
                "bom-ref": f"{sums.parent.name}/{name}",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for name, digest in sorted({**listed, sums.name: bundle}.items())
        ]
        reference = f"model:{sums.parent.name}@{bundle[:16]}"
        model = {"type": "machine-learning-model", "bom-ref": reference, "name": sums.parent.name, "version": bundle}
        found.append({**model, "components": files})
    return found


def bill() -> dict[str, Any]:
    """Return the whole bill of materials."""
    text = (REPOSITORY / "dicom_node" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'__version__[^"]*"([^"]+)"', text)[0]
    node = {"type": "application", "bom-ref": "dicom-node", "name": "dicom-node", "version": version}
    components = models() + distributions()
    required = [item["bom-ref"] for item in components if item.get("scope", "required") == "required"]
    content = {
        "metadata": {"component": {**node, "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": components,
        "dependencies": [{"ref": "dicom-node", "dependsOn": sorted(required)}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
    }
    return {**head, "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}


def main() -> int:
    """Write the bill to a file, or print it."""
    parser = argparse.ArgumentParser(prog="scripts/sbom", description=__doc__)
    parser.add_argument("--output", type=Path, help="the file to write; without it the bill is printed")
    arguments = parser.parse_args()
    text = json.dumps(bill(), indent=1) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
