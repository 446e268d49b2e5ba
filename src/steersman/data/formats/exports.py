"""Exports of assistants (ChatGPT, Open WebUI, what `assistants` knows) and help desks (Zendesk, Intercom, Freshdesk,
Gorgias, LiveChat, what `desks` and `desk_messages` know) -> records with turns."""

from __future__ import annotations

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from steersman.data.formats import assistants, call_centres, desks, forums, session_pages
from steersman.data.formats.desk_messages import usual
from steersman.data.formats.desk_sides import BOT, FIRST, NOTE, SYSTEM
from steersman.data.formats.field_names import NAMES
from steersman.data.formats.fields import Fields, parsed_json, plain, texts_in
from steersman.data.formats.markup import MARKUP, plain_text, text_of
from steersman.data.formats.shapes import is_internal, words_alone
from steersman.data.formats.sides import flagged
from steersman.data.formats.turns import ROLES

Record = Mapping[str, Any]
LISTS = (
    *("comments", "conversations", "messages", "events", "conversation_parts", "thread", "threads", "articles"),
    *("history", "Article", "conv_content", "chat", "_embedded", "updates", "activities"),
)
"""Fields that hold a ticket's messages, or an object that holds them."""
INSIDE = (*LISTS, "records", "values")
DESK = "\0desk"
"""Key of records that a help desk's export gave: nobody need have answered there."""
TIMES = ("created_at", "created", "date", "timestamp", "created_datetime")
THREAD_DAYS = 30
"""A ticket or a thread of mails in which nobody spoke for so long is about something else when it goes on."""
MAILS = "messages with quoted mails or signatures, kept whole (`steersman cold legacy` takes these out)"
OTHER = "messages of the only other person in a chat whose customer is known: taken for the team's"
QUOTED = re.compile(
    r"^(?:>|--\s*$|[^\n]{4,120}(?:wrote|schrieb[^\n]{0,80}|写道)\s?[:：]\s*$|"
    r"-{2,} ?(?:original|ursprüngliche|forwarded|原始邮件))",
    re.M | re.I,
)
"""Pattern of what a mail program writes above what it quotes, or a line of it, or the line above a signature."""


def quotes_mail(turn: Mapping[str, Any]) -> bool:
    """Whether a turn quotes a mail or is signed; its words may be in parts, or missing (calls of tools alone)."""
    return any(QUOTED.search(text) for text in texts_in(turn.get("content")))


PLACED = {"conversation_id", "contact_id"}
SUMMED = "messages of which the export holds a summary alone, which may be cut (Zoho Desk: export their threads)"
TRUNCATED = "later posts of topics that the file does not hold (Discourse: export them with print=true)"
BEGINS = 12
"""Letters that show two fields to say the same."""
BODY = (
    *("body_text", "plain_body", "body", "text", "content", "contents", "message", "html_body"),
    *("description_text", "description"),
)
SIDES = {**ROLES, "bot": BOT, "team": "assistant"}
DIRECTIONS = {
    **{"incoming": "user", "inbound": "user", "in": "user"},
    **{"outgoing": "assistant", "outbound": "assistant", "out": "assistant", "note": NOTE},
}


def as_turns(record: Record, fields: Fields) -> Record | None:
    """A record of an export as {"id", "messages"}; None for any other record. Parts left out are noted."""
    record = session_pages.as_ticket(record) or record
    for key in ("data", "content", "result"):  # Drift's pages, cells of JSON around a chat
        inner = parsed_json(record.get(key))
        if isinstance(inner, Mapping) and "annotations" not in record and any(_listed(inner.get(k)) for k in LISTS):
            record = {**{k: v for k, v in record.items() if k != key}, **inner}
    if answer := answer_of(record):
        record = {"id": record.get("ticketId", record.get("id")), "comments": answer}
    record = (
        desks.as_ticket(record)
        or forums.as_ticket(record)
        or call_centres.as_ticket(record)
        or call_centres.as_tree(record)
        or record
    )
    fields.note(TRUNCATED, record.get(forums.LATER, 0))
    if isinstance(record.get("mapping"), Mapping) and "current_node" in record:
        turns = _branch(record, fields)
    elif isinstance(chat := record.get("chat"), Mapping) and _have_roles(chat.get("messages")):
        turns = [{"role": m.get("role"), "content": m.get("content")} for m in chat["messages"]]
    elif record.get("chat_messages") == []:
        turns = []  # Claude's chats that nobody began
    else:
        found = assistants.as_turns(record, fields)
        found = _of_desk(record, fields) if found is None else found
        if found is None:
            return None
        turns = found
    name = next((record[k] for k in ("id", "conversation_id", "uuid") if k in record), None)
    return {"messages": turns} | ({"id": name} if name is not None else {})


