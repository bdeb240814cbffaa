"""The system's Chromium without a window, driven by Playwright (which brings no browser of its own here)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

_SCREEN = (1280, 1024)
_WAIT_MS = 90_000  # it draws in software, beside other tests
_SWITCHES = (
    "--no-sandbox",  # CI runs as root, and only our own pages are opened
    "--disable-dev-shm-usage",  # a container's /dev/shm is small
    "--disable-quic",
    "--use-gl=angle",  # WebGL in software
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the viewer must need nothing from outside
)


def executable() -> Path | None:
    """Return the system's Chromium, None where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return Path(found) if found else None


@contextmanager
def browser() -> Iterator[BrowserContext]:
    """Yield a browser with nothing in its past, closed afterwards."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not installed where the tests are skipped

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable(), headless=True, args=list(_SWITCHES))
        try:
            context = chromium.new_context(viewport={"width": _SCREEN[0], "height": _SCREEN[1]})
            context.set_default_timeout(_WAIT_MS)
            yield context
        finally:
            chromium.close()
