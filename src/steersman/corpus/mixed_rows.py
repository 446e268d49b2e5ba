"""What pretraining reads: the rows of each optimizer step out of a corpus's shards, by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steersman.corpus.mixture import Mixture, Rows
from steersman.corpus.rows import Line
from steersman.corpus.shards import Documents

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Reading:
    """A corpus's training tokens as rows of a mixture."""

    rows: Rows
    sources: tuple[str, ...]
    shares: Mapping[str, float]
    epochs: Mapping[str, float]
    """How often each source is read."""
    length: int

    def lines(self, first: int, count: int) -> tuple[Numbers, Numbers]:
        """(tokens, document), each [count, length], of rows `first` and on."""
        found = [self.rows[number] for number in range(first, first + count)]
        return np.stack([row.tokens for row in found]), np.stack([row.document for row in found])


def reading(
    documents: Mapping[tuple[str, str], Documents],
    mixture: Mixture,
    tokens: int,
    length: int,
    seed: int,
    whole: bool = False,
) -> Reading:
    """`tokens` of the sources in rows of `length`; `whole`: long documents are not cut.

    ValueError where a source has less than a row, or all too little.
    """
    training = {source: docs for (source, split), docs in documents.items() if split == "train"}
    have = {source: int(docs.lengths.sum()) for source, docs in training.items()}
    shares = mixture.shares(have, tokens)
    lines = []
    for number, source in enumerate(shares):
        try:
            lines.append(Line(training[source], length, seed + number, whole))
        except ValueError as error:
            raise ValueError(f"source {source}: {error}") from None
    epochs = {source: share * tokens / have[source] for source, share in shares.items()}
    return Reading(Rows(lines, list(shares.values()), seed), tuple(shares), shares, epochs, length)
