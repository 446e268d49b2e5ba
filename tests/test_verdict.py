"""The verdict's words against answers whose truth is known, and simulated rankings against their error rate."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from typing import Any

import numpy as np
import pytest

from steersman.config import EvalConfig
from steersman.eval import judges, wording
from steersman.eval.judges import judge_for, prefers, simulated_ranking
from steersman.eval.verdict import MIN_PROMPTS, ModelAnswers, Verdict, compare, decide, plain, verdict
from steersman.rounds import registry
from steersman.stats import Interval, bootstrap_mean, expanded_level, paired_bootstrap
from steersman.types import AxisScores, Conversation, Message, Ranking

CONFIG = EvalConfig(bootstrap=1000)


def make_prompts(n: int, **meta: Any) -> list[Conversation]:
    return [Conversation(f"p{i}", (Message("user", f"question {i}"),), meta) for i in range(n)]


def model(name: str, overall: list[float], **more: Any) -> ModelAnswers:
    n = len(overall)
    options: dict[str, Any] = {"tokens": [20] * n, "finish": ["stop"] * n}
    options["scores"] = [AxisScores(x, x, x) for x in overall]
    options["maker"] = registry.maker_of(name)
    return ModelAnswers(name, name.upper(), [f"{name} {i}" for i in range(n)], **(options | more))


def noisy(mean: float, n: int, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [min(1.0, max(0.0, rng.gauss(mean, 0.1))) for _ in range(n)]


def codes(result: Verdict) -> list[str]:
    return [c.code for c in result.cautions]


# the words


def test_better_worse_and_no_evidence() -> None:
    prompts = make_prompts(100)
    low, high = model("sft", noisy(0.5, 100, 1)), model("ppo", noisy(0.6, 100, 2))
    assert compare(high, low, prompts, resamples=1000).word == "better"
    assert compare(low, high, prompts, resamples=1000).word == "worse"
    twin = model("ppo", [x + (-1) ** i * 0.1 for i, x in enumerate(noisy(0.5, 100, 1))])
    assert compare(twin, low, prompts, resamples=1000).word == "no evidence"
    assert compare(low, dataclasses.replace(low, name="same"), prompts, resamples=1000).word == "no evidence"


def test_no_evidence_is_the_usual_answer_when_nothing_differs() -> None:
    prompts = make_prompts(60)
    words = [
        compare(model("a", noisy(0.5, 60, 2 * s)), model("b", noisy(0.5, 60, 2 * s + 1)), prompts, resamples=300).word
        for s in range(60)
    ]
    assert words.count("no evidence") >= 51


def test_decide_needs_both_numbers() -> None:
    up, down, none = Interval(0.1, 0.02, 0.2, 50), Interval(-0.1, -0.2, -0.02, 50), Interval(0.1, -0.1, 0.3, 50)
    even, losing = Interval(0.5, 0.4, 0.6, 50), Interval(0.3, 0.2, 0.4, 50)
    assert decide(up, even) == "better"
    assert decide(up, losing) == "no evidence", "a few large gains do not outweigh losing most prompts"
    assert decide(down, even) == "worse"
    assert decide(none, even) == "no evidence"
    few = dataclasses.replace(up, n=MIN_PROMPTS - 1)
    assert decide(few, dataclasses.replace(even, n=MIN_PROMPTS - 1)) == "no evidence"


def test_counts_margin_and_means_by_hand() -> None:
    a = model("sft", [0.9, 0.5, 0.5, 0.45, 0.1], tokens=[10, 20, 30, 40, 50])
    b = model("base", [0.5, 0.45, 0.46, 0.5, 0.9], tokens=[10, 10, 10, 10, 10], finish=["length", *["stop"] * 4])
    got = compare(a, b, make_prompts(5), tie_margin=0.05, resamples=200)
    # differences 0.4, 0.05 (the margin itself is no tie), 0.04 (tie), -0.05, -0.8
    assert (got.wins, got.ties, got.losses) == (2, 1, 2)
    assert got.win_rate.value == 0.5
    assert got.difference.value == pytest.approx(-0.36 / 5)
    assert got.tokens.value == pytest.approx(20.0)
    assert got.length_ratio == pytest.approx(3.0)
    assert got.no_eos.value == pytest.approx(-0.2)
    assert set(got.axes) == {"intent", "constraint", "fitness"}
    assert got.word == "no evidence", "five prompts decide nothing"


def test_length_control_lowers_a_win_bought_with_length() -> None:
    rng = random.Random(5)
    extra = [rng.randint(-40, 80) for _ in range(300)]
    gains = [0.1 if rng.random() < 1 / (1 + math.exp(-e / 12)) else -0.1 for e in extra]
    a = model("ppo", [0.5 + g for g in gains], tokens=[100 + e for e in extra])
    got = compare(a, model("sft", [0.5] * 300, tokens=[100] * 300), make_prompts(300), resamples=300)
    assert got.word == "better"
    assert got.length_controlled.value < got.win_rate.value - 0.1


def test_repeated_prompts_count_once() -> None:
    once = noisy(0.52, 40, 3)
    prompts = make_prompts(40) * 10
    a, b = model("ppo", once * 10), model("sft", noisy(0.5, 40, 4) * 10)
    alone = compare(model("ppo", once), model("sft", noisy(0.5, 40, 4)), make_prompts(40), resamples=2000)
    repeated = compare(a, b, prompts, resamples=2000)
    width = repeated.difference.high - repeated.difference.low
    assert width == pytest.approx(alone.difference.high - alone.difference.low, rel=0.15)


def test_by_intent_adds_up() -> None:
    prompts = [
        dataclasses.replace(p, meta={"intent": "refund" if i < 30 else "return"})
        for i, p in enumerate(make_prompts(40))
    ]
    got = compare(model("sft", [0.7] * 30 + [0.2] * 10), model("base", [0.4] * 40), prompts, resamples=200)
    assert [(r.intent, r.n) for r in got.by_intent] == [("refund", 30), ("return", 10)]
    assert [r.difference.value for r in got.by_intent] == pytest.approx([0.3, -0.2])
    assert got.by_intent[1].win_rate.value == 0.0
    assert compare(model("sft", [0.7]), model("base", [0.4]), make_prompts(1), resamples=10).by_intent == ()


# the whole verdict


def three(n: int = 80, **policy: Any) -> list[ModelAnswers]:
    options: dict[str, Any] = {
        "reward": [1.0 + 0.01 * (i % 5) for i in range(n)],
        "kl": [5.0 + i % 3 for i in range(n)],
    }
    return [
        model("base", noisy(0.3, n, 1), reward=[0.0] * n),
        model("sft", noisy(0.5, n, 2), reward=[0.5] * n),
        model("ppo", noisy(0.7, n, 3), **(options | policy)),
    ]


def test_pairs_headline_and_json() -> None:
    result = verdict(three(), make_prompts(80), CONFIG, judge="rules of the shop")
    assert [(p.a, p.b) for p in result.pairs] == [("sft", "base"), ("ppo", "sft"), ("ppo", "base")]
    assert {p.word for p in result.pairs} == {p.word_adjusted for p in result.pairs} == {"better"}
    assert result.headline is result.pairs[1]
    assert codes(result) == []
    assert result.models[2].kl is not None
    assert result.models[2].kl.value == pytest.approx(6.0, abs=0.02)
    stored = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert stored["pairs"][1]["word"] == "better"
    assert "PPO is better than SFT." in stored["pairs"][1]["sentence"]
    assert Interval.from_json(stored["pairs"][0]["difference"]) == result.pairs[0].difference
    assert verdict(three(), make_prompts(80), CONFIG, judge="rules of the shop") == result, "seeded"


def test_plain_says_the_word_the_numbers_and_the_interval() -> None:
    result = verdict(three(), make_prompts(80), CONFIG, judge="rules of the shop", simulated_rankings=True)
    text = plain(result)
    assert text.splitlines()[0] == "Verdict on 80 held-out prompts, judged by rules of the shop"
    assert text.splitlines()[2] == "  PPO against SFT: better"
    pair = result.pairs[1]
    assert (
        f"{pair.difference.value:+.3f} (95 % interval {pair.difference.low:+.3f} to {pair.difference.high:+.3f})"
        in text
    )
    assert f"won {pair.wins}, tied {pair.ties}, lost {pair.losses}" in text
    assert "3 comparisons" in text
    assert "simulated" in text
    assert "nan" not in text
    chinese = plain(result, "zh")
    assert "PPO 对 SFT：更好" in chinese
    assert "模拟" in chinese
    swapped = three()
    for i, (name, other) in enumerate((("sft", 2), ("ppo", 1)), 1):
        swapped[i] = dataclasses.replace(three()[other], name=name, maker=registry.maker_of(name))
    assert "SFT against PPO: worse" in plain(verdict(swapped, make_prompts(80), CONFIG))


def test_bonferroni_is_stricter() -> None:
    # a difference that one comparison just shows and three together do not
    gains = [0.0225 + (-1) ** i * 0.1 for i in range(80)]
    a, b = model("ppo", [0.5 + g for g in gains]), model("sft", [0.5] * 80)
    alone = compare(a, b, make_prompts(80), resamples=4000)
    together = compare(a, b, make_prompts(80), resamples=4000, comparisons=3)
    assert (alone.word, alone.word_adjusted) == ("better", "better")
    assert (together.word, together.word_adjusted) == ("better", "no evidence")


def test_cautions() -> None:
    n = 80
    prompts = make_prompts(n)

    def of(count: int = n, **policy: Any) -> list[str]:
        return codes(verdict(three(count, **policy), prompts[:count], CONFIG))

    assert of(kl=[21.0] * n) == ["kl"]
    assert codes(verdict(three(kl=[21.0] * n), prompts, CONFIG, kl_ceiling=25.0)) == []
    assert of(tokens=[31] * n) == ["length"]
    assert of(tokens=[13] * n) == ["length"]
    assert of(tokens=[30] * n) == []
    assert of(finish=["length"] * 17 + ["stop"] * 63) == ["no_eos"]
    assert of(finish=["length"] * 16 + ["stop"] * 64) == []
    assert of(40) == ["few"]
    assert of(MIN_PROMPTS - 1) == ["too_few"]
    same = three(scores=[AxisScores(x, x, x) for x in noisy(0.5, n, 2)])
    assert codes(verdict(same, prompts, CONFIG)) == ["overoptimised"]
    everything = verdict(
        three(kl=[21.0] * n, tokens=[90] * n, finish=["length"] * n), prompts, CONFIG, simulated_rankings=True
    )
    assert codes(everything) == ["simulated", "kl", "no_eos", "length"]
    for language in ("en", "zh"):
        for caution in everything.cautions:
            assert "{" not in wording.caution(caution, language)


def test_without_a_judge_the_reward_decides_and_says_so() -> None:
    bare = [dataclasses.replace(m, scores=None) for m in three()]
    result = verdict(bare, make_prompts(80), CONFIG)
    assert [p.judge for p in result.pairs] == ["reward model"] * 3
    assert result.pairs[1].word == "better"
    assert result.pairs[1].axes == {}
    assert codes(result) == ["reward_judge"]
    for text in (plain(result), wording.evidence(result.pairs[1], "en")):
        assert "reward model that PPO optimised" in text
        assert "not independent evidence" in text
    assert "并非独立证据" in plain(result, "zh")
    early = verdict(bare[:2], make_prompts(80), CONFIG)
    assert codes(early) == ["reward_judge_apart"]
    assert "PPO" not in plain(early) + plain(early, "zh"), "nothing was optimised yet"
    with pytest.raises(ValueError, match="expected judge scores of both or rewards of both"):
        verdict([dataclasses.replace(m, reward=None) for m in bare], make_prompts(80), CONFIG)


def test_one_model_or_no_prompts() -> None:
    alone = verdict(three()[:1], make_prompts(80), CONFIG)
    assert alone.pairs == ()
    assert alone.headline is None
    assert "80" in plain(alone)
    nothing = verdict([model("base", []), model("sft", [])], [], CONFIG)
    assert nothing.pairs[0].word == "no evidence"
    assert codes(nothing) == ["too_few"]
    assert "nan" not in plain(nothing)
    json.dumps(nothing.to_json(), allow_nan=False)


def test_misaligned_input_is_refused() -> None:
    with pytest.raises(ValueError, match="answers of sft: expected 2 tokens, got 3"):
        model("sft", [0.1, 0.2], tokens=[1, 2, 3])
    with pytest.raises(ValueError, match="expected 4, one per prompt, got 2"):
        compare(model("sft", [0.1, 0.2]), model("base", [0.1, 0.2]), make_prompts(4))
    with pytest.raises(ValueError, match="different model names"):
        verdict([model("sft", [0.1]), model("sft", [0.1])], make_prompts(1), CONFIG)
    with pytest.raises(ValueError, match="language"):
        plain(verdict([model("sft", [0.1])], make_prompts(1), CONFIG), "fr")


# judges


class Digits:
    """Scores an answer by the number it is."""

    name = "digits"
    simulated_people = True

    def score(self, prompt: Conversation, answer: str) -> AxisScores:
        return AxisScores(float(answer), float(answer), float(answer))


PROMPT = Conversation("p", (Message("user", "?"),))


def rank(*answers: str, error: float = 0.0, margin: float = 0.05, seed: int = 0) -> tuple[tuple[int, ...], bool]:
    return simulated_ranking(PROMPT, answers, Digits(), random.Random(seed), error, margin)


def test_ranking_without_errors_is_the_order_of_scores() -> None:
    assert rank("0.2", "0.9", "0.5", "0.7") == ((4, 1, 3, 2), False)
    assert rank("0.50", "0.52", "0.9") == ((2, 2, 1), False)
    assert rank("0.4", "0.45") == ((2, 1), False), "the margin itself is no tie"
    assert rank("0.1", "0.3", "0.34") == ((2, 1, 1), True)
    assert rank("0.1", "0.35")[1] is False
    # near neighbours tie but the ends do not: won minus lost is -1, 0, 1
    assert rank("0.50", "0.54", "0.58") == ((3, 2, 1), False)
    ranks, bad = rank("0.2", "0.9", "0.9")
    assert Ranking("r", PROMPT, ("0.2", "0.9", "0.9"), ranks, all_bad=bad).pairs() == ((1, 0), (2, 0))


def test_every_judgement_flipped_reverses_the_order() -> None:
    assert rank("0.2", "0.9", "0.5", error=1.0)[0] == (1, 3, 2)


def test_identical_texts_share_a_rank_whatever_the_errors() -> None:
    for seed in range(40):
        ranks, _ = rank("0.5", "0.7", "0.5", "0.6", error=0.5, seed=seed)
        assert ranks[0] == ranks[2]
        assert min(ranks) == 1
        assert set(ranks) == set(range(1, max(ranks) + 1)), "no rank is left out"


def test_error_rate_is_the_share_of_flipped_pairs() -> None:
    rng = random.Random(7)
    draws = 4000
    flips = ties = 0
    for _ in range(draws):
        flips += simulated_ranking(PROMPT, ("0.9", "0.2"), Digits(), rng, 0.2, 0.05)[0] == (2, 1)
        ties += simulated_ranking(PROMPT, ("0.50", "0.51"), Digits(), rng, 0.2, 0.05)[0] == (1, 1)
    assert flips / draws == pytest.approx(0.2, abs=0.025)
    assert ties / draws == pytest.approx(0.8, abs=0.025)


def test_same_seed_same_ranking() -> None:
    answers = [str(x / 10) for x in range(6)]
    first = [rank(*answers, error=0.3, seed=s) for s in range(20)]
    assert first == [rank(*answers, error=0.3, seed=s) for s in range(20)]
    assert len({r for r, _ in first}) > 5


def test_ranking_refuses_bad_settings() -> None:
    with pytest.raises(ValueError, match=r"rank\.error_rate"):
        rank("0.1", "0.2", error=1.5)
    with pytest.raises(ValueError, match=r"rank\.tie_margin"):
        rank("0.1", "0.2", margin=-0.1)


def test_prefers() -> None:
    assert [prefers(d, 0.05) for d in (0.85 - 0.80, 0.04, -0.05, 0.0)] == [1, 0, -1, 0]
    assert [prefers(d, 0.0) for d in (1e-6, 0.0, -1e-6)] == [1, 0, -1]


def test_judge_for() -> None:
    assert judge_for("none") is None
    judge = judge_for("shop")
    assert isinstance(judge, judges.RuleJudge)
    assert judge.simulated_people
    with pytest.raises(ValueError, match=r"project\.domain"):
        judge_for("bank")


def test_a_model_against_itself_gives_no_evidence_in_95_of_100() -> None:
    """Of 12 prompts as of 60: scores as discrete as the judge's, 400 verdicts each (a standard error of 1.1 points)."""
    rng = np.random.default_rng(11)
    levels = np.array([0.2, 0.5, 0.55, 0.8, 1.0])
    for n in (12, 60):
        words = []
        for seed in range(400):
            ours, theirs = rng.choice(levels, (2, n))
            gain = paired_bootstrap(ours, theirs, None, 400, seed, expanded=True)
            words.append(decide(gain, Interval(0.5, 0.0, 1.0, n)))
        assert 0.92 <= words.count("no evidence") / 400 <= 0.98, n
    # t(11) = 2.201, and 12 / 11 of the variance
    assert expanded_level(0.95, 12) == pytest.approx(math.erf(2.201 * math.sqrt(12 / 11) / math.sqrt(2)), abs=1e-4)
    assert bootstrap_mean([0.0, 1.0], expanded=True) == Interval(0.5, 0.0, 1.0, 2)
