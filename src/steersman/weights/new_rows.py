"""Rows of embeddings and heads for entries that a vocabulary grew by, made from those of old entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

STARTS = ("pieces", "random", "average")
"""New rows: the mean of the old tokens that an entry stands for; drawn with the old rows' mean and deviation; the mean
of all old rows."""
MULTIPLE = 128
"""Largest power of two that a padded vocabulary is kept a multiple of."""


def multiple_of(rows: int) -> int:
    """The power of two that `rows` is a multiple of, MULTIPLE at most."""
    return min(rows & -rows, MULTIPLE)


def check_growable(config: Any, rows: int, entries: int) -> None:
    """ValueError for a model whose table of embeddings cannot grow; `rows`: those of the table."""
    if getattr(config, "vocab_size_per_layer_input", None):
        raise ValueError("a model with embeddings in each layer: expected one with a single table")
    if rows < entries:
        raise ValueError(f"the model has {rows} rows for {entries} entries; expected a row for each")


@torch.no_grad()
def grow(model: Any, old: int, pieces: Mapping[int, Sequence[int]], start: str = "pieces", seed: int = 0) -> int:
    """Give `model` a row for each new entry, in its embedding and, where it is another, its head; returns the rows.

    `old`: entries that the vocabulary had; `pieces`: new id -> old ids. The number of rows stays a multiple of what it
    is a multiple of, and rows of padding that the model had are used first. ValueError where it cannot grow.
    """
    if start not in STARTS:
        raise ValueError(f"start: expected one of {', '.join(STARTS)}, got {start}")
    before = int(model.get_input_embeddings().weight.shape[0])
    check_growable(model.config, before, old)
    step = multiple_of(before)
    rows = max(before, -(-(max(pieces, default=0) + 1) // step) * step)
    if rows > before:
        model.resize_token_embeddings(rows, mean_resizing=False)
    for number, table in enumerate(_tables(model)):
        made = _made(table[:old].float(), list(pieces.values()), start, seed + number)
        table[before:] = table[:old].float().mean(0).to(table.dtype)  # of padding that is new
        table[list(pieces)] = made.to(table.dtype)
    return rows


def _tables(model: Any) -> list[Tensor]:
    """The embedding; the head and its bias, where they are apart from it."""
    first, head = model.get_input_embeddings().weight, model.get_output_embeddings()
    found = [first]
    if head is not None and head.weight is not first:
        found.append(head.weight)
    if getattr(head, "bias", None) is not None:
        found.append(head.bias)
    return [table.data for table in found]


def _made(rows: Tensor, pieces: Sequence[Sequence[int]], start: str, seed: int) -> Tensor:
    """[entries, ...] in float32 from the old rows."""
    if start == "pieces":
        return torch.stack([rows[list(ids)].mean(0) for ids in pieces])
    mean = rows.mean(0)
    if start == "average":
        return mean.expand(len(pieces), *mean.shape).clone()
    noise = torch.randn(len(pieces), *mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + rows.std(0) * noise
