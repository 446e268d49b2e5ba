"""Running the application on this machine.

Why so: decision 42 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from steersman.progress import note
from steersman.server.connection import HEAD_LIMIT, MOST_CONNECTIONS, Connection
from steersman.server.context import Context
from steersman.server.paced import Paced
from steersman.server.reach import HERE, Reach, is_loopback

_PORTS_TRIED = 20
_WAITING = 1024
"""Connections that may wait to be accepted."""
_ACCEPTED = 16
"""Most of them that are accepted at once: the first work for 200 requests together would hold the loop for 0.1 s."""
_GRACE_SECONDS = 5
"""Seconds for open requests to end after Ctrl-C; streamed answers are cancelled at once."""
_SETTLE_SECONDS = 3
"""Seconds after that for storing the text of unread answers."""


class _Server(uvicorn.Server):
    """uvicorn's server that says when it listens. Told to stop by SIGTERM it admits no more answers and lets those in
    progress go on for `grace` seconds; then, or at once by Ctrl-C, it ends them."""

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, on_started: Callable[[], None], grace: float = 0.0
    ) -> None:
        super().__init__(config)
        self._context: Context = app.state.context
        self._on_started, self._grace = on_started, grace
        self._told: list[int] = []
        """Signals so far."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._told.append(sig)
        super().handle_exit(sig, frame)

    @property
    def _patient(self) -> bool:
        return self._told == [signal.SIGTERM] and self._grace > 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or ():  # asyncio accepts as many at once as it lets wait
            sock.listen(_WAITING)
        # exempts the libraries' objects from garbage collection, which blocked the loop for 0.1 s and more
        gc.collect()
        gc.freeze()
        self._beat = asyncio.create_task(self._context.metrics.beat())
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._patient:
            await self._context.generations.drain(self._grace, lambda: not self._patient)
        self._context.generations.close()
        self._context.answers.part()
        self._beat.cancel()
        await super().shutdown(sockets)
        await self._context.answers.settle(_SETTLE_SECONDS)
        if self._context.team is not None:
            self._context.team.limits.close()


def _allow_files(number: int) -> None:
    """Raise the process's limit of open files (a connection is one) to `number`, if the system allows it."""
    if sys.platform == "win32":  # Windows has no such limit
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = number if hard == resource.RLIM_INFINITY else min(number, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def listen(host: str, port: int, reach: Reach = HERE) -> socket.socket:
    """A socket bound to the port or, where that is in use, to the next free one of 20. Port 0: any free one.

    ValueError where the host is not this machine, unless `reach` goes beyond it, or no port can be had.
    """
    if not is_loopback(host) and not reach.beyond:
        raise ValueError(
            f"serve.host: {host!r} can be reached from other machines; expected a loopback address such as 127.0.0.1"
        )
    if not 0 <= port <= 65535:
        raise ValueError(f"serve.port: expected a number from 0 to 65535, got {port}")
    address = "127.0.0.1" if host.lower() == "localhost" else host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ports = [0] if port == 0 else range(port, min(port + _PORTS_TRIED, 65536))
    for candidate in ports:
        # with the protocol given, asyncio sets TCP_NODELAY, which saves 40 ms per answer
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, candidate))
            sock.listen(_WAITING)
            if candidate != ports[0]:
                note(f"serve.port: {ports[0]} is in use, so the server listens on {candidate}")
            return sock
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise ValueError(f"serve: cannot listen on {address}:{candidate}: {error.strerror}") from None
    raise ValueError(f"serve.port: {ports[0]} to {ports[-1]} are all in use; choose another port")


def url_of(sock: socket.socket, reach: Reach = HERE) -> str:
    host, port = sock.getsockname()[:2]
    return f"{reach.scheme}://[{host}]:{port}" if ":" in host else f"{reach.scheme}://{host}:{port}"


def config_of(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        Paced(app),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        lifespan="off",
        backlog=_ACCEPTED,
        http=Connection,
        ws="none",  # whatever is installed: no route takes one, and no check here sees it
        h11_max_incomplete_event_size=HEAD_LIMIT,
        **app.state.reach.options(),
    )


def serve(
    app: FastAPI,
    host: str,
    port: int,
    on_ready: Callable[[str], None] = lambda _url: None,
    grace: float = 0.0,
    sock: socket.socket | None = None,
) -> str:
    """Serve until Ctrl-C or SIGTERM; returns the URL that it had. `on_ready(url)` is called when requests are answered.

    After SIGTERM answers in progress may go on for `grace` seconds. `sock`: one that listens already.

    ValueError before anything starts where `listen` refuses. Errors of requests go to the logger "uvicorn.error".
    """
    reach: Reach = app.state.reach
    sock = sock or listen(host, port, reach)
    url = url_of(sock, reach)
    _allow_files(2 * MOST_CONNECTIONS)
    with contextlib.closing(sock), contextlib.suppress(KeyboardInterrupt):
        _Server(config_of(app), app, lambda: on_ready(url), grace).run(sockets=[sock])
    return url
