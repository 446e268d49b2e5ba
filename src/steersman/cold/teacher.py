"""Distillation: answers of a stronger model as demonstrations, or several to one prompt for people to rank."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from steersman.cold.requests import Asked, answers
from steersman.data.made import DISTILLED, marked
from steersman.types import Candidates, Completion, Conversation, Message


@dataclass
class Taught:
    """Prompts asked = demonstrations (or candidates) + refused."""

    asked: int = 0
    demonstrations: list[Conversation] = field(default_factory=list)
    candidates: list[Candidates] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        kept = len(self.demonstrations) or len(self.candidates)
        return [
            f"  {self.asked} prompts asked, {kept} answered",
            *(f"  left out {n}: {why}" for why, n in self.refused.items()),
        ]


def taught(prompts: Sequence[Conversation], asked: Asked, n: int = 1, system: str = "", best: bool = False) -> Taught:
    """One answer each as a demonstration; with `n` above 1 the different ones as candidates to rank.

    `system`: put before each dialogue for the teacher alone; the demonstration is kept without it. An answer that
    was cut off by its length is no demonstration, and none among candidates.
    """
    out = Taught(asked=len(prompts))
    start = (Message("system", system),) if system else ()
    given = [dataclasses.replace(p, messages=(*start, *p.messages)) for p in prompts]
    for prompt, done in zip(prompts, answers(asked, given, "distill", n), strict=True):
        whole = [c for c in done if c.text.strip() and c.finish_reason == "stop"]
        about = asked.about | ({"system": system} if system else {})
        if not whole:
            cut = any(c.finish_reason == "length" for c in done)
            out.refused["answers cut off by max_tokens" if cut else "empty answers"] += 1
        elif n == 1:
            answered = prompt.with_answer(whole[0].text.strip())
            out.demonstrations.append(marked(answered, DISTILLED, method="demonstration", **about))
        else:
            _candidates(prompt, whole, about, out)
    return out


def _candidates(prompt: Conversation, whole: Sequence[Completion], about: dict[str, object], out: Taught) -> None:
    distinct = list({c.text.strip(): c for c in whole}.values())
    if len(distinct) < 2:
        out.refused["fewer than two different answers"] += 1
        return
    made = marked(prompt, DISTILLED, method="candidates", **about)
    stamped = [dataclasses.replace(c, policy_version=f"{about['host']}/{about['model']}") for c in distinct]
    out.candidates.append(Candidates(made, tuple(stamped), about))
