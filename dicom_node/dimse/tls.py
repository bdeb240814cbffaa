"""DICOM over TLS as BCP 195 (RFC 9325) asks for: 1.2 or later, forward secrecy, AEAD, certificates on both sides."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from dicom_node.core.errors import SettingsError

_SUITES = "ECDHE+AESGCM:!aNULL"  # of TLS 1.2 (RFC 9325 4.2); those of 1.3 are all AEAD
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17
_LONG_LENGTH = 0x80
_BEGIN, _END = ssl.PEM_HEADER, ssl.PEM_FOOTER


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: our certificate (with its chain), its key, and the CAs that sign our peers' certificates."""

    certificate: Path
    key: Path
    ca: Path


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the context for what we accept: a peer without a certificate of our CAs gets no handshake.

    Raises SettingsError, naming the file, where one cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # a resumed session would not show its certificate again
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, files)


def client_context(files: TlsFiles, *, check_hostname: bool = False) -> ssl.SSLContext:
    """Return the context for what we send: the peer must show a certificate of our CAs.

    DICOM certificates often carry no host name (PS3.15 B), so the name is only held against it on request. Raises
    SettingsError, naming the file, where one cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, files)


def days_left(certificate: Path, now: datetime) -> float:
    """Return the days until the first certificate in a PEM file expires; negative where it has.

    Raises SettingsError where there is none.
    """
    try:
        text = certificate.read_text(encoding="ascii", errors="replace")
        begin = text.index(_BEGIN)
        end = text.index(_END, begin) + len(_END)
        expires = _not_after(ssl.PEM_cert_to_DER_cert(text[begin:end]))
    except (OSError, ValueError, IndexError) as error:
        message = f"{certificate}: no certificate in PEM ({type(error).__name__}); give one as node.tls.certificate"
        raise SettingsError(message) from error
    return (expires - now).total_seconds() / 86400


def _loaded(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        message = (
            f"{files.certificate}, {files.key}: not a certificate and its key in PEM ({_why(error)}); see node.tls"
        )
        raise SettingsError(message) from error
    try:
        context.load_verify_locations(cafile=files.ca)
    except (OSError, ssl.SSLError) as error:
        message = f"{files.ca}: not certificates of CAs in PEM ({_why(error)}); see node.tls.ca"
        raise SettingsError(message) from error
    return context


def _why(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)


def _not_after(der: bytes) -> datetime:
    """Return a certificate's end (RFC 5280 4.1): Certificate > tbsCertificate > validity > notAfter.

    The ssl module only shows this for a peer's certificate that it has verified.
    """
    certificate = _value(der, 0, _SEQUENCE)
    position = certificate[0]
    inside = _value(der, position, _SEQUENCE)
    position = inside[0]
    if der[position] == _VERSION:
        position = _value(der, position)[1]
    for _ in ("serialNumber", "signature", "issuer"):
        position = _value(der, position)[1]
    validity = _value(der, position, _SEQUENCE)
    start, end = _value(der, _value(der, validity[0])[1])
    text = der[start:end].decode("ascii")
    is_short = der[_value(der, validity[0])[1]] == _UTC_TIME
    if is_short:  # RFC 5280 4.1.2.5.1: two digits of the year, 50 to 99 in the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _value(der: bytes, position: int, tag: int | None = None) -> tuple[int, int]:
    """Return where the value of the DER element at a position begins and ends. Raises ValueError over another tag."""
    if tag is not None and der[position] != tag:
        message = "not the expected element"
        raise ValueError(message)
    length, start = der[position + 1], position + 2
    if length & _LONG_LENGTH:
        count = length & ~_LONG_LENGTH
        length, start = int.from_bytes(der[start : start + count], "big"), start + count
    if start + length > len(der):
        message = "longer than the certificate"
        raise ValueError(message)
    return start, start + length
