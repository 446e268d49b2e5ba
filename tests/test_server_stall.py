"""Whatever one client asks for, the event loop goes on: everybody else's streams come from it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from server_double import live
from steersman import load_engine
from steersman.server.app import create_app
from steersman.server.body import VALUES_LIMIT, _too_many
from steersman.server.generation import Generations
from steersman.store import Store

MOST = 0.2
"""Seconds between two beats, which are 5 ms apart where nothing holds the loop up; 0.1 at most on a quiet machine."""
TRIES = 3
"""On a busy machine the system may take the processor away from the thread that has Python's lock."""


class Pulse:
    """The longest time for which the server's event loop did not come to a timer of 5 ms, because of this process.

    Time in which the process did not compute either is another program's.
    """

    worst = 0.0

    async def beat(self) -> None:
        last = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic(), time.process_time()
            self.worst, last = max(self.worst, min(now[0] - last[0], now[1] - last[1])), now


class Heart:
    def __init__(self, app: ASGIApp, pulse: Pulse) -> None:
        self.app, self.pulse = app, pulse
        self.task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.task is None:
            self.task = asyncio.create_task(self.pulse.beat())
        await self.app(scope, receive, send)


JSON = {"content-type": "application/json"}
Ask = Callable[[list[dict[str, Any]]], list[httpx.Response]]


@pytest.fixture(scope="module")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ask, Pulse]]:
    engine, pulse = load_engine(str(tiny)), Pulse()
    with Store.open(tmp_path_factory.mktemp("stall") / "store.db") as store:
        app = create_app(engine, store, name="S", language="en", generations=Generations(most=32))
        app.add_middleware(Heart, pulse=pulse)

        async def all_of(url: str, bodies: list[bytes]) -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=url, timeout=60, headers=JSON) as client:
                await client.get("/healthz")
                pulse.worst = 0.0
                return list(await asyncio.gather(*(client.post("/v1/chat/completions", content=b) for b in bodies)))

        def ask(bodies: list[dict[str, Any]]) -> list[httpx.Response]:
            # in advance: the client shares this process, and its lock, with the server
            data = [json.dumps({"model": engine.model_name} | body).encode() for body in bodies]
            for _ in range(TRIES):
                answers = asyncio.run(all_of(url, data))
                if pulse.worst < MOST:
                    break
            return answers

        with live(app) as url:
            yield ask, pulse


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    "text", ["word " * 190_000, "a" * 950_000, "我" * 160_000, " \n" * 300_000], ids=["words", "a", "han", "space"]
)
def test_long_prompts(server: tuple[Ask, Pulse], text: str) -> None:
    ask, pulse = server
    number = 3 if text.isspace() else 10  # white space may count for nothing, so it is read to its end
    answers = ask([{"messages": _user(text), "stream": i % 2 == 0, "max_tokens": 1} for i in range(number)])
    for answer in answers:
        assert answer.status_code in (200 if text.isspace() else 400, 400)
        if answer.status_code == 400:
            assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert pulse.worst < MOST


def test_log_probabilities_of_many_answers(server: tuple[Ask, Pulse]) -> None:
    ask, pulse = server
    body = {"messages": _user("Hi"), "n": 16, "logprobs": True, "top_logprobs": 20, "max_tokens": 400, "seed": 1}
    answers = ask([body] * 4)
    assert sorted(a.status_code for a in answers) == [200, 200, 429, 429]
    assert sum(len(a.content) for a in answers) > 5_000_000
    assert pulse.worst < MOST


@pytest.mark.parametrize(
    "body",
    [
        {"messages": _user("Hi"), "stop": ["ab" * 100_000] * 4},
        {"messages": [1] * 400_000},
        {"messages": [{}] * 300_000},
        {"messages": _user("Hi") * 20_000},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}] * 25_000}]},
        {"messages": [{"role": "user", "content": [1] * 400_000}]},
        {"messages": _user("Hi"), "logit_bias": {str(i): 1 for i in range(80_000)}},
        {"messages": _user("Hi"), "logit_bias": {str(i): "x" for i in range(60_000)}},
        {"messages": _user("Hi"), "stop": [1] * 400_000},
        {"messages": _user("Hi"), "tools": [{}] * 300_000},
        {"messages": _user("Hi"), "regex": "(a|b)" * 150_000},
        {
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": ""}}] * 15_000}]
            * 1
        },
        {"messages": _user("Hi"), "x": "y" * 900_000},
        {"messages": _user("Hi")} | {f"x{i}": i for i in range(60_000)},
    ],
    ids=lambda body: " ".join(body)[:30],
)
def test_bodies_full_of_something(server: tuple[Ask, Pulse], body: dict[str, Any]) -> None:
    ask, pulse = server
    answers = ask([body] * 3)
    assert {a.status_code for a in answers} <= {400, 413}
    assert all(len(a.content) < 1000 for a in answers)
    assert pulse.worst < MOST


@pytest.mark.parametrize(
    ("of", "many"),
    [
        ({"text": 'a, [b], "c\\", {' * 30_000}, False),
        ({"text": "\\" * 300_000}, False),
        ([["\\"] * 300, '"' * 90_000], False),
        ([1] * (VALUES_LIMIT - 10), False),
        ([1] * (VALUES_LIMIT + 10), True),
        ([['"\\', ","]] * (VALUES_LIMIT // 3 + 10), True),
        ({'"' * i: [] for i in range(300)}, False),
        ({f'"{i}': '\\"' for i in range(VALUES_LIMIT + 10)}, True),
    ],
)
def test_values_are_counted_outside_of_strings(of: Any, many: bool) -> None:
    assert _too_many(json.dumps(of).encode()) == many
