"""Dialogues that stand as one text in a field of a record (a cell of a table): each line a message with its speaker.

Who is who: by --speakers, by other fields of the record that name the customer and the agent, or by what the speakers
are called.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data import chatlog
from steersman.data.formats.exports import DESK
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import plain
from steersman.data.formats.markup import plain_text
from steersman.data.formats.transcripts import GLAIVE, cued
from steersman.data.formats.turns import ROLES
from steersman.data.readers import Line, Record
from steersman.data.reading import Reading, silent
from steersman.data.speakers import ANYBODY, Speakers, by_roles, name_key, role_called, speakers_of

HOLDS = re.compile(
    r"(?:.*_)?(?:transcript|chat_?log|chat_?history|chat|conversation|dialog(?:ue)?|messages?|comments|thread|history|correspondence)(?:_(?:text|content|body|log))?"
    r"|(?:.*)(?:会话|聊天|对话|沟通|通话|咨询|跟进|处理|回复)(?:内容|记录|详情|明细|文本)?"
)
"""Pattern of a field's name, in the form of `plain`, that may hold a whole dialogue."""
USERS = re.compile(
    r"(?:visitor|customer|client|user|guest|contact|requester|caller)s?(?:_?(?:nick)?name)?"
    r"|(?:访客|客户|顾客|买家|用户|会员)(?:名称?|昵称|姓名|账号)?"
)
STAFF = re.compile(
    r"(?:agent|operator|assignee|assigned_to|staff|rep|advisor|consultant)s?(?:_?(?:nick)?name)?"
    r"|(?:接待|服务)?(?:客服|坐席|座席)(?:人员)?(?:名称?|昵称|姓名|账号)?"
)
"""Patterns of fields that name who takes part."""


_ROLES = "|".join(re.escape(name) for name, role in ROLES.items() if role in ("user", "assistant") and len(name) > 1)
BEGINS = re.compile(rf"\s+(?=(?:{_ROLES})\s?[:：])", re.I)
"""Pattern of what stands before a speaker who is called by a role."""


STARTED = re.compile(r"\s*(?:<p\b[^>]*>)?\s*Chat Started:")
SECONDS = re.compile(r"\(\s*(?:\d+\s*[hms]\s*)+\)\s*")
AGENT = re.compile(r"Agent\s+(?P<who>[^:\n]{1,60})")
HEADS = "lines at the beginning of chats (when, by what way, with whom) left out"
"""Salesforce's transcripts of chats begin with such lines; the others with the seconds since then."""


@functools.lru_cache(maxsize=4096)
def _may_hold(name: str) -> bool:
    return HOLDS.fullmatch(plain(name)) is not None


def field_of(record: Any) -> str | None:
    """The field of a record that holds a dialogue as lines with speakers; None where none does."""
    if not isinstance(record, Mapping):
        return None
    for key, text in record.items():
        held = isinstance(text, str) and (_may_hold(str(key)) or STARTED.match(text))
        lines = _lines(text) if held else []
        talk = len(lines) > 1 and (chatlog.looks_like(lines) or chatlog.calls_roles(lines))
        if held and (STARTED.match(text) or (talk and not (cued(text) or GLAIVE.match(text)))):
            return str(key)
    return None


def gathered(records: Iterator[Record], name: str, reading: Reading) -> Iterator[Record]:
    """Records; one with a dialogue in a field as the dialogue. What else it holds is not used, which is told once."""
    told: set[tuple[str, ...]] = set()
    for record in records:
        key = None if record.error or reading.mapping else field_of(record.value)
        if key is None:
            yield record
            continue
        others = tuple(str(other) for other, value in record.value.items() if value and other != key)
        if others not in told:
            told.add(others)
            reading.tell(f"note: {name}: '{key}' holds a dialogue a record; not used beside it: {', '.join(others)}")
        try:
            found = list(_dialogues(record, key, name, reading))
        except ValueError as error:
            found = [dataclasses.replace(record, value=None, error=str(error))]
        if not found:
            found = [dataclasses.replace(record, value={"messages": [], DESK: True})]
        yield from found


