"""Rows with a message each whose columns no form names: what the words of the names leave no choice about.

Which column names the conversation, who wrote, what and when is guessed from the names alone, and said; who is the
customer and who the team is not, but where a page says it of the people that it links. Why so: decision 114 in
docs/LOG.md.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from steersman.data.formats import mapped_rows
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import plain

Record = Mapping[str, Any]
CONVERSATION = re.compile(
    r"\w*(?:conversation|conv|dialog(?:ue)?|chat|session|thread|ticket|case|会话|工单|对话|咨询)_?(?:id|no|number|nr|key|编号|号)|"
    r"ticket|thread|case|res_id|related_document_id"
)
SENDER = re.compile(
    r"(?P<who>author|sender|person|poster|speaker|writer|发送人|发送者|发言人|作者|absender|verfasser)"
    r"(?:_?(?:guest_?)?(?:(?P<side>type|role|kind|类型|角色|身份)|(?P<name>name|nick(?:name)?|昵称|名称|姓名)|id))?"
)
"""Pattern of columns of who wrote a message; a type may be a side, and a name is what people know."""
MESSAGE = re.compile(r"body|message|text|content|contents|msg|消息内容|聊天内容|内容|nachricht")
RENDERED = re.compile(
    r"(?:body|message|content|msg|comment)_?(?:as_)?(?:text|body|plain)|(?:text|plain)_?(?:body|content|message)"
)
"""Pattern of columns of a message's words, where none is called so alone."""
TIMES = (
    *("date_created", "created_at", "createdat", "created", "create_date", "create_time", "createtime", "createdtime"),
    *("sent_at", "send_time", "sendtime", "received_at", "date", "timestamp", "time", "发送时间", "时间", "zeit"),
    "datum",
)
KNOWN = frozenset(
    name for role in ("question", "answer", "answers", "history", "messages", "scores") for name in NAMES[role]
)
"""Names by which a record is of another form."""
LINKED = "linked"
GUESSED = "messages whose columns were guessed"


@functools.lru_cache(maxsize=4096)
def guess(names: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    """What --map would say of these columns; None where the names leave several choices or lack one."""
    keys = {plain(name): name for name in reversed(names)}
    groups = [n for n in keys if CONVERSATION.fullmatch(n)]
    said = [n for n in keys if MESSAGE.fullmatch(n)] or [n for n in keys if RENDERED.fullmatch(n)]
    people = {n: match for n in keys if (match := SENDER.fullmatch(n))}
    if len(groups) != 1 or len(said) != 1 or len({match["who"] for match in people.values()}) != 1:
        return None
    if KNOWN & (keys.keys() - {*groups, *said, *people}):
        return None
    writers = sorted(people, key=lambda n: (people[n]["side"] is None, people[n]["name"] is None))
    when = next((keys[n] for n in TIMES if n in keys), None)
    found = {"conversation": keys[groups[0]], "sender": ",".join(keys[n] for n in writers), "message": keys[said[0]]}
    return tuple({**found, **({"time": when} if when else {})}.items())


def rows_of(value: Any, notes: Counter[str], known: Callable[[tuple[str, ...]], bool]) -> list[Record] | None:
    """The messages of a row, or of a page that lists them, in the columns that `Rows` knows; None for other records
    and for rows whose columns are `known`, which lack something then."""
    if not isinstance(value, Mapping):
        return None
    lists = ((name, items) for name, items in value.items() if isinstance(items, list) and items and name != LINKED)
    for name, items in (("", [value]), *lists):
        if not all(isinstance(item, Mapping) for item in items):
            continue
        columns = {tuple(map(str, item)) for item in items}
        found = set() if any(map(known, columns)) else set(map(guess, columns))
        mapping = dict(found.pop() or ()) if len(found) == 1 else {}
        if not mapping:
            continue
        if name and KNOWN & {plain(str(key)) for key in value} - {plain(name)}:
            return None
        rows = mapped_rows.rows_of({"items": items} if name else value, mapping, notes, set()) or []
        guessed = ", ".join(f"{role} = {column}" for role, column in mapping.items())
        notes[f"{GUESSED}: {guessed} (--map says others)"] += len(rows)
        return _told(rows, value)
    return None


def _told(rows: list[Record], page: Record) -> list[Record]:
    """The rows, with the sides of writers whom the page links with a word on whether they are agents."""
    linked = page.get(LINKED)
    people = linked.get("person") if isinstance(linked, Mapping) else None
    if not isinstance(people, Mapping):
        return rows
    told = {str(k): one.get("is_agent") for k, one in people.items() if isinstance(one, Mapping)}
    sides = {name: "agent" if agent else "customer" for name, agent in told.items() if isinstance(agent, bool)}
    return [{**row, "sender": sides.get(str(row["sender"]), row["sender"])} for row in rows]
