"""Answers under way on the page. They belong to the server: readers may leave, return, and stop them.

The text so far is stored every `_KEEP_SECONDS`, so that it survives a killed server, and the whole at the end.

Why so: decision 44 in docs/LOG.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Callable, Container, Mapping
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool

from steersman import store
from steersman.engine.protocol import Engine
from steersman.server.chat_schema import message_json
from steersman.server.errors import failed_answer
from steersman.server.generation import Generation, Generations, Place
from steersman.server.sse import event
from steersman.server.still_admitted import by_account, while_admitted
from steersman.store import ChatMessage, NotFound, Store
from steersman.types import Completion, Conversation, SamplingParams

_KEEP_SECONDS = 0.5
_STOP_SECONDS = 3.0
"""Seconds that a stop waits for the engine to notice, which may be reading a long prompt."""


class Cancels(Protocol):
    """What an answer comes from: a generation here, or another web process."""

    def cancel(self) -> None: ...


class Answer:
    """One answer under way. Used from the event loop only."""

    def __init__(self, question: ChatMessage, message: ChatMessage, generation: Cancels) -> None:
        self.question, self.generation = question, generation
        self._message = message
        self._pieces = [message.content] if message.content else []
        self._end: dict[str, Any] | None = None
        self._parted = False
        self._readers: set[asyncio.Event] = set()
        self.ended = asyncio.Event()

    @property
    def message(self) -> ChatMessage:
        """The answer as written so far."""
        return dataclasses.replace(self._message, content="".join(self._pieces))

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._tell()

    def end(self, last: dict[str, Any]) -> None:
        """`last`: the readers' final event, "done" or "error"."""
        self._end = last
        self.ended.set()
        self._tell()

    def part(self) -> None:
        """Let the readers go before its end: they may come back elsewhere."""
        self._parted = True
        self._tell()

    def _tell(self) -> None:
        for reader in self._readers:
            reader.set()

    async def stop(self) -> None:
        """Returns when the text is stored, or the engine does not notice in time."""
        self.generation.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), _STOP_SECONDS)

    async def events(self) -> AsyncGenerator[bytes]:
        """Events: start (with the text so far), delta*, then done or error."""
        news = asyncio.Event()
        self._readers.add(news)
        told, refusals = len(self._pieces), list[Exception]()

        def refuse(error: Exception) -> None:
            refusals.append(error)
            news.set()

        try:
            with while_admitted(refuse):
                answer = message_json(self.message, writing=True)
                user = message_json(self.question)
                yield event({"type": "start", "user": user, "assistant_id": answer["id"], "answer": answer})
                while True:
                    while told < len(self._pieces) and not refusals:
                        told += 1
                        yield event({"type": "delta", "text": self._pieces[told - 1]})
                    end = _failed(refusals[0]) if refusals else self._end
                    if end is not None:
                        yield event(end)
                    if end is not None or self._parted:
                        return
                    news.clear()
                    await news.wait()
        finally:
            self._readers.discard(news)


def _failed(error: Exception) -> dict[str, Any]:
    """The readers' final event."""
    shown = failed_answer(error)["error"]
    return {"type": "error", "message": shown["message"], "code": shown["code"]}


class Answers:
    """The answers in progress. Used from the event loop only."""

    def __init__(self, store: Store, generations: Generations) -> None:
        self._store, self._generations = store, generations
        self._live: dict[str, Answer] = {}
        self.tell: Callable[..., None] = lambda *_what: None
        """Tells other web processes of answers that begin, grow and end (`mirrored.py`)."""
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, id_: str | None) -> Answer | None:
        return self._live.get(id_ or "")

    def own(self, others: Container[str]) -> list[Answer]:
        """Those that this process writes; `others`: ids of mirrors."""
        return [answer for id_, answer in self._live.items() if id_ not in others]

    def mirror(self, answer: Answer) -> None:
        """An answer of another web process, until `unmirror`."""
        self._live[answer.message.id] = answer

    def unmirror(self, id_: str) -> None:
        self._live.pop(id_, None)

    def of_chat(self, chat: str) -> list[Answer]:
        return [answer for answer in self._live.values() if answer.question.conversation_id == chat]

    def cancel(self, chat: str) -> None:
        """End the answers of a chat that is gone."""
        for answer in self.of_chat(chat):
            answer.generation.cancel()

    def of_question(self, id_: str) -> Answer | None:
        return next((answer for answer in self._live.values() if answer.question.id == id_), None)

    def begin(
        self,
        engine: Engine,
        place: Place,
        question: ChatMessage,
        prompt: Conversation,
        params: SamplingParams,
        told: Mapping[str, Any],
        id_: str | None = None,
    ) -> Answer:
        """Begin to answer a stored question; a prompt that ends with words of the assistant is gone on with, and the
        answer holds them. `told` is kept with the parameters: `left_out` turns of its dialogue are not in the prompt;
        `blind`: nobody may know yet which model writes it; `continues`: the answer whose words those are."""
        sampling = dataclasses.asdict(params) | dict(told)
        version, id_ = engine.policy_version, id_ or store.new_id()
        begun = prompt.messages[-1].text if prompt.messages[-1].role == "assistant" else ""
        blank = ChatMessage(
            id_,
            question.conversation_id,
            question.id,
            "assistant",
            begun,
            version,
            None,
            sampling,
            None,
            question.created,
        )
        stored: list[ChatMessage] = []

        def keep(completion: Completion) -> None:
            if completion.text or completion.finish_reason != "cancelled":
                completion = dataclasses.replace(completion, text=begun + completion.text)
                with contextlib.suppress(NotFound):  # the chat was deleted, maybe with its owner
                    stored.append(self._store.add_answer(question.id, completion, sampling, id_))

        generation = Generation(engine, prompt, params, keep)
        answer = Answer(question, blank, generation)
        self._live[id_] = answer
        self.tell("begin", question, blank)
        place.hold()
        task = asyncio.create_task(self._write(answer, generation, place, stored))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer

    async def _write(self, answer: Answer, generation: Generation, place: Place, stored: list[ChatMessage]) -> None:
        by_account()  # a session may end: its person comes back and finds the answer
        clock = asyncio.get_running_loop().time
        kept = clock()
        last: dict[str, Any] = {"type": "error", "message": ""}
        try:
            async with contextlib.aclosing(self._generations.run(generation, place)) as items:
                async for item in items:
                    if not isinstance(item, str):
                        continue
                    answer.add(item)
                    self.tell("delta", answer.message.id, item)
                    if clock() - kept >= _KEEP_SECONDS:
                        await run_in_threadpool(self._keep_part, answer.message)
                        kept = clock()
            # An answer stopped before its first word is not stored.
            last = {"type": "done", "message": message_json(stored[0]) if stored else None}
        except Exception as error:
            last = _failed(error)
        finally:
            place.drop()
            del self._live[answer.message.id]
            answer.end(last)
            self.tell("end", answer.message.id, last)

    def _keep_part(self, part: ChatMessage) -> None:
        assert part.parent_id is not None
        with contextlib.suppress(NotFound):  # the chat was deleted
            self._store.keep_part(part.id, part.parent_id, part.content, part.policy_version, part.sampling)

    def part(self) -> None:
        """Readers of other processes' answers go: this one ends, and the answers do not."""
        for answer in self._live.values():
            if not isinstance(answer.generation, Generation):
                answer.part()

    async def settle(self, seconds: float) -> None:
        """Wait at most `seconds` until cancelled answers are stored: the server is shutting down."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
