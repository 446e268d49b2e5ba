"""The chat page's API: streamed answers, cancellation, the tree, feedback."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine, events, live
from steersman import __version__
from steersman.server.app import create_app
from steersman.server.generation import MAX_LIVE
from steersman.store import Store

ANSWER = "Hello, 世界!\u2028\n"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine, store: Store) -> Iterator[TestClient]:
    app = create_app(engine, store, name="Shop", language="zh", system_prompt="Be kind.", max_tokens=20)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield opened


def new_chat(client: httpx.Client) -> str:
    response = client.post("/api/conversations", json={})
    assert response.status_code == 200
    return str(response.json()["id"])


def ask(client: httpx.Client, chat: str, content: str, parent: str | None = None) -> list[dict[str, Any]]:
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": content, "parent_id": parent})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events(response.text)


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_config(client: TestClient) -> None:
    assert client.get("/api/config").json() == {
        "name": "Shop",
        "language": "zh",
        "model": "tiny",
        "policy_version": "ppo-7",
        "version": __version__,
        "round": 1,
        "report": False,
        "max_context": 100,
        "ranking": {"tasks": 0, "ranked": 0},
    }


def test_an_answer_is_streamed_and_stored(client: TestClient, engine: FakeEngine, store: Store) -> None:
    chat = new_chat(client)
    said = ask(client, chat, "我的包裹在哪里? 😀")
    assert [e["type"] for e in said] == ["start", "delta", "delta", "delta", "delta", "done"]
    assert "".join(e["text"] for e in said if e["type"] == "delta") == ANSWER
    question, answer = said[0]["user"], said[-1]["message"]
    assert (question["role"], question["content"], question["parent_id"]) == ("user", "我的包裹在哪里? 😀", None)
    assert answer == {
        "id": said[0]["assistant_id"],
        "parent_id": question["id"],
        "role": "assistant",
        "content": ANSWER,
        "policy_version": "ppo-7",
        "finish_reason": "stop",
        "created": answer["created"],
        "feedback": {"liked": None, "edited": None, "comment": ""},
    }
    assert client.get(f"/api/conversations/{chat}").json() == {
        "id": chat,
        "title": "我的包裹在哪里? 😀",
        "messages": [question, answer],
    }
    ask(client, chat, "And now?", answer["id"])
    prompt, params = engine.seen[-1]
    assert [(m.role, m.content) for m in prompt.messages] == [
        ("system", "Be kind."),
        ("user", "我的包裹在哪里? 😀"),
        ("assistant", ANSWER),
        ("user", "And now?"),
    ]
    assert (params.max_tokens, params.temperature) == (20, 0.7)
    stored = store.messages(chat)[1]
    assert (stored.tokens, stored.sampling and stored.sampling["max_tokens"]) == (4, 20)


def test_the_answer_gets_what_the_context_leaves(client: TestClient, engine: FakeEngine) -> None:
    chat = new_chat(client)
    ask(client, chat, "word " * 90)
    assert engine.seen[-1][1].max_tokens == 8  # 100 less 90 less two of the system prompt
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": "word " * 98})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert len(client.get(f"/api/conversations/{chat}").json()["messages"]) == 2, "a refused question leaves no trace"


def test_chats_are_listed_renamed_deleted(client: TestClient) -> None:
    first, second = new_chat(client), new_chat(client)
    ask(client, first, "a question " * 10)
    listed = client.get("/api/conversations").json()
    assert [c["id"] for c in listed] == [first, second]
    assert set(listed[0]) == {"id", "title", "updated"}
    assert len(listed[0]["title"]) <= 60
    assert client.patch(f"/api/conversations/{second}", json={"title": "Mine"}).json()["title"] == "Mine"
    assert client.delete(f"/api/conversations/{first}").json() == {"ok": True}
    assert client.get(f"/api/conversations/{first}").status_code == 404
    assert [c["title"] for c in client.get("/api/conversations").json()] == ["Mine"]


def test_regenerate_gives_a_sibling_and_is_feedback(client: TestClient, store: Store) -> None:
    chat = new_chat(client)
    first = ask(client, chat, "Hi")[-1]["message"]
    response = client.post(f"/api/messages/{first['id']}/regenerate")
    said = events(response.text)
    assert [said[0]["type"], said[-1]["type"]] == ["start", "done"]
    assert said[0]["user"]["id"] == first["parent_id"]
    second = said[-1]["message"]
    assert second["id"] != first["id"]
    assert second["parent_id"] == first["parent_id"]
    assert [(f.kind, f.answer) for f in store.feedback()] == [("regenerate", ANSWER)]
    refused = client.post(f"/api/messages/{first['parent_id']}/regenerate")
    assert refused.status_code == 400
    assert "Only an answer" in refused.json()["error"]["message"]


def test_feedback_is_stored(client: TestClient, store: Store) -> None:
    chat = new_chat(client)
    answer = ask(client, chat, "Hi")[-1]["message"]
    url = f"/api/messages/{answer['id']}/feedback"
    assert client.post(url, json={"kind": "like"}).json() == {
        "feedback": {"liked": True, "edited": None, "comment": ""}
    }
    assert client.post(url, json={"kind": "dislike"}).json()["feedback"]["liked"] is False
    edited = client.post(url, json={"kind": "edit", "edited": "更好", "comment": "shorter"}).json()
    assert edited == {"feedback": {"liked": False, "edited": "更好", "comment": ""}}
    why = client.post(url, json={"kind": "dislike", "comment": "错了"}).json()["feedback"]
    assert why == {"liked": False, "edited": "更好", "comment": "错了"}
    assert [(f.kind, f.comment) for f in store.feedback({"dislike"})] == [("dislike", "错了")]
    assert client.post(url, json={"kind": "clear"}).json()["feedback"] == {
        "liked": None,
        "edited": "更好",
        "comment": "",
    }
    assert client.get(f"/api/conversations/{chat}").json()["messages"][1]["feedback"]["edited"] == "更好"
    assert [(f.kind, f.edited, f.comment) for f in store.feedback()] == [("edit", "更好", "shorter")]
    question = f"/api/messages/{answer['parent_id']}/feedback"
    assert client.post(question, json={"kind": "like"}).status_code == 400
    assert client.post(url, json={"kind": "regenerate"}).status_code == 400


def test_a_client_that_stops_closes_the_engines_iterator(store: Store) -> None:
    engine = FakeEngine(endless=True)
    with live(create_app(engine, store, name="Shop", language="en")) as url, httpx.Client(base_url=url) as client:
        chat = new_chat(client)
        body = {"content": "Go on", "parent_id": None}
        with client.stream("POST", f"/api/conversations/{chat}/messages", json=body) as response:
            lines = (line for line in response.iter_lines() if line)
            start, first = (events(next(lines))[0] for _ in range(2))
            assert first == {"type": "delta", "text": "Hello"}
            assert not engine.closed.is_set()
        assert engine.closed.wait(5), "generation goes on although nobody reads"
        # At once, without waiting for the server: the page goes on from the answer that it stopped.
        messages = client.get(f"/api/conversations/{chat}").json()["messages"]
        assert messages[1]["id"] == start["assistant_id"]
        assert messages[1]["finish_reason"] == "cancelled"
        assert messages[1]["content"].startswith("Hello, 世界")
        engine.endless = False
        assert ask(client, chat, "Shorter", start["assistant_id"])[-1]["type"] == "done"


def test_the_page_may_go_on_right_after_stopping(store: Store) -> None:
    engine = FakeEngine(endless=True)
    with live(create_app(engine, store, name="Shop", language="en")) as url, httpx.Client(base_url=url) as client:
        chat = new_chat(client)
        with client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Go on"}) as response:
            start = events(next(line for line in response.iter_lines() if line))[0]
        engine.endless = False
        kind = {"kind": "dislike"}
        response = client.post(f"/api/messages/{start['assistant_id']}/feedback", json=kind)
        assert response.status_code == 200, response.text


def test_a_failing_engine_is_told_without_details(client: TestClient, engine: FakeEngine, store: Store) -> None:
    engine.failure = RuntimeError("secret path /etc/model")
    chat = new_chat(client)
    said = ask(client, chat, "Hi")
    assert [e["type"] for e in said] == ["start", "delta", "error"]
    assert "secret" not in said[-1]["message"]
    assert [(m.content, m.finish_reason) for m in store.messages(chat)] == [("Hi", None), ("Hello", "cancelled")]


def test_a_server_that_stops_keeps_what_was_said(store: Store) -> None:
    engine = FakeEngine(endless=True)
    with live(create_app(engine, store, name="Shop", language="en")) as url:
        client = httpx.Client(base_url=url)
        chat = new_chat(client)
        request = client.build_request("POST", f"/api/conversations/{chat}/messages", json={"content": "Go on"})
        response = client.send(request, stream=True)
        lines = (line for line in response.iter_lines() if line)
        assert [events(next(lines))[0]["type"] for _ in range(2)] == ["start", "delta"]
        began = time.monotonic()
    assert time.monotonic() - began < 4
    said = [events(line)[0] for line in lines]
    assert said[-1]["type"] == "done"
    assert said[-1]["message"]["finish_reason"] == "cancelled"
    assert store.messages(chat)[1].content.startswith("Hello")
    client.close()


def test_too_many_answers_at_once_are_refused(store: Store) -> None:
    engine = FakeEngine(endless=True)
    app = create_app(engine, store, name="Shop", language="en")
    with live(app) as url, httpx.Client(base_url=url, limits=httpx.Limits(max_connections=64)) as client:
        open_ = []
        for _ in range(MAX_LIVE):
            path = f"/api/conversations/{new_chat(client)}/messages"
            response = client.send(client.build_request("POST", path, json={"content": "Go on"}), stream=True)
            lines = response.iter_lines()  # kept: httpx closes the connection with the iterator
            next(lines)
            open_.append((response, lines))
        generations = app.state.context.generations
        wait_for(lambda: generations._taken == MAX_LIVE)
        assert client.get("/api/config").status_code == 200
        refused = client.post(f"/api/conversations/{new_chat(client)}/messages", json={"content": "Go on"})
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        for response, _ in open_:
            response.close()
        wait_for(lambda: not generations._taken)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/conversations/nope", None, 404),
        ("PATCH", "/api/conversations/nope", {"title": "x"}, 404),
        ("DELETE", "/api/conversations/nope", None, 404),
        ("POST", "/api/conversations/nope/messages", {"content": "x"}, 404),
        ("POST", "/api/conversations/CHAT/messages", {"content": "x", "parent_id": "nope"}, 404),
        ("POST", "/api/conversations/CHAT/messages", {"content": " "}, 400),
        ("POST", "/api/conversations/CHAT/messages", {"content": 5}, 400),
        ("POST", "/api/conversations/CHAT/messages", {"content": "a\x00b"}, 400),
        ("POST", "/api/conversations/CHAT/messages", {"content": "x", "parents": "y"}, 400),
        ("POST", "/api/conversations/CHAT/messages", b'{"content": "\\ud800"}', 400),
        ("POST", "/api/conversations/CHAT/messages", b'{"content": "x", "\\ud800": "y"}', 400),
        ("POST", "/api/conversations/CHAT/messages", [], 400),
        ("PATCH", "/api/conversations/CHAT", {"title": ""}, 400),
        ("PATCH", "/api/conversations/CHAT", {"title": "x" * 201}, 400),
        ("POST", "/api/messages/nope/regenerate", None, 404),
        ("POST", "/api/messages/nope/feedback", {"kind": "like"}, 404),
        ("POST", "/api/messages/nope/feedback", {"kind": "love"}, 400),
        ("PUT", "/api/conversations", {}, 405),
        ("GET", "/api/nope", None, 404),
    ],
)
def test_bad_requests(client: TestClient, method: str, path: str, body: Any, status: int) -> None:
    path = path.replace("CHAT", new_chat(client))
    sent = body if body is None or isinstance(body, bytes) else json.dumps(body)
    response = client.request(method, path, content=sent, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"]
