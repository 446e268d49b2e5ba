"""Chats kept and compared: settings, folders, search, export, share links, blind votes that rounds learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine, events
from steersman.parts import Citation
from steersman.rounds.feedback_rules import apply_rules
from steersman.server.app import create_app
from steersman.server.models import Models
from steersman.store import Store
from steersman.store.kept_chats import excerpt
from steersman.types import Completion

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def engines() -> tuple[FakeEngine, FakeEngine]:
    return FakeEngine(pieces=("ours ", "是")), FakeEngine(pieces=("plain",), policy_version="base")


@pytest.fixture
def client(engines: tuple[FakeEngine, FakeEngine], store: Store) -> Iterator[TestClient]:
    models = Models(engines[0], {"base": engines[1]})
    app = create_app(models, store, name="Shop", language="en", system_prompt="Be kind.", max_tokens=20, round=3)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield opened


def made(client: TestClient, **body: Any) -> str:
    response = client.post("/api/conversations", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def ask(client: TestClient, chat: str, content: str, parent: str | None = None) -> dict[str, Any]:
    response = client.post(f"/api/conversations/{chat}/messages", json={"content": content, "parent_id": parent})
    assert response.status_code == 200, response.text
    message: dict[str, Any] = events(response.text)[-1]["message"]
    return message


def changed(client: TestClient, chat: str, **body: Any) -> dict[str, Any]:
    response = client.patch(f"/api/conversations/{chat}", json=body)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


def test_a_chats_settings_make_its_answers(client: TestClient, engines: tuple[FakeEngine, FakeEngine]) -> None:
    wanted = {"temperature": 0, "max_tokens": 7, "seed": 5, "stop": ["END", "。"], "system_prompt": SCRIPT}
    chat = made(client, settings=wanted)
    ask(client, chat, "hello")
    prompt, params = engines[0].seen[-1]
    assert prompt.messages[0].text == SCRIPT
    assert (params.temperature, params.max_tokens, params.seed, params.stop) == (0, 7, 5, ("END", "。"))
    assert client.get(f"/api/conversations/{chat}").json()["settings"] == wanted
    # another model, and the server's settings where nothing else is said
    assert changed(client, chat, settings={"model": "base"})["settings"] == {"model": "base"}
    assert ask(client, chat, "again")["policy_version"] == "base"
    prompt, params = engines[1].seen[-1]
    assert prompt.messages[0].text == "Be kind."
    assert (params.temperature, params.max_tokens, params.seed, params.stop) == (0.7, 20, None, ())
    changed(client, chat, settings={"model": "gone"})
    refused = client.post(f"/api/conversations/{chat}/messages", json={"content": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    changed(client, chat, settings={})
    assert ask(client, chat, "at last")["policy_version"] == "ppo-7"


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 3}, {"temperature": "hot"}, {"max_tokens": 0}, {"seed": -1}, {"stop": ["a"] * 17}, {"stop": [""]},
     {"system_prompt": "x" * 32_001}, {"colour": "red"}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(client: TestClient, settings: dict[str, Any]) -> None:
    chat = made(client)
    response = client.patch(f"/api/conversations/{chat}", json={"settings": settings})
    assert response.status_code == 400
    assert "settings" in response.json()["error"]["param"]
    assert client.get(f"/api/conversations/{chat}").json()["settings"] == {}


def test_folders_pins_and_titles(client: TestClient) -> None:
    chat = made(client, title="One")
    assert changed(client, chat, folder=f" Work  {SCRIPT} ", pinned=True)["folder"] == f"Work {SCRIPT}"
    told = changed(client, chat, title="Two")
    assert (told["title"], told["folder"], told["pinned"]) == ("Two", f"Work {SCRIPT}", True)
    told = changed(client, chat, folder="", pinned=False)
    assert (told["folder"], told["pinned"]) == ("", False)
    assert client.patch(f"/api/conversations/{chat}", json={"folder": "x" * 101}).status_code == 400


def test_search_finds_words_in_both_languages_and_says_where(client: TestClient, store: Store) -> None:
    lamp = made(client, title="台灯订单")
    store.add_question(lamp, "请问我上周买的台灯\n什么时候能送到？100% 确定吗")
    other = made(client, title="Returns")
    question = store.add_question(other, "How do I RETURN the " + "very " * 30 + "small jacket_1?")
    store.add_answer(question.id, Completion("Send it back.", (1,), (0.0,), "stop", "v"))

    def found(q: str) -> list[dict[str, Any]]:
        response = client.get("/api/search", params={"q": q})
        assert response.status_code == 200
        hits: list[dict[str, Any]] = response.json()
        return hits

    (hit,) = found("送到")
    assert (hit["id"], hit["role"]) == (lamp, "user")
    assert [piece["text"] for piece in hit["excerpt"] if piece["hit"]] == ["送到"]
    assert "".join(piece["text"] for piece in hit["excerpt"]) == "请问我上周买的台灯 什么时候能送到？100% 确定吗"
    (hit,) = found("jacket return")
    assert (hit["id"], hit["message_id"]) == (other, question.id)
    assert [piece["text"] for piece in hit["excerpt"] if piece["hit"]] == ["RETURN"]
    assert [hit["id"] for hit in found("台灯")] == [lamp]
    assert [hit["excerpt"] for hit in found("returns")] == [[]], "by its title alone"
    # what means something to LIKE is a character like any other
    assert [hit["id"] for hit in found("100%")] == [lamp]
    assert [hit["id"] for hit in found("t_1")] == [other]
    assert found("送_") == found("' OR 1=1 --") == found("  ") == []
    assert client.get("/api/search", params={"q": "x" * 201}).status_code == 400


def test_an_excerpt_marks_every_word() -> None:
    assert excerpt("a Cat and a cat", ["cat"]) == (("a ", False), ("Cat", True), (" and a ", False), ("cat", True))
    assert excerpt("İİİ cat", ["cat"])[-1] == ("cat", True)
    long = excerpt("x" * 300 + "needle" + "y" * 300, ["needle"])
    assert long[0] == ("…", False)
    assert ("needle", True) in long
    assert long[-1] == ("…", False)


def test_export_as_markdown_and_json(client: TestClient, store: Store) -> None:
    chat = made(client, title='Lamp/"灯"\n')
    question = store.add_question(chat, "Where?")
    first = store.add_answer(question.id, Completion("one", (1,), (0.0,), "stop", "v1"))
    cited = Completion("See the page.", (1,), (0.0,), "stop", "v2")
    second = store.add_answer(question.id, cited, citations=[Citation("https://example.org/a", "Returns")])
    store.add_feedback(first.id, "edit", edited="better")
    response = client.get(f"/api/conversations/{chat}/export", params={"last": first.id})
    assert response.headers["content-type"].startswith("text/markdown")
    assert response.headers["content-disposition"] == (
        "attachment; filename=\"Lamp _.md\"; filename*=UTF-8''Lamp%20%E7%81%AF.md"
    )
    text = '# Lamp/"灯"\n\n## Instructions\n\nBe kind.\n\n## You\n\nWhere?\n\n## Assistant (v1)\n\nbetter\n'
    assert response.text == text
    newest = client.get(f"/api/conversations/{chat}/export", params={"language": "zh"}).text
    assert newest.endswith("## 助手 (v2)\n\nSee the page.\n\n来源:\n\n1. [Returns](<https://example.org/a>)\n")
    told = client.get(f"/api/conversations/{chat}/export", params={"form": "json"}).json()
    assert [m["id"] for m in told["messages"]] == [question.id, first.id, second.id]
    assert (told["system_prompt"], told["settings"]) == ("Be kind.", {})
    assert client.get(f"/api/conversations/{chat}/export", params={"last": "x"}).status_code == 404
    assert client.get(f"/api/conversations/{chat}/export", params={"form": "pdf"}).status_code == 400


def test_a_link_shows_what_was_shared_until_it_is_taken_back(client: TestClient) -> None:
    chat = made(client)
    first = ask(client, chat, "one")
    link = client.post(f"/api/conversations/{chat}/shares", json={"last_id": first["id"]}).json()
    again = client.post(f"/api/conversations/{chat}/shares", json={"last_id": first["id"]}).json()
    assert link == again
    assert len(link["token"]) == 32
    ask(client, chat, "a secret", first["id"])
    there = client.get(f"/api/shared/{link['token']}").json()
    assert [m["content"] for m in there["messages"]] == ["one", "ours 是"]
    assert client.get(f"/api/conversations/{chat}/shares").json() == [link]
    other = made(client)
    assert client.delete(f"/api/conversations/{other}/shares/{link['token']}").status_code == 404
    assert client.post(f"/api/conversations/{other}/shares", json={"last_id": first["id"]}).status_code == 404
    assert client.delete(f"/api/conversations/{chat}/shares/{link['token']}").status_code == 200
    for token in (link["token"], "x", "%27%20OR%201=1", "x" * 500):
        assert client.get(f"/api/shared/{token}").status_code == 404


def duel(client: TestClient, chat: str, content: str = "Where is it?") -> dict[str, Any]:
    body = {"content": content, "models": ["tiny", "base"]}
    response = client.post(f"/api/conversations/{chat}/side-by-side", json=body)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    for answer in told["answers"]:
        events(client.get(f"/api/messages/{answer['id']}/stream").text)
    return told


def test_a_blind_vote_is_a_comparison_that_rounds_learn(client: TestClient, store: Store) -> None:
    chat = made(client)
    begun = duel(client, chat)
    stored = client.get(f"/api/conversations/{chat}").json()
    answers = [m for m in stored["messages"] if m["role"] == "assistant"]
    assert sorted(m["content"] for m in answers) == ["ours 是", "plain"]
    assert [m["policy_version"] for m in answers] == [None, None]
    assert all(m["blind"] for m in answers)
    assert stored["duels"] == [begun["duel"]]
    assert begun["duel"]["models"] is None
    assert "base" not in client.get(f"/api/conversations/{chat}/export", params={"form": "json"}).text

    left = next(m for m in answers if m["id"] == begun["duel"]["left_id"])  # whichever was stored first
    better = "left" if left["content"] == "plain" else "right"
    url = f"/api/messages/{begun['question']['id']}/vote"
    told = client.post(url, json={"choice": better, "labeler": "梅", "seconds": 2.5}).json()["duel"]
    assert (told["choice"], told["models"][better]) == (better, "base")
    stored = client.get(f"/api/conversations/{chat}").json()
    assert {m["policy_version"] for m in stored["messages"][1:]} == {"base", "ppo-7"}
    assert client.post(url, json={"choice": "tie"}).status_code == 409, "once"

    (ranking,) = store.rankings(3)
    assert dict(zip(ranking.answers, ranking.order, strict=True)) == {"plain": 1, "ours 是": 2}
    assert (ranking.labeler, ranking.simulated, ranking.prompt.messages[-1].text) == ("梅", False, "Where is it?")
    versions = {task.id: task.policy_versions for task in store.tasks()}
    (learned,) = apply_rules(list(store.feedback()), store.rankings(), versions)
    assert (learned.by, len(learned.comparisons), sorted(learned.versions)) == ("梅", 1, ["base", "ppo-7"])
    # Nobody else is asked about somebody's chat, and the comparison goes with it.
    assert store.next_task("ann") is None
    assert store.ranking_progress(3)["tasks"] == 0
    for said in ({"all_bad": True}, {"skip": True}):
        assert client.post(f"/api/rank/{next(iter(versions))}", json={"labeler": "ann"} | said).status_code == 403
    assert store.records(chat=chat) == [ranking.id]
    assert client.delete(f"/api/conversations/{chat}").json()["error"]["records"] == 1
    assert client.delete(f"/api/conversations/{chat}?feedback=delete").status_code == 200
    assert list(store.rankings()) == list(store.tasks()) == []


@pytest.mark.parametrize(("choice", "order"), [("tie", (1, 1)), ("bad", None), (None, None)])
def test_ties_both_bad_and_no_choice(client: TestClient, store: Store, choice: str | None, order: Any) -> None:
    chat = made(client)
    question = duel(client, chat)["question"]["id"]
    told = client.post(f"/api/messages/{question}/vote", json={"choice": choice}).json()["duel"]
    assert told["choice"] == (choice or "off")
    assert sorted(told["models"].values()) == ["base", "ppo-7"]
    rankings = list(store.rankings())
    assert len(rankings) == (choice is not None)
    if rankings:
        assert (rankings[0].ranks, rankings[0].all_bad, rankings[0].pairs()) == (order, choice == "bad", ())


def test_a_vote_is_changed_and_taken_back(client: TestClient, store: Store) -> None:
    chat = made(client)
    begun = duel(client, chat)
    url = f"/api/messages/{begun['question']['id']}/vote"

    def vote(choice: str | None, before: str | None, labeler: str = "梅") -> tuple[int, list[tuple[str, Any]]]:
        body = {"choice": choice, "instead_of": before, "labeler": labeler}
        status = client.post(url, json=body).status_code
        (task,) = store.tasks()
        learned = apply_rules(list(store.feedback()), store.rankings(), {task.id: task.policy_versions})
        assert [one.id for one in learned] == [one.id for one in store.rankings()] == store.standing(store.records())
        return status, [(one.labeler, one.ranks) for one in store.rankings()]

    assert vote("left", None) == (200, [("梅", (1, 2))])
    assert vote("right", "left") == (200, [("梅", (2, 1))])
    assert vote("tie", "left") == (409, [("梅", (2, 1))]), "another window changed it meanwhile"
    assert vote(None, None)[0] == 409
    # on a server without accounts somebody else may sit there: what was said before is theirs, and taken back
    assert vote("tie", "right", "兰") == (200, [("兰", (1, 1))])
    assert store.said_by_day(1)[0]["ranking"] == 3
    assert vote(None, "tie") == (200, [])
    stored = client.get(f"/api/conversations/{chat}").json()
    assert stored["duels"][0]["choice"] == "off"
    assert {m["policy_version"] for m in stored["messages"][1:]} == {"base", "ppo-7"}
    assert vote("left", None)[0] == 409, "the names are known"
    # taken back is not deleted: nobody loses anything without being asked, and the chat takes it along
    assert client.delete(f"/api/conversations/{chat}").status_code == 200
    assert store.records() == []


def test_sides_are_in_random_order(client: TestClient) -> None:
    chat, seen = made(client), set()
    for _ in range(40):
        told = duel(client, chat)
        seen.add(
            client.post(f"/api/messages/{told['question']['id']}/vote", json={"choice": None}).json()["duel"]["models"][
                "left"
            ]
        )
        if len(seen) == 2:
            return
    raise AssertionError("one model was always on the left")


def test_side_by_side_that_cannot_be(client: TestClient, engines: tuple[FakeEngine, FakeEngine], store: Store) -> None:
    chat = made(client)
    url = f"/api/conversations/{chat}/side-by-side"
    for models, status in ((["tiny", "tiny"], 409), (["tiny", "ppo-7"], 409), (["tiny", "gone"], 404), (["tiny"], 400)):
        assert client.post(url, json={"content": "x", "models": models}).status_code == status
    assert client.post(url, json={"content": "word " * 200, "models": ["tiny", "base"]}).status_code == 400
    assert store.messages(chat) == [], "nothing is left of a refused question"
    # where one of the two says nothing there is nothing to choose, and that can be said
    engines[1].pieces = ()
    question = duel(client, chat)["question"]["id"]
    refused = client.post(f"/api/messages/{question}/vote", json={"choice": "left"})
    assert refused.status_code == 400
    assert "two whole answers" in refused.json()["error"]["message"]
    assert client.post(f"/api/messages/{question}/vote", json={"choice": None}).status_code == 200
    assert client.post("/api/messages/nothing/vote", json={"choice": "left"}).status_code == 404
