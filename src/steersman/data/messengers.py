"""Exports of messengers, JSON or HTML (Telegram, Slack, Discord, Instagram, Messenger, Skype) -> messages of chats."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.data import chat_pages, chatlog, formats, message_pages, slack, stamps, web_pages, who_said
from steersman.data.chatlog import Said
from steersman.data.containers import Part
from steersman.data.formats import exports, markup, turns
from steersman.data.formats.message_rows import columns_of_messages
from steersman.data.partners import TAKEN, team_of
from steersman.data.readers import Record, lines_of
from steersman.data.reading import Reading, silent
from steersman.data.speakers import Speakers, ask_speakers, by_roles, listed, name_key, speakers_of
from steersman.data.who_said import Chat

ROLES = frozenset(("user", "human", "assistant", "gpt", "bot", "system", "tool", "model"))
"""Names of speakers in training data, as opposed to a chat between people."""
ASKED = ("personEmail",)
"""Fields of the writer by which a text is a message of a chat tool, whoever is named."""
SHOWN = 8
"""Notes on the chats of an export that are shown."""


@dataclass(frozen=True, slots=True)
class Chats:
    """The chats of an export."""

    source: str
    chats: Sequence[Chat]


def chats_in(value: Any) -> Chats | None:
    """Chats of an exported object, or of a list of messages; None where it is neither."""
    if isinstance(value, Mapping):
        of = (_telegram, _discord, _instagram, _skype, _zulip, _facebook, _others)
        return next((found for read in of if (found := read(value))), None)
    if isinstance(value, list) and value and is_message(value[0]):
        if "ts" in value[0]:
            return of_slack((m for m in value if isinstance(m, Mapping)), {})
        return _discord({"messages": value})
    return None


def is_message(value: Any) -> bool:
    """Whether an item of a list is a message of a messenger rather than a record."""
    if not isinstance(value, Mapping):
        return False
    slack = {"ts", "text"} <= value.keys() and bool({"user", "username", "bot_id"} & value.keys())
    return slack or ({"timestamp", "author", "content"} <= value.keys() and isinstance(value["author"], Mapping))


def is_others(value: Any, speakers: str) -> bool:
    """Whether a record is a person's message in some chat tool: of no form of records, or where people are named."""
    keys = who_said.keys_of(value)
    if (
        keys is None
        or who_said.name_of(value[keys[0]]).casefold() in turns.ROLES
        or exports.is_export(value)
        or columns_of_messages(value) is not None
    ):
        return False
    try:
        found = formats.detect(value)
        person = found == "prompts" and formats.as_fields(value).find("question") == keys[0]  # a column User
        return bool(speakers) or not found or person or (found == "text" and keys[0] in ASKED)
    except ValueError:
        return True


def _alike(messages: Iterable[Any]) -> bool:
    """Whether all senders are of Feishu's type "user", which customers and staff have alike."""
    senders = [m.get("sender") for m in messages if isinstance(m, Mapping)]
    return all(isinstance(sender, Mapping) and sender.get("sender_type") == "user" for sender in senders)


def _others(value: Mapping[str, Any]) -> Chats | None:
    """An object around the messages of some chat tool."""
    messages = who_said.messages_in(value)
    if messages is None or exports.is_export(value) or not (_alike(messages) or is_others(messages[0], "?")):
        return None
    return of_others(messages)


def of_others(messages: Iterable[Mapping[str, Any]]) -> Chats:
    return Chats("a chat tool", who_said.Gathered(messages))


def of_slack(messages: Iterable[Mapping[str, Any]], people: Mapping[str, str]) -> Chats:
    """`people`: names by their ids."""
    return Chats("Slack", slack.chats(messages, people))


