"""PPO's judge, what it keeps, and what holds its KL and its rates: figures by hand, and on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import test_train as stages
from steersman.artifact.manifest import read_manifest, tree_hashes
from steersman.compute.packing import Tree, build_row
from steersman.config import PpoConfig, replaced
from steersman.families.heads import normalised, rescale, weighted
from steersman.families.outputs import response_logprobs, response_values
from steersman.rl.rewards import KlController
from steersman.rounds.stages.ppo import tell
from steersman.rounds.stages.reward import STAGE
from steersman.train import reward, scores
from steersman.train.actors import Actors
from steersman.train.average import drawn_back, held
from steersman.train.judgement import gain_over, is_kept, length_only, outcome, slope, validator_of
from steersman.train.log import read_metrics
from steersman.train.minibatches import pack
from steersman.train.ppo import compare, next_share
from steersman.train.ppo_state import State
from steersman.train.rates import START, Trust
from steersman.train.scores import measured_scales
from steersman.train.scoring import models_of, validator
from steersman.types import Completion


def test_the_validator_learns_from_what_was_held_out_and_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    with_it = stages.run_reward(tiny, tmp_path / "with", validator=True)
    alone = stages.run_reward(tiny, tmp_path / "without")
    files = tree_hashes(tmp_path / "with"), tree_hashes(tmp_path / "without")
    assert {k: v for k, v in files[0].items() if not k.startswith("validator/")} == files[1]
    assert with_it["validator"]["n_train_prompts"] + alone["n_train_prompts"] == 16
    assert with_it["validator"]["n_prompts"] == alone["n_train_prompts"], "tested on what the first learned from"
    assert with_it["n_prompts"] == alone["n_prompts"] == with_it["validator"]["n_train_prompts"]
    assert "validation model, learned from those prompts alone" in STAGE.tell(with_it)
    same = [r for r in stages.rankings() if r in reward.split_holdout(stages.rankings(), 0.25, 3)[1]]
    assert len(same) == with_it["validator"]["n_train_prompts"]


def test_who_judges(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward", validator=True)
    config, folder = PpoConfig(), tmp_path / "reward" / "validator"
    path = folder / "manifest.json"
    said = json.loads(path.read_text())
    for low, used in ((0.51, True), (0.5, False), (None, False)):
        said["metrics"]["accuracy"] = {"value": 0.6, "low": low, "high": 0.7, "n": 9}
        path.write_text(json.dumps(said))
        found, why = validator_of(tmp_path / "reward", config)
        assert (found == folder) is used
        assert ("not shown to be better than chance (60 %" in why) is not used
    assert validator_of(tmp_path / "reward", replaced(config, selection_judge="reward")) == (None, "")
    found, why = validator_of(tmp_path, config)
    assert found is None
    assert "reward.validator" in why


def test_a_judge_that_may_know_length_alone_judges_at_equal_length(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_validator(tiny, tmp_path / "reward")
    path = tmp_path / "reward" / "validator" / "manifest.json"
    said, config = json.loads(path.read_text()), PpoConfig()
    for low, only in ((0.01, False), (0.0, True), (None, True)):
        said["metrics"]["lead_over_length"] = {"value": 0.03, "low": low, "high": 0.1, "n": 9}
        path.write_text(json.dumps(said))
        assert (
            "not shown to know more than which answer is longer" in length_only(tmp_path / "reward", config)
        ) is only
    assert length_only(tmp_path / "reward", replaced(config, selection_judge="reward")) == ""
    assert length_only(tmp_path / "reward", replaced(config, rules=[{"rule": "length", "max": 30}])) == ""

    actors = Actors.load(tiny, tmp_path / "reward", config, stages.FLOAT)
    assert actors.equal_length
    texts = ("No.", "On its way to you.", "blue kettle", "It arrives on 6 May by noon.")
    ids = [actors.template.answer_ids(text) for text in texts]
    answers = [[Completion(x, i, (0.0,) * len(i), "stop", "0")] for x, i in zip(texts, ids, strict=True)]
    one = replaced(config, eval_answers=1)
    monkeypatch.setattr(scores, "generate", lambda *_: iter([answers]))
    first = scores.evaluate(actors, None, stages.prompts(4), one, 0, first=True)  # type: ignore[arg-type]
    minibatch = pack(actors.template, stages.prompts(4), answers, 512, torch.device("cpu"))
    raw, lengths = validator(actors, one)(minibatch)[0], torch.tensor([float(len(i)) for i in ids])
    (price,) = first.scales["length"]
    assert price == pytest.approx(np.polyfit(lengths.numpy(), raw.numpy(), 1)[0], abs=1e-5)
    assert slope(raw, torch.full((4,), 7.0)) == 0.0
    torch.testing.assert_close(torch.tensor(first.judged), raw - price * lengths, atol=1e-5, rtol=1e-5)
    answers.reverse()  # other answers to the prompts: what a token is worth stays what it was among SFT's
    later = scores.evaluate(actors, None, stages.prompts(4), one, 0)  # type: ignore[arg-type]
    gone_on = Actors.load(tiny, tmp_path / "reward", config, stages.FLOAT)
    gone_on.rescale(first.scales, one)
    resumed = scores.evaluate(gone_on, None, stages.prompts(4), one, 0)  # type: ignore[arg-type]
    assert later.judged == resumed.judged
    assert later.scales == {}


def test_what_is_kept() -> None:
    config = replaced(PpoConfig(), kl_ceiling=10.0, confidence=0.95)
    sft = {"eval_reward": 0.0, "eval_kl": 0.0, "iteration": 0}

    def found(gain: float, low: float, kl: float = 5.0) -> dict[str, float]:
        return {"eval_reward": 1.0, "eval_kl": kl, "eval_gain": gain, "eval_gain_low": low, "iteration": 3}

    assert is_kept(sft, {}, config)
    assert is_kept(found(0.3, 0.1), sft, config)
    assert not is_kept(found(0.3, -0.01), sft, config), "a gain that may be none"
    assert not is_kept(found(0.3, 0.1, 11), sft, config), "beyond the ceiling"
    assert not is_kept(found(0.3, 0.2), found(0.4, 0.1), config)
    by_mean = replaced(config, confidence=PpoConfig().selection.confidence)
    assert is_kept(found(0.3, -0.01), sft, by_mean), "choosing is not proving: the verdict does that"
    assert not is_kept(found(-0.01, -0.3), sft, by_mean)
    by_reward = replaced(config, confidence=0.0)
    assert is_kept(found(-0.3, -1), sft, by_reward), "as it was: the higher held-out reward"
    told = outcome(sft, found(0.3, -0.01), config, "validator")
    assert told["kept"] == "sft"
    assert told["gain"] == {"value": 0.3, "low": -0.01, "kl": 5.0, "iteration": 3}


def test_the_gain_is_paired_and_its_bound_one_sided() -> None:
    generator = torch.Generator().manual_seed(0)
    first = (3 * torch.randn(400, generator=generator)).tolist()
    now = [x + 0.2 + float(torch.randn(1, generator=generator)) for x in first]
    gain = gain_over(first, now, 0.95)
    differences = torch.tensor(now) - torch.tensor(first)
    assert gain.value == pytest.approx(float(differences.mean()), abs=1e-5)
    assert gain.low == pytest.approx(float(differences.mean() - 1.645 * differences.std() / 20), abs=0.01)


@pytest.mark.parametrize(("weights", "shift", "scale"), [(None, 0.4, 1.0), ([2.0, 0.5], [0.1, -1.0], [1.5, 0.7])])
def test_rescaled_scores_against_the_formula(weights: list[float] | None, shift: Any, scale: Any) -> None:
    config = SimpleNamespace(reward_shift=shift, reward_scale=scale)
    if weights:
        config.objective_weights = weights
    heads = torch.randn(50, len(weights or [1]), generator=torch.Generator().manual_seed(0))
    before = weighted(normalised(heads, config), config)
    rescale(config, 0.7, 2.5)
    torch.testing.assert_close(weighted(normalised(heads, config), config), (before - 0.7) / 2.5)


def test_a_rate_follows_what_its_steps_did() -> None:
    trust = Trust.begin(0.25)
    assert trust.share == START
    trust.settle(0.25 / 4, 1.0)
    assert trust.share == pytest.approx(2 * START), "a quarter of the distance, half of the way"
    trust.settle(1e-9, 1.0)
    assert trust.share == pytest.approx(8 * START), "four times at most"
    trust.settle(0.25, 1.0)
    assert trust.share == pytest.approx(8 * START)
    trust.settle(0.25 / 4, 0.5)
    assert trust.share == pytest.approx(8 * START), "the schedule's half is a quarter of the distance"
    trust.settle(0.0, 1.0)
    assert trust.share == 1.0, "never above the rate that is set"
    trust.settle(100.0, 1.0)
    assert trust.share == 0.25
    assert trust.exceeded(1.01)
    assert not trust.exceeded(0.99)
    off = Trust.begin(0.0)
    off.settle(100.0, 1.0)
    assert off.share == 1.0
    assert not off.exceeded(1e9)


def bandit(scores: torch.Tensor, controller: KlController, iterations: int, rise: float) -> float:
    """Most KL in nats in exact steps on E[score] - coef * KL over len(scores) answers, coef by the controller."""
    way, most = torch.zeros_like(scores), 0.0
    for i in range(iterations):
        p = way.softmax(0)
        kl = float((p * (p * len(scores)).log()).sum())
        most = max(most, kl)
        controller.update(kl, 64, rising=i < rise * iterations)
        gradient = scores - controller.coef * (p * len(scores)).log()
        way = way + 0.3 * (gradient - (p * gradient).sum())
    return most


@pytest.mark.parametrize("deviation", [0.6, 1.0, 1.5])
def test_the_price_of_kl_works_within_a_short_run(deviation: float) -> None:
    """The published memory of 10,000 episodes is longer than the run: KL goes wherever the first price lets it."""
    generator = torch.Generator().manual_seed(1)
    scores = (deviation * torch.randn(5000, generator=generator)).double()
    held, published = KlController(0.1, 1.5, 128, 0.5, 0.1, 2), KlController(0.1, 1.5, 10_000)
    assert bandit(scores, held, 20, 0.8) < 0.8 * bandit(scores, published, 20, 0.0)
    assert held.coef > 2 * published.coef


def test_the_controller_looks_ahead_and_does_not_cheapen_a_kl_that_still_rises() -> None:
    controller = KlController(0.1, 6.0, 64, 0.5, 0.1, 2)
    controller.update(0.0, 64, rising=True)
    assert controller.coef == 0.1
    controller.update(2.0, 64, rising=True)
    assert controller.coef == 0.1, "2 now, 6 in two iterations"
    controller.update(5.0, 64, rising=True)
    assert controller.coef == pytest.approx(0.15), "10 in two iterations: the error is clipped"
    assert controller.seen == [0.0, 2.0, 5.0]
    before = controller.coef
    controller.update(5.0, 64, rising=True)
    controller.update(1.0, 64, rising=True)
    assert controller.coef >= 0.1, "back to the start at most"
    controller.update(1.0, 64)
    controller.update(1.0, 64)
    assert controller.coef < 0.1 < before


def test_the_horizon_is_a_tenth_of_the_run(tiny: Path) -> None:
    class Model(torch.nn.Linear):
        device = torch.device("cpu")

    actors: Any = SimpleNamespace(policy=Model(2, 2), critic=None)
    config = replaced(PpoConfig(), iterations=9, prompts_per_iteration=16, answers_per_prompt=4)
    assert State.begin(actors, config).kl.horizon == 57
    assert State.begin(actors, replaced(config, kl_horizon=10_000)).kl.horizon == 10_000
    # a point of a run that began before gains were measured: it goes on without any
    state = State.begin(actors, config)
    tensors, told = state.policy.state("policy."), {"iteration": 3, "kl_coef": 0.2, "start": {"kl": 0.0}}
    older: Any = SimpleNamespace(load=lambda: (tensors, told), load_best=lambda: ({}, {"eval_reward": 1.0}))
    state.resume(older)
    assert (state.iteration, state.kl.coef, state.tried, state.first) == (3, 0.2, {}, [])
    measured: Any = SimpleNamespace(judged=[2.0, 3.0], scales={"r": [0.0, 1.0]}, figures={"eval_reward": 2.5})
    assert compare(state, measured, config) == {"eval_reward": 2.5}
    assert (state.first, state.scales) == ([], {})


def test_sft_is_kept_where_nothing_is_better(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    metrics = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", confidence=0.9999, iterations=3)
    rows = read_metrics(tmp_path / "policy")
    assert metrics["kept"] == "sft"
    assert metrics["judge"] == "reward"
    assert metrics["gain"]["iteration"] in (2, 3)
    assert metrics["gain"]["value"] == max(row["eval_gain"] for row in rows if "eval_gain" in row)
    assert metrics["gain"]["low"] <= 0
    assert any("without a validation model" in text for text in metrics["cautions"])
    kept, sft = load_file(tmp_path / "policy" / "model.safetensors"), load_file(tiny / "model.safetensors")
    assert all(torch.equal(kept[name], sft[name]) for name in kept)
    text = tell(metrics)
    assert "not better than SFT: kept SFT after 3 iterations" in text
    assert "gain over SFT" in text
    assert read_manifest(tmp_path / "policy").metrics["kept"] == "sft"
    assert rows[-2]["kl"] == metrics["kl"]["last"]


def with_validator(tiny: Path, folder: Path) -> None:
    """A reward model whose validator counts as better than chance."""
    stages.run_reward(tiny, folder, validator=True)
    path = folder / "validator" / "manifest.json"
    said = json.loads(path.read_text())
    said["metrics"]["accuracy"] |= {"low": 0.6}
    path.write_text(json.dumps(said))


def test_a_run_is_judged_by_the_validator_on_a_scale_of_its_own(tiny: Path, tmp_path: Path) -> None:
    with_validator(tiny, tmp_path / "reward")
    changes: dict[str, Any] = {"step_kl": 1e-4, "critic_step": 0.1, "iterations": 4, "max_tokens": 3}
    metrics = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "policy", **changes)
    rows = read_metrics(tmp_path / "policy")
    assert metrics["judge"] == "validator"
    assert {"eval_validator", "eval_gain", "eval_gain_low"} <= rows[-1].keys()
    gain = rows[-1]["eval_validator"] - rows[0]["eval_validator"]
    assert rows[-1]["eval_gain"] == pytest.approx(gain, abs=1e-5)
    assert rows[0]["policy_rate_share"] == START
    assert all(row["policy_moved"] >= 0 for row in rows if row.get("iteration", 9) in range(1, 4))
    actors = Actors.load(tiny, tmp_path / "reward", replaced(PpoConfig(), selection_judge="reward"), stages.FLOAT)
    assert actors.validator is None
    actors = Actors.load(tiny, tmp_path / "reward", PpoConfig(), stages.FLOAT)
    texts = ("No.", "On its way.", "blue kettle", "It arrives on 6 May.")
    ids = [actors.template.answer_ids(text) for text in texts]
    answers = [[Completion(x, i, (0.0,) * len(i), "stop", "0")] for x, i in zip(texts, ids, strict=True)]
    minibatch = pack(actors.template, stages.prompts(4), answers, 512, torch.device("cpu"))
    before = response_values(actors.critic, minibatch.rows[0].row)
    scales = measured_scales(actors, minibatch, PpoConfig())
    actors.rescale(scales, PpoConfig())
    for source in (models_of(actors, PpoConfig()), validator(actors, PpoConfig())):
        given, _ = source(minibatch)
        assert float(given.mean()) == pytest.approx(0, abs=1e-5)
        assert float(given.std(unbiased=False)) == pytest.approx(1, abs=1e-4)
    mean, deviation = scales["reward"]
    after = response_values(actors.critic, minibatch.rows[0].row)
    torch.testing.assert_close(after, (before - mean) / deviation, atol=1e-4, rtol=1e-4)
    assert measured_scales(actors, minibatch, replaced(PpoConfig(), normalise=False)) == {}


def test_a_policy_beyond_its_kl_is_drawn_back(tiny: Path, tmp_path: Path) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    changes: dict[str, Any] = {"iterations": 3, "kl_horizon": 10_000, "lr": 3e-3, "confidence": 0.0}
    free = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "free", kl_draw_back=False, **changes)
    last = read_metrics(tmp_path / "free")[-1]["eval_kl"]
    held = stages.run_ppo(tiny, tmp_path / "reward", tmp_path / "held", kl_target=last / 3, **changes)
    row = read_metrics(tmp_path / "held")[-1]
    assert row["share"] < 1
    assert row["eval_kl"] < last / 2
    assert held["best"]["eval_kl"] <= 1.25 * last / 3, "what is beyond the target is not kept, whatever its reward"
    assert free["iterations"] == held["iterations"] == 3


def test_where_a_policy_is_drawn_next() -> None:
    config = replaced(PpoConfig(), kl_target=6.0)
    assert next_share({"eval_kl": 5.0}, config, True) is None
    assert next_share({"eval_kl": 7.5}, config, True) is None
    assert next_share({"eval_kl": 24.0}, config, False) == pytest.approx(0.5)
    assert next_share({"eval_kl": 24.0, "share": 0.8}, config, False) == pytest.approx(0.4)
    assert next_share({"eval_kl": 3.0}, config, True) == pytest.approx(math.sqrt(2))
    assert next_share({"eval_kl": 1.0}, config, True) == next_share({"eval_kl": 2.0}, config, True) == 1.6
    assert next_share({"eval_kl": 9.0, "share": 1.6}, config, True) == pytest.approx(1.6 * math.sqrt(2 / 3))
    for reason, found, changed, apart in (
        ("the reward itself would choose", {"eval_kl": 3.0}, config, False),
        ("it was as far as it may go", {"eval_kl": 3.0, "share": 1.6}, config, True),
        ("it was drawn back before", {"eval_kl": 3.0, "share": 0.7}, config, True),
        ("nothing is aimed at", {"eval_kl": 30.0}, replaced(config, kl_target=0.0), True),
        ("it is off", {"eval_kl": 3.0}, replaced(config, kl_draw_on=False), True),
        ("it is off", {"eval_kl": 30.0}, replaced(config, kl_draw_back=False), True),
        ("it did not move", {"eval_kl": 0.0}, config, True),
    ):
        assert next_share(found, changed, apart) is None, reason


def test_a_policy_short_of_its_kl_is_drawn_on(tiny: Path, tmp_path: Path) -> None:
    with_validator(tiny, tmp_path / "reward")
    changes: dict[str, Any] = {"iterations": 3, "lr": 3e-3, "confidence": 0.0, "kl_target": 60.0}
    rows = {}
    for name, on in (("off", False), ("on", True)):
        stages.run_ppo(tiny, tmp_path / "reward", tmp_path / name, kl_draw_on=on, **changes)
        rows[name] = read_metrics(tmp_path / name)[-1]
    assert "share" not in rows["off"]
    assert rows["on"]["share"] == 1.6
    assert rows["on"]["eval_kl"] > 1.5 * rows["off"]["eval_kl"]


@pytest.mark.parametrize("rank", [0, 4])
def test_drawn_back_weights_lie_on_the_line_from_sft(tiny: Path, tmp_path: Path, rank: int) -> None:
    stages.run_reward(tiny, tmp_path / "reward")
    config = replaced(PpoConfig(), lora_rank=rank, selection_judge="reward")
    actors = Actors.load(tiny, tmp_path / "reward", config, stages.FLOAT)
    state = State.begin(actors, config)

    def output() -> torch.Tensor:
        row = build_row([Tree((5, 6), ((7, 8),))])
        return response_logprobs(actors.policy, row, 1.0, False)[0].detach()

    start = output()
    learned = [
        m + 0.05 * torch.randn(m.shape, generator=torch.Generator().manual_seed(i))
        for i, m in enumerate(state.policy.masters)
    ]
    distances = []
    for share in (0.0, 0.5, 1.0):
        with held(state.policy, drawn_back(actors, state.policy, learned, share), lambda: None):
            distances.append(float((output() - start).abs().max()))
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert 0 < distances[1] < distances[2]
    assert float((output() - start).abs().max()) == 0, "its own weights again"
