"""Chat logs -> dialogues between a user and an assistant, whom --speakers names.

A message begins at a time stamp with a name, or at the name of a known speaker; other lines continue the message. A
stamped message of any other person ends the dialogue and is left out, so that no words are attributed to the wrong one.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from steersman.data import notices, stamp_lines, stamps
from steersman.data.containers import Part
from steersman.data.readers import SHOWN, Line, Record, lines_of
from steersman.data.reading import Reading
from steersman.data.shelves import Shelf, in_order, kept
from steersman.data.speakers import Speakers, ask_speakers, by_roles, listed, name_key, role_called, speakers_of
from steersman.data.stamps import When

ANSWER_HOURS = 72
"""Longest time after a question at which an answer still belongs to it."""
PEEK = 400
NAMED = re.compile(r"(?P<who>[^:：\t]{1,60}?)\s*(?:[:：]\s*|\t)(?P<rest>.*)", re.S)
BRACKETS, AGAIN = re.compile(r"\[[^\[\]\n]{1,40}\]|<[^<>\n]{1,60}>"), 3
SHOP = re.compile(r"[^\s:：]{1,20}[:：][^\s:：]{1,12}[:：]")
BOLD = re.compile(r"\A\s*(\*\*|__)(?P<who>[^*_:：\n]{1,40}?)\s*(?:[:：]\s*\1|\1\s*[:：])\s*")
TO_ALL = re.compile(
    r"\A\s*(?P<at>\d{1,2}:\d{2}(?::\d{2})?)\s{1,4}(?:from|von)\s+(?P<who>[^:：]{1,60}?)\s+(?:to|an)\s+[^:：]{1,60}[:：]\s*",
    re.I,
)
"""Pattern of the beginning of a message in a meeting's chat (Zoom), which names whom it was for."""
BARE_NAME = re.compile(r"[^\W\d_][\w.'’-]*(?: [^\W\d_][\w.'’-]*){0,2}|[\u4e00-\u9fff]{1,6}")
"""Pattern of a possible name at the start of a line without a stamp."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message: its line, time, speaker ('' for the system) and text."""

    line: int
    when: When | None
    who: str
    text: str
    ends: bool = False
    """Whether this is not a message but a mark that ends a dialogue."""


def scan_chatlog(part: Part, reading: Reading) -> Iterator[Record]:
    """Dialogues of a log as {"messages"}; lines that cannot be read as Records with an error."""
    return scan_lines(lambda: lines_of(part, reading), part.name, reading)


def scan_lines(lines: Callable[[], Iterable[Line]], name: str, reading: Reading) -> Iterator[Record]:
    speakers = speakers_of(reading.speakers) or by_roles(names_of(lines()), name, reading)
    bad: list[Record] = []
    said: Sequence[Said] = Shelf(messages_of(lines(), speakers, bad, reading.changed))
    if _newest_first(said):
        reading.tell(f"note: {name}: its newest message stands first; read from its end")
        said = Shelf(reversed(said))
    found = dialogues(said, speakers, name, reading, bad)
    yield from in_order(Shelf(itertools.chain(bad, found)), lambda record: record.line, Shelf)


def names_in(part: Part, reading: Reading) -> str:
    """The speakers in a log with their counts of messages; '' for none."""
    return listed(names_of(lines_of(part, reading)))


def names_of(lines: Iterable[Line]) -> Counter[str]:
    """The speakers with their counts of messages."""
    said = messages_of(lines, None, [], Counter())
    return Counter(message.who.strip() for message in said if message.who and message.text)


def _newest_first(said: Sequence[Said]) -> bool:
    """Whether the dates of a log go backward throughout, which its beginning can rule out."""
    if len(said) > 2 * PEEK and not _newest_first(said[:PEEK]):
        return False
    times = [at for at in stamps.instants(one.when if one.when and one.when.date else None for one in said) if at]
    pairs = [(a, b) for a, b in itertools.pairwise(times) if a != b]
    return len(pairs) > 1 and all(a > b for a, b in pairs)


