"""Documents cut into passages at the ends of sentences, Chinese as well as languages that put spaces between words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from steersman.corpus.documents import Document

CJK = "㐀-鿿豈-﫿぀-ヿ가-힯"
SENTENCE = re.compile(r"[^\n。！？；!?]*?(?:[。！？；!?]+[”’」』）)\"']*|\.(?=\s)|\n+|$)", re.DOTALL)
PAIR = (("question", "answer"), ("q", "a"), ("问题", "答案"), ("问", "答"))
"""Fields of records that are a question and its answer."""
TITLES = ("title", "heading", "name", "标题", "题目")


@dataclass(frozen=True)
class Passage:
    """`start`: its first character in the document's text."""

    document: str
    """The record's id, else the file and the record's line."""
    title: str
    start: int
    text: str

    @property
    def whole(self) -> str:
        """With the document's title before it, unless it begins with that."""
        return self.text if not self.title or self.text.startswith(self.title) else f"{self.title}\n{self.text}"


def width(text: str) -> float:
    """About how many tokens it has: a Chinese character is one, of others four."""
    wide = len(re.findall(f"[{CJK}]", text))
    return wide + (len(text) - wide) / 4


def pair_of(record: Mapping[str, Any]) -> str | None:
    """Question and answer of an entry of an FAQ as one text; None for other records."""
    named = {str(key).strip().lower(): value for key, value in record.items()}
    for first, second in PAIR:
        asked, answer = named.get(first), named.get(second)
        if isinstance(asked, str) and isinstance(answer, str) and asked.strip():
            return f"{asked.strip()}\n{answer.strip()}"
    return None


def passages(document: Document, most: float, overlap: float) -> Iterator[Passage]:
    """Whole sentences up to a width of `most`; the last ones up to `overlap` are repeated in the next passage.

    A longer sentence is cut where it has to be.
    """
    name = str(document.record.get("id") or document.record.get("doc_id") or document.place)
    title = next((v.strip() for t in TITLES if isinstance(v := document.record.get(t), str)), "")
    held: list[tuple[int, str]] = []
    fresh = 0.0
    """Width of what no passage has had yet."""
    for start, sentence in _sentences(document.text, most):
        size = width(sentence)
        if fresh and sum(width(s) for _, s in held) + size > most:
            yield _made(name, title, held)
            while held and (sum(width(s) for _, s in held) > overlap or sum(width(s) for _, s in held) + size > most):
                held.pop(0)
            fresh = 0.0
        held.append((start, sentence))
        fresh += size
    if fresh and "".join(s for _, s in held).strip():
        yield _made(name, title, held)


def _made(name: str, title: str, held: list[tuple[int, str]]) -> Passage:
    text = "".join(sentence for _, sentence in held)
    return Passage(name, title, held[0][0] + len(text) - len(text.lstrip()), text.strip())


def _sentences(text: str, most: float) -> Iterator[tuple[int, str]]:
    """(first character, sentence) one after the other, nothing left out; none wider than `most`."""
    for match in SENTENCE.finditer(text):
        start, sentence = match.start(), match.group()
        while width(sentence) > most:
            end = _end(sentence, most)
            yield start, sentence[:end]
            start, sentence = start + end, sentence[end:]
        if sentence:
            yield start, sentence


def _end(sentence: str, most: float) -> int:
    """Where to cut: behind the last comma or space that fits, else behind the last character."""
    total = 0.0
    last = end = 0
    for end, character in enumerate(sentence):
        total += width(character)
        if total > most:
            break
        if character in "，、,;：: \t":
            last = end + 1
    return last or max(1, end)
