"""What is said beside a stage's numbers, so that nobody takes them for more than they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny as t
from steersman.artifact.manifest import read_manifest
from steersman.artifact.workspace import Workspace
from steersman.train.cautions import cautions
from verbs import done as invoke

CPU = ["-s", "model.device=cpu", "-s", "model.dtype=float32"]
QUESTIONS = [f"Where is the parcel number {i} that I sent to my aunt in Bergen last week?" for i in range(12)]


def chats(path: Path, questions: list[str]) -> Path:
    return t.write_jsonl(
        path, [t.conversation(q, "On its way.", id=f"c{i}").to_json() for i, q in enumerate(questions)]
    )


def prompts(path: Path, questions: list[str]) -> Path:
    return t.write_jsonl(path, [t.conversation(q, id=f"q{i}").to_json() for i, q in enumerate(questions)])


def curve(folder: Path, losses: list[float]) -> Path:
    t.write_jsonl(folder / "metrics.jsonl", [{"step": i + 1, "loss": loss} for i, loss in enumerate(losses)])
    return folder


def test_a_loss_that_rises_by_far_is_said(tmp_path: Path) -> None:
    rising = [2.0] * 5 + [9.0, 40.0, 55.0, 60.0, 60.0]
    assert "rose from 2 to 44.8: training diverged" in cautions(20, curve(tmp_path, rising))[0]
    assert cautions(20, curve(tmp_path, [2.0] * 5 + [2.5, 3.0, 3.5, 3.0, 3.0])) == []


def test_few_steps_and_a_worse_held_out_loss_are_said(tmp_path: Path) -> None:
    assert "only 1 optimizer step:" in cautions(1, tmp_path)[0]
    assert "held-out loss got worse, 1.000 to 1.200" in cautions(20, tmp_path, before=1.0, after=1.2)[0]
    assert cautions(20, tmp_path, before=1.0, after=0.9) == []


def test_sft_without_held_out_data_has_no_held_out_loss(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "sft"
    data = chats(tmp_path / "one.jsonl", QUESTIONS[:1])
    with data.open("a") as file:
        file.write('{"prompt": "Is it open?", "completion": " "}\n')
    shown = invoke("sft", "--model", tiny, "--data", data, "--output", out, *CPU).stdout
    assert "no held-out demonstrations, so no held-out loss" in shown
    assert "0.000" not in shown
    assert "caution: only" in shown
    metrics = read_manifest(out).metrics
    assert metrics["left_out"] == {"empty answers": 1}
    assert metrics["eval_loss"] is None
    assert metrics["eval_loss_before"] is None


def test_eval_says_that_nobody_can_judge_before_it_answers(tiny: Path, tmp_path: Path) -> None:
    data = prompts(tmp_path / "p.jsonl", QUESTIONS)
    models = ["--model", f"base={tiny}", "--model", f"sft={tiny}"]
    refused = invoke("eval", *models, "--data", data, "--output", tmp_path / "out", *CPU, code=2).stderr
    assert "nobody can judge the answers" in refused
    assert "--reward" in refused
    assert not list(tmp_path.glob("out*/answers/*.jsonl")), "no time was spent"
    assert not list(tmp_path.glob("out*")), "and no unfinished run is left"


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    """Demonstrations that hold half of the test prompts, and rankings of others."""
    root = tmp_path / "w"
    invoke("init", root, "--base", tiny, *CPU, "-s", "project.domain=none", "-s", "eval.max_tokens=4")
    ranked = [
        {"prompt": t.conversation(q).to_json(), "answers": ["On its way.", "No."], "ranks": [1, 2]} for q in QUESTIONS
    ]
    invoke("data", "import", chats(tmp_path / "chats.jsonl", QUESTIONS[:6]), "-w", root)
    invoke("data", "import", t.write_jsonl(tmp_path / "ranked.jsonl", ranked[4:]), "-w", root)
    return Workspace.open(root)


def test_test_prompts_that_were_trained_on_are_said(space: Workspace, tmp_path: Path) -> None:
    root = space.root
    fresh = ["Can I change the colour of the kettle that I ordered for the office on Monday?"]
    asked = prompts(tmp_path / "asked.jsonl", [*QUESTIONS[:3], *fresh])
    told = invoke("data", "import", asked, "--kind", "prompts", "--split", "test", "-w", root).stderr
    assert "caution: 3 of 4 test prompts are in the training data (3 exactly" in told
    invoke("sft", "-w", root)
    invoke("reward", "-w", root)
    shown = invoke("eval", "-w", root).stdout
    assert "3 of the 4 test prompts stand in the training data word for word" in shown
    assert "PPO" not in shown
    assert "stale" not in shown
    # another import makes the reward model stale, and the verdict says so
    more = {"prompt": t.conversation("Is it blue?").to_json(), "answers": ["Yes.", "No."], "ranks": [1, 2]}
    invoke("data", "import", t.write_jsonl(tmp_path / "more.jsonl", [more]), "-w", root)
    invoke("eval", "-w", root, "-s", "eval.max_tokens=5")
    kept = json.loads((space.stage_dir("report") / "verdict.json").read_text())
    assert {c["code"] for c in kept["cautions"]} >= {"contaminated", "stale_reward"}


def test_standalone_eval_says_what_it_could_not_look_at(tiny: Path, tmp_path: Path, space: Workspace) -> None:
    invoke("sft", "-w", space.root)
    invoke("reward", "-w", space.root)
    data, learned = prompts(tmp_path / "p.jsonl", QUESTIONS[:2]), tmp_path / "chats.jsonl"
    models = ["--model", f"base={tiny}", "--model", f"sft={space.stage_dir('sft')}"]
    common = ["eval", *models, "--data", data, "--reward", space.stage_dir("reward"), *CPU, "-s", "eval.max_tokens=4"]
    assert "name the training files with --trained-on" in invoke(*common, "--output", tmp_path / "a").stdout
    shown = invoke(*common, "--output", tmp_path / "b", "--trained-on", learned).stdout
    assert "2 of the 2 test prompts stand in the training data" in shown