def calls_roles(lines: Sequence[Line]) -> bool:
    """Whether lines of a text without stamps begin with speakers who are called by their roles, of both sides."""
    names = [m["who"] for line in lines if (m := NAMED.match(line.text)) and m[0] != line.text.strip()[:1]]
    found = Counter(filter(None, map(role_called, names)))
    return len(found) > 1 and 2 * found.total() >= len(names)


def looks_like(lines: Sequence[Line], share: float = 0.05) -> bool:
    """Whether a text's first lines look like a chat log with time stamps, in such a share of them."""
    texts = [stamps.MARKS.sub("", line.text) for line in lines if line.text.strip()]
    starts = [m for t in texts if (m := stamps.LEADING.match(t)) and stamps.when(m) is not None]
    behind = [m for t in texts if (m := stamps.TRAILING.match(t)) and stamps.when(m) is not None]
    headers = [m for m in behind if m["colon"] or not m["rest"]]
    both = [m for t in texts if (m := stamps.BRACKETED.match(t)) and stamps.when(m) is not None]
    return len(both) + len(starts) + len(headers) >= max(2, share * len(texts))


def _cleaned(lines: Iterable[Line]) -> Iterator[Line]:
    """Lines without marks of direction and other spaces; a name in bold as a plain one."""
    for line in lines:
        text = stamps.MARKS.sub("", line.text).replace("\u202f", " ").replace("\xa0", " ").rstrip()
        yield replace(line, text=BOLD.sub(r"\g<who>: ", TO_ALL.sub(r"\g<at> \g<who>: ", text)))


@dataclass(frozen=True, slots=True)
class _Style:
    """A log's format, detected from its first lines."""

    dated: bool
    """Stamps have a date: a time without one at the start of a line is part of the message."""
    headers: bool
    """A stamp and a name are on a separate line above the message."""
    stamped: bool
    """Most messages begin with a stamp: text before the first stamp is a heading."""
    spaced: bool
    """A stamp is followed by a name, a space and the message."""
    names: frozenset[str]
    """Names before a colon that occur repeatedly, in a log without stamps."""
    forms: frozenset[str]
    """Form of stamps before names: a stamp of another form without a name is part of the message."""
    behind: frozenset[str]
    """Form of stamps after names: a time of another form without a date is part of the message."""
    numbered: bool
    """Several lines number dialogues."""


def _style(lines: Sequence[Line], known: frozenset[str]) -> _Style:
    bracketed = sum(bool((m := stamps.BRACKETED.match(line.text)) and stamps.when(m)) for line in lines)
    leads = [(m, w) for line in lines if (m := stamps.LEADING.match(line.text)) and (w := stamps.when(m))]
    trails = [
        w for line in lines if (m := stamps.TRAILING.match(line.text)) and not m["rest"] and (w := stamps.when(m))
    ]
    dated = any(w.date for _, w in leads) or sum(bool(w.date) for w in trails) > len(leads)
    counted = [m for m, w in leads if bool(w.date) == dated and m["rest"].strip()]
    inline = sum(bool(NAMED.match(m["rest"])) for m in counted)
    spaced = sum(bool(_known_first(m["rest"], known)) for m in counted) > inline
    headers = not spaced and (len(trails) > inline or len(counted) - inline > 2 * inline)
    times = {m.string for m, _ in leads}  # the hour before a time's colon is no name
    before = Counter(m["who"].strip() for o in lines if o.text not in times and (m := NAMED.match(o.text)))
    recurring = {
        name_key(who)
        for who, n in before.items()
        if (n > 1 or role_called(who)) and BARE_NAME.fullmatch(who) and who.casefold() not in notices.LABELS
    }
    stamped = len(counted) + len(trails) + bracketed > sum(
        before[who] for who in before if name_key(who) in recurring | known
    )
    forms = frozenset(
        stamps.form(m) for m in counted if (n := NAMED.match(m["rest"])) and (not known or name_key(n["who"]) in known)
    )
    behind = frozenset(
        stamps.form_behind(m)
        for line in lines
        if (m := stamps.TRAILING.match(line.text)) and name_key(m["who"]) in known and stamps.when(m)
    )
    names = frozenset() if stamped else frozenset(recurring - known)
    headers &= not known or bool(behind) or any(name_key(m["rest"]) in known for m in counted)
    numbered = sum(notices.NUMBERED.fullmatch(line.text.strip()) is not None for line in lines) > 1
    return _Style(dated, headers, stamped, spaced, names, forms, behind, numbered)


