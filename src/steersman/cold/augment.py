"""Variants of demonstrations and prompts for training: typing errors, noise, paraphrases, translations.

A variant says how it was made and of what; it goes nowhere but into the training split (see `data.made`).
"""

# ruff: noqa: E501

from __future__ import annotations

import dataclasses
import functools
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from steersman.cold import typos
from steersman.cold.requests import Asked, answers, question
from steersman.data.clean import language_of
from steersman.data.made import AUGMENTED, is_augmented, marked
from steersman.data.split import split_key
from steersman.text.folding import folded
from steersman.types import Conversation, Message

METHODS = ("typing", "noise", "paraphrase", "translate")
BY_MODEL = ("paraphrase", "translate")
NUMBER = re.compile(r"\d[\d.,:/-]*\d|\d")
RATIO = {"paraphrase": (0.33, 3.0), "translate": (0.12, 9.0)}
"""Least and most letters of a variant for each of its original's."""
ASK = {
    ("paraphrase", "en"): (
        "Say the following message of a customer in other words. Keep its meaning, its language, every number and every "
        "name. Answer with the message alone.\n\n{text}"
    ),
    ("paraphrase", "zh"): (
        "请换一种说法重写下面这条客户消息。保持原意和语言，保留所有数字和名称。只输出改写后的消息。\n\n{text}"
    ),
    ("translate", "en"): (
        "Translate the following text into Chinese. Keep every number and every name. Answer with the translation alone.\n\n"
        "{text}"
    ),
    ("translate", "zh"): "把下面的文字翻译成英文。保留所有数字和名称。只输出译文。\n\n{text}",
}
OTHER = {"en": "zh", "zh": "en"}


@dataclass
class Augmented:
    """The variants, and what came of every attempt: attempts = made + those of `refused`."""

    records: list[Conversation] = field(default_factory=list)
    attempts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        made = ", ".join(f"{m} {n}" for m, n in self.methods.items()) or "none"
        out = [f"  {self.attempts} attempts, {len(self.records)} variants made ({made})"]
        return out + [f"  left out {n}: {why}" for why, n in self.refused.items()]


def augmented(
    records: Sequence[Conversation], methods: Sequence[str], times: int, seed: int, asked: Asked | None = None
) -> Augmented:
    """`times` variants of each record by each method. Raises ValueError for a method that needs a model without one."""
    for method in methods:
        if method not in METHODS:
            raise ValueError(f"--how {method}: expected some of {', '.join(METHODS)}")
        if method in BY_MODEL and asked is None:
            raise ValueError(
                f"--how {method}: expected a model that writes it: --url with --model, or a workspace's model"
            )
    out = Augmented()
    originals = [r for r in records if not is_augmented(r)]
    for method in methods:
        if method in BY_MODEL:
            assert asked is not None
            _by_model(originals, method, times, asked, out)
            continue
        for record in originals:
            for number in range(1, times + 1):
                rng = random.Random(f"{seed}:{method}:{number}:{split_key(record)}:{record.id}")
                change = functools.partial(typos.typing if method == "typing" else typos.noise, rng=rng)
                turns = [m.mapped(change) if m.role == "user" else m for m in record.messages]
                _add(record, turns, {"method": method, "seed": seed, "number": number}, out)
    return out


def _add(record: Conversation, turns: Sequence[Message], about: dict[str, object], out: Augmented) -> None:
    """One variant, or the reason why it is none."""
    method = str(about["method"])
    out.attempts += 1
    said = [m.text for m in turns]
    if said == [m.text for m in record.messages]:
        out.refused[f"{method}: nothing to change"] += 1
        return
    key = tuple(said)
    if any(tuple(m.text for m in other.messages) == key for other in out.records[-8:]):
        out.refused[f"{method}: the same variant twice"] += 1
        return
    name = f"{record.id}-{method}-{about.get('number', 1)}" if record.id else ""
    variant = dataclasses.replace(record, id=name, messages=tuple(turns))
    own = {**about, "from": record.id, "of": split_key(record)}
    out.records.append(marked(variant, AUGMENTED, **own))
    out.methods[method] += 1


def _by_model(records: Sequence[Conversation], method: str, times: int, asked: Asked, out: Augmented) -> None:
    """Variants of a model: each turn is asked for alone, and held against the original."""
    which = ("user",) if method == "paraphrase" else ("system", "user", "assistant")
    jobs = [(r, i) for r in records for i, m in enumerate(r.messages) if m.role in which and m.text and not m.images]
    prompts = [question(_request(r.messages[i].text, method)) for r, i in jobs]
    found = answers(asked, prompts, method, times)
    by_turn = {(id(r), i): done for (r, i), done in zip(jobs, found, strict=True)}
    for record in records:
        for number in range(times):
            turns, wrong = [], ""
            for i, message in enumerate(record.messages):
                if (done := by_turn.get((id(record), i))) is None:
                    turns.append(message)
                    continue
                text = unwrapped(done[number].text)
                wrong = wrong or fault(message.text, text, method, done[number].finish_reason)
                turns.append(message.saying(Message(message.role, text).said))
            if wrong:
                out.attempts += 1
                out.refused[f"{method}: {wrong}"] += 1
            else:
                _add(record, turns, {"method": method, "number": number + 1, **asked.about}, out)


def _request(text: str, method: str) -> str:
    language = "zh" if language_of(text) == "zh" else "en"
    return ASK[method, language].format(text=text)


def unwrapped(text: str) -> str:
    """An answer without quotation marks around it and a heading before it."""
    text = re.sub(
        r"\A(?:[^\n:：]{0,40}(?:paraphrase|translation|rewritten|改写|译文|翻译)[^\n:：]{0,20}[:：])\s*",
        "",
        text.strip(),
        flags=re.I,
    )
    for left, right in ('""', "“”", "「」", "''"):
        if len(text) > 2 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            text = text[1:-1].strip()
    return text


def fault(original: str, text: str, method: str, ended: str) -> str:
    """Why a model's variant is not used; '' where it is."""
    if not text or ended == "length":
        return "empty or cut off"
    low, high = RATIO[method]
    if not low <= len(text) / max(1, len(original)) <= high:
        return "much longer or shorter than the original"
    if Counter(NUMBER.findall(original)) != Counter(NUMBER.findall(text)):
        return "numbers differ from the original's"
    before, after = language_of(original), language_of(text)
    if before in OTHER and after != (before if method == "paraphrase" else OTHER[before]):
        return "in the wrong language"
    if re.sub(r"\W", "", folded(text)) == re.sub(r"\W", "", folded(original)):
        return "the original once more"
    return ""
