"""Messages of chat tools, whatever their fields are called: who, when, what (Rocket.Chat, Teams, Twilio, WeChat).

Why they lie on disk, and what tells a file's kind: decision 99 in docs/LOG.md.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from steersman.data import stamps
from steersman.data.chatlog import Said
from steersman.data.formats.fields import parsed_json, said_within
from steersman.data.formats.guessed_rows import CONVERSATION
from steersman.data.formats.markup import plain_text
from steersman.data.formats.message_rows import GROUPS, HEAD
from steersman.data.readers import Record
from steersman.data.reading import Reading
from steersman.data.shelves import Numbers, Shelf

if TYPE_CHECKING:
    import numpy as np

_WHO = """
    u sendername sendernick username nickname from user sender author creator displayname name personemail senderid
    fromaccount who wer von absender verfasser
    发送人 发送者 发言人 发送人昵称 发送者昵称 昵称
"""
_WHEN = """
    ts time timestamp date sentat createdat createat createddate createddatetime datecreated datetime createtime
    originalarrivaltime senddate datesent msgtime sendtime originserverts msgtimestamp 时间 发送时间 消息时间 日期
"""
_WHAT = "msg mes body content text message strcontent msgbody 内容 消息内容 消息"
_CHAT = (
    *("rid", "chatid", "conversationsid"),
    *(name.replace("_", "") for name in GROUPS),
    *("channelid", "channelurl", "talker", "talkername", "chat", "channel", "room", "roomid", "群聊"),
)
_TO = (
    *("to", "tolist", "toid", "touser", "tousername", "toaccount", "receiver", "receiverid", "recipient"),
    *("recipientid", "接收人", "接收方"),
)
NAMES = (*(tuple(names.split()) for names in (_WHO, _WHEN, _WHAT)), _CHAT)
PEOPLE = (
    *("displayname", "name", "username", "nickname", "login", "user", "application", "bot", "email", "id", "user_id"),
    *("uid", "role"),
)
"""Fields of an object that stands for a person, the likelier first."""
HAN = re.compile("[\u4e00-\u9fff]")
LISTS = ("messages", "value", "data", "records", "msgs", "items", "MsgList", "聊天记录")
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
    chat = chat or next((key for n, key in keys.items() if CONVERSATION.fullmatch(n)), "")
    when = when or (keys.get("created", "") if who == "personEmail" else "")  # Webex; elsewhere documents are created
    return (who, when, what, chat) if who and when and what else None


def messages_in(value: Mapping[str, Any]) -> Sequence[Any] | None:
    """The messages of an exported object; None where it holds none."""
    within = [value, *(inner for inner in value.values() if isinstance(inner, Mapping))]
    lists = (of[k] for of in within for k in LISTS if isinstance(of.get(k), list) and of[k])
    items: list[Any] = list(map(_inner, next(lists, [])))
    known = next((keys for item in items if (keys := keys_of(item)) is not None), None)
    if known is None:
        return None
    who, when, what, _ = known  # a picture alone, or a message taken back, has no text; what a system says no writer
    items = [
        {who: "", what: "", **m} if isinstance(m, Mapping) and when in m and keys_of(m) is None else m for m in items
    ]
    return items if all(keys_of(item) is not None for item in items) else None


def _inner(item: Any) -> Any:
    """A message itself, where a field that says of what kind it is holds it alone: {"messageCreate": {...}}."""
    only = [*item.values()] if isinstance(item, Mapping) and len(item) == 1 else []
    return only[0] if only and isinstance(only[0], Mapping) else item


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat of an export: the partner's name in a chat between two, and the messages in order."""

    partner: str
    messages: Sequence[Said]


class _Places(Sequence[Said]):
    """Messages of a shelf in an order of their own."""

    def __init__(self, shelf: Shelf[Said], places: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._shelf, self._places = shelf, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, i: int) -> Said: ...
    @overload
    def __getitem__(self, i: slice) -> _Places: ...
    def __getitem__(self, i: int | slice) -> Said | _Places:
        return _Places(self._shelf, self._places[i]) if isinstance(i, slice) else self._shelf[int(self._places[i])]


class Together:
    """Chats of several values, with their messages on one shelf."""

    def __init__(self) -> None:
        self.chats: list[Chat] = []
        self._shelf = Shelf[Said]()

    def add(self, chats: Iterable[Chat]) -> None:
        import numpy as np

        for chat in chats:
            first = len(self._shelf)
            for message in chat.messages:
                self._shelf.append(message)
            self.chats.append(Chat(chat.partner, _Places(self._shelf, np.arange(first, len(self._shelf)))))