def _known_first(text: str, known: frozenset[str]) -> tuple[str, str] | None:
    """(name, what follows) where a text begins with the name of a known speaker and a space."""
    words = text.strip().split(" ")
    for count in (3, 2, 1):
        if len(words) > count and name_key(" ".join(words[:count])) in known:
            return " ".join(words[:count]), " ".join(words[count:])
    return None


def messages_of(
    lines: Iterable[Line], speakers: Speakers | None, bad: list[Record], changed: Counter[str]
) -> Iterator[Said]:
    """Messages in order, with their continuation lines."""
    known = speakers.named if speakers else frozenset()
    every = stamp_lines.paired(_cleaned(lines), known, changed)
    head = list(itertools.islice(every, PEEK))
    style = _style(head, known)
    current: Said | None = None
    day: When | None = None
    bounded, above, dated = False, "", False
    for line in itertools.chain(head, every):
        if line.error:
            bad.append(Record(line.number, None, line.text[:SHOWN], line.error))
            continue
        text, before = line.text.strip(), above
        above, numbers = text, _numbers(text, before, style)
        m = stamps.DATE_LINE.fullmatch(text) or (None if dated else stamps.DAY_LINE.fullmatch(text))
        if m and (w := stamps.when(m)):
            day = w
        elif notices.RULE.fullmatch(text) or notices.BOUNDARY.fullmatch(text) or numbers:
            changed["lines that number a dialogue left out: it begins there"] += numbers
            yield from ([current] if current else [])
            current, bounded = None, True
            yield Said(line.number, None, "", text, ends=True)
        elif begun := _begins(line, style, known):
            yield from ([current] if current else [])
            current, dated = begun, dated or (begun.when is not None and begun.when.date is not None)
            if begun.when is not None and begun.when.date is None and day is not None:
                current, day = replace(begun, when=When(day.date, day.order, begun.when.seconds)), day
        elif current is not None:
            current = replace(current, text=f"{current.text}\n{text}".strip())
        elif text and (style.stamped or bounded):
            changed["lines outside of messages left out"] += 1
        elif text:
            bad.append(Record(line.number, None, line.text[:SHOWN], _nobody(text, speakers)))
    yield from ([current] if current else [])


def _numbers(text: str, above: str, style: _Style) -> bool:
    """Whether a line of a log without stamps is the number of the dialogue below it: one of several such lines, or
    with nothing directly above it; else it goes on with what somebody says."""
    heads = style.numbered or not above or notices.RULE.fullmatch(above) is not None
    return not style.stamped and heads and notices.NUMBERED.fullmatch(text) is not None


def _nobody(text: str, speakers: Speakers | None) -> str:
    names = " or ".join(f"'{name}: ...'" for name in sorted(speakers.named)) if speakers else ""
    return f"expected {names or 'a name before what is said'}, got {text[:40]!r}; name the speakers with --speakers"


