"""The gate of `steersman round` over synthetic evaluations: worse ones are stopped, equal ones nearly always."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from steersman.config import EvalConfig, RoundConfig
from steersman.eval.maker import Maker
from steersman.eval.verdict import ModelAnswers, verdict
from steersman.rounds.decision import conditions
from steersman.types import NamedScores
from tiny import conversation

PROMPTS = [conversation(f"Q{i}", id=f"q{i}") for i in range(100)]
SETTINGS = RoundConfig()


def answered(name: str, axes: dict[str, Any]) -> ModelAnswers:
    n = len(PROMPTS)
    scores = [NamedScores({axis: float(values[i]) for axis, values in axes.items()}) for i in range(n)]
    maker = Maker("", "", ()) if name == "served" else Maker(name.upper(), "reward", ("sft", "served"))
    return ModelAnswers(name, name.upper(), ["a"] * n, [5] * n, ["stop"] * n, scores=scores, maker=maker)


def judged(seed: int, gain: float, second: float | None = None) -> dict[str, Any]:
    """A verdict on a candidate whose axes are better by `gain` (and the second by `second`) than the served model's."""
    rng = np.random.default_rng(seed)
    served = {axis: rng.uniform(0.3, 0.7, len(PROMPTS)) for axis in ("intent", "constraint", "fitness")}
    gains = dict(zip(served, (gain, gain if second is None else second, gain), strict=True))
    noise = {axis: rng.normal(0, 0.15, len(PROMPTS)) for axis in served}
    better = {axis: np.clip(values + gains[axis] + noise[axis], 0, 1) for axis, values in served.items()}
    models = [answered("served", served), answered("ppo", better)]
    return verdict(models, PROMPTS, EvalConfig(bootstrap=300), seed=seed).to_json()


def passes(found: dict[str, Any], settings: RoundConfig = SETTINGS) -> bool:
    return all(check.held for check in conditions(found, "ppo", "served", settings))


def test_a_worse_candidate_is_stopped_in_20_of_20_tries() -> None:
    assert not any(passes(judged(seed, -0.05)) for seed in range(20))


def test_a_better_one_passes_and_an_equal_one_hardly_ever() -> None:
    assert sum(passes(judged(seed, 0.05)) for seed in range(20)) >= 18
    assert sum(passes(judged(seed, 0.0)) for seed in range(100)) <= 5


def test_one_axis_worse_beyond_its_margin_stops_what_is_better_on_the_whole() -> None:
    found = judged(1, 0.2, second=-0.12)
    assert found["pairs"][0]["word"] == "better"
    failed = [check for check in conditions(found, "ppo", "served", SETTINGS) if not check.held]
    assert [(check.kind, check.name) for check in failed] == [("axis", "constraint")]
    assert "not shown to be within 0.05" in failed[0].text
    assert passes(found, replace(SETTINGS, margins={"constraint": 0.2}))


INTERVAL = {"value": -0.2, "low": -0.3, "high": -0.1, "n": 20}


@pytest.mark.parametrize(
    ("pair", "kind", "held"),
    [
        ({"names": ["ppo", "served"], "held": "no", "word": "worse"}, "regression", False),
        ({"names": ["ppo", "served"], "held": "no", "word": "worse"}, "safety", False),
        ({"names": ["ppo", "served"], "held": "unknown", "word": "no evidence"}, "safety", True),
        ({"names": ["ppo", "served"], "held": "yes", "word": "no evidence"}, "regression", True),
        ({"a": "PPO", "b": "SERVED", "word": "worse"}, None, False),  # a verdict of an earlier version
        ({"a": "PPO", "b": "SERVED", "word": "no evidence"}, None, True),
        ({"names": ["sft", "served"], "held": "yes", "word": "better"}, "task", False),  # nobody compared these two
    ],
)
def test_suites_stop_what_is_worse_in_them(pair: dict[str, Any], kind: str | None, held: bool) -> None:
    task = {"name": "kept.jsonl", "n": 20, "pairs": [{"a": "PPO", "b": "SERVED", "difference": INTERVAL, **pair}]}
    task |= {"kind": kind, "margin": 0.0, "failed": {"ppo": ["id3"]}} if kind else {}
    found = judged(1, 0.1) | {"tasks": [task]}
    (check,) = [c for c in conditions(found, "ppo", "served", SETTINGS) if c.name == "kept.jsonl"]
    assert check.held is held
    assert ("1 of its answers fail, none may" in check.text) is (kind == "regression" and not held)
    assert passes(found) is held


def test_few_prompts_or_no_comparison() -> None:
    assert not passes(judged(1, 0.2), replace(SETTINGS, least_prompts=101))
    with pytest.raises(ValueError, match="expected a comparison of dpo with served, found none"):
        conditions(judged(1, 0.2), "dpo", "served", SETTINGS)


def test_a_decision_says_how_many_disliked_answers_come_back_with_either() -> None:
    pair = {"names": ["ppo", "served"], "a": "PPO", "b": "SERVED", "difference": INTERVAL, "held": "unknown"}
    task = {
        "name": "r.jsonl",
        "n": 20,
        "kind": "regression",
        "margin": 0.0,
        "compared": ["a", "b", "c"],
        "pairs": [pair],
    }
    task |= {"failed": {"ppo": ["a"], "served": ["a", "b"]}}
    (check,) = [
        c for c in conditions(judged(1, 0.1) | {"tasks": [task]}, "ppo", "served", SETTINGS) if c.name == "r.jsonl"
    ]
    assert check.held
    assert "1 of 3 disliked answers come back, 2 with served: not shown to be worse" in check.text


def test_a_margin_of_nothing_and_a_task_that_measured_nothing_stop_it() -> None:
    found = judged(1, 0.3)
    settings = replace(SETTINGS, margins={"safty": 0.1})
    (stopped,) = [check for check in conditions(found, "ppo", "served", settings) if not check.held]
    assert stopped.text.startswith("round.margins: safty: no axis or task of that name; expected one of ")
    nothing = dict.fromkeys(("value", "low", "high"), float("nan"))
    pair = {"names": ["ppo", "served"], "difference": nothing, "word": "no evidence", "held": "unknown"}
    found |= {"tasks": [{"name": "safety", "kind": "safety", "pairs": [pair]}]}
    assert not passes(found, replace(SETTINGS, margins={"safety": 0.1}))
