"""Tables with a message a row -> dialogues: by the conversation that a column names, or by customer and time."""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data import stamps
from steersman.data.formats import desks, guessed_rows, mapped_rows
from steersman.data.formats.batches import Batches, is_batch_line
from steersman.data.formats.desk_messages import usual
from steersman.data.formats.desk_sides import FIRST, OF_FILE, SYSTEM, is_side
from steersman.data.formats.expand import Trees, tree_row
from steersman.data.formats.exports import DESK, DIRECTIONS, THREAD_DAYS, answered, body_of, role_of, with_team
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import empty, plain, said_within
from steersman.data.formats.markup import WRITTEN
from steersman.data.formats.said_rows import Said, by_time, parted
from steersman.data.formats.shapes import exchange, is_notice, words_alone
from steersman.data.formats.sides import SPOKEN_AS, flagged, is_flag, named_side
from steersman.data.formats.turns import ROLES
from steersman.data.formats.webhooks import delivered
from steersman.data.partners import settle
from steersman.data.readers import Record as Row
from steersman.data.shelves import Numbers, Shelf, database, in_order

Record = Mapping[str, Any]
_GROUPS = """
    conversation_id conv_id dialogue_id dialog_id chat_id session_id ticket_id thread_id conversationid chatid sessionid
    ticketid threadid case_number channel_url csid convo_id dialogueid dialogid convid
    会话id 会话编号 工单号 工单编号 对话id 咨询id 会话标识
    ticket_nr ticket_nr_ ticketnr ticketnummer ticket_nummer vorgangsnummer vorgangs_nr_ gesprächs_id chat_nr_
"""
GROUPS = tuple(_GROUPS.split())
_WHO = """
    side role speaker sender_type author_type author_role sender from direction author author_id speaker_idx
    speaker_id sender_role speaker_role
    角色 消息来源 发送方 发送者类型 发送人类型 发送者身份 发送人身份 发送者角色 发送人角色 发言人 发送者 发送人
    absender verfasser absender_typ
"""
WHO = tuple(_WHO.split())
PAGE = re.compile(
    r"(?:chat|im|msg|message)?_?(?:messages|payload|comments|events|records|logs?|msgs)(?:_?list)?|(?:chat|im)?_?(?:message|msg|record)_?list"
)
"""Pattern of fields that hold a dialogue's messages, or a page of those of several dialogues."""
HEAD = 32
"""A file's first records, which tell what all of them are."""
ORIGIN = "消息来源"
"""Who speaks, or by which channel."""
TOLD = ("role", "speaker", "author_role")
"""Columns in which a system may speak: elsewhere it tells of what happened."""
_SAID = """
    text message content body utterance value body_text comment message_text message_body comment_body
    内容 消息 消息内容 聊天内容 发送内容 消息正文 聊天记录 对话内容
    nachricht nachrichtentext inhalt
"""
SAID = tuple(_SAID.split())
_PEOPLE = (
    "customer_id customerid user_id userid visitor_id visitorid client_id clientid contact_id contactid openid "
    "客户id 用户id 访客id 客户编号 用户编号"
)
PEOPLE = tuple(_PEOPLE.split())
"""Columns that name a customer, whose messages are parted by time where no conversation is named."""
_TIMES = """
    created_at created timestamp time datetime sent_at date created_date send_time sendtime send_at sendat
    时间 发送时间 消息时间 创建时间 日期 zeit zeitstempel datum gesendet_am erstellt_am
"""
TIMES = tuple(_TIMES.split())
LIKE = tuple(
    re.compile(form)
    for form in (
        r"(?:interaction|conversation|conv|dialog(?:ue)?|chat|session|thread|ticket|case|call|engagement|incident)_?"
        r"(?:id|no|number|ref)|(?:会话|对话|咨询|工单|聊天|服务|接待|通话)(?:记录)?(?:id|编号|号|标识|流水号)",
        r"sent_by|participant|party|(?:source|sender|author|from|user|party|participant)_?(?:type|role|kind)|"
        r"(?:消息|信息)?(?:发送|发言|说话)(?:方|者|人)(?:类型|角色|身份)?|(?:消息|发言)?(?:角色|身份|来源)",
        r"(?:消息|聊天|会话|发送|对话|发言|转写|识别)?(?:内容|文本|正文|结果)|transcription|spoken_text",
        r"(?:sent|send|start|message|msg|created?|creation|post(?:ed)?|receive[d]?|event|log)_?"
        r"(?:at|on|time|date|datetime|timestamp|ts)|(?:date|time|datetime|timestamp)_?(?:sent|created|posted|received)|"
        r"(?:消息|发送|发言|聊天|创建|开始)(?:时间|日期)",
    )
)
"""Patterns of the names of such columns (conversation, speaker, text, time) where the speaker's value is a side."""


