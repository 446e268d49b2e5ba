"""The canary: which chats it gets, what votes decide, and a served model that changes without dropping an answer."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from server_double import FakeEngine, events, live
from steersman.artifact.manifest import write_manifest
from steersman.artifact.workspace import Workspace
from steersman.cli.canaries import canary_text
from steersman.cli.framework import build
from steersman.config import Config
from steersman.rounds import canary, gate
from steersman.server.app import create_app
from steersman.server.models import Following, Models
from steersman.store import Chat, Store
from steersman.types import Completion
from waiting import until as wait_for

CANDIDATE, SERVED = "002/ppo", "001/ppo"


@pytest.fixture(autouse=True)
def salts(monkeypatch: pytest.MonkeyPatch) -> None:
    """By salt and name a model is drawn: one run of thousands would find too many on one side."""
    numbers = itertools.count(1)
    monkeypatch.setattr(canary, "secrets", SimpleNamespace(token_hex=lambda _: f"{next(numbers):016x}"))


def model(space: Workspace, round_: int, stage: str, content: str) -> Path:
    folder = space.root / f"rounds/{round_:03d}/{stage}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(content)
    write_manifest(folder, stage, {}, {}, {})
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Round 1's policy is promoted; round 2 has another, without a report."""
    made = Workspace.create(tmp_path / "w", Config())
    model(made, 1, "ppo", "one")
    model(made, 2, "sft", "two, taught")
    model(made, 2, "ppo", "two")
    made.promote("ppo", 1)
    return made


@pytest.fixture
def store(space: Workspace) -> Iterator[Store]:
    with Store.open(space.store) as opened:
        yield opened


def chat(store: Store, version: str, *kinds: str) -> str:
    """A chat with an answer of that model, and what was said of it."""
    new = store.create_conversation()
    question = store.add_question(new.id, "Where is it?")
    answer = store.add_answer(question.id, Completion("On its way.", (), (), "stop", version))
    for kind in kinds:
        store.add_feedback(answer.id, kind, edited="Here." if kind == "edit" else None)  # type: ignore[arg-type]
    return new.id


def begin(space: Workspace, share: float = 0.5) -> canary.Canary:
    return canary.start(space, 2, "", share, force=True)


def test_a_canary_begins_with_a_model_that_can_be_compared(space: Workspace) -> None:
    with pytest.raises(canary.NotStarted, match=r"not started: .*no report.*: steersman canary start --force"):
        canary.start(space, 2, "", 0.1)
    for share in (0.0, 0.95, float("nan")):
        with pytest.raises(ValueError, match="share: expected"):
            canary.start(space, 2, "", share, force=True)
    with pytest.raises(ValueError, match="no round 3; expected one of 1, 2"):
        canary.start(space, 3, "ppo", 0.1, force=True)
    with pytest.raises(ValueError, match="is the served model itself"):
        canary.start(space, 1, "ppo", 0.1, force=True)
    begun = begin(space)
    assert (begun.version, begun.served, canary.present(space)) == (CANDIDATE, SERVED, begun)
    with pytest.raises(ValueError, match="compared already"):
        begin(space)
    assert canary.end(space, "stopped").outcome == "stopped"
    assert canary.present(space) is None
    with pytest.raises(ValueError, match="none is under way"):
        canary.end(space, "stopped")
    assert begin(space).salt != begun.salt
    assert [c.outcome for c in canary.canaries(space)] == ["stopped", ""]


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    bare = Workspace.create(tmp_path / "bare", Config())
    model(bare, 1, "ppo", "one")
    with pytest.raises(ValueError, match="no model is promoted"):
        canary.start(bare, 1, "ppo", 0.1, force=True)


@pytest.mark.parametrize(("text", "is_"), [("2", (2, "")), ("12/dpo", (12, "dpo"))])
def test_a_choice_is_a_round_and_maybe_a_stage(text: str, is_: tuple[int, str]) -> None:
    assert canary.read_choice(text) == is_
    for wrong in ("", "0", "ppo", "2/", "-1", "二"):
        with pytest.raises(ValueError, match="expected a round's number"):
            canary.read_choice(wrong)


def test_a_share_of_new_chats_stays_with_the_candidate(space: Workspace) -> None:
    begun = begin(space, 0.1)
    after, before = "9999-01-01T00:00:00.000Z", "2000-01-01T00:00:00.000Z"
    chats = [Chat(f"c{i}", "", "", after, after) for i in range(5000)]
    mine = [c for c in chats if begun.candidate_answers(c)]
    assert 400 < len(mine) < 600
    assert all(begun.candidate_answers(c) for c in mine)
    assert not any(begun.candidate_answers(dataclasses.replace(c, created=before)) for c in mine)
    again = dataclasses.replace(begun, salt="other")
    assert 10 < sum(again.candidate_answers(c) for c in mine) < 100  # other chats, by another salt


