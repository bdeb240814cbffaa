"""The kinds of destination that results are sent to; `config/dicom-node.toml` explains every key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from dicom_node.net_addresses import a_host, a_url

if TYPE_CHECKING:
    from dicom_node.core.delivery import Proof

AE_TITLE = r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$"  # PS3.5 6.2 AE: no control characters, no backslash
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_ONE_LINE = r"^[^\x00-\x1f\x7f]*$"

SrChoice = Literal["auto", "comprehensive-3d", "comprehensive", "enhanced", "basic-text", "none"]
Priority = Literal["routine", "asap", "stat"]


class _Destination(BaseModel):
    """What every kind of destination has."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Short name used in logs and states."""
    timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds to wait for the destination to connect, accept bytes or answer."""
    retry_first_s: float = Field(default=5.0, gt=0, le=3600)
    """First wait after a failure, seconds; doubled each time."""
    retry_longest_s: float = Field(default=60.0, gt=0, le=86400)
    """Longest wait between tries, seconds: one connection a try, however much is queued."""
    retry_days: float = Field(default=7.0, gt=0, le=365)
    """Days after which a delivery is given up and left for `dicom-node retry`."""


class _Objects(BaseModel):
    """Which of a result's SOP instances a destination gets."""

    sr_class: SrChoice = "auto"
    """The SR: auto: the first class it takes of 3D, comprehensive, enhanced, basic text; one class alone; or none."""
    presentation_states: Literal["auto", "none"] = "auto"
    """auto: presentation states where it takes them."""


class _Web(BaseModel):
    """Who we are to a web server, and how we know it."""

    bearer_token_file: Path | None = None
    """File that holds a bearer token; read anew for each connection."""
    basic_auth_file: Path | None = None
    """File that holds `user:password` for basic authentication; read anew for each connection."""
    ca_file: Path | None = None
    """PEM file of the certificate authorities that vouch for the server; none: the system's."""

    @model_validator(mode="after")
    def _credentials_are_safe(self) -> _Web:
        if self.bearer_token_file and self.basic_auth_file:
            message = "bearer_token_file and basic_auth_file are both set; keep one"
            raise ValueError(message)
        secret, url = self.bearer_token_file or self.basic_auth_file, urlsplit(getattr(self, "url", ""))
        if secret and url.scheme == "http" and url.hostname not in _LOOPBACK:
            message = "a token or password would go over the network in clear text; give an https url"
            raise ValueError(message)
        return self


