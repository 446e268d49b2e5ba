"""Web pages of chats, as exporters of messengers write them -> the lines of a chat log; and the page of a web archive.

A page whose lines hold stamps is a chat, not a list of questions and answers: its questions are people's. Why so:
decision 123 in docs/LOG.md.
"""

from __future__ import annotations

import email
import email.policy
import io
import re

from steersman.data import chatlog, stamp_lines, stamps
from steersman.data.containers import Part
from steersman.data.page_lines import PageLines
from steersman.data.readers import Line

HIDDEN = frozenset(("script", "style", "head", "template", "noscript", "svg", "select"))
INLINE = frozenset(
    (
        *("a", "b", "i", "u", "s", "em", "strong", "font", "code", "small", "mark", "del", "ins", "sub", "sup"),
        *("span", "bdi", "abbr", "img", "wbr", "q", "kbd", "input", "link", "meta"),
    )
)
"""Elements that part no line, but for spans of names and times."""
HEADER = re.compile(r"name|nick|sender|author|user|from|time|date|stamp", re.I)
"""Pattern within the classes of elements that hold a message's writer or its time."""
SHARE = 6
"""A page is a chat where one of so many lines begins with a stamp or is one."""
ARCHIVE = (".mht", ".mhtml")


class _Texts(PageLines):
    """The page's texts as lines."""

    def __init__(self) -> None:
        super().__init__(HIDDEN)
        self._spans: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hides(tag)
        header = tag == "span" and HEADER.search(dict(attrs).get("class") or "") is not None
        if tag == "span":
            self._spans.append(header)
        if header or tag not in INLINE:
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        self.shows(tag)
        header = tag == "span" and bool(self._spans) and self._spans.pop()
        if header or tag not in INLINE:
            self.flush()


def lines_in(page: str) -> list[Line]:
    """The lines of the page's text; [] where it is no chat. ValueError where it is one without names."""
    texts = _Texts()
    texts.feed(page)
    texts.close()
    lines = texts.lines
    if stamp_lines.way_of(lines[: stamp_lines.PEEK]) is not None:
        return lines
    stamped = [line for line in lines if _stamped(line.text)]
    if len(stamped) < max(stamp_lines.FEWEST, len(lines) / SHARE):
        return []
    if chatlog.looks_like(lines) and chatlog.names_of(lines):
        return lines
    raise ValueError(
        f"expected the writers of its messages beside their times ({stamped[0].text[:40]}, line {stamped[0].number}), "
        "found none; export the chat as text, CSV or JSON instead of a web page"
    )


def _stamped(text: str) -> bool:
    match = stamps.LEADING.match(text) or stamps.TRAILING.match(text)
    when = stamps.when(match) if match else None
    return when is not None and when.date is not None


def is_archive(part: Part) -> bool:
    """Whether a part is a page saved as a web archive: a mail's head above parts, the first of which is the page."""
    head = part.head[:2000].lower()
    return part.suffix in ARCHIVE or (b"multipart/related" in head and b"text/html" in head and b"\nto:" not in head)


def page_of(part: Part) -> Part:
    """The page in a web archive. ValueError where it holds none."""
    with part.open() as file:
        data = file.read()
    try:
        whole = email.message_from_bytes(data, policy=email.policy.default)
        found = next((p.get_payload(decode=True) for p in whole.walk() if p.get_content_type() == "text/html"), None)
    except (ValueError, LookupError, AttributeError, IndexError, TypeError):  # of odd headers
        found = None
    page = found if isinstance(found, bytes) else data[max(0, data.lower().find(b"<html")) :]
    end = page.lower().find(b"</html>")
    if end < 0 or b"<html" not in page.lower():
        raise ValueError(f"{part.name}: expected a page in this web archive, found none; save it as HTML or text")
    page = page[: end + len(b"</html>")]
    return Part(part.name, "text", page[: len(part.head) or None], lambda: io.BytesIO(page))
