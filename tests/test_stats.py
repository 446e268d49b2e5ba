"""Intervals against closed forms, plain loops and published numbers."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from steersman import stats
from steersman.stats import Interval


def test_wilson_published_numbers() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert stats.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation_and_is_symmetric() -> None:
    z = 1.959963984540054
    for successes, n in ((3, 7), (50, 90), (7.5, 12)):
        p = successes / n
        for bound in stats.wilson(successes, n):
            assert abs(p - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / n), rel=1e-9)
        low, high = stats.wilson(successes, n)
        assert stats.wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))
    assert stats.wilson(0, 0) == (0.0, 1.0)
    assert stats.wilson(5, 5)[1] == 1.0
    assert stats.wilson(5, 5)[0] == pytest.approx(5 / (5 + z * z))
    wide, narrow = stats.wilson(3, 7, 0.99), stats.wilson(3, 7, 0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("bad", [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses(bad: tuple[float, int, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        stats.wilson(*bad)


def test_bootstrap_mean_agrees_with_the_normal_interval_and_with_a_plain_loop() -> None:
    rng = random.Random(3)
    values = [rng.gauss(1.0, 2.0) for _ in range(300)]
    got = stats.bootstrap_mean(values, resamples=8000, seed=1)
    mean = sum(values) / 300
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / 300) / math.sqrt(300)
    assert got.value == pytest.approx(mean)
    assert (got.low, got.high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.05 * 2 * error)

    loop = sorted(sum(rng.choice(values) for _ in range(300)) / 300 for _ in range(1500))
    assert (got.low, got.high) == pytest.approx((loop[37], loop[1462]), abs=0.3 * error)
    assert got.n == 300


def test_bootstrap_is_exact_on_two_values() -> None:
    # means of two draws from {0, 1}: 0, 1/2, 1 with probability 1/4, 1/2, 1/4
    got = stats.bootstrap_mean([0.0, 1.0], resamples=20_000, level=0.4)
    assert (got.low, got.high) == (0.5, 0.5)
    assert stats.bootstrap_mean([0.0, 1.0], resamples=20_000, level=0.6).low == 0.0


def test_clusters_widen_the_interval_as_theory_says() -> None:
    # six identical copies of each observation carry no more information than one
    rng = np.random.default_rng(0)
    once = rng.normal(size=100)
    values, groups = np.repeat(once, 6), np.repeat([f"p{i}" for i in range(100)], 6)
    single = stats.bootstrap_mean(once, resamples=4000)
    clustered = stats.bootstrap_mean(values, groups, resamples=4000)
    naive = stats.bootstrap_mean(values, resamples=4000)
    width = {k: i.high - i.low for k, i in (("single", single), ("clustered", clustered), ("naive", naive))}
    assert width["clustered"] == pytest.approx(width["single"], rel=0.05)
    assert width["naive"] == pytest.approx(width["single"] / math.sqrt(6), rel=0.08)


def test_unequal_clusters_weigh_by_their_size() -> None:
    # every resample of groups A (3 ones) and B (1 zero): 1, 3/4 or 0
    got = stats.bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"], resamples=4000, level=0.4)
    assert (got.value, got.low, got.high) == (0.75, 0.75, 0.75)


def test_paired_differs_from_unpaired_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    hard = rng.normal(size=200) * 5
    a, b = hard + 0.3 + rng.normal(size=200) * 0.1, hard
    got = stats.paired_bootstrap(a, b, resamples=3000, seed=9)
    assert got.excludes(0.0)
    assert got.high - got.low < 0.05
    monkeypatch.setattr(stats, "CHUNK_ELEMENTS", 1000)
    assert stats.paired_bootstrap(a, b, resamples=3000, seed=9) == got
    assert stats.paired_bootstrap(a, b, resamples=3000, seed=10) != got
    with pytest.raises(ValueError, match="as many values"):
        stats.paired_bootstrap([1.0], [1.0, 2.0])


def test_coverage_of_the_paired_bootstrap_is_near_nominal() -> None:
    rng = np.random.default_rng(11)
    trials = 200
    hits = 0
    for t in range(trials):
        a, b = rng.normal(0.2, 1, 60), rng.normal(0.0, 1, 60)
        got = stats.paired_bootstrap(a, b, resamples=400, seed=t)
        hits += not got.excludes(0.2)
    assert 0.88 <= hits / trials <= 0.99


def test_degenerate_samples() -> None:
    empty = stats.bootstrap_mean([])
    assert math.isnan(empty.value)
    assert not empty.excludes(0.0)
    assert empty.to_json() == {"value": None, "low": None, "high": None, "n": 0}
    one = stats.bootstrap_mean([3.0])
    assert (one.value, one.low, one.high) == (3.0, -math.inf, math.inf)
    assert not one.excludes(0.0)
    assert stats.bootstrap_mean([1.0, 2.0], ["same", "same"]).low == -math.inf
    assert stats.bootstrap_mean([0.5] * 9) == Interval(0.5, 0.5, 0.5, 9)
    assert not stats.paired_bootstrap([0.1] * 9, [0.1] * 9).excludes(0.0)
    with pytest.raises(ValueError, match="finite"):
        stats.bootstrap_mean([1.0, math.nan])
    with pytest.raises(ValueError, match="groups"):
        stats.bootstrap_mean([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="resample"):
        stats.bootstrap_mean([1.0, 2.0], resamples=0)


def test_interval_json_round_trip() -> None:
    for interval in (Interval(0.5, 0.25, 0.75, 12), stats.bootstrap_mean([3.0])):
        assert Interval.from_json(interval.to_json()) == interval
    with pytest.raises(ValueError, match=r"reward\.json: expected an object"):
        Interval.from_json({"value": 1}, "reward.json")
    with pytest.raises(ValueError, match="numbers"):
        Interval.from_json({"value": "high", "low": 0, "high": 1, "n": 1})


def test_accuracy_interval_all_right_is_not_certain() -> None:
    got = stats.proportion_interval([1.0] * 60, np.repeat(np.arange(10), 6))
    assert (got.value, got.high, got.n) == (1.0, 1.0, 60)
    assert got.low == pytest.approx(stats.wilson(10, 10)[0])
    wrong = stats.proportion_interval([0.0] * 4, list("abcd"))
    assert wrong.high == pytest.approx(stats.wilson(0, 4)[1])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        stats.proportion_interval([2.0], ["a"])


def test_calibration_bins_by_hand() -> None:
    bins = stats.calibration([0.05, 0.07, 0.95, 1.0, 1.0], [0, 1, 1, 1, 0], bins=10)
    assert [b["n"] for b in bins] == [2, 3]
    assert bins[0]["p"] == pytest.approx(0.06)
    assert bins[1]["accuracy"] == pytest.approx(2 / 3)
    assert (bins[1]["low"], bins[1]["high"]) == pytest.approx(stats.wilson(2, 3))
    expected = (2 * abs(0.5 - 0.06) + 3 * abs(2 / 3 - 2.95 / 3)) / 5
    assert stats.expected_calibration_error(bins) == pytest.approx(expected)
    # confidences start at a half, and so do the bins
    assert len(stats.calibration([0.51, 0.56, 0.61, 0.66], [1, 1, 1, 1], bins=10)) == 4
    assert stats.calibration([], []) == []
    assert math.isnan(stats.expected_calibration_error([]))


def test_calibrated_predictions_have_small_error() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.5, 1, 20_000)
    y = (rng.uniform(size=20_000) < p).astype(float)
    assert stats.expected_calibration_error(stats.calibration(p, y)) < 0.02
    assert stats.expected_calibration_error(stats.calibration(p, 1 - y)) > 0.3


def slow_length_controlled(wins: list[float], lengths: list[float]) -> float:
    """Plain gradient ascent on the same penalised likelihood."""
    n = len(wins)
    mean = sum(lengths) / n
    spread = math.sqrt(sum((d - mean) ** 2 for d in lengths) / n)
    x = [math.tanh(d / spread) if spread else 0.0 for d in lengths]
    theta = phi = 0.0
    for _ in range(6000):
        g0, g1 = -stats.RIDGE * theta, -stats.RIDGE * phi
        for xi, yi in zip(x, wins, strict=True):
            error = yi - 1 / (1 + math.exp(-(theta + phi * xi)))
            g0, g1 = g0 + error, g1 + error * xi
        theta, phi = theta + 2 * g0 / n, phi + 2 * g1 / n
    return 1 / (1 + math.exp(-theta))


@pytest.mark.parametrize("seed", range(3))
def test_length_control_matches_gradient_ascent(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.gauss(10, 30) for _ in range(40)]
    wins = [float(rng.random() < 1 / (1 + math.exp(-d / 20))) if rng.random() < 0.8 else 0.5 for d in lengths]
    got = stats.length_controlled_win_rate(wins, lengths, resamples=300)
    assert got.value == pytest.approx(slow_length_controlled(wins, lengths), abs=1e-5)
    assert got.low < got.value < got.high


def test_length_control_removes_a_win_that_is_only_length() -> None:
    rng = np.random.default_rng(4)
    d = rng.normal(40, 40, 3000)
    p = 1 / (1 + np.exp(-2.5 * np.tanh(d / d.std())))
    wins = (rng.uniform(size=3000) < p).astype(float)
    assert wins.mean() > 0.7
    got = stats.length_controlled_win_rate(wins, d, resamples=200)
    assert got.value == pytest.approx(0.5, abs=0.06)
    assert not got.excludes(0.5)


def test_length_control_degenerate() -> None:
    # without variation in length it is the win rate, up to the ridge
    wins = [1.0] * 30 + [0.0] * 10
    assert stats.length_controlled_win_rate(wins, [5.0] * 40, resamples=50).value == pytest.approx(0.75, abs=0.01)
    sure = stats.length_controlled_win_rate([1.0] * 20, list(range(20)))
    assert 0.9 < sure.value < 1.0
    assert sure.low == pytest.approx(stats.wilson(20, 20)[0])
    # perfectly separated by length: finite, no warning
    split = stats.length_controlled_win_rate([0.0] * 10 + [1.0] * 10, list(range(-10, 10)), resamples=200)
    assert 0.0 < split.low <= split.high < 1.0
    assert math.isnan(stats.length_controlled_win_rate([], []).value)
    assert stats.length_controlled_win_rate([1.0], [3.0]).low == -math.inf


def test_where_few_prompts_differ_the_interval_is_as_wide_as_so_few_make_it() -> None:
    """Of 100 prompts with 5 that differ, "95 %" were 93; where most differ nothing changes."""
    few = [0.0] * 95 + [0.9, 0.8, 0.7, 0.6, 0.5]
    plain, wide = (stats.bootstrap_mean(few, resamples=4000, expanded=expanded) for expanded in (False, True))
    by_11 = stats.expanded_level(0.95, 11)
    assert (wide.low, wide.high) == (
        pytest.approx(stats.bootstrap_mean(few, resamples=4000, level=by_11).low),
        pytest.approx(stats.bootstrap_mean(few, resamples=4000, level=by_11).high),
    )
    assert wide.low < plain.low
    many = np.random.default_rng(0).normal(size=100)
    by_100 = stats.bootstrap_mean(many, resamples=4000, level=stats.expanded_level(0.95, 100))
    assert stats.bootstrap_mean(many, resamples=4000, expanded=True) == by_100
