"""Right or wrong, from what an answer says last: a number, a letter, a short text. English and Chinese."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from fractions import Fraction

_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?![\d.]))?|[-−]?\.\d+")
_SAID = re.compile(
    r"####|\\boxed\s*\{|(?:the\s+)?(?:final\s+)?answer\s*(?:is|:|=)|答案\s*(?:是|为|：|:)|答\s*[：:]|结果\s*(?:是|为)",
    re.I,
)
_HAN = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_HAN_NUMBER = re.compile(r"[零〇一二两三四五六七八九十百千万]+")


def plain(text: str) -> str:
    """Full-width digits and letters as ASCII (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def number_of(text: str) -> Fraction | None:
    """The value of '1,234.50', '3/4' or '-2'; None where it is none."""
    text = text.strip().replace(",", "").replace("−", "-").replace(" ", "")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def han_number(text: str) -> int | None:
    """The value of a Chinese numeral up to 99,999,999 (三十二, 一千零五; 一百二 is 120, 三万五 35,000)."""
    if "万" in text:
        high, _, low = text.partition("万")
        above, below = han_number(high), han_number(low) if low else 0
        return None if above is None or below is None else above * 10_000 + below * (1000 if low in _HAN else 1)
    total, digit, seen, unit = 0, 0, False, 1
    for sign in text:
        if sign in _UNITS:
            unit = _UNITS[sign]
            total, digit, seen = total + (digit if seen and digit else 1) * unit, 0, False
        elif sign in _HAN:
            unit = 1 if sign in "零〇" or (seen and digit) else unit
            digit, seen = (digit * 10 + _HAN[sign]) if seen and digit else _HAN[sign], True
        else:
            return None
    return total + digit * max(unit // 10, 1)


_TEX = re.compile(r"(\d+)?\s*\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_PARTS = re.compile(r"(?:(\d+)又)?(\d+)分之(\d+)")


def _fractions(text: str) -> str:
    """Fractions of TeX and of Chinese (\\frac{2}{7}, 7分之2, 一又七分之二) as 2/7."""
    text = re.sub(rf"[{''.join(_HAN)}十百千万又]+分之[{''.join(_HAN)}十百千万]+", _digits, text)
    text = _PARTS.sub(lambda m: f"{int(m[1] or 0) * int(m[2]) + int(m[3])}/{m[2]}", text)
    return _TEX.sub(lambda m: f"{int(m[1] or 0) * int(m[3]) + int(m[2])}/{m[3]}", text)


def _digits(match: re.Match[str]) -> str:
    return _HAN_NUMBER.sub(lambda m: str(han_number(m[0])), match[0])


def final_number(answer: str) -> Fraction | None:
    """The number that an answer ends in: after its last 'answer is', 答案是, #### or \\boxed{, else the last one."""
    text = _fractions(plain(answer))
    marks = list(_SAID.finditer(text))
    for part in ([text[marks[-1].end() :]] if marks else []) + [text]:
        found = [m.group() for m in _NUMBER.finditer(part)]
        if found:
            # right after 'the answer is' the first number is meant, without such words the last one said
            return number_of(found[0] if part is not text else found[-1])
        han = [value for m in _HAN_NUMBER.finditer(part) if (value := han_number(m.group())) is not None]
        if han:
            return Fraction(han[0] if part is not text else han[-1])
    return None


def same_number(answer: str, gold: str) -> bool:
    """Whether the answer's final number is `gold`, as values: 18, 18.0 and 18.00 are one."""
    wanted, got = number_of(plain(gold)), final_number(answer)
    return wanted is not None and got is not None and abs(wanted - got) <= Fraction(1, 10**6)


_LETTER = r"\s*[:：]?\s*[\(（\[【*\"“]*\s*([A-Ja-j])(?![A-Za-z'’])"
_LETTER_SAID = re.compile(
    r"(?:(?i:answer|option|choice)\s*(?:(?i:is)|:|=)|(?i:answer)"
    r"|答案\s*(?:应该是|应为|是|为|：|:)?|应选|故选|(?<!不)选择?(?!项))" + _LETTER
)
_LETTER_NAMED = re.compile(r"(?:(?i:option|choice)|选项)" + _LETTER)
"""An option that is spoken of: as the answer, or of why it is none."""
_LETTER_FIRST = re.compile(r"^\s*[\(（\[【*\"“]*\s*([A-J])\s*(?:[\)）\]】*\"”.。,，:：、]|\s|$|[\u4e00-\u9fff])")
_LETTER_ALONE = re.compile(r"(?<![A-Za-z])([A-J])(?![A-Za-z'’])")


def chosen_letter(answer: str, choices: Sequence[str]) -> int | None:
    """Which choice an answer names: by its letter after 'answer is' or 答案是, at the start, after 'option', or alone
    at the end; or by the text of exactly one choice. None where it names none, or several."""
    text, count = plain(answer).strip(), len(choices)
    said, named = ([m[1].upper() for m in of.finditer(text) if not _article(m, choices)] for of in _SAID_OR_NAMED)
    first = _LETTER_FIRST.match(text)
    # "A" that begins a sentence is an article
    begins = first is not None and not (first.group(1) in "AI" and re.match(r"[AI] [a-z]", text))
    found = said[-1] if said else first.group(1) if first is not None and begins else named[-1] if named else ""
    alone = [m.group(1) for m in _LETTER_ALONE.finditer(text)]
    if not found and len(set(alone) - {"A", "I"}) == 1 and len(alone) <= 2:
        found = next(letter for letter in reversed(alone) if letter not in "AI")
    if found and ord(found) - ord("A") < count:
        return ord(found) - ord("A")
    there = [i for i, choice in enumerate(choices) if normal(choice) and normal(choice) in normal(text)]
    longest = [i for i in there if not any(normal(choices[i]) in normal(choices[j]) and i != j for j in there)]
    return longest[0] if len(longest) == 1 else None


_SAID_OR_NAMED = (_LETTER_SAID, _LETTER_NAMED)


def _article(match: re.Match[str], choices: Sequence[str]) -> bool:
    """Whether the letter is a word: 'the answer is a cat', 'Answer: A cat' of a choice 'a cat', 'the answer is I think
    B'."""
    rest = match.string[match.start(1) :]
    if match[1] not in "AaIi" or not re.match(r"\w\s+[A-Za-z]", rest):
        return False
    return match[1] != "A" or any(normal(rest).startswith(n) for c in choices if (n := normal(c)))


def normal(text: str) -> str:
    """Lower case, without articles, punctuation and superfluous white space, as in SQuAD's scoring; Chinese without any
    white space between its characters."""
    text = plain(text).lower()
    text = "".join(" " if c in string.punctuation or unicodedata.category(c).startswith("P") else c for c in text)
    text = " ".join(word for word in text.split() if word not in ("a", "an", "the"))
    return re.sub(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])", "", text)


def says_one_of(answer: str, golds: Iterable[str]) -> bool:
    """Whether the answer holds one of the right texts, as whole words (Chinese: as characters)."""
    said = f" {normal(answer)} "
    return any(g and (f" {g} " in said or (_is_han(g) and g in said)) for g in map(normal, golds))


def equals_one_of(answer: str, golds: Iterable[str]) -> bool:
    """Whether the answer, in its first line, is one of the right texts and nothing else."""
    line = next((line for line in answer.split("\n") if line.strip()), "")
    return normal(line) in {normal(g) for g in golds} - {""}


def _is_han(text: str) -> bool:
    return bool(re.search(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]", text))