@functools.lru_cache(maxsize=4096)
def _like(name: str) -> int:
    """Which of LIKE a column's name is; -1 for others."""
    return next((i for i, form in enumerate(LIKE) if form.fullmatch(name)), -1)


def names_a_time(name: str) -> bool:
    """Whether a column is called like one of times."""
    return plain(name) in (*TIMES, *guessed_rows.TIMES) or _like(plain(name)) == len(LIKE) - 1


def columns_of_messages(record: Any) -> tuple[str, str, str] | None:
    """(conversation, speaker, text): the fields of a row with one message of a conversation; None for other rows."""
    if not isinstance(record, Mapping):
        return None
    record = usual(record) or record
    keys = {plain(str(key)): key for key in reversed(list(record)) if not empty(record[key])}
    keys |= {n: key for key in record if (n := plain(str(key))) in SAID and not keys.keys() & set(SAID)}
    if ORIGIN in keys and not is_side(record[keys[ORIGIN]]):
        del keys[ORIGIN]
    entry = {"thread_id", "poster", "type", "body"} <= keys.keys()
    timed = any(map(names_a_time, keys))
    groups = GROUPS + (PEOPLE if timed else ())
    wanted = (groups, ("type",) if entry else WHO, SAID)
    found = [next((keys[n] for n in names if n in keys), None) for names in wanted]
    if None in found:
        like = {_like(name): key for name, key in reversed(keys.items())}
        told = is_side(record[found[1] or like.get(1)]) if found[1] or 1 in like else False
        found = [key or like.get(i) for i, key in enumerate(found)] if told else found
    if found[1] is None and SPOKEN_AS.fullmatch(str(record.get(keys.get("type"), ""))):
        found[1] = keys["type"]
    way = str(record.get(keys.get("direction"), "")).casefold()
    if found[1] is not None and way in DIRECTIONS and not is_side(record[found[1]]):
        found[1] = keys["direction"]
    if found[1] is None or (
        plain(str(found[1])) in ("author", "author_id", "sender") and not is_side(record[found[1]])
    ):
        found[1] = next((key for key in record if is_flag(str(key)) and not empty(record[key])), found[1])
    alone = (
        ("side" not in record or OF_FILE in record)
        and found[0] is None
        and found[1] is not None
        and any(name in keys for name in TIMES)
    )
    if alone and is_side(record[found[1]]) and not any(n in keys for n in (*NAMES["question"], *NAMES["id"])):
        found[0] = found[1]  # of one chat, whose messages name none
    if None in found or not isinstance(record[found[2]], str) or isinstance(record[found[1]], Mapping | list):
        return None
    other = any(name in keys and keys[name] not in found for role in ("answer", "messages") for name in NAMES[role])
    if other and not is_side(record[found[1]]):  # beside who spoke, 客服 is the name of one
        return None
    return found[0], found[1], found[2]  # type: ignore[return-value]


@functools.lru_cache(maxsize=4096)
def _named_so(names: tuple[str, ...]) -> bool:
    """Whether `columns_of_messages` knows columns of these names."""
    return columns_of_messages(dict.fromkeys(names, "?")) is not None


def _row(record: Any) -> Record | None:
    """The record in which `columns_of_messages` finds a message: of a known system as `usual` says it."""
    found = usual(record) or record
    return found if columns_of_messages(found) is not None else None


