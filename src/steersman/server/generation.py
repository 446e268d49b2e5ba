"""One answer being written: the engine's blocking iterator, run in a thread of its own, seen from asyncio.

The thread that starts the iterator also advances and closes it, because an engine may hold a lock or torch's
thread-local inference mode in between. What was written when the reader left is handed to `on_end` in that thread
too, so that it is kept however the request ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator

from steersman.engine.protocol import Engine
from steersman.server.errors import ApiError
from steersman.types import Completion, Conversation, SamplingParams

RETRY_SECONDS = 2
"""How long a client that was refused is told to wait."""

MAX_LIVE = 32
"""Answers in the making at a time, those that wait for the engine included. Below the size of the thread pool that
serves the other requests, so that these stay quick whatever is generated."""


class Generation:
    """Iterate over `items()` once: pieces of text, then the Completion. Leaving the iterator cancels."""

    def __init__(
        self,
        engine: Engine,
        prompt: Conversation,
        params: SamplingParams,
        on_end: Callable[[Completion], None] = lambda _completion: None,
    ) -> None:
        self.engine, self.prompt, self.params, self.on_end = engine, prompt, params, on_end
        self.cancelled = threading.Event()
        self._queue: asyncio.Queue[str | Completion | Exception] = asyncio.Queue()

    def cancel(self) -> None:
        """Stop at the next piece of text; the Completion then holds what there is."""
        self.cancelled.set()

    async def items(self, after: Callable[[], object]) -> AsyncGenerator[str | Completion]:
        """Raises what the engine raised. `after` is called when the engine is left, sooner or later than the reader."""
        loop = asyncio.get_running_loop()

        def put(item: str | Completion | Exception) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody listens
                loop.call_soon_threadsafe(self._queue.put_nowait, item)

        def work() -> None:
            self._work(put)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(after)

        # A daemon, so that a program that must end does not wait for the end of an answer.
        threading.Thread(target=work, name="generation", daemon=True).start()
        try:
            while True:
                item = await self._queue.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Completion):
                    return
        finally:
            self.cancel()

    def _work(self, put: Callable[[str | Completion | Exception], None]) -> None:
        text: list[str] = []
        try:
            completion, error = None, None
            try:
                completion = self._generate(text, put)
            except Exception as caught:
                error = caught
            if completion is None and (text or error is None):
                completion = Completion("".join(text), (), (), "cancelled", self.engine.policy_version)
            if completion is not None:
                self.on_end(completion)
            outcome = error or completion
            assert outcome is not None
            put(outcome)
        except Exception as caught:
            put(caught)

    def _generate(self, text: list[str], put: Callable[[str], None]) -> Completion | None:
        """The engine's Completion, or None where it was cancelled before; pieces are appended to `text`."""
        if self.cancelled.is_set():
            return None
        iterator = self.engine.stream(self.prompt, self.params)
        try:
            return self._read(iterator, text, put)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    def _read(
        self, iterator: Iterator[str | Completion], text: list[str], put: Callable[[str], None]
    ) -> Completion | None:
        for item in iterator:
            if isinstance(item, Completion):
                return item
            if item:
                text.append(item)
                put(item)
            if self.cancelled.is_set():
                return None
        raise RuntimeError("the engine's stream ended without a Completion")


class Place:
    """Room for some answers, kept until everybody who holds it has dropped it. Used from the event loop only."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._holders, self._give_back = 1, give_back

    def hold(self) -> None:
        self._holders += 1

    def drop(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._give_back()


class Generations:
    """Those that run now. Used from the event loop only."""

    def __init__(self) -> None:
        self._live: set[Generation] = set()
        self._taken = 0
        self._closing = False

    @contextlib.contextmanager
    def reserve(self, answers: int = 1) -> Iterator[Place]:
        """Room for so many answers, until the block is left and the generations run in it have left the engine.

        To be entered before a response is begun and anything is stored. ApiError (429, 503) where there is none.
        """
        if self._closing:
            raise ApiError(503, "The server is shutting down", retry_after=RETRY_SECONDS)
        if self._taken + answers > MAX_LIVE:
            raise ApiError(
                429,
                f"At most {MAX_LIVE} answers are written at a time, and {self._taken} are; try again in a moment",
                retry_after=RETRY_SECONDS,
            )

        def give_back() -> None:
            self._taken -= answers

        self._taken += answers
        place = Place(give_back)
        try:
            yield place
        finally:
            place.drop()

    async def run(self, generation: Generation, place: Place) -> AsyncGenerator[str | Completion]:
        """`generation.items()`; `place` is held until the engine is left."""

        def left() -> None:
            self._live.discard(generation)
            place.drop()

        self._live.add(generation)
        place.hold()
        async with contextlib.aclosing(generation.items(left)) as items:
            async for item in items:
                yield item

    def close(self) -> None:
        """Cancel everything and admit nothing more: the server is shutting down."""
        self._closing = True
        for generation in self._live:
            generation.cancel()
