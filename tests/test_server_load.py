"""More requests than the server answers at a time: refused before a response begins, and nothing else waits."""

from __future__ import annotations

import asyncio
import collections
import json
import socket
import threading
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from apart import apart, linked
from server_double import FakeEngine, live
from steersman.engine.protocol import Prompt, party
from steersman.server import connection
from steersman.server.app import create_app
from steersman.server.errors import ApiError
from steersman.server.generation import Generation, Generations
from steersman.server.people import Person
from steersman.server.quotas import asking
from steersman.store import Store
from steersman.store.roles import Role
from steersman.types import Completion, SamplingParams
from waiting import until as _until

MOST = 32
"""Answers that these servers write at a time."""
USER: list[Any] = [{"role": "user", "content": "Go on"}]


async def _burst(client: httpx.AsyncClient, path: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """The answers' heads; every stream is open until all heads are there."""

    async def one(body: dict[str, Any]) -> httpx.Response:
        return await client.send(client.build_request("POST", path, json=body), stream=True)

    responses = await asyncio.gather(*(one(body) for body in bodies))
    for response in responses:
        if response.status_code == 429:
            await response.aread()
    for response in responses:
        await response.aclose()
    return responses


def test_the_engine_knows_whose_a_request_is_and_nobody_takes_all_its_places() -> None:
    seen: list[str] = []

    class Noting(FakeEngine):
        def _check(self, prompt: Any, params: Any) -> Any:
            seen.append(party.get())
            return prompt

    async def run() -> None:
        asking.set(Person("max", "max", Role.MANAGER))
        generations = Generations(most=4)
        with linked(lambda _: Noting()) as link, generations.reserve(3) as place:  # also where it is another process's
            async for _ in generations.run(Generation(apart(link), "Hi", SamplingParams()), place):
                pass
            with pytest.raises(ApiError, match="for one person"), generations.reserve():
                pass
        while generations.taken:  # the engine's thread ends a moment after its answer
            await asyncio.sleep(0.001)
        with generations.reserve(3):
            asking.set(Person("ada", "ada", Role.ADMIN))
            with generations.reserve():
                pass

    asyncio.run(run())
    assert seen == ["max"]


def test_without_accounts_programs_keys_and_tabs_wait_in_lines_of_their_own(store: Store) -> None:
    seen: list[str] = []

    class Noting(FakeEngine):
        def _check(self, prompt: Any, params: Any) -> Any:
            seen.append(party.get())
            return prompt

    app = create_app(Noting(), store, name="S", language="en")
    with live(app) as url, httpx.Client(base_url=url) as client:
        chat = client.post("/api/conversations", json={}).json()["id"]
        for headers in ({}, {"user-agent": "b"}, {"authorization": "Bearer k"}, {"x-steersman": "tab"}, {}):
            body = {"model": "tiny", "messages": USER}
            client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()
        client.post(f"/api/conversations/{chat}/messages", json={"content": "Hi"}, headers={"x-steersman": "tab"})
    assert seen[0] == seen[4]
    assert seen[3] == seen[5]
    assert len(set(seen)) == 4
    assert not any("Bearer" in one or "127" in one for one in seen)


def test_what_begins_after_the_server_closed_ends_at_once() -> None:
    """Such as the next prompt of a request of several."""

    async def run() -> tuple[list[Any], int]:
        generations = Generations()
        with generations.reserve() as place:
            generations.close()
            params = SamplingParams(n=2)
            items = generations.run_all(Generation(FakeEngine(endless=True), "Go on", params), place)
            ended = [(number, item.text, item.finish_reason) async for number, item in items if item]  # type: ignore[union-attr]
        for _ in range(6000):
            if not generations.taken:
                break
            await asyncio.sleep(0.01)
        return ended, generations.taken

    assert asyncio.run(run()) == ([(0, "", "cancelled"), (1, "", "cancelled")], 0)


@pytest.mark.parametrize("n", [1, 2])
def test_overload_is_refused_before_the_stream_begins(store: Store, n: int) -> None:
    engine = FakeEngine(endless=True)
    app = create_app(engine, store, name="S", language="en", generations=Generations(most=MOST))

    async def run(url: str) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
            body = {"model": "tiny", "messages": USER, "stream": True, "n": n}
            return await _burst(client, "/v1/chat/completions", [body] * 100)

    with live(app) as url:
        responses = asyncio.run(run(url))
        statuses = collections.Counter(r.status_code for r in responses)
        assert statuses == {200: MOST // n, 429: 100 - MOST // n}
        refused = next(r for r in responses if r.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_refused_question_is_not_stored(store: Store) -> None:
    engine = FakeEngine(endless=True)
    app = create_app(engine, store, name="S", language="en", generations=Generations(most=MOST))
    chats = [store.create_conversation("").id for _ in range(3 * MOST)]

    async def run(url: str) -> list[int]:
        async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=None), timeout=30) as client:

            async def ask(chat: str) -> httpx.Response:
                path = f"/api/conversations/{chat}/messages"
                return await client.send(client.build_request("POST", path, json={"content": "Go on"}), stream=True)

            responses = await asyncio.gather(*map(ask, chats))
            for response in responses:
                await response.aclose()
            return [r.status_code for r in responses]

    with live(app) as url:
        statuses = asyncio.run(run(url))
        assert statuses.count(200) == MOST
        assert statuses.count(429) == 2 * MOST
        for chat, status in zip(chats, statuses, strict=True):
            assert bool(store.messages(chat)) == (status == 200)


def test_who_never_reads_holds_no_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_SECONDS", 0.3)
    engine = FakeEngine(endless=True, pieces=("x" * 200_000,))
    app = create_app(engine, store, name="S", language="en")
    data = json.dumps({"model": "tiny", "messages": USER, "stream": True}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    generations = app.state.context.generations
    with live(app) as url, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        _until(lambda: bool(engine.seen))
        _until(lambda: generations.taken == 0)
        assert engine.closed.wait(60)


def test_who_reads_slowly_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_SECONDS", 1.5)
    engine = FakeEngine(pieces=("x" * 1_000_000,) * 8)
    body = {"model": "tiny", "messages": USER}
    with live(create_app(engine, store, name="S", language="en")) as url:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            read = 0
            for part in response.iter_raw(400_000):
                read += len(part)
                time.sleep(0.1)
    assert read > 8_000_000


class Many(FakeEngine):
    """Many streams at a time; each says its first word at once, and its last when `turn` comes."""

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        yield 0, "Hello"
        assert self.turn is not None
        assert self.turn.wait(60)
        yield 0, self._completion()


def test_two_hundred_streams_are_open_at_once(store: Store) -> None:
    """Over the socket of an engine's process: all begin before any ends, and none fails."""
    many = Many(turn=threading.Event())
    body = {"model": "tiny", "messages": USER, "stream": True}

    async def run(url: str) -> list[str]:
        async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=None), timeout=60) as client:
            begun = asyncio.Barrier(200)

            async def one() -> str:
                async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                    assert response.status_code == 200
                    text = ""
                    async for piece in response.aiter_text():
                        if "Hello" in piece and "Hello" not in text:
                            await begun.wait()
                            assert many.turn is not None
                            many.turn.set()
                        text += piece
                    return text

            return list(await asyncio.gather(*(one() for _ in range(200))))

    with linked(lambda _: many) as link:
        app = create_app(apart(link), store, name="S", language="en")
        with live(app) as url:
            texts = asyncio.run(run(url))
    assert all(text.rstrip().endswith("[DONE]") and '"error"' not in text for text in texts)