def speaks_alone(record: Record) -> str | None:
    """The field that shows a text to be one person's message, rather than a text by itself."""
    keys = {plain(str(key)): key for key in record}
    if usual(record) is not None:
        return next(iter(record))
    names = (
        *WHO,
        *("sender_id", "senderid", "receiver_id", "receiverid", "visitor_id", "visitorid"),
        *(name for name in keys if is_flag(name)),
        "in_reply_to",
        "in_response_to_tweet_id",
        "reply_to",
        "senders",
    )
    return next((keys[n] for n in names if n in keys and n not in ("author", "from")), None)


def joined(
    records: Iterator[Row], notes: Counter[str], hours: float, mapping: Mapping[str, str], speakers: str = ""
) -> Iterator[Row]:
    """Records; rows with one message each are joined into trees (OASST) or conversations, at their first row's line,
    and the requests of a batch with its answers.

    `hours`: silence that parts one customer's dialogues, where rows name none; `mapping`, `speakers`: as options say.
    """
    if mapped_rows.of_messages(mapping):
        yield from _mapped(records, Rows(notes, hours, bool(speakers)), notes, mapping, speakers)
        return
    files: dict[str, Trees | Rows | Batches | None] = {}
    read: Counter[str] = Counter()
    made: dict[type, Trees | Rows | Batches] = {}
    for record in records:
        if files.get(record.file) is None and read[record.file] < HEAD:
            read[record.file] += 1
            files[record.file] = None
            if not record.error and (found := _gathered(record.value, Counter())) is not None:
                kind = found[0]
                made[kind] = made.get(kind) or (Rows(notes, hours, bool(speakers)) if kind is Rows else kind(notes))  # type: ignore[call-arg]
                files[record.file] = made[kind]
        gathering = None if record.error else files[record.file]
        found = None if gathering is None else _gathered(record.value, notes)
        if gathering is not None and found is not None and found[0] is type(gathering):
            if isinstance(gathering, Rows):
                gathering.file = record.file
            for one in found[1]:
                gathering.add(record.line, one)
        else:
            yield record
    for gathered in made.values():
        for line, value in gathered.gathered():
            yield Row(line, value, "")


def _mapped(
    records: Iterator[Row], rows: Rows, notes: Counter[str], mapping: Mapping[str, str], speakers: str
) -> Iterator[Row]:
    """The conversations of rows whose columns the user named; other records as they are."""
    seen = set[str]()
    for record in records:
        found = None if record.error else mapped_rows.rows_of(record.value, mapping, notes, seen, speakers)
        if found is None:
            why = record.error or mapped_rows.lacking(record.value, mapping)
            yield Row(record.line, record.value, record.raw, why, record.file)
            continue
        rows.file = record.file
        for one in found:
            rows.add(record.line, one)
    mapped_rows.check(mapping, seen)
    for line, value in rows.gathered():
        yield Row(line, value, "")


def _gathered(value: Any, notes: Counter[str]) -> tuple[type[Trees] | type[Rows] | type[Batches], list[Record]] | None:
    """What gathers records like this one, and as what."""
    if is_batch_line(value):
        return Batches, [value]
    tree = tree_row(value)
    if tree is not None and tree is value:
        return Trees, [value]
    if (said := delivered(value)) is not None or (said := exchange(value)) is not None:
        notes["deliveries without a message (received, read) left out"] += not said
        return Rows, said
    if (row := _row(value)) is not None:
        return Rows, [row]
    if tree is not None:
        return Trees, [tree]
    if isinstance(value, Mapping) and (paged := _of_pages(value)):
        return Rows, paged
    guessed = guessed_rows.rows_of(value, notes, _named_so)
    return None if guessed is None else (Rows, guessed)


def _of_pages(value: Record) -> list[Record]:
    """The messages of an object that holds a page of those of several conversations, if each says which; else []."""
    data = value["data"] if isinstance(value.get("data"), list) and all(map(_named, value["data"])) else []
    items = [item for rows in pages(value).values() for item in rows] or data
    rows = [row if isinstance(item, Mapping) and (row := _row(item)) is not None else {} for item in items]
    return rows if all(rows) else []


