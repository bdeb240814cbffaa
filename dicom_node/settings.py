"""One frozen Settings, read once from a TOML file and passed in; `config/dicom-node.toml` explains every key."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dicom_node import ledger_settings, overrides
from dicom_node.core.errors import SettingsError
from dicom_node.destination_settings import AE_TITLE, DESTINATION_KINDS, DestinationSettings
from dicom_node.net_addresses import a_host, a_url
from dicom_node.overrides import Override
from dicom_node.page_settings import FILES as PAGE_FILES
from dicom_node.page_settings import PageSettings
from dicom_node.toml_lines import line_of, section_of, told, why_unread

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
_AUDIT_FILES = ("ca_file", "certificate", "key")
#: Settings that name a file, besides those whose type says so; a credential called like one is that file.
FILES = {*(("audit", name) for name in _AUDIT_FILES), *(("page", name) for name in PAGE_FILES)}
Provider = Literal["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class PeerSettings(_Section):
    """One peer that may open associations."""

    ae_title: str = Field(pattern=AE_TITLE)
    """The AE title it calls itself by."""
    addresses: tuple[str, ...] = Field(min_length=1)
    """Addresses or networks (CIDR) it may come from."""
    certificate_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """With TLS: the SHA-256 of its certificate; empty: any certificate that the CA signed."""
    sop_classes: tuple[str, ...] = ()
    """UIDs of the SOP classes it may send; empty: all."""
    associations_per_minute: int = Field(default=0, ge=0, le=100_000)
    """Associations it may open in a minute; 0: any number."""

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The addresses as networks."""
        return tuple(ipaddress.ip_network(address) for address in self.addresses)

    @field_validator("addresses")
    @classmethod
    def _are_networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ipaddress.ip_network(address)
            except ValueError as error:
                message = f"{address!r} is not an address or a network such as 10.1.2.0/24 ({error})"
                raise ValueError(message) from error
        return addresses


class TlsSettings(_Section):
    """DICOM over TLS: PEM files, ours and those that our peers' certificates are held against."""

    certificate: Path
    """Our certificate, with its chain."""
    key: Path
    """Its private key, readable by the service user only."""
    ca: Path
    """The CAs that sign our peers' certificates."""


class NodeSettings(_Section):
    """Who the node is and where it listens."""

    ae_title: str = Field(default="DICOMNODE", pattern=AE_TITLE)
    """Our AE title. A peer must call us by it."""
    host: Annotated[str, AfterValidator(a_host)] = "127.0.0.1"
    """Address to listen on. Loopback until you decide otherwise: DICOM has no passwords."""
    port: int = Field(default=11112, ge=1, le=65535)
    """TCP port; 104 needs a privilege, 11112 does not."""
    state_dir: Path = Path("/var/lib/dicom-node")
    """Ledger, spool, results. A relative path is taken from the configuration file's folder."""
    ledger_url: str = ""
    """PostgreSQL database for the ledger, postgresql://user@host:port/database; empty: a file in state_dir."""
    ledger_password_file: Path | None = None
    """File that holds that database's password; read anew for each connection."""
    max_associations: int = Field(default=20, ge=1, le=200)
    """Concurrent associations; one more is told to come back."""
    network_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Seconds without a byte on an open association before it is aborted."""
    request_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Seconds that a connection has for its TLS handshake and its association request."""
    pdu_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """Seconds that a PDU (128 KiB at most) may take once it has begun."""
    pending_per_address: int = Field(default=6, ge=1, le=100)
    """Connections from one address that have not asked for an association yet; one more replaces the oldest."""
    max_object_mib: int = Field(default=256, ge=1, le=4096)
    """Largest accepted data set, MiB."""
    reserve_mib: int = Field(default=1024, ge=0)
    """Free space, MiB, that is never used: below it C-STORE is answered 0xA700 (out of resources)."""
    peers: tuple[PeerSettings, ...] = ()
    """Who may connect; with none, any AE title from this machine. Needed where host is not a loopback address."""
    tls: TlsSettings | None = None
    """Certificates for DICOM over TLS; without them the port speaks plain DICOM."""

    @model_validator(mode="after")
    def _ledger_can_be_reached_safely(self) -> NodeSettings:
        if self.ledger_url:
            ledger_settings.check(self.ledger_url)
        elif self.ledger_password_file:
            message = "ledger_password_file without ledger_url: name the database"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _is_closed_to_strangers(self) -> NodeSettings:
        if not self.peers and not _is_loopback(self.host):
            message = f"host {self.host} can be reached from elsewhere: list who may connect in [[node.peers]]"
            raise ValueError(message)
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class StudySettings(_Section):
    """When a study counts as complete."""

    quiet_s: float = Field(default=30.0, ge=0, le=86400)
    """Seconds without a new radiograph before a study is closed."""
    max_wait_s: float = Field(default=600.0, ge=0, le=86400)
    """Longest time, seconds, that a study may stay open because images keep arriving."""


