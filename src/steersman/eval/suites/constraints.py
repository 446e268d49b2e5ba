"""Verifiable constraints on an answer, by the names of IFEval (Zhou et al. 2023) and IFBench (Pyatkin et al. 2025).

A check gets the answer and the constraint's arguments (`kwargs`) and says whether it is met. Chinese text is counted in
characters where English is in words. Constraints that need a parser of parts of speech, or that a person must judge,
are not here; a prompt that has one is left out, and counted.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from steersman.eval.suites.measures import (
    HAN,
    bullets,
    count_of,
    is_in,
    is_latin,
    latin_words,
    lines,
    paragraphs,
    relates,
    sentences,
    words,
)

Args = Mapping[str, Any]
Check = Callable[[str, Args], bool]


def _first(args: Args, *names: str) -> Any:
    """The first of the arguments that is given. ValueError where none is."""
    for name in names:
        if args.get(name) is not None:
            return args[name]
    raise ValueError(f"expected {' or '.join(names)}")


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(v) for v in value]


def _relation(args: Args) -> str | None:
    given = args.get("relation") or args.get("let_relation") or args.get("capital_relation")
    return None if given is None else str(given)


def _starts_postscript(text: str, marker: str) -> bool:
    """IFEval's own rule: the marker anywhere, with or without a space after each point."""
    letters = r"\s?".join(map(re.escape, re.sub(r"(?<=\.)\s+", "", marker.strip())))
    return re.search(rf"(?<!\w){letters}", text, re.I) is not None


def _sections(text: str, args: Args) -> bool:
    mark = re.escape(str(_first(args, "section_spliter", "section_splitter")))
    found = len(re.findall(rf"(?<!\w){mark}\s?(?:\d+|[一二三四五六七八九十]+)", text))
    return found >= int(_first(args, "num_sections"))


def _is_json(text: str, _args: Args) -> bool:
    inside = re.sub(r"^\s*```(?:json)?\s*|\s*```\s*$", "", text.strip(), flags=re.I)
    try:
        json.loads(inside)
    except (ValueError, RecursionError):
        return False
    return True


def _highlights(text: str, args: Args) -> bool:
    strong = re.findall(r"\*\*[^*\n]*[^*\s][^*\n]*\*\*", text)
    rest = re.sub(r"\*\*[^*\n]*\*\*", "", text)
    soft = re.findall(r"(?<!\*)\*[^*\n]*[^*\s][^*\n]*\*(?!\*)", rest)
    return len(strong) + len(soft) >= int(_first(args, "num_highlights"))


def _two_responses(text: str, _args: Args) -> bool:
    parts = [p.strip() for p in text.strip().removeprefix("******").removesuffix("******").split("******")]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def _nth_paragraph(text: str, args: Args) -> bool:
    found = [p for p in re.split(r"\n\s*\n", text) if p.strip()]
    at = int(_first(args, "nth_paragraph"))
    if len(found) != int(_first(args, "num_paragraphs")) or at > len(found):
        return False
    start = found[at - 1].lstrip(" \t\n\"'“‘「*_#").casefold()
    wanted = str(_first(args, "first_word")).casefold()
    whole = not re.match(r"\w", start[len(wanted) :]) or re.search(rf"[{HAN}]", wanted)
    return start.startswith(wanted) and bool(whole)


def _repeats_prompt(text: str, args: Args) -> bool:
    return text.strip().casefold().startswith(str(_first(args, "prompt_to_repeat")).strip().casefold())


def _number_words(text: str, args: Args) -> bool:
    return relates(len(words(text)), _relation(args), float(_first(args, "num_words")))


def _letters(text: str, args: Args) -> bool:
    letter = str(_first(args, "letter")).casefold()
    return relates(text.casefold().count(letter), _relation(args), float(_first(args, "let_frequency")))


def _capitals(text: str, args: Args) -> bool:
    found = sum(w.isupper() for w in latin_words(text))
    return relates(found, _relation(args), float(_first(args, "capital_frequency")))


def _case(upper: bool, text: str, _args: Args) -> bool:
    cased = [c for c in text if c.isupper() or c.islower()]
    latin = 2 * sum(map(is_latin, cased)) >= sum(map(str.isalpha, text))
    return bool(cased) and latin and all(c.isupper() == upper for c in cased)


def _no_comma(text: str, _args: Args) -> bool:
    return not re.search("[,，、]", text)


def _one_option(text: str, args: Args) -> bool:
    """IFEval's own sentences may stand among others, as in its code; options of a prompt are the whole answer."""
    if args.get("options"):
        return _constrained(text, args)
    return sum(option.casefold() in text.casefold() for option in _options({})) == 1