def tells(value: Any) -> bool:
    """Whether a record is a message, or a question with its answer, that names its conversation."""
    row = _row(value)
    columns = None if row is None else columns_of_messages(row)
    return (columns is not None and columns[0] != columns[1]) or exchange(value) is not None


def pages(value: Record) -> dict[str, list[Any]]:
    """The lists of an object that hold messages of several conversations, each of which names its own; {} where the
    object itself names one. Of an API's answer those of the object within."""
    if not (value.keys() & {"messages", "list", "items"}) and isinstance(inner := _within(value), Mapping):
        return {f"data.{name}": rows for name, rows in pages(inner).items()}
    if any(plain(str(key)) in GROUPS and not empty(value[key]) for key in value):
        return {}
    lists = {k: v for k, v in value.items() if PAGE.fullmatch(plain(str(k))) and isinstance(v, list)}
    return {k: items for k, items in lists.items() if len({name for item in items if (name := _named(item))}) > 1}


def _within(value: Record) -> Any:
    """What an API's answer holds as its data, or alone; of GraphQL's what it names alone."""
    alone = next(iter(value.values())) if len(value) == 1 else None
    inner = next((value[key] for key in value if plain(str(key)) in ("data", "result", "payload")), alone)
    only = [*inner.values()] if isinstance(inner, Mapping) else []
    return only[0] if len(only) == 1 and isinstance(only[0], Mapping) else inner


def _named(item: Any) -> str:
    """The conversation that a message names; '' where it names none, or a person alone, who may be its author."""
    row = _row(item) if isinstance(item, Mapping) else None
    columns = None if row is None else columns_of_messages(row)
    if row is None or columns is None or columns[0] == columns[1] or (row is item and plain(str(columns[0])) in PEOPLE):
        return ""
    return str(row[columns[0]])


def is_step(value: Any) -> bool:
    """Whether an item of a list is a message that names no conversation, which the list then is."""
    found = usual(value) if isinstance(value, Mapping) and "content" not in value else None
    return found is not None and not {"conversation_id", "contact_id"} & found.keys() and "id" not in value


