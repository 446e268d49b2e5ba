"""How alike an answer and the right one are: exact, by words, by items, by the longest common run or subsequence; and
how well a text is rewritten.

Texts are compared as `units`: each Chinese character is one, every other word is one (lower case, without punctuation).
For English alone ROUGE-L is rouge-score's. `f1` is SQuAD's without its rule for articles, where no sign is within a
word (here "3.5" is two words, there "35"); `span` is CMRC 2018's, where there is no ASCII sign (there such are words).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from steersman.text.folding import plain

WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_UNIT = re.compile(rf"[{WIDE}]|[^\W_{WIDE}]+")
SEPARATORS = re.compile(r"[、，,；;\n|]+|(?<=[\u3400-\u9fff])\s+(?=[\u3400-\u9fff])")
AROUND = " .,:;!?\"'“”‘’。、《》「」()[]*"
"""What may stand around a label; full-width signs are plain ones by then."""
Metric = Callable[[str, str], float]
"""(answer, right answer) -> score from 0 to 1."""


def units(text: str) -> list[str]:
    return _UNIT.findall(plain(text).lower())


def written(text: str) -> str:
    """A label as it is compared: its first line, without case, superfluous white space and what encloses it (of a label
    of nothing but signs these are the label)."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    found = " ".join(plain(line).casefold().split())
    return found.strip(AROUND) or found


def accuracy(answer: str, gold: str) -> float:
    """1 where the answer's first line is the right one, case and what encloses it aside."""
    return float(bool(answer.strip()) and written(answer) == written(gold))


def _harmonic(shared: float, said: float, wanted: float) -> float:
    return 2 * shared / (said + wanted) if said + wanted else 0.0


def f1(answer: str, gold: str) -> float:
    """Of units, how often each comes counted."""
    said, wanted = units(answer), units(gold)
    return _harmonic((Counter(said) & Counter(wanted)).total(), len(said), len(wanted))


def span(answer: str, gold: str) -> float:
    """F1 by the longest run of units that both have."""
    said, wanted = units(answer), units(gold)
    best, before = 0, [0] * (len(wanted) + 1)
    for a in said:
        row = [0] + [before[j] + 1 if a == b else 0 for j, b in enumerate(wanted)]
        best, before = max(best, *row), row
    return _harmonic(best, len(said), len(wanted))


def rouge_l(answer: str, gold: str) -> float:
    """F-measure of the longest common subsequence (Lin 2004)."""
    said, wanted = units(answer), units(gold)
    before = [0] * (len(wanted) + 1)
    for a in said:
        row = [0]
        for j, b in enumerate(wanted):
            row.append(before[j] + 1 if a == b else max(row[j], before[j + 1]))
        before = row
    return _harmonic(before[-1], len(said), len(wanted))


def items(text: str) -> set[str]:
    """An answer's items, written side by side."""
    return {one for part in SEPARATORS.split(text) if (one := written(part))}


def item_counts(answer: str, gold: str) -> tuple[int, int, int]:
    """(items in both, items of the answer, right items): micro-F1 sums them up."""
    said, wanted = items(answer), items(gold)
    return len(said & wanted), len(said), len(wanted)


def entities(answer: str, gold: str) -> float:
    """F1 of items as sets."""
    return _harmonic(*item_counts(answer, gold))


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "span": span,
    "entities": entities,
    "rouge": rouge_l,
}
SARI = "sari"
"""The metric that needs the source too."""


def sari(answer: str, golds: Sequence[str], source: str) -> float:
    """What is added, kept and left out of `source` beside what `golds` do (Xu et al. 2016): the mean of F1, F1 and
    precision over runs of one to four units, 0/0 being 1 as in Hugging Face's `evaluate`. A copy adds nothing."""
    said, before = units(answer), units(source)
    parts: list[float] = []
    for n in range(1, 5):
        wanted = Counter(run for gold in golds for run in _runs(units(gold), n).elements())
        a, s = (Counter({r: k * len(golds) for r, k in _runs(of, n).items()}) for of in (said, before))
        parts += _operations(a, s, wanted)
    return sum(parts) / len(parts)


def _runs(of: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(of[i:] for i in range(n)), strict=False))


def _operations(a: Counter[Any], s: Counter[Any], wanted: Counter[Any]) -> tuple[float, float, float]:
    """(F1 of what is kept, precision of what is left out, F1 of what is added); `a`: the answer's runs, `s`: the
    source's, both times the number of right answers."""
    kept, keep = s & a, s & wanted
    good = kept & wanted
    left = s - a
    added, add = a.keys() - s.keys(), wanted.keys() - s.keys()
    return (
        _f(_ratio(sum(good[r] / kept[r] for r in good), len(kept)), _ratio(good.total(), keep.total())),
        _ratio(sum(n / left[r] for r, n in (left - wanted).items()), len(left)),
        _f(_ratio(len(added & add), len(added)), _ratio(len(added & add), len(add))),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 1.0


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def best(metric: str, answer: str, golds: Sequence[str], source: str = "") -> float:
    """The score beside the right answer that is most alike; `source`: the text that SARI compares with."""
    if metric == SARI:
        return sari(answer, golds, source)
    return max(METRICS[metric](answer.strip(), gold) for gold in golds)


def macro_f1(said: Sequence[str], golds: Sequence[str]) -> float:
    """The mean over the labels that are right somewhere of each label's F1; what is said beside is no label of it."""
    said, golds = [written(s) for s in said], [written(g) for g in golds]
    scores = []
    for label in sorted(set(golds)):
        both = sum(s == g == label for s, g in zip(said, golds, strict=True))
        scores.append(_harmonic(both, said.count(label), golds.count(label)))
    return sum(scores) / len(scores) if scores else 0.0
