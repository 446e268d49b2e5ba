"""Chats as known exporters lay them out on a web page -> messages: Telegram Desktop, QQ Chat Exporter, WhatsApp Chat
Exporter by the classes of their elements, MemoTrace (WeChat) by the list in its script.

The forms are those of the exporters' published sources. Pages of others are read by their stamps (`chat_pages`).
"""

from __future__ import annotations

import functools
import html
import html.parser
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from steersman.data import stamps
from steersman.data.chatlog import Said
from steersman.data.formats.markup import VOID, text_of
from steersman.data.who_said import Chat

MEDIA = "[media]"
ME = "You"
"""Whose messages those are of which a page says only that they are its owner's."""
SHOWN_MEDIA = frozenset(("img", "video", "audio"))
Classes = tuple[frozenset[str], ...]


def _of(*named: str) -> Classes:
    return tuple(frozenset(name.split()) for name in named)


@dataclass(frozen=True)
class Form:
    """How an exporter lays out its messages: of each part the classes that its element has, of which one must fit."""

    source: str
    sure: re.Pattern[str]
    """Pattern that no other page has."""
    message: Classes
    mine: Classes = ()
    """Messages of the page's owner."""
    notice: Classes = ()
    who: Classes = ()
    when: Classes = ()
    text: Classes = ()
    skip: Classes = ()
    """What a message answers."""
    passed_on: Classes = ()
    """What somebody else wrote, whose name is not the message's."""
    day: Classes = ()
    """The day of the messages below, which have times alone."""
    title: Classes = ()
    foot: Classes = ()
    """Name and time together, below the text."""

    @functools.lru_cache(4096)  # noqa: B019
    def role(self, tag: str, classes: frozenset[str]) -> str:
        for name in ("skip", "message", "who", "when", "text", "passed_on", "day", "title", "foot"):
            if any(one <= classes for one in getattr(self, name)):
                return name
        return "title" if tag == "title" and not self.title else ""


FORMS = (
    Form(
        "Telegram",
        re.compile(r'class="[^"<>]{0,40}\bfrom_name\b'),
        _of("message default", "message service"),
        notice=_of("service"),
        who=_of("from_name"),
        when=_of("date details"),
        text=_of("text", "media_poll"),
        skip=_of("reply_to"),
        passed_on=_of("forwarded"),
        title=_of("page_header"),
    ),
    Form(
        "QQ",
        re.compile(r'class="(?:message-block|message-sender)"'),
        _of("message", "system-message-container"),
        mine=_of("self"),
        notice=_of("system-message-container", "system"),
        who=_of("sender", "message-sender"),
        when=_of("time", "message-time"),
        text=_of("content", "message-content"),
        skip=_of("reply-content", "avatar", "message-avatar"),
    ),
    Form(
        "WhatsApp",
        re.compile(r'<div class="flex justify-(?:start|end) items-center group" id='),
        _of("justify-start items-center group", "justify-end items-center group"),
        mine=_of("justify-end"),
        notice=_of("bg-[#FFF3C5]"),
        text=_of("text-[#111b21] text-sm"),
        skip=_of("reply-box", "info-box-tooltip"),
        day=_of("bg-[#e1f2fb]"),
        foot=_of("text-[10px]"),
    ),
)
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?)?", re.I)


class _Messages(html.parser.HTMLParser):
    """Work per tag does not grow with how many are open."""

    def __init__(self, form: Form) -> None:
        super().__init__(convert_charrefs=True)
        self.form = form
        self.said: list[Said] = []
        self.mine: set[str] = set()
        self.title = ""
        self._open: list[tuple[str, str]] = []
        """Elements with the parts they belong to."""
        self._count: Counter[str] = Counter()
        self._found: dict[str, str] | None = None
        self._begun, self._depth = 1, 0
        self._day, self._who = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        classes = frozenset((given.get("class") or "").split())
        above = self._open[-1][1] if self._open else ""
        role = above if above in ("skip", "title") else self.form.role(tag, classes) or above
        role = "skip" if (role, above) == ("who", "passed_on") else role
        if role == "message" and role != above:
            self._finish()
            self._begun, self._depth, self._found = self.getpos()[0], len(self._open), {}
            if any(one <= classes for one in self.form.mine):
                self._found["mine"] = ""
        if self._found is not None and role != "skip":
            if any(one <= classes for one in self.form.notice):
                self._found["notice"] = ""
            self._see(tag, role, classes, given.get("title") or "", given.get("alt") or "")
        if tag not in VOID:
            self._open.append((tag, role))
            self._count[tag] += 1

    def _see(self, tag: str, role: str, classes: frozenset[str], title: str, alt: str) -> None:
        if role == "when" and title:
            self._add("when", f"{title}\n")
        if tag == "br" and role == "text":
            self._add("text", "\n")
        media = any(name.startswith("media") for name in classes) or (tag in SHOWN_MEDIA and role == "text")
        if media and any("emoji" in name for name in classes):
            self._add("text", alt)
        elif media:
            self._add("text", f"{MEDIA}\n")

    def handle_endtag(self, tag: str) -> None:
        if not self._count[tag]:
            return
        closed = ""
        while closed != tag:
            closed, role = self._open.pop()
            self._count[closed] -= 1
            if role == "foot":
                self._add(role, "\n")
        if len(self._open) <= self._depth:
            self._finish()

    def handle_data(self, data: str) -> None:
        role = self._open[-1][1] if self._open else ""
        if role == "title":
            self.title += data
        elif role == "day":
            self._day = data.strip() if stamps.DATE_LINE.fullmatch(data) else self._day
        elif role in ("who", "when", "text", "foot"):
            self._add(role, re.sub(r"\s+", " ", data) if role == "text" else data)

    def _add(self, part: str, text: str) -> None:
        if self._found is not None:
            self._found[part] = self._found.get(part, "") + text

    def _finish(self) -> None:
        found, self._found = self._found, None
        if found is None:
            return
        foot = CLOCK.search(found.get("foot", ""))
        when = found.get("when", "") or (f"{self._day} {foot[0]}" if foot else "")
        who = " ".join((found.get("who") or (found["foot"][: foot.start()] if foot else "")).split())
        if "notice" in found:
            self.said.append(Said(self._begun, _when(when), "", ""))
            return
        if "mine" in found:
            who = who or ME
            self.mine.add(who)
        self._who = who or (self._who if self.form.who else "")  # a name is omitted in a speaker's further messages
        text = "\n".join(" ".join(line.split()) for line in found.get("text", "").split("\n")).strip()
        if MEDIA in text:  # a picture and its frame are one
            text = f"{MEDIA}\n{text.replace(MEDIA, '').strip()}".strip()
        self.said.append(Said(self._begun, _when(when), self._who or "?", text))

    def close(self) -> None:
        super().close()
        self._finish()


