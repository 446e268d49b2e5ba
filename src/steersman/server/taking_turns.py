"""Turns at something that only a few may do at a time: who has fewest in progress is next, then who waits longest."""

from __future__ import annotations

import asyncio
from collections import Counter

from steersman.server.errors import ApiError


class Turns:
    """Used from the event loop only. What `begin` began `end` ends, also where nobody waits for it any more."""

    def __init__(self, at_once: int, waiting: int, each: int) -> None:
        """`at_once` in progress, `waiting` besides, of one person `each` of both together."""
        self.at_once, self.waiting, self.each = at_once, waiting, each
        self._now: Counter[str] = Counter()
        self._queue: list[tuple[str, asyncio.Future[None]]] = []

    async def begin(self, who: str) -> None:
        """Wait for a turn. ApiError 429 where too many wait, or too many of this person's."""
        own = self._now[who] + sum(other == who for other, _ in self._queue)
        if own >= self.each or len(self._queue) >= self.waiting + max(0, self.at_once - self._now.total()):
            raise ApiError(429, "Too many files are being read; try again in a moment", code="busy", retry_after=5)
        place = (who, asyncio.get_running_loop().create_future())
        self._queue.append(place)
        self._next()
        try:
            await place[1]
        except asyncio.CancelledError:
            if place in self._queue:
                self._queue.remove(place)
            else:  # the turn had come in the same moment
                self.end(who)
            raise

    def end(self, who: str) -> None:
        self._now[who] -= 1
        self._now += Counter()
        self._next()

    def _next(self) -> None:
        while self._queue and self._now.total() < self.at_once:
            who, turn = place = min(self._queue, key=lambda waits: self._now[waits[0]])
            self._queue.remove(place)
            self._now[who] += 1
            if not turn.done():
                turn.set_result(None)
