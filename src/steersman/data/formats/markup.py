"""HTML of mails and tickets -> text: a line a block, '> ' before what is quoted, '-- ' above signatures."""

from __future__ import annotations

import html.parser
import re
from collections import Counter
from collections.abc import Sequence

MARKUP = re.compile(
    r"</?(?:p|br|div|span|a|ul|ol|li|b|strong|em|blockquote|table|t[rdh]|font|html|body|img|h[1-6])(?:[\s/][^<>]*)?>",
    re.I,
)
"""Pattern of a tag by which a text is HTML."""
ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|hellip|mdash|ndash|[lr][sd]quo|#\d{2,5}|#x[0-9a-f]{2,5});", re.I)
"""Pattern of a character as HTML writes it."""
ESCAPED = re.compile(r"\s*&lt;(?:p|div|html|span|br)\b.*&gt;\s*", re.S | re.I)
"""Pattern of HTML that is itself written as HTML (GLPI's tables), if it also has CLOSED."""
CLOSED = re.compile(r"&lt;(/?)(p|div|html|span)\b", re.I)
PHPBB = re.compile(r"\A\s*<(?P<root>[rt])>(?P<text>.*)</(?P=root)>\s*\Z", re.S)
"""Pattern of a post as phpBB keeps it: XML in which <s> and <e> hold the marks that its writer typed."""
TYPED = re.compile(r"<(?P<mark>[se])>.*?</(?P=mark)>|</?(?:QUOTE|CODE|LIST|URL|EMAIL|[BIU]|SIZE|COLOR)\b[^<>]*>", re.S)
QUOTED_POST = re.compile(r"<(/?)QUOTE\b[^<>]*>")
WRITTEN = re.compile(rf"{PHPBB.pattern}|<br\s*/?>|</(?:p|div|span|font|li)>|{ENTITY.pattern}", re.I)
"""Pattern of what shows a message to be HTML, rather than to be about it."""
_BLOCKS = "p div br li ul ol tr table blockquote h1 h2 h3 h4 h5 h6 hr pre section article header footer"
BLOCKS = frozenset(_BLOCKS.split())
HIDDEN = frozenset(("style", "script", "head", "title", "template"))
LINES = re.compile(rf"</?(?:{_BLOCKS.replace(' ', '|')}|t[dh]|html|body)(?:[\s/][^<>]*)?>", re.I)
_VOID = "br hr img input meta link col wbr area base"
VOID = frozenset(_VOID.split())
QUOTED = re.compile(r"(?:gmail|freshdesk|yahoo|protonmail|moz|front|helpscout)[\w-]*quote\w*|OLK_SRC_BODY", re.I)
SIGNED = re.compile(r"(?:^|[\s_-])signature|\bfront-signature", re.I)
"""Classes of elements that hold a quoted mail, and a signature."""
QUOTE, SIGNATURE, NONE = "quote", "signature", ""


class _Text(html.parser.HTMLParser):
    """Work per tag does not grow with how many are open: a hostile mail opens a hundred thousand."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[tuple[bool, str]] = []
        self._open: list[tuple[str, str]] = []
        self._count: Counter[str] = Counter()
        """How many elements of a name, and of a kind, are open."""
        self._parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        if tag in BLOCKS:
            self._flush(gap=tag in ("p", "h1", "h2", "h3"))
        if tag == "li":
            self._parts = ["- "]
        if tag == "body" and self._count["head"]:  # a head need not be closed
            heads = [one for one in self._open if one[0] == "head"]
            self._open = [one for one in self._open if one[0] != "head"]
            self._count.subtract(name for head, kind in heads for name in (head, f"/{kind}"))
        if tag in VOID:
            return
        given = dict(attrs)
        classes = f"{given.get('class') or ''} {given.get('id') or ''}"
        kind = QUOTE if tag == "blockquote" or QUOTED.search(classes) else NONE
        if not kind and (SIGNED.search(classes) or "data-signature" in given):
            kind = SIGNATURE
            self._flush()
            self._line("-- ")
        if kind == QUOTE:
            self._flush()
        self._open.append((tag, kind))
        self._count.update((tag, f"/{kind}"))

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self._flush(gap=tag in ("p", "h1", "h2", "h3"))
        while self._count[tag]:
            name, kind = self._open[-1]
            if kind:
                self._flush()
            self._open.pop()
            self._count.subtract((name, f"/{kind}"))
            if name == tag:
                break

    def handle_data(self, data: str) -> None:
        if any(self._count[name] for name in HIDDEN):
            return
        if self._count["pre"]:
            *whole, last = data.split("\n")
            for line in whole:
                self._parts.append(line)
                self._flush()
            self._parts.append(last)
        else:
            self._parts.append(re.sub(r"\s+", " ", data))

    def _flush(self, gap: bool = False) -> None:
        text = "".join(self._parts)
        if text.strip():
            self._line(text.replace("\xa0", " ").strip())
        self._parts = []
        if gap and self.lines and self.lines[-1][1]:
            self._line("")

    def _line(self, text: str) -> None:
        self.lines.append((self._count[f"/{QUOTE}"] > 0, text))

    def close(self) -> None:
        super().close()
        self._flush()


def text_of(value: str) -> str:
    """The words of HTML. Lines stay where none of its tags makes any: a text with some bold words."""
    page = _Text()
    if not LINES.search(value):
        value = value.replace("\n", "<br>")
    page.feed(value)
    page.close()
    text = "\n".join(f"> {line}".rstrip() if quoted and line else line for quoted, line in page.lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def plain_text(text: str) -> str:
    """A message without markup, its characters as such where HTML wrote them."""
    if post := PHPBB.match(text):
        said = TYPED.sub("", QUOTED_POST.sub(r"<\1blockquote>", post["text"]))
        return text_of(f"<p>{said}</p>")
    if MARKUP.search(text):
        return text_of(text)
    if not ENTITY.search(text):
        return text.strip()
    written = html.unescape(text)
    tags = {(end, name.lower()) for end, name in CLOSED.findall(text)}
    page = ESCAPED.fullmatch(text) and any(("/", name) in tags for end, name in tags if not end)
    return text_of(written) if page else written.replace("\xa0", " ").strip()
