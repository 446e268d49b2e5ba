"""Deterministic splits: a record's place depends on its content alone, so equal records never straddle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from steersman.data.clean import text_of
from steersman.data.formats import Parsed
from steersman.types import Feedback, Ranking

SPLITS = ("train", "validation", "test")


def split_by_hash(key: str, fractions: Mapping[str, float]) -> str:
    """The split of `key`: the same key always goes to the same one, shares as in `fractions` (they add up to 1).

    Growing one fraction moves only the keys at its border, so splits stay comparable between versions of a data set.
    """
    total = sum(fractions.values())
    if not fractions or abs(total - 1) > 1e-6 or any(f < 0 for f in fractions.values()):
        raise ValueError(f"split fractions: expected shares of at least 0 that add up to 1, got {dict(fractions)}")
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    upto = 0.0
    for name, fraction in fractions.items():
        upto += fraction
        if place < upto:
            return name
    return [name for name, fraction in fractions.items() if fraction > 0][-1]


def split_key(record: Parsed) -> str:
    """What must not straddle: the first user turn (or the text), case and white space aside.

    Continuations of one dialogue, and rankings of one prompt, share it.
    """
    if isinstance(record, str):
        text = text_of(record)
    else:
        messages = record.prompt.messages if isinstance(record, Ranking | Feedback) else record.messages
        text = next((m.content for m in messages if m.role == "user"), "")
    return " ".join(text.casefold().split())


def split_records(records: Iterable[Parsed], fractions: Mapping[str, float]) -> dict[str, list[Parsed]]:
    """Records by split, order kept; every named split is there, though it may be empty."""
    out: dict[str, list[Parsed]] = {name: [] for name in fractions}
    for record in records:
        out[split_by_hash(split_key(record), fractions)].append(record)
    return out
