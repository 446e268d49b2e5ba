"""A small decoder that finds needles, trained from nothing and extended to 32,768 tokens: every step by the verbs.

    python bench/long_context.py DIR --data ../shared/data/pretrain          # all steps; goes on where it was stopped
    python bench/long_context.py DIR --only texts base                       # some of them

texts    documents that teach to look back: short lists of facts, each asked for several times; words repeated in the
         same order; facts of many forms; facts among sentences of real text, asked for later; and plain text. Places
         of needles are among the things that facts are about, since a word must be known to be matched; no fact is an
         access code (`SAID`, `WHATS`)
base     a tokenizer that has the things and numbers to 999 as entries of their own, as large tokenizers have; and a
         decoder of 3 layers with small heads and slow rotary positions, from short lists to longer texts (STAGES)
longer   the base extended to 8,192 by ntk and trained a little (`middle`), and that for 32,768 (`BEYOND`) by the ways
         that --ways names, each trained on the same few long texts
measure  `steersman context` of the base, of it and of the middle extended untrained, and of the trained, on text held
         out

What came of it: docs/benchmarks/long-context.md.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import lzma
import math
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from steersman.cli.long_context import SHORTEST
from steersman.eval.needles import PLACES, sentences

SOURCES = {"en": "en_books_public_domain.jsonl.xz", "zh": "zh_lctt_tech.jsonl.xz"}
PER_TOKEN = {"en": 3.0, "zh": 1.4}
"""Characters of a token of the tokenizer that is trained, about."""
HELD_OUT = {"en": 8, "zh": 400}
"""Documents at the beginning of a source, for measuring alone."""
LENGTHS = (2048, 8192, 32768)
"""Tokens of the base's context, of the middle's, and of the texts that needles are looked for in."""
BEYOND = 2
"""How much longer than the longest texts the last extension's context is: rotations that are slow enough to match words
at a distance turn by less than a quarter there. Extended to 32,768 alone, nothing is found beyond 16,000 tokens."""
KINDS = {
    "lists": (0.25, 24, 128),
    "repeated": (0.1, 24, 128),
    "pairs": (0.25, 64, 512),
    "facts": (0.3, 160, 1900),
    "plain": (0.2, 64, 1900),
}
"""Documents for the base: share of what is made, and the least and most tokens of one."""
STAGES = {
    "first": (0.5, 0.01, {"lists": 2, "repeated": 1, "pairs": 3, "facts": 3, "plain": 1}),
    "base": (0.5, 0.005, {"pairs": 2, "facts": 6, "plain": 2}),
}
"""Models, each gone on with from the one before: share of the tokens, peak rate, weights of the kinds."""
SHAPE = {
    **{"kind": "gemma3_text", "window": 8, "tied": "true"},
    **{"depth": 3, "width": 128, "head_size": 32, "rope_theta": 1e6},
}
ENTRIES = 4096
"""Of the tokenizer, for a language."""
WAYS = ("linear", "ntk", "yarn")
NAMES = 4e6
"""Characters of things and numbers for the tokenizer."""
THINGS, COMMON = 1000, 150
"""Words that facts are about: the commonest of a language, but for the very commonest."""
SAID = {
    "en": (
        "The {what} of the {thing} is {value}",
        "The {what} of {thing} was {value}",
        "For {thing} the {what} is {value}",
        "The {thing} has {what} {value}",
        "{what} of {thing}: {value}",
        "{thing} = {value}",
        "{thing} {value}",
        "In the list the {thing} stands at {value}",
    ),
    "zh": (
        "{thing}的{what}是{value}",
        "{thing}{what}为{value}",
        "{what}方面，{thing}是{value}",
        "{thing}：{value}",
        "关于{thing}，{what}记作{value}",
        "{thing}的{what}等于{value}",
    ),
}
SHORT = {
    "en": ("{thing} {value}", "{thing}: {value}", "{thing} = {value}", "{thing} is {value}"),
    "zh": ("{thing}{value}", "{thing}：{value}", "{thing}是{value}", "{thing}为{value}"),
}
WHATS = {
    "en": "weight,price,age,height,score,rank,page,year,speed,length,share,rate,total,level,depth,width,cost,size,mark,"
    "serial number,telephone number,house number,mean score,second label,selling price",
    "zh": "编号,重量,价格,年龄,高度,分数,名次,页码,年份,速度,长度,份额,比率,总数,级别,深度,宽度,费用,大小,"
    "电话号码,门牌号,登记编号,平均分数,出厂价格",
}
ENDS = {"en": ".", "zh": "。"}
JOINED = {"en": " ", "zh": ""}


def read(path: Path) -> Iterator[str]:
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def words(text: str, language: str) -> list[str]:
    """Words that name things, by how often they occur, and the places of needles."""
    if language == "en":
        found = re.findall(r"\b[a-z]{4,12}\b", text)
    else:
        import rjieba

        found = [word for word in rjieba.cut(text) if re.fullmatch(r"[\u4e00-\u9fff]{2,4}", word)]
    often = [word for word, _ in collections.Counter(found).most_common(COMMON + THINGS)]
    return list(dict.fromkeys([*often[COMMON:], *PLACES[language]]))


class Maker:
    """Documents in one language."""

    def __init__(self, source: Path, language: str, seed: int) -> None:
        self.language, self.rng = language, random.Random(seed)
        self.texts = itertools.islice(read(source), HELD_OUT[language], None)
        first = ""
        while len(first) < 2_000_000:
            first += next(self.texts)
        self.known = words(first, language)
        self.pieces = (p for text in self.texts for p in sentences(text, language) if len(p) <= 400)

    def size(self, low: float, high: float) -> int:
        """Characters of so many tokens, log-uniform."""
        return round(PER_TOKEN[self.language] * math.exp(self.rng.uniform(math.log(low), math.log(high))))

    def plain(self, characters: int) -> list[str]:
        text: list[str] = []
        while sum(map(len, text)) < characters:
            text.append(next(self.pieces))
        return text

    def repeated(self, characters: int) -> str:
        """Words in no order, and again in the same one, several times."""
        joined, rng = JOINED[self.language], self.rng
        again = joined.join(rng.choices(self.known, k=rng.randint(5, 25)))
        between = "".join(self.plain(20)) if rng.random() < 0.1 else rng.choice(("\n", "\n\n", joined or "，"))
        return between.join([again] * max(3, round(characters / len(again))))

    def value(self) -> str:
        if self.rng.random() < 0.2:
            return self.rng.choice(self.known)
        return "".join(self.rng.choices("0123456789", k=self.rng.randint(4, 6)))

    def thing(self, name: str) -> str:
        return name if self.rng.random() > 0.2 else name + JOINED[self.language] + self.rng.choice(self.known)

    def pairs(self, characters: int, forms: Sequence[str]) -> str:
        """Facts of one form alone, each asked for several times, in no order."""
        rng, language, asked = self.rng, self.language, self.rng.randint(3, 8)
        form = forms[0] if rng.random() < 0.5 else rng.choice(forms)
        what = rng.choice(WHATS[language].split(","))
        gap = rng.choice(("\n\n", "\n", f"{ENDS[language]}{JOINED[language]}"))
        things = rng.sample(self.known, 40)
        facts: list[str] = []
        while sum(map(len, facts)) * (1 + asked) < characters or len(facts) < 3:
            facts.append(form.format(what=what, thing=self.thing(things.pop()), value=self.value()))
        again = facts * asked
        rng.shuffle(again)
        return gap.join([*facts, *again])

    def facts(self, characters: int, per: int) -> str:
        """Text with a fact for every `per` characters, each asked for twice: at the end, or somewhere before."""
        rng, language = self.rng, self.language
        count = max(2, characters // per)
        forms, whats = rng.sample(SAID[language], 2), rng.sample(WHATS[language].split(","), 3)
        same = rng.random() < 0.5
        laid: list[tuple[float, float, str]] = []
        for thing in rng.sample(self.known, min(count, len(self.known))):
            form = forms[0] if same else rng.choice(forms)
            what = whats[0] if same else rng.choice(whats)
            said = form.format(what=what, thing=self.thing(thing), value=self.value())
            at = 0.9 * rng.random()
            laid.append((at, rng.random(), JOINED[language] + said + ENDS[language]))
            for asked in (1.0, rng.uniform(at, 1.0)):
                laid.append((asked, rng.random(), rng.choice(("\n\n", "\n\n", "\n", JOINED[language])) + said))
        fillers = self.plain(max(0, characters - sum(len(said) for _, _, said in laid)))
        laid += [((i + 0.5) / len(fillers), 0.0, piece) for i, piece in enumerate(fillers)]
        return "".join(piece for _, _, piece in sorted(laid))

    def made(self, kind: str, low: float, high: float) -> str:
        characters = self.size(low, high)
        if kind == "plain":
            return "".join(self.plain(characters))
        if kind == "facts":
            return self.facts(characters, self.size(60, 300 if high <= LENGTHS[0] else 1000))
        if kind == "repeated":
            return self.repeated(characters)
        return self.pairs(characters, SHORT[self.language] if kind == "lists" else SAID[self.language])

    def names(self) -> str:
        """Things and numbers in no order, so that a tokenizer has each as an entry of its own."""
        some = [*self.rng.sample(self.known, 300), *map(str, self.rng.sample(range(1000), 200))]
        self.rng.shuffle(some)
        return JOINED[self.language].join(some)


def texts(folder: Path, data: Path, languages: list[str], million: float, lengths: Sequence[int]) -> None:
    """`million` tokens of a language for the base, and a million of long documents."""
    _, middle, longest = lengths
    part = LENGTHS[0] / lengths[0]
    folder.mkdir(parents=True, exist_ok=True)
    for seed, language in enumerate(languages):
        name = SOURCES[language]
        held = itertools.islice(read(data / name), HELD_OUT[language])
        write(folder / f"{language}-held-out.jsonl", held, math.inf)
        maker = Maker(data / name, language, seed)
        for kind, (share, low, high) in KINDS.items():
            many = (maker.made(kind, max(16, low / part), max(24, high / part)) for _ in itertools.count())
            write(folder / f"{language}-{kind}.jsonl", many, 1e6 * million * share * PER_TOKEN[language])
        named = (maker.names() for _ in itertools.count())
        write(folder / f"{language}-names.jsonl", named, NAMES / part)
        for kind, low, high in (("middle", middle / 8, 0.9 * middle), ("long", 0.75 * longest, 0.92 * longest)):
            many = (maker.made("facts", low, high) for _ in itertools.count())
            write(folder / f"{language}-{kind}.jsonl", many, 1e6 / part * PER_TOKEN[language])


def write(path: Path, documents: Iterator[str], characters: float) -> None:
    with path.open("w", encoding="utf-8") as file:
        size = 0
        for text in documents:
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            size += len(text)
            if size >= characters:
                break


def verb(space: Path, *given: str, **settings: object) -> None:
    more = [
        part for name, value in settings.items() for part in ("--set", f"pretrain.{name.replace('__', '.')}={value}")
    ]
    command = [sys.executable, "-m", "steersman", *given, "--workspace", str(space), *more]
    print("+", " ".join(command[2:]), flush=True)
    subprocess.run(command, check=True)


def base(space: Path, folder: Path, languages: list[str], million: float, context: int) -> None:
    if not space.exists():
        subprocess.run([sys.executable, "-m", "steersman", "init", str(space)], check=True)
    kinds = [f"{la}-{kind}={folder / f'{la}-{kind}.jsonl'}" for la in languages for kind in (*KINDS, "names")]
    verb(space, "corpus", "build", *kinds, "--into", "looking", "--steps", "exact")
    if not (space / "tokenizers" / "tiny").exists():
        read = [
            part for la in languages for kind in KINDS if kind != "plain" for part in ("--weight", f"{la}-{kind}=0")
        ]
        given = ("--vocabulary", str(ENTRIES * len(languages)), "--characters", "8000000", "--beside", "none", *read)
        verb(space, "tokenizer", "train", "looking", "--into", "tiny", *given)
    verb(space, "corpus", "tokenize", "looking", "--tokenizer", "tiny")
    shape = {f"shape__{name}": value for name, value in SHAPE.items()}
    before = ""
    for name, (share, lr, weights) in STAGES.items():
        given = ("--from", before) if before else ()
        asked = {"names": 0, **dict.fromkeys(KINDS, 0), **weights}
        mixed = [part for la in languages for kind, w in asked.items() for part in ("--weight", f"{la}-{kind}={w}")]
        tokens = str(round(1e6 * million * share * len(languages)))
        settings: dict[str, object] = {"batch_tokens": 2048, "evals": 6, "eval_tokens": 8192}
        settings |= {"documents": "whole", "samples": 0}
        settings |= {"updates__lr": lr, "updates__weight_decay": 0.05} | ({} if before else shape)
        mixed += ["--smoothing", "0", "--epochs", "0", "--context", str(context), "--tokens", tokens]
        verb(space, "pretrain", "looking", "--tokenizer", "tiny", *given, *mixed, "--into", name, **settings)
        before = name


def longer(space: Path, folder: Path, languages: list[str], rows: int, ways: list[str], lengths: Sequence[int]) -> None:
    _, middle, longest = lengths
    kinds = [f"{la}-{kind}={folder / f'{la}-{kind}.jsonl'}" for la in languages for kind in ("middle", "long")]
    verb(space, "corpus", "build", *kinds, "--into", "long", "--steps", "exact", "--validation", "0.05")
    verb(space, "corpus", "tokenize", "long", "--tokenizer", "tiny")
    steps = [
        ("middle", "base", middle, "ntk", 0.003, 64),
        *((way, "middle", BEYOND * longest, way, 0.003, rows // BEYOND) for way in ways),
    ]
    for name, before, length, way, lr, count in steps:
        given = ("--tokenizer", "tiny", "--from", before, "--context", str(length), "--rope", way, "--into", name)
        other = "long" if name == "middle" else "middle"
        mixed = [part for la in languages for part in ("--weight", f"{la}-{other}=0")]
        settings = {"batch_tokens": length, "evals": 0, "samples": 0, "eval_tokens": 16384, "updates__lr": lr}
        verb(space, "pretrain", "long", *given, *mixed, "--tokens", str(count * length), **settings)


def measure(
    space: Path, folder: Path, languages: list[str], haystacks: int, windows: int, ways: list[str], longest: int
) -> None:
    held = [part for language in languages for part in ("--text", str(folder / f"{language}-held-out.jsonl"))]
    asked = [longest // part for part in (64, 16, 4, 2, 1) if longest // part >= SHORTEST]
    lengths = [part for length in asked for part in ("--length", str(length))]
    untrained = [f"{name}@{way}" for name in ("base", "middle") for way in ways]
    models = ["none=base", *(f"{name.replace('@', '-')}-untrained={name}" for name in untrained), *ways]
    given = (*held, *lengths, "--haystacks", str(haystacks), "--windows", str(windows))
    verb(space, "context", *models, "-o", str(space.parent / "context"), *given)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pretrain"))
    parser.add_argument("--only", nargs="+", choices=("texts", "base", "longer", "measure"))
    parser.add_argument("--million", type=float, default=8.0, help="Tokens of a language that the base is trained on.")
    parser.add_argument("--rows", type=int, default=24, help="Times 32,768 tokens that each extension is trained on.")
    parser.add_argument("--haystacks", type=int, default=2)
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="Of scaling to 32,768.")
    parser.add_argument("--languages", nargs="+", choices=tuple(SOURCES), default=["en"])
    parser.add_argument("--shorter", type=int, default=1, help="Divides all lengths: 8 tries the whole recipe quickly.")
    options = parser.parse_args()
    lengths = [length // options.shorter for length in LENGTHS]
    space, folder = options.folder / "space", options.folder / "texts"
    la, ways = options.languages, options.ways
    steps = {
        "texts": lambda: texts(folder, options.data, la, options.million, lengths),
        "base": lambda: base(space, folder, la, options.million, lengths[0]),
        "longer": lambda: longer(space, folder, la, options.rows, ways, lengths),
        "measure": lambda: measure(space, folder, la, options.haystacks, options.windows, ways, lengths[-1]),
    }
    for name in options.only or steps:
        steps[name]()


if __name__ == "__main__":
    main()
