"""PPO's step-0 checks and monitors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import test_train as stages
from steersman.artifact.manifest import read_manifest
from steersman.config import PpoConfig, replaced
from steersman.rl.rules import repetition
from steersman.rounds.stages.ppo import tell as ppo_text
from steersman.train.actors import Actors
from steersman.train.average import Average, held
from steersman.train.judgement import KEPT_SFT
from steersman.train.log import read_metrics
from steersman.train.monitors import Monitors, check_start
from steersman.train.ppo_update import lr_share
from steersman.train.update import Updater

CONFIG = replaced(PpoConfig(), monitor_window=2)
HEALTHY = {"length": 40.0, "repetition": 0.05, "kl": 1.0, "entropy": 1.5, "no_eos": 0.02, "reward_std": 0.3}


def rows(n: int, **late: float) -> list[dict[str, Any]]:
    """n rounds, of which the last two have the `late` figures."""
    return [HEALTHY | {"iteration": i} | (late if i >= n - 2 else {}) for i in range(n)]


@pytest.mark.parametrize(
    ("name", "late", "figures"),
    [
        ("length", {"length": 90.0}, ("90 tokens", "40 in the first", "at_most")),
        ("length", {"length": 19.0}, ("19 tokens", "at_least")),
        ("repetition", {"repetition": 0.2}, ("20%", "5%", "repetition")),
        ("kl", {"kl": 11.0}, ("11.0 nats", "kl_coef")),
        ("entropy", {"entropy": 0.4}, ("0.400", "1.500", "entropy_coef")),
        ("no_eos", {"no_eos": 0.6}, ("60%", "max_tokens")),
        ("uncertainty", {"reward_std": 0.7}, ("0.70", "0.30", "ensemble")),
    ],
)
def test_each_monitor_speaks_once_with_figures_and_advice(
    name: str, late: dict[str, float], figures: tuple[str, ...]
) -> None:
    monitors = Monitors(CONFIG, [])
    said = [text for row in rows(6, **late) for text in monitors.look(row)]
    assert list(monitors.alarms) == [name]
    assert said == list(monitors.alarms.values())
    assert all(figure in said[0] for figure in figures), said[0]
    assert Monitors(CONFIG, rows(6, **late)).alarms == monitors.alarms, "a resumed run says the same"
    assert Monitors(replaced(CONFIG, monitors="off"), rows(6, **late)).alarms == {}
    assert Monitors(CONFIG, rows(6)).alarms == {}


def test_a_critic_that_leaps_is_said_at_once() -> None:
    """What Gemma 3 270M did at a rate of 3e-4: values from -2 to 30 in one step."""
    wild = HEALTHY | {"iteration": 0, "value_loss_before": 3.25, "value_loss": 183.1}
    (said,) = Monitors(PpoConfig(), []).look(wild)
    assert all(part in said for part in ("183", "3.25", "iteration 0", "critic_lr"))
    assert Monitors(PpoConfig(), []).look(wild | {"value_loss": 9.0}) == []
    assert Monitors(replaced(PpoConfig(), monitors="off"), []).look(wild) == []


def test_one_bad_round_is_no_drift_and_zero_turns_a_monitor_off() -> None:
    once = [*rows(5), HEALTHY | {"iteration": 5, "length": 100.0}]  # mean of two: 70 < 80
    assert Monitors(CONFIG, once).alarms == {}
    off = replaced(CONFIG, length_drift=0.0, kl_warning=0.0, entropy_floor=0.0, no_eos_limit=0.0, repetition_rise=0.0)
    bad = rows(6, length=400.0, kl=99.0, entropy=0.0, no_eos=1.0, repetition=1.0)
    assert Monitors(off, bad).alarms == {}


def test_repetition_counts_ngrams_seen_before() -> None:
    assert repetition((1, 2, 3, 4, 5, 6)) == 0
    assert repetition((7,) * 10) == pytest.approx(6 / 7), "seven 4-grams, one of them new"
    assert repetition((1, 2, 1, 2, 1, 2), n=2) == pytest.approx(3 / 5)
    assert repetition((1, 2)) == 0


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"kl_error": 0.01, "engine_error": 0.0}, "should be the same model"),
        ({"kl_error": 0.0, "engine_error": 0.0, "ratio_error": 0.2}, "first ratio should be 1"),
        ({"kl_error": 0.0, "engine_error": 0.05}, "engine's log-probabilities differ"),
        ({"kl_error": float("nan"), "engine_error": 0.0}, "should be the same model"),
    ],
)
def test_a_wrong_start_is_an_error_that_explains(figures: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_start(figures, "float32")
    check_start({"kl_error": 0.0, "engine_error": 0.05, "ratio_error": 0.0}, "bfloat16")


def test_a_ppo_run_records_its_start_and_stops_where_a_monitor_says_so(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    calm = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "calm", monitors="off", iterations=3)
    assert calm["start"]["kl_error"] == calm["start"]["ratio_error"] == 0
    assert calm["start"]["engine_error"] < 1e-5
    assert calm["warnings"] == {}
    assert "the first ratio off 1 by 0, KL off 0 by 0, engine off by" in ppo_text(calm)
    changes: dict[str, Any] = {"no_eos_limit": 0.01, "monitor_window": 1, "iterations": 3}
    warned = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "warned", **changes)
    assert "never end" in warned["warnings"]["no_eos"]
    assert "warning: missing end" in ppo_text(warned)
    assert read_manifest(tmp_path / "warned").notes == (KEPT_SFT, *warned["warnings"].values())
    assert read_metrics(tmp_path / "warned") == read_metrics(tmp_path / "calm"), "warnings change no result"
    stopped = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "stopped", monitors="stop", **changes)
    assert stopped["iterations"] == 1
    assert "stopped at iteration 0: missing end" in stopped["stopped"]


def test_schedules_against_their_formulas() -> None:
    config = replaced(
        PpoConfig(), iterations=13, warmup_iterations=2, critic_warmup_iterations=1, final_lr_fraction=0.2
    )
    shares = {
        name: [lr_share(i, replaced(config, lr_schedule=name)) for i in (3, 8, 13)]
        for name in ("linear", "cosine", "constant")
    }
    assert shares["linear"] == pytest.approx([1, 0.6, 0.2])
    assert shares["cosine"] == pytest.approx([1, 0.6, 0.2])
    assert lr_share(5, replaced(config, lr_schedule="cosine")) == pytest.approx(0.6 + 0.4 * math.cos(math.pi / 5))
    assert shares["constant"] == [1, 1, 1]


def test_the_average_is_evaluated_and_kept_while_the_policy_goes_on(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    short: dict[str, Any] = {"iterations": 2, "eval_every": 1, "critic_warmup_iterations": 0, "critic_init": "sft"}
    stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "plain", **short)
    stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "still", ema_decay=0.9999, **short)
    plain, still = read_metrics(tmp_path / "plain"), read_metrics(tmp_path / "still")
    trained = ("reward", "kl", "policy_loss", "value_loss", "length")
    assert [[r[k] for k in trained] for r in plain[:2]] == [[r[k] for k in trained] for r in still[:2]]
    assert plain[-1]["eval_kl"] != 0
    assert abs(still[-1]["eval_kl"]) < 1e-2 * abs(plain[-1]["eval_kl"]), "an average of almost only the start"


def test_the_average_against_the_formula() -> None:
    torch.manual_seed(0)  # a weight near 0 would ask for more digits than float32 has
    model = torch.nn.Linear(3, 2)
    updater = Updater(model, lr=0.1, weight_decay=0.0, grad_clip=0.0)
    average, expected = Average(updater, 0.9), model.weight.detach().clone()
    for step in range(3):
        updater.masters[0].fill_(float(step))
        average.update()
        expected = 0.9 * expected + 0.1 * step
    torch.testing.assert_close(average.weights[0], expected)
    seen = []
    with held(updater, average.weights, lambda: seen.append(model.weight[0, 0].item())):
        torch.testing.assert_close(model.weight.detach(), expected)
    assert seen == pytest.approx([expected[0, 0].item(), 2.0])
    again = Average(updater, 0.9)
    again.restore(average.state())
    torch.testing.assert_close(again.weights, average.weights)


def test_a_policy_that_is_not_its_reference_is_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    load = Actors.load

    def other(*args: Any) -> Any:
        actors = load(*args)
        actors.reference.model.norm.weight.data.mul_(1.01)
        return actors

    monkeypatch.setattr(Actors, "load", staticmethod(other))
    with pytest.raises(ValueError, match="policy and reference should be the same model"):
        stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy")
    assert not (tmp_path / "policy").exists()
