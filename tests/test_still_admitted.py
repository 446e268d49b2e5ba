"""Answers under way end with the key, session or account by which they were asked for."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from server_double import FakeEngine, live
from steersman.config.account_settings import AccountsConfig
from steersman.server import still_admitted
from steersman.server.app import create_app
from steersman.server.team import Team
from steersman.store import Store
from steersman.store.roles import Role

TURN = [{"role": "user", "content": "Hi"}]
ASKED = {
    "/v1/chat/completions": {"model": "tiny", "messages": TURN},
    "/v1/completions": {"model": "tiny", "prompt": "Hi"},
    "/v1/responses": {"model": "tiny", "input": "Hi"},
    "/v1/messages": {"model": "tiny", "messages": TURN, "max_tokens": 9},
}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(endless=True, lock=contextlib.nullcontext())  # type: ignore[arg-type]


@pytest.fixture
def url(store: Store, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(still_admitted, "LOOK_SECONDS", 0.02)
    team = Team(store, AccountsConfig())
    with live(create_app(engine, store, name="S", language="en", team=team)) as url:
        yield url


def begun(client: httpx.Client, path: str, body: Any, stack: contextlib.ExitStack) -> Callable[[], str]:
    """An endless answer of which some was read; returns what reads the rest."""
    answer = stack.enter_context(client.stream("POST", path, json=body))
    assert answer.status_code == 200
    told = answer.iter_text()
    while "Hello" not in next(told):
        pass
    return lambda: "".join(told)


def awaited(ask: Callable[[], Any]) -> Any:
    """What comes within moments."""
    end = time.monotonic() + 10
    while not (there := ask()) and time.monotonic() < end:
        time.sleep(0.01)
    return there


def last(text: str) -> Any:
    return json.loads(text.rstrip().rpartition("data: ")[2])


def test_streams_of_a_key_end_when_it_is_revoked(url: str, store: Store) -> None:
    ann = store.accounts.add("ann", Role.MANAGER).id
    keys = [store.credentials.add_key(ann, "program", ["chat"]) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        gone, kept = (
            stack.enter_context(httpx.Client(base_url=url, headers={"x-api-key": secret})) for _, secret in keys
        )
        rest = {path: begun(gone, path, {"stream": True} | body, stack) for path, body in ASKED.items()}
        still = {"stream": True} | ASKED["/v1/completions"]
        other = stack.enter_context(kept.stream("POST", "/v1/completions", json=still))
        store.credentials.revoke(keys[0][0].id, ann)  # as another process does
        ends = {path: last(read()) for path, read in rest.items()}
        said = ends["/v1/chat/completions"]["error"]
        assert (said["code"], said["type"]) == ("invalid_api_key", "invalid_request_error")
        assert "revoked" in said["message"]
        assert ends["/v1/completions"]["error"] == said
        assert ends["/v1/responses"]["type"] == "response.failed"
        assert ends["/v1/responses"]["response"]["error"]["message"] == said["message"]
        assert ends["/v1/messages"]["error"] == {"type": "authentication_error", "message": said["message"]}
        words = other.iter_text()
        assert all("error" not in next(words) for _ in range(20))
        (line,) = awaited(store.audit.page)
        assert (line.action, line.who, line.details) == ("answer broken off", ann, {"number": 4})


def test_an_answer_that_is_not_streamed_ends_with_its_account(
    url: str, store: Store, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = store.accounts.add("ann", Role.CHATTER).id
    _, secret = store.credentials.add_key(ann, "program", ["chat"])
    asked = engine._check

    def disabled(*given: Any) -> Any:
        store.accounts.set_disabled(ann, True)
        return asked(*given)

    monkeypatch.setattr(engine, "_check", disabled)
    path = "/v1/chat/completions"
    answer = httpx.post(f"{url}{path}", json=ASKED[path], headers={"x-api-key": secret})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert engine.closed.wait(5)


def test_readers_of_the_page_end_with_their_session_and_the_answer_with_the_account(
    url: str, store: Store, engine: FakeEngine
) -> None:
    ann = store.accounts.add("ann", Role.CHATTER).id
    chat = store.create_conversation("", "", owner=ann).id
    port = url.rpartition(":")[2]

    def browser() -> httpx.Client:
        cookies = {f"steersman_{port}": store.credentials.begin(ann, 1)}
        return httpx.Client(base_url=url, cookies=cookies, headers={"x-steersman": "1"})

    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(browser()) for _ in range(2))
        asked = {"content": "Hi", "parent_id": None, "known": 0}
        read = begun(first, f"/api/conversations/{chat}/messages", asked, stack)
        store.credentials.end(first.cookies[f"steersman_{port}"])
        assert last(read())["code"] == "not_signed_in"
        (id_,) = second.get(f"/api/conversations/{chat}").json()["writing"]  # it goes on
        told = stack.enter_context(second.stream("GET", f"/api/messages/{id_}/stream")).iter_text()
        next(told)
        store.accounts.set_disabled(ann, True)
        assert last("".join(told))["code"] == "not_signed_in"
        assert engine.closed.wait(5)
        (kept,) = awaited(lambda: [m for m in store.messages(chat) if m.finish_reason])
    assert kept.finish_reason == "cancelled"
    assert "Hello" in kept.content
