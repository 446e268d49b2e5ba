"""What messengers deliver to a firm's own program, as it logged them -> messages in the columns of a desk's.

WhatsApp's Cloud API, Messenger's and Instagram's pages, LINE's accounts, Telegram's bots. A delivery says which way it
went: what the firm wrote comes as an echo, where the program asked for echoes. Why so: decision 123 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data.formats.desk_sides import ANSWER, USER
from steersman.data.formats.fields import maps
from steersman.data.formats.shapes import DEEPER, words

Record = Mapping[str, Any]


def delivered(value: Any) -> list[Record] | None:
    """The messages of a delivery, [] where it tells of other things (received, read); None for other records."""
    if not isinstance(value, Mapping):
        return None
    if isinstance(value.get("entry"), list) and isinstance(value.get("object"), str):
        return [row for entry in maps(value["entry"]) for row in (*_cloud(entry), *_page(entry))]
    if isinstance(value.get("events"), list) and "destination" in value:
        return [row for event in maps(value["events"]) if (row := _line(event))]
    if "update_id" in value:
        message = next((value[k] for k in ("message", "edited_message", "channel_post") if k in value), None)
        return [_telegram(message)] if isinstance(message, Mapping) else []
    return None


def _row(side: str, text: str, at: Any, chat: str, own: Any) -> Record:
    return {"side": side, "body": text, "created_at": at, "contact_id": chat, "message_id": own or ""}


def _cloud(entry: Record) -> Iterator[Record]:
    """WhatsApp's: `messages` are customers', `message_echoes` what the firm wrote in the app or by another program."""
    for change in maps(entry.get("changes")):
        value = change.get("value")
        for name, side, other in (("messages", USER, "from"), ("message_echoes", ANSWER, "to")):
            for m in maps(value.get(name)) if isinstance(value, Mapping) else ():
                kind = str(m.get("type"))
                text = words(m.get(kind), ("body", "caption", "text", "title", "button_reply", "list_reply"))
                yield _row(side, text, m.get("timestamp"), f"{entry.get('id')}|{m.get(other)}", m.get("id"))


def _page(entry: Record) -> Iterator[Record]:
    """Messenger's and Instagram's."""
    for event in (*maps(entry.get("messaging")), *maps(entry.get("standby"))):
        m = event.get("message")
        if isinstance(m, Mapping):
            side, other = (ANSWER, "recipient") if m.get("is_echo") else (USER, "sender")
            chat = f"{entry.get('id')}|{words(event.get(other), ('id',))}"
            yield _row(side, words(m.get("text"), DEEPER), event.get("timestamp"), chat, m.get("mid"))


def _line(event: Record) -> Record | None:
    m, source = event.get("message"), event.get("source")
    if event.get("type") != "message" or not isinstance(m, Mapping) or not isinstance(source, Mapping):
        return None
    chat = str(source.get("groupId") or source.get("roomId") or source.get("userId"))
    return _row(USER, words(m.get("text"), DEEPER), event.get("timestamp"), chat, m.get("id"))


def _telegram(m: Record) -> Record:
    chat, sender = m.get("chat"), m.get("from")
    bot = isinstance(sender, Mapping) and sender.get("is_bot") is True
    name = str(chat.get("id")) if isinstance(chat, Mapping) else ""
    return _row(ANSWER if bot else USER, words(m.get("text") or m.get("caption"), DEEPER), m.get("date"), name, "")
