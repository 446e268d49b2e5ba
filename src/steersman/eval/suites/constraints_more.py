"""IFBench's constraints that code can check without a parser: counts, forms, repetitions, ratios."""

from __future__ import annotations

import csv
import io
import itertools
import re
import string
from collections.abc import Callable, Mapping

from steersman.eval.suites.constraints import (
    Args,
    Check,
    _constrained,
    _first,
    _keywords_multiple,
    _numbers,
    _range,
    _template,
    _unique,
)
from steersman.eval.suites.measures import KANA, count_of, emoji, latin_words, lines, sentences, words

_PRONOUNS = (
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers "
    "herself it its itself they them their theirs themselves this that these those who whom whose which what"
)
PRONOUNS = frozenset(_PRONOUNS.split())
CONJUNCTIONS = ("for", "and", "nor", "but", "or", "yet", "so")
NUMBERED = re.compile(r"(\d+)")


def _stripped(text: str) -> list[str]:
    """Words at white space, without punctuation at their ends."""
    out = [w.strip(string.punctuation + "“”‘’—…") for w in text.split()]
    return [w for w in out if w]


def _keyword_in_sentence(text: str, a: Args) -> bool:
    found, at = sentences(text), int(_first(a, "N"))
    return len(found) >= at and count_of(found[at - 1], str(_first(a, "word", "keyword"))) > 0


def _keyword_at(text: str, a: Args) -> bool:
    found, at = sentences(text), int(_first(a, "n"))
    if len(found) < at:
        return False
    said, place = _stripped(found[at - 1]), int(_first(a, "m"))
    return len(said) >= place and said[place - 1].casefold() == str(_first(a, "keyword")).casefold()


def _second_words(text: str, a: Args) -> bool:
    said, keyword = _stripped(text), str(_first(a, "keyword")).casefold()
    return len(said) >= 3 and said[1].casefold() == keyword == said[-2].casefold()


def _sub_bullets(text: str, _a: Args) -> bool:
    blocks = re.split(r"^\s*\*(?!\*)", text, flags=re.M)[1:]
    return bool(blocks) and all(re.search(r"^\s*-\s*\S", block, re.M) for block in blocks)


def _no_bullets_bullets(text: str, _a: Args) -> bool:
    before, star, _ = text.partition("\n*")
    points = re.findall(r"^\s*\*\s*\S", text, re.M)
    return bool(star) and len(re.findall(r"\w[^.]*\.", before)) >= 2 and len(points) >= 2


def _items(text: str, a: Args) -> bool:
    return len(re.findall(rf"^\s*{re.escape(str(_first(a, 'sep')))}", text, re.M)) >= 2


def _emoji(text: str, _a: Args) -> bool:
    ends = [s for s in re.split(r"(?<=[.!?。！？])\s+(?=[A-Z\u4e00-\u9fff])|\n+", text) if re.search(r"\w", s)]
    return bool(ends) and all(emoji(s.strip()[-3:]) for s in ends)


def _stairs(text: str, _a: Args) -> bool:
    depths = [len(line) - len(line.lstrip()) for line in lines(text)]
    return len(depths) > 1 and all(b > a for a, b in itertools.pairwise(depths))


def _nested(text: str, least: int) -> bool:
    pairs, stack, deepest = {")": "(", "]": "[", "}": "{"}, [], 0
    for sign in text:
        if sign in pairs.values():
            stack.append(sign)
            deepest = max(deepest, len(stack))
        elif sign in pairs and (not stack or stack.pop() != pairs[sign]):
            return False
    return not stack and deepest >= least


def _increment(text: str, a: Args) -> bool:
    counts, step = [len(words(s)) for s in sentences(text)], int(_first(a, "small_n", "N"))
    return len(counts) > 1 and all(y - x == step for x, y in itertools.pairwise(counts))


def _ends_of_sentences(text: str) -> list[str]:
    found = [s.rstrip("\"'”’)）]") for s in sentences(text)]
    return ["?" if s[-1:] in "?？" else "!" if s[-1:] in "!！" else "." for s in found if s]


def _two_to_one(text: str, _a: Args) -> bool:
    kinds = _ends_of_sentences(text)
    return kinds.count("?") > 0 and kinds.count(".") == 2 * kinds.count("?")


def _balanced(text: str, _a: Args) -> bool:
    kinds = _ends_of_sentences(text)
    return kinds.count(".") == kinds.count("?") == kinds.count("!") > 0


