"""The response that events go in: what it sends, and that it ends with its client."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from steersman.server import sse

Sent = list[dict[str, Any]]


class Jump(selectors.DefaultSelector):
    """Waits for nothing: time goes on by what would have been waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class Clocked(asyncio.SelectorEventLoop):
    """A loop in which seconds take no time, and nothing else takes seconds."""

    def __init__(self) -> None:
        self._jump = Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def clocked(sent: Coroutine[Any, Any, tuple[Sent, BaseException | None]]) -> tuple[Sent, BaseException | None]:
    with asyncio.Runner(loop_factory=Clocked) as runner:
        return runner.run(sent)


async def run(
    events: AsyncGenerator[bytes], leaves: Callable[[Sent], bool] | None = None
) -> tuple[Sent, BaseException | None]:
    """What is sent to a client who leaves once `leaves` says so, and how the response ended."""
    sent: Sent = []

    async def receive() -> dict[str, Any]:
        while leaves is None or not leaves(sent):
            await asyncio.sleep(0.001 if leaves else 3600)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    task = asyncio.create_task(sse.stream(events)({"type": "http"}, receive, send))
    await asyncio.wait([task])
    return sent, task.exception()


def test_events_and_their_end() -> None:
    sent, error = asyncio.run(run(sse.events_of(sse.event({"a": "\u2028世"}), sse.event("[DONE]", "last"))))
    assert error is None
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert dict(sent[0]["headers"])[b"x-accel-buffering"] == b"no"
    assert [m["body"] for m in sent[1:]] == [
        b'data: {"a":"\\u2028\\u4e16"}\n\n',
        b"event: last\ndata: [DONE]\n\n",
        b"",
    ]
    assert [m.get("more_body", False) for m in sent[1:]] == [True, True, False]


@pytest.mark.parametrize("waits", [True, False])
def test_who_leaves_closes_the_events(waits: bool) -> None:
    """Amid a wait for the next one, and amid many."""
    closed: list[bool] = []

    async def events() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield sse.event("x")
                await asyncio.sleep(60 if waits else 0)
        finally:
            closed.append(True)

    sent, error = asyncio.run(run(events(), lambda sent: len(sent) > 1))
    assert (error, closed) == (None, [True])
    assert sent[-1]["more_body"]


def test_silence_is_broken_by_comments() -> None:
    async def events() -> AsyncGenerator[bytes]:
        await asyncio.sleep(3.5 * sse.PING_SECONDS)
        yield sse.event("x")

    sent, error = clocked(run(events()))
    assert error is None
    assert [m["body"] for m in sent[1:]] == [*[sse.PING] * 3, b"data: x\n\n", b""]


def test_silence_is_counted_from_the_last_event() -> None:
    async def events() -> AsyncGenerator[bytes]:
        await asyncio.sleep(0.9 * sse.PING_SECONDS)
        yield sse.event("x")
        await asyncio.sleep(1.5 * sse.PING_SECONDS)

    sent, _ = clocked(run(events()))
    assert [m["body"] for m in sent[1:]] == [b"data: x\n\n", sse.PING, b""]


def test_an_error_and_a_cancellation_pass_through() -> None:
    async def broken() -> AsyncGenerator[bytes]:
        yield sse.event("x")
        raise ZeroDivisionError

    _, error = asyncio.run(run(broken()))
    assert isinstance(error, ZeroDivisionError)

    async def cancelled() -> bool:
        async def endless() -> AsyncGenerator[bytes]:
            yield sse.event("x")
            await asyncio.sleep(60)

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(_message: Any) -> None:
            pass

        task = asyncio.create_task(sse.stream(endless())({"type": "http"}, receive, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())