def test_one_vote_a_chat_and_what_it_is(space: Workspace, store: Store) -> None:
    chat(store, SERVED, "like")  # begun before
    began = dt.datetime.now(dt.UTC)
    for kinds in (["like"], ["dislike"], ["edit"], ["edit", "like"], ["regenerate"], [], ["like", "clear"]):
        chat(store, SERVED, *kinds)
    chat(store, CANDIDATE, "dislike", "like")
    several = chat(store, CANDIDATE, "like")
    last = store.messages(several)[-1]
    question = store.add_question(several, "And then?", last.id)
    second = store.add_answer(question.id, Completion("No.", (), (), "stop", CANDIDATE))
    store.add_feedback(second.id, "dislike")
    cast = [(v.policy_version, v.liked) for v in store.votes(began)]
    assert cast == [(SERVED, True), (SERVED, False), (SERVED, False), (SERVED, False)] + [(CANDIDATE, True)] * 2


def test_votes_decide_once_and_the_decision_stands(space: Workspace, store: Store) -> None:
    begin(space)
    first = canary.look(space, store)
    assert first is not None
    assert (first.word, first.low, first.high) == ("undecided", -1.0, 1.0)
    with pytest.raises(gate.Refused, match="votes do not call 002/ppo better than 001/ppo"):
        canary.promote(space, store)
    for i in range(30):
        chat(store, CANDIDATE, "like")
        chat(store, SERVED, "like" if i % 3 == 0 else "dislike")
    chat(store, "003/ppo", "dislike")  # neither of the two
    found = canary.look(space, store)
    assert found is not None
    assert (found.word, found.votes.likes, found.votes.votes) == ("better", (10, 30), (30, 30))
    assert found.canary.decided is not None
    assert found.canary.decided["votes"] == [30, 30]
    for _ in range(40):
        chat(store, CANDIDATE, "dislike")
    later = canary.look(space, store)
    assert later is not None
    assert later.word != "better"
    assert later.canary.decided == found.canary.decided
    ran = CliRunner().invoke(build(), ["canary", "status", "-w", str(space.root)])
    assert ran.exit_code == 0
    assert "002/ppo: 30 of 70 chats" in ran.stdout
    assert "the candidate is better" in ran.stdout
    done = CliRunner().invoke(build(), ["canary", "promote", "--json", "-w", str(space.root)])
    assert done.exit_code == 2, done.output  # votes settle doubts, but there is no report at all
    assert "no report" in done.stderr
    done = CliRunner().invoke(build(), ["canary", "promote", "--force", "--json", "-w", str(space.root)])
    assert json.loads(done.stdout)["promoted"]["round"] == 2
    assert canary.canaries(space)[-1].outcome == "promoted"


def test_another_promotion_overtakes_it(space: Workspace, store: Store) -> None:
    begin(space)
    space.promote("sft", 2)
    found = canary.look(space, store)
    assert found is not None
    assert found.canary.outcome == "overtaken"
    assert canary.present(space) is None


def test_a_damaged_file_is_named(space: Workspace) -> None:
    (space.root / canary.CANARY).write_text('{"canaries": [{"round": 1}]}')
    with pytest.raises(ValueError, match=r"canary\.json: expected an object with a list"):
        canary.present(space)


def following(space: Workspace, store: Store, models: Models, **settings: Any) -> Following:
    def load(which: str) -> FakeEngine:
        return FakeEngine(pieces=("new",), policy_version=CANDIDATE) if which else FakeEngine(policy_version=now())

    def now() -> str:
        last = space.history()[-1]
        return f"{last['round']:03d}/{last['stage']}"

    return Following(space, store, models, load, space.history()[-1]["identity"], **settings)


def ask(client: httpx.Client, chat: str, parent: str | None = None) -> dict[str, Any]:
    body = {"content": "Where is it?", "parent_id": parent}
    told = events(client.post(f"/api/conversations/{chat}/messages", json=body).text)
    assert told[-1]["type"] == "done", told
    answer: dict[str, Any] = told[-1]["message"]
    return answer


