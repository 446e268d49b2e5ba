"""Chats whose time stamps fill lines of their own, with the writer's name on the line above or below: made into one
line, as other logs have them. iMessage's exporter, pages of messengers; Facebook's, whose stamps close a message.

Why so: decision 123 in docs/LOG.md.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from steersman.data import stamps
from steersman.data.readers import Line
from steersman.data.speakers import name_key

PEEK = 400
FEWEST = 3
"""Stamps that are needed where nobody is known."""
LONGEST = 60
"""Characters of a name."""
NO_NAME = re.compile(r"[:：。?？!！]\s*\Z|[:：]\s")
REPEATED = "lines set in below a message (answers that come again at their own time) left out"
STAMP = 120
"""Characters of a line that a stamp and its remark fill, at most."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where the name stands: on the line above the stamp, below it, or above the message, which its stamp closes."""

    place: str
    forms: frozenset[str]
    """Forms of the stamps that are meant."""
    names: frozenset[str]


def _form(text: str) -> str:
    """The form of a stamp that fills a line, a remark in brackets aside; '' for other lines."""
    return (stamps.alone(text) or stamps.alone(_bare(text))) if len(text) <= STAMP else ""


def _bare(text: str) -> str:
    """A stamp without what stands behind it in brackets, such as when the message was read."""
    text = text.strip()
    return text[: max(text.rfind("("), text.rfind("（"))].rstrip() if text.endswith((")", "）")) else text


def way_of(lines: Sequence[Line], known: frozenset[str] = frozenset()) -> Way | None:
    """Where a log's names stand; None where stamps fill no lines, or no names are beside them.

    Names are those of `known` speakers, or lines that come back beside the stamps.
    """
    texts = [line.text.strip() for line in lines if line.text.strip()]
    found = [(i, form) for i, text in enumerate(texts) if (form := _form(text))]
    forms = frozenset(form for form, n in Counter(form for _, form in found).items() if n > 1 or known)
    if not forms:
        return None
    at = [i for i, form in found if form in forms]
    beside = {
        "below": [texts[i + 1] for i in at if i + 1 < len(texts)],
        "above": [texts[i - 1] for i in at if i],
    }
    likely = {place: _names(names, len(at)) for place, names in beside.items()}
    sure = (p for p in ("above", "below") if sum(name_key(text) in known for text in beside[p]) > 1)
    place = next(sure, "") or min((p for p in likely if likely[p]), key=lambda p: len(likely[p]), default="")
    names = likely[place] | known if place else known
    return Way(_closing(texts, at, place, names), forms, names) if place else None


def _names(texts: Sequence[str], count: int) -> frozenset[str]:
    """The names among the lines beside `count` stamps; none where they hardly come back or are no names."""
    counts = Counter(map(name_key, texts))
    count = count if count >= FEWEST else 0
    short = all(len(text) <= LONGEST and not NO_NAME.search(text) for text in texts)
    short = short and not any(stamps.DATE_LINE.fullmatch(text) for text in texts)
    return frozenset(counts) if short and texts and len(counts) <= max(2, count // 3) < count else frozenset()


def _closing(texts: Sequence[str], at: Sequence[int], place: str, names: frozenset[str]) -> str:
    """`place`, but 'closing' where the names below the stamps begin the next message: one stands above the first."""
    first = any(name_key(text) in names for text in texts[: max(0, at[0] - 1)])
    ends = at[-1] + 1 == len(texts) or len(texts) > PEEK // 2  # of a long log the beginning alone is looked at
    return "closing" if place == "below" and first and ends else place


def paired(lines: Iterable[Line], known: frozenset[str], changed: Counter[str]) -> Iterator[Line]:
    """The lines, with each stamp and its name on one."""
    every = iter(lines)
    head = list(itertools.islice(every, PEEK))
    way = way_of(head, known)
    every = itertools.chain(head, every)
    if way is None:
        yield from every
    elif way.place == "above":
        yield from _above(every, way.forms)
    elif way.place == "below":
        yield from _below(every, way.forms, changed)
    else:
        yield from _closed(every, way)


def _above(lines: Iterable[Line], forms: frozenset[str]) -> Iterator[Line]:
    held: Line | None = None
    for line in lines:
        who = held.text.strip() if held else ""
        if held and who and _form(line.text) in forms:
            yield replace(held, text=f"{who} {_bare(line.text)}")
            held = None
            continue
        yield from [held] if held else []
        held = line
    yield from [held] if held else []


def _below(lines: Iterable[Line], forms: frozenset[str], changed: Counter[str]) -> Iterator[Line]:
    held: Line | None = None
    within = False
    for line in lines:
        stamp = _form(line.text) in forms
        inner = line.text.startswith("    ") and (stamp or within)
        if inner:
            changed[REPEATED] += 1
        elif stamp:
            yield from [held] if held else []
            held = line
        elif held and line.text.strip():
            yield replace(held, text=f"{_bare(held.text)} {line.text.strip()}")
            held = None
        elif held is None:
            yield line
        within = inner
    yield from [held] if held else []


def _closed(lines: Iterable[Line], way: Way) -> Iterator[Line]:
    """Above the first message's name stands the page's title."""
    block: list[Line] = []
    stamp = ""
    for line in lines:
        if _form(line.text) in way.forms:
            yield from _block(block, line.text.strip(), way.names, first=not stamp)
            block, stamp = [], line.text.strip()
        else:
            block.append(line)
    named = any(name_key(one.text) in way.names for one in block)
    yield from _block(block, stamp, way.names, first=False) if named else block


def _block(block: Sequence[Line], stamp: str, names: frozenset[str], first: bool) -> Iterator[Line]:
    said = [one for one in block if one.text.strip()]
    named = [i for i, one in enumerate(said) if name_key(one.text) in names]
    at = (named[-1] if first else named[0]) if named else 0
    yield from said[:at]
    yield from [replace(one, text=f"{stamp} {one.text.strip()}") for one in said[at : at + 1]]
    yield from said[at + 1 :]
