"""The HTTP server: one process, one thread for the network, a few for the answers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from dicom_node.page_settings import PageSettings

_MOST_AT_ONCE = 64
_KEEP_ALIVE_S = 15
_STOP_S = 3
_TICK_S, _TICKS_A_SECOND = 0.5, 10


class Server(uvicorn.Server):
    """Leaves signals to its process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def main_loop(self) -> None:
        """Look twice a second whether to stop, and not ten times: an idle page costs next to nothing."""
        ticks = 0
        while not await self.on_tick(ticks):  # every tenth renews the Date header
            ticks += _TICKS_A_SECOND
            await asyncio.sleep(_TICK_S)

    def stop(self) -> None:
        """Stop soon; `run` then returns."""
        self.should_exit = True


def listen(page: PageSettings) -> socket.socket:
    """Return the listening socket. Raises OSError where address or port are not to be had."""
    family = socket.AF_INET6 if ":" in page.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((page.host, page.port))
    except OSError:
        sock.close()
        raise
    return sock


def server(app: ASGIApp, page: PageSettings) -> Server:
    """Return a server; its `run(sockets=[…])` serves until `stop`."""
    tls = {"ssl_certfile": page.certificate, "ssl_keyfile": page.key} if page.certificate else {}
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_AT_ONCE,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_STOP_S,
        **tls,  # type: ignore[arg-type]
    )
    return Server(config)