class DicomDestination(_Objects, _Destination):
    """A PACS that results are sent to by C-STORE."""

    kind: Literal["dicom"] = "dicom"
    """C-STORE over DIMSE."""
    ae_title: str = Field(pattern=AE_TITLE)
    """AE title of the destination."""
    host: Annotated[str, AfterValidator(a_host)]
    """Host name or address."""
    port: int = Field(ge=1, le=65535)
    """TCP port."""
    commitment: Literal["auto", "required", "none"] = "auto"
    """Storage commitment: asked for where it is offered; required before bytes are removed here; or never asked for."""
    confirm_by_find: bool = False
    """Whether C-FIND must find each object there, where storage commitment is not offered or not asked for."""
    tls_ca_file: Path | None = None
    """PEM file of the certificate authorities that vouch for the PACS; with it the connection is TLS, 1.2 or later."""
    tls_certificate_file: Path | None = None
    """PEM file of our own certificate, where the PACS wants one."""
    tls_key_file: Path | None = None
    """PEM file of its private key, without a passphrase."""
    tls_check_host: bool = False
    """Whether the PACS's certificate must name its host: those of many devices do not."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> DicomDestination:
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            message = "tls_certificate_file and tls_key_file belong together"
            raise ValueError(message)
        if self.tls_certificate_file and not self.tls_ca_file:
            message = "tls_certificate_file without tls_ca_file: name who vouches for the PACS"
            raise ValueError(message)
        return self


class DicomwebDestination(_Web, _Objects, _Destination):
    """A PACS that results are sent to by DICOMweb STOW-RS."""

    kind: Literal["dicomweb"]
    """STOW-RS over HTTP."""
    url: Annotated[str, AfterValidator(a_url)] = Field(pattern=r"^https?://[^/\s?#@]+(/[^\s?#]*)?$")
    """The base URL of its DICOMweb service: results are POSTed to <url>/studies/<Study Instance UID>."""
    transfer_syntax: Literal["auto", "compressed", "uncompressed"] = "auto"
    """Images: auto: compressed first, uncompressed where that is refused; or one of them alone."""


class FhirDestination(_Web, _Destination):
    """A FHIR R4 server, or a folder, that gets a copy of each result as DiagnosticReport and Observations."""

    kind: Literal["fhir"]
    """A transaction Bundle, POSTed."""
    url: Annotated[str, AfterValidator(a_url)] = Field(default="", pattern=r"^(https?://[^/\s?#@]+(/[^\s?#]*)?)?$")
    """The base URL of the server; empty: `folder` is used."""
    folder: Path | None = None
    """Folder that each result is written into as a collection Bundle, instead of a server."""
    positive_priority: Priority = "asap"
    """Priority that a positive result asks for; every other result asks for routine."""

    @model_validator(mode="after")
    def _one_place(self) -> FhirDestination:
        if bool(self.url) == bool(self.folder):
            message = "give either url or folder"
            raise ValueError(message)
        return self


class Hl7Destination(_Destination):
    """A system that gets a copy of each result as an HL7 v2 ORU^R01 over MLLP."""

    kind: Literal["hl7"]
    """ORU^R01 over MLLP."""
    host: Annotated[str, AfterValidator(a_host)]
    """Host name or address."""
    port: int = Field(ge=1, le=65535)
    """TCP port."""
    receiving_application: str = Field(default="", pattern=_ONE_LINE, max_length=180)
    """MSH-5."""
    receiving_facility: str = Field(default="", pattern=_ONE_LINE, max_length=180)
    """MSH-6."""
    sending_facility: str = Field(default="", pattern=_ONE_LINE, max_length=180)
    """MSH-4; MSH-3 is the node's AE title."""
    charset: Literal["UNICODE UTF-8", "8859/1", "ASCII"] = "UNICODE UTF-8"
    """MSH-18; what cannot be said in it becomes a question mark, but no identifier does: then nothing is sent."""
    positive_priority: Priority = "asap"
    """Priority that a positive result asks for; every other result asks for routine."""


def kind_of(value: Any) -> str:
    """Return the kind of a destination that is being read: "dicom" where none is written."""
    return str(value.get("kind", "dicom") if isinstance(value, dict) else getattr(value, "kind", "dicom"))


DestinationSettings = Annotated[
    Union[  # noqa: UP007 - pydantic evaluates it on 3.10
        Annotated[DicomDestination, Tag("dicom")],
        Annotated[DicomwebDestination, Tag("dicomweb")],
        Annotated[FhirDestination, Tag("fhir")],
        Annotated[Hl7Destination, Tag("hl7")],
    ],
    Discriminator(kind_of),
]
DESTINATION_KINDS: dict[str, type[_Destination]] = {
    "dicom": DicomDestination,
    "dicomweb": DicomwebDestination,
    "fhir": FhirDestination,
    "hl7": Hl7Destination,
}


def address_of(destination: DestinationSettings) -> str:
    """Return where a destination is, for a person."""
    if isinstance(destination, DicomDestination):
        return f"{destination.ae_title} at {destination.host}:{destination.port}"
    if isinstance(destination, Hl7Destination):
        return f"HL7 at {destination.host}:{destination.port}"
    if isinstance(destination, FhirDestination):
        return f"FHIR at {destination.url or destination.folder}"
    return f"DICOMweb at {destination.url}"


def demand_of(destination: DestinationSettings) -> Proof:
    """Return the proof that a destination's settings demand of it."""
    if not isinstance(destination, DicomDestination):
        return "none"
    if destination.commitment == "required":
        return "required"
    if destination.commitment == "auto":
        return "auto+find" if destination.confirm_by_find else "auto"
    return "find" if destination.confirm_by_find else "none"
