"""The generator: a seed and a split in, conversations out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from steersman.data.shop.cases import INTENT_WEIGHTS, build, meta_of
from steersman.data.shop.compose import VOICES, answer, pick_voice, squeeze, system_message, user_turns
from steersman.data.shop.world import LANGUAGES, SPLITS, Language, Split
from steersman.types import Conversation, Message

Kind = Literal["demonstrations", "prompts"]
KINDS: tuple[str, ...] = ("demonstrations", "prompts")
_MOST_REDRAWS = 200


def _check(kind: str, split: str, n: int, language: str) -> None:
    for name, value, allowed in (
        ("kind", kind, KINDS),
        ("split", split, SPLITS),
        ("language", language, (*LANGUAGES, "both")),
    ):
        if value not in allowed:
            raise ValueError(f"shop.generate {name}: expected one of {', '.join(allowed)}, got {value!r}")
    if n < 0:
        raise ValueError(f"shop.generate n: expected a number of at least 0, got {n}")


def generate(
    kind: Kind, split: Split, n: int, language: Literal["en", "zh", "both"], seed: int, stream: str = ""
) -> Iterator[Conversation]:
    """`n` conversations of the shop; demonstrations end with the assistant, prompts with the customer.

    The same arguments give the same conversations on every machine, and a smaller `n` gives the first of them.
    `stream` names an independent series, so that several uses of one split differ. No two prompts of a call are
    the same text. With `both`, languages take turns by chance and some customers ask for the other language.
    Raises ValueError for an unknown kind, split or language.
    """
    _check(kind, split, n, language)
    return _conversations(kind, split, n, language, seed, stream)


def _conversations(kind: str, split: Split, n: int, language: str, seed: int, stream: str) -> Iterator[Conversation]:
    label = stream or ("demo" if kind == "demonstrations" else "prompt")
    rng = random.Random(f"shop {kind} {split} {language} {seed} {label}")
    seen: set[str] = set()
    deck: list[str] = []
    for index in range(n):
        if not deck:
            deck = [intent for intent, weight in INTENT_WEIGHTS.items() for _ in range(weight)]
            rng.shuffle(deck)
        intent = deck.pop()
        for _ in range(_MOST_REDRAWS):
            found = _one(rng, intent, kind, split, language)
            text = squeeze("\n".join(m.text for m in found[0]))
            if text not in seen:
                break
        else:
            raise ValueError(f"shop.generate n: the {split} world has no {n} different prompts of intent {intent}")
        seen.add(text)
        messages, meta, reply = found
        whole = (*messages, reply) if reply else tuple(messages)
        yield Conversation(f"shop-{language}-{split}-{label}-{index:06d}", whole, meta)


def _one(
    rng: random.Random, intent: str, kind: str, split: Split, language: str
) -> tuple[list[Message], dict[str, object], Message | None]:
    both = language == "both"
    spoken: Language = rng.choice(LANGUAGES) if both else "zh" if language == "zh" else "en"
    case = build(rng, intent, split, spoken, both)
    system = system_message(case, rng)
    turns, template_id = user_turns(case, rng)
    meta = meta_of(case) | {"templates": [template_id]}
    if kind == "prompts":
        return [system, *turns], meta, None
    found = answer(case, pick_voice(rng), rng)
    meta |= {"voice": found.voice.name, "warm": found.voice.warm, "answer_templates": list(found.template_ids)}
    return [system, *turns], meta, Message("assistant", found.text)


def answers_to(
    seed: int, split: Split, language: Language, count: int
) -> Iterator[tuple[Conversation, list[tuple[str, str]]]]:
    """Prompts, each with an answer by every fictional agent, as (agent, text). For measuring the judge."""
    rng = random.Random(f"shop answers {split} {language} {seed}")
    for index in range(count):
        case = build(rng, rng.choice(list(INTENT_WEIGHTS)), split, language, both=False)
        system = system_message(case, rng)
        turns, template_id = user_turns(case, rng)
        prompt = Conversation(
            f"shop-{language}-{split}-voices-{index:06d}",
            (system, *turns),
            meta_of(case) | {"templates": [template_id]},
        )
        yield prompt, [(voice.name, answer(case, voice, rng).text) for voice in VOICES]