class AnalysisSettings(_Section):
    """The model and the process that runs it."""

    bundle: Path = Path("engines/compact-fracatlas")
    """Folder of the model bundle; a relative path is looked for beside the file, above it, and in the installation."""
    bundle_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """If set, only the bundle with this digest (printed by `dicom-node bundle`) is used."""
    runtime: Literal["auto", "onnxruntime", "tensorrt"] = "auto"
    """What runs the model; auto: TensorRT where its modules and an accepted plan are, ONNX Runtime otherwise."""
    fallback: bool = True
    """Whether ONNX Runtime takes over, and every report says so, where the wanted TensorRT cannot be used."""
    rebuild: bool = False
    """Whether the worker has a plan built, in a process of its own, where none fits this device any more."""
    providers: tuple[Provider, ...] = Field(default=("CPUExecutionProvider",), min_length=1)
    """ONNX Runtime's execution providers, in order of preference; all must be in the installed build of it."""
    release_idle_s: float = Field(default=0.0, ge=0, le=86400)
    """Seconds without an image after which the worker releases the model, and its memory; 0: never."""
    threads: int = Field(default=0, ge=0, le=256)
    """Threads of the model runtime; 0: one per core."""
    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest time, seconds, for one job; then the worker is replaced and the job counts as crashed."""
    crash_limit: int = Field(default=3, ge=1, le=100)
    """Crashes before a job is given up and its image is reported as not analysed."""
    decode_memory_mib: int = Field(default=2048, ge=256)
    """Address space of the process that decodes pixels, MiB."""
    decode_wall_s: float = Field(default=15.0, gt=0, le=600)
    """Longest time, seconds, for decoding one image."""


class ResultSettings(_Section):
    """What the results look like."""

    series_number: int = Field(default=9900, ge=1, le=999_999)
    """SeriesNumber of the heatmap series; the report's is one higher. High, so that they sort after the images."""
    presentation_states: bool = True
    """Write a Grayscale Softcopy Presentation State for each image with a region; its series number is two higher."""
    compress: bool = True
    """Offer pages in JPEG-LS lossless first; false for archives that accept it and cannot show it."""


class KeepSettings(_Section):
    """How long bytes are kept, and the room that is kept free for them."""

    days: float = Field(default=90.0, ge=0, le=36500)
    """Days, of the node's running, from when its results were stored everywhere until a study's bytes go; 0: never."""
    soft_reserve_mib: int = Field(default=2048, ge=0)
    """Free space, MiB, below which no new association is accepted; node.reserve_mib is the hard limit."""
    ledger_reserve_mib: int = Field(default=64, ge=0, le=4096)
    """Size, MiB, of a file that only holds room: it is given to the ledger when the disk is full."""
    scrub_mib_per_s: float = Field(default=2.0, ge=0, le=1000)
    """How fast, MiB/s, the kept files are read again and held against their digests; 0: never."""


class AuditSettings(_Section):
    """Where the audit trail is sent, besides being kept in the ledger."""

    syslog: Annotated[str, AfterValidator(a_url)] = Field(default="", pattern=r"^(tls://[^/\s:]+(:[0-9]{1,5})?)?$")
    """Audit record repository, tls://host:port (PS3.15 A.5 messages by RFC 5425); empty: none."""
    ca_file: str = ""
    """PEM file of the authorities that its certificate may come from; empty: the system's."""
    certificate: str = ""
    """PEM file of our own certificate, where the repository asks for one."""
    key: str = ""
    """PEM file of the certificate's key; empty: it is in the same file."""


class LogSettings(_Section):
    """What is logged. Events carry UIDs, never a patient's name."""

    format: Literal["auto", "json", "console"] = "auto"
    """auto: fields in the journal, readable on a terminal, JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is written."""
    traces: Annotated[str, AfterValidator(a_url)] = Field(default="", pattern=r"^(https?://[^/\s]+(/\S*)?)?$")
    """OpenTelemetry collector, http://host:4318/v1/traces: it is told of each study; empty: nobody is."""


