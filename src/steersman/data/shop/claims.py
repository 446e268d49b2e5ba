"""Reads facts out of a text: dates, amounts, order numbers, periods, statuses; also its length, language and shape.

Pure functions on strings, for both languages. They read any answer, not only those of our templates.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from steersman.data.shop import cues
from steersman.data.shop.world import CARRIERS, COLOURS, MATERIALS, MONTHS

CJK = re.compile(r"[\u3400-\u9fff]")
_MONTH = "|".join(f"{m[:3]}(?:{m[3:]})?" if len(m) > 3 else m for m in MONTHS)
_DATES = (
    (re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTH})\b", re.I), "dm"),
    (re.compile(rf"\b({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?\b", re.I), "md"),
    (re.compile(r"(\d{1,2})\s*月\s*(\d{1,2})\s*[日号]?"), "md"),
    (re.compile(r"\b\d{4}-(\d{2})-(\d{2})\b"), "md"),
)
_COUNTING = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_WORDS = {
    word: str(i) for i, word in enumerate(_COUNTING, 1)
} | {"fourteen": "14", "twenty": "20", "thirty": "30", "forty-five": "45", "sixty": "60"}  # fmt: skip
_HAN_NUMBERS = {h: str(i) for i, h in enumerate("一二三四五六七八九十", 1)} | {"两": "2", "十四": "14", "三十": "30"}
_PERIOD_WORD = re.compile(rf"\b({'|'.join(_NUMBER_WORDS)})(?= (?:working |business )?(?:days?|years?)\b)", re.I)
_HAN_PERIOD = re.compile(r"(?<![\d后第今明每那同])(十四|三十|[一二三四五六七八九十两])(?=天|个工作日|年)")
_PATTERNS = {
    "money": re.compile(
        r"(?:US)?[$¥￥]\s?(\d[\d,]*(?:\.\d+)?)|(\d[\d,]*(?:\.\d+)?)\s*(?:美元|元|块|dollars?\b|yuan\b|USD\b|RMB\b)",
        re.I,
    ),
    "days": re.compile(
        r"(?<![\d月])(\d+)(?:\s*(?:working |business |calendar )?days?\b|\s*(?:天|个工作日|日内))", re.I
    ),
    "years": re.compile(r"(?<!\d)(\d{1,2})(?:[ -]years?\b|\s*年)", re.I),
    "size": re.compile(r"(\d+(?:\.\d+)?)\s*(?:cm\b|centimet|lit(?:re|er)|l\b|厘米|公分|升)", re.I),
    "order": re.compile(r"(?<![\d.$¥￥])(\d{4,})(?!\d|\s*(?:元|美元|块|yuan|dollars?)|\.\d)"),
    "percent": re.compile(r"(\d+(?:\.\d+)?)\s*[%％]"),
    # from the beginning of a word alone: else a text without spaces is read once for each of its characters
    "contact": re.compile(r"((?<![\w.+-])[\w.+-]+@[\w-]+\.\w+|https?://\S+|www\.\S+)", re.I),
}
_VOCABULARY: dict[str, dict[str, tuple[str, ...]]] = {
    "material": {en: (en, zh) for en, zh in MATERIALS.items()},
    "colour": {en: (en, zh) for en, zh in COLOURS},
    "carrier": {en: (en, zh) for en, zh in CARRIERS},
}
NUMERIC_KINDS = ("date", "money", "days", "years", "order", "percent", "contact")


class Mention(NamedTuple):
    """A fact in a text: its normal form, for comparing, and the index at which it begins."""

    raw: str
    start: int


def normal(text: str) -> str:
    """The text with number words before 'days' and 'years' as digits, and without commas in thousands."""
    text = _PERIOD_WORD.sub(lambda m: _NUMBER_WORDS[m[1].lower()], text)
    text = _HAN_PERIOD.sub(lambda m: _HAN_NUMBERS[m[1]], text)
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def dates(text: str) -> list[Mention]:
    """Dates in order of their places, as MM-DD."""
    found = {}
    for pattern, order in _DATES:
        for match in pattern.finditer(text):
            month, day = (match[1], match[2]) if order == "md" else (match[2], match[1])
            if not month.isdigit():
                month = str([m[:3].lower() for m in MONTHS].index(month[:3].lower()) + 1)
            found[match.start()] = Mention(f"{int(month):02d}-{int(day):02d}", match.start())
    return [found[start] for start in sorted(found)]


def mentions(text: str, kind: str) -> list[Mention]:
    """Every fact of a kind that a (normalised) text names."""
    if kind == "date":
        return dates(text)
    if kind in _PATTERNS:
        out = []
        for match in _PATTERNS[kind].finditer(text):
            raw = next(g for g in match.groups() if g is not None)
            out.append(Mention(raw if kind == "contact" else re.sub(r"\.0+$", "", raw.replace(",", "")), match.start()))
        return out
    if kind in _VOCABULARY:
        words = _VOCABULARY[kind].items()
        return [Mention(raw, at) for raw, forms in words for form in forms if (at := find(text, form)) >= 0]
    return []


def find(text: str, phrase: str) -> int:
    """Where a phrase stands in a text, by whole words in Latin script and without regard to case; -1 if nowhere."""
    if CJK.search(phrase):
        return text.find(phrase)
    match = re.search(rf"(?<![A-Za-z0-9]){re.escape(phrase)}(?:s|es)?(?![A-Za-z0-9])", text, re.I)
    return match.start() if match else -1


def says(cue: cues.Cues, language: str, text: str) -> bool:
    """Whether the cue's pattern of that language is found in the text."""
    return re.search(cue[language], text, re.I) is not None


