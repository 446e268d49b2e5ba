"""Repetition: the share of an answer that says again what it has said, and prompts whose answers are long."""

from __future__ import annotations

from steersman.eval.suites.measures import words
from steersman.eval.suites.suite import Item, Suite, last
from steersman.types import Conversation, Message

SPAN = 4
"""Words (or Chinese characters) that count as said again."""
MOSTLY = 0.5
"""Share of spans that were said before from which on a text is mostly itself, and answers nothing."""


def repeated_share(text: str, span: int = SPAN) -> float:
    """1 - distinct / all spans of `span` words: 0 where nothing is said twice; 0 for answers shorter than a span."""
    said = [w.casefold() for w in words(text)]
    spans = [tuple(said[i : i + span]) for i in range(len(said) - span + 1)]
    return 1 - len(set(spans)) / len(spans) if spans else 0.0


def suite() -> Suite:
    """One minus the repeated share of each answer; an empty answer scores 0."""
    items = tuple(
        Item(
            f"repetition-{number}",
            Conversation(f"repetition-{number}", (Message("user", prompt),)),
            last(lambda answer: 1 - repeated_share(answer) if answer.strip() else 0.0),
            "zh" if number % 2 else "en",
        )
        for number, prompt in enumerate(PROMPTS)
    )
    return Suite("repetition", items, max_tokens=400)


PROMPTS = (
    "Describe in detail how a parcel travels from our warehouse to a customer's door.",
    "请详细描述一个包裹从仓库到顾客家门口的全过程。",
    "Write a guide for new colleagues: how to talk to an angry customer.",
    "请为新同事写一份指南：如何与生气的顾客沟通。",
    "Explain the advantages and disadvantages of buying shoes online.",
    "请说明网上买鞋的优点和缺点。",
    "Tell a long story about a lost umbrella that finds its owner again.",
    "请讲一个丢失的雨伞重新找到主人的长故事。",
    "Write twelve different tips for keeping houseplants alive in winter.",
    "请写十二条不同的冬季养护室内植物的建议。",
    "Compare five kinds of tea and say what each is good for.",
    "请比较五种茶叶，并说明每种茶适合什么场合。",
)
