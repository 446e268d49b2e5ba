"""Rows of tokens almost without padding: dialogues side by side, and answers that share their prompt.

A `Tree` is a trunk (a prompt, or a whole dialogue) and any number of branches (answers). The prompt's tokens are
computed once for all its answers: each branch sees the trunk and itself, at the positions it would have alone,
so every number equals the one from separate rows.

Why so: decision 7 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

MULTIPLE = 64
"""Rows end in padding up to a multiple of this: matrix kernels are made per shape, and so are reused."""
MOST_SCORES = 1 << 26
"""Numbers that attention makes at once, all heads together; trees of more are computed in blocks of queries."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Token ids of a trunk and its branches. `learn` marks the trunk's own target tokens (none if empty)."""

    trunk: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...] = ()
    learn: tuple[bool, ...] = ()

    @property
    def size(self) -> int:
        return len(self.trunk) + sum(map(len, self.branches))


class DocumentMasks:
    """Additive masks of one tree, by attention window and dtype.

    A short tree's is made once per row and used by every layer; a long one's is made in blocks of queries and not kept.
    """

    def __init__(self, positions: Tensor, branch: Tensor) -> None:
        self._positions, self._branch = positions, branch
        self._trunk_alone = bool((branch == -1).all())
        self._made: dict[tuple[int | None, torch.dtype], Tensor] = {}

    def blocks(self, window: int | None, dtype: torch.dtype, heads: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """(queries, keys, mask [queries, keys]): keys that no query of the block sees are left out.

        The last block comes first: it has the most keys, so that the room of its scores serves the others' too.
        """
        n = self._positions.shape[0]
        if heads * n * n <= MOST_SCORES:
            yield slice(0, n), slice(0, n), self._get(window, dtype)
            return
        size = max(MULTIPLE, MOST_SCORES // (heads * n) // MULTIPLE * MULTIPLE)
        for start in reversed(range(0, n, size)):
            first = max(0, start - window + 1) if window and self._trunk_alone else 0
            queries, keys = slice(start, min(n, start + size)), slice(first, min(n, start + size))
            yield queries, keys, self._mask(window, dtype, queries, keys)

    def _get(self, window: int | None, dtype: torch.dtype) -> Tensor:
        if (window, dtype) not in self._made:
            everything = slice(0, self._positions.shape[0])
            self._made[window, dtype] = self._mask(window, dtype, everything, everything)
        return self._made[window, dtype]

    def _mask(self, window: int | None, dtype: torch.dtype, queries: slice, keys: slice) -> Tensor:
        rows, columns = queries.stop - queries.start, keys.stop - keys.start
        visible = torch.ones(rows, columns, dtype=torch.bool).tril_(queries.start - keys.start)
        if not self._trunk_alone:
            branch = self._branch[keys][None]
            visible &= (branch == -1) | (self._branch[queries][:, None] == branch)
        if window:
            visible &= (self._positions[queries][:, None] - self._positions[keys][None]) < window
        return torch.zeros(rows, columns, dtype=dtype).masked_fill_(~visible, float("-inf"))


@dataclass(frozen=True)
class Below:
    """A row's states after its lowest layers; only the layers above remain to compute."""

    states: Tensor
    """[T, hidden]"""
    layers: int


class Sequences(NamedTuple):
    """Arguments of attention over sequences of several lengths: its queries are the row, in order."""

    queries: Tensor
    """[S + 1] int32: ends of each sequence's queries"""
    most_queries: int
    keys: Tensor
    """[S + 1] int32: ends of each sequence's keys; its queries are the last of them"""
    most_keys: int
    places: Tensor | None
    """Where in the row the keys lie; None: they are the row too"""


@dataclass(frozen=True)
class Row:
    """Some trees in one row of T tokens, and where the interesting tokens are.

    Targets are the tokens that a model is asked to predict: the trunks' `learn` tokens and every branch token,
    in row order. Branches are numbered in the order of the trees given.
    """

    ids: Tensor
    """[T] int64"""
    positions: Tensor
    """[T] int64: place of each token in its own dialogue"""
    document: Tensor
    """[T] int64: which tree"""
    branch: Tensor
    """[T] int64: -1 in a trunk, else the branch's number in this row"""
    targets: Tensor
    """[N] indices into the row"""
    predictors: Tensor
    """[N] index of the token whose output predicts each target"""
    branch_ends: Tensor
    """[B] index of each branch's last token"""
    target_branch: Tensor
    """[N] number of the branch each target lies in, -1 for a trunk"""
    padding: int = 0
    """Tokens at the end that belong to no tree; they form a document that no other token attends to."""
    below: Below | None = None
    """Set where frozen layers are computed once for several models or epochs (`share_trunk`)."""

    @cached_property
    def places(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Arguments of attention by kernels: [start, end) of each tree [D, 2]; each token's branch [T] int32, None
        without branches; each token's position [T] int32."""
        counts = torch.unique_consecutive(self.document, return_counts=True)[1]
        ends = counts.cumsum(0)
        branch = self.branch.int() if len(self.branch_ends) else None
        return torch.stack([ends - counts, ends], 1), branch, self.positions.int()

    @cached_property
    def documents(self) -> list[tuple[int, int, DocumentMasks]]:
        """(start, end, masks) of each tree in the row."""
        counts = torch.unique_consecutive(self.document, return_counts=True)[1].tolist()
        out, start = [], 0
        for count in counts:
            end = start + count
            out.append((start, end, DocumentMasks(self.positions[start:end], self.branch[start:end])))
            start = end
        return out

    @cached_property
    def sequences(self) -> Sequences:
        """The row as sequences for attention over sequences of several lengths: trunks, and branches behind theirs."""
        runs, lengths = torch.unique_consecutive(torch.stack([self.document, self.branch]), dim=1, return_counts=True)
        asked, seen, keys = [0], [0], []
        trunk = range(0)
        for branch, length in zip(runs[1].tolist(), lengths.tolist(), strict=True):
            own = range(asked[-1], asked[-1] + length)
            if branch < 0:
                trunk = own
            keys += [*own] if branch < 0 else [*trunk, *own]
            asked.append(own.stop)
            seen.append(len(keys))

        def counts(ends: list[int]) -> tuple[Tensor, int]:
            cumulated = torch.tensor(ends, dtype=torch.int32)
            return cumulated.to(self.ids.device), int(cumulated.diff().max())

        whole = len(keys) == asked[-1]
        return Sequences(*counts(asked), *counts(seen), None if whole else torch.tensor(keys, device=self.ids.device))

    @property
    def mask(self) -> Tensor:
        """[1, 1, T, T] bool: True where the token of the third axis attends to that of the fourth."""
        t = self.ids.shape[0]
        visible = torch.ones(t, t, dtype=torch.bool, device=self.ids.device).tril_()
        visible &= self.document[:, None] == self.document[None]
        visible &= (self.branch[None] == -1) | (self.branch[:, None] == self.branch[None])
        return visible[None, None]

    @property
    def target_ids(self) -> Tensor:
        return self.ids[self.targets]


def build_row(trees: Sequence[Tree]) -> Row:
    """Lay trees side by side, padded at the end to a multiple of `MULTIPLE`."""
    ids: list[int] = []
    positions: list[int] = []
    document: list[int] = []
    branch: list[int] = []
    targets: list[int] = []
    predictors: list[int] = []
    target_branch: list[int] = []
    ends: list[int] = []
    for number, tree in enumerate(trees):
        start = len(ids)
        ids.extend(tree.trunk)
        positions.extend(range(len(tree.trunk)))
        branch.extend([-1] * len(tree.trunk))
        for i, own in enumerate(tree.learn):
            if own:
                targets.append(start + i)
                predictors.append(start + i - 1)
                target_branch.append(-1)
        root = start + len(tree.trunk) - 1
        for tokens in tree.branches:
            first = len(ids)
            ids.extend(tokens)
            positions.extend(range(len(tree.trunk), len(tree.trunk) + len(tokens)))
            branch.extend([len(ends)] * len(tokens))
            targets.extend(range(first, first + len(tokens)))
            predictors.extend([root, *range(first, first + len(tokens) - 1)])
            target_branch.extend([len(ends)] * len(tokens))
            ends.append(len(ids) - 1)
        document.extend([number] * (len(ids) - start))
    padding = -len(ids) % MULTIPLE
    ids.extend([0] * padding)
    positions.extend(range(padding))
    branch.extend([-1] * padding)
    document.extend([len(trees)] * padding)

    def indices(column: list[int]) -> Tensor:
        return torch.tensor(column, dtype=torch.long)

    return Row(
        ids=indices(ids),
        positions=indices(positions),
        document=indices(document),
        branch=indices(branch),
        targets=indices(targets),
        predictors=indices(predictors),
        branch_ends=indices(ends),
        target_branch=indices(target_branch),
        padding=padding,
    )


def lines_row(tokens: Tensor, document: Tensor) -> Row:
    """Lines of text side by side, tokens and document [R, L], to predict every token but the first of each line.

    `document` numbers the documents of a line in order; tokens see those before them in their document alone. The first
    token of a document is predicted too, from the end of the one before.
    """
    lines, length = tokens.shape
    assert lines * length % MULTIPLE == 0
    fresh = torch.ones(lines, length, dtype=torch.bool)
    fresh[:, 1:] = document[:, 1:] != document[:, :-1]
    flat = fresh.flatten()
    number = flat.long().cumsum(0) - 1
    (starts,) = flat.nonzero(as_tuple=True)
    place = torch.arange(lines * length)
    targets = place[place % length != 0]
    none = torch.zeros(0, dtype=torch.long)
    return Row(
        ids=tokens.flatten(),
        positions=place - starts[number],
        document=number,
        branch=torch.full_like(number, -1),
        targets=targets,
        predictors=targets - 1,
        branch_ends=none,
        target_branch=torch.full_like(targets, -1),
    )


def to_device(row: Row, device: torch.device) -> Row:
    if device.type == "cpu":
        return row
    moved: dict[str, Any] = {n: v.to(device) for n, v in vars(row).items() if isinstance(v, Tensor)}
    return dataclasses.replace(row, **moved)


def fill_rows(sizes: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Group items into rows of at most `row_tokens` (first fit, longest first); returns indices per row.

    An item longer than a row gets a row of its own; the caller decides whether that is allowed.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        for r, left in enumerate(room):
            if sizes[i] <= left:
                rows[r].append(i)
                room[r] -= sizes[i]
                break
        else:
            rows.append([i])
            room.append(row_tokens - sizes[i])
    return [sorted(row) for row in rows]
