"""How right predictions are, with intervals: labels, scores, spans, and what is found first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from steersman.stats import Interval, bootstrap_mean, paired_bootstrap, proportion_interval
from steersman.text.folding import folded

RESAMPLES = 1000
Labels = tuple[str, ...]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """`chief` names the value by which weights are chosen; `each` is one number an example, for pairing."""

    chief: str
    values: dict[str, Interval]
    each: Sequence[float]
    paired_as: str
    """What the mean of `each` is."""
    loss: float = float("nan")
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        return self.values[self.chief].value

    def to_json(self) -> dict[str, Any]:
        return {name: value.to_json() for name, value in self.values.items()} | self.more


def lead(model: Measured, other: Measured) -> Interval:
    """By how much the model is better than another on the same examples."""
    return paired_bootstrap(model.each, other.each, resamples=RESAMPLES)


# labels


def of_labels(
    kind: str, truth: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str], loss: float = float("nan")
) -> Measured:
    """Accuracy and macro F1; of several labels micro F1, macro F1 and the share of examples that are wholly right."""
    right = [float(set(a) == set(b)) for a, b in zip(truth, said, strict=True)]
    number = {name: i for i, name in enumerate(labels)}
    hits, wrong, missed = (np.zeros((len(truth), len(labels)), dtype=np.float32) for _ in range(3))
    for row, (a, b) in enumerate(zip(truth, said, strict=True)):
        for name in {*a, *b}:
            if name in number:  # a label of the test that was never learned is missed by accuracy alone
                (hits if name in a and name in b else missed if name in a else wrong)[row, number[name]] = 1
    macro = _resampled(hits, wrong, missed, _macro)
    if kind == "single_label":
        values = {"accuracy": proportion_interval(right, resamples=RESAMPLES), "macro_f1": macro}
        return Measured("macro_f1", values, right, "accuracy", loss, _classes(hits, wrong, missed, labels))
    values = {"micro_f1": _resampled(hits, wrong, missed, _micro), "macro_f1": macro}
    values["exact"] = proportion_interval(right, resamples=RESAMPLES)
    both = 2 * hits.sum(1) + wrong.sum(1) + missed.sum(1)
    each = np.where(both > 0, 2 * hits.sum(1) / np.maximum(both, 1), 1.0)
    return Measured("micro_f1", values, each.tolist(), "F1 by example", loss, _classes(hits, wrong, missed, labels))


def _macro(hits: Floats, wrong: Floats, missed: Floats) -> Floats:
    """Mean F1 over the labels that occur in truth or prediction, [...] of sums [..., labels]."""
    both = 2 * hits + wrong + missed
    f1 = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
    mean: Floats = f1.sum(-1) / np.maximum((both > 0).sum(-1), 1)
    return mean


def _micro(hits: Floats, wrong: Floats, missed: Floats) -> Floats:
    a, b, c = hits.sum(-1), wrong.sum(-1), missed.sum(-1)
    found: Floats = 2 * a / np.maximum(2 * a + b + c, 1)
    return found


def _resampled(hits: Any, wrong: Any, missed: Any, of: Callable[..., Floats]) -> Interval:
    """Percentile bootstrap over examples of a number that is no mean."""
    n = len(hits)
    value = float(of(*(x.sum(0).astype(np.float64) for x in (hits, wrong, missed))))
    if n < 2:
        return Interval(value, -np.inf, np.inf, n)
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES // 50):  # so that memory stays small
        counts = rng.multinomial(n, np.full(n, 1 / n), size=50).astype(np.float32)
        found.append(of(*((counts @ x).astype(np.float64) for x in (hits, wrong, missed))))
    low, high = np.percentile(np.concatenate(found), (2.5, 97.5))
    return Interval(value, float(low), float(high), n)


def _classes(hits: Any, wrong: Any, missed: Any, labels: Sequence[str]) -> dict[str, Any]:
    """Counts and F1 of each label, of at most 40."""
    if len(labels) > 40:
        return {}
    a, b, c = (x.sum(0) for x in (hits, wrong, missed))
    of = {
        name: {"examples": int(a[i] + c[i]), "f1": round(float(2 * a[i] / max(2 * a[i] + b[i] + c[i], 1)), 4)}
        for i, name in enumerate(labels)
    }
    return {"labels": of}


# scores


def of_scores(truth: Sequence[float], said: Sequence[float], loss: float = float("nan")) -> Measured:
    """Spearman's correlation; pairing by how near a score's rank is."""
    a, b = _ranks(truth), _ranks(said)
    n = len(a)
    value = _correlation(a, b)
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES if n > 2 else 0):
        chosen = rng.integers(n, size=n)
        found.append(_correlation(_ranks(np.asarray(truth)[chosen]), _ranks(np.asarray(said)[chosen])))
    low, high = np.percentile(found, (2.5, 97.5)) if found else (-np.inf, np.inf)
    each = (1 - np.abs(a - b) / max(n, 1)).tolist()
    return Measured(
        "spearman", {"spearman": Interval(value, float(low), float(high), n)}, each, "nearness of ranks", loss
    )


def _ranks(values: Any) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2.0)[inverse]
    return ranks


def _correlation(a: Floats, b: Floats) -> float:
    x, y = a - a.mean(), b - b.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0


# spans

WORD = re.compile(r"[㐀-鿿豈-﫿]|[^\W_]+")


def words(text: str) -> list[str]:
    """Chinese by characters, everything else by words, without punctuation."""
    return WORD.findall(re.sub(r"([㐀-鿿豈-﫿])", r" \1 ", folded(text)))


def of_spans(truth: Sequence[Sequence[str]], said: Sequence[str], loss: float = float("nan")) -> Measured:
    """Exact match and F1 of words with the nearest of the right answers; '' is right where there is none."""
    exact, overlap = [], []
    for answers, text in zip(truth, said, strict=True):
        found, every = words(text), [words(a) for a in answers] or [[]]
        exact.append(float(found in every))
        overlap.append(max(_f1(found, answer) for answer in every))
    values = {
        "f1": bootstrap_mean(overlap, resamples=RESAMPLES),
        "exact": proportion_interval(exact, resamples=RESAMPLES),
    }
    return Measured("f1", values, overlap, "F1", loss)


def _f1(a: Sequence[str], b: Sequence[str]) -> float:
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


# what is found


def of_search(queries: Floats, documents: Floats, right: Sequence[set[int]], loss: float = float("nan")) -> Measured:
    """Whether one of the right documents comes first, and 1 / its place among the first 10; wrong ones that are as near
    come before it, or vectors that are all alike would find everything."""
    first, places = [], []
    for start in range(0, len(queries), 512):
        scores = queries[start : start + 512] @ documents.T
        for row, line in enumerate(scores):
            best = max(line[i] for i in right[start + row])
            place = int((line >= best).sum()) - sum(line[i] == best for i in right[start + row]) + 1
            first.append(float(place == 1))
            places.append(1 / place if place <= 10 else 0.0)
    values = {
        "mrr10": bootstrap_mean(places, resamples=RESAMPLES),
        "first": proportion_interval(first, resamples=RESAMPLES),
    }
    return Measured("mrr10", values, places, "MRR@10", loss, {"documents": len(documents)})
