"""What a model of labels must beat: the commonest answer, and n-grams of characters and words with logistic regression.

For pairs the n-grams of each text, those in both, and how many are shared; for searches and scores the likeness of
n-grams (`data.resemble`); for spans the sentence of the passage that shares most with the question.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.data.examples import Example
from steersman.data.resemble import char_vectors, rarity
from steersman.train import label_measures as measures
from steersman.train.label_measures import Measured
from steersman.train.vector_task import collection

MOST = 50_000
"""N-grams that are used: those in the most examples."""
PENALTY = 0.05
"""Price of the squares of the weights: C = 10 of logistic regression."""
STEPS = 40
SENTENCE = re.compile(r"[^。！？!?\n；;.]+[。！？!?\n；;.]?")


def baselines(
    kind: str, train: Sequence[Example], test: Sequence[Example], labels: Sequence[str]
) -> dict[str, Measured]:
    """Each baseline's measures of the test."""
    if kind in ("single_label", "multi_label"):
        return _of_labels(kind, train, test, labels)
    if kind == "regression":
        mean, truth = fmean(e.score or 0.0 for e in train), [e.score or 0.0 for e in test]
        weights = rarity([t for e in train for t in (e.text, e.second)])
        a, b = (char_vectors([getattr(e, name) for e in test], weights) for name in ("text", "second"))
        alike = (a * b).sum(1).tolist()
        return {"mean": measures.of_scores(truth, [mean] * len(truth)), "ngrams": measures.of_scores(truth, alike)}
    if kind == "span":
        truth_texts = [[text for _, text in e.answers] for e in test]
        return {
            "nothing": measures.of_spans(truth_texts, [""] * len(test)),
            "sentence": measures.of_spans(truth_texts, [_sentence(e, train) for e in test]),
        }
    texts, right = collection(test)
    weights = rarity(t for e in train for t in (e.text, e.second))
    vectors = [char_vectors(x, weights).astype(np.float64) for x in ([e.text for e in test], texts)]
    return {"ngrams": measures.of_search(vectors[0], vectors[1], right)}


def _of_labels(
    kind: str, train: Sequence[Example], test: Sequence[Example], labels: Sequence[str]
) -> dict[str, Measured]:
    truth = [e.labels for e in test]
    commonest = Counter(e.labels for e in train).most_common(1)[0][0]
    found = logistic(kind, train, test, labels)
    said: list[tuple[str, ...]]
    if kind == "single_label":
        said = [(labels[i],) for i in found.argmax(dim=1).tolist()]
    else:
        said = [tuple(labels[i] for i, x in enumerate(row) if x > 0) for row in found.tolist()]
    return {
        "commonest": measures.of_labels(kind, truth, [commonest] * len(test), labels),
        "ngrams": measures.of_labels(kind, truth, said, labels),
    }


def grams(text: str) -> Counter[str]:
    """Runs of 1 to 4 characters of the casefolded text, and words and pairs of words."""
    plain = " ".join(["", *text.casefold()[:1000].split(), ""])
    found = Counter(plain[i : i + n] for n in (1, 2, 3, 4) for i in range(max(0, len(plain) - n + 1)))
    words = measures.words(text)
    found.update(f"w:{w}" for w in words)
    found.update(f"w:{a} {b}" for a, b in itertools.pairwise(words))
    return found


def features(example: Example) -> Counter[str]:
    first = grams(example.text)
    if not example.second:
        return first
    second = grams(example.second)
    out = Counter({f"1{g}": n for g, n in first.items()})
    out.update({f"2{g}": n for g, n in second.items()})
    shared = first.keys() & second.keys()
    out.update({f"b{g}": 1 for g in shared})
    out.update({f"o{g}": 1 for g in first.keys() ^ second.keys()})
    share = 2 * len(shared) / max(1, len(first) + len(second))
    out.update(
        {f"share{round(10 * share)}": 20, f"length{round(4 * math.log2((len(second) + 1) / (len(first) + 1)))}": 5}
    )
    return out


def logistic(kind: str, train: Sequence[Example], test: Sequence[Example], labels: Sequence[str]) -> Tensor:
    """[N, labels] logits of the test."""
    every = [features(e) for e in train]
    seen = Counter(name for one in every for name in one)
    kept = {name: i for i, (name, n) in enumerate(seen.most_common(MOST)) if n > 1 or len(train) < 500}
    idf = torch.tensor([math.log((1 + len(train)) / (1 + seen[name])) + 1 for name in kept])
    x, y = _matrix(every, kept, idf), _targets(kind, train, labels)
    weight = torch.zeros(len(kept), len(labels), requires_grad=True)
    bias = torch.zeros(len(labels), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, history_size=5, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        scores = torch.sparse.mm(x, weight) + bias
        if kind == "single_label":
            loss = F.cross_entropy(scores, y, reduction="sum")
        else:
            loss = F.binary_cross_entropy_with_logits(scores, y, reduction="sum")
        loss = (loss + PENALTY * weight.square().sum()) / len(train)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found: Tensor = torch.sparse.mm(_matrix([features(e) for e in test], kept, idf), weight) + bias
    return found


def _matrix(rows: Sequence[Counter[str]], kept: dict[str, int], idf: Tensor) -> Tensor:
    """Sparse [N, n-grams], rows of length 1."""
    starts, columns, values = [0], [], []
    for row in rows:
        there = sorted((kept[name], n) for name, n in row.items() if name in kept)
        columns += [i for i, _ in there]
        values += [1 + math.log(n) for _, n in there]
        starts.append(len(columns))
    at = torch.tensor(columns, dtype=torch.long)
    found = torch.tensor(values) * idf[at] if columns else torch.zeros(0)
    counts = torch.tensor(starts).diff()
    row_of = torch.repeat_interleave(torch.arange(len(rows)), counts)
    norms = torch.zeros(len(rows)).index_add_(0, row_of, found.square()).sqrt().clamp_min(1e-9)
    index = torch.stack([row_of, at]) if columns else torch.zeros(2, 0, dtype=torch.long)
    values_of = found / norms[row_of]
    return torch.sparse_coo_tensor(index, values_of, (len(rows), len(kept)), check_invariants=False).coalesce()


def _targets(kind: str, examples: Iterable[Example], labels: Sequence[str]) -> Any:
    if kind == "single_label":
        number = {name: i for i, name in enumerate(labels)}
        return torch.tensor([number[e.labels[0]] for e in examples])
    return torch.tensor([[float(name in e.labels) for name in labels] for e in examples])


def _sentence(example: Example, train: Sequence[Example]) -> str:
    """The sentence that shares most with the question, cut to the usual length of an answer."""
    usual = round(median(len(a[1]) for e in train for a in e.answers[:1])) if any(e.answers for e in train) else 20
    asked = set(measures.words(example.text))
    best: str = max(SENTENCE.findall(example.second) or [""], key=lambda s: len(asked & set(measures.words(s))))
    return best[: max(usual * 3, 1)]