class Rows:
    """Rows with a message each, on disk until all have come.

    A conversation is parted where nobody spoke for `THREAD_DAYS`; a customer's messages where nobody did for `hours`.
    """

    def __init__(self, notes: Counter[str], hours: float, named: bool = False) -> None:
        """`named`: the user says who is who."""
        self._notes, self._hours, self._named, self._groups = notes, hours, named, Numbers[str]()
        self._orders, self._stamped, self._count, self._rows = stamps.Orders(), True, 0, 0
        self.file = ""
        """Of the rows that are added."""
        self._base = database(self)
        self._base.execute("CREATE TABLE said (grp, line, role, text, counted, dmy, mdy, ymd, people, name, file, own)")

    def add(self, line: int, row: Record) -> None:
        self._rows += 1
        found = columns_of_messages(row)
        assert found is not None
        counted, dated = self._times(row)
        group, who, text = (str(said_within(row[key])) for key in found)
        group = f"{self.file}" if found[0] == found[1] else group
        column, of_desk = plain(str(found[1])), "side" in row
        side = str(row["side"]) if of_desk else desks.entry_side(row, found[1]) or _role(column, who)
        text = body_of({"body": text}) if of_desk or side != who or WRITTEN.search(text) else text.strip()
        if not of_desk and side == who and who.casefold() not in ROLES and (told := named_side(row, who, found[1])):
            side = told
            self._notes["messages whose writer another column names as the customer or the agent"] += 1
        if (ROLES.get(side.casefold()) == "system" and column not in TOLD) or (not of_desk and is_notice(row)):
            side = SYSTEM
        words = words_alone(text, row, self._notes)
        if words is None or (role := role_of(side, row, words, self._notes)) is None:
            return
        people = plain(str(found[0])) in PEOPLE or found[0] == found[1]
        self._count += 1
        number = self._groups.get_or(group, self._count)
        own = next((str(row[k]) for k in row if plain(str(k)) in mapped_rows.OWN and not empty(row[k])), "")
        said = (number, line, role, words, counted, *dated, people, group, self.file, own)
        self._base.execute(f"INSERT INTO said VALUES ({','.join('?' * 12)})", said)

    def _times(self, row: Record) -> tuple[float | None, tuple[float | None, ...]]:
        """Seconds by the first column of time: counted since 1970, and of a date in each order."""
        keys = {plain(str(key)): key for key in reversed(list(row))}
        names = (*TIMES, *(name for name in keys if _like(name) == len(LIKE) - 1))
        text = next((str(row[keys[n]]).strip() for n in names if n in keys and not empty(row[keys[n]])), "")
        counted = int(text) / (1000 if len(text) == 13 else 1) if text.isdigit() and len(text) in (10, 13) else None
        self._stamped = self._stamped and (counted is not None or not text)
        match = stamps.LEADING.match(text) if counted is None else None
        when = stamps.when(match) if match else None
        return counted, self._orders.feed(when if when is not None and when.date else None)

    def gathered(self) -> Iterator[tuple[int, Record]]:
        """(line of the first row, {"id", "messages"}) of each conversation, by time where every row has one."""
        self._notes["messages of a row each gathered into dialogues"] += self._rows
        settle(self._base, self._notes, self._named)
        best = self._orders.best()
        at = "counted" if self._stamped else ("dmy", "mdy", "ymd", "NULL")[3 if best is None else best]
        out = Shelf[tuple[int, Record]]()
        rows = self._base.execute(
            f"SELECT grp, line, role, text, {at}, people, name, file, own FROM said ORDER BY grp, rowid"
        )
        for _, group in itertools.groupby(rows, key=lambda row: row[0]):
            for one in self._conversations(list(group)):
                out.append(one)
        yield from in_order(out, lambda found: found[0], Shelf)

    def _conversations(self, rows: list[tuple[Any, ...]]) -> Iterator[tuple[int, Record]]:
        once = len({row[2:5] for row in rows})  # a whole export may have come twice
        ids = 2 * len({row[8] for row in rows}) > once and any(row[8] for row in rows)  # else no message's id
        timed = 2 * len({row[4] for row in rows}) > once  # else it is the conversation's time
        kept = {_own(row, ids, timed) or i: row for i, row in reversed([*enumerate(rows)])}
        again = "the same id, words and time" if ids else "the same writer, words and time"
        self._notes[f"messages that came again ({again}) left out"] += len(rows) - len(kept)
        rows = [*reversed(kept.values())]
        said = [Said(*row[1:5]) for row in rows]
        people, group = rows[-1][5:7]
        self._notes["conversations whose messages lie in several files joined by their id"] += (
            len({r[7] for r in rows}) > 1
        )
        pause = (self._hours * 3600 if self._hours else float("inf")) if people else THREAD_DAYS * 86400.0
        said = by_time(said, self._notes)
        for number, piece in enumerate(parted(said, pause), 1):
            if number > 1:
                self._notes["conversations parted where nobody spoke for long"] += 1
            turns = [{"role": _known(s.role, said[0].role), "content": s.text} for s in piece]
            turns = turns if self._named else with_team(turns, self._notes)
            name = group if number == 1 else f"{group}-{number}"
            named = {"id": name} if group else {}
            yield piece[0].line, {**named, "messages": answered(turns, self._notes), DESK: True}


def _own(row: tuple[Any, ...], ids: bool, timed: bool) -> tuple[Any, ...] | None:
    """What a message alone has: its id, or where there are none its writer, words and hour; None where that is open."""
    told = row[8] if ids else timed and row[4] is not None and row[4] % 86400
    return (row[8] if ids else "", *row[2:5]) if told else None


def _known(name: str, first: str) -> str:
    """A speaker's role, where only who spoke first tells it."""
    return name if not name.startswith(FIRST) else "user" if name == first else "assistant"


def _role(column: str, who: str) -> str:
    side = flagged(column, who) or DIRECTIONS.get(who.casefold(), who)
    return f"{column}={who.casefold()}" if side == who and is_flag(column) else side
