"""Limits of HTTP connections: time for a request's head, time for reading the answer, and their number.

uvicorn waits for both as long as the client likes. Refusals here are written directly, since the
application has no request yet to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from steersman.server.errors import error_body

HEAD_SECONDS = 10.0
"""Seconds within which a request's first line and headers must arrive."""
READ_SECONDS = 30.0
"""Seconds within which a client must read some of a pending answer; otherwise it would hold its place for ever."""
MOST_CONNECTIONS = 2000
HEAD_LIMIT = 65_536
"""Most bytes of a request's first line and headers."""


class Connection(H11Protocol):
    """uvicorn's connection, with time limits for each request's head and for reading, and a limit on their number."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503, f"There are {MOST_CONNECTIONS} connections already", "Retry-After: 2\r\n")
        else:
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.transport.is_closing():
            self._stop_waiting()
        elif self._head is None:
            self._wait_for_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()

    def _wait_for_reader(self, before: int | None = None) -> None:
        """`before`: bytes that were pending for the client at the previous check."""
        now = self.transport.get_write_buffer_size()
        if before is None or now < before:
            self._reading = self.loop.call_later(READ_SECONDS, self._wait_for_reader, now)
        else:  # not `close`, which waits until all written bytes are read
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP, or a head that is too large."""
        self._refuse(400, f"{msg} The first line and the headers may have {HEAD_LIMIT} bytes together")

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing is said: such a request is answered as it is, and some clients ask for HTTP/2 in each."""

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(HEAD_SECONDS, self._late)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _late(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"The request did not come within {HEAD_SECONDS:g} seconds")

    def _refuse(self, status: int, message: str, headers: str = "") -> None:
        self._stop_waiting()
        body = json.dumps(error_body(status, message))
        reason = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}[status]
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        cycle = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:  # else it would be within an answer
            self.transport.write(f"{head}{headers}Connection: close\r\n\r\n{body}".encode())
        if cycle is not None and not cycle.response_complete:  # what it still says is for nobody
            cycle.disconnected = True
            cycle.message_event.set()
        with contextlib.suppress(h11.LocalProtocolError):
            self.conn.send(h11.ConnectionClosed())
        self.transport.close()
