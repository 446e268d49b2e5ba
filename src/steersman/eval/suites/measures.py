"""Words, sentences, paragraphs, bullets of an answer, in English, Chinese and mixtures: what constraints count."""

from __future__ import annotations

import re
import unicodedata

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
LATIN_WORDS = {
    "en": "the and of to is in that it for you with this are not be on as have from or your can will if we at but",
    "de": "der die das und ist nicht ein eine zu den mit für auf von sie ich es im auch dass wir sind bei nach werden",
    "fr": "le la les et est des un une que pour dans pas vous qui sur avec nous plus ce sont au du je il elle",
    "es": "el la los las y es de que en un una por para con no se su más como pero lo usted son muy está",
    "pt": "o a os as e é de que em um uma por para com não se seu mais como mas você são muito está do da",
    "it": "il la i gli e è di che in un una per con non si suo più come ma sono molto del della nel anche",
    "nl": "de het een en is niet van dat in op te voor met zijn ik je wij ook aan bij naar maar om deze",
    "vi": "và là của có không được cho một các trong với những này người để khi",
    "tr": "ve bir bu için ile de da çok daha olarak ne gibi ben sen var değil",
    "pl": "i w na nie się że jest do to z jak o ale co dla są po tak czy",
    "fi": "ja on ei se että hän oli mutta kun niin myös tai ovat tämä",
    "sw": "na ya wa ni kwa katika za la hii kama au si kuwa yako",
}
"""Frequent words of languages in Latin letters."""


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
    """Paragraphs: separated by empty lines, by *** or by ---."""
    return [p.strip() for p in re.split(r"\n\s*\n|^\s*(?:\*\*\*|---)\s*$", text, flags=re.M) if p.strip()]


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
    """Whether an answer is in a language: at least half of its letters in its script, and of several languages that
    share Latin letters, the one whose frequent words occur most."""
    code = language.lower().partition("-")[0]
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return False
    if code in SCRIPTS:
        inside = len(re.findall(SCRIPTS[code], text))
        kana = len(re.findall(rf"[{KANA}]", text))
        if code == "ja":
            return kana > 0 and kana + len(re.findall(rf"[{HAN}]", text)) >= len(letters) / 2
        return inside >= len(letters) / 2 and not (code == "zh" and kana > inside / 10)
    if code not in LATIN_WORDS:
        raise ValueError(f"language '{language}': cannot be told by code")
    if sum(unicodedata.name(c, "").startswith("LATIN") for c in letters) < len(letters) / 2:
        return False
    said = [w.lower() for w in latin_words(text)]
    counts = {name: sum(w in set(frequent.split()) for w in said) for name, frequent in LATIN_WORDS.items()}
    return counts[code] == max(counts.values()) and (counts[code] > 0 or len(said) < 6)


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