def _three_equal(text: str, _a: Args) -> bool:
    found = sentences(text)
    said = [w.casefold() for s in found for w in _stripped(s)]
    return len(found) == 3 and len({len(s) for s in found}) == 1 and len(set(said)) == len(said)


def _palindromes(text: str, _a: Args) -> bool:
    found = {w.casefold() for w in latin_words(text)}
    return sum(len(w) >= 5 and w == w[::-1] for w in found) >= 10


def _prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _each_word(check: Callable[[str], bool]) -> Check:
    def all_words(text: str, _a: Args) -> bool:
        said = _stripped(text)
        return bool(said) and all(check(w) for w in said)

    return all_words


def _cluster(word: str) -> bool:
    return re.search(r"[bcdfghjklmnpqrstvwxyz]{2}", word, re.I) is not None


def _alphabet(text: str, _a: Args) -> bool:
    first = [w[0].casefold() for w in _stripped(text)]
    return bool(first) and all(
        a in string.ascii_lowercase and b == string.ascii_lowercase[(string.ascii_lowercase.index(a) + 1) % 26]
        for a, b in itertools.pairwise(first)
    )


def _no_consecutive(text: str, _a: Args) -> bool:
    first = [w[0].casefold() for w in _stripped(text)]
    return bool(first) and all(a != b for a, b in itertools.pairwise(first))


def _paragraph_ends(text: str, _a: Args) -> bool:
    found = [_stripped(p) for p in text.split("\n") if p.strip()]
    return bool(found) and all(p and p[0].casefold() == p[-1].casefold() for p in found)


def _last_first(text: str, _a: Args) -> bool:
    found = [s for s in map(_stripped, sentences(text)) if s]
    return len(found) > 1 and all(a[-1].casefold() == b[0].casefold() for a, b in itertools.pairwise(found))


def _repeats(text: str, a: Args) -> bool:
    counts: dict[str, int] = {}
    for word in _stripped(text.casefold()):
        counts[word] = counts.get(word, 0) + 1
    return bool(counts) and max(counts.values()) <= int(_first(a, "small_n"))


def _overlap(text: str, a: Args) -> bool:
    """The share of the answer's trigrams of characters that the reference text has too, within 2 points."""

    def grams(of: str) -> set[str]:
        return {of[i : i + 3] for i in range(len(of) - 2)}

    ours, theirs = grams(text), grams(str(_first(a, "reference_text")))
    share = 100 * len(ours & theirs) / len(ours) if ours else 0.0
    return abs(share - float(_first(a, "percentage"))) <= 2


def _span(text: str, a: Args) -> bool:
    given = str(_first(a, "prompt_to_repeat")).split()
    return text.strip().split() == given[int(_first(a, "n_start")) : int(_first(a, "n_end")) + 1]


def _changed(text: str, a: Args) -> bool:
    given, said = str(_first(a, "prompt_to_repeat")).split(), text.split()
    return bool(said) and said[0] != given[0] and said[1:] == given[1:]


def _japanese(text: str, a: Args) -> bool:
    said, every = text.split(), int(_first(a, "N"))
    return len(said) >= every and all(re.search(rf"[{KANA}\u4e00-\u9fff]", w) for w in said[every - 1 :: every])


def _vowels(text: str, _a: Args) -> bool:
    return 0 < len(set(re.findall("[aeiou]", text.casefold()))) <= 3


def _every_mark(text: str, _a: Args) -> bool:
    return all(mark in text for mark in ".,!?;:") and ("‽" in text or "?!" in text or "!?" in text)


def _names(text: str, a: Args) -> bool:
    given = NAMES if not a.get("names") else a["names"]
    return sum(count_of(text, name) > 0 for name in given) >= int(_first(a, "N"))


_NAMES = (
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin "
    "Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria "
    "Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella "
    "Jonathan"
)
NAMES = tuple(_NAMES.split())
"""First names that IFBench's prompts offer."""


def _quote_levels(text: str, _a: Args) -> bool:
    """Quotes nested at least three deep, double and single in turn."""
    even = re.sub("[‘’]", "'", re.sub("[“”]", '"', text))
    open_: list[str] = []
    deepest = 0
    for sign in re.findall(r"\"|(?<![^\W_])'|'(?![^\W_])", even):  # no apostrophes within words
        if open_ and open_[-1] == sign:
            open_.pop()
        else:
            open_.append(sign)
        deepest = max(deepest, len(open_))
    return not open_ and deepest >= 3