def _before(text: str, start: int) -> str:
    """The clause up to `start`, at most 40 characters."""
    return re.split(r"[.;:,!?\n—。、，；：！？]", text[max(0, start - 40) : start])[-1]


def negated(text: str, start: int, language: str) -> bool:
    """Whether the clause before `start` denies what follows."""
    return re.search(cues.NEGATED[language], _before(text, start), re.I) is not None


def statuses(text: str, language: str) -> tuple[set[str], set[str]]:
    """(statuses of an order that the text claims, those that it denies). Wishes, conditions and the future claim
    nothing."""
    claimed, denied = set(), set()
    for status, cue in cues.STATUS.items():
        for match in re.finditer(cue[language], text, re.I):
            before = _before(text, match.start())
            if re.search(cues.NEGATED[language], before, re.I):
                denied.add(status)
            elif not re.search(cues.FUTURE[language], before, re.I):
                claimed.add(status)
    return claimed, denied


def language_share(text: str, language: str) -> float:
    """Share of the text that is in the language, in [0, 1]; a Chinese character counts half a word."""
    characters = len(CJK.findall(text)) / 2
    words = len(re.findall(r"[A-Za-z]{2,}", text))
    if not characters and not words:
        return 1.0 if re.search(r"\d", text) else 0.0
    return (characters if language == "zh" else words) / (characters + words)


def count_length(text: str, language: str) -> int:
    """Number of words in English; in Chinese of characters that are neither space nor punctuation."""
    body = re.sub(r"^\s*\d+[.、)]\s*", "", text, flags=re.M)
    return len(body.split()) if language == "en" else len(re.findall(r"[^\W_]", body))


def sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", text.strip()) if s.strip()]


def grams(text: str, language: str, run: int = 5) -> list[str]:
    """Overlapping word triples; in Chinese overlapping runs of `run` characters."""
    if language == "en":
        units = re.findall(r"[\w$']+", text.lower())
        return [" ".join(units[i : i + 3]) for i in range(len(units) - 2)]
    flat = "".join(re.findall(r"[^\W_]", text.lower()))
    return [flat[i : i + run] for i in range(len(flat) - run + 1)]


def repetition(text: str, language: str) -> float:
    """Share of the text that repeats itself, in [0, 1]."""
    found = grams(text, language)
    return 1 - len(set(found)) / len(found) if len(found) >= 4 else 0.0


def overlap(text: str, other: str, language: str) -> float:
    """Share of the text's `grams` that also occur in `other`, in [0, 1]; with longer runs, since facts have few
    wordings."""
    found, there = grams(text, language, 8), set(grams(other, language, 8))
    return sum(g in there for g in found) / len(found) if found else float(text.strip() in other)


def is_word_list(text: str, language: str) -> bool:
    """Whether a text is only a list of key words: too few function words, or in Chinese many very short pieces."""
    if language == "en":
        words = re.findall(r"[a-z']+", text.lower())
        return len(words) >= 8 and sum(w in cues.FUNCTION_WORDS for w in words) / len(words) < 0.16
    pieces = [p for p in re.split(r"[\W_]+", text) if p]
    signs = CJK.findall(text)
    little = sum(c in cues.FUNCTION_CHARS for c in signs) / max(1, len(signs))
    return len(pieces) >= 6 and len(signs) / len(pieces) < 3 and little < 0.1