class Gathered(Sequence[Chat]):
    """The chats of messages, on disk but for some 40 bytes a message.

    Messages are by time where each of a chat says its time in the usual form; of one second in the file's order, or
    the other way round where that begins with the newest.
    """

    def __init__(self, messages: Iterable[Mapping[str, Any]]) -> None:
        import numpy as np

        self._said, of, at, numbers, count = Shelf[Said](), array("q"), array("d"), Numbers[str](), 0
        ways, pairs = Numbers[str](), 0
        for number, message in enumerate(messages, 1):
            keys = keys_of(message)
            if keys is not None:
                named = _chat_of(message[keys[3]]) if keys[3] else ""
                pair, way = ("", "") if named else _pair(message, name_of(message[keys[0]]))
                chat = numbers.get_or(named or pair, count)
                ways.get_or(way, chat)
                pairs += bool(pair) and chat == count
                count += chat == count
                self._said.append(one := _said(number, message, keys))
                of.append(chat)
                at.append(_at(one))
        chats, times, place = np.array(of, np.int64), np.array(at), np.arange(len(of))
        if 2 * (len(ways) - 1) < 3 * pairs:  # of less than half anybody answered: they wrote to rooms
            chats[np.isin(chats, np.array([n for way, n in ways.items() if way]))] = -1
            chats = np.unique(chats, return_inverse=True)[1]
            count = len(np.unique(chats))
        _, first, index = np.unique(chats, return_index=True, return_inverse=True)
        last = len(chats) - 1 - np.unique(chats[::-1], return_index=True)[1]
        timed = np.bincount(index, np.isnan(times), len(first)) == 0
        newest_first = timed & (times[first] > times[last])
        order = np.lexsort((np.where(newest_first[index], -place, place), np.where(timed[index], times, 0.0), chats))
        self._order, self._ends = order, np.searchsorted(chats[order], np.arange(count + 1))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, i: int) -> Chat: ...
    @overload
    def __getitem__(self, i: slice) -> list[Chat]: ...
    def __getitem__(self, i: int | slice) -> Chat | list[Chat]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return Chat("", _Places(self._said, self._order[self._ends[i] : self._ends[i + 1]]))


def _pair(message: Mapping[str, Any], writer: str) -> tuple[str, str]:
    """What stands for the chat of a message that names none, but whom it is to; and for the way it went."""
    to = next((name_of(message[k]) for k in message if re.sub(r"[\W_]", "", str(k)).casefold() in _TO), "")
    both = writer and to and writer != to
    return ("\0".join(["", *sorted((writer, to))]), f"{writer}\0{to}") if both else ("", "")


def _at(message: Said) -> float:
    """Seconds, on a scale that orders dates; nan where the order of the date's numbers is not sure."""
    when = message.when
    if when is None or not when.date or when.order != "ymd":
        return math.nan
    year, month, day = when.date
    if not (1 <= year <= 9999 and 1 <= month <= 12):
        return math.nan
    return (datetime.date(year, month, 1).toordinal() + day) * 86_400.0 + when.seconds


def _said(number: int, message: Mapping[str, Any], keys: tuple[str, str, str, str]) -> Said:
    who, when, what, _ = (message[key] if key else "" for key in keys)
    told = bool(message.get("t")) or str(message.get("messageType", "message")) != "message"
    text = _words(said_within(what))
    return Said(number, time_of(when), "" if told else name_of(who), plain_text(text))


def _words(value: Any) -> str:
    """Of a text, an object that has one (Feishu: as JSON), or a list of both (Telegram's parts)."""
    if isinstance(value, Mapping):
        named = {str(key).casefold(): item for key, item in value.items()}
        inner = next((named[k] for k in ("content", "text", "body", "msgcontent") if named.get(k)), "")
        found = parsed_json(inner)
        return _words(found if isinstance(found, Mapping) else inner)
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
    """Records; of a file with a message among its first ones (`wanted`), the dialogues that `scan` makes of all.

    What is no message and says nothing (a line about the chat) is left out there, and counted.
    """
    head = list(itertools.islice(records, HEAD))
    if not any(not record.error and (_of_type(record.value) == "version" or wanted(record.value)) for record in head):
        yield from itertools.chain(head, records)
        return
    others = Shelf[Record]()

    def messages() -> Iterator[Any]:
        for number, record in enumerate(itertools.chain(head, records), 1):
            reading.tick(reading.position.bytes, number)
            if not record.error and keys_of(record.value) is not None:
                yield record.value
            elif not record.error and (posts := _posts(record.value)):
                yield from posts
            elif not record.error and _is_about(record.value):
                reading.changed["lines about a chat, in a file of its messages, left out"] += 1
            else:
                others.append(record)

    yield from scan(messages())
    yield from others


def _of_type(value: Any) -> str:
    """The kind of a line of Mattermost's export, which is the name of its one object; '' for other records."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    return kind if isinstance(kind, str) and kind in value and len(value) <= 3 else ""


def _posts(value: Any) -> list[dict[str, Any]]:
    """A post of Mattermost's export with its replies, which are a chat of their own where there are any."""
    post = value.get(kind) if (kind := _of_type(value)) in ("post", "direct_post") else None
    if not isinstance(post, Mapping):
        return []
    replies = [r for r in _list(post.get("replies")) if isinstance(r, Mapping)]
    chat = [post.get("team"), post.get("channel"), *_list(post.get("channel_members"))]
    chat += [post.get("create_at"), post.get("user")] if replies else []
    room = "/".join(str(part) for part in chat if part)
    return [{**{k: m.get(k) for k in ("user", "message", "create_at")}, "room": room} for m in (post, *replies)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_about(value: Any) -> bool:
    """Whether a line tells of a chat: Mattermost's users and channels, SillyTavern's first line, one without words."""
    return bool(_of_type(value)) or (isinstance(value, Mapping) and "chat_metadata" in value) or _says_nothing(value)


def _says_nothing(value: Any) -> bool:
    """Whether a record holds no text of several words, or of eight characters of Chinese."""
    if isinstance(value, Mapping):
        return all(map(_says_nothing, value.values()))
    if isinstance(value, list):
        return all(map(_says_nothing, value))
    return not isinstance(value, str) or (len(value.split()) < 4 and len(value) < 60 and len(HAN.findall(value)) < 8)
