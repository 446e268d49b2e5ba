"""The chat page's API: streamed answers, cancellation, the tree, feedback."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine, events, live
from steersman import __version__
from steersman.server import listening
from steersman.server.app import create_app
from steersman.server.generation import Generations
from steersman.store import Store
from steersman.types import Message
from waiting import until as wait_for

ANSWER = "Hello, 世界!\u2028\n"


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


def feedback(
    liked: bool | None = None, edited: str | None = None, comment: str = "", about_edit: bool = False
) -> dict[str, Any]:
    return {"liked": liked, "edited": edited, "comment": comment, "about_edit": about_edit}


def test_an_answer_whose_turn_has_not_come_is_stopped_at_once(engine: FakeEngine, store: Store) -> None:
    engine.turn = threading.Event()
    app = create_app(engine, store, name="Shop", language="en")
    try:
        with live(app) as url, httpx.Client(base_url=url) as client:
            chat = new_chat(client)
            with client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Hi"}) as response:
                lines = response.iter_lines()
                answer = json.loads(next(lines).removeprefix("data: "))["assistant_id"]
                began = time.monotonic()
                with httpx.Client(base_url=url) as other:
                    assert other.post(f"/api/messages/{answer}/stop").json() == {"message": None}
                assert '{"type":"done","message":null}' in "".join(lines)
            assert time.monotonic() - began < 30
            assert app.state.context.generations.taken == 1, "the engine has not been left yet"
            engine.turn.set()
            wait_for(lambda: app.state.context.generations.taken == 0)
    finally:
        engine.turn.set()
    assert [m.role for m in store.messages(chat)] == ["user"]


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
        "models": [
            {"id": "tiny", "version": "ppo-7", "current": True},
            {"id": "ppo-7", "version": "ppo-7", "current": False},
        ],
        "defaults": {"system_prompt": "Be kind.", "temperature": 0.7, "max_tokens": 20},
        "greeting": "",
        "examples": [],
        "auth": False,
        "me": {"id": "", "name": "", "role": "admin"},
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
        "left_out": 0,
        "created": answer["created"],
        "feedback": feedback(),
    }
    there = client.get(f"/api/conversations/{chat}").json()
    assert there == {
        "id": chat,
        "title": "我的包裹在哪里? 😀",
        "updated": there["updated"],
        "folder": "",
        "pinned": False,
        "settings": {},
        "duels": [],
        "messages": [question, answer],
        "writing": [],
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
    assert set(listed[0]) == {"id", "title", "updated", "folder", "pinned"}
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


def test_a_cut_answer_is_gone_on_with_beside_it(client: TestClient, engine: FakeEngine, store: Store) -> None:
    chat = new_chat(client)
    engine.ends = "length"
    cut = ask(client, chat, "Hi")[-1]["message"]
    client.post(f"/api/messages/{cut['id']}/feedback", json={"kind": "dislike"})
    engine.ends = "stop"
    said = events(client.post(f"/api/messages/{cut['id']}/continue").text)
    assert engine.seen[-1][0].messages[-1] == Message("assistant", (begun := ANSWER.rstrip()))
    assert said[0]["answer"]["content"] == begun
    whole = said[-1]["message"]
    assert (whole["content"], whole["parent_id"]) == (begun + ANSWER, cut["parent_id"])
    assert (whole["finish_reason"], whole["feedback"]["liked"]) == ("stop", None)
    assert (store.message(whole["id"]).sampling or {})["continues"] == cut["id"]
    assert [(f.kind, f.answer) for f in store.feedback()] == [("dislike", ANSWER)]
    assert client.post(f"/api/messages/{whole['id']}/continue").status_code == 400  # it ended by itself
    engine.policy_version = "r9"
    assert client.post(f"/api/messages/{cut['id']}/continue").json()["error"]["code"] == "other_model"


def test_feedback_is_stored(client: TestClient, store: Store) -> None:
    chat = new_chat(client)
    answer = ask(client, chat, "Hi")[-1]["message"]
    url = f"/api/messages/{answer['id']}/feedback"

    def give(**said: str) -> dict[str, Any]:
        response = client.post(url, json=said)
        assert response.status_code == 200, response.text
        return dict(response.json()["feedback"])

    assert give(kind="like") == feedback(liked=True)
    assert give(kind="dislike")["liked"] is False
    assert give(kind="edit", edited="更好", comment="shorter") == feedback(False, "更好")
    assert give(kind="dislike", comment="错了") == feedback(False, "更好", "错了", about_edit=True)
    assert [(f.kind, f.answer, f.comment) for f in store.feedback({"dislike"})] == [("dislike", "更好", "错了")]
    assert give(kind="clear") == feedback(edited="更好")
    assert client.get(f"/api/conversations/{chat}").json()["messages"][1]["feedback"]["edited"] == "更好"
    assert [(f.kind, f.edited, f.comment) for f in store.feedback()] == [("edit", "更好", "shorter")]
    assert give(kind="withdraw") == feedback()
    assert list(store.feedback()) == []
    assert client.post(url, json={"kind": "withdraw"}).status_code == 400
    question = f"/api/messages/{answer['parent_id']}/feedback"
    assert client.post(question, json={"kind": "like"}).status_code == 400
    assert client.post(url, json={"kind": "regenerate"}).status_code == 400


def test_the_model_goes_on_from_what_a_person_wrote(client: TestClient, engine: FakeEngine) -> None:
    chat = new_chat(client)
    answer = ask(client, chat, "Hi")[-1]["message"]
    client.post(f"/api/messages/{answer['id']}/feedback", json={"kind": "edit", "edited": "Better"})
    ask(client, chat, "And?", answer["id"])
    assert [m.content for m in engine.seen[-1][0].messages] == ["Be kind.", "Hi", "Better", "And?"]


@contextlib.contextmanager
def begun(store: Store, **engine: Any) -> Iterator[tuple[FakeEngine, httpx.Client, str, dict[str, Any]]]:
    """(engine, client, chat, the event "start"): an endless answer, whose reader left after the first words."""
    fake = FakeEngine(endless=True, **engine)
    with live(create_app(fake, store, name="Shop", language="en")) as url, httpx.Client(base_url=url) as client:
        chat = new_chat(client)
        body = {"content": "Go on", "parent_id": None}
        with client.stream("POST", f"/api/conversations/{chat}/messages", json=body) as response:
            lines = (line for line in response.iter_lines() if line)
            start, first = (events(next(lines))[0] for _ in range(2))
            assert first == {"type": "delta", "text": "Hello"}
            assert [m.content for m in store.messages(chat)][:1] == ["Go on"], "stored before the answer begins"
        yield fake, client, chat, start


def read_along(client: httpx.Client, id_: str, lines: int) -> list[dict[str, Any]]:
    with client.stream("GET", f"/api/messages/{id_}/stream") as response:
        assert response.status_code == 200
        told = (line for line in response.iter_lines() if line)
        return [events(next(told))[0] for _ in range(lines)]


def test_an_answer_goes_on_without_a_reader_and_can_be_read_along(store: Store) -> None:
    with begun(store) as (engine, client, chat, start):
        id_ = start["assistant_id"]
        wait_for(lambda: len(client.get(f"/api/conversations/{chat}").json()["messages"][1]["content"]) > 40)
        assert not engine.closed.is_set(), "the answer ended with its reader"
        shown = client.get(f"/api/conversations/{chat}").json()
        assert shown["writing"] == [id_]
        assert (shown["messages"][1]["id"], shown["messages"][1]["finish_reason"]) == (id_, None)
        again, delta = read_along(client, id_, 2)
        assert again["type"] == "start"
        assert again["user"] == start["user"]
        assert again["answer"]["content"].startswith(shown["messages"][1]["content"])
        assert delta["type"] == "delta"
        # What is written is stored meanwhile, for the case that the server dies.
        wait_for(lambda: len(store.messages(chat)) == 2)
        assert store.message(id_).finish_reason is None
        engine.endless = False
        wait_for(lambda: store.message(id_).finish_reason == "stop")
        wait_for(lambda: client.get(f"/api/conversations/{chat}").json()["writing"] == [])
        assert [e["type"] for e in read_along(client, id_, 1)] == ["done"]


def test_stop_is_asked_for_and_keeps_what_is_written(store: Store) -> None:
    with begun(store) as (engine, client, chat, start):
        id_ = start["assistant_id"]
        stopped = client.post(f"/api/messages/{id_}/stop").json()["message"]
        assert engine.closed.is_set()
        assert (stopped["id"], stopped["finish_reason"]) == (id_, "cancelled")
        assert stopped["content"].startswith("Hello")
        messages = client.get(f"/api/conversations/{chat}").json()["messages"]
        assert messages[1] == stopped
        assert client.post(f"/api/messages/{id_}/stop").json()["message"] == stopped
        assert client.post(f"/api/messages/{start['user']['id']}/stop").status_code == 400
        engine.endless = False
        assert ask(client, chat, "Shorter", id_)[-1]["type"] == "done"


def test_an_answer_stopped_before_its_first_word_is_none(store: Store) -> None:
    engine = FakeEngine(endless=True, pieces=("",))
    with live(create_app(engine, store, name="Shop", language="en")) as url, httpx.Client(base_url=url) as client:
        chat = new_chat(client)
        with client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Go on"}) as response:
            start = events(next(line for line in response.iter_lines() if line))[0]
            told = client.post(f"/api/messages/{start['assistant_id']}/stop")
        assert told.json() == {"message": None}
        assert [m.content for m in store.messages(chat)] == ["Go on"]


def test_a_question_without_an_answer_is_answered(client: TestClient, engine: FakeEngine, store: Store) -> None:
    chat = new_chat(client)
    question = store.add_question(chat, "Hi")
    said = events(client.post(f"/api/messages/{question.id}/answer").text)
    assert [said[0]["type"], said[-1]["type"]] == ["start", "done"]
    assert said[0]["user"]["id"] == said[-1]["message"]["parent_id"] == question.id
    assert [m.content for m in store.messages(chat)] == ["Hi", ANSWER]
    assert list(store.feedback()) == [], "this is no wish for another answer"
    refused = client.post(f"/api/messages/{said[-1]['message']['id']}/answer")
    assert refused.status_code == 400


def test_what_needs_a_whole_answer_waits_for_it(store: Store) -> None:
    with begun(store) as (_engine, client, chat, start):
        id_ = start["assistant_id"]
        for path, body in (
            (f"/api/conversations/{chat}/messages", {"content": "x", "parent_id": id_}),
            (f"/api/messages/{id_}/regenerate", {}),
            (f"/api/messages/{id_}/feedback", {"kind": "like"}),
        ):
            response = client.post(path, json=body)
            assert response.status_code == 409, path
            assert response.json()["error"]["code"] == "still_writing"
        # A question that is being answered is not answered twice.
        with client.stream("POST", f"/api/messages/{start['user']['id']}/answer") as response:
            assert events(next(line for line in response.iter_lines() if line))[0]["assistant_id"] == id_
        assert client.delete(f"/api/conversations/{chat}").status_code == 200
        assert _engine.closed.wait(60), "the answer of a deleted chat goes on"


def test_a_part_that_a_dead_server_left_is_shown_as_stopped(client: TestClient, store: Store) -> None:
    chat = new_chat(client)
    question = store.add_question(chat, "Hi")
    store.keep_part("f" * 32, question.id, "Hel", "ppo-7")
    shown = client.get(f"/api/conversations/{chat}").json()
    assert [(m["content"], m["finish_reason"]) for m in shown["messages"]] == [("Hi", None), ("Hel", "cancelled")]
    assert shown["writing"] == []


def test_two_tabs_do_not_fork_in_silence(client: TestClient, store: Store) -> None:
    chat = new_chat(client)
    answer = ask(client, chat, "Hi")[-1]["message"]
    body = {"content": "One tab", "parent_id": answer["id"], "known": 0}
    assert client.post(f"/api/conversations/{chat}/messages", json=body).status_code == 200
    refused = client.post(f"/api/conversations/{chat}/messages", json=body | {"content": "Another"})
    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "outdated"
    assert [m.content for m in store.messages(chat)] == ["Hi", ANSWER, "One tab", ANSWER]
    knowing = client.post(f"/api/conversations/{chat}/messages", json=body | {"content": "Instead", "known": 1})
    assert knowing.status_code == 200


def test_a_dialogue_that_outgrows_the_context(client: TestClient, engine: FakeEngine, store: Store) -> None:
    chat = new_chat(client)
    url = f"/api/conversations/{chat}/messages"
    first = ask(client, chat, "word " * 60)[-1]["message"]
    body: dict[str, Any] = {"content": "more " * 40, "parent_id": first["id"]}
    refused = client.post(url, json=body)
    assert refused.status_code == 400
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == (
        "context_length_exceeded",
        "messages",
    )
    said = events(client.post(url, json=body | {"shorten": True}).text)
    assert [m.content for m in engine.seen[-1][0].messages] == ["Be kind.", "more " * 40]
    assert said[0]["answer"]["left_out"] == said[-1]["message"]["left_out"] == 2
    # From there on the chat goes on without asking again, and each answer says what it did not see.
    third = ask(client, chat, "And " * 30, said[-1]["message"]["id"])[-1]["message"]
    assert third["left_out"] == 2
    assert [m["left_out"] for m in client.get(f"/api/conversations/{chat}").json()["messages"]] == [0, 0, 0, 2, 0, 2]
    alone = client.post(url, json={"content": "word " * 99, "parent_id": third["id"], "shorten": True})
    assert (alone.status_code, alone.json()["error"]["param"]) == (400, "content")
    assert len(store.messages(chat)) == 6


def test_a_failing_engine_is_told_without_details(client: TestClient, engine: FakeEngine, store: Store) -> None:
    engine.failure = RuntimeError("secret path /etc/model")
    chat = new_chat(client)
    said = ask(client, chat, "Hi")
    assert [e["type"] for e in said] == ["start", "delta", "error"]
    assert "secret" not in said[-1]["message"]
    assert [(m.content, m.finish_reason) for m in store.messages(chat)] == [("Hi", None), ("Hello", "cancelled")]


def test_a_server_that_stops_keeps_what_was_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_GRACE_SECONDS", 50)  # what would end it if it did not by itself
    engine = FakeEngine(endless=True)
    with live(create_app(engine, store, name="Shop", language="en")) as url:
        client = httpx.Client(base_url=url)
        chat = new_chat(client)
        request = client.build_request("POST", f"/api/conversations/{chat}/messages", json={"content": "Go on"})
        response = client.send(request, stream=True)
        lines = (line for line in response.iter_lines() if line)
        assert [events(next(lines))[0]["type"] for _ in range(2)] == ["start", "delta"]
        began = time.monotonic()
    assert time.monotonic() - began < 40
    said = [events(line)[0] for line in lines]
    assert said[-1]["type"] == "done"
    assert said[-1]["message"]["finish_reason"] == "cancelled"
    assert store.messages(chat)[1].content.startswith("Hello")
    client.close()


def test_a_server_that_stops_keeps_what_nobody_reads(store: Store) -> None:
    with begun(store) as (_engine, _client, chat, start):
        pass
    kept = store.message(start["assistant_id"])
    assert kept.finish_reason == "cancelled"
    assert kept.content.startswith("Hello")
    assert len(store.messages(chat)) == 2


def test_too_many_answers_at_once_are_refused(store: Store) -> None:
    engine, most = FakeEngine(endless=True), 32
    app = create_app(engine, store, name="Shop", language="en", generations=Generations(most=most))
    with live(app) as url, httpx.Client(base_url=url, limits=httpx.Limits(max_connections=64)) as client:
        open_ = []
        for _ in range(most):
            path = f"/api/conversations/{new_chat(client)}/messages"
            response = client.send(client.build_request("POST", path, json={"content": "Go on"}), stream=True)
            lines = response.iter_lines()  # kept: httpx closes the connection with the iterator
            next(lines)
            open_.append((response, lines))
        generations = app.state.context.generations
        wait_for(lambda: generations._taken == most)
        assert client.get("/api/config").status_code == 200
        refused = client.post(f"/api/conversations/{new_chat(client)}/messages", json={"content": "Go on"})
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        for response, _ in open_:
            response.close()
        assert store.messages(client.get("/api/conversations").json()[0]["id"]) == [], "what is refused is not stored"
        engine.endless = False
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
