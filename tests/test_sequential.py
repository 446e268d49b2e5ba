"""The sequential comparison of two models: errors under continuous looking, power, and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steersman.rounds.sequential import Votes

BAR = -math.log(0.05)


def decided(
    shares: tuple[float, float], to_candidate: float, votes: int, rng: np.random.Generator
) -> tuple[int, float]:
    """(votes until the test, looked at after each, says that the models differ; 0: never; the difference then)"""
    arms = (rng.random(votes) < to_candidate).astype(int)
    liked = rng.random(votes) < np.array(shares)[arms]
    now = Votes()
    for i, (arm, like) in enumerate(zip(arms.tolist(), liked.tolist(), strict=True), 1):
        now = now.add(arm, like)
        if now.evidence(0.0) >= BAR:
            return i, now.difference
    return 0, now.difference


def test_equal_models_are_told_apart_in_at_most_five_percent_of_streams() -> None:
    """1,200 streams of votes on a model and itself, each vote looked at; many likes, few, a tenth of the chats."""
    rng = np.random.default_rng(7)
    cases = [((0.5, 0.5), 0.5), ((0.9, 0.9), 0.1), ((0.7, 0.7), 0.3), ((0.05, 0.05), 0.1)]
    wrong = [decided(shares, share, 300, rng)[0] > 0 for shares, share in cases for _ in range(300)]
    assert len(wrong) == 1200
    assert np.mean(wrong) <= 0.05


def test_different_models_are_told_apart() -> None:
    rng = np.random.default_rng(8)
    for shares, share in (((0.55, 0.8), 0.5), ((0.8, 0.55), 0.5), ((0.5, 0.85), 0.1)):
        found = [decided(shares, share, 1500, rng) for _ in range(12)]
        assert all(n for n, _ in found)
        assert all((d > 0) == (shares[1] > shares[0]) for _, d in found)


def test_the_interval_is_what_the_evidence_does_not_refute() -> None:
    rng = np.random.default_rng(9)
    covered, looks = 0, 0
    for _ in range(15):
        now, always = Votes(), True
        for i in range(240):
            arm = int(rng.random() < 0.3)
            now = now.add(arm, bool(rng.random() < (0.6, 0.8)[arm]))
            if i % 40 == 39:
                low, high = now.interval()
                always &= low <= 0.2 <= high
                looks += 1
                assert low <= now.difference <= high
                assert (low > 0 or high < 0) == (now.evidence(0.0) >= BAR)
                assert now.evidence(low - 1e-6) >= BAR or low == -1
                assert now.evidence(high + 1e-6) >= BAR or high == 1
        covered += always
    assert covered >= 14


def test_values_by_hand() -> None:
    """One like of the candidate: forecast 1/2 against the most that the same p gives it, 1."""
    one = Votes().add(1, True)
    assert one.log_forecast == pytest.approx(math.log(0.5))
    assert one.evidence(0.0) == pytest.approx(math.log(0.5))
    assert one.interval() == (-1.0, 1.0)
    two = one.add(0, False)
    # the second is drawn to the first by 20 / 21 of a vote, whose estimate is (1 + 1/2) / 2
    drawn = 20 / 21
    assert two.log_forecast == pytest.approx(math.log(0.5) + math.log(1 - (0.5 + 0.75 * drawn) / (1 + drawn)))
    assert two.evidence(0.0) == pytest.approx(two.log_forecast - 2 * math.log(0.5))
    assert two.evidence(1.0) == pytest.approx(two.log_forecast)
    assert two.difference == 1.0
    assert Votes.of([(1, True), (0, False)]) == two


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5, math.nan])
def test_a_level_is_between_nothing_and_one(level: float) -> None:
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        Votes().interval(level)


def test_a_reasonable_maximum_is_found() -> None:
    """The most that any p gives, against a fine grid."""
    now = Votes((30, 12), (50, 17), 0.0)
    grid = np.linspace(1e-6, 1 - 1e-6, 200_001)
    for d in (-0.4, -0.05, 0.0, 0.1, 0.5):
        p = grid[(grid + d > 0) & (grid + d < 1)]
        best = (30 * np.log(p) + 20 * np.log(1 - p) + 12 * np.log(p + d) + 5 * np.log(1 - p - d)).max()
        assert -now.evidence(d) == pytest.approx(float(best), abs=1e-6)
