"""The labeling desk's API: blind, in one's own hands, told of new guidelines, and what managers see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server import desk_manage
from steersman.server.app import create_app
from steersman.store import Store, desk
from steersman.types import Candidates, Completion, Conversation, Message


def asks(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with Store.open(tmp_path / "store.db") as store:
        answers = tuple(Completion(f"answer {j}", (), (), "stop", f"secret-{j}") for j in range(3))
        store.add_candidates(1, [Candidates(Conversation("p", (Message("user", "问题"),)), answers)])
        app = create_app(FakeEngine(), store, name="Shop", language="en", workspace=tmp_path, overlap=2)
        with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
            yield opened


def call(client: TestClient, method: str, path: str, status: int = 200, **body: Any) -> Any:
    given: dict[str, Any] = {"params": body} if method in ("GET", "DELETE") else {"json": body}
    response = client.request(method, f"/api/desk{path}", **given)
    assert response.status_code == status, response.text
    return response.json()


def test_a_ranking_by_keys_and_its_history(client: TestClient) -> None:
    assert call(client, "GET", "", labeler="ann")["queues"]["ranking"] == {"tasks": 1, "waiting": 1}
    got = call(client, "POST", "/next", labeler="ann", kind="ranking")
    task = got["task"]
    assert "secret" not in json.dumps(got)
    ranks = {one["key"]: int(one["text"][-1]) + 1 for one in task["answers"]}
    at = f"/tasks/{task['id']}"
    call(client, "PUT", f"{at}/draft", labeler="ann", value={"ranks": {}})
    assert call(client, "GET", "", labeler="ann")["drafts"][0]["task"] == task["id"]
    assert "expires" in call(client, "POST", f"{at}/lease", labeler="ann")
    wrong = call(client, "POST", f"{at}/label", 400, labeler="ann", value={"ranks": {"x": 1}})
    assert wrong["error"]["param"] == "ranks"
    done = call(client, "POST", f"{at}/label", labeler="ann", value={"ranks": ranks}, comment="clear", seconds=3)
    assert done["label"]["value"] == {"ranks": ranks, "all_bad": False}
    assert done["queues"]["ranking"]["waiting"] == 0
    told = call(client, "GET", "/history", labeler="ann")
    (kept,) = told["labels"]
    assert told["all"] == 1
    assert (kept["task"], kept["said"], kept["comment"], kept["prompt"]) == (task["id"], "label", "clear", "问题")
    again = call(client, "GET", at, labeler="ann")["task"]
    assert (again["mine"]["value"]["ranks"], again["draft"]) == (ranks, {})
    ranks = dict(zip(ranks, reversed(ranks.values()), strict=True))
    again = call(client, "POST", f"{at}/label", labeler="ann", value={"ranks": ranks})
    assert (done["replaced"], again["replaced"]) == (False, True)
    assert call(client, "GET", at, labeler="ann")["task"]["mine"]["value"]["ranks"] == ranks


def test_a_ranking_is_reopened_with_its_flags_and_the_history_says_its_limit(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = call(client, "POST", "/next", labeler="ann", kind="ranking")["task"]
    first, second, _ = (one["key"] for one in task["answers"])
    at = f"/tasks/{task['id']}"
    value: dict[str, Any] = {"all_bad": True, "flags": {first: ["private", "wrong"], second: []}}
    call(client, "POST", f"{at}/label", labeler="ann", value=value)
    assert call(client, "GET", at, labeler="ann")["task"]["flags"] == {first: ["wrong", "private"]}
    value["flags"] = {first: [], second: ["harmful"]}
    call(client, "POST", f"{at}/label", labeler="ann", value=value)
    assert call(client, "GET", at, labeler="ann")["task"]["flags"] == {second: ["harmful"]}
    # nobody sees another's
    assert "flags" not in call(client, "POST", "/next", labeler="ben", kind="ranking")["task"]
    monkeypatch.setattr(desk, "HISTORY", 2)
    told = call(client, "GET", "/history", labeler="ann")
    assert (len(told["labels"]), told["all"]) == (2, 3)  # the ranking, and a label of each flagged answer


def test_what_is_not_in_ones_hands_is_refused(client: TestClient) -> None:
    task = call(client, "POST", "/next", labeler="ann", kind="ranking")["task"]["id"]
    for method, path, body in (
        ("GET", "", {}),
        ("PUT", "/draft", {"value": {"a": 1}}),
        ("POST", "/lease", {}),
        ("POST", "/label", {"said": "bad_prompt"}),
        ("POST", "/suggest", {"messages": asks("Q")}),
    ):
        refused = call(client, method, f"/tasks/{task}{path}", 403, labeler="eve", **body)
        assert "not in your hands" in refused["error"]["message"]
        call(client, method, f"/tasks/none{path}", 404, labeler="eve", **body)
    call(client, "POST", "/next", 403, kind="ranking")
    call(client, "POST", f"/tasks/{task}/label", 400, labeler="ann", value={"ranks": [1, 2, 3]})
    call(client, "PUT", f"/tasks/{task}/draft", 400, labeler="ann", value={"text": "x" * 500_000})


def test_a_dialogue_with_the_models_suggestion(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "Hello?"}, {"prompt": "Hello?", "answer": "Hm."}, {"prompt": "Q", "answer": "A", "kind": "vote"}]
    made = call(client, "POST", "/tasks", 201, rows=rows)
    assert made["new"] == {"demonstration": 1, "edit": 1, "vote": 1}
    monkeypatch.setattr(desk_manage, "PAGE", 3)
    page = call(client, "GET", "/tasks")
    rest = call(client, "GET", "/tasks", after=page["next"])
    assert (len(page["tasks"]), len(rest["tasks"]), rest["next"]) == (3, 1, None), "a ranking and what was added"
    assert "rows[1]" in call(client, "POST", "/tasks", 409, rows=[*rows[:1], {"kind": "song"}])["error"]["message"]
    task = call(client, "POST", "/next", labeler="ann", kind="demonstration")["task"]
    at = f"/tasks/{task['id']}"
    told = call(client, "POST", f"{at}/suggest", labeler="ann", messages=asks("Hello?"))
    assert (told["text"], told["policy_version"]) == ("Hello, 世界!", "ppo-7")
    turns = [*asks("Hello?"), {"role": "assistant", "content": told["text"]}]
    said = call(client, "POST", f"{at}/label", labeler="ann", value={"messages": turns})["label"]
    assert said["value"]["messages"][1]["origin"] == "suggested"
    with Store.open(tmp_path / "store.db") as store:
        assert next(store.desk.demonstrations()).dialogue.meta["suggested_by"] == ["ppo-7"]


def test_labelers_are_told_of_new_guidelines(client: TestClient, tmp_path: Path) -> None:
    assert call(client, "GET", "", labeler="ann")["guidelines"] == {"hash": "", "read": True, "changed": False}
    first = call(client, "PUT", "/guidelines", text="# Rules\n\nBe kind.\n")["hash"]
    assert (tmp_path / "guidelines.md").read_text() == "# Rules\n\nBe kind.\n"
    told = call(client, "GET", "", labeler="ann")["guidelines"]
    assert told == {"hash": first, "read": False, "changed": False}
    call(client, "POST", "/guidelines/read", labeler="ann", guidelines=first)
    (tmp_path / "guidelines.md").write_text("# Rules\n\nBe kind and brief.\n", encoding="utf-8")
    told = call(client, "GET", "", labeler="ann")["guidelines"]
    assert (told["read"], told["changed"]) == (False, True)
    shown = call(client, "GET", "/guidelines", labeler="ann")
    assert shown["changes"] == [["-", "Be kind."], ["+", "Be kind and brief."]]
    task = call(client, "POST", "/next", labeler="ann", kind="ranking")
    assert task["guidelines"] == shown["hash"] != first
    at = f"/tasks/{task['task']['id']}/label"
    label = call(client, "POST", at, labeler="ann", said="bad_prompt", guidelines=first)["label"]
    assert label["guidelines"] == first, "the version that was on the page"
    late = call(client, "PUT", "/guidelines", 409, text="# Mine\n", before=first)
    assert late["error"]["code"] == "guidelines_changed"
    call(client, "PUT", "/guidelines", text="# Mine\n", before=shown["hash"])
    assert (tmp_path / "guidelines.md").read_text() == "# Mine\n"


def test_a_manager_sees_the_team_and_decides(client: TestClient) -> None:
    for name, order in (("ann", 1), ("bob", -1)):
        task = call(client, "POST", "/next", labeler=name, kind="ranking")["task"]
        texts = sorted((one["text"], one["key"]) for one in task["answers"])[::order]
        ranks = {key: i + 1 for i, (_, key) in enumerate(texts)}
        call(client, "POST", f"/tasks/{task['id']}/label", labeler=name, value={"ranks": ranks}, seconds=9)
    team = call(client, "GET", "/team")
    assert [one["name"] for one in team["labelers"]] == ["ann", "bob"]
    assert team["progress"]["ranking"] == {"tasks": 1, "done": 1, "labels": 2}
    assert (team["undecided"], team["pairs"][0]["a"]) == (1, "ann")
    differing = call(client, "GET", "/differences", labeler="lead")
    (apart,) = differing["differences"]
    assert differing["all"] == 1
    best = apart["labels"][0]
    assert {one["by"] for one in apart["labels"]} == {"ann", "bob"}
    call(client, "POST", f"/tasks/{apart['task']['id']}/decision", 404, labeler="lead", choose="x-1")
    made = call(client, "POST", f"/tasks/{apart['task']['id']}/decision", labeler="lead", choose=best["id"])["label"]
    assert (made["by"], made["value"]["ranks"]) == ("lead", best["value"]["ranks"])
    assert call(client, "GET", "/differences", labeler="lead")["differences"] == []
    assert call(client, "POST", "/assign", tasks=[apart["task"]["id"], "none"], to=["bob"]) == {"assigned": 1}
    for body in ({}, {"tasks": ["x"], "of": "bob"}):
        assert call(client, "POST", "/assign", 400, to=["bob"], **body)["error"]["param"] == "tasks"
    (task,) = call(client, "GET", "/tasks", kind="ranking")["tasks"]
    assert (task["assigned"], task["labels"], task["closed"]) == (["bob"], 2, True)
