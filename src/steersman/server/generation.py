"""Answers being written: the engine's blocking iterator, run in a thread of its own, seen from asyncio.

The thread that starts the iterator also advances and closes it, because an engine may hold a lock or torch's
thread-local inference mode in between. If the reader leaves, the text so far is passed to `on_end` in that thread
too, so that it is kept however the request ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator

from steersman.engine.protocol import Engine, Prompt, party
from steersman.server import traces
from steersman.server.errors import ApiError
from steersman.server.into_loop import into
from steersman.server.metrics import Metrics
from steersman.server.people import Person
from steersman.server.quotas import Limits, asking, visitor
from steersman.server.still_admitted import while_admitted
from steersman.types import Completion, SamplingParams

RETRY_SECONDS = 2
"""Seconds that a refused client is told to wait."""

MAX_LIVE = 256
"""Most answers in progress at a time, including those that wait for the engine, unless `serve.streams` says so. Each
has a thread of its own, beside the pool of the other requests, so that these stay quick."""


Item = tuple[int, str | Completion]
"""(number of the answer, piece of its text, or last its Completion). The very first item is an empty piece: the engine
has accepted the request."""


class Generation:
    """The `params.n` answers to one prompt. Iterate over `items()` once. Leaving the iterator cancels.

    Used from the event loop only."""

    def __init__(
        self,
        engine: Engine,
        prompt: Prompt,
        params: SamplingParams,
        on_end: Callable[[Completion], None] = lambda _completion: None,
    ) -> None:
        self.engine, self.prompt, self.params, self.on_end = engine, prompt, params, on_end
        person = asking.get()
        self._party = person.id if person is not None else visitor.get()
        self.cancelled = threading.Event()
        self._begun = False
        """Whether any text has come."""
        self._dropped = False
        """Whether `items()` ended before the engine did: the reader does not see the text after that."""
        self._queue: asyncio.Queue[Item | Exception] = asyncio.Queue()

    def cancel(self) -> None:
        """End soon; the Completions then contain the text so far. Before the first text `items()` ends at once: an
        engine may notice only when it begins the request."""
        if not self._begun and not self.cancelled.is_set():
            self._dropped = True
            for number in range(self.params.n):
                self._queue.put_nowait((number, Completion("", (), (), "cancelled", self.engine.policy_version)))
        self.cancelled.set()

    def refuse(self, error: Exception) -> None:
        """End now, with this error."""
        self._queue.put_nowait(error)
        self.cancel()

    async def items(self, after: Callable[[], object]) -> AsyncGenerator[Item]:
        """The answers' pieces. Raises the engine's errors. `after` is called when the engine is done."""
        loop, left = asyncio.get_running_loop(), self.params.n
        way = into(loop)

        def put(item: Item | Exception) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody listens
                way.call(loop, self._queue.put_nowait, item)

        def work() -> None:
            self._work(put)
            with contextlib.suppress(RuntimeError):
                way.call(loop, after)

        # A daemon, so that a program that must end does not wait for the end of an answer.
        threading.Thread(target=work, name="generation", daemon=True).start()
        try:
            with while_admitted(self.refuse):
                while left:
                    item = await self._queue.get()
                    if isinstance(item, Exception):
                        raise item
                    left -= isinstance(item[1], Completion)
                    self._begun = self._begun or item[1] != ""
                    yield item
        finally:
            self.cancel()

    def _work(self, put: Callable[[Item | Exception], None]) -> None:
        texts: dict[int, list[str]] = {number: [] for number in range(self.params.n)}
        """Pieces of each answer that has not ended."""

        def end(number: int, completion: Completion) -> None:
            del texts[number]
            if not self._dropped:
                self.on_end(completion)
            put((number, completion))

        try:
            error: Exception | None = None
            try:
                self._generate(texts, put, end)
            except Exception as caught:
                error = caught
            for number, text in list(texts.items()):
                cut = Completion("".join(text), (), (), "cancelled", self.engine.policy_version)
                if error is None:
                    end(number, cut)
                elif text:
                    self.on_end(cut)
            if error is not None:
                put(error)
        except Exception as caught:
            put(caught)

    def _generate(
        self, texts: dict[int, list[str]], put: Callable[[Item], None], end: Callable[[int, Completion], None]
    ) -> None:
        """Run the engine's iterator until all answers have ended; once cancelled, close it after the next piece."""
        if self.cancelled.is_set():
            return
        party.set(self._party)
        with contextlib.closing(self.engine.answers(self.prompt, self.params, self.cancelled)) as items:
            put((0, ""))
            for number, item in items:
                if isinstance(item, Completion):
                    end(number, item)
                elif item:
                    texts[number].append(item)
                    put((number, item))
                    if self.cancelled.is_set():
                        return
        if texts:
            raise RuntimeError("the engine's stream ended without a Completion")


