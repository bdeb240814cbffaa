"""Certificates for tests, made with openssl."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def certificate(folder: Path, name: str) -> None:
    """Make NAME.key and NAME.pem: a certificate for 127.0.0.1 that vouches for itself."""
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    line += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
