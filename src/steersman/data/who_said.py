"""Messages of chat tools, whatever their fields are called: who, when, what (Rocket.Chat, Teams, Twilio, WeChat)."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from steersman.data import stamps
from steersman.data.chatlog import Said
from steersman.data.formats.markup import MARKUP, text_of
from steersman.data.formats.message_rows import GROUPS
from steersman.data.readers import Record
from steersman.data.reading import Reading

_WHO = """
    u sendername username nickname from user sender author displayname 发送人 发送者 发言人 发送人昵称 发送者昵称 昵称
"""
_WHEN = """
    ts time timestamp date sentat createdat createddatetime datecreated datetime createtime 时间 发送时间 消息时间 日期
"""
_WHAT = "msg body content text message strcontent 内容 消息内容 消息"
_CHAT = (
    *("rid", "chatid", "conversationsid"),
    *(name.replace("_", "") for name in GROUPS),
    *("channelid", "talker", "talkername", "chat", "channel", "room", "roomid", "群聊"),
)
NAMES = (*(tuple(names.split()) for names in (_WHO, _WHEN, _WHAT)), _CHAT)
PEOPLE = ("displayname", "name", "username", "user", "application", "bot", "id")
"""Fields of an object that stands for a person, the likelier first."""
LISTS = ("messages", "value", "data", "records", "msgs", "聊天记录")
"""Fields that hold the messages of an export."""


def keys_of(record: Any) -> tuple[str, str, str, str] | None:
    """The fields of who, when, what and (or '') in which chat; None for records that are no message."""
    return _keys_among(tuple(record)) if isinstance(record, Mapping) else None


@functools.lru_cache(256)
def _keys_among(fields: tuple[str, ...]) -> tuple[str, str, str, str] | None:
    """Kept, as the messages of a file have the same fields."""
    if "role" in fields or len(fields) < 3:
        return None
    keys = {re.sub(r"[\W_]", "", str(key)).casefold(): key for key in reversed(fields)}
    who, when, what, chat = (next((keys[n] for n in names if n in keys), "") for names in NAMES)
    return (who, when, what, chat) if who and when and what else None


def messages_in(value: Mapping[str, Any]) -> Sequence[Any] | None:
    """The messages of an exported object; None where it holds none."""
    items = next((value[k] for k in LISTS if isinstance(value.get(k), list) and value[k]), None)
    return items if items and all(keys_of(item) is not None for item in items) else None


def chats(messages: Iterable[Mapping[str, Any]]) -> Iterator[list[Said]]:
    """The messages of each chat, by time where each says its time in the usual form; of one second in the file's order,
    or the other way round where that begins with the newest."""
    found: dict[str, list[Said]] = {}
    for number, message in enumerate(messages, 1):
        keys = keys_of(message)
        if keys is not None:
            found.setdefault(_chat_of(message[keys[3]]) if keys[3] else "", []).append(_said(number, message, keys))
    for said in found.values():
        if not all(map(_at, said)):
            yield said
            continue
        newest_first = _at(said[0]) > _at(said[-1])
        yield sorted(reversed(said) if newest_first else said, key=_at)


def _at(message: Said) -> tuple[int, ...]:
    """Date and seconds; () where the order of the date's numbers is not sure."""
    when = message.when
    return (*when.date, when.seconds) if when is not None and when.date and when.order == "ymd" else ()


def _said(number: int, message: Mapping[str, Any], keys: tuple[str, str, str, str]) -> Said:
    who, when, what, _ = (message[key] if key else "" for key in keys)
    told = bool(message.get("t")) or str(message.get("messageType", "message")) != "message"
    text = _words(what)
    text = text_of(text) if MARKUP.search(text) else text
    return Said(number, time_of(when), "" if told else name_of(who), text.strip())


def _words(value: Any) -> str:
    """Of a text, an object that has one, or a list of both (Telegram's parts)."""
    if isinstance(value, Mapping):
        return _words(value.get("content") or value.get("text"))
    return "".join(map(_words, value)) if isinstance(value, list) else str(value or "")


def _chat_of(value: Any) -> str:
    """Rooms of one name are told apart by their ids."""
    return name_of(value.get("id")) or name_of(value) if isinstance(value, Mapping) else name_of(value)


def name_of(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = {str(key).casefold(): item for key, item in value.items()}
        return next((name for n in PEOPLE if (name := name_of(keys.get(n)))), "")
    return str(value).strip() if isinstance(value, str | int) else ""


def time_of(value: Any) -> stamps.When | None:
    """Of a date in the usual forms, seconds or milliseconds since 1970."""
    value = value.get("$date", "") if isinstance(value, Mapping) else value
    text = str(value).strip()
    if re.fullmatch(r"\d{10}(?:\.\d+)?|\d{13}", text):
        return stamps.since_1970(float(text) / (1000 if len(text) == 13 else 1))
    match = stamps.LEADING.match(f"{text} ")
    return stamps.when(match) if match else None


def gathered(
    records: Iterator[Record],
    reading: Reading,
    wanted: Callable[[Any], bool],
    scan: Callable[[Iterable[Any]], Iterator[Record]],
) -> Iterator[Record]:
    """Records; of a file whose first is a message (`wanted`), the dialogues that `scan` makes of all its messages."""
    first = next(records, None)
    if first is None or first.error or not wanted(first.value):
        yield from itertools.chain([] if first is None else [first], records)
        return
    others: list[Record] = []

    def messages() -> Iterator[Any]:
        for number, record in enumerate(itertools.chain([first], records), 1):
            reading.tick(reading.position.bytes, number)
            if record.error or keys_of(record.value) is None:
                others.append(record)
            else:
                yield record.value

    yield from scan(messages())
    yield from others
