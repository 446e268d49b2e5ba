"""Reward models with a head per objective: learning, scale, weights, PPO, evaluation."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import test_train as stages
import tiny as t
from steersman import config as configs
from steersman import config_file
from steersman.config import PpoConfig, replaced
from steersman.eval.run import rewards as evaluated
from steersman.families.outputs import init_score_head, response_values
from steersman.rounds.telling import accuracy as reward_text
from steersman.text.template import Template
from steersman.train.actors import Actors
from steersman.train.log import read_metrics
from steersman.train.minibatches import Minibatch, pack
from steersman.train.rankings import split_holdout
from steersman.train.scoring import answer_scores, sources
from steersman.types import Completion, Conversation, Ranking
from steersman.weights.folders import load_scalar, use_packed_rows

WEIGHTS = {"brief": 1.0, "kind": 0.5}
ANSWERS = ("No.", "On its way.", "Your parcel arrives on 6 May, thank you.")


def opposed(n: int = 16) -> list[Ranking]:
    """Every prompt by both objectives, in opposite orders."""
    return [
        Ranking(f"{name}{i}", prompt, ANSWERS, ranks, objective=name)
        for i, prompt in enumerate(stages.prompts(n))
        for name, ranks in (("brief", (1, 2, 3)), ("kind", (3, 2, 1)))
    ]


def logits(model: Any, prompt: Conversation, answer: str) -> torch.Tensor:
    """[heads] as transformers computes them, one dialogue alone."""
    template = Template(t.tokenizer())
    ids = torch.tensor([[*template.prompt_ids(prompt), *template.answer_ids(answer)]])
    return model(ids).logits[0]


def test_loss_and_gradient_against_a_plain_loop(tiny: Path, tmp_path: Path) -> None:
    given = opposed(8)
    stages.run_reward(
        tiny, tmp_path / "reward", given, objectives=WEIGHTS, epochs=1, batch_prompts=99, grad_clip=1e9, lr=0.0
    )
    model = AutoModelForSequenceClassification.from_pretrained(tiny, num_labels=2, dtype=torch.float32)
    init_score_head(model, 3)
    training, _ = split_holdout(given, stages.REWARD.holdout_fraction, 3)
    total = torch.zeros(())
    for ranking in training:
        head = sorted(WEIGHTS).index(ranking.objective)
        scores = [logits(model, ranking.prompt, answer)[head] for answer in ranking.answers]
        terms = [torch.log1p(torch.exp(scores[l] - scores[w])) for w, l in ranking.pairs()]
        total = total + sum(terms) / len(terms) / len(training)
    total.backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
    row = read_metrics(tmp_path / "reward")[0]
    assert row["loss"] == pytest.approx(total.item(), rel=1e-4)
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-3)


def test_opposed_objectives_are_learned_by_two_heads_and_not_by_one(tiny: Path, tmp_path: Path) -> None:
    report = stages.run_reward(tiny, tmp_path / "reward", opposed(), objectives=WEIGHTS, epochs=4)
    for name, other in (("brief", "kind"), ("kind", "brief")):
        of = report["objectives"][name]
        assert of["accuracy"]["value"] == of["by_head"][name]["value"] == 1
        assert of["by_head"][other]["value"] == 0
        assert of["n_prompts"] == 4
        assert of["length_baseline"]["value"] == (0 if name == "brief" else 1)
    assert report["objectives"]["brief"]["sum"]["value"] == 1, "it has the greater weight"
    assert report["objectives"]["kind"]["sum"]["value"] == 0
    assert report["accuracy"]["value"] == 1
    shown = reward_text(report).splitlines()[2]
    assert shown.startswith("kind (weight 0.5): held-out accuracy 100.0 % [")
    assert "the heads' weighted sum 0.0 % [" in shown
    pooled = [dataclasses.replace(r, objective="") for r in opposed()]
    assert stages.run_reward(tiny, tmp_path / "one", pooled, epochs=4)["accuracy"]["value"] == 0.5


def test_transformers_loads_the_heads_and_their_scale_makes_the_score(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward", opposed(), objectives=WEIGHTS)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", dtype=torch.float32)
    assert model.config.id2label == {0: "brief", 1: "kind"}
    shift, scale = (torch.tensor(getattr(model.config, f"reward_{name}")) for name in ("shift", "scale"))
    _, held = split_holdout(opposed(), stages.REWARD.holdout_fraction, 3)
    with torch.no_grad():
        answered = torch.stack([logits(model, r.prompt, a) for r in held for a in r.answers])
        good = torch.stack(
            [logits(model, d.without_answer(), d.messages[-1].content) for d in stages.demonstrations(5)]
        )
    torch.testing.assert_close(scale, answered.std(dim=0, unbiased=False), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shift, good.mean(dim=0), atol=1e-4, rtol=1e-4)

    actors, minibatch = ready(tiny, tmp_path / "reward", PpoConfig())
    with torch.no_grad():
        texts = zip(minibatch.prompts, minibatch.answers, strict=True)
        parts = (torch.stack([logits(model, p, c.text) for p, c in texts]) - shift) / scale
    scores, figures = answer_scores(sources(actors, PpoConfig()), minibatch)
    torch.testing.assert_close(scores, parts @ torch.tensor([1.0, 0.5]), atol=1e-4, rtol=1e-4)
    assert figures == {
        "objective_brief": pytest.approx(float(parts[:, 0].mean()), abs=1e-4),
        "objective_kind": pytest.approx(float(parts[:, 1].mean()), abs=1e-4),
    }
    other = replaced(PpoConfig(), objectives={"brief": 0.0, "kind": 2.0}, reward_weight=0.5)
    actors, minibatch = ready(tiny, tmp_path / "reward", other)
    torch.testing.assert_close(answer_scores(sources(actors, other), minibatch)[0], parts[:, 1], atol=1e-4, rtol=1e-4)
    row = minibatch.rows[0].row
    alone = use_packed_rows(load_scalar(tmp_path / "reward", "float32"))
    alone.config.objective_weights = [0.0, 2.0]
    with torch.no_grad():
        torch.testing.assert_close(response_values(actors.critic, row), response_values(alone, row))
    prompts = list(minibatch.prompts)
    answers = [[group[0] for group in minibatch.completions]]
    (measured,), (by_objective,) = evaluated(
        tmp_path / "reward", prompts, answers, stages.FLOAT, other.score.objectives
    )
    assert measured == pytest.approx((2 * parts[:, 1]).tolist(), abs=1e-4)
    assert [o["brief"] for o in by_objective] == pytest.approx(parts[:, 0].tolist(), abs=1e-4)


def ready(sft: Path, folder: Path, config: PpoConfig) -> tuple[Actors, Minibatch]:
    """PPO's models and three prompts, answered once each."""
    actors = Actors.load(sft, folder, config, stages.FLOAT)
    ids = [actors.template.answer_ids(text) for text in ANSWERS]
    answers = [[Completion(text, own, (0.0,) * len(own), "stop", "0")] for text, own in zip(ANSWERS, ids, strict=True)]
    return actors, pack(actors.template, stages.prompts(3), answers, 512, torch.device("cpu"))


