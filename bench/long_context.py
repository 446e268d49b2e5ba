"""Texts for a small model that learns to find needles: documents with facts and, behind them, questions and answers.

python bench/long_context.py texts SOURCE.jsonl.xz LANGUAGE OUT.jsonl --documents 20000 --characters 300:8000
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import random
from collections.abc import Iterator
from pathlib import Path

from steersman.eval.needles import needles, sentences


def read(path: Path) -> Iterator[str]:
    """The texts of JSON lines, packed or not."""
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def pieces(path: Path, language: str) -> Iterator[str]:
    """The sentences of all texts, one after the other, again and again."""
    while True:
        for text in read(path):
            yield from sentences(text, language)


def document(source: Iterator[str], language: str, characters: int, rng: random.Random, per: int) -> str:
    """Sentences of about so many characters, a needle for every `per` of them, and each asked for at the end."""
    text: list[str] = []
    size = 0
    while size < characters:
        text.append(next(source))
        size += len(text[-1])
    found = needles(rng, language, min(24, max(2, characters // per)))
    for needle in found:
        fact = needle.fact(language)
        text.insert(rng.randrange(len(text) + 1), f" {fact}" if language == "en" else fact)
    rng.shuffle(found)
    asked = [needle.question(language) + needle.answer(language) for needle in found]
    return "".join(text) + "".join(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("texts",))
    parser.add_argument("source", type=Path)
    parser.add_argument("language", choices=("en", "zh"))
    parser.add_argument("output", type=Path)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--characters", default="200:6000", help="least and most, log-uniform")
    parser.add_argument("--per", type=int, default=100, help="characters of text for a needle")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    low, high = map(int, options.characters.split(":"))
    source = pieces(options.source, options.language)
    with options.output.open("w", encoding="utf-8") as file:
        for _ in range(options.documents):
            size = round(math.exp(rng.uniform(math.log(low), math.log(high))))
            made = document(source, options.language, size, rng, options.per)
            file.write(json.dumps({"text": made}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
