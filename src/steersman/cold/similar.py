"""Prompts of the logs that resemble a few seeds, in groups, each with the one that stands for it.

Why so: decision 74 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from steersman.data.contamination import units
from steersman.data.resemble import Vectors, char_vectors, in_blocks, rarity
from steersman.types import Conversation

Embed = Callable[[Sequence[str]], Vectors]
ROUNDS, STARTS = 20, 5


@dataclass(frozen=True)
class Group:
    """Prompts that resemble each other: the one in their middle first, then by nearness to it."""

    prompts: tuple[Conversation, ...]
    near: tuple[float, ...]
    """Likeness of each to the first, which is 1."""
    seed: str
    """The seed that the middle is most like."""
    score: float


@dataclass(frozen=True)
class Found:
    """prompts = repeated + further off + grouped."""

    prompts: int
    repeated: int
    further: int
    groups: list[Group]

    @property
    def grouped(self) -> int:
        return sum(len(g.prompts) for g in self.groups)


def similar(
    seeds: Sequence[str],
    prompts: Sequence[Conversation],
    *,
    most: int = 200,
    groups: int = 0,
    least: float = 0.0,
    seed: int = 0,
    embed: Embed | None = None,
) -> Found:
    """The `most` prompts nearest to any seed (at least `least` alike), in `groups` (0: the root of half their number).

    `embed` gives vectors of unit length; None: by characters (see `data.resemble`).
    """
    if not seeds:
        raise ValueError("expected at least one seed")
    unique: dict[tuple[str, ...], Conversation] = {}
    for prompt in prompts:
        unique.setdefault(units(prompt.last_user), prompt)
    unique.pop((), None)
    distinct = list(unique.values())
    if not distinct:
        return Found(len(prompts), len(prompts), 0, [])
    texts = [p.last_user for p in distinct]
    scores, vectors_of = _compared(seeds, texts, embed)
    best = scores.max(axis=1)
    order = [int(i) for i in np.argsort(-best, kind="stable")[:most] if best[i] >= least]
    if not order:
        return Found(len(prompts), len(prompts) - len(distinct), len(distinct), [])
    vectors = vectors_of(order)
    labels = clusters(vectors, groups or max(1, round((len(order) / 2) ** 0.5)), seed)
    made = []
    for label in dict.fromkeys(labels):
        members = [j for j, other in enumerate(labels) if other == label]
        rows = [order[j] for j in members]
        made.append(_group([distinct[i] for i in rows], vectors[members], scores[rows], seeds))
    made.sort(key=lambda g: -len(g.prompts))
    return Found(len(prompts), len(prompts) - len(distinct), len(distinct) - len(order), made)


def _compared(
    seeds: Sequence[str], texts: Sequence[str], embed: Embed | None
) -> tuple[Vectors, Callable[[Sequence[int]], Vectors]]:
    """(likeness of each text to each seed, the vectors of some texts); by characters in blocks, not all at once."""
    if embed is not None:
        every = embed([*seeds, *texts])
        rest = every[len(seeds) :]
        return rest @ every[: len(seeds)].T, lambda order: rest[list(order)]
    weights = rarity([*texts, *seeds])
    of_seeds = char_vectors(seeds, weights)
    scores = np.concatenate([block @ of_seeds.T for block in in_blocks(texts, weights)])
    return scores, lambda order: char_vectors([texts[i] for i in order], weights)


def _group(prompts: list[Conversation], vectors: Vectors, scores: Vectors, seeds: Sequence[str]) -> Group:
    middle = int((vectors @ vectors.mean(axis=0)).argmax())
    near = vectors @ vectors[middle]
    order = [middle, *(int(i) for i in np.argsort(-near, kind="stable") if i != middle)]
    seed = int(scores[middle].argmax())
    likeness = tuple(round(float(near[i]), 3) for i in order)
    return Group(tuple(prompts[i] for i in order), likeness, seeds[seed], round(float(scores[middle][seed]), 3))


def clusters(vectors: Vectors, count: int, seed: int = 0) -> list[int]:
    """A label for each row: k-means by angle, the best of some beginnings with rows far from each other (k-means++)."""
    rng = np.random.default_rng(seed)
    tried = [_once(vectors, min(count, len(vectors)), rng) for _ in range(STARTS)]
    return max(tried, key=lambda found: found[1])[0]


def _once(vectors: Vectors, count: int, rng: np.random.Generator) -> tuple[list[int], float]:
    """(a label for each row, likeness of the rows to their middles in all) from one beginning."""
    centres = [vectors[int(rng.integers(len(vectors)))]]
    while len(centres) < count:
        far = np.clip(1 - np.max(vectors @ np.stack(centres).T, axis=1), 0, None) ** 2
        if far.sum() <= 0:
            break
        centres.append(vectors[int(rng.choice(len(vectors), p=far / far.sum()))])
    middles = np.stack(centres)
    labels = np.zeros(len(vectors), dtype=np.int64)
    for turn in range(ROUNDS):
        new = (vectors @ middles.T).argmax(axis=1)
        if turn and (new == labels).all():
            break
        labels = new
        for k in range(len(middles)):
            if (labels == k).any():
                mean = vectors[labels == k].mean(axis=0)
                middles[k] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return [int(label) for label in labels], float((vectors * middles[labels]).sum())
