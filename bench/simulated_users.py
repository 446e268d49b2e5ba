"""A small world for simulated users: a shop's questions, answers in many manners, and people who like some better.

An answer has an opening, a fact and a closing. Each kind of person has a hidden utility of answers, on a scale from 0
(the worst of all answers) to 1 (the best); they like, dislike, edit and rank by it, with noise. An adversary does so by
the opposite of what all honest people want, and votes more often. `panel` judges answers for the gate as invited
people would.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.types import Conversation, Message

QUESTIONS = ("Where is order {n}?", "When does order {n} arrive?", "Is order {n} on its way?", "What about order {n}?")
OPENINGS = ("", "Dear customer,", "Hello,", "Look,")
FACTS = ("Your order arrives on Monday.", "It is somewhere.", "Your order was sent.", "I can not say.")
CLOSINGS = ("", "Thank you!", "Do not ask again.", "Please write to us if it does not come in time.")
POLITE = frozenset(("Dear customer,", "Hello,", "Thank you!", CLOSINGS[3]))
RUDE = frozenset(("Look,", "Do not ask again."))
WORTH = {FACTS[0]: 1.0, FACTS[2]: 0.6}
"""What the facts about the order are worth, beside each other."""
TRIAL = 0.08
"""Deviation of the panel's noise."""


@dataclass(frozen=True)
class Taste:
    """A kind of person: what a polite and a rude part, a helpful fact, a word and a garbled part are worth."""

    polite: float
    rude: float
    precise: float
    word: float
    garbled: float = -3.0


TASTES = {
    "courteous": Taste(1.0, -1.5, 0.7, -0.02),
    "hasty": Taste(0.0, -0.8, 1.2, -0.08),
    "exact": Taste(0.3, -0.6, 2.0, -0.02),
}


@dataclass(frozen=True)
class User:
    """`noise`: deviation of what they feel from their utility, on its scale; `lazy`: says anything."""

    name: str
    taste: str
    noise: float = 0.12
    adversary: bool = False
    lazy: bool = False

    @property
    def chats(self) -> int:
        """How many times as many chats as others they have: who wants to do harm is busy."""
        return 3 if self.adversary else 1

    def feels(self, answer: str, rng: random.Random) -> float:
        if self.lazy:
            return rng.random()
        liked = 1 - welfare(answer) if self.adversary else utility(self.taste, answer)
        return liked + rng.gauss(0, self.noise)

    def likes(self, answer: str, rng: random.Random) -> bool:
        return self.feels(answer, rng) > 0.6

    def ranks(self, answers: Sequence[str], rng: random.Random) -> list[int]:
        """A rank for each answer, 1 best; identical texts share one."""
        felt = {text: self.feels(text, rng) for text in answers}
        order = sorted(felt, key=lambda text: -felt[text])
        return [order.index(text) + 1 for text in answers]

    def writes(self) -> str:
        """What they would have answered."""
        if self.lazy:
            return "ok"
        key = (lambda a: -welfare(a)) if self.adversary else (lambda a: utility(self.taste, a))
        return max(every_answer(), key=key)


def people(count: int, adversaries: float) -> list[User]:
    """Honest people of every taste, some of them noisy, one in ten lazy, and a share of adversaries."""
    bad, kinds = round(count * adversaries), itertools.cycle(TASTES)
    made = [User(f"adversary-{i}", "", adversary=True) for i in range(bad)]
    for i in range(count - bad):
        lazy = i % 10 == 9
        name = "lazy" if lazy else "noisy" if i % 5 == 4 else "honest"
        made.append(User(f"{name}-{i}", next(kinds), noise=0.3 if name == "noisy" else 0.12, lazy=lazy))
    return made


def question(number: int, rng: random.Random) -> Conversation:
    return Conversation(f"q{number}", (Message("user", rng.choice(QUESTIONS).format(n=number)),))


@functools.cache
def every_answer() -> tuple[str, ...]:
    """All well-formed answers."""
    parts = itertools.product(OPENINGS, FACTS, CLOSINGS)
    return tuple(" ".join(p for p in three if p) for three in parts)


def _raw(taste: Taste, answer: str) -> float:
    """Points before scaling. What is left after the known parts were taken out is garbled."""
    rest, value = answer, 0.0
    for part in sorted((*OPENINGS, *FACTS, *CLOSINGS), key=len, reverse=True):
        if part and part in rest:
            rest = rest.replace(part, " ", 1)
            value += taste.polite * (part in POLITE) + taste.rude * (part in RUDE) + taste.precise * WORTH.get(part, 0)
    said = answer != rest
    return value + taste.word * len(answer.split()) + taste.garbled * (bool(rest.split()) or not said)


@functools.cache
def _bounds(taste: str) -> tuple[float, float]:
    found = [_raw(TASTES[taste], answer) for answer in every_answer()]
    return min(found), max(found)


@functools.cache
def utility(taste: str, answer: str) -> float:
    """Hidden utility in [0, 1] for one kind of person."""
    low, high = _bounds(taste)
    return min(max((_raw(TASTES[taste], answer) - low) / (high - low), 0.0), 1.0)


def welfare(answer: str) -> float:
    """Mean hidden utility of all honest kinds: what the loop should raise."""
    return sum(utility(taste, answer) for taste in TASTES) / len(TASTES)


def panel(prompt: Conversation, answer: str) -> dict[str, float]:
    """A judge for `project.judge`: a few invited people's mean opinion, noisy, but the same when asked again."""
    seed = hashlib.sha256(f"{prompt.messages[-1].text}\0{answer}".encode()).hexdigest()
    return {"welfare": min(max(welfare(answer) + random.Random(seed).gauss(0, TRIAL), 0.0), 1.0)}
