"""A verdict on runs as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _number(value: Any, sign: bool = False) -> str:
    if value is None:
        return "?"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def _interval(of: Mapping[str, Any], sign: bool = False) -> str:
    return f"{_number(of['value'], sign)} [{_number(of['low'], sign)} to {_number(of['high'], sign)}]"


def _points(bound: float | None) -> str:
    return "?" if bound is None else f"{bound:+.0f}"


def text(result: Mapping[str, Any]) -> str:
    out = [f"{result['n']} prompts that all runs answer"]
    out += [f"  {n} of {run} alone" for run, n in result["answered_by_one_alone"].items() if n]
    for pair in result["pairs"]:
        out += ["", *_pair(pair)]
    for of in result.get("over_tasks", ()):
        out += ["", f"{of['a']} against {of['b']}, mean over {len(of['measures'])} tasks: {of['word']}, "
                f"{_interval(of['difference'], True)}"]  # fmt: skip
    for measure, strengths in result.get("strengths", {}).items():
        out += ["", f"strengths by {measure} (Bradley-Terry, 400 points are odds of ten to one)"]
        out += [
            f"  {name}: {of['value']:+.0f} [{_points(of['low'])} to {_points(of['high'])}]"
            for name, of in strengths.items()
        ]
    for measure, rates in result.get("at_equal_length", {}).items():
        first = next(iter(result["runs"]))
        out += ["", f"win rate by {measure} against {first} at equal length, prompts of like difficulty"]
        out += [f"  {name}: {_interval(of)}" for name, of in rates.items()]
    for pair_name, bias in result.get("bias", {}).items():
        out += ["", f"the judge of pairs, {pair_name}: {bias['pairs']} pairs in both orders"]
        for key, words in BIAS.items():
            if bias[key]:
                out.append(f"  {words}: {_interval(bias[key])}")
        out += [f"  no word in {bias['no_word']} cases"] if bias["no_word"] else []
    for judge, of in result.get("agreement", {}).items():
        share = _interval(of["share"]) if of["people_decided"] else "?"
        out += [
            "",
            f"{judge} and people: equal on {share} of {of['people_decided']} preferences, kappa {_number(of['kappa'])}",
        ]
    if result["comparisons"] > 1:
        out += ["", f"{result['comparisons']} comparisons: words hold for all of them together at 5 % (Holm)."]
    return "\n".join(out)


BIAS = {
    "first_place_wins": "what is shown first wins",
    "orders_agree": "both orders agree",
    "longer_wins": "the longer answer wins",
}


def _pair(pair: Mapping[str, Any]) -> list[str]:
    seeds = f", {pair['seeds']} seeds" if pair["seeds"] > 1 else ""
    clusters = f" in {pair['clusters']} clusters" if pair["clusters"] else ""
    head = f"{pair['a']} against {pair['b']} by {pair['measure']}: {pair['word_adjusted']}"
    lines = [
        f"{head} ({pair['n']} prompts{clusters}{seeds})",
        f"  means {_number(pair['means'][0])} and {_number(pair['means'][1])}, difference "
        f"{_interval(pair['difference'], True)}; p {pair['p']:.3g}, after Holm {pair['p_holm']:.3g}",
        f"  wins {pair['wins']}, ties {pair['ties']}, losses {pair['losses']}; win rate "
        f"{_interval(pair['win_rate'])}, at equal length {_interval(pair['length_controlled'])} "
        f"(answers are {pair['length']:+.1f} words longer)",
    ]
    if pair["smallest_shown"] is not None:
        lines.append(f"  a true difference of {_number(pair['smallest_shown'])} would have been shown 8 times in 10")
    return lines