def scan(found: Chats, part: Part, reading: Reading) -> Iterator[Record]:
    """Dialogues of every chat. Without --speakers, the partner of a chat between two is the user."""
    if not found.chats:
        raise ValueError(f"{part.name}: expected chats, found an export of {found.source} without any")
    speakers = speakers_of(reading.speakers) or _team(found, part.name, reading)
    everybody = (m.who for chat in found.chats for m in chat.messages if m.who)
    if speakers is not None and not any(map(speakers.role, everybody)):
        # raises ValueError with the names
        list(chatlog.dialogues(found.chats[0].messages, speakers, part.name, reading))
    notes: Counter[str] = Counter()
    each = dataclasses.replace(reading, tell=lambda text: notes.update([text]))
    for chat in found.chats:
        mine = speakers
        names = {m.who for m in chat.messages if m.who} if mine is None and chat.partner else set[str]()
        if len(names) == 2 and chat.partner in names:
            (other,) = names - {chat.partner}
            mine = Speakers(frozenset({name_key(chat.partner)}), frozenset({name_key(other)}))
            reading.tell(
                f"note: {part.name}: {chat.partner} is read as the user and {other} as the assistant; otherwise "
                "--speakers"
            )
            reading.changed["chats whose partner was taken for the user (--speakers says others)"] += 1
        if not any(m.who for m in chat.messages):
            reading.changed["notices of the messenger left out"] += len(chat.messages)
            continue
        if mine is not None and not any(mine.role(m.who) for m in chat.messages if m.who):
            reading.changed["chats without a named speaker left out"] += 1
            continue
        yield from chatlog.dialogues(chat.messages, mine, part.name, each)
    for text, times in notes.most_common(SHOWN):
        reading.tell(text if times == 1 else f"{text} ({times} chats)")
    if len(notes) > SHOWN:
        reading.tell(
            f"note: {part.name}: {sum(notes.values())} notes on its chats, of which the most frequent are shown"
        )


def _team(found: Chats, name: str, reading: Reading) -> Speakers | None:
    """The sides by who takes part in several chats, where neither partners nor what speakers are called tells."""
    if any(chat.partner for chat in found.chats):
        return None
    quiet = dataclasses.replace(reading, tell=silent, changed=Counter())
    try:
        for chat in found.chats:
            by_roles(Counter(m.who for m in chat.messages if m.who), name, quiet)
    except ValueError:
        people = ((i, m.who) for i, chat in enumerate(found.chats) for m in chat.messages if m.who)
        team = team_of((i, who) for i, who in people if turns.ROLES.get(who.casefold()) != "system")
        if team is not None:
            reading.tell(f"note: {name}: {team.told()}")
            reading.changed[TAKEN] += team.chats
            return team.speakers
        counts = chatlog.wrote(m for chat in found.chats for m in chat.messages)
        raise ValueError(f"{name}: {ask_speakers(listed(counts))}") from None
    return None


def _telegram(value: Mapping[str, Any]) -> Chats | None:
    """result.json of one chat, or of all."""
    chats = value.get("chats")
    if isinstance(chats, Mapping) and isinstance(chats.get("list"), list):
        found = [_telegram(chat) for chat in chats["list"] if isinstance(chat, Mapping)]
        return Chats("Telegram", [chat for one in found if one for chat in one.chats])
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    if not all(map(_is_telegram, messages)) or all(str(m.get("from")).lower() in ROLES for m in messages):
        return None
    partner = str(value.get("name") or "") if value.get("type") in ("personal_chat", "bot_chat") else ""
    names = {m["from_id"]: m["from"] for m in messages if m.get("from_id") and m.get("from")}
    said = [_telegram_message(i, m, names) for i, m in enumerate(messages, 1)]
    return Chats("Telegram", [Chat(partner, said)])


def _is_telegram(message: Any) -> bool:
    if not isinstance(message, Mapping) or message.get("type", "message") not in ("message", "service"):
        return False
    return bool({"date", "date_unixtime"} & message.keys()) and bool({"from", "actor", "action"} & message.keys())


def _telegram_message(number: int, message: Mapping[str, Any], names: Mapping[Any, str]) -> Said:
    """`names`: by the ids of people, whom some messages name by their ids alone."""
    text = message.get("text", "")
    if isinstance(text, list):
        text = "".join(piece if isinstance(piece, str) else str(piece.get("text", "")) for piece in text)
    service = message.get("type", "message") != "message"
    name = message.get("from_id")
    who = "" if service else str(message.get("from") or names.get(name) or name or "?")
    seconds = str(message.get("date_unixtime", ""))
    at = _iso(message.get("date")) or (stamps.since_1970(float(seconds)) if seconds.isdigit() else None)
    media = any(
        key in message for key in ("media_type", "photo", "file", "location_information", "contact_information")
    )
    return Said(number, at, who, f"{'[media]' if media else ''}\n{text}".strip() if not service else "")


def _discord(value: Mapping[str, Any]) -> Chats | None:
    messages = value.get("messages")
    if not (isinstance(messages, list) and messages and all(map(is_message, messages)) and "author" in messages[0]):
        return None
    said = []
    for number, m in enumerate(messages, 1):
        system = m.get("type", "Default") not in ("Default", "Reply", 0, 19)
        name = m["author"].get("nickname") or m["author"].get("name") or "?"
        said.append(Said(number, _iso(m["timestamp"]), "" if system else str(name), str(m["content"] or "")))
    return Chats("Discord", [Chat("", said)])


