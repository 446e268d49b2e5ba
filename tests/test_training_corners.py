"""Corners of the training stages: what an iteration that ends early leaves, prompts that do not divide, likes alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import test_preference as preferences
import test_train as stages
import tiny as t
from steersman.config import PpoConfig, replaced
from steersman.train import ppo
from steersman.train.ppo_state import State
from steersman.train.ppo_update import steps_of
from steersman.train.rankings import split_holdout
from steersman.types import Ranking


def test_an_iteration_that_ends_early_leaves_no_gradient(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PPO-ptx's gradients of the steps that are not taken must not move the next iteration's first step."""
    preferences.make_scorer(tiny, tmp_path / "reward")
    left, ended = [], []

    def look(state: State, *rest: Any) -> None:
        assert state.now is not None
        gradients = [m.grad for m in state.policy.masters if m.grad is not None]
        left.append(max((float(g.abs().max()) for g in gradients), default=0.0))
        ended.append(state.now.ended)
        conclude(state, *rest)

    conclude = ppo.conclude
    monkeypatch.setattr(ppo, "conclude", look)
    few = {"iterations": 2, "epochs": 3, "step_kl": 1e-9, "ptx_coef": 1.0, "critic_warmup_iterations": 0}
    stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", **few)
    assert ended == [True, True]
    assert left == [0.0, 0.0]


def test_steps_of_an_iteration_are_those_that_its_prompts_suffice_for() -> None:
    def steps(prompts: int, minibatches: int, epochs: int = 1) -> int:
        sizes = {"prompts_per_iteration": prompts, "minibatches": minibatches, "epochs": epochs}
        return steps_of(replaced(PpoConfig(), **sizes))

    assert [steps(8, 4), steps(5, 3), steps(5, 4), steps(1, 4), steps(5, 4, 2)] == [4, 3, 3, 1, 6]
    material = ppo.Material(Path(), Path(), stages.prompts(2), stages.prompts(2))
    alone = replaced(PpoConfig(), prompts_per_iteration=1, minibatches=4, step_kl=0.1)
    with pytest.raises(ValueError, match="a prompt for each minibatch"):
        ppo.check(alone, material)  # the one step's length would never be measured, and the rate stay a sixteenth


def test_a_policy_that_never_learns_is_said(tiny: Path, tmp_path: Path) -> None:
    preferences.make_scorer(tiny, tmp_path / "reward")
    metrics = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", iterations=1)
    assert any("learned in no iteration" in caution for caution in metrics["cautions"])


def liked(i: int, good: bool = True) -> Ranking:
    return Ranking(f"l{i}", t.conversation(f"Where is parcel {i}?"), ("No.",), grades=("good" if good else "poor",))


def test_likes_move_no_ranking_and_are_not_held_out() -> None:
    """The held-out prompts are the same with likes as without, and the same for the reward model, DPO and KTO."""
    ranked = preferences.rankings()
    alone, held = split_holdout(ranked, 0.25, 3)
    likes = [liked(i) for i in (0, 5, 20, 21, 22, 23)]
    training, with_likes = split_holdout([*likes[:3], *ranked, *likes[3:]], 0.25, 3)
    assert with_likes == held
    out = {r.prompt.messages for r in held}
    assert training == [*alone, *(like for like in likes if like.prompt.messages not in out)]
    assert len(training) >= len(alone) + 4
    believed = [dataclasses.replace(like, weight=0.0) for like in likes]
    assert split_holdout([*ranked, *believed], 0.25, 3) == (alone, held)


def test_answers_that_are_all_bad_are_learned_by_kto_wherever_they_fall(tiny: Path, tmp_path: Path) -> None:
    """Without a preferred answer they test nothing, so none of them is held out."""
    bad = [
        Ranking(f"b{i}", t.conversation(f"Where is order {i}?"), ("No.", "Hm."), ranks=(1, 1), all_bad=True)
        for i in range(8)
    ]
    config = dataclasses.replace(preferences.KTO, epochs=1)
    metrics = preferences.run(tiny, tmp_path / "kto", config, [*preferences.rankings(8), *bad])
    assert metrics["n_prompts"] < 4, "of 4 prompts held out some have no preference"
    assert metrics["n_train_prompts"] + metrics["n_prompts"] == 16
    assert torch.isfinite(torch.tensor(metrics["accuracy"]["value"]))


def test_likes_that_no_head_learns_from_are_said(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranked = [dataclasses.replace(r, objective="kind") for r in stages.rankings()]
    likes = [dataclasses.replace(liked(i), objective="kind") for i in (20, 21)]
    stages.run_reward(tiny, tmp_path / "reward", [*ranked, *likes], objectives={"kind": 1.0}, epochs=1)
    assert "2 single answers with a label are left out" in capsys.readouterr().err
