"""Requests begun a few at a time, so that what else waits for the event loop has its turn between them.

Beginning a request takes a millisecond and more of the loop. Those that arrive together are otherwise all begun in one
round of the loop, in which nothing else is looked at, a stream's next words included.

Why so: decision 119 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.types import ASGIApp, Receive, Scope, Send

AT_ONCE = 8
"""Requests begun in one round of the event loop."""


class Paced:
    """An application whose requests begin so. For one event loop."""

    def __init__(self, app: ASGIApp, at_once: int = AT_ONCE) -> None:
        self._app, self._at_once = app, at_once
        self._left = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._left == 0:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        else:
            if self._left == self._at_once:
                asyncio.get_running_loop().call_soon(self._next_round)
            self._left -= 1
        await self._app(scope, receive, send)

    def _next_round(self) -> None:
        """It runs in the round after the one in which requests were begun, and lets the next ones begin after it."""
        self._left = self._at_once
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # it is where its client has gone
                turn.set_result(None)
                self._left -= 1
        if self._left < self._at_once:
            asyncio.get_running_loop().call_soon(self._next_round)
