"""How often an index finds the right document, with intervals: recall among the first k, mean reciprocal rank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.progress import progress
from steersman.retrieval.index import Index
from steersman.stats import bootstrap_mean, paired_bootstrap, proportion_interval

DEEP = 10
RESAMPLES = 2000


@dataclass(frozen=True)
class Asked:
    question: str
    documents: frozenset[str]
    """Those that answer it, by `Passage.document`."""


def read(path: Path) -> list[Asked]:
    """Lines of JSON: question, and document (an id or a list of ids). ValueError for anything else."""
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            question, right = record["question"], record.get("document", record.get("documents"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path}:{number}: expected question and document, as JSON") from None
        ids = right if isinstance(right, list) else [right]
        if not (isinstance(question, str) and ids and all(isinstance(x, str | int) for x in ids)):
            raise ValueError(f"{path}:{number}: expected a question, and a document's id or several")
        out.append(Asked(question, frozenset(map(str, ids))))
    if not out:
        raise ValueError(f"{path}: expected questions, found none")
    return out


def place_of(index: Index, asked: Asked, how: str) -> int:
    """The place of the first right document among the documents that are found, each counted once; 0: not among 10."""
    found = dict.fromkeys(hit.passage.document for hit in index.search(asked.question, 5 * DEEP, how))
    return next((place for place, name in enumerate(list(found)[:DEEP], 1) if name in asked.documents), 0)


def measured(index: Index, questions: Sequence[Asked], ways: Sequence[str]) -> dict[str, Any]:
    """way -> recall1, recall5, recall10, mrr10; of ways besides bm25 also the lead over it, question by question."""
    places: dict[str, list[int]] = {}
    for way in ways:
        with progress(way, len(questions), unit="question") as shown:
            places[way] = []
            for asked in questions:
                places[way].append(place_of(index, asked, way))
                shown.update(len(places[way]))
    out: dict[str, Any] = {}
    for way, found in places.items():
        ranks = reciprocals(found)
        out[way] = {
            f"recall{k}": proportion_interval([float(0 < p <= k) for p in found], resamples=RESAMPLES).to_json()
            for k in (1, 5, DEEP)
        }
        out[way]["mrr10"] = bootstrap_mean(ranks, resamples=RESAMPLES).to_json()
        if way != "bm25" and "bm25" in places:
            lead = paired_bootstrap(ranks, reciprocals(places["bm25"]), resamples=RESAMPLES)
            out[way]["mrr10_over_bm25"] = lead.to_json()
    return out


def reciprocals(places: Sequence[int]) -> list[float]:
    return [1 / place if place else 0.0 for place in places]
