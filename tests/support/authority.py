"""Certificates for tests, made with the openssl command: a CA, and what it signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    certificate: Path
    key: Path

    def fingerprint(self) -> str:
        """Return the SHA-256 as openssl prints it, in the spelling of the settings."""
        line = ["openssl", "x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256"]
        said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
        return said.strip().partition("=")[2].replace(":", "").lower()


class Authority:
    """A CA with a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self.own = self._files("ca")
        self._openssl("req", "-x509", "-newkey", "ec", *_CURVE, "-nodes", "-days", "30", "-subj", f"/CN={name}", "-out",
                      self.own.certificate, "-keyout", self.own.key)  # fmt: skip

    def sign(self, name: str, *, days: int = 10) -> Certificate:
        """Return a new certificate; with negative days it has expired."""
        made, request = self._files(name), self._folder / f"{name}.csr"
        self._openssl("req", "-newkey", "ec", *_CURVE, "-nodes", "-subj", f"/CN={name}", "-out", request, "-keyout",
                      made.key)  # fmt: skip
        self._openssl("x509", "-req", "-in", request, "-CA", self.own.certificate, "-CAkey", self.own.key,
                      "-CAcreateserial", "-days", str(days), "-out", made.certificate)  # fmt: skip
        return made

    def _files(self, name: str) -> Certificate:
        return Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


_CURVE = ("-pkeyopt", "ec_paramgen_curve:P-256")


def certificate(folder: Path, name: str) -> None:
    """Make NAME.key and NAME.pem: a certificate for 127.0.0.1 that vouches for itself."""
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    line += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    subprocess.run(line, cwd=folder, check=True, capture_output=True)
