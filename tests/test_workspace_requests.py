"""Requests that fit nothing in the workspace, and files that people changed: one error, and nothing half done."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman.artifact.manifest import identity, verify, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config import Config
from steersman.data import dataset
from steersman.data.dataset import find, read_info, write_dataset
from steersman.rounds import canary, forget, gather
from steersman.rounds.export import EDITS
from steersman.store import Store
from steersman.store.desk import Asker, NewTask, Submission
from steersman.types import Completion
from tiny import conversation


def artifact(space: Workspace, round_: int, stage: str) -> Path:
    folder = space.root / f"rounds/{round_:03d}/{stage}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(f"{round_} {stage}")
    write_manifest(folder, stage, {}, {})
    return folder


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Two rounds with an SFT model each, the first one's promoted; ann wrote a dialogue and edited an answer."""
    made = Workspace.create(tmp_path / "w", Config())
    artifact(made, 1, "sft")
    artifact(made, 2, "sft")
    made.promote("sft", 1)
    with Store.open(made.store) as store:
        question = store.add_question(store.create_conversation().id, "Where?", None)
        answer = store.add_answer(question.id, Completion("No.", (1,), (-0.1,), "stop", "001/sft"))
        store.add_feedback(answer.id, "edit", edited="Here.", user="ann")
        store.desk.add([NewTask("demonstration", {"messages": [{"role": "user", "content": "Hi"}]})])
        task = store.desk.take(Asker("ann"), "demonstration")
        assert task is not None
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ann's own words"}]
        store.desk.submit(task.id, Submission("ann", value={"messages": turns}, seconds=1))
    return made


def ask(space: Workspace, *words: str, code: int = 2) -> Any:
    result = CliRunner().invoke(build(), [*words, "-w", str(space.root), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["status", "--round", "7"], "no round 7; expected one of 1, 2"),
        (["report", "--round", "7"], "no round 7; expected one of 1, 2"),
        (["promote", "--round", "7"], "no round 7; expected one of 1, 2"),
        (["canary", "start", "7"], "no round 7; expected one of 1, 2"),
        (["canary", "start", "²"], "expected a round's number"),
        (["compare", "2", "2"], "expected two rounds"),
        (["round", "--without", "mistyped-1", "--preview"], "none was ever stored or learned"),
        (["round", "--preview", "-s", "round.policy=encoder"], "expected auto or one of sft, ppo,"),
        (["round", "--preview", "-s", "round.max_age_days=1e300"], "expected 0 to 100000"),
        (["forget", "x-99999999999999999999999"], "no feedback or rankings called x-9"),
        (["promote", "--round", "-1"], "Invalid value for '--round'"),
        (["status", "--bogus"], "No such option: --bogus"),
        (["nosuch"], "No such command 'nosuch' (root --help says what it takes)"),
    ],
)
def test_what_is_not_there_is_one_error_in_json_too(space: Workspace, words: list[str], why: str) -> None:
    told = ask(space, *words)
    assert why in told["error"]
    assert "\n" not in told["error"]
    assert told["exit_code"] == 2


def test_only_folders_named_as_rounds_are_rounds(space: Workspace) -> None:
    for name in ("²", "000", "7", "003 (copy)"):
        (space.root / "rounds" / name).mkdir()
    (space.root / "rounds/004").write_text("a file")
    assert space.rounds() == [1, 2]


