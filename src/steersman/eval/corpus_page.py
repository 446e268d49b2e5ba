"""A corpus as a page, in the form of a data set's: its sources, what cleaning dropped, languages, tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from steersman.eval import figures
from steersman.eval.data_page import LANGUAGES, reason_rows, step_rows
from steersman.eval.report import write_page

EN = {
    "claim": "{n} documents, {mb} MB of text from {sources} sources",
    "cleaned": "{kept} of {read} documents are left after cleaning; {left} records held no text.",
    "lengths": "How long documents are",
    "by_source": "Text of each source",
    "mb": "MB",
    "tokens": "Tokens by {name}",
    "token": "tokens",
    "documents": "documents",
}
ZH = {
    "claim": "{n} 篇文档，{mb} MB 文本，来自 {sources} 个来源",
    "cleaned": "清洗后，{read} 篇文档中留下 {kept} 篇；另有 {left} 条记录没有文本。",
    "lengths": "文档的长度",
    "by_source": "各来源的文本量",
    "mb": "MB",
    "tokens": "{name} 的词元",
    "token": "词元",
    "documents": "文档",
}
WORDS = {"en": EN, "zh": ZH}


def draw(
    path: Path,
    name: str,
    about: Mapping[str, Any],
    lengths: Mapping[str, Mapping[str, Iterable[int]]],
    language: str,
) -> None:
    """Write the page to `path`, atomically.

    `about`: the content of corpus.json; `lengths`: tokens of each document, by tokenizer and source.
    """
    t = {**LANGUAGES[language], **WORDS[language]}
    steps = about["steps"]
    read = sum(of["read"] for of in about["sources"].values())
    kept = {source: of["kept"].values() for source, of in about["sources"].items()}
    size = {source: sum(split["bytes"] for split in splits) for source, splits in kept.items()}
    n = sum(split["documents"] for splits in kept.values() for split in splits)
    left = sum(sum(of["left_out"]["dropped"].values()) for of in about["sources"].values())
    languages: Mapping[str, int] = next((s["counted"] for s in steps if s["step"] == "language"), {})
    every = Counter(length for by in list(lengths.values())[:1] for some in by.values() for length in map(_bin, some))
    rows = [(f"{2**k}–{2 ** (k + 1) - 1}", count) for k, count in sorted(every.items())]
    facts = {
        "identity": about["identity"],
        "made": about["made"],
        **about["inputs"]["files"],
    }
    context = {
        "t": t,
        "title": name,
        "claim": t["claim"].format(n=n, mb=round(sum(size.values()) / 1e6, 1), sources=len(size)),
        "cleaned": t["cleaned"].format(read=read, kept=n, left=left),
        "steps": step_rows(steps),
        "funnel": figures.bars(
            "funnel", t["left"], [(name, read), *((s["step"], s["kept"]) for s in steps)], t["documents"]
        ),
        "reasons": reason_rows(steps, t),
        "way_in": [],
        "lengths": figures.bars("lengths", t["lengths"], rows, t["documents"]) if rows else None,
        "percentiles": [],
        "bars": [
            _bar("by_source", t["by_source"], {s: round(b / 1e6) for s, b in size.items()}, t["mb"]),
            _bar("languages", t["languages"], languages, t["documents"]),
            *(
                _bar(f"tokens-{i}", t["tokens"].format(name=which), {s: sum(by[s]) for s in by}, t["token"])
                for i, (which, by) in enumerate(lengths.items())
            ),
        ],
        "facts": facts,
    }
    t["characters"] = t["token"]  # the unit below the picture of lengths
    write_page(path, "dataset.html", context)


def _bar(name: str, title: str, counts: Mapping[str, int], unit: str) -> dict[str, Any]:
    rows = sorted(counts.items(), key=lambda row: -row[1])[:20]
    return {"title": title, "picture": figures.bars(name, title, rows, unit) if rows else None, "of": False}


def _bin(length: int) -> int:
    return max(int(length), 1).bit_length() - 1
