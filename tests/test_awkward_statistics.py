"""Statistics where there is little to go by: few degrees of freedom, models that never lose, prompts asked twice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steersman.eval.between import Settings, Sides, _pair
from steersman.eval.between_text import text
from steersman.eval.length_control import Outcomes, length_controlled
from steersman.eval.many import crossed_p, sign_flip_p, student_p
from steersman.eval.power import Spread, power_at, prompts_needed, smallest_shown
from steersman.eval.strengths import Compared, bradley_terry
from steersman.eval.tasks import word_of
from steersman.stats import Interval, crossed_mean, wilson
from steersman.train.label_measures import of_search
from test_verdict import codes, compare, make_prompts, model


@pytest.mark.parametrize(
    ("effect", "n", "power"), [(0.3, 2, 0.040457), (1.0, 2, 0.090634), (5.0, 2, 0.421017), (1.0, 3, 0.178557)]
)
def test_power_of_two_and_three_prompts(effect: float, n: int, power: float) -> None:
    assert power_at(effect, Spread(1.0), n) == pytest.approx(power, abs=3e-4)  # scipy.stats.nct


def test_power_of_two_seeds_and_what_it_says_of_prompts() -> None:
    spread = Spread(0.3, 0.1, 0.1)
    assert power_at(0.1, spread, 100, seeds=2) == pytest.approx(0.100975, abs=3e-4)  # nct at 1.42 degrees
    assert prompts_needed(0.7, Spread(1.0)) == 19  # TTestPower.solve_power: 18.03
    assert smallest_shown(Spread(1.0), 2) == pytest.approx(11.55, abs=0.02)


@pytest.mark.parametrize(
    ("t", "degrees", "p"), [(1.0, 1, 0.5), (5.0, 2, 0.0377495), (2.0, 7.5, 0.0829184), (3.0, 200, 0.00304190)]
)
def test_the_tails_of_students_distribution(t: float, degrees: float, p: float) -> None:
    assert student_p(t, degrees) == pytest.approx(p, rel=1e-3)  # 2 * scipy.stats.t.sf


def test_the_p_value_of_few_seeds_has_their_degrees_of_freedom() -> None:
    """Seeds alone vary: the mean is that of three numbers, whose t has two degrees of freedom."""
    seeds = np.array([0.9, 1.0, 1.2])
    values = seeds[:, None] + np.zeros((3, 50))
    t = seeds.mean() / (seeds.std(ddof=1) / math.sqrt(3))
    assert crossed_p(values) == pytest.approx(1 - t / math.sqrt(t**2 + 2), rel=1e-2)  # t of 2 degrees in closed form
    assert crossed_p(np.ones((1, 5))) == 1.0
    assert (crossed_p(np.ones((3, 5))), crossed_p(np.zeros((3, 5)))) == (0.0, 1.0)


def sides(values: np.ndarray, clusters: list[str] | None) -> Sides:
    return Sides(values, np.zeros_like(values), clusters, [0.0] * values.shape[1])


def test_clusters_count_beside_several_seeds() -> None:
    """Ten prompts copied eight times are ten, whether one seed answers them or three."""
    rng = np.random.default_rng(2)
    ten = rng.normal(0.2, 0.3, (3, 10)) + rng.normal(0, 0.02, (3, 1))
    names = [f"c{i}" for i in range(10)]
    plain = _pair(sides(ten, None), "x", Settings(resamples=4000))
    copied = _pair(sides(np.repeat(ten, 8, axis=1), list(np.repeat(names, 8))), "x", Settings(resamples=4000))
    for key in ("low", "high", "value"):
        assert copied["difference"][key] == pytest.approx(plain["difference"][key], abs=1e-9)
    assert copied["p"] == pytest.approx(plain["p"])
    assert copied["smallest_shown"] == pytest.approx(plain["smallest_shown"])
    for key in ("low", "high"):
        assert copied["length_controlled"][key] == pytest.approx(plain["length_controlled"][key], abs=0.08)
    ignored = crossed_mean(np.repeat(ten, 8, axis=1), 4000, 17)
    assert copied["difference"]["low"] < ignored.low


def test_two_seeds_give_no_word() -> None:
    values = np.full((2, 40), 0.5) + np.random.default_rng(0).normal(0, 0.01, (2, 40))
    assert _pair(sides(values, None), "x", Settings(resamples=200))["word"] == "no evidence"
    assert _pair(sides(np.vstack([values, values[:1]]), None), "x", Settings(resamples=200))["word"] == "better"


def test_sign_flips_of_a_mean_of_zero_and_of_what_is_no_number() -> None:
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    assert sign_flip_p([0.7] + [-0.1] * 7) == 1.0
    with pytest.raises(ValueError, match="finite differences, got nan"):
        sign_flip_p([math.nan] * 5)


def test_a_model_that_never_lost_is_not_known_to_the_point() -> None:
    found = bradley_terry([Compared("a", "b", 1.0, f"p{i}") for i in range(10)], resamples=50)
    least = wilson(10, 10)[0]
    half = 200 * math.log10(least / (1 - least))  # strengths sum to 0, so each is half of the distance
    assert found["a"].high == math.inf
    assert found["a"].low == pytest.approx(half, rel=0.02)
    assert (found["b"].low, found["b"].high) == (-math.inf, pytest.approx(-half, rel=0.02))
    shown = {"value": 507.0, "low": 83.0, "high": None}
    parts = {"answered_by_one_alone": {}, "pairs": [], "n": 10, "comparisons": 1, "runs": {}}
    assert "a: +507 [+83 to ?]" in text({**parts, "strengths": {"score": {"a": shown}}})


def test_equal_length_of_one_prompt_or_of_wins_alone() -> None:
    def of(n: int, win: float) -> Outcomes:
        return Outcomes([f"p{i}" for i in range(n)], [win] * n, [3.0] * n)

    alone = length_controlled({"m": of(1, 1.0), "k": of(1, 0.0)}, 20)["m"]
    assert (alone.low, alone.high) == (-math.inf, math.inf)
    wins = length_controlled({"m": of(30, 1.0), "k": of(30, 0.0)}, 20)
    assert (wins["m"].low, wins["m"].high) == (pytest.approx(wilson(30, 30)[0]), 1.0)
    assert (wins["k"].low, wins["k"].high) == (0.0, pytest.approx(wilson(0, 30)[1]))


def test_two_prompts_asked_ten_times_are_two() -> None:
    prompts = make_prompts(2) * 10
    found = compare(model("ppo", [0.9, 0.8] * 10), model("sft", [0.5, 0.6] * 10), prompts, resamples=200)
    assert (found.word, found.word_adjusted) == ("no evidence", "no evidence")
    assert found.difference.low > 0
    assert word_of(Interval(0.3, 0.2, 0.4, 20), 2) == "no evidence"
    assert word_of(Interval(0.3, 0.2, 0.4, 20)) == "better"


def test_the_caution_counts_prompts_that_differ() -> None:
    from steersman.config import EvalConfig
    from steersman.eval.verdict import verdict

    prompts = make_prompts(2) * 30
    models = [model("sft", [0.5, 0.6] * 30), model("ppo", [0.9, 0.8] * 30)]
    assert "too_few" in codes(verdict(models, prompts, EvalConfig(bootstrap=200)))


def test_vectors_that_are_all_alike_find_nothing() -> None:
    same = np.ones((4, 3))
    assert of_search(same, np.ones((12, 3)), [{i} for i in range(4)]).score == 0.0  # the right one is the last of 12
    found = of_search(np.eye(3), np.eye(3), [{0}, {1}, {0, 2}])
    assert found.score == 1.0
    two = of_search(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), [{0}])
    assert two.score == 0.5, "a wrong one that is as near comes before it"
