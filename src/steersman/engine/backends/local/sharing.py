"""How many threads a decode step takes: all, or half of them while other processes compute on the same cores.

Threads of a step meet some hundreds of times; beside other work each meeting waits for the one without its core.
Half as many threads have a core each and wait less. What is faster is tried: while steps get less processor time than
their threads could use, some are done with the other number, and whichever is faster stays, until the next trial. Alone
on its cores a step is never slowed down. What is computed does not depend on the number.

Why so: decision 62 in docs/LOG.md.
"""

from __future__ import annotations

import time
from collections import deque

TRIAL = 6
"""Steps of a trial, and of those that it is compared with."""
PAUSE = 1.0
"""Seconds between trials."""
CROWDED = 0.8
"""Share of its threads' time below which a step is taken to share its cores."""
MARGIN = 0.95
"""A trial's time per step must be below this share of the usual."""


class Sharing:
    """`threads` is for the next step; `done` is to be called after each."""

    def __init__(self, threads: int) -> None:
        self.threads = self._usual = threads
        self._choices = {threads: max(1, threads // 2), max(1, threads // 2): threads}
        self._most = threads
        self._sequences = 0
        self._share = 1.0
        """Of its threads' time, of late."""
        self._recent: deque[float] = deque(maxlen=TRIAL)
        self._tried: list[float] = []
        self._next = 0.0

    def done(self, sequences: int, wall: float, cpu: float, now: float | None = None) -> None:
        """A step of so many sequences took `wall` seconds, and the process `cpu` seconds of processors meanwhile."""
        if self._most == 1:
            return
        if sequences != self._sequences:  # its time says nothing of others
            self._sequences = sequences
            self._begin()
        elif self.threads != self._usual:
            self._tried.append(wall)
            if len(self._tried) == TRIAL:
                better = sum(self._tried) < MARGIN * sum(self._recent)
                self._usual = self.threads if better else self._usual
                self._next = (time.monotonic() if now is None else now) + PAUSE
                self._begin()
        else:
            self._recent.append(wall)
            self._share += 0.2 * (min(1.0, cpu / wall / self.threads) - self._share)
            crowded = self._usual < self._most or self._share < CROWDED
            if crowded and len(self._recent) == TRIAL and (time.monotonic() if now is None else now) >= self._next:
                self.threads = self._choices[self._usual]

    def _begin(self) -> None:
        self.threads = self._usual
        self._recent.clear()
        self._tried.clear()
