"""`steersman round`: from what people said through the API to a decided, and perhaps promoted, next model."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from server_double import FakeEngine
from steersman import plugins
from steersman.artifact.manifest import identity, read_manifest, verify
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.rounds import loop, provenance
from steersman.rounds.opened import opened
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import Candidates, Completion, Conversation, Message
from tiny import conversation

runner = CliRunner()
SETTINGS: dict[str, Any] = {
    "model": {"device": "cpu", "dtype": "float32", "memory_check": False},
    "project": {"trackers": "tensorboard", "domain": "none", "judge": "round_judge:judge"},
    "sft": {"epochs": 2, "lr": 1e-2, "train_layers": 0, "eval_fraction": 0.0},
    "reward": {"epochs": 1, "lr": 1e-3, "holdout_fraction": 0.3, "train_layers": 0, "validator": False},
    "kto": {"lr": 1e-3, "train_layers": 0},
    "dpo": {"lr": 1e-3, "train_layers": 0, "holdout_fraction": 0.3},
    "eval": {"max_tokens": 6, "bootstrap": 100},
    "round": {"least_prompts": 10},
}


def verb(root: Path, *args: str, code: int = 0) -> Any:
    result = runner.invoke(build(), [*args, "-w", str(root), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module", autouse=True)
def trusted() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plugins.ALLOW, "1")
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(plugins, "_admitted", [])
        yield
    sys.modules.pop("round_judge", None)


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a promoted SFT model, demonstrations it has learned, and test prompts."""
    root = tmp_path_factory.mktemp("round") / "w"
    settings = SETTINGS | {"model": {**SETTINGS["model"], "base": str(tiny)}}
    space = Workspace.create(root, from_dict(settings, "test"))
    (root / "round_judge.py").write_text(
        "def judge(prompt, answer):\n    return {'ok': float('OK' in answer), 'said': float(bool(answer))}\n"
    )
    shown = [conversation(f"Q{i}?", f"A{i}.", id=f"d{i}") for i in range(4)]
    write_dataset(space.data, "chats", "demonstrations", "train", shown, "test", {})
    asked = [conversation(f"T{i}?", id=f"t{i}") for i in range(12)]
    write_dataset(space.data, "tests", "prompts", "test", asked, "test", {})
    verb(root, "sft")
    verb(root, "promote", "--stage", "sft", "--force")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "w", copy_function=shutil.copy2)


def say(store: Store, asked: str, answer: str, version: str = "001/sft") -> str:
    """A question of a new chat and the model's answer; returns the answer's id."""
    question = store.add_question(store.create_conversation().id, asked, None)
    return store.add_answer(question.id, Completion(answer, (1,), (-0.1,), "stop", version)).id


@contextlib.contextmanager
def page(root: Path, store: Store) -> Iterator[TestClient]:
    app = create_app(FakeEngine(), store, name="Shop", language="en", workspace=root)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def test_a_dislike_and_a_better_answer_become_a_decided_round(root: Path) -> None:
    """As a page would: dislike an answer, write a better one, start a round, see the data and the decision."""
    with Store.open(root / "store.db") as store, page(root, store) as client:
        first, second = say(store, "Where is my parcel?", "I do not know."), say(store, "包裹在哪里？", "不知道。")
        at = f"/api/messages/{first}/feedback"
        assert client.post(at, json={"kind": "dislike", "comment": "rude"}).status_code == 200
        assert client.post(at, json={"kind": "edit", "edited": "It is on its way."}).status_code == 200
        assert client.post(f"/api/messages/{second}/feedback", json={"kind": "dislike"}).status_code == 200
        rules = {"edit": {"records": 1, "used": 1, "dropped": {}}}
        rules |= {"label": {"records": 2, "used": 1, "dropped": {"an edit of the same answer says it": 1}}}
        counted = client.get("/api/rounds/preview").json()
        assert {name: counted["rules"][name] for name in rules} == rules
        assert (counted["round"], counted["new"], counted["needed"], counted["reasons"]) == (2, 2, 1, 1)
        assert Workspace.open(root).rounds() == [1], "a preview opens nothing"
        assert client.get("/api/rounds/2/decision").status_code == 404
        job = client.post("/api/rounds/jobs", json={"stage": "round"}).json()
        while client.get(f"/api/rounds/jobs/{job['number']}").json()["state"] == "running":
            time.sleep(0.2)
        found = client.get("/api/rounds/2/decision").json()
        assert found == client.get(f"/api/rounds/jobs/{job['number']}").json()["result"]
        assert {name: found["data"]["rules"][name] for name in rules} == rules
        assert found["promoted"] is (not found["reasons"])
        assert (found["candidate"], found["against"]) == ("kto", "served")
        edit = next(one.id for one in store.feedback({"edit"}))
        told = client.get(f"/api/rounds/lineage/{edit}").json()
        assert [(one["round"], one["learned"]) for one in told["learned_by"]] == [(2, True)]
        assert client.get("/api/rounds/lineage/nobody").status_code == 404
    folder = root / "rounds/002"
    assert Conversation.from_json(json.loads((folder / "gathered/demonstrations.jsonl").read_text())).messages == (
        Message("user", "Where is my parcel?"),
        Message("assistant", "It is on its way."),
    )
    assert "edit: 1 records, 1 used" in (folder / "decision.txt").read_text()
    assert "rude" not in (folder / "gathered/index.jsonl").read_text()
    verify(folder / "gathered")
    assert verb(root, "round", "--preview")["new"] == (0 if found["promoted"] else 2), "what was stopped is not learned"


