"""Questions of test files -> items: multiple choice by letter or by text, and answers that end in a number or a text.

With `examples`, other questions with their answers come first, as text to be continued (`style=text`, for models that
were never taught to chat) or as earlier turns of the dialogue (`style=chat`). With `cot` the model reasons first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.eval.suites import final_answers, quantities
from steersman.eval.suites.suite import APART, Choice, Item, last
from steersman.types import Conversation, Message

LETTERS = "ABCDEFGHIJ"
_HAN = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True)
class Question:
    """A record of a test file, whatever its form."""

    id: str
    text: str
    group: str = ""
    choices: tuple[str, ...] = ()
    gold: int = -1
    answer: str = ""
    """The right answer where there are no choices."""
    also: tuple[str, ...] = ()
    """Other texts that are right."""
    reason: str = ""
    """A worked solution, for examples with `cot`."""
    contexts: tuple[str, ...] = ()
    """Beginnings among which the likeliest is chosen, `text` following each (WinoGrande); without letters."""
    numeric: bool = False
    lettered: bool = True
    """False: the choices are no list of the question, only what may follow it (HellaSwag, PIQA)."""


@dataclass(frozen=True)
class Asking:
    """How questions are put."""

    by: str = "logprob"
    """'logprob' or 'generation': how a choice is made."""
    style: str = "chat"
    cot: bool = False
    examples: tuple[Question, ...] = ()
    shots: int = 0


def is_chinese(text: str) -> bool:
    """More Chinese characters than words of other scripts."""
    return len(_HAN.findall(text)) > len(re.findall(r"[A-Za-z]+", text))


def item_of(question: Question, asking: Asking) -> Item:
    """The item of a question. Its prompt is a dialogue; the text to be continued is in its choices, or its meta."""
    shots = _shots(question, asking)
    chat = asking.style == "chat"
    turns = (
        [m for shot in shots for m in (_user(shot, asking), Message("assistant", _said(shot, asking)))] if chat else []
    )
    text = _plain_text(question, shots, asking)
    messages = (*turns, _user(question, asking)) if chat else (Message("user", text),)
    meta = {} if chat else {"text": text}
    prompt = Conversation(question.id, messages, meta)
    expected = question.choices[question.gold] if question.choices else question.answer
    if question.choices and question.lettered:
        expected = f"{LETTERS[question.gold]}. {expected}"
    if asking.by == "logprob" and not asking.cot and (question.choices or question.contexts):
        return Item(
            question.id,
            prompt,
            _letter_scorer(question),
            question.group,
            choices=_choices(question, "" if chat else text),
            gold=question.gold,
            expected=expected,
        )
    scorer = _letter_scorer(question) if question.choices else _answer_scorer(question)
    return Item(question.id, prompt, scorer, question.group, expected=expected)


def _shots(question: Question, asking: Asking) -> list[Question]:
    """Examples of the question's own group where there are any, never the question itself."""
    others = [e for e in asking.examples if e.text != question.text]
    same = [e for e in others if e.group == question.group]
    return (same or others)[: asking.shots]


def _choices(question: Question, text: str) -> tuple[Choice, ...]:
    """`text` is what they continue; '' where that is the dialogue's rendering."""
    if question.contexts:
        return tuple(Choice(context, f" {question.text}") for context in question.contexts)
    shown = LETTERS[: len(question.choices)] if question.lettered else question.choices
    return tuple(Choice(text, f"{joint(text)}{choice}") for choice in shown)


def joint(text: str) -> str:
    """What stands between a text to be continued and its answer."""
    return "" if not text or text[-1].isspace() or text.endswith("：") else " "


def _asked(question: Question, asking: Asking) -> str:
    """What is asked: the question, its choices by letter, and the form of answer that is wanted."""
    zh = is_chinese(question.text)
    lines = [question.text]
    if question.choices and question.lettered:
        lines += [f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=False)]
    if asking.style != "chat":
        return "\n".join(lines)
    if question.choices and question.lettered:
        wanted = (
            (
                "先逐步推理，最后一行写“答案：”和选项字母。"
                if zh
                else "Think step by step, then end with 'Answer: ' and the letter."
            )
            if asking.cot
            else ("只回答选项字母。" if zh else "Answer with the letter only.")
        )
        lines.append(wanted)
    elif asking.cot:
        lines.append(
            "先逐步推理，最后一行写“答案：”和结果。"
            if zh
            else "Think step by step, then end with 'Answer: ' and the result."
        )
    elif question.numeric:
        lines.append("最后一行写“答案：”和结果。" if zh else "End with 'Answer: ' and the number.")
    return "\n".join(lines)


def _user(question: Question, asking: Asking) -> Message:
    return Message("user", _asked(question, asking))


def _said(question: Question, asking: Asking) -> str:
    """The answer of an example."""
    zh = is_chinese(question.text)
    given = question.answer
    if question.choices:
        given = LETTERS[question.gold] if question.lettered else question.choices[question.gold]
    if asking.cot and question.reason:
        return f"{question.reason}\n{'答案：' if zh else 'Answer: '}{given}"
    return f"{'答案：' if zh else 'Answer: '}{given}" if asking.cot or question.numeric else given


def _plain_text(question: Question, shots: Sequence[Question], asking: Asking) -> str:
    """Text to be continued: each example with its answer, then the question and the beginning of an answer."""

    def cue(of: Question) -> str:
        if not of.lettered or re.search(r"(?:answer|答案|答|A)\s*[:：]\s*$", of.text, re.I):
            return ""
        return "\n答案：" if is_chinese(of.text) else "\nAnswer:"

    def shown(of: Question) -> str:
        text = _asked(of, asking)
        return f"{text}{cue(of)}"

    def solved(of: Question) -> str:
        given = _said(of, asking)
        given = re.sub(r"^(?:答案：|Answer: )", "", given)
        begin = shown(of)
        return f"{begin}{joint(begin)}{given}"

    return APART.join([*map(solved, shots), shown(question)])


def _letter_scorer(question: Question):  # type: ignore[no-untyped-def]
    return last(lambda answer: float(final_answers.chosen_letter(answer, question.choices) == question.gold))


def _answer_scorer(question: Question):  # type: ignore[no-untyped-def]
    golds = (question.answer, *question.also)
    if question.numeric:
        return last(lambda answer: float(quantities.same_number(answer, question.answer)))
    return last(lambda answer: float(_says(answer, golds)))


def _says(answer: str, golds: Sequence[str]) -> bool:
    """Whether an answer holds one of the texts; of quantities (1.2 kg, 380万元) the amount, however it is written."""
    amounts = [gold for gold in golds if quantities.amount_of(gold)]
    texts = [gold for gold in golds if gold not in amounts]
    return final_answers.says_one_of(answer, texts) or any(quantities.says_amount(answer, gold) for gold in amounts)