def _options(args: Args) -> list[str]:
    options = _texts(args.get("options") or ["My answer is yes.", "My answer is no.", "My answer is maybe."])
    return options[0].split("/") if len(options) == 1 else options


def _constrained(text: str, args: Args) -> bool:
    said = text.strip().strip("\"'“”*.。 ").casefold()
    return any(said == option.strip().strip(".。 ").casefold() for option in _options(args))


def _range(text: str, args: Args) -> bool:
    return float(_first(args, "min_words")) <= len(words(text)) <= float(_first(args, "max_words"))


def _keywords_multiple(text: str, args: Args) -> bool:
    wanted = {f"keyword{i}": n for i, n in zip(range(1, 6), (1, 2, 3, 5, 7), strict=True)}
    return all(count_of(text, str(args[key])) == n for key, n in wanted.items() if args.get(key))


def _quoted(text: str, _args: Args) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] in '"“「『' and text[-1] in '"”」』'


def _ends(text: str, args: Args) -> bool:
    wanted = str(_first(args, "end_phrase")).strip().casefold()
    return text.strip().strip('"”*').strip().casefold().endswith(wanted.strip('"”*'))


def _frequency(text: str, args: Args) -> bool:
    found = count_of(text, str(_first(args, "keyword", "word")))
    return relates(found, _relation(args), float(_first(args, "frequency")))


def _has_all(text: str, args: Args) -> bool:
    return all(count_of(text, k) for k in _texts(_first(args, "keywords")))


def _has_none(text: str, args: Args) -> bool:
    return not any(count_of(text, k) for k in _texts(_first(args, "forbidden_words", "keywords")))


def _characters(text: str, args: Args) -> bool:
    """Chinese characters, punctuation aside (字数)."""
    found = len(re.findall(rf"[{HAN}]", text))
    low, high = args.get("min_characters"), args.get("max_characters")
    if low is None and high is None:
        raise ValueError("expected min_characters or max_characters")
    return (low is None or found >= float(low)) and (high is None or found <= float(high))


def _template(text: str, args: Args) -> bool:
    labels = _texts(args.get("labels") or ["My Answer:", "My Conclusion:", "Future Outlook:"])
    places = [text.find(label) for label in labels]
    return all(at >= 0 for at in places) and places == sorted(places)


def _unique(text: str, args: Args) -> bool:
    return len({w.casefold() for w in words(text)}) >= float(_first(args, "N"))


def _numbers(text: str, args: Args) -> bool:
    return len(re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*(?![\w])", text)) == int(_first(args, "N"))


IFEVAL: dict[str, Check] = {
    "keywords:existence": _has_all,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _has_none,
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda text, a: is_in(text, str(_first(a, "language"))),
    "length_constraints:number_sentences": lambda text, a: relates(
        len(sentences(text)), _relation(a), float(_first(a, "num_sentences"))
    ),
    "length_constraints:number_paragraphs": lambda text, a: len(paragraphs(text)) == int(_first(a, "num_paragraphs")),
    "length_constraints:number_words": _number_words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "length_constraints:number_characters": _characters,
    "detectable_content:number_placeholders": lambda text, a: (
        len(re.findall(r"\[[^\[\]\n]+\]|【[^【】\n]+】", text)) >= int(_first(a, "num_placeholders"))
    ),
    "detectable_content:postscript": lambda text, a: _starts_postscript(text, str(_first(a, "postscript_marker"))),
    "detectable_format:number_bullet_lists": lambda text, a: len(bullets(text)) == int(_first(a, "num_bullets")),
    "detectable_format:constrained_response": _one_option,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _is_json,
    "detectable_format:title": lambda text, _a: (
        re.search(r"<<[^\n<>]*[^\s<>][^\n<>]*>>|《[^》\n]+》", text) is not None
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats_prompt,
    "startend:end_checker": _ends,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": lambda text, a: _case(True, text, a),
    "change_case:english_lowercase": lambda text, a: _case(False, text, a),
    "punctuation:no_comma": _no_comma,
}


@functools.cache
def checks() -> Mapping[str, Check]:
    """Name of a constraint -> its check."""
    from steersman.eval.suites.constraints_more import IFBENCH

    return {**IFEVAL, **IFBENCH}


def unknown(names: list[str]) -> list[str]:
    return [name for name in names if name not in checks()]


def followed(answer: str, name: str, args: Args) -> bool:
    """Whether a constraint is met; an empty answer meets none. ValueError where an argument is missing or wrong."""
    given = {k: v for k, v in args.items() if v is not None}
    try:
        return bool(answer.strip()) and checks()[name](answer, given)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"constraint {name} {given}: {error}") from None


__all__ = ["IFEVAL", "Check", "checks", "followed", "lines", "unknown"]