class Settings(_Section):
    """The whole configuration."""

    node: NodeSettings = NodeSettings()
    study: StudySettings = StudySettings()
    analysis: AnalysisSettings = AnalysisSettings()
    results: ResultSettings = ResultSettings()
    destinations: tuple[DestinationSettings, ...] = ()
    keep: KeepSettings = KeepSettings()
    audit: AuditSettings = AuditSettings()
    page: PageSettings = PageSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Settings:
        names = [destination.name for destination in self.destinations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = f"destinations: the name {twice[0]!r} is used twice; give each destination its own"
            raise ValueError(message)
        return self


def load(path: Path) -> Settings:
    """Read a configuration file and what overrides it; relative paths are resolved against the file's folder.

    Raises SettingsError: one line a problem, each `file:line: key: what is wrong; what is allowed`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows begin it with a mark
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: {why_unread(error)}"
        raise SettingsError(message) from error
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        message = f"{path}: not valid TOML: {error}"
        raise SettingsError(message) from error
    sources = _override(raw, path)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_explain((path, text), problem, sources) for problem in error.errors())
        ) from error
    return _resolved(settings, path.resolve().parent)


def _override(raw: dict[str, Any], path: Path) -> dict[tuple[str | int, ...], str]:
    """Put in what overrides the file; return where each of these values came from."""
    found = overrides.collect(path)
    return {overrides.place(raw, one, _value_of(one)): one.source for one in found}


def _value_of(override: Override) -> Any:
    """Return the value in the type that the key wants: text as it is, a path to the file, all else read as TOML."""
    wanted = _annotation(override.key)
    if override.file is not None and (wanted is Path or override.key in FILES):
        return str(override.file)
    if wanted in {str, Path} or get_origin(wanted) is Literal:
        return override.text
    try:
        return tomllib.loads(f"value = {override.text}")["value"]
    except (ValueError, RecursionError):
        return override.text


def _annotation(key: tuple[str, ...]) -> Any:
    """Return the type of a setting, or None where there is no such one."""
    found: Any = Settings
    parts = list(key)
    while parts:
        if get_origin(found) is tuple:  # a block by its name
            found = get_args(found)[0]
            parts.pop(0)
            continue
        if found is DestinationSettings:
            return next(
                filter(None, (overrides.field_type(kind, parts[0]) for kind in DESTINATION_KINDS.values())), None
            )
        found = overrides.field_type(found, parts.pop(0))
    return found


def _explain(file: tuple[Path, str], problem: Any, sources: dict[tuple[str | int, ...], str]) -> str:
    """Return one problem as `file:line: key: message`, naming what is allowed; or the variable instead of the line."""
    path, text = file
    location = tuple(problem["loc"])
    kind = str(location[2]) if location[0:1] == ("destinations",) and location[2:] else ""  # the union's tag
    location = location[:2] + location[3:] if kind else location
    key = ".".join(f"[{part}]" if isinstance(part, int) else part for part in location).replace(".[", "[")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key; allowed here: {', '.join(_allowed(location, kind))}"
    elif problem["type"] == "union_tag_invalid":
        message = f"unknown kind; allowed here: {', '.join(DESTINATION_KINDS)}"
    else:
        message = told(problem, key)
    meant = (name for at, name in sources.items() if location[: len(at)] == at or at[: len(location)] == location)
    source = next(meant, None)
    return f"{source or f'{path}:{line_of(text, location)}'}: {key or 'settings'}: {message}"


def _allowed(location: tuple[Any, ...], kind: str) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "node.peers": PeerSettings,
        "node.tls": TlsSettings,
        "node": NodeSettings,
        "study": StudySettings,
        "analysis": AnalysisSettings,
        "results": ResultSettings,
        "destinations": DESTINATION_KINDS.get(kind, Settings),
        "keep": KeepSettings,
        "audit": AuditSettings,
        "page": PageSettings,
        "log": LogSettings,
    }
    return list(sections.get(section_of(location), Settings).model_fields)


def _resolved(settings: Settings, folder: Path) -> Settings:
    """Return the settings with relative paths made absolute."""
    state = folder / settings.node.state_dir
    bundle = _find_bundle(settings.analysis.bundle, folder)
    files = {name: value and str(folder / value) for name, value in settings.audit if name in _AUDIT_FILES}
    return settings.model_copy(
        update={
            "audit": settings.audit.model_copy(update=files),
            "page": settings.page.with_absolute_paths(folder),
            "node": settings.node.model_copy(
                update={"state_dir": state, "tls": _found(settings.node.tls, folder)}
                | _ledger_files(settings.node, folder)
            ),
            "analysis": settings.analysis.model_copy(update={"bundle": bundle}),
            "destinations": tuple(_with_absolute_paths(item, folder) for item in settings.destinations),
        }
    )


def _with_absolute_paths(destination: DestinationSettings, folder: Path) -> DestinationSettings:
    paths = {name: folder / value for name, value in destination if isinstance(value, Path)}
    return destination.model_copy(update=paths)


def _ledger_files(node: NodeSettings, folder: Path) -> dict[str, Path]:
    return {"ledger_password_file": folder / node.ledger_password_file} if node.ledger_password_file else {}


def _found(tls: TlsSettings | None, folder: Path) -> TlsSettings | None:
    if tls is None:
        return None
    return TlsSettings(certificate=folder / tls.certificate, key=folder / tls.key, ca=folder / tls.ca)


def installed_bundle_folder() -> Path:
    """Return the folder of the default bundle that comes with the installation or lies beside the checkout."""
    default: Path = AnalysisSettings().bundle
    return _find_bundle(default, Path.cwd())


def _find_bundle(bundle: Path, folder: Path) -> Path:
    """Return the first place where a bundle is, or where it should be: the file's folder, its parent, the installation.

    An installed package carries the default bundle inside itself, a checkout beside itself.
    """
    package = Path(__file__).resolve().parent
    places = [folder / bundle, folder.parent / bundle, package / bundle, package.parent / bundle]
    return next((place for place in places if place.exists()), places[0])
