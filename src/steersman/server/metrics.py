"""`/metrics`: numbers of requests, answers and tokens for Prometheus. Labels are routes and states, never words.

Why so: decision 43 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from steersman import __version__
from steersman.types import Completion

__all__ = ["CONTENT_TYPE", "Metrics", "Watch"]
BEAT_SECONDS = 0.02
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The numbers of one application, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        info = Gauge("steersman_info", "The server's version", ["version"], registry=registry)
        info.labels(__version__).set(1)
        self._requests = Counter(
            "steersman_requests", "Requests that were answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "steersman_request_seconds",
            "From a request's head to its answer's last byte",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "steersman_first_text_seconds", "To an answer's first text", registry=registry, buckets=_SECONDS
        )
        self._whole = Histogram("steersman_answer_seconds", "To an answer's end", registry=registry, buckets=_SECONDS)
        self._answers = Counter("steersman_answers", "Answers by how they ended", ["ended"], registry=registry)
        self._broken_off = Counter(
            "steersman_broken_off",
            "Answers, and readers of them, that ended with the session, key or account",
            registry=registry,
        )
        self._tokens = Counter("steersman_tokens", "Tokens, of prompts and of answers", ["of"], registry=registry)
        for kind in ("prompt", "answer"):
            self._tokens.labels(kind)
        self._left_out = Counter(
            "steersman_tools_left_out", "Tools of requests that nobody runs here", ["type"], registry=registry
        )
        self._live = Gauge("steersman_answers_live", "Answers in progress or with a place", registry=registry)
        self._most = Gauge("steersman_answers_most", "Most answers at a time", registry=registry)

        self._late = Gauge(
            "steersman_event_loop_late_seconds", "Longest that this process kept its event loop", registry=registry
        )
        self._latest = 0.0

    async def beat(self) -> None:
        """Measure, for ever, how late the event loop comes to a timer. Time in which the process did not compute either
        is another program's."""
        while True:
            before = time.monotonic(), time.process_time()
            await asyncio.sleep(BEAT_SECONDS)
            late = min(time.monotonic() - before[0], time.process_time() - before[1]) - BEAT_SECONDS
            if late > self._latest:
                self._latest = late
                self._late.set(late)

    def count_live(self, live: Callable[[], int], most: int) -> None:
        """Where the present number of answers is read, and the most that there may be."""
        self._live.set_function(live)
        self._most.set(most)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def read(self, tokens: int) -> None:
        self._tokens.labels("prompt").inc(tokens)

    def left_out(self, kind: str) -> None:
        self._left_out.labels(kind).inc()

    def broken_off(self) -> None:
        self._broken_off.inc()

    def watch(self) -> Watch:
        return Watch(self)

    def _begun(self, seconds: float) -> None:
        self._first.observe(seconds)

    def _ended(self, completion: Completion, seconds: float) -> None:
        self._whole.observe(seconds)
        self._answers.labels(completion.finish_reason).inc()
        self._tokens.labels("answer").inc(completion.tokens)

    def text(self) -> bytes:
        """All numbers in Prometheus' text form."""
        return generate_latest(self._registry)


class Watch:
    """Times the answers to one prompt."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._asked, self._begun = metrics, time.monotonic(), False

    def see(self, item: str | Completion) -> None:
        """The next piece, or an answer's end."""
        seconds = time.monotonic() - self._asked
        if item and not self._begun:
            self._begun = True
            self._metrics._begun(seconds)
        if isinstance(item, Completion):
            self._metrics._ended(item, seconds)
