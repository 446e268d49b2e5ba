"""Exports of assistants (ChatGPT, Open WebUI) and help desks (Zendesk, Intercom, Freshdesk, Gorgias, LiveChat, HubSpot,
Jira, osTicket) -> records with turns."""

from __future__ import annotations

import datetime
import html
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from steersman.data.formats import desks
from steersman.data.formats.fields import Fields
from steersman.data.formats.turns import ROLES

Record = Mapping[str, Any]
LISTS = ("comments", "conversations", "messages", "events", "conversation_parts", "thread")
"""Fields that hold a ticket's messages, or an object that holds them."""
THREAD_DAYS = 30
"""A ticket or a thread of mails in which nobody spoke for so long is about something else when it goes on."""
BODY = ("body_text", "plain_body", "body", "text", "content", "message", "html_body", "description_text", "description")
SIDES = {"user": "user", "visitor": "user", "bot": "assistant", "team": "assistant", **ROLES}
DIRECTIONS = {"incoming": "user", "inbound": "user", "outgoing": "assistant", "outbound": "assistant"}


def as_turns(record: Record, fields: Fields) -> Record | None:
    """A record of an export as {"id", "messages"}; None for any other record. Parts left out are noted."""
    record = desks.as_ticket(record) or record
    if isinstance(record.get("mapping"), Mapping) and "current_node" in record:
        turns = _branch(record, fields)
    elif isinstance(chat := record.get("chat"), Mapping) and isinstance(chat.get("messages"), list):
        turns = [{"role": m.get("role"), "content": m.get("content")} for m in chat["messages"]]
    elif (found := _of_desk(record, fields)) is not None:
        turns = found
    else:
        return None
    name = next((record[k] for k in ("id", "conversation_id", "uuid") if k in record), None)
    return {"messages": turns} | ({"id": name} if name is not None else {})


def is_export(record: Any) -> bool:
    """Whether `as_turns` reads it."""
    try:
        return isinstance(record, Mapping) and as_turns(record, Fields(record)) is not None
    except ValueError:
        return True


def _branch(record: Record, fields: Fields) -> list[dict[str, Any]]:
    """The messages from the first to the current one of a ChatGPT conversation; other branches were regenerated."""
    mapping, name, path = record["mapping"], record["current_node"], []
    seen: set[Any] = set()
    while isinstance(node := mapping.get(name), Mapping) and name not in seen:
        seen.add(name)
        path.append(node.get("message"))
        name = node.get("parent")
    turns = []
    for message in reversed([m for m in path if isinstance(m, Mapping)]):
        role, content = (message.get("author") or {}).get("role"), message.get("content") or {}
        parts = [p for p in content.get("parts") or () if isinstance(p, str)]
        text = "".join(parts)
        if role in ("user", "assistant", "system") and message.get("recipient", "all") == "all" and text.strip():
            turns.append({"role": role, "content": text})
        elif role != "system":
            fields.note("messages without text, or to and from tools, left out of exported chats")
    others = sum(isinstance(n, Mapping) and bool(n.get("message")) for n in mapping.values()) - len(
        [m for m in path if m]
    )
    fields.note("messages of other branches (edited, regenerated) left out of exported chats", others)
    return turns


def _of_desk(record: Record, fields: Fields) -> list[dict[str, str]] | None:
    """The public messages of a ticket, its own text first; None where nothing tells who wrote them."""
    items = next((found for key in LISTS if (found := _listed(record.get(key)))), None)
    if items is None or any("role" in item for item in items):
        return None
    items = _in_order(items, fields)
    said = [(_side(item, record), item) for item in items]
    if not any(side for side, _ in said):
        return None
    turns: list[dict[str, str]] = []
    source = record.get("source")
    first = body_of(source) if isinstance(source, Mapping) else body_of(record)
    if first and (not items or body_of(items[0]) != first):
        side = _side(source, record) if isinstance(source, Mapping) else "user"
        turns.append({"role": side or "user", "content": first})
    last: datetime.datetime | None = None
    for side, item in said:
        text, at = body_of(item), _at(item)
        if is_internal(item):
            fields.note("internal notes left out of tickets")
        elif not text:
            fields.note("messages without text left out of tickets")
        elif side is None:
            fields.note("messages of others (in copy, systems) left out of tickets")
        else:
            apart = {"parted": "1"} if last and at and at - last > datetime.timedelta(days=THREAD_DAYS) else {}
            turns.append({"role": side, "content": text} | apart)
            last = at or last
    return answered(turns, fields.notes)


