"""What models of rounds opened by hand learned from, as far as their manifests say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from steersman.artifact.manifest import identity, read_manifest, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.config import Config
from steersman.data.dataset import read_info, write_dataset
from steersman.rounds import provenance
from steersman.rounds.export import EDITS, export_rankings
from steersman.rounds.forget import forget
from steersman.rounds.provenance import Source, about, add_own, behind, holders, learned, rounds_of
from steersman.store import Store
from steersman.types import Candidates, Completion
from tiny import conversation


def artifact(space: Workspace, stage: str, inputs: dict[str, str]) -> str:
    folder = space.stage_dir(stage)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(stage)
    return identity(write_manifest(folder, stage, {}, inputs))


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Round 1 by hand: imported data, edits of an earlier round, one ranking; PPO promoted, and DPO besides."""
    space = Workspace.create(tmp_path, Config())
    write_dataset(space.data, "chats", "demonstrations", "train", [conversation("Q", "A")], "file", {})
    edits = [conversation("Q2", "A2", id="edit-message-7")]
    write_dataset(space.data, "edits-001", "demonstrations", "train", edits, EDITS, {})
    with Store.open(space.store) as store:
        answers = tuple(Completion(text, (1,), (-0.1,), "stop", "001/sft") for text in "ab")
        store.add_candidates(1, [Candidates(conversation("Which?"), answers)])
        (task,) = store.tasks()
        store.add_ranking(task.id, ranks=[1, 2], labeler="ann")
    manifest, _ = export_rankings(space, 1)
    data = {f"data:{name}": read_info(space.data / f"{name}.jsonl").sha256 for name in ("chats", "edits-001")}
    sft = artifact(space, "sft", data)
    reward = artifact(space, "reward", {"sft": sft, "rankings": identity(manifest)})
    artifact(space, "ppo", {"sft": sft, "reward": reward, "data:gone": "0"})
    space.promote("ppo", 1)
    return space


def test_the_records_behind_a_promoted_model_are_found_through_its_inputs(space: Workspace) -> None:
    (entry,) = space.history()
    with Store.open(space.store) as store:
        (ranking,) = store.rankings()
        question = store.add_question(store.create_conversation().id, "Hi", None)
        answer = store.add_answer(question.id, Completion("Ho", (1,), (-0.1,), "stop", "001/ppo")).id
    assert learned(space, entry) == {"data:chats", "data:edits-001", "data:gone", "message-7", ranking.id}
    (source,) = behind(space, entry)
    assert {(one["id"], one["rule"], one["by"]) for one in source.records} == {
        (ranking.id, "ranking", "ann"),
        ("message-7", "edit", ""),
    }
    assert source.unknown == []
    assert about(space, answer)["sources"] == [source.to_json()]
    with Store.open(space.store) as store:  # side by side: nobody may know it yet
        question = store.add_question(store.create_conversation("x").id, "Which?")
        blind = store.add_answer(question.id, Completion("This", (1,), (0.0,), "stop", "001/sft"), {"blind": True}).id
    with pytest.raises(ValueError, match="once somebody has chosen"):
        about(space, blind)
    assert [one["round"] for one in rounds_of(space, ranking.id)] == [1]
    assert [one["path"] for one in holders(space, ["message"])] == [entry["path"]]
    assert learned(space, None) == set()


def test_what_cannot_be_named_any_more_is_said(space: Workspace) -> None:
    (entry,) = space.history()
    artifact(space, "reward", {})
    assert behind(space, entry)[0].unknown == ["reward of round 1 was made anew since"]
    rankings = space.stage_dir("rankings")
    for path in rankings.iterdir():
        path.unlink()
    artifact(space, "dpo", {"rankings": "0", "feedback": "1"})
    space.promote("dpo", 1)
    unknown = behind(space, space.history()[-1])[0].unknown
    assert "rankings of round 1 is gone" in unknown
    assert any("the manifest holds a hash" in text for text in unknown)
    assert json.loads(json.dumps(about(space, "message-7")))["stored"] is False
    with pytest.raises(ValueError, match="none of that id is stored or was learned"):
        about(space, "nobody-1")


def test_a_record_that_only_unpromoted_models_of_a_round_learned(space: Workspace) -> None:
    """The round was said to be promoted with it, and a record that two policies learned was there twice."""
    with Store.open(space.store) as store:
        question = store.add_question(store.create_conversation().id, "Hi", None)
        answer = store.add_answer(question.id, Completion("Ho", (1,), (-0.1,), "stop", "001/ppo")).id
        store.add_feedback(answer, "dislike", user="bo")
    for stage in ("dpo", "kto"):
        folder = space.stage_dir(stage)
        folder.mkdir(parents=True)
        (folder / "weights").write_text(stage)
        made = write_manifest(folder, stage, {}, {"feedback": "0"})
        kept = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**kept, "created": "2999-01-01T00:00:00Z"}))
        assert made.stage == stage
    (found,) = rounds_of(space, answer)
    assert (len(found["records"]), found["learned"], found["promoted"]) == (1, True, False)
    (record,) = about(space, "message-7")["learned_by"]
    assert record["promoted"] is True
    # DPO learns from pairs alone; what is deleted from the store and from the files keeps the rounds that learned it
    only = Source(1)
    add_own(space, only, space.stage_dir("dpo"), read_manifest(space.stage_dir("dpo")))
    assert only.records == []
    made = identity(read_manifest(space.stage_dir("kto")))
    (said,) = (one["id"] for one in found["records"])
    assert forget(space, [said, "message-7"]).rounds == (1,)
    assert not (space.data / "edits-001.jsonl").is_file()
    for id_, rule in ((said, "label"), ("message-7", "edit")):
        (after,) = about(space, id_)["learned_by"]
        assert after["records"] == [{"id": id_, "rule": rule, "by": "", "deleted": True}]
    assert identity(read_manifest(space.stage_dir("kto"))) == made
    assert forget(space, [said]).rounds == (1,)


def test_a_damaged_copy_of_a_model_ends_nothing(tmp_path: Path) -> None:
    space = Workspace(tmp_path, Config())
    for name in ("001-ppo-0123abcd", "other"):
        (folder := tmp_path / "promoted" / name).mkdir(parents=True)
        (folder / "manifest.json").write_text("{")
    assert provenance.holders(space, ["r1"]) == []
    (damaged,) = provenance._kept(space)
    assert "cannot be read" in provenance.behind(space, damaged)[0].unknown[0]


def test_a_round_whose_only_learner_was_rolled_back_is_not_promoted(space: Workspace) -> None:
    with Store.open(space.store) as store:
        (ranking,) = store.rankings()
    assert rounds_of(space, ranking.id)[0]["promoted"] is True
    artifact(space, "grpo", {"data:other": "0"})
    (space.root / "current.json").unlink()
    shutil.rmtree(space.root / "promoted")
    for stage in ("grpo", "ppo"):
        space.promote(stage, 1)
    space.rollback()
    assert rounds_of(space, ranking.id)[0]["promoted"] is False
    assert [entry["stage"] for entry in provenance.holders(space, [ranking.id])] == ["ppo"]
