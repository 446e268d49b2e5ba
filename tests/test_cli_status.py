"""Promotion and its gate, rollback, status and doctor on made-up workspaces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman import locks
from steersman.artifact.manifest import identity, read_manifest, write_manifest
from steersman.artifact.stage_folder import partial_of
from steersman.artifact.workspace import Workspace
from steersman.cli import doctor
from steersman.cli.framework import build
from steersman.config import Config, to_dict
from steersman.data.dataset import find, load_conversations, write_dataset
from steersman.rounds.export import EDITS, feedback_for, feedback_identity
from steersman.rounds.gate import word_for
from steersman.rounds.opened import open_round
from steersman.store import Store
from steersman.store.roles import Role
from steersman.types import Candidates, Completion, Conversation, Manifest, Message

runner = CliRunner()


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w", Config())


def run(space: Workspace, *args: str) -> Any:
    return runner.invoke(build(), [*args, "-w", str(space.root)])


def run_json(space: Workspace, *args: str) -> Any:
    result = run(space, *args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def artifact(
    space: Workspace, stage: str, round_: int = 1, inputs: dict[str, str] | None = None, **files: str
) -> Manifest:
    folder = space.stage_dir(stage, round_)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (files or {"weights": f"{stage} {round_}"}).items():
        (folder / name.replace("_", ".")).write_text(content)
    section = {"sft": "sft", "reward": "reward", "ppo": "ppo"}.get(stage)
    config = {section: to_dict(getattr(space.config, section))} if section else {}
    return write_manifest(folder, stage, config, inputs or {}, {"loss": 2.30001, "steps": 7})


def judged(
    space: Workspace,
    word: str,
    round_: int = 1,
    a: str = "ppo",
    b: str = "sft",
    data: dict[str, str] | None = None,
    n: int = 200,
) -> None:
    """A policy with a report that says `word` of a against b."""
    inputs = {stage: identity(artifact(space, stage, round_, data)) for stage in ("ppo", "sft")}
    verdict = json.dumps({"pairs": [{"a": a, "b": b, "word": word, "n": n}]})
    artifact(space, "report", round_, inputs, verdict_json=verdict)


# promote and rollback


def test_promote_what_is_better(space: Workspace) -> None:
    judged(space, "better")
    path = run_json(space, "promote")["promoted"]["path"]
    assert path.startswith("promoted/001-ppo-")
    assert space.current() == space.root / path
    shutil.rmtree(space.stage_dir("ppo", 1))
    assert (space.root / path / "weights").read_text(), "what is promoted stays when its stage is made anew"
    judged(space, "better")
    assert run_json(space, "promote")["changed"] is False
    assert len(space.history()) == 1


@pytest.mark.parametrize(
    ("word", "n", "why"),
    [("no evidence", 200, "no evidence that ppo is better"), ("better", 12, "compared on 12 prompts only")],
)
def test_promotion_without_evidence_asks_first(space: Workspace, word: str, n: int, why: str) -> None:
    judged(space, word, n=n)
    refused = run(space, "promote")
    assert refused.exit_code == 2
    assert why in refused.stderr
    assert "--anyway" in refused.stderr
    assert space.current() is None
    assert run_json(space, "promote", "--anyway")["changed"]


def test_promote_names_what_can_be_promoted(space: Workspace) -> None:
    assert "there are none yet" in run(space, "promote").stderr
    for stage in ("sft", "dpo"):
        artifact(space, stage)
    told = run(space, "promote")
    assert told.exit_code == 2
    assert "no model of PPO" in told.stderr
    assert "steersman promote --stage sft or steersman promote --stage dpo" in told.stderr


@pytest.mark.parametrize(("a", "b", "word"), [("ppo", "sft", "worse"), ("sft", "ppo", "better")])
def test_promote_refuses_what_is_worse(space: Workspace, a: str, b: str, word: str) -> None:
    judged(space, word, a=a, b=b)
    result = run(space, "promote")
    assert result.exit_code == 2
    assert "not promoted" in result.stderr
    assert "ppo is worse than sft" in result.stderr
    assert space.current() is None
    assert "ppo is worse" in run_json(space, "promote", "--force")["forced_against"]
    assert space.current() is not None


def test_promote_needs_a_verdict_on_this_very_model(space: Workspace) -> None:
    artifact(space, "ppo")
    assert run(space, "promote", "--stage", "sft").exit_code == 2  # no such artifact
    assert "no report; expected an evaluation" in run(space, "promote").stderr
    artifact(space, "report")
    assert "verdict.json: no such file" in run(space, "promote").stderr
    artifact(space, "report", verdict_json='{"pairs": []}')
    assert "the report is not of this ppo model" in run(space, "promote").stderr
    judged(space, "better", a="sft", b="base")
    assert "expected a comparison of ppo with sft" in run(space, "promote").stderr
    judged(space, "better")
    artifact(space, "ppo", weights="trained again")
    assert "the report is not of this ppo model" in run(space, "promote").stderr
    judged(space, "better")
    artifact(space, "sft", weights="trained again")
    assert "the report is not of this sft model" in run(space, "promote").stderr
    judged(space, "better")
    (space.stage_dir("report", 1) / "verdict.json").write_text('{"pairs": []}')
    assert "verdict.json: altered since the evaluation" in run(space, "promote").stderr
    inputs = {stage: identity(read_manifest(space.stage_dir(stage, 1))) for stage in ("ppo", "sft")}
    artifact(space, "report", inputs=inputs, verdict_json='{"pairs": [{"a": 1}]}')
    assert "expected a verdict with 'pairs'" in run(space, "promote").stderr
    assert "--stage reward: expected one of sft, ppo" in run(space, "promote", "--stage", "reward").stderr
    assert space.current() is None


def test_promote_refuses_a_truncated_checkpoint_even_by_force(space: Workspace) -> None:
    judged(space, "better")
    (space.stage_dir("ppo", 1) / "weights").write_text("pol")
    result = run(space, "promote", "--force")
    assert result.exit_code == 2
    assert "its content differs from its manifest" in result.stderr
    assert space.current() is None


def test_rollback(space: Workspace) -> None:
    assert "nothing to roll back to" in run(space, "rollback").stderr
    for round_ in (1, 2):
        judged(space, "better", round_)
        run_json(space, "promote")
    assert "/002-ppo-" in str(space.current())
    assert run_json(space, "rollback")["current"]["round"] == 1
    assert "/001-ppo-" in str(space.current())
    assert run(space, "rollback").exit_code == 2
    assert run_json(space, "promote", "--round", "2")["promoted"]["round"] == 2


def test_the_worst_word_counts() -> None:
    pairs = [{"a": "ppo", "b": "sft", "word": "better"}, {"a": "sft", "b": "ppo", "word": "better"}]
    assert word_for(pairs, "ppo", "sft") == "worse"
    assert word_for(pairs, "sft", "base") is None


# status


def stages(space: Workspace, *args: str) -> dict[str, Any]:
    return {s["stage"]: s for s in run_json(space, "status", *args)["stages"]}


def data(space: Workspace, text: str = "A", replace: bool = False) -> str:
    demo = Conversation("d", (Message("user", "Q"), Message("assistant", text)))
    return write_dataset(space.data, "d", "demonstrations", "train", [demo], "test", {}, replace=replace).sha256


def test_status_follows_the_loop(space: Workspace) -> None:
    status = run_json(space, "status")
    assert status["next"] == "steersman data import shop"
    assert {s["state"] for s in status["stages"]} == {"missing"}
    assert run_json(space, "status", "--set", "project.domain=none")["next"] == "steersman data import FILE"
    inputs = {"data:d": data(space)}
    steps = ["sft", "samples", "rankings", "reward", "ppo"]
    verbs = ["sft", "sample", "rank", "reward", "ppo", "eval"]
    for stage, verb in zip(steps, verbs, strict=False):
        assert run_json(space, "status")["next"] == f"steersman {verb}"
        made = artifact(space, stage, inputs=inputs)
        inputs |= {"rankings": identity(made)} if stage == "rankings" else {}
    assert run_json(space, "status")["next"] == "steersman eval"
    judged(space, "worse", data=inputs)
    assert run_json(space, "status")["next"] == "steersman promote --stage sft", "which would not be refused"
    (space.stage_dir("report") / "verdict.json").write_text("{")
    assert run(space, "status").exit_code == 0, "a damaged verdict is promotion's to name"
    judged(space, "better", data=inputs)
    assert run_json(space, "status")["next"] == "steersman promote"
    run_json(space, "promote")
    status = run_json(space, "status")
    assert status["next"] == "steersman serve"
    assert status["current"]["path"].startswith("promoted/001-ppo-")


def test_status_names_what_is_stale_and_why(space: Workspace) -> None:
    first = data(space)
    sft = artifact(space, "sft", inputs={"data:d": first, "base": "whatever"})
    artifact(space, "samples", inputs={"sft": identity(sft)})
    assert [stages(space)[s]["state"] for s in ("sft", "samples")] == ["ready", "ready"]
    data(space, "B", replace=True)
    assert stages(space)["sft"]["changed_inputs"] == ["data:d"]
    artifact(space, "sft", inputs={"data:d": data(space, "B")}, weights="new")
    found = stages(space)
    assert (found["sft"]["state"], found["samples"]["state"]) == ("ready", "stale")
    assert found["samples"]["changed_inputs"] == ["sft"]
    assert run_json(space, "status")["next"] == "steersman sample"
    assert "stale: sft changed" in run(space, "status").stdout
    (space.data / "d.jsonl").unlink()
    assert stages(space)["sft"]["changed_inputs"] == ["data:d is gone"]


def test_status_tells_of_data_imported_since(space: Workspace) -> None:
    inputs = {"data:d": data(space)}
    artifact(space, "sft", inputs=inputs)
    artifact(space, "reward", inputs=inputs)  # the zero of its scale, where there is no validation split
    demo = Conversation("e", (Message("user", "Q"), Message("assistant", "E")))
    write_dataset(space.data, "e", "demonstrations", "validation", [demo], "test", {})
    ask = Conversation("q", (Message("user", "Q"),))
    write_dataset(space.data, "q", "prompts", "test", [ask], "test", {})
    found = stages(space)
    assert [found[s]["changed_inputs"] for s in ("sft", "reward")] == [["data:e is new"]] * 2
    assert "stale: data:e is new" in run(space, "status").stdout
    assert run_json(space, "status")["next"] == "steersman sft"
    space.next_round()
    closed = run_json(space, "status", "--round", "1")["stages"]
    assert {s["state"] for s in closed} == {"ready", "missing"}, "what came since is for the open round"


def test_status_tells_of_feedback_that_came_since(space: Workspace) -> None:
    """KTO learns from likes, dislikes and edits, DPO from edits; nothing else is stale because of them."""

    def states() -> dict[str, list[str]]:
        return {name: s["changed_inputs"] for name, s in stages(space).items() if s["changed_inputs"]}

    def train() -> None:
        for stage in ("dpo", "kto"):
            said = feedback_for(space, stage == "kto")
            artifact(space, stage, inputs={"feedback": feedback_identity(said)} if said else {})

    artifact(space, "sft")
    train()
    assert states() == {}
    with Store.open(space.store) as store:
        chat = store.create_conversation()
        question = store.add_question(chat.id, "Where is it?")
        answer = store.add_answer(question.id, Completion("No.", (), (), "stop", "v"))
        store.add_feedback(answer.id, "dislike")
        assert states() == {"kto": ["feedback is new"]}
        store.add_feedback(answer.id, "edit", edited="On its way.")
        assert states() == {"dpo": ["feedback is new"], "kto": ["feedback is new"]}
        assert run_json(space, "status")["feedback"] == {"like": 0, "dislike": 1, "edit": 1, "flag": 0}
        train()
        assert states() == {}
        store.add_feedback(answer.id, "like")
        assert states() == {"kto": ["feedback"]}
        shown = run(space, "status").stdout
        assert "stale: feedback changed" in shown
        assert "feedback: like 1, dislike 0, edit 1, flag 0" in shown
        store.delete_conversation(chat.id)
        assert states() == {"dpo": ["feedback is gone"], "kto": ["feedback is gone"]}
    artifact(space, "rankings")
    assert states()["kto"] == ["rankings is new", "feedback is gone"]
    space.next_round()
    closed = run_json(space, "status", "--round", "1")["stages"]
    assert not any(s["changed_inputs"] for s in closed), "what people said since is for the next round"


def test_status_across_rounds(space: Workspace) -> None:
    policy = artifact(space, "ppo", 1)
    artifact(space, "sft", 2, inputs={"001/ppo": identity(policy)})
    assert stages(space)["sft"]["state"] == "ready"
    artifact(space, "ppo", 1, weights="other")
    assert stages(space)["sft"]["changed_inputs"] == ["001/ppo"]
    assert run_json(space, "status", "--round", "1")["round"] == 1


def test_status_shows_other_settings_without_calling_it_stale(space: Workspace) -> None:
    artifact(space, "sft")
    found = stages(space, "--set", "sft.lr=0.1")["sft"]
    assert (found["state"], found["changed_settings"]) == ("ready", ["sft.lr"])
    folder = space.stage_dir("reward", 1)
    folder.mkdir(parents=True)
    write_manifest(folder, "reward", {**to_dict(space.config.reward), "seed": 17, "dtype": "bfloat16"}, {})
    other = ("--set", "reward.lr=0.1", "--set", "project.seed=3", "--set", "reward.save_seconds=1.0")
    assert stages(space, *other)["reward"]["changed_settings"] == ["reward.lr", "project.seed"]
    assert stages(space)["reward"]["changed_settings"] == []
    folder = space.stage_dir("report", 1)
    folder.mkdir(parents=True)
    write_manifest(folder, "report", {**to_dict(space.config.eval), "seed": 17, "dtype": "bfloat16"}, {})
    assert stages(space)["report"]["changed_settings"] == [], "no tasks were known when older reports were made"
    assert stages(space, "--set", 'eval.tasks=["sums"]')["report"]["changed_settings"] == ["eval.tasks"]


def test_a_stage_at_work_may_take_its_files_away_meanwhile(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = space.root / "rounds/001/sft.partial"
    partial.mkdir(parents=True)
    for name in ("a.json", "b.json"):
        (partial / name).write_text("{}")
    stat = Path.stat

    def vanishing(self: Path, **options: Any) -> Any:
        found = stat(self, **options)
        if self.name == "b.json":
            self.unlink()  # between a look at the folder and one at the file
        return found

    monkeypatch.setattr(Path, "stat", vanishing)
    assert stages(space)["sft"]["resume"].startswith("a.json, saved ")


def test_status_shows_the_resume_point(space: Workspace) -> None:
    data(space)
    folder = partial_of(space.stage_dir("sft", 1))
    partial = folder / "resume"
    partial.mkdir(parents=True)
    assert (stages(space)["sft"]["state"], stages(space)["sft"]["resume"]) == ("missing", "")
    with locks.making(space.stage_dir("sft", 1)):
        assert (stages(space)["sft"]["state"], stages(space)["sft"]["resume"]) == ("partial", "nothing saved yet")
    (folder / ".tensorboard").mkdir()
    (folder / ".tensorboard" / "events").write_text("x")
    with locks.making(space.stage_dir("sft", 1)):
        assert stages(space)["sft"]["resume"] == "nothing saved yet", "no run goes on from its curves"
    (partial / "candidates.jsonl").write_text("x")
    found = stages(space)["sft"]
    assert found["state"] == "partial"
    assert found["resume"].startswith("resume/candidates.jsonl, saved ")
    (folder / ".resume-000001.safetensors").write_bytes(b"older")
    point = folder / ".resume-000002.safetensors"
    point.write_bytes(b"torn")
    assert stages(space)["sft"]["resume"].startswith(".resume-000002.safetensors, saved ")
    header = json.dumps({"__metadata__": {"state": json.dumps({"step": 40})}}).encode()
    point.write_bytes(len(header).to_bytes(8, "little") + header + b"tensors")
    assert stages(space)["sft"]["resume"].startswith("step 40, saved ")
    status = run(space, "status").stdout
    assert "partial; resume point" in status
    assert "next: steersman sft" in status


def test_status_shows_which_member_of_an_ensemble_is_in_training(space: Workspace) -> None:
    members = space.stage_dir("reward", 1).with_name("reward.members")
    (members / "member-10").mkdir(parents=True)
    (members / "member-9").mkdir()
    assert stages(space)["reward"]["resume"] == "member-10, done"
    (members / "member-11.partial").mkdir()
    assert stages(space)["reward"]["resume"] == "member-11, nothing saved yet"
    (members / "member-11.partial" / "metrics.jsonl").write_text("{}")
    found = stages(space)["reward"]
    assert found["state"] == "partial"
    assert found["resume"].startswith("member-11, metrics.jsonl, saved ")
    (members / "validator.partial").mkdir()
    assert stages(space)["reward"]["resume"] == "validator, nothing saved yet"


def test_status_counts_people_and_the_judge_apart(space: Workspace) -> None:
    ask = Conversation("p", (Message("user", "Q"),))
    with Store.open(space.store) as store:
        store.add_candidates(1, [Candidates(ask, tuple(Completion(t, (), (), "stop", "v") for t in "ab"))])
        (task,) = store.tasks(1)
        store.add_ranking(task.id, ranks=[1, 2], labeler="ann")
    artifact(space, "sft", inputs={"data:d": data(space)})
    artifact(space, "samples")
    status = run_json(space, "status")
    assert status["rankings"] == {"tasks": 1, "ranked": 1, "by_labeler": {"ann": 1}, "simulated": 0}
    assert status["next"] == "steersman reward"
    run_json(space, "data", "export", "rankings")
    assert stages(space)["rankings"]["state"] == "ready"
    with Store.open(space.store) as store:
        store.add_ranking(task.id, ranks=[1, 2], labeler="simulated", simulated=True)
    assert stages(space)["rankings"]["changed_inputs"] == ["store"]
    served = {"round": 1, "stage": "sft", "path": "promoted/001-sft-aa", "time": "now"}
    artifact(space, "sft", open_round(space, served, served, ()), inputs={"base": "whatever"})
    assert stages(space)["sft"]["inputs"] == {"promoted/001-sft-aa": "whatever"}  # was called the base model
    text = run(space, "status", "--round", "1").stdout
    assert "people ranked 1 (ann 1), the rule judge 1 (simulated)" in text
    with Store.open(space.store) as store:  # who has an account is shown by name, not by id
        bo = store.accounts.add("bo", Role.LABELER).id
        store.add_ranking(task.id, ranks=[2, 1], labeler=bo)
    counts = run_json(space, "status", "--round", "1")["rankings"]
    assert counts["by_labeler"] == {"ann": 1, "bo": 1}
    told = run(space, "rank", "--agreement").stdout
    assert ("bo and " in told or " and bo" in told, bo in told) == (True, False)


def test_status_shows_a_damaged_artifact_and_who_makes_it_again(space: Workspace) -> None:
    artifact(space, "sft")
    (space.stage_dir("sft", 1) / "manifest.json").write_text("{")
    result = run(space, "status")
    assert result.exit_code == 0
    assert "damaged" in result.stdout
    assert "manifest.json: not a manifest" in result.stdout
    assert run_json(space, "status")["stages"][0]["state"] == "damaged"
    space.stage_dir("sft", 1).rename(space.stage_dir("sft", 1).with_name("sft.damaged-1"))
    assert run_json(space, "status")["stages"][0]["put_aside"] == ["sft.damaged-1"]


@pytest.mark.parametrize("text", ["{", "[]", '{"promoted": [{"round": 1}]}'])
def test_status_shows_the_rest_where_the_promotions_are_damaged(space: Workspace, text: str) -> None:
    """It had failed as a whole, when people most want to know what there is."""
    artifact(space, "sft")
    space.promote("sft", 1)
    (space.root / "current.json").write_text(text)
    shown = run(space, "status")
    assert shown.exit_code == 0
    said = " ".join(shown.stdout.split())
    assert "current model: not known;" in said
    assert "restore it or promote again" in said
    found = run_json(space, "status")
    assert (found["stages"][0]["state"], found["current"]) == ("ready", None)
    assert str(space.root / "current.json") in found["damage"]
    artifact(space, "samples")
    open_round(space, None, None, ())  # whose answers to rank are the served model's
    artifact(space, "samples", round_=2)
    assert str(space.root / "current.json") in run_json(space, "status")["damage"]


# doctor


def test_doctor_offline() -> None:
    result = runner.invoke(build(), ["doctor", "--offline", "--json"])
    said = json.loads(result.stdout)
    names = {check["name"] for check in said["checks"]}
    assert {"python", "torch", "cores", "cpu", "memory", "disk", "gpu"} <= names
    assert all(check["advice"] for check in said["checks"] if check["level"] != "ok")
    assert result.exit_code == (0 if said["ok"] else 1)
    assert "pytest" not in names, "extras are not required"


def test_doctor_reads_cpu_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = tmp_path / "cpuinfo"
    monkeypatch.setattr("steersman.machine.CPUINFO", cpu)
    cpu.write_text("model name\t: x\nflags\t\t: fpu avx2 avx512f amx_bf16\n")
    assert doctor.check_cpu()[1].level == "ok"
    assert "amx_bf16" in doctor.check_cpu()[1].found
    cpu.write_text("flags\t\t: fpu avx2\n")
    assert doctor.check_cpu()[1].level == "warn"
    cpu.write_text(
        "processor\t: 0\nFeatures\t: fp asimd bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n\nprocessor\t: 1\n"
    )
    assert doctor.check_cpu()[1].found.startswith("0x41 0xd4f (")
    assert doctor.check_cpu()[1].level == "ok"
    monkeypatch.setattr("steersman.machine.free_memory", lambda: 2 << 30)
    assert doctor.check_memory() == doctor.Check(
        "memory", "warn", "2.0 GiB free", "close programs: training 135M parameters takes about 4 GiB"
    )


def test_doctor_unreachable_hub_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_hub("hub", "http://127.0.0.1:9").level == "warn"
    monkeypatch.setenv("HF_ENDPOINT", "no-url")
    monkeypatch.setattr(doctor, "HUBS", {"Hugging Face hub": "http://127.0.0.1:9"})
    (check,) = doctor.check_hubs()
    assert check.level == "warn"
    assert check.advice


def test_the_next_round_learns_edits_as_they_stand(space: Workspace) -> None:
    with Store.open(space.store) as store:
        chat = store.create_conversation()
        answers = []
        for i in range(3):
            question = store.add_question(chat.id, f"q{i}", answers[-1].id if answers else None)
            answers.append(store.add_answer(question.id, Completion(f"bad{i}", (1,), (-0.1,), "stop", "p")))
            store.add_feedback(answers[i].id, "edit", edited=f"good{i}")
        elsewhere = Conversation("edit-0-1", (Message("user", "x"), Message("assistant", "y")))
        write_dataset(space.data, "edits-000", "demonstrations", "train", [elsewhere], EDITS, {})

        def learned() -> dict[str, list[list[str]]]:
            artifact(space, "report", space.round)
            result = run(space, "next")
            assert (result.exit_code, "edited again" in result.stderr) == (0, space.round > 2)
            paths = find(space, "demonstrations", "train")
            return {p.stem: [[m.content for m in c.messages[1::2]] for c in load_conversations(p)] for p in paths}

        kept = {"edits-000": [["y"]]}
        every = [["good0"], ["good0", "good1"], ["good0", "good1", "good2"]]
        assert learned() == kept | {"edits-002": every}
        store.add_feedback(answers[0].id, "edit", edited="better0")
        store.add_feedback(answers[2].id, "withdraw")
        assert learned() == kept | {"edits-002": [["better0", "good1"]], "edits-003": [["better0"]]}
        store.add_feedback(answers[0].id, "withdraw")
        assert learned() == kept | {"edits-002": [["bad0", "good1"]]}
