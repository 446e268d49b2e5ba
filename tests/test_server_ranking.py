"""The ranking page's API: blind, and mapped back to the stored order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server.app import create_app
from steersman.server.errors import ApiError
from steersman.server.ranking_flags import flagged
from steersman.store import Store, desk_labels
from steersman.types import Candidates, Completion, Conversation, Message


def candidates(i: int) -> Candidates:
    prompt = Conversation(f"p{i}", (Message("system", "Be kind."), Message("user", f"问题 {i}")))
    answers = tuple(Completion(f"answer {j}", (), (), "stop", f"secret-{j}") for j in range(4))
    return Candidates(prompt, answers)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        opened.add_candidates(1, [candidates(i) for i in range(8)])
        opened.add_candidates(2, [candidates(9)])
        yield opened


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = create_app(FakeEngine(), store, name="Shop", language="en")
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
        yield opened


def next_task(client: TestClient, labeler: str) -> dict[str, Any]:
    response = client.get("/api/rank/next", params={"labeler": labeler})
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_labeler_ranks_blind_until_nothing_is_left(client: TestClient, store: Store) -> None:
    shown = set()
    for i in range(8):
        got = next_task(client, "安")
        assert "secret" not in json.dumps(got)
        assert got["progress"] == {"tasks": 8, "ranked": i, "mine": i}
        task = got["task"]
        assert next_task(client, "安")["task"] == task
        assert set(task) == {"id", "messages", "answers"}
        assert task["messages"][0] == {"role": "system", "content": "Be kind."}
        shown.add(tuple(a["text"] for a in task["answers"]))
        ranks = {a["key"]: int(a["text"][-1]) + 1 for a in task["answers"]}  # answer 0 is the best
        response = client.post(f"/api/rank/{task['id']}", json={"labeler": "安", "ranks": ranks, "seconds": 4.5})
        assert response.json() == {"ok": True, "progress": {"tasks": 8, "ranked": i + 1, "mine": i + 1}}
    assert len(shown) > 3, "the order is random"
    assert next_task(client, "安")["task"] is None
    assert next_task(client, "ben")["task"] is not None
    found = list(store.rankings())
    assert [r.ranks for r in found] == [(1, 2, 3, 4)] * 8, "kept in the stored order, whatever was shown"
    assert {(r.labeler, r.simulated) for r in found} == {("安", False)}
    assert client.get("/api/config").json()["ranking"] == {"tasks": 8, "ranked": 8}


def test_a_round_that_is_opened_while_the_server_runs(store: Store) -> None:
    """Its tasks came to nobody until the server began again."""
    now = [1]
    app = create_app(FakeEngine(), store, name="Shop", language="en", round=lambda: now[0])
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    assert client.get("/api/config").json()["ranking"] == {"tasks": 8, "ranked": 0}
    now[0] = 2
    told = client.get("/api/config").json()
    assert (told["round"], told["ranking"]) == (2, {"tasks": 1, "ranked": 0})
    assert next_task(client, "安")["task"]["messages"][1]["content"] == "问题 9"
    assert client.get("/api/desk?labeler=ben").json()["queues"]["ranking"]["waiting"] == 1


def test_grades_ties_all_bad_and_skip(client: TestClient, store: Store) -> None:
    def submit(**said: Any) -> None:
        task = next_task(client, "ann")["task"]
        filled = {}
        for name, value in said.items():
            by_text = isinstance(value, list)
            filled[name] = {a["key"]: value[int(a["text"][-1])] for a in task["answers"]} if by_text else value
        assert client.post(f"/api/rank/{task['id']}", json={"labeler": "ann", **filled}).status_code == 200

    submit(grades=["poor", "good", "average", "poor"])
    submit(ranks=[2, 1, 1, 4], all_bad=True)
    submit(all_bad=True)
    submit(skip=True, reason="not my language")
    got = {(r.ranks, r.grades, r.all_bad) for r in store.rankings()}
    assert got == {
        (None, ("poor", "good", "average", "poor"), False),
        ((2, 1, 1, 4), None, True),
        (None, ("poor",) * 4, True),
    }
    assert next_task(client, "ann")["progress"] == {"tasks": 8, "ranked": 3, "mine": 3}


def test_two_labelers_see_different_keys(client: TestClient, store: Store) -> None:
    task = next_task(client, "ann")["task"]
    mine = {a["key"]: 1 for a in task["answers"]}
    response = client.post(f"/api/rank/{task['id']}", json={"labeler": "ben", "ranks": mine})
    assert response.status_code == 400
    assert "exactly the 4 keys" in response.json()["error"]["message"]
    assert list(store.rankings()) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"labeler": ""},
        {"labeler": "ann"},
        {"labeler": "ann", "ranks": {}},
        {"labeler": "ann", "ranks": {"KEY0": 1, "KEY1": 2, "KEY2": 3}},
        {"labeler": "ann", "ranks": {"KEY0": 1, "KEY1": 2, "KEY2": 3, "other": 4}},
        {"labeler": "ann", "ranks": {"KEY0": 0, "KEY1": 2, "KEY2": 3, "KEY3": 4}},
        {"labeler": "ann", "ranks": {"KEY0": "1", "KEY1": 2, "KEY2": 3, "KEY3": 4}},
        {"labeler": "ann", "ranks": {"KEY0": 1.5, "KEY1": 2, "KEY2": 3, "KEY3": 4}},
        {"labeler": "ann", "grades": {"KEY0": "bad", "KEY1": "good", "KEY2": "good", "KEY3": "good"}},
        {"labeler": "ann", "all_bad": True, "skip": True},
        {"labeler": "ann", "all_bad": "yes"},
        {"labeler": "ann", "all_bad": True, "seconds": -1},
        {"labeler": "ann", "all_bad": True, "rank": 1},
    ],
)
def test_bad_submissions(client: TestClient, store: Store, body: dict[str, Any]) -> None:
    task = next_task(client, "ann")["task"]
    text = json.dumps(body)
    for i, answer in enumerate(task["answers"]):
        text = text.replace(f"KEY{i}", answer["key"])
    headers = {"content-type": "application/json"}
    response = client.post(f"/api/rank/{task['id']}", content=text, headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert list(store.rankings()) == []


def test_unknown_task_and_missing_labeler(client: TestClient) -> None:
    assert client.post("/api/rank/nope", json={"labeler": "ann", "all_bad": True}).status_code == 404
    for query in ("", "?labeler=", "?labeler=%20", "?labeler=a%00b", "?labeler=" + "x" * 101):
        assert client.get(f"/api/rank/next{query}").status_code == 400


def test_what_to_judge_by_is_shown_and_kept(store: Store, tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db", "礼貌") as by:
        app = create_app(FakeEngine(), by, name="Shop", language="zh")
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            task = next_task(client, "安")["task"]
            assert task["objective"] == "礼貌"
            client.post(f"/api/rank/{task['id']}", json={"labeler": "安", "all_bad": True})
    assert [r.objective for r in store.rankings()] == ["礼貌"]


def test_flags_of_single_answers_while_ranking(client: TestClient, store: Store) -> None:
    task = next_task(client, "安")["task"]
    keys = {answer["text"]: answer["key"] for answer in task["answers"]}
    ranks = {key: i + 1 for i, key in enumerate(keys.values())}

    def submit(flags: Any) -> int:
        body = {"labeler": "安", "ranks": ranks, "flags": flags}
        return client.post(f"/api/rank/{task['id']}", json=body).status_code

    for wrong in ({"nobody": ["wrong"]}, {keys["answer 1"]: ["rude"]}, {keys["answer 1"]: ["wrong"] * 2}, ["wrong"]):
        assert submit(wrong) == 400
    assert list(store.rankings()) == []
    with pytest.MonkeyPatch.context() as patch:  # the flag fails: so does the ranking
        patch.setattr(desk_labels, "hold", lambda *_: 1 / 0)
        assert submit({keys["answer 1"]: ["wrong"]}) == 500
    assert list(store.rankings()) == []
    assert submit({keys["answer 1"]: []}) == 200  # set and taken back before it was sent: nothing was said
    assert store.desk.labels(kinds=["flag"]) == []
    assert submit({keys["answer 1"]: ["private", "wrong"], keys["answer 2"]: ["harmful"]}) == 200
    said = {one.answer: one for one in store.feedback() if one.kind == "flag"}
    assert {answer: one.flags for answer, one in said.items()} == {
        "answer 1": ("wrong", "private"),
        "answer 2": ("harmful",),
    }
    one = said["answer 1"]
    assert (one.policy_version, one.user, one.prompt.messages[-1].text[:2]) == ("secret-1", "安", "问题")
    # said anew: one is taken back, the other not named and kept
    assert submit({keys["answer 1"]: []}) == 200
    assert [one.answer for one in store.feedback() if one.kind == "flag"] == ["answer 2"]
    # the desk's own way to a ranking
    task = client.post("/api/desk/next", json={"labeler": "ben", "kind": "ranking"}).json()["task"]
    value = {"all_bad": True, "flags": {task["answers"][0]["key"]: ["off-topic"]}}
    place = f"/api/desk/tasks/{task['id']}/label"
    assert client.post(place, json={"labeler": "ben", "value": value | {"flags": {"x": []}}}).status_code == 400
    assert client.post(place, json={"labeler": "ben", "value": value}).status_code == 200
    (last,) = [one for one in store.feedback() if one.user == "ben"]
    assert (last.answer, last.flags) == (task["answers"][0]["text"], ("off-topic",))


def test_equal_answers_have_the_flags_of_all(store: Store) -> None:
    task = replace(
        store.next_task("安"), answers=("same", "same", "else"), policy_versions=("v", "v", "v"), keys=("a", "b", "c")
    )
    found = flagged(task, {"a": ["wrong"], "b": [], "c": []})
    assert [(one.content["answer"], flags) for one, flags in found] == [("same", ["wrong"]), ("else", [])]
    assert flagged(task, {"a": ["wrong"], "b": ["harmful", "wrong"]})[0][1] == ["wrong", "harmful"]
    blank = replace(task, answers=("same", " ", "else"))
    assert [said for _, said in flagged(blank, {"a": ["wrong"], "b": []})] == [["wrong"]]  # clicked twice
    with pytest.raises(ApiError, match="without words"):
        flagged(blank, {"b": ["wrong"]})


def test_flags_of_a_gold_ranking_are_not_learned(client: TestClient, store: Store) -> None:
    item = Candidates(
        Conversation("g", (Message("user", "gold?"),)), tuple(Completion(x, (1,), (0.0,), "stop", "v") for x in "ab")
    )
    id_, _ = store.desk.add_ranking(1, item, gold={"ranks": [1, 2]})
    gold = store.task(id_, "安")
    assert gold.id in store.desk.gold()
    ranks = dict(zip(gold.keys, (1, 2), strict=True))
    body = {"labeler": "安", "ranks": ranks, "flags": {gold.keys[0]: ["wrong"]}}
    assert client.post(f"/api/rank/{gold.id}", json=body).status_code == 200
    assert store.desk.labels(kinds=["flag"]) == []