def test_through_the_page_until_it_is_promoted(space: Workspace, store: Store) -> None:
    models = Models(FakeEngine(policy_version=SERVED))
    follow = following(space, store, models)
    app = create_app(models, store, name="S", language="en", workspace=space.root)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/api/canary").json() == {"canary": None, "now": None, "answering": False}
        old = client.post("/api/conversations", json={}).json()["id"]
        assert ask(client, old)["policy_version"] == SERVED
        refused = client.post("/api/canary", json={"round": 2, "share": 0.5})
        assert (refused.status_code, refused.json()["error"]["param"]) == (409, "force")
        assert client.post("/api/canary", json={"round": 9, "force": True}).status_code == 400
        assert client.post("/api/canary", json={"round": 2, "share": 0.5, "force": True}).status_code == 201
        follow.look()
        by: dict[str, int] = {SERVED: 0, CANDIDATE: 0}
        for _ in range(80):
            chat = client.post("/api/conversations", json={}).json()["id"]
            first = ask(client, chat)
            second = ask(client, chat, first["id"])
            assert first["policy_version"] == second["policy_version"]
            by[first["policy_version"]] += 1
            kind = "like" if first["policy_version"] == CANDIDATE else "dislike"
            client.post(f"/api/messages/{first['id']}/feedback", json={"kind": kind})
        assert min(by.values()) > 20
        assert ask(client, old, store.messages(old)[-1].id)["policy_version"] == SERVED
        shown = client.get("/api/canary").json()
        assert (shown["now"]["word"], shown["answering"]) == ("better", True)
        assert shown["now"]["votes"] == [by[SERVED], by[CANDIDATE]]
        assert "salt" not in shown["canary"]
        assert client.post("/api/canary/promote", json={}).status_code == 409  # no report
        assert client.post("/api/canary/promote", json={"force": True}).json()["promoted"]["round"] == 2
        follow.look()
        assert models.current.policy_version == CANDIDATE
        assert models.canary is None
        assert ask(client, old, store.messages(old)[-1].id)["policy_version"] == CANDIDATE
        assert client.delete("/api/canary").status_code == 409