def _begins(line: Line, style: _Style, known: frozenset[str]) -> Said | None:
    """The message that begins on a line, if one does."""
    text = line.text.strip()
    match = stamps.BRACKETED.match(text)
    when = stamps.when(match) if match else None
    if match and when:
        return Said(line.number, when, match["who"].strip(), match["rest"].strip())
    match = stamps.LEADING.match(text)
    when = stamps.when(match) if match else None
    if match and when and (when.date or not style.dated):
        return _stamped(line.number, when, match, style, known)
    match = stamps.TRAILING.match(text)
    when = stamps.when(match) if match else None
    if match and when and (when.date or (not style.dated and (not known or stamps.form_behind(match) in style.behind))):
        alone = not match["rest"] and (style.headers or name_key(match["who"]) in known)
        if alone or match["colon"]:
            return Said(line.number, when, match["who"].strip(), match["rest"].strip())
    match = NAMED.match(text)
    if match and (name_key(match["who"]) in known or name_key(match["who"]) in style.names):
        return Said(line.number, None, match["who"].strip(), match["rest"].strip())
    return None


def _stamped(number: int, when: When, match: re.Match[str], style: _Style, known: frozenset[str]) -> Said | None:
    rest = match["rest"].strip()
    named = NAMED.match(rest)
    if named and name_key(named["who"]) in known:
        return Said(number, when, named["who"].strip(), named["rest"].strip())
    if SHOP.fullmatch(rest):  # a shop and who of it, above the message: 旗舰店:小美:
        return Said(number, when, rest[:-1], "")
    if style.spaced and (found := _known_first(rest, known)):
        return Said(number, when, *found)
    if notices.BOUNDARY.fullmatch(rest):
        return Said(number, when, "", rest, ends=True)
    if notices.GROUP.search(rest) and not (named and notices.SPOKEN.fullmatch(named["rest"].strip())):
        return Said(number, when, "", rest)
    if named:
        return Said(number, when, named["who"].strip(), named["rest"].strip())
    if style.headers or name_key(rest) in known:
        return Said(number, when, rest, "")
    if style.spaced and " " in rest:
        who, _, text = rest.partition(" ")
        return Said(number, when, who, text)
    quoted = stamps.form(match) not in style.forms if style.forms else not style.stamped
    return None if quoted else Said(number, when, "", rest)


def dialogues(
    said: Sequence[Said], speakers: Speakers | None, name: str, reading: Reading, bad: Sequence[Record] = ()
) -> Iterator[Record]:
    """Messages as dialogues, split where a stranger speaks, where the user's name changes, and at long pauses.

    `bad`: lines that could not be read. Raises ValueError with the names found where no message is by a given speaker.
    """
    signs = _signs(said)
    spoken = kept((_bare(message, reading.changed, signs) for message in said), len(said))
    counts = Counter(m.who.strip() for m in spoken if m is not None and m.who and not m.ends)
    speakers = speakers or by_roles(counts, name, reading)
    strangers = Counter({who: n for who, n in counts.items() if speakers.role(who) is None})
    if len(strangers) == len(counts) and (counts or bad):
        first = min([m.line for m in spoken if m is not None and m.who] + [record.line for record in bad])
        wanted = " or ".join(f"'{who.strip()}: ...'" for who in re.split("[,，|]", reading.speakers))
        raise ValueError(f"{name}:{first}: expected {wanted}, no message is theirs; {ask_speakers(listed(counts))}")
    times = stamps.instants(message.when if message else None for message in spoken)
    cutter = _Cutter(speakers, reading)
    for message, time in zip(spoken, times, strict=True):
        if message is not None:
            yield from cutter.add(message, time)
    yield from cutter.flush()
    if strangers:
        reading.changed["messages of speakers that --speakers does not name left out"] += strangers.total()
        who = ", ".join(f"{n} ({count})" for n, count in strangers.most_common(8))
        reading.tell(
            f"note: {name}: messages of others end a dialogue and are left out: {who}; name them by --speakers if they "
            "take part, several of one side as in Customer,Ann|Bob"
        )
    if cutter.gaps:
        reading.tell(
            f"note: {name}: {cutter.gaps} dialogues end where nobody spoke for {reading.session_hours:g} hours "
            "(data.session_hours)"
        )


def wrote(said: Iterable[Said]) -> Counter[str]:
    """Who wrote how many messages of words."""
    bare = (_bare(message, Counter()) for message in said)
    return Counter(m.who.strip() for m in bare if m is not None and m.who and not m.ends)