def is_internal(item: Record) -> bool:
    """Whether a message was for colleagues alone."""
    marks = {str(key).casefold(): str(value).strip().casefold() for key, value in item.items()}
    no, yes = ("false", "0", "no"), ("true", "1", "yes")
    hidden = marks.get("public") in no or marks.get("is_public") in no or marks.get("private") in yes
    return hidden or marks.get("is_private") in yes or marks.get("internal") in yes or marks.get("part_type") == "note"


def _at(item: Record) -> datetime.datetime | None:
    """When a message was written, where it says so in the usual form."""
    text = next((item[k] for k in ("created_at", "created", "date", "timestamp") if isinstance(item.get(k), str)), "")
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)


def _in_order(items: list[Record], fields: Fields) -> list[Record]:
    """A ticket's messages by time, where all have one."""
    times = [at for item in items if (at := _at(item))]
    if len(times) < len(items) or times == sorted(times):
        return items
    fields.note("tickets whose messages were put in order of time")
    return [item for _, item in sorted(zip(times, items, strict=True), key=lambda pair: pair[0])]


def parted(record: Record, fields: Fields) -> list[Record]:
    """The dialogues of an export's record: one, or several where a ticket went on after `THREAD_DAYS`."""
    turns = record["messages"]
    starts = [i for i, turn in enumerate(turns) if turn.pop("parted", "") and i]
    if not starts:
        return [record]
    fields.note(f"tickets parted where nobody spoke for {THREAD_DAYS} days", len(starts))
    pieces = [turns[a:b] for a, b in itertools.pairwise([0, *starts, len(turns)])]
    name = record.get("id")
    named = [{"id": f"{name}-{i}" if i > 1 else name} if name is not None else {} for i in range(1, len(pieces) + 1)]
    return [{**record, **of, "messages": piece} for of, piece in zip(named, pieces, strict=True)]


def answered(turns: list[dict[str, str]], notes: Counter[str]) -> list[dict[str, str]]:
    """Turns up to the last answer; all of them where there is none."""
    answered = max((i for i, turn in enumerate(turns) if SIDES.get(turn["role"].casefold()) == "assistant"), default=-1)
    if 0 <= answered < len(turns) - 1:
        notes["last turns of the user cut off"] += 1
        return turns[: answered + 1]
    return turns


def _listed(value: Any) -> list[Record] | None:
    """Messages of a list, or of an object around it (Intercom's conversation_parts, LiveChat's thread)."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in LISTS if isinstance(value.get(k), list)), None)
    good = isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return value if good else None


def _side(item: Record, record: Record) -> str | None:
    """'user' or 'assistant' from any field on a message's author; None for other authors."""
    for key, asks in (("incoming", True), ("inbound", True), ("from_agent", False), ("is_customer", True)):
        if isinstance(item.get(key), bool):
            return "user" if item[key] == asks else "assistant"
    if isinstance(direction := item.get("direction"), str):
        return DIRECTIONS.get(direction.casefold())
    author = item.get("author") or item.get("sender")
    if isinstance(author, Mapping) and isinstance(author.get("type"), str):
        return _known(author["type"])
    name = item.get("author_id")
    if name is None:
        return None
    if isinstance(users := record.get("users"), list):
        return next((_known(str(u.get("type"))) for u in users if isinstance(u, Mapping) and u.get("id") == name), None)
    copied = [v for k in ("collaborator_ids", "follower_ids", "email_cc_ids") for v in record.get(k) or ()]
    if "requester_id" not in record or name in copied:
        return None
    return "user" if name == record["requester_id"] else "assistant"


def _known(kind: str) -> str | None:
    role = SIDES.get(kind.casefold())
    return role if role in ("user", "assistant") else None


def body_of(item: Record) -> str:
    """A message's text without markup."""
    text = next((item[k] for k in BODY if isinstance(item.get(k), str) and item[k].strip()), "")
    if not re.search(r"</?(?:p|br|div|span|a|ul|li|b|strong|em)\b[^>]*>", text, re.I):
        return text.strip()
    text = re.sub(r"\s*<(?:br|/p|/div|/li)\b[^>]*>\s*", "\n", text, flags=re.I)
    return html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\xa0", " ").strip()
