"""Right or wrong, from what an answer says: a letter, a short text. English and Chinese. Numbers: `quantities`."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Sequence

from steersman.text.folding import plain

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


THOUSANDS, POINT = re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), re.compile(r"(?<=\d)\.(?=\d)")


def normal(text: str) -> str:
    """Lower case, without articles, punctuation and superfluous white space, as in SQuAD's scoring; Chinese without any
    white space between its characters. Of numbers the point stays (1.5 is not 5), what parts thousands does not."""
    text = THOUSANDS.sub("", plain(text).lower())
    text = "".join(
        " " if c in string.punctuation or unicodedata.category(c).startswith("P") else c
        for c in POINT.sub("\ue000", text)
    ).replace("\ue000", ".")
    text = " ".join(word for word in text.split() if word not in ("a", "an", "the"))
    return re.sub(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])", "", text)


def says_one_of(answer: str, golds: Iterable[str]) -> bool:
    """Whether the answer holds one of the right texts, as whole words (Chinese: as characters)."""
    said = f" {normal(answer)} "
    return any(g and (f" {g} " in said or (_is_han(g) and _holds(said, g))) for g in map(normal, golds))


def _holds(said: str, gold: str) -> bool:
    """Whether Chinese words are in a text, whose numbers are whole there: 3个 is not in 13个."""
    before, after = r"(?<![\d.])" if gold[0].isdigit() else "", r"(?![\d.])" if gold[-1].isdigit() else ""
    return re.search(before + re.escape(gold) + after, said) is not None


def _is_han(text: str) -> bool:
    return bool(re.search(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]", text))
