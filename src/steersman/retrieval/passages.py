"""Documents cut into passages at the ends of sentences, Chinese as well as languages that put spaces between words."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
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
    ids = (document.record.get(key) for key in ("id", "doc_id"))
    name = str(next((id_ for id_ in ids if id_ not in (None, "")), document.place))  # 0 is one too
    title = next((v.strip() for t in TITLES if isinstance(v := document.record.get(t), str)), "")
    held: deque[tuple[int, str, float]] = deque()
    total = fresh = 0.0
    """Width of what is held, and of that what no passage has had yet; quarters, so exact."""
    for start, sentence in _sentences(document.text, most):
        size = width(sentence)
        if fresh and total + size > most:
            yield _made(name, title, held)
            while held and (total > overlap or total + size > most):
                total -= held.popleft()[2]
            fresh = 0.0
        held.append((start, sentence, size))
        total += size
        fresh += size
    if fresh and "".join(s for _, s, _ in held).strip():
        yield _made(name, title, held)


def _made(name: str, title: str, held: Iterable[tuple[int, str, float]]) -> Passage:
    (start, *_), text = next(iter(held)), "".join(sentence for _, sentence, _ in held)
    return Passage(name, title, start + len(text) - len(text.lstrip()), text.strip())


def _sentences(text: str, most: float) -> Iterator[tuple[int, str]]:
    """(first character, sentence) one after the other, nothing left out; none wider than `most`."""
    for match in SENTENCE.finditer(text):
        start, stop = match.span()
        while stop - start > 4 * most or width(text[start:stop]) > most:
            end = start + _end(text[start : min(stop, start + int(4 * most) + 1)], most)
            yield start, text[start:end]
            start = end
        if start < stop:
            yield start, text[start:stop]


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
