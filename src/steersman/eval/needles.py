"""Needles in a haystack: facts hidden in a long text at even depths, and a question for each.

A haystack holds all of its needles at once, each about another place, so one reading of the text answers ten questions
and the question's subject must be matched, not only a number found. An answer is right where every token of it is the
likeliest, which is what greedy decoding would write.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from steersman.compute.packing import Tree

T = TypeVar("T", str, Sequence[int])
DEPTHS = 10
DIGITS = 5
EN = (
    "library station harbour museum castle market bakery hospital factory theatre stadium airport garden temple "
    "tower bridge school cinema palace prison chapel embassy laboratory warehouse lighthouse windmill brewery "
    "greenhouse monastery observatory gallery workshop"
)
ZH = (
    "图书馆 火车站 码头 博物馆 城堡 市场 面包房 医院 工厂 剧院 体育场 机场 花园 寺庙 高塔 大桥 学校 电影院 "
    "宫殿 监狱 教堂 大使馆 实验室 仓库 灯塔 磨坊 酒厂 温室 修道院 天文台 画廊 车间"
)
PLACES = {"en": EN.split(), "zh": ZH.split()}
FACTS = {"en": "The access code of the {place} is {code}.", "zh": "{place}的门禁密码是{code}。"}
QUESTIONS = {"en": "\n\nThe access code of the {place} is", "zh": "\n\n{place}的门禁密码是"}
ANSWERS = {"en": " {code}", "zh": "{code}"}
ENDS = {"en": ".!?", "zh": "。！？"}


@dataclass(frozen=True)
class Needle:
    place: str
    code: str

    def fact(self, language: str) -> str:
        return FACTS[language].format(place=self.place, code=self.code)

    def question(self, language: str) -> str:
        return QUESTIONS[language].format(place=self.place)

    def answer(self, language: str) -> str:
        return ANSWERS[language].format(code=self.code)


def needles(rng: random.Random, language: str, count: int) -> list[Needle]:
    """Needles about different places, with different codes."""
    codes = rng.sample(range(10 ** (DIGITS - 1), 10**DIGITS), count)
    return [Needle(place, str(code)) for place, code in zip(rng.sample(PLACES[language], count), codes, strict=True)]


def ids_of(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False, split_special_tokens=True).input_ids
    return found


def sentences(text: str, language: str) -> list[str]:
    """The text in pieces that end with a sentence or a line, nothing lost."""
    found, held = [], ""
    for i, character in enumerate(text):
        held += character
        after = text[i + 1 : i + 2]
        if character == "\n" or (character in ENDS[language] and (language == "zh" or not after or after.isspace())):
            found.append(held)
            held = ""
    return [*found, held] if held else found


@dataclass(frozen=True)
class Haystack:
    """A text of tokens with needles in it, and (question, answer) of each in order of depth."""

    trunk: tuple[int, ...]
    branches: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    depths: tuple[float, ...]
    """Share of the trunk before each needle."""

    def tree(self) -> Tree:
        from steersman.compute.packing import Tree

        return Tree(self.trunk, tuple(question + answer for question, answer in self.branches))


def haystack(
    tokenizer: Any, pieces: Sequence[Sequence[int]], language: str, length: int, rng: random.Random, count: int = DEPTHS
) -> Haystack:
    """Of tokenised sentences: `length` tokens with the longest question and answer; needles at depths 0 to 1.

    ValueError where the sentences are too few, or the length leaves no room.
    """
    hidden = needles(rng, language, count)
    facts = [ids_of(tokenizer, set_in(n.fact(language), language)) for n in hidden]
    branches = tuple(_branch(tokenizer, n, language) for n in hidden)
    room = length - max(len(q) + len(a) for q, a in branches) - sum(map(len, facts))
    if room < 4 * count:
        raise ValueError(f"length {length}: expected room for {count} needles and a question")
    laid, before = hide(pieces, facts, room)
    trunk = tuple(itertools.chain.from_iterable(laid))
    return Haystack(trunk, branches, tuple(n / len(trunk) for n in before))


def least(tokenizer: Any, language: str, count: int = DEPTHS) -> int:
    """Tokens of the shortest haystack, whichever places its needles have."""
    every = [Needle(place, "70391") for place in PLACES[language]]
    facts = sorted((len(ids_of(tokenizer, set_in(n.fact(language), language))) for n in every), reverse=True)
    asked = max(len(q) + len(a) for q, a in (_branch(tokenizer, n, language) for n in every))
    return sum(facts[:count]) + asked + 5 * count  # of four, and one for a code that takes more tokens than this


def hide(pieces: Sequence[T], facts: Sequence[T], room: int) -> tuple[list[T], list[int]]:
    """The first pieces, `room` long in all, with the facts between them at even depths; and what is before each fact.

    ValueError where the pieces are too few.
    """
    wanted = [round(room * i / max(1, len(facts) - 1)) for i in range(len(facts))]
    laid: list[T] = []
    before: list[int] = []
    seen = size = 0

    def lay(piece: T) -> None:
        nonlocal size
        laid.append(piece)
        size += len(piece)

    for piece in _taken(pieces, room):
        while len(before) < len(facts) and seen >= wanted[len(before)]:
            before.append(size)
            lay(facts[len(before) - 1])
        lay(piece)
        seen += len(piece)
    for fact in facts[len(before) :]:
        before.append(size)
        lay(fact)
    return laid, before


def set_in(fact: str, language: str) -> str:
    return f" {fact}" if language == "en" else fact


def _branch(tokenizer: Any, needle: Needle, language: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Question and answer, cut where their common tokens part from the question's own."""
    question = ids_of(tokenizer, needle.question(language))
    whole = ids_of(tokenizer, needle.question(language) + needle.answer(language))
    at = next((i for i, (a, b) in enumerate(zip(question, whole, strict=False)) if a != b), len(question))
    return tuple(whole[:at]), tuple(whole[at:])


def _taken(pieces: Sequence[T], room: int) -> list[T]:
    """The first sentences, the last one cut, `room` long in all."""
    found: list[T] = []
    for piece in pieces:
        if room <= 0:
            break
        found.append(piece[:room])
        room -= len(found[-1])
    if room > 0:
        raise ValueError(f"the text is {room} tokens too short for a haystack; expected a longer --text")
    return found