def _when(text: str) -> stamps.When | None:
    match = stamps.LEADING.match(f"{text.strip().partition(chr(10))[0]} ")
    return stamps.when(match) if match else None


def chat_in(page: str, changed: Counter[str]) -> tuple[str, Chat] | None:
    """(exporter, chat) of a page of a known form; None for other pages."""
    if (listed := LIST.search(page)) is not None:
        return "MemoTrace", _listed(page, listed.end(), changed)
    for form in FORMS:
        if not form.sure.search(page):
            continue
        found = _Messages(form)
        found.feed(page)
        found.close()
        if any(one.who for one in found.said):
            return form.source, _chat(found)
    return None


def _chat(found: _Messages) -> Chat:
    """The chat with its partner: whom the page is named after, or of two the one whose page it is not."""
    title = " ".join(found.title.split()).removeprefix("Whatsapp - ")
    nameless = {one.who for one in found.said} - {""} <= {"?", ME}
    if nameless and title:  # a chat of two names nobody
        return Chat(title, [_renamed(one, title) for one in found.said])
    names = {one.who for one in found.said if one.who}
    others = names - found.mine
    partner = title if title in names else next(iter(others)) if len(names) == 2 and len(others) == 1 else ""
    return Chat(partner, found.said)


def _renamed(one: Said, name: str) -> Said:
    return Said(one.line, one.when, name, one.text) if one.who == "?" else one


LIST = re.compile(r"\bchatMessages\s{0,4}=\s{0,4}\[")
OBJECT = re.compile(r"\{([^{}']*+(?:'(?:[^'\\]|\\.)*+'[^{}']*+)*+)\}", re.S)
FIELD = re.compile(r"\b(\w{1,40})\s{0,4}:\s{0,4}(?:'((?:[^'\\]|\\.)*+)'|([\w.-]*+))", re.S)
BETWEEN, NEXT = re.compile(r"[\s,]*+"), re.compile(r"\{\s{0,4}type:\d")
MOST = 100
BROKEN = "messages of a page that are no JavaScript left out"
ESCAPED = re.compile(r"\\(.)", re.S)
NEW_LINES = {"n": "\n", "r": "", "t": "\t"}


def _listed(page: str, at: int, changed: Counter[str]) -> Chat:
    """The messages of MemoTrace's list, whose objects stand there as JavaScript."""
    title = re.search(r"<title>([^<]{1,200})</title>", page)
    partner = html.unescape(title[1]).strip() if title else ""
    said: list[Said] = []
    line, done, group = page.count("\n", 0, at) + 1, at, False
    for one in _objects(page, at, changed):
        line, done = line + page.count("\n", done, one.start()), one.start()
        fields = {key: _plain(text) if number == "" else number for key, text, number in FIELD.findall(one[1])}
        group = group or fields.get("is_chatroom") == "1"
        mine = fields.get("is_send") == "1"
        who = fields.get("displayname", "").strip() or (ME if mine else partner) or "?"
        kind, number = fields.get("type", ""), fields.get("timestamp", "")
        when = stamps.since_1970(float(number)) if number.isdigit() and len(number) <= 10 else None
        if kind in ("0", "10000", "50"):
            said.append(Said(line, when, "", ""))
            continue
        words = kind == "1" or (kind == "49" and fields.get("sub_type") in ("57", "49", "2000"))
        text = fields.get("text", "") if words else fields.get("voice_to_text", "") or MEDIA
        said.append(Said(line, when, who, text.strip()))
    return Chat("" if group else partner, said)


def _objects(page: str, at: int, changed: Counter[str]) -> Iterator[re.Match[str]]:
    """The objects of a list up to its end."""
    while (at := BETWEEN.match(page, at).end()) < len(page) and page[at] != "]":  # type: ignore[union-attr]
        one = OBJECT.match(page, at)
        if one is not None:
            yield one
            at = one.end()
            continue
        changed[BROKEN] += 1  # such as a card whose title has a quote, which the exporter writes as it is
        if changed[BROKEN] > MOST:
            raise ValueError(f"expected messages in the list of the page's script, found more than {MOST} broken ones")
        following = NEXT.search(page, at + 1)
        at = following.start() if following else len(page)


def _plain(text: str) -> str:
    return text_of(ESCAPED.sub(lambda one: NEW_LINES.get(one[1], one[1]), text))
