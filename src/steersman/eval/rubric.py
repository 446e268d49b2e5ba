"""A language model as the judge of two answers, on three axes, each pair in both orders; and what biases it shows.

Judges of this kind prefer what they are shown first, and what is longer (Zheng et al. 2023). So every pair is asked
twice, with the answers changed over: an axis is won where both orders say so, a tie where they contradict each other.
The report says how often the first place won, how often the orders agreed, and how often the longer answer won.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from steersman.eval.suites.measures import words
from steersman.eval.suites.questions import is_chinese
from steersman.messages import Conversation, Message
from steersman.stats import Interval, proportion_interval
from steersman.types import Completion, SamplingParams

AXES = ("intent", "constraint", "fitness")
RUBRIC = {
    "en": (
        "You compare two answers of a customer service assistant to one dialogue. Judge three things, each by itself:\n"
        "intent: which answer does what the customer wants;\n"
        "constraint: which keeps all constraints: facts that were given, requested language, length and form, and "
        "claims nothing that nobody said;\n"
        "fitness: which sounds like good customer service: polite, clear, helpful, without empty phrases.\n"
        "Length is no merit, and the order of the answers means nothing. End with exactly three lines:\n"
        "intent: 1, 2 or tie\nconstraint: 1, 2 or tie\nfitness: 1, 2 or tie"
    ),
    "zh": (
        "你来比较客服助手对同一段对话的两个回答。请分别评判三个方面：\n"
        "intent：哪个回答满足了顾客的意图；\n"
        "constraint：哪个回答遵守了全部约束：已给出的事实、要求的语言、长度和格式，且没有编造任何内容；\n"
        "fitness：哪个回答更像优秀的客服：礼貌、清楚、有帮助、没有空话。\n"
        "长度不是优点，回答的先后顺序没有意义。最后写恰好三行：\n"
        "intent: 1、2 或 tie\nconstraint: 1、2 或 tie\nfitness: 1、2 或 tie"
    ),
}
_LINE = re.compile(r"\b(intent|constraint|fitness)\W*[:：=]\W*(?:answer\s*|回答\s*)?(1|2|tie|平局|平手|equal)", re.I)
_ROLES = {"en": {"system": "Rules", "user": "Customer", "assistant": "Assistant", "tool": "Tool"},
          "zh": {"system": "规则", "user": "顾客", "assistant": "助手", "tool": "工具"}}  # fmt: skip


class Asked(Protocol):
    """What judges: an engine, ours or one over an endpoint."""

    def generate(self, prompts: Sequence[Any], params: SamplingParams) -> list[list[Completion]]: ...


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt."""

    prompt: Conversation
    a: str
    b: str


@dataclass(frozen=True)
class Judged:
    """`wins`: axis -> of each pair 1 where `a` won, 0.5 a tie, 0 where `b` did, None where the judge gave no word."""

    wins: Mapping[str, Sequence[float | None]]
    bias: Mapping[str, Any]


def shown(pair: Pair, swapped: bool) -> Conversation:
    """The prompt for the judge, in the language of the customer's last turn."""
    language = "zh" if is_chinese(pair.prompt.last_user) else "en"
    roles = _ROLES[language]
    dialogue = "\n".join(f"{roles[m.role]}: {m.spelled}" for m in pair.prompt.messages)
    first, second = (pair.b, pair.a) if swapped else (pair.a, pair.b)
    names = ("Dialogue", "Answer") if language == "en" else ("对话", "回答")
    text = f"[{names[0]}]\n{dialogue}\n\n[{names[1]} 1]\n{first}\n\n[{names[1]} 2]\n{second}"
    return Conversation(pair.prompt.id, (Message("system", RUBRIC[language]), Message("user", text)))


def word_of(reply: str) -> dict[str, float]:
    """Axis -> 1 where answer 1 is better, 0 where 2 is, 0.5 a tie; the last word on each counts."""
    values = {"1": 1.0, "2": 0.0}
    return {axis.lower(): values.get(word, 0.5) for axis, word in _LINE.findall(reply)}


def judge(engine: Asked, pairs: Sequence[Pair], max_tokens: int = 400) -> Judged:
    """Every pair in both orders."""
    asked = [shown(pair, swapped) for pair in pairs for swapped in (False, True)]
    told = engine.generate(asked, SamplingParams(max_tokens=max_tokens, temperature=0.0))
    replies = [word_of(answers[0].text) for answers in told]
    wins: dict[str, list[float | None]] = {axis: [] for axis in AXES}
    for axis in AXES:
        for i in range(len(pairs)):
            plain, swapped = replies[2 * i].get(axis), replies[2 * i + 1].get(axis)
            if plain is None or swapped is None:
                wins[axis].append(None)
                continue
            ours = (plain, 1 - swapped)
            wins[axis].append(ours[0] if ours[0] == ours[1] else 0.5 if 0.5 not in ours else sum(ours) / 2)
    return Judged(wins, _bias(pairs, replies))


def _bias(pairs: Sequence[Pair], replies: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """How the judge's words depend on place and length; intervals over pairs."""
    first: list[tuple[float, int]] = []
    agree: list[tuple[float, int]] = []
    longer: list[tuple[float, int]] = []
    silent = 0
    for i, pair in enumerate(pairs):
        lengths = len(words(pair.a)), len(words(pair.b))
        for axis in AXES:
            plain, swapped = replies[2 * i].get(axis), replies[2 * i + 1].get(axis)
            silent += (plain is None) + (swapped is None)
            if plain is None or swapped is None:
                continue
            first += [(word, i) for word in (plain, swapped) if word != 0.5]
            agree.append((float(plain == 1 - swapped), i))
            for word in (plain, 1 - swapped):
                if word != 0.5 and lengths[0] != lengths[1]:
                    longer.append((float((word == 1) == (lengths[0] > lengths[1])), i))

    def share(values: Sequence[tuple[float, int]]) -> Any:
        return proportion_interval([v for v, _ in values], [g for _, g in values]).to_json() if values else None

    place = proportion_interval([v for v, _ in first], [g for _, g in first]) if first else None
    return {
        "pairs": len(pairs),
        "no_word": silent,
        "first_place_wins": share(first),
        "orders_agree": share(agree),
        "longer_wins": share(longer),
        "prefers_a_place": place is not None and place.excludes(0.5),
    }


def agreement(judge: Sequence[float | None], people: Sequence[float | None]) -> dict[str, Any]:
    """How far a judge's preferences are people's, prompt by prompt: the share of equal words where people preferred one
    (a tie of the judge is half), and Cohen's kappa over better, tie, worse."""
    both = [(j, p) for j, p in zip(judge, people, strict=True) if j is not None and p is not None]
    words_ = [(_sign(j), _sign(p)) for j, p in both]
    decided = [1 - abs(j - p) / 2 for j, p in words_ if p]
    share = proportion_interval(decided) if decided else Interval(float("nan"), -float("inf"), float("inf"), 0)
    return {"n": len(both), "people_decided": len(decided), "share": share.to_json(), "kappa": kappa(words_)}


def kappa(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """Cohen's kappa of pairs of labels; None without any, or where chance alone agrees always."""
    if not pairs:
        return None
    n = len(pairs)
    labels = {label for pair in pairs for label in pair}
    seen = sum(a == b for a, b in pairs) / n
    chance = sum(sum(a == k for a, _ in pairs) * sum(b == k for _, b in pairs) for k in labels) / n**2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def _sign(win: float) -> int:
    return (win > 0.5) - (win < 0.5)