def corrected(root: Path, texts: dict[str, str]) -> list[str]:
    """Chats with answers and what people wrote in their place; returns the records' ids."""
    with Store.open(root / "store.db") as store:
        for asked, better in texts.items():
            store.add_feedback(say(store, asked, "Who knows."), "edit", edited=better, user="ann")
        return [one.id for one in store.feedback({"edit"})]


LEARNS = ("-s", "round.policy=sft", "-s", "sft.epochs=12", "-s", "round.old_demonstrations=0")


def test_what_is_better_is_promoted_and_learned_once_and_what_is_worse_is_not(root: Path) -> None:
    records = corrected(root, {f"Where is order {i}?": "OK." for i in range(6)})
    before = Workspace.open(root).current()
    found = verb(root, "round", *LEARNS)
    assert (found["promoted"], found["reasons"]) == (True, [])
    space = Workspace.open(root)
    assert space.history()[-1]["path"].startswith("promoted/002-sft-")
    assert space.current() != before
    began = opened(space)
    assert began is not None
    assert (began.start, began.served) == (space.history()[0], space.history()[0])
    assert verb(root, "round", *LEARNS)["round"] is None, "nothing new"
    # from the answer to the records, and back
    with Store.open(root / "store.db") as store:
        answer = say(store, "Where?", "OK.", "002/sft")
    told_before = told = verb(root, "lineage", answer)
    assert [source["round"] for source in told["sources"]] == [2, 1]
    assert [one["id"] for one in told["sources"][0]["records"]] == records
    assert {one["by"] for one in told["sources"][0]["records"]} == {"ann"}
    assert set(told["sources"][1]["data"]) == {"data:chats"}
    assert verb(root, "lineage", records[0])["models"] == [space.history()[-1]["path"]]
    # a deliberately worse one
    corrected(root, {f"And order {i}?": "No." for i in range(6)})
    worse = verb(root, "round", *LEARNS)
    assert (worse["promoted"], worse["round"]) == (False, 3)
    assert "worse" in worse["reasons"][0]
    assert Workspace.open(root).current() == space.current()
    with Store.open(root / "store.db") as store:
        stopped = say(store, "Where?", "No.", "003/sft")  # as a canary would have answered
    assert [source["round"] for source in verb(root, "lineage", stopped)["sources"]] == [3, 2, 1]
    verdict = verb(root, "compare", "2", "3")["verdict"]
    assert [(p["a"], p["b"], p["word"]) for p in verdict["pairs"]] == [("round_3", "round_2", "worse")]
    # the next one, without a record that the served model has learned, starts before it
    told = verb(root, "round", "--without", records[0], "-s", "round.policy=sft", "--no-gate")
    assert (told["start"], told["served"]) == (space.history()[0]["path"], space.history()[1]["path"])
    assert told["data"]["rules"]["edit"] == {"records": 12, "used": 11, "dropped": {"left out by --without": 1}}
    assert records[0] not in provenance.learned(space, Workspace.open(root).history()[-1])
    verb(root, "rollback")
    verb(root, "rollback")
    assert verb(root, "lineage", records[0])["models"] == [told["served"]], "it lies there still"
    again = verb(root, "lineage", answer)
    assert (again["model"], again["sources"]) == (told_before["model"], told_before["sources"]), "rolled back, not gone"


