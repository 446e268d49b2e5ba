"""Precision and recall of the recognisers of personal data, by kind and language, on labelled dialogues.

    python bench/pii.py                     # held-out side
    python bench/pii.py --side development --errors 20

Dialogues are real ones of ../shared/data/customer (German ones are written for this), in which sentences with made-up
personal data stand, and others with numbers that are nobody's. A place counts as found where a span of its kind covers
it to at least a half in both directions (intersection over union). `hidden` is what privacy asks: the share of places
that masks of whatever kind cover wholly.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pii_sentences import GERMAN_TURNS, PLAIN, SENTENCES
from pii_values import SIDES, maker
from steersman.data.pii import KINDS, Span
from steersman.data.pii.masking import find_in_turns

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Labelled:
    """A dialogue's turns, and the places of personal data in each."""

    turns: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]


def rows(name: str) -> Iterator[dict[str, str]]:
    with lzma.open(SHARED / "customer" / name, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def hosts(language: str, side: str) -> list[tuple[str, ...]]:
    """Real exchanges without numbers and names of their own; each side has its own."""
    if language == "de":
        turns = GERMAN_TURNS[side]
        return [(turns[i], turns[(i + 5) % len(turns)]) for i in range(len(turns))]
    if language == "zh":
        pairs = [(r["question"], r["answer"]) for r in rows("zh_kefu_qa.jsonl.xz")]
        pairs += [(r["sentence"], "好的，请稍等。") for r in rows("zh_cic_ecommerce_intents.jsonl.xz")]
    else:
        pairs = [(r["text"], "Let me check that for you.") for r in rows("en_banking77_train.jsonl.xz")]
        pairs += [(r["text"], "Anything else?") for r in rows("en_clinc150.jsonl.xz")]
    clean = [p for p in pairs if not re.search(r"\d{3}|@|先生|女士|小姐|我叫|[a-z] [A-Z][a-z]", " ".join(p))]
    return clean[SIDES.index(side) :: len(SIDES)]


def filled(template: str, language: str, side: str, rng: random.Random) -> tuple[str, tuple[Span, ...]]:
    """The sentence with made-up data in its places, and where they are."""
    out, spans, at = "", [], 0
    for m in PLACE.finditer(template):
        out += template[at : m.start()]
        value = maker(m[1], language, side)(rng)
        if not (m[1] == "phone" and value.startswith("400-")):  # by China's plan no person's
            spans.append(Span(m[1], len(out), len(out) + len(value)))
        out, at = out + value, m.end()
    return out + template[at:], tuple(spans)


def labelled(language: str, side: str, n: int, seed: int = 13) -> Iterator[Labelled]:
    rng = random.Random(f"{seed}-{language}-{side}")
    every, sentences, plain = hosts(language, side), SENTENCES[language, side], PLAIN[language, side]
    for i in range(n):
        turns = [(turn, ()) for turn in rng.choice(every)]
        template = sentences[i % len(sentences)]
        pieces = [template] if isinstance(template, str) else list(template)
        said = [filled(piece, language, side, rng) for piece in pieces]
        if len(said) == 1 and rng.random() < 0.5:  # within a turn of the dialogue
            gap = "" if language == "zh" else " "
            text, spans = said[0]
            host = turns[0][0]
            if text.endswith(tuple("。.!！?？")) and "\n" not in text:
                turns[0] = (text + gap + host, spans)
            else:
                turns[0] = (
                    host + gap + text,
                    tuple(Span(s.kind, s.start + len(host + gap), s.end + len(host + gap)) for s in spans),
                )
        else:
            turns += said
        turns.append((rng.choice(plain), ()))
        yield Labelled(tuple(t for t, _ in turns), tuple(s for _, s in turns))


@dataclass
class Score:
    found: int = 0
    missed: int = 0
    wrong: int = 0
    hidden: int = 0

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.wrong)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.found + self.missed)


def close(a: Span, b: Span) -> bool:
    both = min(a.end, b.end) - max(a.start, b.start)
    return a.kind == b.kind and 2 * both >= max(a.end, b.end) - min(a.start, b.start)


def measure(dialogues: Sequence[Labelled]) -> tuple[dict[str, Score], list[str]]:
    """Scores by kind, and the errors in words."""
    scores: dict[str, Score] = defaultdict(Score)
    errors = []
    for dialogue in dialogues:
        for text, gold, got in zip(dialogue.turns, dialogue.spans, find_in_turns(dialogue.turns), strict=True):
            for want in gold:
                hit = any(close(want, g) for g in got)
                scores[want.kind].found += hit
                scores[want.kind].missed += not hit
                scores[want.kind].hidden += all(
                    any(g.start <= i < g.end for g in got) for i in range(want.start, want.end)
                )
                said = [(g.kind, text[g.start : g.end]) for g in got]
                if not hit:
                    errors.append(f"missed {want.kind}: {text[want.start : want.end]!r} in {text!r}; found {said}")
            for g in got:
                if not any(close(want, g) for want in gold):
                    scores[g.kind].wrong += 1
                    errors.append(f"wrong {g.kind}: {text[g.start : g.end]!r} in {text!r}")
    return scores, errors


def table(scores: dict[str, Score]) -> Iterator[str]:
    total = Score()
    for kind in (*KINDS, "all"):
        s = total if kind == "all" else scores[kind]
        for field in ("found", "missed", "wrong", "hidden"):
            if kind != "all":
                setattr(total, field, getattr(total, field) + getattr(s, field))
        places = s.found + s.missed
        yield f"| {kind} | {places} | {s.precision:.3f} | {s.recall:.3f} | {s.hidden / max(1, places):.3f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, default="held-out")
    parser.add_argument("--language", choices=("zh", "en", "de"), action="append")
    parser.add_argument("-n", type=int, default=1500, help="dialogues a language")
    parser.add_argument("--errors", type=int, default=0)
    given = parser.parse_args()
    for language in given.language or ("zh", "en", "de"):
        dialogues = list(labelled(language, given.side, given.n))
        began = time.process_time()
        scores, errors = measure(dialogues)
        seconds = time.process_time() - began
        size = sum(len(t.encode()) for d in dialogues for t in d.turns)
        print(f"\n{language}, {given.side}: {len(dialogues)} dialogues, {size / 1e6 / seconds:.2f} MB/s")
        print("| kind | places | precision | recall | hidden |\n|---|---|---|---|---|")
        print("\n".join(table(scores)))
        shown = Counter(errors)
        for error, n in list(shown.items())[: given.errors]:
            print(f"  {n} x {error}")


if __name__ == "__main__":
    main()
