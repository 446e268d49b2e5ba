"""Web pages of questions and answers (FAQ) -> {"question", "answer"}: what a page says for machines (schema.org), lists
of terms, folded sections, and headings that are questions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data import markdown
from steersman.data.formats.exports import body_of
from steersman.data.page_lines import PageLines
from steersman.data.readers import SHOWN, Line, Record
from steersman.data.reading import Reading

_NOTHING = "script style noscript template nav header footer aside form svg select"
NOTHING = frozenset(_NOTHING.split())
"""Elements without words of the page's own."""
_BLOCKS = "p div section article li ul ol table tr br hr blockquote pre main details dd dt dl button"
BLOCKS = frozenset(_BLOCKS.split())


BUTTON = "button"
SIGNS = re.compile(r"\A[^\w\s¿(（「“\"]+\s*|\s*[+▾▼›»⌄−-]+\Z")
"""Pattern of a sign before or behind a question that unfolds its answer."""
MARKED = re.compile(r"\s*(?:q(?:uestion)?|frage|问题?|問題?)\s?\d*\s*[.:：、]\s*(?P<text>\S.*)", re.I)
LONGEST = 200
"""Characters of a question."""


def asks(text: str) -> bool:
    """Whether a line is a question, or marked as one."""
    text = text.strip()
    if len(text) > LONGEST:
        return False
    return bool(MARKED.fullmatch(text)) or text.endswith(("?", "？", "吗", "呢")) or bool(markdown.WORDS.match(text))


def folded_pairs(lines: list[Line]) -> list[tuple[int, str, str]]:
    """(line, question, answer) where lines that ask stand above those that answer; [] for fewer than two."""
    texts = [line.text.strip() for line in lines]
    sure = [
        i for i, t in enumerate(texts) if not t.startswith("#") and (MARKED.fullmatch(t) or t.endswith(("?", "？")))
    ]
    starts = [i for i in sure if asks(texts[i].removeprefix("- "))]
    out: list[tuple[int, str, str]] = []
    longest = 0
    for at, start in enumerate(starts):
        last = at + 1 == len(starts)
        end = starts[at + 1] if not last else len(texts)
        end = next((i for i in range(start + 1, end) if texts[i].startswith("#")), end)
        body = [t for t in texts[start + 1 : end] if t]
        body = body[: max(1, longest)] if last else body  # what follows the last answer may be of something else
        longest = max(longest, len(body))
        marked = MARKED.fullmatch(texts[start])
        if body:
            question = SIGNS.sub("", marked["text"] if marked else texts[start])
            out.append((lines[start].number, question.strip(), "\n".join(body)))
    return out if len(out) > 1 else []


class _Page(PageLines):
    """The page as lines in Markdown's manner: headings, terms and summaries as headings, items of lists as '- '."""

    def __init__(self) -> None:
        super().__init__(NOTHING)
        self.data: list[str] = []
        """The texts of schema.org's JSON."""
        self.left = 0
        """Elements of navigation and the like that were left out."""
        self.answers: list[tuple[str, str]] = []
        """Questions and answers that the page says for machines."""
        self._mark, self._json = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and "ld+json" in str(dict(attrs).get("type")):
            self._json = True
            self.data.append("")
            return
        self.left += tag in NOTHING and not self._hidden
        if self.hides(tag) or self._hidden:
            return
        if (heading := re.fullmatch(r"h([1-6])", tag)) or tag in ("dt", "summary"):
            self.flush()
            self._mark = "#" * int(heading[1]) + " " if heading else "####### "
        elif tag in BLOCKS:
            self.flush()
            self._mark = {"li": "- ", "button": BUTTON}.get(tag, "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._json:
            self._json = False
        elif not self.shows(tag) and not self._hidden and (tag in BLOCKS or re.fullmatch(r"h[1-6]|summary", tag)):
            self.flush()

    def handle_data(self, data: str) -> None:
        if self._json:
            self.data[-1] += data
        else:
            super().handle_data(data)

    def write(self, text: str) -> None:
        if self._mark == BUTTON:  # folded answers have their question on a button
            text = SIGNS.sub("", text)
            self.left += not asks(text)
            text, self._mark = (text, "") if asks(text) else ("", "")
        if text:
            # a term or a summary is one level of headings of its own
            mark = "###### " if self._mark.startswith("#######") else self._mark
            self.lines += [Line(self._begun, f"{mark}{text}\n"), *([Line(self._begun, "\n")] * bool(mark.strip("- ")))]
        self._mark = ""

    def close(self) -> None:
        super().close()
        self.answers = [pair for text in self.data for pair in _of_schema(text)]

    def records(self, name: str, reading: Reading) -> Iterator[Record]:
        """The questions and answers of the page. ValueError where it has none."""
        pairs = [(1, q, a) for q, a in self.answers] or markdown.pairs_in(self.lines) or folded_pairs(self.lines)
        if not pairs:
            raise ValueError(
                f"{name}: expected an export of chats or a list of questions and answers, found a web page without "
                "messages and without questions; save its text"
            )
        reading.changed["parts of web pages without content (menus, scripts, forms) left out"] += self.left
        for number, question, answer in pairs:
            yield Record(number, {"question": question, "answer": answer}, f"{question}\n{answer}"[:SHOWN])


def read(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    page.close()
    return page


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
