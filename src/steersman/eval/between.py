"""A verdict on runs of any systems: each pair of runs on the prompts that all answered.

Of each measure (a score in the files, a judge's axis) the difference is paired by prompt. Where prompts belong to
clusters, whole clusters are resampled; where a run has several seeds, seeds and prompts both vary (`crossed_mean`).
Words hold for all comparisons of the call together (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steersman.eval.judges import prefers
from steersman.eval.length_control import Outcomes, length_controlled
from steersman.eval.many import crossed_p, holm, sign_flip_p
from steersman.eval.over_seeds import MIN_SEEDS
from steersman.eval.power import Spread, smallest_shown, spread_of, spread_over_seeds
from steersman.eval.runs import LIKELIHOOD, Key, Run
from steersman.eval.strengths import Compared, bradley_terry
from steersman.eval.tasks import paired
from steersman.eval.verdict import MIN_PROMPTS
from steersman.stats import (
    Interval,
    crossed_mean,
    length_controlled_win_rate,
    paired_bootstrap,
    proportion_interval,
)

LEVEL = 0.95
Scores = Mapping[str, Mapping[Key, Sequence[float]]]
"""Measure -> prompt -> a score for each seed."""


@dataclass(frozen=True)
class Sides:
    """Two runs' scores of one measure on the same prompts, [seeds, prompts]."""

    a: Any
    b: Any
    clusters: Sequence[str] | None
    lengths: Sequence[float]
    """Length of a's answer minus that of b's, in words, per prompt."""


@dataclass(frozen=True)
class Settings:
    tie_margin: float = 0.0
    resamples: int = 10_000
    seed: int = 17
    power: float = 0.8
    lower_is_better: frozenset[str] = field(default_factory=frozenset)


def scores_of(run: Run, keys: Sequence[Key]) -> dict[str, dict[Key, list[float]]]:
    """The measures that the run's file gives, each with the prompts that have it; of several tasks `task: measure`."""
    tasks = sorted({task for task, _ in keys})
    out: dict[str, dict[Key, list[float]]] = {}
    for task in tasks:
        mine = [key for key in keys if key[0] == task]
        for name in sorted({name for key in mine for one in run.answers[key] for name in one.scores}):
            label = f"{task}: {name}" if len(tasks) > 1 else name
            having = [key for key in mine if all(name in one.scores for one in run.answers[key])]
            out[label] = {key: [one.scores[name] for one in run.answers[key]] for key in having}
    return out


def in_all(scores: Mapping[str, Scores]) -> tuple[dict[str, dict[str, dict[Key, Sequence[float]]]], dict[str, int]]:
    """(each run's measures that all runs have, on the prompts that have them in all runs; how many lack each)."""
    out: dict[str, dict[str, dict[Key, Sequence[float]]]] = {name: {} for name in scores}
    lacking: dict[str, int] = {}
    for measure in dict.fromkeys(name for of in scores.values() for name in of):
        having = [of.get(measure, {}) for of in scores.values()]
        keys = [key for key in having[0] if all(key in of for of in having)]
        every = {key for of in having for key in of}
        if keys:
            for mine, of in zip(out.values(), having, strict=True):
                mine[measure] = {key: of[key] for key in keys}
        if less := len(every) - len(keys):
            lacking[measure] = less
    return out, lacking


Votes = Mapping[tuple[str, str], Mapping[str, Mapping[Key, float]]]
"""(a, b) -> measure -> prompt -> 1 where a is better, 0 where b is: what judges of pairs say."""


