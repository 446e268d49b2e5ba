"""Needles as a suite: an engine or endpoint is asked, with its own template, for what lies in a long text.

Ten needles lie in each text and are asked for one by one, so an engine that keeps prefixes reads each text once.
"""

from __future__ import annotations

import functools
import random

from steersman.eval.context_texts import bundled
from steersman.eval.needles import DEPTHS, QUESTIONS, hide, needles, sentences, set_in
from steersman.eval.suites.closed import holds
from steersman.eval.suites.suite import Item, Suite, last
from steersman.types import Conversation, Message

CHARACTERS = {"en": (4_000, 16_000, 64_000), "zh": (1_500, 6_000, 24_000)}
"""Lengths of the texts, about 1,000, 4,000 and 16,000 tokens; a text that a model cannot read is not asked."""
ASKED = {
    "en": "What is the access code of the {place}? Answer with the number alone.",
    "zh": "{place}的门禁密码是多少？只回答数字。",
}


def suite() -> Suite:
    found = [item for language in QUESTIONS for length in CHARACTERS[language] for item in _items(language, length)]
    return Suite("needles", tuple(found), max_tokens=16)


def _says(answer: str, code: str) -> float:
    return float(holds(answer, code))


def _items(language: str, length: int) -> list[Item]:
    rng = random.Random(f"needles {language} {length}")
    hidden = needles(rng, language, DEPTHS)
    pieces = sentences(rng.choice(bundled(0, "en").documents[language])[: 2 * length], language)
    laid, _ = hide(pieces, [set_in(n.fact(language), language) for n in hidden], length)
    text = "".join(laid)
    return [
        Item(
            f"needles-{language}-{length}-{i}",
            Conversation(
                f"needles-{language}-{length}-{i}",
                (Message("user", f"{text}\n\n{ASKED[language].format(place=needle.place)}"),),
            ),
            last(functools.partial(_says, code=needle.code)),
            f"{language} {length}",
            expected=needle.code,
        )
        for i, needle in enumerate(hidden)
    ]
