"""Parses a labeler's input at the ranking prompt. Answers are numbered from 1 in the order shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steersman.types import GRADES, Grade

Action = Literal["skip", "undo", "quit", "help"]
ACTIONS: dict[str, Action] = {
    "s": "skip",
    "skip": "skip",
    "u": "undo",
    "undo": "undo",
    "q": "quit",
    "quit": "quit",
    "?": "help",
    "h": "help",
    "help": "help",
}
LETTERS: dict[str, Grade] = {"g": "good", "a": "average", "p": "poor"}
WIDE = str.maketrans("＞＝？　，。", ">=?   ")
HELP = """  2>1=3>4   answer 2 is best, 1 and 3 are equal, 4 is last
  g a p g   a grade per answer, as shown: good, average, poor
  b         before either of them, or alone: no answer is acceptable
  s skip    u the last one again    q quit    ? this help"""


@dataclass(frozen=True, slots=True)
class Said:
    """A judgement of the answers as they were shown: ranks (1 best) or grades, or neither with `all_bad`."""

    ranks: tuple[int, ...] | None = None
    grades: tuple[Grade, ...] | None = None
    all_bad: bool = False

    def stored(self, order: Sequence[int]) -> Said:
        """The same judgement for the stored order, where `order[i]` is the stored index of the i-th shown answer."""

        def place(values: tuple[object, ...] | None) -> tuple[object, ...] | None:
            if values is None:
                return None
            out: list[object] = [None] * len(order)
            for shown, at in enumerate(order):
                out[at] = values[shown]
            return tuple(out)

        return Said(place(self.ranks), place(self.grades), self.all_bad)  # type: ignore[arg-type]


def parse(line: str, k: int) -> Said | Action:
    """The judgement or action in `line` for k answers. Raises ValueError that says what is missing or wrong."""
    text = line.translate(WIDE).strip().lower()
    if text in ACTIONS:
        return ACTIONS[text]
    match = re.match(r"(b|bad)(?![a-z])[ :,]*", text)
    all_bad = match is not None
    if match:
        text = text[match.end() :].strip()
    if not text:
        if all_bad:
            return Said(all_bad=True)
        raise ValueError("expected an order such as 2>1=3, grades such as g a p, or ? for help")
    if text[0].isalpha():
        return Said(grades=_grades(text, k), all_bad=all_bad)
    return Said(ranks=_ranks(text, k), all_bad=all_bad)


def _grades(text: str, k: int) -> tuple[Grade, ...]:
    words = text.replace(",", " ").split()
    if len(words) == 1 and len(text) == k and all(c in LETTERS for c in text):
        words = list(text)  # gapg
    found: list[Grade] = []
    for word in words:
        grade = LETTERS.get(word[0]) if word in LETTERS or word in GRADES else None
        if grade is None:
            raise ValueError(f"'{word}': expected g (good), a (average) or p (poor)")
        found.append(grade)
    if len(found) != k:
        raise ValueError(f"expected {k} grades, one per answer, got {len(found)}")
    return tuple(found)


def _ranks(text: str, k: int) -> tuple[int, ...]:
    ranks: dict[int, int] = {}
    place = 1
    for group in text.split(">"):
        members = [part.strip() for part in group.split("=")]
        for member in members:
            if not member.isdecimal() or not 1 <= int(member) <= k:
                raise ValueError(f"'{member}': expected the number of an answer, 1 to {k}, with > or = between")
            if int(member) in ranks:
                raise ValueError(f"answer {int(member)} was named twice")
            ranks[int(member)] = place
        place += len(members)
    missing = [str(i) for i in range(1, k + 1) if i not in ranks]
    if missing:
        raise ValueError(f"expected every answer once, missing: {', '.join(missing)}")
    return tuple(ranks[i] for i in range(1, k + 1))
