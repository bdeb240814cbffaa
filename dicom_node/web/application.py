"""The page's addresses: what each shows, and the one thing that may be asked for, an echo."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from dicom_node import __version__
from dicom_node.core.errors import LedgerError
from dicom_node.ledger import recent
from dicom_node.ledger.overview import Overview
from dicom_node.web import words
from dicom_node.web.echoes import Echoes
from dicom_node.web.guard import Guard
from dicom_node.web.pictures import Pictures
from dicom_node.web.screen import look
from dicom_node.web.study import show_study

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from dicom_node.web.login import Login
    from dicom_node.web.metrics import Metrics
    from dicom_node.web.outside import Outside

log = structlog.get_logger(__name__)

_FOLDER = Path(__file__).resolve().parent
_STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_UID = re.compile(r"[0-9.]{1,64}")
_KEPT = {"Cache-Control": "private, max-age=3600"}


def application(outside: Outside, metrics: Metrics, login: Login | None) -> ASGIApp:
    """Return the ASGI application, behind its guard."""
    page = _Page(outside, metrics)
    routes = [
        Route("/", page.whole),
        Route("/now", page.now),
        Route("/studies", page.find),
        Route("/studies/{uid}", page.study),
        Route("/pictures/{uid}", page.picture),
        Route("/pictures/{uid}/small", page.small_picture),
        Route("/destinations/{name}/echo", page.echo, methods=["POST"]),
        Route("/metrics", page.metrics),
        Route("/static/{name}", _static),
    ]
    inner = Starlette(routes=routes, exception_handlers={LedgerError: _unreadable, 404: _not_found, 500: _failed})
    return Guard(inner, hosts=_hosts(outside), login=login)


def _hosts(outside: Outside) -> frozenset[str]:
    page = outside.settings.page
    return frozenset(name.lower() for name in ("localhost", "127.0.0.1", "::1", page.host, *page.hosts))


class _Page:
    """What the addresses answer. Plain functions: Starlette runs them in threads."""

    def __init__(self, outside: Outside, metrics: Metrics) -> None:
        self._outside = outside
        self._metrics = metrics
        self._echoes = Echoes(outside)
        self._pictures = Pictures(outside.folders)
        self._token = secrets.token_urlsafe(32)
        self._templates = _templates(outside)
        for name in self._templates.list_templates():
            self._templates.get_template(name)  # compiled now, so that the first look is as quick as any

    def whole(self, _request: Request) -> Response:
        """Return the page."""
        return HTMLResponse(self._render("status.html", **self._shown()))

    def now(self, request: Request) -> Response:
        """Return the part that changes; nothing (204) where it is what the browser has."""
        shown = self._shown()
        if request.query_params.get("seen") == shown["seen"]:
            return Response(status_code=204)
        return HTMLResponse(self._render("now.html", **shown))

    def _shown(self) -> dict[str, Any]:
        name_of = self._pictures.patient_name if self._outside.settings.page.show_names else _nobody
        screen = look(self._outside, self._echoes, name_of)
        return {
            "screen": screen,
            "token": self._token,
            "seen": hashlib.sha256(repr(screen).encode()).hexdigest()[:16],
        }

    def find(self, request: Request) -> Response:
        """Lead to a study's page."""
        uid = request.query_params.get("uid", "").strip()
        if not _UID.fullmatch(uid):
            what = "A Study Instance UID has digits and dots, 64 at most."
            return HTMLResponse(self._render("unknown.html", what=what), 404)
        return RedirectResponse(f"/studies/{uid}", 303)

    def study(self, request: Request) -> Response:
        """Show one study: what came, what was found, what was sent, and when."""
        uid = request.path_params["uid"]
        ledger = self._outside.folders.ledger
        found = Overview(ledger).study(uid) if _UID.fullmatch(uid) and ledger.exists() else None
        if found is None:
            return HTMLResponse(self._render("unknown.html", what="Nothing was ever received of this study."), 404)
        with recent.reading(ledger) as connection:
            pictures = recent.pictures_of(connection, uid)
        shows_names = self._outside.settings.page.show_names and pictures
        name = self._pictures.patient_name(pictures[0]["sop_instance_uid"]) if shows_names else ""
        return HTMLResponse(self._render("study.html", study=show_study(found, pictures, name)))

    def picture(self, request: Request) -> Response:
        """Return a picture of a result."""
        return self._png(request, small=False)

    def small_picture(self, request: Request) -> Response:
        """Return a picture of a result as a thumbnail."""
        return self._png(request, small=True)

    def _png(self, request: Request, *, small: bool) -> Response:
        uid = request.path_params["uid"]
        body = self._pictures.png(uid, small=small) if _UID.fullmatch(uid) else None
        if body is None:
            return PlainTextResponse("there is no such picture, or it was removed\n", 404)
        return Response(body, media_type="image/png")

    async def echo(self, request: Request) -> Response:
        """Ask a destination for an echo, for whoever has the page's token."""
        form = parse_qs((await request.body()).decode("ascii", "replace"))
        if not hmac.compare_digest(form.get("token", [""])[0].encode(), self._token.encode()):
            return PlainTextResponse("the page is older than its server: load it again\n", 403)
        name = request.path_params["name"]
        if name not in {one.name for one in self._outside.destinations}:
            return PlainTextResponse("there is no such destination\n", 404)
        await run_in_threadpool(self._echoes.ask, name)
        return RedirectResponse("/now" if "hx-request" in request.headers else "/", 303)

    def metrics(self, _request: Request) -> Response:
        """Return counters and gauges for Prometheus."""
        return Response(self._metrics.text(), media_type=self._metrics.content_type)

    def _render(self, template: str, **values: Any) -> str:
        return self._templates.get_template(template).render(**values)


def _templates(outside: Outside) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(
        when=words.when, iso=words.iso, ae_title=outside.settings.node.ae_title, version=__version__
    )
    return environment


def _nobody(_uid: str) -> str:
    return ""


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("not here\n", 404)
    return Response((_FOLDER / "static" / name).read_bytes(), media_type=_STATIC[name], headers=_KEPT)


def _not_found(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse("not here\n", 404)


def _unreadable(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 503)


def _failed(request: Request, error: Exception) -> Response:
    log.error("page.failed", path=request.scope["route"].path if "route" in request.scope else None, exc_info=error)
    return PlainTextResponse("the page failed; the log of dicom-node says where\n", 500)