def compare(
    runs: Sequence[Run], keys: Sequence[Key], scores: Mapping[str, Scores], votes: Votes, settings: Settings
) -> dict[str, Any]:
    """Every later run against every earlier one, by every measure that all have. `scores`: by the run's name."""
    measures = [m for m in scores[runs[0].name] if all(m in scores[run.name] for run in runs)]
    if not measures and not votes:
        raise ValueError(
            "nothing says which answer is better: the files have no score in common; name a judge (--judge, --reward, "
            "--api) or let people decide (--sheet)"
        )
    pairs = []
    for j, a in enumerate(runs):
        for b in runs[:j]:
            given = [(m, scores[a.name][m], scores[b.name][m]) for m in measures]
            for measure, said in votes.get((a.name, b.name), {}).items():
                given.append((measure, {k: [v] for k, v in said.items()}, {k: [1 - v] for k, v in said.items()}))
            for measure, ours, theirs in given:
                sides = _sides(a, b, ours, theirs)
                pairs.append({"a": a.name, "b": b.name, "measure": measure, **_pair(sides, measure, settings)})
    for pair, adjusted in zip(pairs, holm([p["p"] for p in pairs]), strict=True):
        pair["p_holm"] = adjusted
        pair["word_adjusted"] = pair["word"] if adjusted < 1 - LEVEL else "no evidence"
    result: dict[str, Any] = {
        "runs": {run.name: {"answers": len(run.answers), "left_out": dict(run.left_out)} for run in runs},
        "n": len({(_task(task), name) for task, name in keys}),
        "measures": list(dict.fromkeys(pair["measure"] for pair in pairs)),
        "pairs": pairs,
        "comparisons": len(pairs),
    }
    tasks = [m for m in measures if ": " in m]
    if len({_task(m.partition(": ")[0]) for m in tasks}) > 1:
        result["over_tasks"] = _over_tasks(pairs)
    if len(runs) > 2:
        result["strengths"] = {m: _strengths(runs, m, scores, settings) for m in measures}
        for measure in result["measures"][len(measures) :]:
            joined = [Compared(a, b, v, "/".join(k)) for (a, b), of in votes.items() for k, v in of[measure].items()]
            result["strengths"][measure] = _shown(joined, settings)
        result["at_equal_length"] = {m: _at_equal_length(runs, m, scores, settings) for m in measures}
    return result


def _sides(a: Run, b: Run, ours: Mapping[Key, Sequence[float]], theirs: Mapping[Key, Sequence[float]]) -> Sides:
    keys = [key for key in ours if key in theirs]
    x = np.array([ours[key] for key in keys], dtype=np.float64).T
    y = np.array([theirs[key] for key in keys], dtype=np.float64).T
    if x.shape != y.shape:
        raise ValueError(
            f"{a.name} has {x.shape[0]} seeds and {b.name} {y.shape[0]}; expected as many files of each, in one order"
        )
    clusters = [a.answers[key][0].cluster for key in keys]
    lengths = [float(a.answers[key][0].length - b.answers[key][0].length) for key in keys]
    # a prompt without a cluster is one by itself
    named = [c or f"#{i}" for i, c in enumerate(clusters)] if len(set(clusters)) > 1 or clusters[0] else None
    return Sides(x, y, named, lengths)


def _pair(sides: Sides, measure: str, settings: Settings) -> dict[str, Any]:
    sign = -1.0 if measure.rpartition(": ")[2] in settings.lower_is_better else 1.0
    difference = sign * (sides.a - sides.b)
    by_prompt = difference.mean(axis=0)
    seeds, n = difference.shape
    if seeds > 1:
        parts = _by_cluster(difference, sides.clusters)
        spread: Spread | None = spread_over_seeds(parts) if min(parts.shape) > 1 else None
        interval = crossed_mean(parts, settings.resamples, settings.seed)
        p = crossed_p(parts)
    else:
        interval = _interval(sides, by_prompt, settings)
        spread = _spread(by_prompt, sides.clusters)
        p = sign_flip_p(by_prompt, sides.clusters, seed=settings.seed)
    outcome = [prefers(d, settings.tie_margin) for d in by_prompt]
    wins = np.array(outcome) / 2 + 0.5
    groups = len(set(sides.clusters)) if sides.clusters else n
    word = "better" if interval.low > 0 else "worse" if interval.high < 0 else "no evidence"
    return {
        "n": n,
        "seeds": seeds,
        "clusters": groups if sides.clusters else None,
        "means": [float(sides.a.mean()), float(sides.b.mean())],
        "difference": interval.to_json(),
        "word": word if groups >= MIN_PROMPTS and (seeds == 1 or seeds >= MIN_SEEDS) else "no evidence",
        "wins": outcome.count(1),
        "ties": outcome.count(0),
        "losses": outcome.count(-1),
        "win_rate": proportion_interval(wins, sides.clusters, settings.resamples, settings.seed).to_json(),
        "length_controlled": length_controlled_win_rate(
            wins, sides.lengths, 2000, settings.seed, LEVEL, sides.clusters
        ).to_json(),
        "length": float(np.mean(sides.lengths)),
        "p": p,
        "smallest_shown": _smallest(spread, groups, seeds, settings.power),
    }


def _interval(sides: Sides, by_prompt: Any, settings: Settings) -> Interval:
    options = (sides.clusters, settings.resamples, settings.seed)
    if all(of.min() >= 0 and of.max() <= 1 for of in (sides.a, sides.b)):
        return paired(by_prompt.tolist(), [0.0] * len(by_prompt), *options)
    return paired_bootstrap(by_prompt, np.zeros_like(by_prompt), *options, expanded=True)