def _instagram(value: Mapping[str, Any]) -> Chats | None:
    """Instagram's and Messenger's: newest message first, and UTF-8 wrongly decoded as Latin-1."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    if not all(isinstance(m, Mapping) and {"sender_name", "timestamp_ms"} <= m.keys() for m in messages):
        return None
    ordered = sorted(messages, key=lambda m: m["timestamp_ms"])
    said = [
        Said(i, who_said.time_of(m["timestamp_ms"]), _mended(m["sender_name"]), _mended(m.get("content") or "[media]"))
        for i, m in enumerate(ordered, 1)
    ]
    return Chats("Instagram or Messenger", [Chat("", said)])


def _skype(value: Mapping[str, Any]) -> Chats | None:
    found = value.get("conversations")
    if not (isinstance(found, list) and any(isinstance(c, Mapping) and "MessageList" in c for c in found)):
        return None
    chats = []
    for one in (c for c in found if isinstance(c, Mapping)):
        messages = [m for m in one.get("MessageList") or () if isinstance(m, Mapping)]
        said = []
        for number, m in enumerate(sorted(messages, key=lambda m: str(m.get("originalarrivaltime"))), 1):
            told = str(m.get("messagetype")) not in ("RichText", "Text")
            text = markup.text_of(str(m.get("content") or ""))
            said.append(
                Said(number, _iso(m.get("originalarrivaltime")), "" if told else str(m.get("from") or "?"), text)
            )
        chats.append(Chat(str(one.get("id") or ""), said))
    return Chats("Skype", chats)


def _zulip(value: Mapping[str, Any]) -> Chats | None:
    """Zulip's: a chat is a topic of a channel, or what some people write to each other."""
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, Mapping) for m in messages):
        return None
    if not all({"sender_full_name", "display_recipient", "content"} <= m.keys() for m in messages):
        return None
    chats: dict[str, list[Said]] = {}
    for number, m in enumerate(sorted(messages, key=lambda m: m.get("id", 0)), 1):
        to = m["display_recipient"]
        room = (
            [to, m.get("topic", m.get("subject"))] if isinstance(to, str) else sorted(str(p.get("email")) for p in to)
        )
        text = markup.text_of(str(m["content"])) if "html" in str(m.get("content_type", "html")) else str(m["content"])
        said = Said(number, who_said.time_of(m.get("timestamp", "")), str(m["sender_full_name"]), text)
        chats.setdefault(str(room), []).append(said)
    return Chats("Zulip", [Chat("", said) for said in chats.values()])


def _facebook(value: Mapping[str, Any]) -> Chats | None:
    """Conversations of a page of Facebook or Instagram as the Graph API gives them: newest message first."""
    found = value["data"] if isinstance(value.get("data"), list) else [value]
    chats = []
    for one in found:
        inner = one.get("messages") if isinstance(one, Mapping) else None
        items = inner.get("data") if isinstance(inner, Mapping) else None
        if not isinstance(items, list) or not all(isinstance(m, Mapping) and "created_time" in m for m in items):
            return None
        ordered = sorted(items, key=lambda m: str(m["created_time"]))
        said = [
            Said(i, _iso(m["created_time"]), who_said.name_of(m.get("from")) or "?", str(m.get("message") or "[media]"))
            for i, m in enumerate(ordered, 1)
        ]
        chats.append(Chat("", said))
    return Chats("Facebook", chats) if any(chat.messages for chat in chats) else None


def _mended(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _iso(text: Any) -> stamps.When | None:
    match = stamps.LEADING.match(f"{text} ") if isinstance(text, str) else None
    return stamps.when(match) if match else None


def scan_html(part: Part, reading: Reading) -> Iterator[Record]:
    """A messenger's export as HTML, or a page of questions and answers. Other pages are a ValueError."""
    texts = list[str]()
    for line in lines_of(part, reading):
        if line.error:
            raise ValueError(f"{part.name}:{line.number}: {line.error}")
        texts.append(line.text)
    text = "".join(texts)
    try:
        found = message_pages.chat_in(text, reading.changed)
    except ValueError as error:
        raise ValueError(f"{part.name}: {error}") from None
    if found is not None:
        yield from scan(Chats(found[0], [found[1]]), part, reading)
    else:
        yield from _page(text, part, reading)


def _page(text: str, part: Part, reading: Reading) -> Iterator[Record]:
    page = web_pages.read(text)
    try:
        said = [] if page.answers else chat_pages.lines_in(text)
    except ValueError as error:
        raise ValueError(f"{part.name}: {error}") from None
    yield from chatlog.scan_lines(lambda: said, part.name, reading) if said else page.records(part.name, reading)
