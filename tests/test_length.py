"""One record that is too long ends no stage: it is left out or its prompt cut, and either is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny as t
from steersman.artifact.manifest import read_manifest
from steersman.text.length import cut_prompt, fit_prompts, fit_rankings
from steersman.text.template import Template
from steersman.train.sft import to_trees
from steersman.types import Conversation, Message, Ranking
from steersman.weights.folders import load_tokenizer, read_config
from verbs import done as invoke

CPU = ["-s", "model.device=cpu", "-s", "model.dtype=float32"]
ENDLESS = "Where is the parcel, and why does nobody answer? 包裹在哪里？" * 400


@pytest.fixture
def template(tiny: Path) -> Template:
    return Template(load_tokenizer(tiny))


@pytest.fixture
def context(tiny: Path) -> int:
    return int(read_config(tiny).max_position_embeddings)


def test_the_earliest_turns_go_first_and_the_system_message_stays() -> None:
    said = [("system", "Be brief."), ("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")]
    turns = tuple(Message(role, text) for role, text in [*said, ("user", "three is a long turn")])  # type: ignore[arg-type]

    def within(most: int) -> list[str] | None:
        shorter = cut_prompt(Conversation("c", turns), lambda c: sum(len(m.content) for m in c.messages) <= most)
        return None if shorter is None else [m.content for m in shorter.messages]

    assert within(34) == ["Be brief.", "two", "2", "three is a long turn"]
    assert within(29) == ["Be brief.", "three is a long turn"]
    assert within(18) == ["Be brief.", "long turn"]
    assert within(9) is None


def test_dialogues_that_sft_leaves_out_are_said(template: Template) -> None:
    good, long = t.conversation("Where is it?", "There.", id="good"), t.conversation("Where?", ENDLESS, id="long")
    trees, skipped = to_trees(template, [long, good], 128, "skip")
    assert (len(trees), skipped) == (1, 1)
    assert template.notes == {"dialogues longer than a row (sft.row_tokens) left out": 1}


def test_prompts(template: Template, context: int) -> None:
    good, long = t.conversation("Where is it?", id="good"), t.conversation(ENDLESS, id="long")
    skipped = fit_prompts(template, [long, good], context, "skip")
    assert ([c.id for c in skipped.records], skipped.counts()) == (["good"], {"skipped_long": 1})
    assert skipped.cautions("ppo") == [
        "1 of 2 prompts are longer than the model's context and were left out (ppo.long)"
    ]
    cut = fit_prompts(template, [long, good], context, "cut")
    assert cut.counts() == {"cut_long": 1}
    assert len(template.prompt_ids(cut.records[0])) < context
    assert len(template.prompt_ids(cut.records[0])) > context - 20, "no more is cut than must be"
    assert cut.records[0].last_user == ENDLESS[-len(cut.records[0].last_user) :]
    with pytest.raises(ValueError, match=r"prompt 'long': \d+ tokens; expected at most"):
        fit_prompts(template, [good, long], context, "error")
    with pytest.raises(ValueError, match="all 1 prompts are longer than the model's context"):
        fit_prompts(template, [long], context, "skip")


def test_rankings(template: Template, context: int) -> None:
    ranked = [
        Ranking("prompt", t.conversation(ENDLESS), ("yes", "no"), (1, 2)),
        Ranking("answer", t.conversation("Where?"), ("yes", ENDLESS), (1, 2)),
        Ranking("good", t.conversation("Where?"), ("yes", "no"), (1, 2)),
    ]
    assert fit_rankings(template, ranked, context, "skip").counts() == {"skipped_long": 2}
    cut = fit_rankings(template, ranked, context, "cut")
    assert cut.counts() == {"skipped_long": 1, "cut_long": 1}, "an answer is never cut"
    assert [r.id for r in cut.records] == ["prompt", "good"]


def test_every_stage_goes_on_and_says_so(tiny: Path, tmp_path: Path) -> None:
    questions = [*(f"Where is parcel {i}?" for i in range(8)), ENDLESS]
    asked = t.write_jsonl(
        tmp_path / "p.jsonl", [t.conversation(q, id=f"p{i}").to_json() for i, q in enumerate(questions)]
    )
    lines = [
        {"prompt": t.conversation(q).to_json(), "answers": ["On its way.", "No."], "ranks": [1, 2]} for q in questions
    ]
    lines.append({"prompt": t.conversation("Same?").to_json(), "answers": ["Same.", "Same."], "ranks": [1, 2]})
    ranked = t.write_jsonl(tmp_path / "r.jsonl", lines)
    reward = tmp_path / "reward"
    small = ["-s", "ppo.iterations=1", "-s", "ppo.prompts_per_iteration=2", "-s", "ppo.max_tokens=4"]
    small += ["-s", "ppo.minibatches=1", "-s", "ppo.eval_prompts=2", "-s", "ppo.kl_ceiling=1e9"]
    runs: dict[str, tuple[Path, list[str | Path]]] = {
        "reward": (ranked, []),
        "dpo": (ranked, []),
        "sample": (asked, ["-s", "sample.max_tokens=4", "-s", "sample.answers=2"]),
        "ppo": (asked, ["--reward", reward, "--held-out", asked, *small]),
    }
    for verb, (data, more) in runs.items():
        out = tmp_path / verb
        shown = invoke(verb, "--model", tiny, "--data", data, "--output", out, *CPU, *more).stdout
        assert f"were left out ({verb}.long)" in shown
        assert ("1 of 9 held-out prompts are longer" in shown) == (verb == "ppo")
        metrics = read_manifest(out).metrics
        assert metrics["skipped_long"] == 1
        gone = {"left_out": {"rankings whose answers are all the same": 1}} if data == ranked else {}
        assert {k: v for k, v in metrics.items() if k == "left_out"} == gone
    models = ["--model", f"base={tiny}", "--model", f"sft={tiny}", "--reward", reward]
    small = ["-s", "eval.max_tokens=4", "-s", "eval.long=cut"]
    shown = invoke("eval", *models, "--data", asked, "--output", tmp_path / "report", *CPU, *small).stdout
    assert "0 were left out and 1 cut" in shown
    assert read_manifest(tmp_path / "report").metrics["cut_long"] == 1
    kept = [json.loads(line) for line in (tmp_path / "report" / "prompts.jsonl").read_text().split("\n")[:-1]]
    assert len(kept) == 9
