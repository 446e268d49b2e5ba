"""A small model that learns to find needles, for proving that its context can be extended.

    python bench/long_context.py texts SOURCE.jsonl.xz LANGUAGE OUT.jsonl --documents 20000 --characters 300:8000
    python bench/long_context.py base WORKSPACE CORPUS TOKENIZER --context 2048 --tokens 4M

`texts` writes documents with facts among sentences and, behind them, each fact's question and answer, and as many
passages that are repeated word for word, from which copying is learned first. `base` pretrains a decoder of 3 layers
with four small heads each.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from steersman.eval.needles import needles, sentences

HEADS = 4


def read(path: Path) -> Iterator[str]:
    """The texts of JSON lines, packed or not."""
    with lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def pieces(path: Path, language: str, longest: int) -> Iterator[str]:
    """The sentences of all texts, one after the other, again and again."""
    while True:
        for text in read(path):
            yield from (piece for piece in sentences(text, language) if len(piece) <= longest)


def taken(source: Iterator[str], characters: int) -> list[str]:
    text: list[str] = []
    size = 0
    while size < characters:
        text.append(next(source))
        size += len(text[-1])
    return text


def document(source: Iterator[str], language: str, characters: int, rng: random.Random, per: int) -> str:
    """Sentences of about so many characters, a needle for every `per` of them, and each asked for at the end."""
    text = taken(source, characters)
    found = needles(rng, language, min(24, max(2, characters // per)))
    for needle in found:
        fact = needle.fact(language)
        text.insert(rng.randrange(len(text) + 1), f" {fact}" if language == "en" else fact)
    rng.shuffle(found)
    asked = [needle.question(language) + needle.answer(language) for needle in found]
    return "".join(text) + "".join(asked)


def write(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    low, high = map(int, options.characters.split(":"))
    source = pieces(options.source, options.language, options.longest)
    with options.output.open("w", encoding="utf-8") as file:
        for _ in range(options.documents):
            size = round(math.exp(rng.uniform(math.log(low), math.log(high))))
            if rng.random() < options.repeated:
                made = "".join(taken(source, size // 2)) * 2
            else:
                made = document(source, options.language, size, rng, options.per)
            file.write(json.dumps({"text": made}, ensure_ascii=False) + "\n")


def base(options: argparse.Namespace) -> None:
    from steersman.cli.framework import open_workspace
    from steersman.corpus.folder import corpus_of
    from steersman.corpus.mixture import Mixture
    from steersman.rounds import pretrained
    from steersman.train.dial import Sizes

    @dataclass(frozen=True)
    class Narrow(Sizes):
        @property
        def heads(self) -> int:
            return HEADS

    settings = {"shape.depth": 3, "tokens": f'"{options.tokens}"', "context": options.context, "batch_tokens": 4096}
    settings |= {"evals": 3, "samples": 0, "updates.lr": options.lr, "updates.weight_decay": 0.1}
    space = open_workspace(options.workspace, [f"pretrain.{name}={value}" for name, value in settings.items()])
    folder = space.root / "tokenizers" / options.tokenizer
    corpus = corpus_of(space, options.corpus)
    wanted = pretrained.Wanted(options.into, corpus, options.tokenizer, folder, Mixture({}), None, True)
    plan = pretrained.planned(space.config.pretrain, wanted, space.config.model)
    sizes = Narrow(3, 128, 384, plan.sizes.vocabulary, False)
    print(pretrained.make(space, wanted, replace(plan, base=sizes, sizes=sizes)).metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    texts = what.add_parser("texts")
    texts.add_argument("source", type=Path)
    texts.add_argument("language", choices=("en", "zh"))
    texts.add_argument("output", type=Path)
    texts.add_argument("--documents", type=int, default=10_000)
    texts.add_argument("--characters", default="200:6000", help="least and most, log-uniform")
    texts.add_argument("--per", type=int, default=100, help="characters of text for a needle")
    texts.add_argument("--longest", type=int, default=400, help="characters of a sentence that is used")
    texts.add_argument("--repeated", type=float, default=0.0, help="share of passages repeated word for word")
    texts.add_argument("--seed", type=int, default=0)
    texts.set_defaults(run=write)
    model = what.add_parser("base")
    model.add_argument("workspace", type=Path)
    model.add_argument("corpus")
    model.add_argument("tokenizer")
    model.add_argument("--into", default="base")
    model.add_argument("--context", type=int, default=2048)
    model.add_argument("--tokens", default="4M")
    model.add_argument("--lr", type=float, default=0.005)
    model.set_defaults(run=base)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
