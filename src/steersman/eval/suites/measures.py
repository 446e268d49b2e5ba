"""Words, sentences, paragraphs, bullets of an answer, in English, Chinese and mixtures: what constraints count."""

from __future__ import annotations

import re
import unicodedata

from steersman.data.cleaning.tongues import CODES, UNSURE, tongue
from steersman.text.folding import folded

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:['’\-][^\W_{HAN}]+)*")
_LATIN = re.compile(rf"[^\W\d_{HAN}]+(?:['’\-][^\W\d_{HAN}]+)*")
_SENTENCE = re.compile(r"[^.!?。！？…]*[.!?。！？…]+[\"'”’」』)）\]]*|[^.!?。！？…]+$")
_DOTS = re.compile(r"(?<=\d)\.(?=\d)|\b(?:e\.g|i\.e|Mr|Mrs|Ms|Dr|St|vs|etc)\.(?=\s)", re.I)
KANA = r"\u3040-\u30ff"
SCRIPTS = {
    "zh": rf"[{HAN}]",
    "ja": rf"[{KANA}]",
    "ko": r"[\uac00-\ud7af\u1100-\u11ff]",
    "ru": r"[\u0400-\u04ff]",
    "bg": r"[\u0400-\u04ff]",
    "uk": r"[\u0400-\u04ff]",
    "ar": r"[\u0600-\u06ff]",
    "fa": r"[\u0600-\u06ff]",
    "ur": r"[\u0600-\u06ff]",
    "he": r"[\u0590-\u05ff]",
    "hi": r"[\u0900-\u097f]",
    "mr": r"[\u0900-\u097f]",
    "ne": r"[\u0900-\u097f]",
    "bn": r"[\u0980-\u09ff]",
    "pa": r"[\u0a00-\u0a7f]",
    "gu": r"[\u0a80-\u0aff]",
    "ta": r"[\u0b80-\u0bff]",
    "te": r"[\u0c00-\u0c7f]",
    "kn": r"[\u0c80-\u0cff]",
    "ml": r"[\u0d00-\u0d7f]",
    "th": r"[\u0e00-\u0e7f]",
    "el": r"[\u0370-\u03ff]",
}
"""Languages that their script tells, by code."""
SHARED = (frozenset(("ru", "bg", "uk", "sr")), frozenset(("ar", "fa", "ur")))
"""Languages of one script, which their words tell apart."""


def words(text: str) -> list[str]:
    """Words; each Chinese character is one, as Chinese instructions count them (字)."""
    return _WORD.findall(unicodedata.normalize("NFC", text))


def latin_words(text: str) -> list[str]:
    return _LATIN.findall(text)


def sentences(text: str) -> list[str]:
    """Sentences, each with its end. Dots within numbers and after frequent abbreviations end none."""
    held = _DOTS.sub(lambda m: m.group().replace(".", "\x00"), text)
    out = [s for line in held.split("\n") for s in _SENTENCE.findall(line)]
    return [s.replace("\x00", ".").strip() for s in out if re.search(r"\w", s)]


def paragraphs(text: str) -> list[str]:
    """Paragraphs: separated by lines of *** or ---, where there are any (IFEval's dividers), else by empty lines."""
    found = re.split(r"^[ \t]*(?:\*\*\*|---)[ \t]*$", text, flags=re.M)
    return [p.strip() for p in (found if len(found) > 1 else re.split(r"\n\s*\n", text)) if p.strip()]


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def bullets(text: str) -> list[str]:
    """Lines that begin with *, - or • (not ** bold, and no rule of stars or dashes)."""
    return re.findall(r"^[ \t]*(?:[*•]|-)(?![*\-])[ \t]*\S.*$", text, re.M)


def count_of(text: str, keyword: str) -> int:
    """How often a keyword occurs, as a whole word, whatever its case; Chinese anywhere."""
    text, keyword = folded(text), folded(keyword)
    if re.search(rf"[{HAN}{KANA}]", keyword):
        return text.count(keyword)
    return len(re.findall(rf"(?<!\w){re.escape(keyword)}(?!\w)", text))


def is_in(text: str, language: str) -> bool:
    """Whether an answer is in a language: at least half of its letters are in its script, and where others share it the
    words are this language's (py3langid). Up to five words of Latin letters that look like none may be any.

    ValueError for a language that neither tells."""
    code = language.lower().partition("-")[0]
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return False
    if code in SCRIPTS:
        inside = len(re.findall(SCRIPTS[code], text))
        kana = len(re.findall(rf"[{KANA}]", text))
        if code == "ja":
            return kana > 0 and kana + len(re.findall(rf"[{HAN}]", text)) >= len(letters) / 2
        others = next((group - {code} for group in SHARED if code in group), frozenset[str]())
        other = bool(others) and tongue(text) in others
        return inside >= len(letters) / 2 and not other and not (code == "zh" and kana > inside / 10)
    if code not in CODES:
        raise ValueError(f"language '{language}': cannot be told by code")
    if sum(map(is_latin, letters)) < len(letters) / 2:
        return False
    found = tongue(text.lower())
    return found == code or (found == UNSURE and len(latin_words(text)) < 6)


def is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith(("LATIN", "FULLWIDTH LATIN"))


def relates(found: float, relation: str | None, wanted: float) -> bool:
    """'at least', 'less than', 'at most', 'more than', 'exactly', also in Chinese."""
    match (relation or "at least").strip().lower():
        case "at least" | "至少" | "不少于":
            return found >= wanted
        case "less than" | "少于" | "不到":
            return found < wanted
        case "at most" | "至多" | "最多" | "不超过":
            return found <= wanted
        case "more than" | "超过" | "多于":
            return found > wanted
        case "exactly" | "恰好" | "正好" | "around":
            return found == wanted
    raise ValueError(f"relation '{relation}': expected at least, less than, at most, more than or exactly")


def emoji(text: str) -> list[str]:
    return re.findall(r"[\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55\u231a\u231b\u23e9-\u23fa]", text)
