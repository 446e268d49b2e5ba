"""Web pages of questions and answers (FAQ) -> {"question", "answer"}: what a page says for machines (schema.org), lists
of terms, folded sections, and headings that are questions."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from steersman.data import markdown
from steersman.data.containers import Part
from steersman.data.formats.exports import body_of
from steersman.data.readers import SHOWN, Line, Record, lines_of
from steersman.data.reading import Reading

_NOTHING = "script style noscript template nav header footer aside form svg button select"
NOTHING = frozenset(_NOTHING.split())
"""Elements without words of the page's own."""
_BLOCKS = "p div section article li ul ol table tr br hr blockquote pre main details dd dt dl"
BLOCKS = frozenset(_BLOCKS.split())


@dataclass
class _Page(html.parser.HTMLParser):
    """The page as lines in Markdown's manner: headings, terms and summaries as headings, items of lists as '- '."""

    lines: list[Line] = field(default_factory=list)
    data: list[str] = field(default_factory=list)
    """The texts of schema.org's JSON."""
    left: int = 0
    """Elements of navigation and the like that were left out."""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._text, self._mark, self._begun = "", "", 1
        self._out: list[str] = []
        self._json = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and "ld+json" in str(dict(attrs).get("type")):
            self._json = True
            self.data.append("")
        elif tag in NOTHING:
            self.left += not self._out
            self._out.append(tag)
        elif not self._out and (heading := re.fullmatch(r"h([1-6])", tag) or tag in ("dt", "summary")):
            self._flush()
            self._mark = "#" * int(heading[1]) + " " if isinstance(heading, re.Match) else "####### "
        elif tag in BLOCKS and not self._out:
            self._flush()
            self._mark = "- " if tag == "li" else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._json:
            self._json = False
        elif tag in self._out:
            while self._out.pop() != tag:
                pass
        elif not self._out and (tag in BLOCKS or re.fullmatch(r"h[1-6]|summary", tag)):
            self._flush()

    def handle_data(self, data: str) -> None:
        if self._json:
            self.data[-1] += data
        elif not self._out:
            if not self._text.strip():
                self._begun = self.getpos()[0]
            self._text += data

    def _flush(self) -> None:
        text = " ".join(self._text.split())
        if text:
            # a term or a summary is one level of headings of its own
            mark = "###### " if self._mark.startswith("#######") else self._mark
            self.lines += [Line(self._begun, f"{mark}{text}\n"), *([Line(self._begun, "\n")] * bool(mark.strip("- ")))]
        self._text = self._mark = ""

    def close(self) -> None:
        super().close()
        self._flush()


def scan_page(part: Part, reading: Reading) -> Iterator[Record]:
    """The questions and answers of a page. ValueError where it has none."""
    page = _Page()
    for line in lines_of(part, reading):
        if line.error:
            raise ValueError(f"{part.name}:{line.number}: {line.error}")
        page.feed(line.text)
    page.close()
    pairs = [(1, q, a) for text in page.data for q, a in _of_schema(text)] or markdown.pairs_in(page.lines)
    if not pairs:
        raise ValueError(
            f"{part.name}: expected an export of chats or a list of questions and answers, found a web page without "
            "messages and without questions; save its text"
        )
    reading.changed["parts of web pages without content (menus, scripts, forms) left out"] += page.left
    for number, question, answer in pairs:
        yield Record(number, {"question": question, "answer": answer}, f"{question}\n{answer}"[:SHOWN])


def _of_schema(text: str) -> Iterator[tuple[str, str]]:
    """Questions with their accepted answers in a page's JSON-LD (FAQPage, QAPage)."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, Mapping):
            answer = node.get("acceptedAnswer") or node.get("suggestedAnswer")
            answer = answer[0] if isinstance(answer, list) and answer else answer
            asked, said = (
                node.get("name") or node.get("text"),
                answer.get("text") if isinstance(answer, Mapping) else "",
            )
            if isinstance(asked, str) and isinstance(said, str) and asked.strip() and said.strip():
                yield body_of({"body": asked}), body_of({"body": said})
            else:
                waiting += [v for v in node.values() if isinstance(v, list | Mapping)]
