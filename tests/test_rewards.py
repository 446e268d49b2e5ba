"""PPO's score: rules, ensembles, and their sum."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import test_train as stages
import tiny as t
from steersman import config as configs
from steersman import config_file
from steersman.artifact.manifest import verify
from steersman.config import PpoConfig, RuleConfig, replaced
from steersman.rl.losses import kwise_loss
from steersman.rl.rules import rule_reward
from steersman.text.template import Template
from steersman.train import reward
from steersman.train.actors import Actors
from steersman.train.ensemble import nursery
from steersman.train.log import read_metrics
from steersman.train.minibatches import pack
from steersman.train.scoring import answer_scores, check_rewards, combine, sources
from steersman.types import Completion, Ranking

ENGLISH, CHINESE = t.conversation("Where is my order?"), t.conversation("我的订单在哪里？")


@pytest.mark.parametrize(
    ("rule", "prompt", "text", "expected"),
    [
        (RuleConfig("length", at_least=4, at_most=10), ENGLISH, "12345678", 0),
        (RuleConfig("length", at_most=10), ENGLISH, " 123456789012345 ", -0.5),
        (RuleConfig("length", at_most=10), ENGLISH, "x" * 90, -1),
        (RuleConfig("length", at_least=4), ENGLISH, "1", -0.75),
        (RuleConfig("language"), ENGLISH, "It arrives tomorrow.", 0),
        (RuleConfig("language"), ENGLISH, "明天送达", -1),
        (RuleConfig("language"), CHINESE, "明天送达，订单号 1234。", 0),
        (RuleConfig("language"), CHINESE, "明天 arrives soon", -2 / 3),
        (RuleConfig("language", language="zh"), ENGLISH, "Tomorrow.", -1),
        (RuleConfig("language"), CHINESE, "1234", 0),
        (RuleConfig("must_match", pattern=r"\d{4}"), ENGLISH, "order 1234", 0),
        (RuleConfig("must_match", pattern=r"\d{4}"), ENGLISH, "your order", -1),
        (RuleConfig("must_not_match", pattern="(?i)as an ai"), ENGLISH, "As an AI, I", -1),
        (RuleConfig("must_not_match", pattern="作为.{0,3}人工智能"), CHINESE, "您好", 0),
        (RuleConfig("json"), ENGLISH, ' {"a": [1, null]} ', 0),
        (RuleConfig("json"), ENGLISH, '{"a": 1', -1),
        (RuleConfig("json"), ENGLISH, "[" * 100_000, -1),
        (RuleConfig("repetition", ngram=2), ENGLISH, "so sorry, so sorry, SO sorry", -3 / 5),
        (RuleConfig("repetition", ngram=2), CHINESE, "好的好的好", -2 / 4),
        (RuleConfig("repetition"), ENGLISH, "", 0),
    ],
)
def test_rules_price_what_breaks_them(rule: RuleConfig, prompt: Any, text: str, expected: float) -> None:
    assert rule_reward(rule, prompt, text) == pytest.approx(expected)


def test_the_judge_is_a_rule_where_prompts_have_facts() -> None:
    import random

    from steersman.data.shop import generate, judge

    demonstration = next(iter(generate("demonstrations", "train", 1, "en", seed=3)))
    answer = demonstration.messages[-1].content
    prompt = demonstration.without_answer()
    rule = RuleConfig("judge")
    assert rule_reward(rule, prompt, answer) == pytest.approx(judge(prompt, answer).overall - 1)
    jumbled = " ".join(random.Random(0).sample(answer.split(), len(answer.split())))
    assert rule_reward(rule, prompt, jumbled) < rule_reward(rule, prompt, answer)
    with pytest.raises(ValueError, match=r"ppo\.rules\[1\] \('judge'\).*expected the shop's facts"):
        check_rewards(replaced(PpoConfig(), rules=[RuleConfig("json"), rule]), 1, [prompt, ENGLISH])


def test_rules_are_read_written_and_checked(tmp_path: Path) -> None:
    text = """[ppo]
