"""Files of labelled pairs and rankings that a reward model is scored on: as `data import` reads them, with labels.

A label is what a record says it belongs to, such as RewardBench's `subset`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.data.clean import clean
from steersman.data.importing import parse_file
from steersman.data.reading import Reading
from steersman.types import Ranking


@dataclass(frozen=True)
class Labelled:
    """`labels`: for each ranking, label's name -> value."""

    rankings: list[Ranking]
    labels: list[Mapping[str, str]]
    left_out: Mapping[str, int]
    changed: Mapping[str, int]


def load(paths: Sequence[Path], reading: Reading, **options: Any) -> Labelled:
    """Rankings of files in any form that `data import` reads; `options` are those of `importing.Taking`.

    Repeated records stay: a benchmark counts them. Raises ValueError 'file:line: what was expected', and where
    nothing is left.
    """
    kept: dict[str, list[dict[str, str]]] = {}
    found = parse_file(paths, "rankings", reading=dataclasses.replace(reading, labels=kept), **options)
    changed = Counter(found.changed)
    records, dropped = clean(found.records, changed, unique=False)
    rankings = [record for record in records if isinstance(record, Ranking)]
    left_out = {**found.reasons(), **found.left_out, **dropped}
    if not rankings:
        reasons = "; ".join(f"{n} {why}" for why, n in left_out.items())
        raise ValueError(f"{', '.join(map(str, paths))}: expected at least one good ranking, found none ({reasons})")
    return Labelled(rankings, [_of(r, kept) for r in rankings], left_out, changed)


def _of(ranking: Ranking, kept: Mapping[str, list[dict[str, str]]]) -> dict[str, str]:
    """The labels kept under the ranking's name, or under its prompt's; of our own records what they hold."""
    own = {"labeler": ranking.labeler, "objective": ranking.objective}
    of = kept.get(ranking.id) or kept.get(ranking.prompt.id) or [{}]
    # records that say the same may stand in several subsets, in this order
    return {**{k: v for k, v in own.items() if v}, **(of.pop(0) if len(of) > 1 else of[0])}