def test_what_a_person_deletes_is_gone_and_its_rounds_are_named(root: Path) -> None:
    mine, *others = corrected(root, {f"Where is {i}?": f"Secret {i}." for i in range(4)})
    with Store.open(root / "store.db") as store:
        answers = tuple(Completion(text, (1,), (-0.1,), "stop", "001/sft") for text in ("a", "b"))
        store.add_candidates(2, [Candidates(conversation("Which?"), answers)])
        (task,) = store.tasks()
        store.add_ranking(task.id, ranks=[2, 1], labeler="bob")
        ranked = next(iter(store.rankings())).id
        store.add_feedback(mine.rpartition("-")[0], "edit", edited="Secret again.", user="ann")
        mine = [one.id for one in store.feedback({"edit"})][-1]
    verb(root, "round", "--no-gate", "-s", "round.policy=sft")
    told = verb(root, "forget", mine)
    assert (told["rounds"], told["rows"]) == ([2], 2), "the edit that it replaced would hold again"
    assert told["models"] == [Workspace.open(root).history()[-1]["path"]]
    assert verb(root, "forget", "--person", "bob")["records"] == [ranked]
    for what in ("demonstrations", "feedback", "comparisons"):
        assert "Secret again" not in runner.invoke(build(), ["data", "export", what, "-w", str(root)]).output
    gathered = root / "rounds/002/gathered"
    verify(gathered)
    words = "".join(path.read_text() for path in gathered.glob("*.jsonl"))
    assert "Secret 1" in words
    assert not [gone for gone in ("Secret again", "bob") if gone in words]
    found = verb(root, "lineage", mine)
    assert (found["stored"], [one["round"] for one in found["learned_by"]]) == (True, [2])
    assert [one["records"][0]["by"] for one in found["learned_by"]] == [""]
    assert verb(root, "lineage", ranked)["learned_by"][0]["learned"]
    assert "no feedback or rankings called nobody-7" in verb(root, "forget", "nobody-7", code=2)["error"]
    with Store.open(root / "store.db") as store, page(root, store) as client:
        chat = store.message(others[0].rpartition("-")[0]).conversation_id
        assert client.delete(f"/api/conversations/{chat}").status_code == 200
    assert "Secret 1" not in (gathered / "demonstrations.jsonl").read_text()
    assert "Secret 2" in (gathered / "demonstrations.jsonl").read_text()
    verify(gathered)


