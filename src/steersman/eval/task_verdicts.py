"""A model on a set of tasks beside the answers that cost nothing: the most frequent one, a copy, the first sentence,
a random label.

The most frequent label is that of training or of the questions themselves, whichever is right more often.

A model is compared, question by question, with the best of the baselines that the set has; the word of each comparison
holds for all of a call together (Holm).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.eval.many import holm, sign_flip_p
from steersman.eval.suites.answer_metrics import item_counts, macro_f1
from steersman.eval.suites.benching import mean_of
from steersman.eval.suites.suite import Item, Suite
from steersman.eval.suites.task_forms import task_of
from steersman.eval.tasks import paired, word_of
from steersman.stats import Interval

BASELINES = ("common", "copy", "lead", "chance")
LEVEL = 0.95
RESAMPLES = 500
"""Of measures that are no means."""


@dataclass(frozen=True)
class Beside:
    """One model on one set, and the baseline that it must beat."""

    task: str
    kind: str
    metric: str
    model: str
    shots: int
    score: Interval
    baseline: str
    """One of BASELINES; '' where the set has none."""
    bar: Interval
    """The baseline's own score."""
    difference: Interval
    p: float
    word: str
    """better, worse or no evidence, of this comparison alone."""
    whole: Mapping[str, Interval]
    """Measures of the set rather than of a question: macro_f1 of a closed kind, micro_f1 of items."""

    def to_json(self) -> dict[str, Any]:
        own = ("task", "kind", "metric", "model", "shots", "baseline", "p", "word")
        intervals = {name: getattr(self, name).to_json() for name in ("score", "bar", "difference")}
        whole = {name: of.to_json() for name, of in self.whole.items()}
        return {name: getattr(self, name) for name in own} | intervals | {"whole": whole}


def beside(
    suite: Suite, name: tuple[str, str, int], texts: Sequence[str], scores: Sequence[float], resamples: int, seed: int
) -> Beside:
    """`name`: the set's, the model's, the number of examples; `texts`: the model's answers."""
    about = [task_of(item.prompt) for item in suite.items]
    bars = {b: bar for b in BASELINES if (bar := _bar(suite.items, b))}
    if all(labels := [task.get("labels", ()) for task in about]):  # of sets of their own none is the most frequent
        bars["chance"] = [1 / len(of) for of in labels]
    if any(task.get("labels") for task in about):  # no model beats it by saying one label alone
        most = min(counted := Counter(item.expected for item in suite.items), key=lambda a: (-counted[a], a))
        constant = [item.score([most]) for item in suite.items]
        bars["common"] = max(constant, bars.get("common", []), key=sum)
    chosen = max(bars, key=lambda b: sum(bars[b]), default="")
    bar = bars.get(chosen, [0.0] * len(scores))
    difference = paired(scores, bar, None, resamples, seed)
    metrics, kinds = ({str(task.get(key)) for task in about} for key in ("metric", "kind"))
    return Beside(
        name[0],
        next(iter(kinds)) if len(kinds) == 1 else "",
        next(iter(metrics)) if len(metrics) == 1 else "",
        name[1],
        name[2],
        mean_of(scores, resamples, seed),
        chosen,
        mean_of(bar, resamples, seed),
        difference,
        sign_flip_p([a - b for a, b in zip(scores, bar, strict=True)]) if bars else 1.0,
        word_of(difference) if bars else "no evidence",
        _whole(suite.items, texts, metrics, seed),
    )


def together(found: Sequence[Beside]) -> list[str]:
    """The word of each comparison, held to all of them."""
    adjusted = holm([one.p for one in found])
    return [one.word if p < 1 - LEVEL else "no evidence" for one, p in zip(found, adjusted, strict=True)]


def _bar(items: Sequence[Item], baseline: str) -> list[float]:
    """The baseline's scores; [] where some prompt has no such answer."""
    answers = [task_of(item.prompt).get(baseline) for item in items]
    if not all(isinstance(answer, str) for answer in answers):
        return []
    return [item.score([str(answer)]) for item, answer in zip(items, answers, strict=True)]


def _whole(items: Sequence[Item], texts: Sequence[str], metrics: set[str], seed: int) -> dict[str, Interval]:
    golds = [item.expected for item in items]
    if metrics == {"accuracy"} and any(task_of(item.prompt).get("labels") for item in items):
        return {
            "macro_f1": _resampled(
                lambda at: macro_f1([texts[i] for i in at], [golds[i] for i in at]), len(items), seed
            )
        }
    if metrics == {"entities"}:
        counts = np.array([item_counts(text, gold) for text, gold in zip(texts, golds, strict=True)], dtype=float)

        def micro(at: Sequence[int]) -> float:
            both, said, wanted = counts[list(at)].sum(axis=0)
            return float(2 * both / (said + wanted)) if said + wanted else 0.0

        return {"micro_f1": _resampled(micro, len(items), seed)}
    return {}


def _resampled(measure: Callable[[Sequence[int]], float], n: int, seed: int) -> Interval:
    """Percentile bootstrap over questions of a measure that is no mean."""
    rng = np.random.default_rng(seed)
    drawn = sorted(measure(rng.integers(0, n, n).tolist()) for _ in range(RESAMPLES))
    low, high = (drawn[round(q * (RESAMPLES - 1))] for q in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(measure(range(n)), low, high, n)
