"""Bodies that are JSON to Python, or to its grammar, and nothing that could be kept, sent on or answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server.app import create_app
from steersman.store import Store

DEEP: Any = "x"
for _ in range(260):
    DEEP = [DEEP]
WEIGHTS = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def http(tmp_path: Path) -> Iterator[TestClient]:
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(FakeEngine(), store, name="Shop", language="en", workspace=tmp_path)
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client


def send(http: TestClient, method: str, path: str, body: Any) -> tuple[int, str, str | None]:
    sent = http.request(method, path, content=json.dumps(body), headers={"content-type": "application/json"})
    error = sent.json().get("error", {})
    return sent.status_code, error.get("message", ""), error.get("param")


def in_hand(http: TestClient, row: dict[str, Any], kind: str) -> str:
    added = http.post("/api/desk/tasks", json={"rows": [row]})
    assert added.status_code == 201, added.text
    given = http.post("/api/desk/next", json={"labeler": "ann", "kind": kind})
    return str(given.json()["task"]["id"])


@pytest.mark.parametrize(
    ("value", "message", "param"),
    [
        ({"text": "\ud800"}, "value.text: expected valid Unicode, got an unpaired surrogate", "value.text"),
        ({"\udc00": 1}, "value: expected names in valid Unicode, got an unpaired surrogate", "value"),
        ({"axes": {"a": [1, float("nan")]}}, "value.axes.a[1]: expected a finite number", "value.axes.a[1]"),
        ({"axes": -float("inf")}, "value.axes: expected a finite number", "value.axes"),
        ({"axes": DEEP}, "value.axes[0]: expected at most 100 lists and objects within each other", "value.axes[0]"),
    ],
)
def test_a_draft_that_could_not_be_shown_again_is_refused(
    http: TestClient, value: Any, message: str, param: str
) -> None:
    """Kept, one nested too deep made the desk fail for that person from then on."""
    task = in_hand(http, {"prompt": "Q", "answer": "A", "kind": "vote"}, "vote")
    path = f"/api/desk/tasks/{task}/draft"
    assert send(http, "PUT", path, {"labeler": "ann", "value": value}) == (400, message, param)
    assert send(http, "PUT", path, {"labeler": "ann", "value": {"vote": "good", "text": "\U0001f600"}})[0] == 200
    assert (
        http.post("/api/desk/next", json={"labeler": "ann", "kind": "vote"}).json()["task"]["draft"]["vote"] == "good"
    )


def test_numbers_too_large_to_be_ones(http: TestClient) -> None:
    """1e999 is JSON, and infinite to Python."""
    body = (
        '{"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function", "function": '
    )
    body += '{"name": "f", "parameters": {"type": "object", "properties": {"a": {"maximum": 1e999}}}}}]}'
    refused = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "tools[0].function.parameters.properties.a.maximum"


@pytest.mark.parametrize("fill", ["", "x" * 20_000])
def test_a_name_that_is_there_twice(http: TestClient, fill: str) -> None:
    """Python keeps the last one, what stands in front of the server may look at the first."""
    body = '{"title": "a", "settings": {"seed": 1, "temperature": 1, "seed": 2}}'
    refused = http.post(
        "/api/conversations", content=body + " " * len(fill), headers={"content-type": "application/json"}
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "seed: expected once in an object, got it twice"
    assert http.get("/api/conversations").json() == []


@pytest.mark.parametrize("said", [1, 1e308, True, "x", {"a": 1}, [[1]], [{"role": "assistant", "content": 5}]])
def test_a_demonstration_that_is_no_list_of_turns(http: TestClient, said: Any) -> None:
    task = in_hand(http, {"prompt": "Q"}, "demonstration")
    for where, more in (("label", {"labeler": "ann"}), ("decision", {"labeler": "ann"})):
        status, message, _ = send(http, "POST", f"/api/desk/tasks/{task}/{where}", {"value": {"messages": said}} | more)
        assert status == 400, message
        assert message.startswith("messages"), message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"gold": {"grades": 5}}, "rows[0]: gold.grades: expected 2 of good, average, poor, one per answer"),
        ({"gold": {"grades": [["a"], ["b"]]}}, "rows[0]: gold.grades: expected 2 of good, average, poor"),
        ({"gold": {"ranks": ["a", "b"]}}, "rows[0]: gold.ranks: expected 2 of 1, 2, one per answer"),
        ({"gold": {"ranks": [1, True]}}, "rows[0]: gold.ranks: expected 2 of 1, 2, one per answer"),
        ({"overlap": 2**63}, "rows[0]: overlap: expected a number of people up to 1000"),
    ],
)
def test_tasks_whose_known_answer_is_none(http: TestClient, row: dict[str, Any], message: str) -> None:
    """Ranks of text were kept before, and no labeler could have been right."""
    status, told, _ = send(http, "POST", "/api/desk/tasks", {"rows": [{"prompt": "Q", "answers": ["A", "B"]} | row]})
    assert (400 <= status < 500, told[: len(message)]) == (True, message)
