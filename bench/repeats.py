"""Precision and recall of near repeats on labelled texts: real ones, each with an edited copy or a rewritten one.

    python bench/repeats.py

Edits of a copy that count as a repeat: other case, punctuation and spacing; a greeting before; a typing error in every
40 characters; a word in every twelve (Chinese: a character in every 15) left out or put in; other numbers. No repeats
are: texts with half of their sentences from elsewhere, and every other pair of real texts. Texts are of ../shared/data
(German ones are put together of sentences written for bench/pii.py). The threshold was chosen on --side development.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pii_sentences import GERMAN_TURNS
from steersman.data import near

SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
SENTENCE = re.compile(r"(?<=[。！？.!?])\s*")


def rows(name: str) -> Iterator[dict[str, object]]:
    with lzma.open(SHARED / name, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def texts(language: str, side: str, n: int, rng: random.Random) -> list[str]:
    """Real texts of 60 to 1,500 characters."""
    if language == "de":
        turns = [t for of in GERMAN_TURNS.values() for t in of]
        return [" ".join(rng.sample(turns, rng.randint(3, 7))) for _ in range(n)]
    if language == "zh":
        every = [f"{r['question']}\n{r['answer']}" for r in rows("customer/zh_kefu_qa.jsonl.xz")]
        every += ["\n".join(str(t[1]) for t in r["turns"]) for r in rows("customer/zh_crosswoz_val_test.jsonl.xz")]  # type: ignore[attr-defined]
    else:
        every = ["\n".join(str(t[1]) for t in r["turns"]) for r in rows("customer/en_multiwoz_val_test.jsonl.xz")]  # type: ignore[attr-defined]
        every += [f"{r['instruction']}\n{r['output']}" for r in list(rows("sft/en_alpaca_52k.jsonl.xz"))[::20]]
    good = [t for t in dict.fromkeys(every) if len(t) >= 60]
    return [t[:1500] for t in rng.sample(good[side == "development" :: 2], n)]


def units(text: str, zh: bool) -> list[str]:
    return list(text) if zh else text.split(" ")


def edited(text: str, how: str, zh: bool, rng: random.Random) -> str:
    if how == "form":
        text = text.upper() if rng.random() < 0.5 else text
        return re.sub(r"[,.，。!！]", lambda m: rng.choice(["", " ", m[0] * 2]), text) + rng.choice(["", "!!", " ~"])
    if how == "greeting":
        return rng.choice(["您好，", "你好！", "亲，"] if zh else ["Hi, ", "Hello! ", "Good day, "]) + text
    if how == "numbers":
        return re.sub(r"\d", lambda m: str(rng.randrange(10)), text)
    out = units(text, zh)
    step = 40 if how == "typing" and zh else 8 if how == "typing" else 15 if zh else 12
    for at in range(rng.randrange(step), len(out), step):
        word = out[at]
        if how == "typing":
            place = rng.randrange(max(1, len(word)))
            out[at] = rng.choice("的了呀啊嗯") if zh else word[:place] + word[place + 1 :] + word[place : place + 1]
        else:
            out[at] = "" if rng.random() < 0.5 else word + (rng.choice("的了呢") if zh else " really")
    return ("" if zh else " ").join(out)


def rewritten(text: str, other: str) -> str:
    """Half of the sentences of one text and half of another's."""
    one, two = SENTENCE.split(text), SENTENCE.split(other)
    return " ".join(one[: max(1, len(one) // 2)] + two[len(two) // 2 :])


EDITS = ("form", "greeting", "numbers", "typing", "words")


def measure(
    language: str, side: str, n: int, threshold: float, seed: int = 5
) -> tuple[dict[str, list[int]], int, Sequence[str]]:
    """Edit -> [found, missed]; the number of wrong pairs; some of them."""
    rng = random.Random(f"{seed}-{language}-{side}")
    zh, every, gold = language == "zh", texts(language, side, n, rng), {}
    base = list(every)
    for i, text in enumerate(base):
        how = (*EDITS, "rewritten")[i % 6]
        if how == "rewritten":
            every.append(rewritten(text, base[(i + 7) % n]))
        else:
            every.append(edited(text, how, zh, rng))
            gold[i, len(every) - 1] = how
    with near.signatures(every) as found:
        pairs = {(a, b) for block in near.pairs(found, threshold) for a, b in block.tolist()}
    counts = {how: [0, 0] for how in EDITS}
    for pair, how in gold.items():
        counts[how][pair not in pairs] += 1
    wrong = [p for p in pairs if p not in gold]
    return counts, len(wrong), [f"{every[a]!r} / {every[b]!r}" for a, b in wrong[:5]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=("development", "held-out"), default="held-out")
    parser.add_argument("-n", type=int, default=600)
    parser.add_argument("--threshold", type=float, action="append")
    parser.add_argument("--errors", action="store_true")
    given = parser.parse_args()
    print(
        "| language | threshold | precision | recall | "
        + " | ".join(EDITS)
        + " |\n|---|---|---|---|"
        + "---|" * len(EDITS)
    )
    for language in ("zh", "en", "de"):
        for threshold in given.threshold or (near.THRESHOLD,):
            counts, wrong, shown = measure(language, given.side, given.n, threshold)
            total = Counter({"found": sum(c[0] for c in counts.values()), "missed": sum(c[1] for c in counts.values())})
            recalls = " | ".join(f"{f / max(1, f + m):.3f}" for f, m in counts.values())
            precision = total["found"] / max(1, total["found"] + wrong)
            print(f"| {language} | {threshold} | {precision:.3f} | {total['found'] / total.total():.3f} | {recalls} |")
            for text in shown if given.errors else ():
                print(f"   {text[:400]}")


if __name__ == "__main__":
    main()
