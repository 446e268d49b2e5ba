"""Filters by length and by quality: what is too short or too long, repeats itself, is broken or is mostly markup."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from steersman.data.contamination import units
from steersman.data.formats import Parsed
from steersman.messages import Conversation
from steersman.types import Feedback, Ranking

MIXED = np.int64(0x2545F4914F6CDD1D)
RUN, RUNS, REPEATED = 6, 24, 0.5
"""A text of at least RUNS runs of RUN words (or Chinese characters), half of which were there before, repeats itself."""
BROKEN, BROKEN_SHARE = 2, 0.002
LETTERS, LETTERS_OF = 0.35, 40
"""Least share of letters, digits and characters in a text of at least so many characters."""
TAGS = 0.25
"""Share of a text that tags of HTML may take; above, it is a page's source and no speech."""
MOJIBAKE = re.compile("�|锟斤拷|烫烫|屯屯|Ã[¤¶¼Ÿ©¨±³]|â€[™œ“”¦]|ä¸[\x80-\xbf]|å[\x80-\xbf]|ï»¿|&#\\d{2,5};&#\\d")
TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
EMPTY_PLACE = re.compile(
    r"\{\{\s*[\w .-]{2,40}\s*\}\}|\[(?:Your|Insert|Enter|Customer|Company|Agent|Name|Ihr|Ihre|Kunde|Firma|您的|姓名|公司|客户)[\w /-]{0,30}\]|<(?:INSERT|YOUR|NAME)[\w -]{0,30}>|XXXX+",
    re.I,
)
MADE_BY_MODEL = re.compile(
    r"\bas an? (?:AI|artificial intelligence)(?: language)? (?:model|assistant)\b|作为一?[个名]?(?:AI|人工智能)(?:语言)?(?:模型|助手)|als (?:KI|künstliche Intelligenz)(?:-Sprachmodell|-Assistent)?\b",
    re.I,
)


def answers_of(record: Parsed) -> tuple[str, ...]:
    """The texts of a record that a model would learn to write."""
    if isinstance(record, str):
        return (record,)
    if isinstance(record, Ranking):
        return record.answers
    if isinstance(record, Feedback):
        return tuple(filter(None, (record.answer, record.edited)))
    return tuple(m.text for m in record.messages if m.role == "assistant" and not m.tool_calls)


def asked_in(record: Parsed) -> str:
    """The words of the user's turns."""
    if isinstance(record, str):
        return ""
    prompt = record if isinstance(record, Conversation) else record.prompt
    return "\n".join(m.text for m in prompt.messages if m.role == "user")


def length_fault(record: Parsed, least: int, most: int) -> str:
    """Why a record is too short or too long; '' where it is not."""
    answers = answers_of(record)
    if any(len(text.strip()) < least for text in answers):
        what = "a text" if isinstance(record, str) else "an answer"
        return f"{what} of fewer than {least} characters"
    if not answers and len(asked_in(record).strip()) < least:
        return f"a prompt of fewer than {least} characters"
    if most and sum(map(len, answers)) + len(asked_in(record)) > most:
        return f"more than {most} characters"
    return ""


def quality_fault(record: Parsed) -> str:
    """What is wrong with a record's texts; '' where nothing is."""
    answers = answers_of(record)
    for text in (*answers, asked_in(record)):
        found = len(MOJIBAKE.findall(text))
        if found >= BROKEN and found > BROKEN_SHARE * len(text):
            return "broken characters (read in a wrong encoding once)"
    for text in answers:
        if sum(len(m[0]) for m in TAG.finditer(text)) > TAGS * len(text) > 5:
            return "mostly tags of HTML"
        if _repeats(units(text)):
            return "an answer that repeats itself"
        if len(text) >= LETTERS_OF and sum(c.isalnum() for c in text) < LETTERS * len(text):
            return "hardly any letters"
    if not isinstance(record, str | Ranking) and (said := _echo(record)):
        return said
    return ""


def _repeats(words: Sequence[str]) -> bool:
    count = len(words) - RUN + 1
    if count < RUNS:
        return len(words) >= 12 and len(set(words)) <= 2
    hashes = np.fromiter(map(hash, words), np.int64, len(words))  # a book has a million runs: no tuples of them
    runs = np.zeros(count, np.int64)
    for i in range(RUN):
        runs = runs * MIXED + hashes[i : i + count]
    return 1 - len(np.unique(runs)) / count > REPEATED


def _echo(record: Conversation | Feedback) -> str:
    """An answer that only says the question again."""
    turns = record.messages if isinstance(record, Conversation) else ()
    for asked, answer in itertools.pairwise(turns):
        words = units(asked.text)
        if (asked.role, answer.role) == ("user", "assistant") and len(words) >= 4 and words == units(answer.text):
            return "an answer that repeats the question"
    return ""


def remarks(record: Parsed) -> tuple[str, ...]:
    """What people should look at, though it is no fault for certain."""
    text = "\n".join(answers_of(record))
    found = Counter[str]()
    found["a place that nobody filled in"] += EMPTY_PLACE.search(text) is not None
    found["speaks of itself as a language model"] += MADE_BY_MODEL.search(text) is not None
    return tuple(what for what, n in found.items() if n)
