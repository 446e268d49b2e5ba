"""What the server's tests share: an engine without a model, and a live server on a free port."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import FastAPI

from steersman.engine.protocol import Engine, Prompt, PromptScores, PromptTooLong
from steersman.server.listening import _Server, config_of, listen, url_of
from steersman.text.call_form import CallForm
from steersman.types import Completion, Conversation, SamplingParams


@dataclass
class FakeEngine:
    """Answers with `pieces`. With `endless` it repeats them until closed; `failure` is raised after the first piece."""

    pieces: tuple[str, ...] = ("Hello", ", ", "世界", "!\u2028\n")
    ends: Literal["stop", "length"] = "stop"
    endless: bool = False
    failure: Exception | None = None
    turn: threading.Event | None = None
    """What the first piece waits for, whether it is still wanted or not: other answers that come first."""
    refused: str = ""
    """What the template says no with."""
    model_name: str = "tiny"
    policy_version: str = "ppo-7"
    max_context: int = 100
    seen: list[tuple[Any, SamplingParams]] = field(default_factory=list)
    running: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    threads: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count_tokens(self, prompt: Prompt) -> int:
        if self.refused:
            raise ValueError(self.refused)
        texts = [m.text for m in prompt.messages] if isinstance(prompt, Conversation) else [str(prompt)]
        return sum(len(text.split()) for text in texts)

    def call_form(self) -> CallForm:
        return CallForm("json", "<tool_call>", "name", "arguments")

    def embed(self, prompts: Sequence[str | Sequence[int]]) -> list[tuple[list[float], int]]:
        """A vector of 4 numbers that tells texts apart by their length."""
        each = [(len(prompt), 1.0, 0.0, -1.0) for prompt in prompts]
        return [([x / math.hypot(*v) for x in v], len(str(p).split())) for v, p in zip(each, prompts, strict=True)]

    def token_text(self, token: int) -> str:
        return f"<{token}>"

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        return self.pieces[token % len(self.pieces)].encode()

    def prompt_logprobs(self, prompt: Prompt, top: int = 0) -> PromptScores:
        """A text's words are tokens 0, 1, ...; token i after others has log-probability -i / 10."""
        assert not isinstance(prompt, Conversation)
        ids = tuple(range(max(1, len(prompt.split())))) if isinstance(prompt, str) else tuple(prompt)
        logprobs = tuple(-(i % 100) / 10 for i in ids[1:])
        tops = tuple(tuple((i + k, p - k) for k in range(top)) for i, p in zip(ids[1:], logprobs, strict=True))
        return PromptScores(ids, logprobs, tops)

    def _check(self, prompt: Prompt, params: SamplingParams) -> Prompt:
        if self.count_tokens(prompt) + params.max_tokens > self.max_context:
            raise PromptTooLong("too long")
        self.seen.append((prompt, params))
        return prompt

    def _completion(self) -> Completion:
        n = len(self.pieces)
        return Completion("".join(self.pieces), tuple(range(n)), (-0.5,) * n, self.ends, self.policy_version)

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        for prompt in prompts:
            self._check(prompt, params)
        return [[self._completion() for _ in range(params.n)] for _ in prompts]

    def stream(self, prompt: Prompt, params: SamplingParams) -> Generator[str | Completion]:
        with self.lock:
            self._check(prompt, params)
            try:
                yield from self._pieces()
                yield self._completion()
            finally:
                self.threads.add(threading.get_ident())
                self.closed.set()

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        for number in range(params.n):
            with contextlib.closing(self.stream(prompt, params)) as items:
                for item in items:
                    yield number, item

    def _pieces(self) -> Iterator[str]:
        thread = threading.get_ident()
        if self.turn is not None:
            assert self.turn.wait(60)
        while True:
            for piece in self.pieces:
                assert threading.get_ident() == thread, "an engine's iterator stays in one thread"
                yield piece
                if self.failure is not None:
                    raise self.failure
            if not self.endless:
                return
            threading.Event().wait(0.01)

    def load_weights(self, weights: Iterable[tuple[str, Any]], version: str) -> None:
        self.policy_version = version


_satisfies: Engine = FakeEngine()


@contextlib.contextmanager
def live(app: FastAPI, begin: Callable[[], object] = lambda: None) -> Iterator[str]:
    """The app on a real socket; gives its URL. Fails where the server does not stop within seconds.

    `begin` is called in its event loop."""
    sock = listen("127.0.0.1", 0)
    started = threading.Event()

    def ready() -> None:
        begin()
        started.set()

    server = _Server(config_of(app), app, ready)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        assert started.wait(60)
        yield url_of(sock, app.state.reach)
    finally:
        server.should_exit = True
        thread.join(60)
        sock.close()
        assert not thread.is_alive()


def events(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(block.startswith("data: ") for block in blocks), blocks
    return [json.loads(block.removeprefix("data: ")) for block in blocks]
