"""Texts, pairs and passages as an encoder reads them: with its tokenizer's own marks around and between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Marked:
    """One text, or two with a mark between them."""

    ids: tuple[int, ...]
    types: tuple[int, ...] | None
    """Which of the two texts each token is of, for models that are told; None for others."""
    cut: bool
    """Whether it was longer than the limit."""
    asked: int = 0
    """Tokens up to the question's last, where a passage is read for one."""


@dataclass(frozen=True)
class Window:
    """A question with a part of its passage."""

    marked: Marked
    places: tuple[tuple[int, int] | None, ...]
    """For each token of the passage its (first, last + 1) character there; None for every other token."""


class Marks:
    """Renders texts within `most` tokens. The two texts of a pair are cut at their ends, the longer one first."""

    def __init__(self, tokenizer: Any, most: int, lower: bool = False) -> None:
        self._tokenizer, self.most, self.lower = tokenizer, most, lower
        self._parted = tokenizer.sep_token_id is not None
        self._typed = "token_type_ids" in tokenizer.model_input_names

    def texts(self, firsts: Sequence[str], seconds: Sequence[str] | None = None) -> list[Marked]:
        """A text, or a pair where `seconds` are given, of each; a model without a mark between them gets a newline."""
        if seconds is not None and not self._parted:
            firsts = [f"{first}\n" for first in firsts]
        if self.lower:
            firsts, seconds = [x.lower() for x in firsts], seconds and [x.lower() for x in seconds]
        every = (list(firsts),) if seconds is None else (list(firsts), list(seconds))
        whole = self._tokenizer(*every, truncation=False, return_token_type_ids=self._typed, verbose=False)
        out = []
        long = [i for i, ids in enumerate(whole["input_ids"]) if len(ids) > self.most]
        short = dict(zip(long, self._cut(every, long), strict=True)) if long else {}
        for i, ids in enumerate(whole["input_ids"]):
            types = whole["token_type_ids"][i] if self._typed else None
            ids, types = short.get(i, (ids, types))
            out.append(Marked(tuple(ids), None if types is None else tuple(types), i in short))
        return out

    def _cut(self, every: Sequence[list[str]], long: Sequence[int]) -> list[tuple[list[int], list[int] | None]]:
        told = {"truncation": "longest_first" if len(every) > 1 else True, "max_length": self.most}
        found = self._tokenizer(
            *([texts[i] for i in long] for texts in every), return_token_type_ids=self._typed, **told
        )
        types = found["token_type_ids"] if self._typed else [None] * len(long)
        return list(zip(found["input_ids"], types, strict=True))

    def windows(self, question: str, passage: str, stride: int) -> list[Window]:
        """The passage in parts that overlap by `stride` tokens, each behind the question.

        Raises ValueError where the tokenizer does not say which characters a token has, or the question leaves no room.
        """
        if not self._tokenizer.is_fast:
            raise ValueError("spans need a tokenizer that says which characters a token has; expected tokenizer.json")
        question = question if self._parted else f"{question}\n"
        asked = len(self._tokenizer(question, "", verbose=False).input_ids)
        room = self.most - asked
        if room < 16:
            raise ValueError(
                f"a question of {asked} tokens leaves {max(0, room)} of {self.most} to its passage; expected at least "
                "16: raise encoder.rows.text_tokens"
            )
        found = self._tokenizer(
            question,
            passage,
            truncation="only_second",
            max_length=self.most,
            stride=min(stride, room // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=self._typed,
        )
        out = []
        for number, ids in enumerate(found["input_ids"]):
            of = found.sequence_ids(number)
            places = tuple(
                (start, end) if who == 1 and end > start else None
                for who, (start, end) in zip(of, found["offset_mapping"][number], strict=True)
            )
            types = tuple(found["token_type_ids"][number]) if self._typed else None
            asked = max((i + 1 for i, who in enumerate(of) if who == 0), default=1)
            out.append(Window(Marked(tuple(ids), types, False, asked), places))
        return out