def _lines(text: str) -> list[Line]:
    """The messages' lines; of a dialogue on one line they begin at the speakers' roles."""
    text = _started(text)[1] if STARTED.match(text) else text.strip()
    lines = text.split("\n") if "\n" in text else BEGINS.sub("\n", text).split("\n")
    return [Line(i, line) for i, line in enumerate(lines, 1) if line.strip()]


def _started(text: str) -> tuple[list[str], str]:
    """The first lines of a chat's transcript, and its messages with a line each."""
    lines = [line.strip() for line in plain_text(text).split("\n") if line.strip()]
    first = next((i for i, line in enumerate(lines) if SECONDS.match(line)), len(lines))
    said: list[str] = []
    for line in lines[first:]:
        if SECONDS.match(line):
            said.append(SECONDS.sub("", line, count=1))
        else:
            said[-1] += f" {line}"
    return lines[:first], "\n".join(said)


def _said(lines: list[Line]) -> list[chatlog.Said]:
    """Messages of which each line names its writer."""
    parts = [(line.number, *line.text.partition(":")[::2]) for line in lines]
    return [chatlog.Said(number, None, who.strip(), text.strip()) for number, who, text in parts]


def _dialogues(record: Record, key: str, name: str, reading: Reading) -> Iterator[Record]:
    quiet = dataclasses.replace(reading, tell=silent)
    lines = _lines(record.value[key])
    head = _started(record.value[key])[0] if STARTED.match(record.value[key]) else []
    reading.changed[HEADS] += len(head)
    agents = frozenset(name_key(agent["who"]) for line in head if (agent := AGENT.fullmatch(line)))
    said = _said(lines) if head else []
    if head and len({m.who for m in said}) < 2:  # nobody answered
        return
    sides = speakers_of(reading.speakers) or _headed(said, agents, _named(record.value))
    bad: list[Record] = []
    said = said or list(chatlog.messages_of(lines, sides, bad, reading.changed))
    counts = Counter(message.who.strip() for message in said if message.who)
    if sides is None or not {"user", "assistant"} <= {sides.role(who) for who in counts}:
        sides = by_roles(counts, "its speakers", quiet)
        said = said if head else list(chatlog.messages_of(lines, sides, bad := [], reading.changed))
    own = next((record.value[k] for k in record.value if plain(str(k)) in NAMES["id"] or _is_id(str(k))), None)
    reading.changed["lines of dialogues in a field that no speaker begins left out"] += len(bad)
    for number, found in enumerate(chatlog.dialogues(said, sides, name, quiet), 1):
        of = {} if own in (None, "") else {"id": f"{own}-{number}" if number > 1 else str(own)}
        yield dataclasses.replace(record, value={**of, **found.value, DESK: True})


def _headed(said: list[chatlog.Said], agents: frozenset[str], named: Speakers | None) -> Speakers | None:
    """The sides of a chat whose first lines name its `agents`: with bots, against the visitor whom the record names."""
    if not agents:
        return named
    bots = frozenset(name_key(m.who) for m in said if role_called(m.who) == "assistant")
    visitors = named.users & {name_key(m.who) for m in said} if named else frozenset[str]()
    others = frozenset((ANYBODY,))
    return Speakers(visitors or others, agents | bots | (others if visitors else frozenset()))


def _is_id(name: str) -> bool:
    return re.fullmatch(r".*(?:_id|id|编号|单号|序号)", plain(name)) is not None


def _named(record: Mapping[str, Any]) -> Speakers | None:
    """The sides by the record's fields for who takes part; of one side alone, everybody else is the other."""
    sides = [
        frozenset(name_key(part) for k, v in record.items() if form.fullmatch(plain(str(k))) for part in _people(v))
        for form in (USERS, STAFF)
    ]
    if not any(sides) or sides[0] & sides[1]:
        return None
    users, staff = (side or frozenset((ANYBODY,)) for side in sides)
    return Speakers(users, staff)


def _people(value: Any) -> list[str]:
    return [part for part in re.split(r"[,，;；、|]", value) if part.strip()] if isinstance(value, str) else []