rules = [
  {rule = "length", at_most = 400, weight = 0.5},
  {rule = "must_not_match", pattern = '我不知道|"'},
]
"""
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    config = config_file.load(tmp_path / "a.toml")
    assert config.ppo.score.rules == [
        RuleConfig("length", weight=0.5, at_most=400),
        RuleConfig("must_not_match", pattern='我不知道|"'),
    ]
    (tmp_path / "b.toml").write_text(config_file.to_toml(config), encoding="utf-8")
    assert config_file.load(tmp_path / "b.toml") == config
    assert config_file.with_overrides(config, ['ppo.rules=[{rule = "json"}]']).ppo.score.rules == [RuleConfig("json")]
    assert "rules" not in config_file.to_toml(configs.Config(), only_changed=True)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"json"', "expected a list of tables with 'rule'"),
        ("[{weight = 1}]", "expected a list of tables with 'rule'"),
        ('[{rule = "lenght"}]', r"rules[0].rule: expected one of length, .* did you mean 'length'"),
        ('[{rule = "json"}, {rule = "json", wieght = 2}]', r"rules[1]: unknown key wieght; did you mean 'weight'"),
        ('[{rule = "length"}]', "expected at_most, at_least or both"),
        ('[{rule = "length", at_least = 9, at_most = 3}]', "expected at_most, at_least or both"),
        ('[{rule = "must_match"}]', "expected a pattern"),
        ('[{rule = "must_match", pattern = "("}]', "pattern '('"),
    ],
)
def test_a_wrong_rule_is_named(value: str, said: str) -> None:
    pattern = re.escape(said).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern):
        config_file.with_overrides(configs.Config(), [f"ppo.rules={value}"])


def test_ensemble_scores_against_plain_loops() -> None:
    scores = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for answer in range(7):
        column = scores[:, answer].tolist()
        mean = sum(column) / 5
        deviation = (sum((x - mean) ** 2 for x in column) / 5) ** 0.5
        assert float(combine(scores, "mean", 9.0)[answer]) == pytest.approx(mean)
        assert float(combine(scores, "min", 9.0)[answer]) == pytest.approx(min(column))
        assert float(combine(scores, "uncertainty", 2.0)[answer]) == pytest.approx(mean - 2 * deviation)
    with pytest.raises(ValueError, match="needs several reward models"):
        check_rewards(replaced(PpoConfig(), ensemble="min"), 1, [])


def test_ppo_adds_weighted_rules_to_the_reward_model(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    ruled = [RuleConfig("length", weight=2.0, at_most=3), RuleConfig("json", weight=0.0)]
    config = replaced(PpoConfig(), rules=ruled, reward_weight=0.5)
    actors = Actors.load(tiny, tmp_path / "reward", config, stages.FLOAT)
    prompts = stages.prompts(2)
    texts = [["No.", "On its way."], ["12", "{"]]
    answers = [[_completion(actors, text) for text in group] for group in texts]
    minibatch = pack(actors.template, prompts, answers, 512, torch.device("cpu"))
    plain, _ = answer_scores(sources(actors, PpoConfig()), minibatch)
    both, figures = answer_scores(sources(actors, config), minibatch)
    torch.testing.assert_close(both, 0.5 * plain + 2.0 * torch.tensor([0.0, -1.0, 0.0, 0.0]))
    assert figures == {"rule1_length": pytest.approx(-0.25), "rule2_json": pytest.approx(-0.75)}
    stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", rules=ruled, iterations=2)
    assert -1 <= read_metrics(tmp_path / "policy")[0]["rule1_length"] <= 0


def test_margins_against_the_formula(tiny: Path, tmp_path: Path) -> None:
    ranking = Ranking("r", ENGLISH, ("a", "b", "c"), grades=("poor", "good", "average"))
    assert dict(zip(ranking.pairs(), ranking.grade_steps(), strict=True)) == {(1, 0): 2, (1, 2): 1, (2, 0): 1}
    assert Ranking("r", ENGLISH, ("a", "b"), ranks=(3, 1)).grade_steps() == (0,)
    scores = [0.3, 1.2, -0.4]
    parts = [
        math.log(1 + math.exp(-(scores[w] - scores[l] - 0.5 * n))) for w, l, n in ((1, 0, 2), (1, 2, 1), (2, 0, 1))
    ]
    loss = kwise_loss(torch.tensor(scores), ranking.pairs(), [0.5 * n for n in ranking.grade_steps()])
    assert float(loss) == pytest.approx(sum(parts) / 3, rel=1e-6)
    given = [dataclasses.replace(ranking, id=p.id, prompt=p) for p in stages.prompts(8)]
    runs = [stages.run_reward(tiny, tmp_path / str(m), given, margin=m, epochs=4) for m in (0.0, 3.0)]
    first = [read_metrics(tmp_path / str(m))[0]["loss"] for m in (0.0, 3.0)]
    assert first[1] > first[0] + 2, "three and six more to lead by"
    assert all(run["accuracy"]["value"] == 1 for run in runs)


def test_members_differ_lie_in_the_first_and_reach_ppo(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = stages.run_reward(tiny, tmp_path / "alone")
    with monkeypatch.context() as patch:
        patch.setattr(reward, "join_members", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            stages.run_reward(tiny, tmp_path / "reward", members=3)
    kept = nursery(tmp_path / "reward") / "member-3" / "manifest.json"
    before = kept.read_text()
    together = stages.run_reward(tiny, tmp_path / "reward", members=3)
    assert not nursery(tmp_path / "reward").exists()
    assert (tmp_path / "reward" / "member-3" / "manifest.json").read_text() == before, "not trained again"
    weights = [tmp_path / "reward" / name / "model.safetensors" for name in ("", "member-2", "member-3")]
    assert weights[0].read_bytes() == (tmp_path / "alone" / "model.safetensors").read_bytes(), "the first is as ever"
    assert len({path.read_bytes() for path in weights}) == 3
    assert len(together["accuracies"]) == 3
    assert together["accuracies"][0] == pytest.approx(alone["accuracy"]["value"], abs=1e-4)
    verify(tmp_path / "reward")
    config = replaced(PpoConfig(), ensemble="min")
    actors = Actors.load(tiny, tmp_path / "reward", config, stages.FLOAT)
    answers = [[_completion(actors, text)] for text in ("No.", "On its way.")]
    minibatch = pack(actors.template, stages.prompts(2), answers, 512, torch.device("cpu"))
    low, figures = answer_scores(sources(actors, config), minibatch)
    by_hand = torch.stack([_score(path.parent, minibatch) for path in weights])
    torch.testing.assert_close(low, by_hand.amin(dim=0), atol=1e-4, rtol=1e-4)
    assert figures["reward_std"] == pytest.approx(float(by_hand.std(dim=0, unbiased=False).mean()), abs=1e-4)
    stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", ensemble="uncertainty", iterations=1)
    assert read_metrics(tmp_path / "policy")[0]["reward_std"] > 0


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _score(folder: Path, minibatch: Any) -> torch.Tensor:
    """Scores as transformers computes them, one dialogue at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    template = Template(t.tokenizer())
    texts = zip(minibatch.prompts, minibatch.answers, strict=True)
    with torch.no_grad():
        ids = [torch.tensor([[*template.prompt_ids(p), *c.token_ids]]) for p, c in texts]
        return torch.tensor([model(i).logits.item() - model.config.reward_shift for i in ids])


def _completion(actors: Actors, text: str) -> Completion:
    ids = actors.template.answer_ids(text)
    return Completion(text, ids, (0.0,) * len(ids), "stop", "0")