def _spread(by_prompt: Any, clusters: Sequence[str] | None) -> Spread | None:
    """Over clusters: that of their means, on the scale of the mean of all (clusters of about one size)."""
    parts = _by_cluster(by_prompt[None], clusters)[0]
    return spread_of(parts) if len(parts) > 1 else None


def _by_cluster(values: Any, clusters: Sequence[str] | None) -> Any:
    """[seeds, prompts] -> [seeds, clusters] of the same means over all: each seed's mean, and what a cluster adds."""
    if clusters is None:
        return values
    inverse = np.unique(np.asarray(clusters), return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(inverse)
    added = [np.bincount(inverse, weights=row - row.mean()) / sizes.mean() + row.mean() for row in values]
    return np.stack(added)


def _smallest(spread: Spread | None, prompts: int, seeds: int, power: float) -> float | None:
    if spread is None or prompts < 2 or not spread.error(prompts, seeds):
        return None  # no prompt differs: nothing is known of how far they vary
    found = smallest_shown(spread, prompts, power, seeds, LEVEL)
    return found if math.isfinite(found) else None


def _task(name: str) -> str:
    """A task without the filter by which its answers were read (gsm8k of "gsm8k (strict-match)")."""
    return name.partition(" (")[0]


def _over_tasks(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean over tasks of each pair's first measure, tasks counting alike; prompts vary within their tasks."""
    out = []
    for a, b in dict.fromkeys((p["a"], p["b"]) for p in pairs):
        first: dict[str, Mapping[str, Any]] = {}
        for pair in pairs:
            if (pair["a"], pair["b"]) == (a, b) and not pair["measure"].endswith(LIKELIHOOD):
                first.setdefault(_task(pair["measure"].partition(": ")[0]), pair)
        if len(first) < 2:
            continue
        values = [p["difference"] for p in first.values()]
        if any(v["low"] is None or v["high"] is None for v in values):
            continue
        value = sum(v["value"] for v in values) / len(values)
        half = math.sqrt(sum(((v["high"] - v["low"]) / 2) ** 2 for v in values)) / len(values)
        n = sum(v["n"] for v in values)
        of = Interval(value, value - half, value + half, n)
        word = "better" if of.low > 0 else "worse" if of.high < 0 else "no evidence"
        measures = [p["measure"] for p in first.values()]
        out.append({"a": a, "b": b, "measures": measures, "difference": of.to_json(), "word": word})
    return out


def _at_equal_length(
    runs: Sequence[Run], measure: str, scores: Mapping[str, Scores], settings: Settings
) -> dict[str, Any]:
    """Every run against the first, with the difficulty of each prompt."""
    sign, base = -1.0 if measure.rpartition(": ")[2] in settings.lower_is_better else 1.0, runs[0]
    of = {}
    for run in runs[1:]:
        sides = _sides(run, base, scores[run.name][measure], scores[base.name][measure])
        gains = sign * (sides.a - sides.b).mean(axis=0)
        wins = [prefers(gain, settings.tie_margin) / 2 + 0.5 for gain in gains]
        keys = [key for key in scores[run.name][measure] if key in scores[base.name][measure]]
        of[run.name] = Outcomes(["/".join(key) for key in keys], wins, sides.lengths)
    return {name: rate.to_json() for name, rate in length_controlled(of, seed=settings.seed).items()}


def _strengths(runs: Sequence[Run], measure: str, scores: Mapping[str, Scores], settings: Settings) -> dict[str, Any]:
    """Bradley-Terry over all pairs of runs, prompt by prompt."""
    sign = -1.0 if measure.rpartition(": ")[2] in settings.lower_is_better else 1.0
    found = []
    for j, a in enumerate(runs):
        for b in runs[:j]:
            ours, theirs = scores[a.name][measure], scores[b.name][measure]
            for key in (k for k in ours if k in theirs):
                gain = sign * (float(np.mean(ours[key])) - float(np.mean(theirs[key])))
                found.append(Compared(a.name, b.name, prefers(gain, settings.tie_margin) / 2 + 0.5, "/".join(key)))
    return _shown(found, settings)


def _shown(comparisons: Sequence[Compared], settings: Settings) -> dict[str, Any]:
    return {name: of.to_json() for name, of in bradley_terry(comparisons, seed=settings.seed).items()}