def _have_roles(turns: Any) -> bool:
    return isinstance(turns, list) and any(isinstance(turn, Mapping) and "role" in turn for turn in turns)


def answer_of(record: Any) -> list[Record]:
    """The messages of an API's answer on one conversation, which none of them names; [] of other records."""
    for key in ("data", "results", "items"):
        items = record.get(key) if isinstance(record, Mapping) else None
        if isinstance(items, list) and items and all(isinstance(item, Mapping) for item in items):
            found = [usual(item) or _flagged(item) for item in items]
            return items if all(one is not None and not PLACED & one.keys() for one in found) else []
    return []


def _flagged(item: Record) -> Record | None:
    """A message of which a field says with yes or no whether the customer wrote it; None for other records."""
    told = any(isinstance(value, bool) and flagged(str(key), value) for key, value in item.items())
    return item if told and "role" not in item and body_of(item) else None


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
        every = content.get("parts") or ()
        parts = [p for p in every if isinstance(p, str)]
        fields.note("files that came with turns left out", len(every) - len(parts))
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
    lists = ((key, found) for key in LISTS if (found := _listed(record.get(key))))
    items = next((found for key, found in lists if key != "history" or _told_apart(found, record)), None)
    told_of = not {"description", "description_text"}.isdisjoint(record)
    if items is None and told_of and {"requester_id", "subject"} <= record.keys():  # a ticket without its comments
        told = any(plain(str(key)) in NAMES["answer"] for key in record)
        return None if told else [{"role": "user", "content": body_of(record)}]
    if items is None or any("role" in item for item in items):
        return None
    fields.note(SUMMED, sum("summary" in m and not (m.get("content") or m.get("plainText")) for m in items))
    items = _in_order([usual(item) or item for item in items], fields)
    said = [(_side(item, record), item) for item in items]
    if not any(side for side, _ in said):
        return None
    said = _by_who_began(said, fields)
    turns: list[dict[str, str]] = []
    source = record.get("source")
    first = body_of(source) if isinstance(source, Mapping) else body_of(record)
    if first and (not items or body_of(items[0]) != first):
        side = _side(source, record) if isinstance(source, Mapping) else "user"
        turns.append({"role": side or "user", "content": first})
    last: datetime.datetime | None = None
    for side, item in said:
        text, at = words_alone(body_of(item), item, fields.notes), _at(item)
        if text is not None and (role := role_of(side, item, text, fields.notes)) is not None:
            apart = {"parted": "1"} if last and at and at - last > datetime.timedelta(days=THREAD_DAYS) else {}
            turns.append({"role": role, "content": text} | apart)
            last = at or last
    return answered(turns, fields.notes)


def _by_who_began(said: list[tuple[str | None, Record]], fields: Fields) -> list[tuple[str | None, Record]]:
    """Messages whose writers are names alone, with sides: who wrote first is the customer."""
    names = [side for side, _ in said if side and side.startswith(FIRST)]
    if not names:
        return said
    fields.note(
        "messages of people alone: who wrote first is taken for the customer, all others for the team", len(names)
    )
    sides = {name: "user" if name == names[0] else "assistant" for name in names}
    return [(sides.get(side or "", side), item) for side, item in said]