def test_ppo_with_an_ensemble_of_adapters_over_one_base(tiny: Path, tmp_path: Path) -> None:
    report = stages.run_reward(
        tiny, tmp_path / "reward", opposed(), objectives=WEIGHTS, members=2, lora_rank=4, lr=1e-2
    )
    assert report["accuracies"] == [1, 1]
    actors, minibatch = ready(tiny, tmp_path / "reward", replaced(PpoConfig(), lora_rank=2))
    assert actors.reward.model.embed_tokens is actors.policy.model.embed_tokens
    _, figures = answer_scores(sources(actors, PpoConfig()), minibatch)
    assert figures.keys() == {"objective_brief", "objective_kind", "reward_std"}
    stages.run_ppo(
        tiny, tmp_path / "reward", tmp_path / "policy", iterations=1, lora_rank=2, objectives={"brief": 1, "kind": 3}
    )
    row = read_metrics(tmp_path / "policy")[0]
    assert row["score"] == pytest.approx(row["objective_brief"] + 3 * row["objective_kind"], abs=1e-3)
    assert {"eval_objective_brief", "eval_objective_kind"} <= row.keys()


def test_a_lone_objective_is_trained_as_if_it_had_no_name(tiny: Path, tmp_path: Path) -> None:
    named = [dataclasses.replace(r, objective="kind") for r in stages.rankings()]
    reports = [
        stages.run_reward(tiny, tmp_path / "named", named, objectives={"kind": 1.0}),
        stages.run_reward(tiny, tmp_path / "plain", stages.rankings()),
    ]
    assert reports[0]["accuracy"] == reports[1]["accuracy"]
    files = [tmp_path / name / "model.safetensors" for name in ("named", "plain")]
    assert files[0].read_bytes() == files[1].read_bytes()
    named_config, plain = (json.loads((f.parent / "config.json").read_text()) for f in files)
    assert named_config["reward_shift"] == [plain["reward_shift"]]
    assert not {"objectives", "objective_weights", "reward_scale"} & plain.keys()


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        ({}, r"rankings name: brief \(16\), kind \(16\); got none"),
        ({"brief": 1.0}, r"brief \(16\), kind \(16\); got brief"),
        ({"brief": 1.0, "kind": 1.0, "polite": 1.0}, r"got brief, kind, polite"),
    ],
)
def test_objectives_of_data_and_settings_must_be_the_same(
    tiny: Path, tmp_path: Path, objectives: dict[str, float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        stages.run_reward(tiny, tmp_path / "reward", opposed(), objectives=objectives)


def test_an_objective_needs_rankings_on_both_sides_and_ppo_the_same_names(tiny: Path, tmp_path: Path) -> None:
    few = [*stages.rankings(), dataclasses.replace(opposed(1)[0])]
    with pytest.raises(ValueError, match=r"'brief': [01] rankings .* and [01] to hold out"):
        stages.run_reward(tiny, tmp_path / "reward", few, objectives={"brief": 1.0, "overall": 1.0})
    stages.run_reward(tiny, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"ppo\.objectives: .*it has none: train it with reward\.objectives"):
        Actors.load(tiny, tmp_path / "plain", replaced(PpoConfig(), objectives={"a": 1.0}), stages.FLOAT)


def test_weights_are_read_written_and_checked(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[reward]\nobjectives = {"礼貌" = 0.5, helpful = 1}\n', encoding="utf-8")
    config = config_file.load(tmp_path / "a.toml")
    assert list(config.reward.objectives.items()) == [("helpful", 1.0), ("礼貌", 0.5)]
    (tmp_path / "b.toml").write_text(config_file.to_toml(config), encoding="utf-8")
    assert config_file.load(tmp_path / "b.toml") == config
    assert "objectives" not in config_file.to_toml(configs.Config(), only_changed=True)
    for value in ("1", "{a = -1}", "{a = true}", "{a = nan}", '{a = "1"}', "{a = 0, b = 0}"):
        with pytest.raises(ValueError, match=r"reward\.objectives: expected a table of names and weights"):
            config_file.with_overrides(configs.Config(), [f"reward.objectives={value}"])


def test_an_answer_neither_wins_nor_loses_against_itself(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last digits of a score depend on the row that it was computed in."""
    from steersman.eval import run as evaluation

    stages.run_reward(tiny, tmp_path / "reward", opposed(4), objectives=WEIGHTS, epochs=1)
    digits = iter([0.5, 0.25, 0.5000001, 0.2499999, 0.75, 0.25])

    def in_other_rows(compute: Any, template: Any, prompts: Any, answers: Any, device: Any) -> Any:
        return [[[next(digits)] * 3 for _ in given] for given in answers]

    monkeypatch.setattr(evaluation, "_per_answer", in_other_rows)
    same, other = Completion("a", (5, 2), (), "stop", "v"), Completion("b", (6, 2), (), "stop", "v")
    asked = [t.conversation("Where?", id="1"), t.conversation("When?", id="2")]
    answers = [[same, same], [same, same], [other, same]]
    scores, _ = evaluated(tmp_path / "reward", asked, answers, stages.FLOAT)
    assert scores == [[0.5, 0.25], [0.5, 0.25], [0.75, 0.25]]
