"""The settings of the status page; `config/dicom-node.toml` explains every key."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

FILES = ("password_file", "certificate", "key")


class PageSettings(BaseModel):
    """The status page and its metrics: a process of its own, which only reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    enabled: bool = True
    """Whether `dicom-node serve` starts the page too, where the extra `web` is installed."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback the page wants password_file, certificate and key."""
    port: int = Field(default=11180, ge=1, le=65535)
    """TCP port of the page and of /metrics."""
    hosts: tuple[str, ...] = ()
    """Names that browsers may call the page by, besides host and localhost; a request with another is refused."""
    password_file: str = ""
    """File with `user:hash` lines, which `dicom-node page --add-user` writes; empty: no login."""
    certificate: str = ""
    """PEM file of the page's certificate, for HTTPS."""
    key: str = ""
    """PEM file of the certificate's key."""
    show_names: bool = False
    """Whether patients' names are shown beside results. Never in /metrics."""
    results: int = Field(default=12, ge=1, le=50)
    """How many of the latest results are shown."""

    def with_absolute_paths(self, folder: Path) -> PageSettings:
        """Return the same with relative paths taken from a folder."""
        files = {name: file and str(folder / file) for name, file in self if name in FILES}
        return self.model_copy(update=files)

    @model_validator(mode="after")
    def _is_closed_to_strangers(self) -> PageSettings:
        if bool(self.certificate) != bool(self.key):
            message = "certificate and key belong together; set both or none"
            raise ValueError(message)
        if not _is_loopback_name(self.host) and not (self.password_file and self.certificate):
            message = f"host {self.host} can be reached from elsewhere: set password_file, certificate and key"
            raise ValueError(message)
        return self


def _is_loopback_name(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
