"""Prompts and rankings longer than a model can take: an error, left out, or cut. All cases are counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from steersman.parts import Text
from steersman.text.template import Template
from steersman.types import Conversation, Ranking

T = TypeVar("T", Conversation, Ranking)


@dataclass(frozen=True)
class Fitted(Generic[T]):
    """Records that fit, in their order, and how many were left out or lost the beginning of their prompt."""

    what: str
    records: list[T]
    skipped: int
    cut: int

    def counts(self) -> dict[str, int]:
        """The counts for a manifest; {} where every record fitted unchanged."""
        return {name: n for name, n in (("skipped_long", self.skipped), ("cut_long", self.cut)) if n}

    def cautions(self, section: str) -> list[str]:
        """Sentences for readers of a stage's results; `section` is the stage's section of the settings."""
        total = len(self.records) + self.skipped
        done = (self.skipped, "left out"), (self.cut, "cut at the beginning of the prompt")
        return [
            f"{n} of {total} {self.what}s are longer than the model's context and were {how} ({section}.long)"
            for n, how in done
            if n
        ]


def cut_prompt(prompt: Conversation, fits: Callable[[Conversation], bool]) -> Conversation | None:
    """`prompt` without its earliest turns, and if necessary the beginning of its last turn, until `fits` is true.

    System messages at the beginning stay. None where they and one character do not fit, or where the last turn has an
    image and so is not cut.
    """
    head = next((i for i, m in enumerate(prompt.messages) if m.role != "system"), len(prompt.messages))
    system, turns = prompt.messages[:head], prompt.messages[head:]
    starts = [i for i, m in enumerate(turns) if m.role == "user"]
    for start in starts:
        shorter = dataclasses.replace(prompt, messages=(*system, *turns[start:]))
        if fits(shorter):
            return shorter
    if not starts or starts[-1] != len(turns) - 1:
        return None
    last = turns[-1]
    if last.images:
        return None

    def ending(characters: int) -> Conversation:
        text = last.text[len(last.text) - characters :]
        return dataclasses.replace(prompt, messages=(*system, last.saying([Text(text)])))

    low, high = 0, len(last.text)  # `low` characters fit, `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(ending(middle)) else (low, middle)
    return ending(low) if low else None


def without_middle(dialogue: Conversation, fits: Callable[[Conversation], bool]) -> Conversation | None:
    """`dialogue` without whole exchanges until `fits` is true: system messages, the first exchange and the newest stay,
    or where there is no room for it all but the first. None where the last exchange alone does not fit."""
    head = next((i for i, m in enumerate(dialogue.messages) if m.role != "system"), len(dialogue.messages))
    system, turns = dialogue.messages[:head], dialogue.messages[head:]
    starts = [i for i, m in enumerate(turns) if m.role == "user"][1:]
    for first, cuts in ((turns[: starts[0]] if starts else (), starts[1:]), ((), starts)):
        for cut in cuts:
            shorter = dataclasses.replace(dialogue, messages=(*system, *first, *turns[cut:]))
            if fits(shorter):
                return shorter
    return None


def _fit(
    records: Iterable[T], long: str, size: Callable[[T], int], most: int, cut: Callable[[T], T | None], what: str
) -> Fitted[T]:
    kept: list[T] = []
    skipped = shortened = 0
    for record in records:
        tokens = size(record)
        if tokens <= most:
            kept.append(record)
        elif long == "error":
            raise ValueError(
                f"{what} '{record.id}': {tokens} tokens; expected at most {most}, the model's context; "
                "or set `long` of this stage to skip or cut"
            )
        elif long == "cut" and (shorter := cut(record)) is not None:
            kept.append(shorter)
            shortened += 1
        else:
            skipped += 1
    if not kept and skipped:
        raise ValueError(f"all {skipped} {what}s are longer than the model's context of {most} tokens")
    return Fitted(what, kept, skipped, shortened)


def fit_prompts(
    template: Template, prompts: Sequence[Conversation], context: int, long: str, what: str = "prompt"
) -> Fitted[Conversation]:
    """Prompts that leave at least a token of `context` for an answer. `long`: "error", "skip" or "cut".

    Raises ValueError naming the first prompt that is too long if `long` is "error", and where no prompt is left.
    """

    def size(prompt: Conversation) -> int:
        return len(template.prompt_ids(prompt))

    def cut(prompt: Conversation) -> Conversation | None:
        return cut_prompt(prompt, lambda shorter: size(shorter) < context)

    return _fit(prompts, long, size, context - 1, cut, what)


def fit_rankings(template: Template, rankings: Sequence[Ranking], context: int, long: str) -> Fitted[Ranking]:
    """Rankings of which every answer fits into `context` after the prompt; "cut" shortens the prompts of others."""

    def longest(ranking: Ranking) -> int:
        return max(len(template.answer_ids(answer)) for answer in ranking.answers)

    def size(ranking: Ranking) -> int:
        return len(template.prompt_ids(ranking.prompt)) + longest(ranking)

    def cut(ranking: Ranking) -> Ranking | None:
        room = context - longest(ranking)
        shorter = cut_prompt(ranking.prompt, lambda prompt: len(template.prompt_ids(prompt)) <= room)
        return None if shorter is None else dataclasses.replace(ranking, prompt=shorter)

    return _fit(rankings, long, size, context, cut, "ranking")