def _signs(said: Iterable[Said]) -> frozenset[str]:
    """What stands in brackets as a whole message and comes back: placeholders in whatever language."""
    texts = Counter(one.text.strip() for one in said if one.who and BRACKETS.fullmatch(one.text.strip()))
    return frozenset(text for text, n in texts.items() if n >= AGAIN)


def _bare(message: Said, changed: Counter[str], signs: frozenset[str] = frozenset()) -> Said | None:
    """A message without placeholders and notices of the messenger; None where nothing else remains."""
    if message.ends:
        return message
    if message.text.strip() in signs and not notices.MEDIA.fullmatch(message.text.strip()):
        changed[f"messages that are {message.text.strip()}, taken for a placeholder, left out"] += 1
        return None
    if not message.who or notices.SPOKEN.fullmatch(message.text):
        changed["notices of the messenger left out"] += 1
        return None
    changed["messages without text left out"] += not message.text.strip()
    lines = notices.EDITED.sub("", notices.unquoted(message.text)).split("\n")
    kept = [line for line in lines if not (line.strip() and notices.MEDIA.fullmatch(line.strip()))]
    bare = [notices.without_edges(line) for line in kept]
    changed["placeholders of images, voice and the like left out"] += len(lines) - len(kept) + sum(n for _, n in bare)
    text = "\n".join(line for line, _ in bare).strip()
    return replace(message, text=text) if text else None


class _Cutter:
    """Gathers messages into dialogues."""

    def __init__(self, speakers: Speakers, reading: Reading) -> None:
        self._speakers, self._reading = speakers, reading
        self._turns: list[tuple[str, str, int]] = []
        """Role, words, and of how many messages."""
        self._line, self._user, self.gaps = 0, "", 0
        self._last: float | None = None

    def add(self, message: Said, time: float | None) -> Iterator[Record]:
        role = None if message.ends else self._speakers.role(message.who)
        if role is None:
            yield from self.flush()
            return
        if self._gap(role, time):
            self.gaps += 1
            yield from self.flush()
        if role == "user":
            if self._user and self._user != name_key(message.who):
                yield from self.flush()
            self._user = name_key(message.who)
        self._last = time if time is not None else self._last
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1] = (role, f"{self._turns[-1][1]}\n{message.text}", self._turns[-1][2] + 1)
        else:
            self._line = self._line if self._turns else message.line
            self._turns.append((role, message.text, 1))

    def _gap(self, role: str, time: float | None) -> bool:
        hours = self._reading.session_hours
        if not self._turns or time is None or self._last is None or not hours:
            return False
        answers = role == "assistant" and self._turns[-1][0] == "user"
        return abs(time - self._last) > 3600 * (max(hours, ANSWER_HOURS) if answers else hours)

    def flush(self) -> Iterator[Record]:
        turns, self._turns, self._user, self._last = self._turns, [], "", None
        if not turns:
            return
        raw = "\n".join(f"{role}: {text}" for role, text, _ in turns)[:SHOWN]
        changed = self._reading.changed
        answered = [i for i, (role, *_) in enumerate(turns) if role == "assistant"]
        asked = [i for i, (role, *_) in enumerate(turns) if role == "user"]
        kept = len(turns) if self._reading.prompts or not answered else answered[-1] + 1
        alone = not asked or (not answered and not self._reading.prompts)
        if not alone and kept < len(turns):
            changed["last turns of the user cut off"] += 1
            changed["messages in last turns of the user cut off"] += sum(n for *_, n in turns[kept:])
            turns = turns[:kept]
            alone = answered[-1] < asked[0]
        said = sum(n for *_, n in turns)
        if alone:
            changed["dialogues in which one side alone speaks left out"] += 1
            changed["messages of dialogues in which one side alone speaks left out"] += said
            return
        changed["messages gathered into dialogues"] += said
        yield Record(self._line, {"messages": [{"role": role, "content": text} for role, text, _ in turns]}, raw)
