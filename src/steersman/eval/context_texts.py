"""Texts for measuring long contexts: a user's files, or the bundled shop's dialogues end to end."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.corpus.documents import LeftOut, documents, files_of
from steersman.data.reading import Reading
from steersman.data.shop.generate import generate

LANGUAGES = ("en", "zh")
MOST = 20_000_000
"""Characters of each language that are read, at most."""
BUNDLED = 400
"""Dialogues of the shop that make one document."""
DOCUMENTS = 8
CHINESE = 0.2
"""Share of Chinese characters from which on a document is Chinese."""


@dataclass(frozen=True)
class Texts:
    name: str
    documents: Mapping[str, Sequence[str]]
    """By language."""
    page: str = "en"
    """Language of the page."""


@functools.lru_cache(maxsize=1)
def bundled(seed: int, page: str) -> Texts:
    """The shop's dialogues in both languages; the last ones are kept."""
    found = {}
    for language in LANGUAGES:
        said = generate("demonstrations", "test", BUNDLED * DOCUMENTS, language, seed, "context")  # type: ignore[arg-type]
        lines = ["\n".join(m.text for m in one.messages) + "\n\n" for one in said]
        found[language] = ["".join(lines[i::DOCUMENTS]) for i in range(DOCUMENTS)]
    return Texts("the bundled shop's dialogues", found, page)


def of_files(paths: Sequence[Path], page: str) -> Texts:
    """The documents of files and folders, by language. ValueError where there are none."""
    every: dict[str, list[str]] = {}
    sizes = dict.fromkeys(LANGUAGES, 0)
    files = [file for path in paths for file in files_of(path)[0]]
    for text in documents(files, Reading(), LeftOut()):
        language = language_of(text)
        if sizes[language] < MOST:
            every.setdefault(language, []).append(text)
            sizes[language] += len(text)
        elif all(size >= MOST for size in sizes.values()):
            break
    if not every:
        raise ValueError(f"{', '.join(map(str, paths))}: expected texts, found none")
    return Texts(", ".join(path.name for path in paths), dict(sorted(every.items())), page)


def language_of(text: str) -> str:
    start = text[:2000]
    return "zh" if sum("\u4e00" <= c <= "\u9fff" for c in start) > CHINESE * len(start) else "en"


def window(
    every: Sequence[str],
    tokenise: Callable[[str], Sequence[Any]],
    length: int,
    rng: random.Random,
    size: Callable[[Any], int] = lambda one: 1,
) -> list[Any]:
    """At least `length` tokens from a random place on, cut to it where each item is one.

    They are of one document where one is long enough, else of the next ones too. ValueError where all are too short.
    """
    number = _begin(every, length, rng)
    at = rng.randrange(max(1, len(every[number]) - 6 * length))
    found: list[Any] = []
    have = 0
    for _ in range(len(every)):
        text = every[number]
        while at < len(text) and have < length:
            some = tokenise(text[at : at + 2 * length])
            at += 2 * length
            found.extend(some)
            have += sum(map(size, some))
        if have >= length:
            return found[:length]
        number, at = (number + 1) % len(every), 0
    raise ValueError(f"the text has {have} tokens of this language; expected at least {length}: a longer --text")


def _begin(every: Sequence[str], length: int, rng: random.Random) -> int:
    """A document that is likely long enough, or any."""
    long = [i for i, text in enumerate(every) if len(text) >= 6 * length]
    return rng.choice(long or range(len(every)))