def role_of(side: str | None, item: Record, text: str, notes: Counter[str]) -> str | None:
    """Whose turn a message is; None (counted) where it is none of a dialogue's."""
    if side == NOTE or is_internal(item):
        notes["internal notes left out of tickets"] += 1
    elif not text:
        notes["messages without text left out of tickets"] += 1
    elif side in (None, SYSTEM):
        notes["messages of others (in copy, systems) left out of tickets"] += 1
    elif side == BOT:
        notes["messages of bots taken for the assistant's"] += 1
        return "assistant"
    else:
        return side
    return None


def _at(item: Record) -> datetime.datetime | None:
    """When a message was written, where it says so in the usual forms."""
    value = next((item[k] for k in TIMES if item.get(k)), "")
    if isinstance(value, Mapping):
        value = value.get("iso8601", "")
    if isinstance(value, int | float) or (isinstance(value, str) and value.isdigit() and len(value) > 8):
        seconds = float(value) / (1000 if float(value) > 1e11 else 1)
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC) if 0 < seconds < 1e11 else None
    try:
        at = datetime.datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=datetime.UTC)


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


def answered(
    turns: list[dict[str, str]], notes: Counter[str], speakers: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Turns up to the last answer; all of them where there is none. `speakers`: sides by name."""
    named = speakers or {}
    names = [turn["role"].casefold() for turn in turns]
    sides = [named.get(name) or SIDES.get(name) or named.get("*") for name in names]
    answered = max((i for i, side in enumerate(sides) if side in ("assistant", BOT)), default=-1)
    if 0 <= answered < len(turns) - 1:
        notes["last turns of the user cut off"] += len(turns) - 1 - answered
        return turns[: answered + 1]
    return turns


def with_team(turns: list[dict[str, str]], notes: Counter[str]) -> list[dict[str, str]]:
    """The turns; where all but one name are the customer's, those of that name are the team's."""
    names = {turn["role"] for turn in turns if turn["role"].casefold() not in ROLES}
    if len(names) != 1 or {ROLES.get(turn["role"].casefold()) for turn in turns} != {None, "user"}:
        return turns
    notes[OTHER] += sum(turn["role"] in names for turn in turns)
    return [{**turn, "role": "assistant"} if turn["role"] in names else turn for turn in turns]


def _listed(value: Any) -> list[Record] | None:
    """Messages of a list, or of an object around it (Intercom's conversation_parts, LiveChat's thread)."""
    if isinstance(value, Mapping):
        value = next((value[k] for k in INSIDE if isinstance(value.get(k), list)), None)
    good = isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
    return value if good else None


def _side(item: Record, record: Record) -> str | None:
    """'user' or 'assistant' from any field on a message's author, or as `usual` says; None for other authors."""
    if isinstance(side := item.get("side"), str):
        return side
    channel = item["via"].get("channel") if isinstance(item.get("via"), Mapping) else ""
    if item.get("type") in ("VoiceComment", "system_message") or channel in ("rule", "system"):
        return None
    for key, value in item.items():
        tells = isinstance(value, bool) and (value or "bot" not in str(key).casefold())  # no bot may be an agent
        if tells and (flag := flagged(str(key), value)) is not None:
            return flag
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


def _told_apart(items: list[Record], record: Record) -> bool:
    return any("role" in item or _side(usual(item) or item, record) for item in items)


def _known(kind: str) -> str | None:
    role = SIDES.get(kind.casefold())
    return role if role in ("user", "assistant", BOT) else None


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)


def body_of(item: Record) -> str:
    """A message's text without markup; of HTML and the same on one line the HTML, which shows what is quoted.

    It is the same where the HTML has the first letters of the line.
    """
    found = [item[k] for k in (*BODY, "body_html") if isinstance(item.get(k), str) and item[k].strip()]
    text = found[0] if found else ""
    if "\n" not in text.strip() and not MARKUP.search(text):
        begins = _letters(text)[:BEGINS]
        text = next(
            (other for other in found[1:] if MARKUP.search(other) and begins and begins in _letters(text_of(other))),
            text,
        )
    return plain_text(text)
