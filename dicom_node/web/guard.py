"""What every request must pass before the application sees it, and what every answer carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from dicom_node.web.login import Login

MAX_BODY = 64 << 10
_CHECKS_AT_ONCE = 4  # each holds a thread; who is logged in already needs none
_METHODS = frozenset({"GET", "HEAD", "POST"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_NOT_KEPT = "no-store"


class _Refused(Exception):
    def __init__(self, status: int, words: str, **headers: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.headers = headers


class Guard:
    """ASGI middleware; refuses before the application sees anything."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], login: Login | None) -> None:
        self._app = app
        self._hosts = hosts
        self._login = login
        self._checking = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = _with_headers(send)
        headers = Headers(scope=scope)
        try:
            self._check(scope["method"], headers)
            await self._check_login(headers)
            await self._app(scope, await _whole_body(scope, receive), answer)
        except _Refused as refused:
            # The connection is closed: whatever the peer still sends is not read.
            more = {"Connection": "close", **refused.headers}
            response = PlainTextResponse(f"{refused.words}\n", refused.status, more)
            await response(scope, receive, answer)

    def _check(self, method: str, headers: Headers) -> None:
        if method not in _METHODS:
            raise _Refused(405, "this page knows GET, HEAD and POST", Allow="GET, HEAD, POST")
        names = headers.getlist("host")
        if len(names) != 1 or _name_of(names[0]) not in self._hosts:
            raise _Refused(421, "this page is not known by that name; page.hosts lists the names it is known by")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise _Refused(415, "a compressed body is not read")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > MAX_BODY:
            raise _Refused(413, "a body of more than 64 KiB is not read")
        if method == "POST":
            self._check_origin(headers)

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what another site's page makes a browser send; a program sends neither header, and needs the token."""
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise _Refused(403, "sent by another site's page")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers["host"]:
            raise _Refused(403, "sent by another site's page")

    async def _check_login(self, headers: Headers) -> None:
        if self._login is None:
            return
        given = headers.get("authorization", "")
        if self._login.remembers(given):
            return
        if self._checking >= _CHECKS_AT_ONCE:
            raise _Refused(429, "too many try to log in at once: wait a moment")
        self._checking += 1
        try:
            known = await run_in_threadpool(self._login.is_known, given)
        finally:
            self._checking -= 1
        if not known:
            raise _Refused(401, "a user and a password are needed", **{"WWW-Authenticate": 'Basic realm="dicom-node"'})


def _name_of(host: str) -> str:
    """Return the name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


async def _whole_body(scope: Scope, receive: Receive) -> Receive:
    """Read a POST's body, 64 KiB at most whatever it announced, and hand it on; other methods' is left unread."""
    if scope["method"] != "POST":
        return receive
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Refused(400, "the request ended too early")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _Refused(413, "a body of more than 64 KiB is not read")
        if not message.get("more_body", False):
            break
    return _replay(bytes(body), receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", _NOT_KEPT)
        await send(message)

    return answer
