"""HTTP to a destination with what Python brings: a streamed body, credentials from files, every wait bounded."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from dicom_node.core.errors import DestinationUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dicom_node.destination_settings import DicomwebDestination, FhirDestination

_LARGEST_ANSWER = 4 << 20
_LONGEST_RETRY_AFTER_S = 3600.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_ADVICE = {
    301: "it has moved: give its new url",
    302: "it redirects: give the url itself",
    307: "it redirects: give the url itself",
    308: "it has moved: give its new url",
    401: "it does not know us: renew the token or password",
    403: "it does not let us: ask its administrator for the right to store",
    404: "there is no such service: check the url",
    405: "there is no such service: check the url",
    413: "it is larger than the server allows: raise its limit",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; the body is cut at 4 MiB."""

    status: int
    body: bytes
    retry_after_s: float = 0.0


class Web:
    """A connection to one server, kept open over several requests."""

    def __init__(
        self, destination: DicomwebDestination | FhirDestination, connection: http.client.HTTPConnection
    ) -> None:
        self._name = destination.name
        self._timeout_s = destination.timeout_s
        self._path = urlsplit(destination.url).path.rstrip("/")
        self._credentials = _credentials(destination)
        self._connection = connection

    def connect(self) -> None:
        """Connect. Raises DestinationUnavailable where nobody answers."""
        try:
            self._connection.connect()
        except OSError as error:
            self._lose(error)

    def request(self, method: str, path: str, parts: Sequence[bytes | Path], headers: Mapping[str, str]) -> Answer:
        """Send a request whose body is these bytes and files, one after the other; returns what is no passing failure.

        Raises DestinationUnavailable on a passing failure, with the time that the server asks for (Retry-After).
        """
        length = {"Content-Length": str(sum(_size(part) for part in parts))} if parts else {}
        body = (part if isinstance(part, bytes) else part.read_bytes() for part in parts) if parts else None
        try:
            self._connection.request(method, self._path + path, body, {**headers, **length, **self._credentials})
            answer = self._read(self._connection.getresponse())
        except FileNotFoundError:
            self._connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self._lose(error)
        if answer.status in _PASSING:
            message = f"{self._name} answered {answer.status}"
            raise DestinationUnavailable(message, answer.retry_after_s)
        return answer

    def _lose(self, error: Exception) -> NoReturn:
        """Say that the connection failed; it is in no known state, so the next request opens a new one."""
        self._connection.close()
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
        message = f"{self._name} cannot be reached ({reason}): check that it runs and that its url is right"
        raise DestinationUnavailable(message) from error

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        deadline = time.monotonic() + self._timeout_s
        body = bytearray()
        while part := response.read1(1 << 16):
            body += part
            if len(body) > _LARGEST_ANSWER or time.monotonic() > deadline:
                self._connection.close()
                break
        response.close()  # what is read to its end is not yet closed, and the connection would take no other request
        return Answer(response.status, bytes(body), _retry_after(response.getheader("Retry-After", "")))

    def refusal(self, answer: Answer) -> str:
        """Return a lasting failure in words, with what to do; never the server's own, which may quote a patient."""
        advice = _ADVICE.get(answer.status, "look at the server's log")
        return f"{self._name} answered {answer.status}: {advice}"


@contextmanager
def open_web(destination: DicomwebDestination | FhirDestination) -> Iterator[Web]:
    """Yield a connection to a server; credentials and certificates are read anew.

    Raises DestinationUnavailable where nobody answers, or where a file cannot be used: it may just be being renewed.
    """
    url = urlsplit(destination.url)
    host, port = url.hostname or "", url.port
    if url.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=str(destination.ca_file) if destination.ca_file else None)
        except OSError as error:
            message = f"{destination.name}: ca_file {destination.ca_file} cannot be used ({type(error).__name__})"
            raise DestinationUnavailable(message) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=destination.timeout_s, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=destination.timeout_s)
    connection.blocksize = 1 << 18
    try:
        web = Web(destination, connection)
        web.connect()
        yield web
    finally:
        connection.close()


def _size(part: bytes | Path) -> int:
    return len(part) if isinstance(part, bytes) else part.stat().st_size


def _credentials(destination: DicomwebDestination | FhirDestination) -> dict[str, str]:
    path = destination.bearer_token_file or destination.basic_auth_file
    if path is None:
        return {}
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{destination.name}: {path} cannot be read ({type(error).__name__}); the service user needs it"
        raise DestinationUnavailable(message) from error
    if not secret.isprintable():
        message = f"{destination.name}: {path} must hold one line"
        raise DestinationUnavailable(message)
    if destination.bearer_token_file:
        return {"Authorization": f"Bearer {secret}"}
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}


def _retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header (RFC 9110 10.2.3), 0 where there is none that can be read."""
    try:
        wait = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(wait, 0.0), _LONGEST_RETRY_AFTER_S)