class Place:
    """Reserved room for some answers, freed when all its holders have released it. Used from the event loop only."""

    def __init__(self, give_back: Callable[[], None], person: Person | None) -> None:
        self._holders, self._give_back, self.person = 1, give_back, person

    def hold(self) -> None:
        self._holders += 1

    def drop(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._give_back()


class Generations:
    """The running generations. Used from the event loop only."""

    def __init__(self, metrics: Metrics | None = None, most: int = MAX_LIVE) -> None:
        self.most = most
        self._live: set[Generation] = set()
        self._taken = 0
        self._of = Counter[str]()
        """Person -> how many of these are theirs: seven eighths of the room at most, so that nobody is shut out by
        another, and one program that serves many people is not held back."""
        self.closing = False
        """Whether the server is stopping: nothing more is admitted."""
        self._closed = False
        self.limits: Limits | None = None
        """What a person may have written on a day, where the server has accounts."""
        self.metrics = metrics or Metrics()
        self.metrics.count_live(lambda: self._taken, most)

    @property
    def taken(self) -> int:
        """Number of answers in progress or with reserved room."""
        return self._taken

    @contextlib.contextmanager
    def reserve(self, answers: int = 1) -> Iterator[Place]:
        """Reserve room for `answers` answers, until the block and all generations run in it have ended.

        To be entered before a response is begun and anything is stored. ApiError (429, 503) where there is none.
        """
        if self.closing:
            raise ApiError(503, "The server is shutting down", retry_after=RETRY_SECONDS)
        if self.limits is not None:
            self.limits.check_tokens()
        if self._taken + answers > self.most:
            raise ApiError(
                429,
                f"At most {self.most} answers are written at a time, and {self._taken} are; try again in a moment",
                retry_after=RETRY_SECONDS,
            )

        person = asking.get()
        own = person.id if person is not None else ""
        share = self.most - max(1, self.most // 8)
        if own and self._of[own] and self._of[own] + answers > share:  # a request of many is not refused for good
            told = f"At most {share} answers are written for one person at a time; try again in a moment"
            raise ApiError(429, told, retry_after=RETRY_SECONDS)

        def give_back() -> None:
            self._taken -= answers
            self._of[own] -= answers
            if not self._of[own]:
                del self._of[own]

        self._taken += answers
        self._of[own] += answers
        place = Place(give_back, person)
        try:
            yield place
        finally:
            place.drop()

    async def run(self, generation: Generation, place: Place) -> AsyncGenerator[str | Completion]:
        """`run_all` of a single answer."""
        async with contextlib.aclosing(self.run_all(generation, place)) as items:
            async for _, item in items:
                if item:
                    yield item

    async def run_all(self, generation: Generation, place: Place) -> AsyncGenerator[Item]:
        """`generation.items()`; `place` is held until the engine is left."""

        def left() -> None:
            self._live.discard(generation)
            place.drop()

        self._live.add(generation)
        if self._closed:  # a request's next prompt, or one that was admitted just before
            generation.cancel()
        place.hold()
        watch, pieces, tokens = self.metrics.watch(), Counter[int](), 0
        span = traces.Answer(generation.engine.policy_version, generation.params.n)
        try:
            async with contextlib.aclosing(generation.items(left)) as items:
                async for number, item in items:
                    watch.see(item)
                    span.see(item)
                    if isinstance(item, Completion):
                        # a cancelled one has no tokens, nor one of an endpoint that does not count: pieces are about
                        # as many; of one that counts the first answer has the tokens of all
                        tokens += item.tokens or (0 if number and item.counted[0] else pieces[number])
                        del pieces[number]
                    else:
                        pieces[number] += bool(item)
                    yield number, item
        finally:
            span.end(tokens + pieces.total())
            if self.limits is not None:
                self.limits.spend(place.person, tokens + pieces.total())

    async def drain(self, seconds: float, hurried: Callable[[], bool]) -> None:
        """Admit nothing more, and wait until what is running has ended, for some seconds at most, or `hurried`."""
        self.closing = True
        clock = asyncio.get_running_loop().time
        end = clock() + seconds
        while self._taken and clock() < end and not hurried():
            await asyncio.sleep(0.05)

    def close(self) -> None:
        """Cancel everything and admit nothing more: the server is shutting down."""
        self.closing = self._closed = True
        for generation in self._live:
            generation.cancel()
