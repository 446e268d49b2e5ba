"""Advantages, rewards and losses against plain loops and formulas of the papers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.config import AdvantageConfig
from steersman.rl.advantages import gae, most_varied, whiten
from steersman.rl.experience import Episodes, make_experience
from steersman.rl.losses import kwise_loss, policy_loss, value_loss
from steersman.rl.rewards import KlController, apply_eos_trick, episode_kl, leave_one_out, token_rewards

LENGTHS = [5, 1, 3]


def ragged(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(5)[None] < torch.tensor(LENGTHS)[:, None]
    return torch.where(mask, torch.randn(3, 5, generator=generator), 0.0), mask


@given(st.lists(st.lists(st.integers(-4, 4), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_the_most_varied_answers_are_those_of_all_subsets(groups: list[list[int]], kept: int) -> None:
    rewards = torch.tensor(groups, dtype=torch.float32)
    chosen = most_varied(rewards.view(-1), 6, kept).view(-1, kept)
    for number, group in enumerate(groups):
        mine = [int(i) - 6 * number for i in chosen[number]]
        assert mine == sorted(set(mine))
        best = max(float(rewards[number, list(s)].var(unbiased=False)) for s in itertools.combinations(range(6), kept))
        assert float(rewards[number, mine].var(unbiased=False)) == pytest.approx(best, abs=1e-5), group


def test_gae_equals_a_plain_loop() -> None:
    rewards, mask = ragged(0)
    values, _ = ragged(1)
    advantages, returns = gae(rewards, values, mask, 0.97, 0.9)
    for e, length in enumerate(LENGTHS):
        for start in range(length):
            expected = 0.0
            for t in range(start, length):
                following = values[e, t + 1] if t + 1 < length else 0.0
                delta = rewards[e, t] + 0.97 * following - values[e, t]
                expected += (0.97 * 0.9) ** (t - start) * float(delta)
            assert float(advantages[e, start]) == pytest.approx(expected, abs=1e-5)
            assert float(returns[e, start]) == pytest.approx(expected + float(values[e, start]), abs=1e-5)
    assert not advantages[~mask].any()
    assert not returns[~mask].any()


def test_gae_with_lambda_one_is_the_rest_of_the_rewards() -> None:
    rewards, mask = ragged(2)
    values, _ = ragged(3)
    _, returns = gae(rewards, values, mask, 1.0, 1.0)
    rest = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns[mask], rest[mask], atol=1e-5, rtol=1e-5)


def test_result_does_not_depend_on_padding() -> None:
    rewards, mask = ragged(0)
    values, _ = ragged(1)
    wide = [F.pad(x, (0, 4)) for x in (rewards, values, mask)]
    for narrow_result, wide_result in zip(gae(rewards, values, mask, 1.0, 0.95), gae(*wide, 1.0, 0.95), strict=True):
        torch.testing.assert_close(wide_result[:, :5], narrow_result)


def test_whitening_uses_population_variance_over_real_tokens() -> None:
    x, mask = ragged(4)
    real = x[mask].double()
    expected = (real - real.mean()) / math.sqrt(float(((real - real.mean()) ** 2).mean()) + 1e-8)
    torch.testing.assert_close(whiten(x, mask)[mask].double(), expected, atol=1e-5, rtol=1e-5)
    kept = whiten(x, mask, shift_mean=False)
    assert float(kept[mask].mean()) == pytest.approx(float(real.mean()), abs=1e-6)
    assert not kept[~mask].any()


def test_score_is_added_on_the_last_real_token_only() -> None:
    logprobs, mask = ragged(5)
    scores = torch.tensor([1.0, 2.0, 3.0])
    same = token_rewards(logprobs, logprobs, scores, mask, 0.1)
    expected = torch.zeros(3, 5)
    for e, length in enumerate(LENGTHS):
        expected[e, length - 1] = scores[e]
    assert torch.equal(same, expected), "no KL where policy and reference agree"
    other, _ = ragged(6)
    priced = token_rewards(logprobs, other, scores, mask, 0.1)
    torch.testing.assert_close(priced - expected, torch.where(mask, -0.1 * (logprobs - other), 0.0))
    torch.testing.assert_close(priced.sum(1), scores - 0.1 * episode_kl(logprobs, other, mask))


def test_eos_trick() -> None:
    scores = torch.tensor([3.0, 2.0])
    assert apply_eos_trick(scores, torch.tensor([True, False]), -1.0).tolist() == [3.0, -1.0]


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.permutations(range(4)))
@settings(max_examples=50, deadline=None)
def test_kwise_loss_is_the_mean_of_pair_losses(values: list[float], order: list[int]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    pairs = [(order[i], order[j]) for i in range(4) for j in range(i + 1, 4)]
    expected = sum(math.log1p(math.exp(-(values[w] - values[l]))) for w, l in pairs) / 6
    assert float(kwise_loss(scores, pairs)) == pytest.approx(expected, rel=1e-9)


def test_leave_one_out_compares_with_the_other_answers_of_the_prompt() -> None:
    scores = [3.0, 1.0, 2.0, -5.0, -5.0, 7.0]
    expected = []
    for e, score in enumerate(scores):
        others = [scores[i] for i in range(e // 3 * 3, e // 3 * 3 + 3) if i != e]
        expected.append(score - sum(others) / 2)
    torch.testing.assert_close(leave_one_out(torch.tensor(scores), 3), torch.tensor(expected))


def test_group_baseline_takes_the_prompts_level_away() -> None:
    def rewards(level: float) -> torch.Tensor:
        zeros = [torch.zeros(2)] * 4
        scores = torch.tensor([1.0, 0.0, level + 1, level])
        episodes = Episodes(zeros, zeros, zeros, scores, ended=torch.ones(4, dtype=torch.bool))
        config = AdvantageConfig(lam=1.0, whiten_advantages=False, group_baseline=True)
        return make_experience(episodes, config, answers=2, kl_coef=0.1, no_eos_reward=-1.0).rewards

    torch.testing.assert_close(rewards(0.0), rewards(9.0))
    torch.testing.assert_close(rewards(9.0)[:, 1], torch.tensor([1.0, -1.0, 1.0, -1.0]))


def test_kwise_loss_is_invariant_to_a_shift() -> None:
    scores = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pairs = [(0, 1), (2, 3)]
    assert float(kwise_loss(scores, pairs)) == pytest.approx(float(kwise_loss(scores + 7, pairs)), rel=1e-9)


def test_policy_loss_at_ratio_one_is_the_policy_gradient() -> None:
    torch.manual_seed(0)
    logprobs = torch.randn(6, requires_grad=True)
    advantages = torch.randn(6)
    losses, clipped = policy_loss(logprobs, logprobs.detach(), advantages, 0.2)
    losses.sum().backward()
    torch.testing.assert_close(logprobs.grad, -advantages)
    assert not clipped.any()


def test_policy_loss_clips_only_what_goes_too_far() -> None:
    old = torch.zeros(4)
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    new = ratio.log().requires_grad_()
    losses, clipped = policy_loss(new, old, advantages, 0.2)
    assert clipped.tolist() == [True, False, False, True]
    torch.testing.assert_close(losses.detach(), torch.tensor([-1.2, 1.5, -0.5, 0.8]))
    losses.sum().backward()
    assert new.grad[clipped].abs().sum() == 0


def test_value_loss_clip_takes_the_worse() -> None:
    values, old, returns = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.9]), torch.tensor([1.0, 0.0])
    assert value_loss(values, old, returns, 0.0).tolist() == [0.0, 0.5]
    torch.testing.assert_close(value_loss(values, old, returns, 0.2), torch.tensor([0.32, 0.5]))


def test_adaptive_kl_follows_ziegler() -> None:
    controller = KlController(0.2, 6.0, 10_000)
    controller.update(60.0, 100)
    assert controller.coef == pytest.approx(0.2 * (1 + 0.2 * 100 / 10_000)), "the error is clipped to 0.2"
    controller.update(5.7, 100)
    assert controller.coef == pytest.approx(0.2 * 1.002 * (1 - 0.05 * 0.01))
    fixed = KlController(0.2, 0.0, 10_000)
    fixed.update(60.0, 100)
    assert fixed.coef == 0.2


def test_experience_puts_it_together() -> None:
    torch.manual_seed(0)
    old = [torch.randn(n) for n in LENGTHS]
    ref = [torch.randn(n) for n in LENGTHS]
    values = [torch.randn(n) for n in LENGTHS]
    episodes = Episodes(old, ref, values, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True]))
    experience = make_experience(episodes, AdvantageConfig(lam=1.0), answers=1, kl_coef=0.1, no_eos_reward=-1.0)
    for e, score in enumerate((1.0, -1.0, 3.0)):
        kl = old[e] - ref[e]
        assert float(experience.kl[e]) == pytest.approx(float(kl.sum()), abs=1e-5)
        assert float(experience.returns[e, 0]) == pytest.approx(score - 0.1 * float(kl.sum()), abs=1e-5)
    real = experience.advantages[experience.mask]
    assert float(real.mean()) == pytest.approx(0, abs=1e-6)
    assert float(real.var(unbiased=False)) == pytest.approx(1, abs=1e-4)