def test_a_round_goes_on_where_it_was_and_learns_only_what_it_gathered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected(root, {f"Where is {i}?": "OK." for i in range(3)})
    space = Workspace.open(root, ("round.policy=sft",))

    def dies(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_all", dies)
        with pytest.raises(KeyboardInterrupt):
            loop.make_round(space)
    gathered = identity(read_manifest(root / "rounds/002/gathered"))
    corrected(root, {"Later?": "OK."})
    with pytest.raises(ValueError, match="finish it first"):
        loop.make_round(space, from_base=True)
    assert verb(root, "status")["next"] == "steersman round"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_json", dies)  # promoted, and not yet written what was decided
        with pytest.raises(KeyboardInterrupt):
            loop.make_round(space, gated=False)
    assert len(Workspace.open(root).history()) == 2
    made = loop.make_round(space, gated=False)
    assert made is not None
    assert (made.round, made.promoted, made.data["rules"]["edit"]["records"]) == (2, True, 3)
    assert len(Workspace.open(root).history()) == 2, "promoted once"
    assert identity(read_manifest(root / "rounds/002/gathered")) == gathered
    assert loop.preview(Workspace.open(root)).counts["new"] == 1
    # what people rank next are answers of the model that is served now
    write_dataset(space.data, "ask", "prompts", "train", [conversation("Which?")], "test", {})
    assert verb(root, "status")["next"] == "steersman sample"
    verb(root, "sample", "-s", "sample.max_tokens=4", "-s", "sample.answers=2")
    with Store.open(root / "store.db") as store:
        assert [task.policy_versions for task in store.tasks(2)] == [("002/sft", "002/sft")]
    assert verb(root, "status")["next"] == "steersman serve"


def test_a_round_needs_a_model_to_start_from_and_prompts_to_judge_by(root: Path) -> None:
    assert verb(root, "round")["round"] is None
    assert "expected promoted or base" in verb(root, "round", "--from", "sft", code=2)["error"]
    corrected(root, {"Where?": "OK."})
    told = verb(root, "round", "--set", "project.judge=", code=2)["error"]
    assert "nobody can judge the next model" in told
    assert "of 20 ranked prompts that one is learned from there are 1;" in told
    for path in (root / "data").glob("tests.*"):
        path.unlink()
    assert "no test prompts" in verb(root, "round", "--from", "base", code=2)["error"]
    exam = [conversation("Where is it?", "On its way.", id="e")]
    write_dataset(root / "data", "exam", "demonstrations", "test", exam, "t", {})
    assert "exam.jsonl --kind prompts --split test" in verb(root, "round", "--from", "base", code=2)["error"]
    (root / "current.json").unlink()
    assert "no promoted model" in verb(root, "round", code=2)["error"]
    assert Workspace.open(root).rounds() == [1]


def test_where_nobody_wrote_an_answer_the_start_is_not_fine_tuned_again(root: Path) -> None:
    with Store.open(root / "store.db") as store:
        for i in range(3):
            store.add_feedback(say(store, f"Where is {i}?", f"Here {i}."), "like" if i else "dislike")
    found = verb(root, "round", "-s", "round.old_demonstrations=1")
    assert found["data"]["made"]["demonstrations"] == {"new": 0, "old": 4}
    kept = read_manifest(root / "rounds/002/sft")
    assert kept.metrics["kept"] == "base"
    start = read_manifest(root / found["start"])
    assert {k: v for k, v in kept.files.items() if k in start.files} == {
        k: v for k, v in start.files.items() if k != "metrics.jsonl"
    }
    models = json.loads((root / "rounds/002/report/models.json").read_text())["models"]
    assert [model["name"] for model in models] == ["served", "kto"], "it is the served model, and not compared with it"


def test_odd_feedback_is_refused_or_counted_and_one_long_edit_ends_no_round(root: Path) -> None:
    """Edits that show nothing, are the answer itself, or thoughts alone; a text longer than a row; a changed mind."""
    edits = {"الطلب في الطريق.": 200, "字" * 10_000: 200, "<think>x</think>": 200, " \n": 400, "\u200b\ufeff": 400}
    edits |= {" I do not know. ": 400, "a\x00b": 400, "<think>Perhaps late?</think>\n\nIt is late.": 200}
    with Store.open(root / "store.db") as store, page(root, store) as client:
        for number, (text, status) in enumerate(edits.items()):
            answer = say(store, f"Where is {number}?", "I do not know.")
            said = client.post(f"/api/messages/{answer}/feedback", json={"kind": "edit", "edited": text})
            assert said.status_code == status, (text[:20], said.text)
        both = say(store, "Both?", "Maybe.")
        for kind in ("like", "dislike", "clear", "like", "dislike"):
            assert client.post(f"/api/messages/{both}/feedback", json={"kind": kind}).status_code == 200
        liked = say(store, "L" * 9_000, "No.")
        assert client.post(f"/api/messages/{liked}/feedback", json={"kind": "like"}).status_code == 200
        counted = client.get("/api/rounds/preview").json()
        stored = len(store.records())
    said = {name: of for name, of in counted["rules"].items() if name != "data sets"}
    assert sum(of["records"] for of in said.values()) + counted["replaced"] == stored == 10
    data = verb(root, "round")["data"]
    assert data == {**{k: v for k, v in counted.items() if k not in ("round", "needed")}, "too_long": {"kto": 1}}
    too_long = "longer than sft.row_tokens = 1024"
    assert data["rules"]["edit"] == {"records": 4, "used": 2, "dropped": {too_long: 1, "the edit is empty": 1}}
    assert data["rules"]["label"] == {"records": 2, "used": 2, "dropped": {}}
    learned = [
        json.loads(line)["messages"]
        for line in (root / "rounds/002/gathered/demonstrations.jsonl").read_text().split("\n")
        if line
    ]
    assert [m[-1]["content"] for m in learned if m[0]["content"].startswith("Where is 7")] == ["It is late."]
    told = (root / "rounds/002/decision.txt").read_text()
    assert "of these left out, being longer than the model's context: 1 by kto" in told
    assert "thoughts (<think>) at the beginning of 1 edits left out" in told