def _csv_rows(delimiter: str, columns: int, rows: int, quoted: bool, text: str, _a: Args) -> bool:
    inside = re.sub(r"^```(?:csv)?\s*|\s*```$", "", text.strip())
    found = [row for row in csv.reader(io.StringIO(inside), delimiter=delimiter) if row]
    good = len(found) == rows + 1 and all(len(row) == columns for row in found)
    fields = [f for line in inside.split("\n") if line.strip() for f in line.split(delimiter)]
    return good and (not quoted or all(f.strip().startswith('"') and f.strip().endswith('"') for f in fields))


_MINOR = frozenset(
    ["a", "an", "the", "and", "but", "or", "nor", "for", "so", "at", "by", "in", "of", "on", "to", "up", "as", "with"]
)


def _title_case(text: str, _a: Args) -> bool:
    said = latin_words(text)
    return bool(said) and all(w[0].isupper() or w.casefold() in _MINOR for w in said)


def _multiples(text: str, _a: Args) -> bool:
    return re.findall(r"\d+", text) == ["14", "21", "28", "35", "42", "49"]


def _dates(text: str, _a: Args) -> bool:
    parts = [p.strip() for p in text.strip().rstrip(".").split(",")]
    return all(re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", p) for p in parts)


def _sentence_alphabet(text: str, _a: Args) -> bool:
    found = [s.lstrip("\"'“ ")[:1].casefold() for s in sentences(text)]
    return found == list(string.ascii_lowercase)


def _thesis(text: str, _a: Args) -> bool:
    return re.search(r"^\s*(?:<[a-z0-9]+>\s*)*<(?:i|em)>[^<]+</(?:i|em)>", text, re.M) is not None


def _quote_unquote(text: str, _a: Args) -> bool:
    """Something is quoted, and text outside of quotes follows every quotation."""
    found = list(re.finditer(r'"[^"]+"|“[^”]+”', text))
    return bool(found) and all(
        re.search(r"\w", text[m.end() : n])
        for m, n in zip(found, [*(m.start() for m in found[1:]), len(text)], strict=True)
    )


IFBENCH: Mapping[str, Check] = {
    "sentence:keyword": _keyword_in_sentence,
    "words:keywords_specific_position": _keyword_at,
    "words:words_position": _second_words,
    "words:consonants": _each_word(_cluster),
    "words:vowel": _vowels,
    "words:alphabet": _alphabet,
    "words:no_consecutive": _no_consecutive,
    "words:palindrome": _palindromes,
    "words:prime_lengths": _each_word(lambda w: _prime(len(w))),
    "words:paragraph_last_first": _paragraph_ends,
    "words:last_first": _last_first,
    "words:repeats": _repeats,
    "format:sub-bullets": _sub_bullets,
    "format:no_bullets_bullets": _no_bullets_bullets,
    "format:list": _items,
    "format:emoji": _emoji,
    "format:line_indent": _stairs,
    "format:thesis": _thesis,
    "format:parentheses": lambda text, _a: _nested(text, 5),
    "format:quotes": _quote_levels,
    "format:quote_unquote": _quote_unquote,
    "format:newline": lambda text, _a: bool(lines(text)) and all(len(line.split()) == 1 for line in lines(text)),
    "format:options": _constrained,
    "format:title_case": _title_case,
    "format:output_template": _template,
    "format:no_whitespace": lambda text, _a: not re.search(r"\s", text.strip()),
    "sentence:increment": _increment,
    "ratio:sentence_type": _two_to_one,
    "ratio:sentence_balance": _balanced,
    "ratio:sentence_words": _three_equal,
    "ratio:overlap": _overlap,
    "count:word_count_range": _range,
    "count:unique_word_count": _unique,
    "count:numbers": _numbers,
    "count:pronouns": lambda text, a: sum(w.casefold() in PRONOUNS for w in latin_words(text)) >= int(_first(a, "N")),
    "count:conjunctions": lambda text, a: sum(count_of(text, w) > 0 for w in CONJUNCTIONS) >= int(_first(a, "small_n")),
    "count:person_names": _names,
    "count:punctuation": _every_mark,
    "count:keywords_multiple": _keywords_multiple,
    "count:words_japanese": _japanese,
    "repeat:repeat_span": _span,
    "repeat:repeat_change": _changed,
    "custom:csv_city": lambda text, a: _csv_rows(",", 5, 7, False, text, a),
    "custom:csv_quotes": lambda text, a: _csv_rows("\t", 5, 3, True, text, a),
    "custom:multiples": _multiples,
    "custom:date_format_list": _dates,
    "custom:sentence_alphabet": _sentence_alphabet,
}