def test_what_people_wrote_at_the_desk_is_forgotten_in_files_too(space: Workspace) -> None:
    space = dataclasses.replace(space, pinned=2)
    gather.write_gathered(space, gather.collect(space, 2, set(), (), ()), {})
    with Store.open(space.store) as store:
        (written,) = store.desk.demonstrations()
        (edit,) = store.feedback({"edit"})
    others = [conversation(f"Q{i}", "A", id=f"edit-other-{i}") for i in range(2)]
    shown = [written.dialogue, conversation("Where?", "Here.", id=f"edit-{edit.id}"), *others]
    source = write_dataset(space.data, "edits-002", "demonstrations", "train", shown, EDITS, {}, purpose="rank")
    mixture = [dataclasses.replace(one, id=f"edits-002/{one.id}") for one in shown]
    made_of = {"made_of": {"edits-002": source.sha256}}
    write_dataset(space.data, "mixed", "demonstrations", "train", mixture, "mix", made_of)
    (space.data / "mixed.cleaning.json").write_text("an example: Ann's own words")
    (space.root / "backups").mkdir()
    (space.root / "backups/store.db").write_text("")
    (space.root / "store.schema-0004.db").write_text("")  # before its migration
    damaged = space.root / "promoted/001-ppo-0a1b2c3d"
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{")
    assert ask(space, "forget", written.id, "mistyped-1")["error"].count("mistyped-1") == 1
    told = ask(space, "forget", "--person", "ann", code=0)
    assert set(told["records"]) == {written.id, edit.id}
    assert told["unseen"] == ["backups/store.db", "promoted/001-ppo-0a1b2c3d", "store.schema-0004.db"]
    words = "".join(p.read_text() for p in space.root.rglob("*.json*"))
    assert not [gone for gone in ("Ann's own words", "Here.") if gone in words]
    verify(space.stage_dir("gathered"))
    assert read_info(source.path).purpose == "rank"
    assert [p.stem for p in find(space, "demonstrations", "train")] == ["mixed"], "it takes the other's place still"
    assert [c.id for c in dataset.load_conversations(space.data / "mixed.jsonl")] == [
        f"edits-002/edit-other-{i}" for i in range(2)
    ]


def test_a_record_that_was_forgotten_or_taken_back_can_be_left_out(space: Workspace) -> None:
    with Store.open(space.store) as store:
        (edit,) = store.feedback({"edit"})
        store.add_feedback(edit.id.rpartition("-")[0], "withdraw", user="ann")
        assert not list(store.feedback({"edit"}))
    assert ask(space, "round", "--preview", "--without", edit.id, code=0)["needed"] == 0
    space = dataclasses.replace(space, pinned=2)
    gather.write_gathered(space, gather.collect(space, 2, set(), (), ()), {})
    with Store.open(space.store) as store:
        (written,) = store.desk.demonstrations()
    forget.forget(space, [written.id])
    assert ask(space, "round", "--preview", "--without", written.id, code=0)["needed"] == 0


def test_promoting_again_makes_a_damaged_copy_whole(space: Workspace) -> None:
    (entry,) = space.history()
    kept = space.root / entry["path"]
    (kept / "config.json").unlink()
    (kept / "config.json").write_text("other")
    told = ask(space, "promote", "--stage", "sft", "--round", "1", "--force", code=0)
    assert (told["changed"], told["promoted"]) == (False, entry)
    assert identity(verify(kept)) == entry["identity"]
    assert space.history() == [entry]


@pytest.mark.parametrize("line", ["null", "12", '{"kind": "edit"}', '{"id": ', "\udcff"])
def test_a_damaged_index_names_its_file(space: Workspace, line: str) -> None:
    artifact(space, 2, "gathered")
    path = space.root / "rounds/002/gathered/index.jsonl"
    path.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    assert f"{path}: expected" in ask(space, "lineage", "x")["error"]


@pytest.mark.parametrize(("key", "value"), [("share", "0.5"), ("round", "2"), ("decided", "better"), ("salt", 3)])
def test_a_canary_of_wrong_types_is_an_error(space: Workspace, key: str, value: Any) -> None:
    canary.start(space, 2, "sft", 0.5, force=True)
    path = space.root / canary.CANARY
    known = json.loads(path.read_text())
    known["canaries"][0][key] = value
    path.write_text(json.dumps(known))
    assert "expected an object with a list 'canaries'" in ask(space, "canary", "status")["error"]


def test_a_record_whose_own_id_looks_like_one_made_of_another_is_forgotten() -> None:
    gone = {"set/1-3", "desk-7"}
    assert [forget._of_one(made, gone) for made in ("set/1-3", "desk-7", "edit-desk-7", "1-3", "7")] == [
        *[True] * 3,
        *[False] * 2,
    ]