def test_users_of_the_api_stay_with_their_model(space: Workspace, store: Store) -> None:
    models = Models(FakeEngine(policy_version=SERVED))
    follow = following(space, store, models)
    app = create_app(models, store, name="S", language="en", workspace=space.root)
    with TestClient(app, base_url="http://127.0.0.1") as client:

        def version(path: str = "chat/completions", **body: Any) -> str:
            asked = {"prompt": "Hi"} if path == "completions" else {"messages": [{"role": "user", "content": "Hi"}]}
            found = client.post(f"/v1/{path}", json={"model": name, **asked, **body})
            assert found.status_code == 200, found.text
            return str(found.json()["system_fingerprint"])

        name = client.get("/v1/models").json()["data"][0]["id"]
        assert version(user="ann") == SERVED
        begin(space)
        follow.look()
        of = {f"u{i}": version(user=f"u{i}") for i in range(40)}
        assert 8 < sum(answered == CANDIDATE for answered in of.values()) < 32
        for user, answered in list(of.items())[:8]:
            turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "And then?")]
            more = [{"role": role, "content": text} for role, text in turns]
            assert version(user=user, messages=more) == answered
            assert version(safety_identifier=user) == answered
            assert version("completions", user=user) == answered
        # without a user the beginning of the dialogue takes its place
        for i in range(8):
            turns = [{"role": "user", "content": f"Question {i}"}]
            alone = version(messages=turns)
            more = [*turns, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "Why?"}]
            assert version(messages=more) == alone
        assert version(model=SERVED, user="u1") == SERVED  # whoever names a version gets it
        shown = client.get("/api/canary").json()["now"]
        assert sum(shown["api_answers"]) == 40 + 24 + 16
        assert shown["votes"] == [0, 0]
        found = canary.look(space, store)
        assert found is not None
        assert f"answered {shown['api_answers'][0]} requests of the API" in canary_text(found)
        for path, body in (
            ("messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}),
            ("responses", {"input": "Hi"}),
        ):
            for side, version_of in enumerate((CANDIDATE, SERVED)):
                user = next(user for user, answered in of.items() if answered == version_of)
                named = {"metadata": {"user_id": user}} if path == "messages" else {"safety_identifier": user}
                before = client.get("/api/canary").json()["now"]["api_answers"]
                assert client.post(f"/v1/{path}", json={"model": name, **body, **named}).status_code == 200
                after = client.get("/api/canary").json()["now"]["api_answers"]
                assert [b - a for a, b in zip(before, after, strict=True)] == [side == 1, side == 0]
        follow.models.compare(None)
        assert version(user="u1") == SERVED


def test_a_worse_candidate_gets_no_more_chats(space: Workspace, store: Store) -> None:
    models = Models(FakeEngine(policy_version=SERVED))
    follow = following(space, store, models)
    begin(space)
    follow.look()
    assert models.canary is not None
    for _ in range(25):
        chat(store, CANDIDATE, "dislike")
        chat(store, SERVED, "like")
    for _ in range(15):
        follow.look()
    assert models.canary is None
    assert canary.canaries(space)[-1].outcome == "worse"


def test_a_setting_promotes_what_votes_call_better(space: Workspace, store: Store) -> None:
    gate_says = {"pairs": [{"a": "ppo", "b": "sft", "word": "no evidence", "n": 200}]}
    folder = space.root / "rounds/002/report"
    folder.mkdir()
    (folder / "verdict.json").write_text(json.dumps(gate_says))
    inputs = {s: canary.identity(canary.read_manifest(space.stage_dir(s, 2))) for s in ("sft", "ppo")}
    write_manifest(folder, "report", {}, inputs, {})
    models = Models(FakeEngine(policy_version=SERVED))
    follow = following(space, store, models, promote=True)
    canary.start(space, 2, "", 0.5)
    for _ in range(25):
        chat(store, CANDIDATE, "like")
        chat(store, SERVED, "dislike")
    follow.look()
    assert space.history()[-1]["round"] == 2
    assert (models.current.policy_version, models.canary) == (CANDIDATE, None)


def test_a_running_server_looks_at_the_beginning_and_again(
    space: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steersman.server.models.LOOK_SECONDS", 0.01)
    models = Models(FakeEngine(policy_version=SERVED))
    begun = begin(space)
    with following(space, store, models).running():
        assert models.canary == begun
        space.promote("ppo", 2)
        wait_for(lambda: models.current.policy_version == CANDIDATE)
        wait_for(lambda: models.canary is None)


def test_a_candidate_that_was_made_anew_answers_nobody(space: Workspace, store: Store) -> None:
    """A server that was started again counted the votes of both models as one's."""
    models = Models(FakeEngine(policy_version=SERVED))
    begin(space)
    shutil.rmtree(space.stage_dir("ppo", 2))
    model(space, 2, "ppo", "two, otherwise")
    follow = following(space, store, models)
    follow.look()
    assert models.canary is None
    assert f"{CANDIDATE} was made anew since; stop the canary" in follow._refused


def test_a_model_that_was_chosen_is_not_replaced(space: Workspace, store: Store) -> None:
    models = Models(FakeEngine(policy_version="mine"))
    follow = following(space, store, models, follow=False)
    space.promote("ppo", 2)
    follow.look()
    assert models.current.policy_version == "mine"


def test_an_answer_under_way_ends_on_the_model_that_began_it(space: Workspace, store: Store) -> None:
    old = FakeEngine(pieces=("one ", "two ", "three"), turn=threading.Event(), policy_version=SERVED)
    models = Models(old)
    follow = following(space, store, models)
    app = create_app(models, store, name="S", language="en", workspace=space.root)
    with live(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        chat = client.post("/api/conversations", json={}).json()["id"]
        with client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Hi"}) as response:
            lines = response.iter_lines()
            assert json.loads(next(lines).removeprefix("data: "))["type"] == "start"
            space.promote("ppo", 2)
            follow.look()
            assert models.current.policy_version == CANDIDATE
            body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
            told = client.post("/v1/chat/completions", json=body).json()
            assert told["system_fingerprint"] == CANDIDATE
            assert old.turn is not None
            old.turn.set()
            rest = events("\n".join(lines).strip())
        assert rest[-1]["message"]["content"] == "one two three"
        assert rest[-1]["message"]["policy_version"] == SERVED
    gone = weakref.ref(old)
    del old
    models.free()
    assert gone() is None


def test_what_cannot_be_loaded_changes_nothing(
    space: Workspace, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_which: str) -> FakeEngine:
        raise ValueError("no such weights")

    models = Models(FakeEngine(policy_version=SERVED))
    follow = Following(space, store, models, broken, space.history()[-1]["identity"])
    space.promote("ppo", 2)
    follow.look()
    follow.look()
    assert models.current.policy_version == SERVED
    assert len(caplog.records) == 1


def test_status_before_anybody_chatted(space: Workspace) -> None:
    """It asked for a store, which is made by the first chat."""
    assert not space.store_path.exists()
    status = ["canary", "status", "-w", str(space.root)]
    ran = CliRunner().invoke(build(), status)
    assert (ran.exit_code, "no canary yet" in ran.stdout) == (0, True)
    canary.start(space, 2, "ppo", 0.5, force=True)
    ran = CliRunner().invoke(build(), status)
    assert ran.exit_code == 0
    assert "0 of 0 chats" in ran.stdout
