"""Messages and exchanges of systems that no form names, known by their shape alone.

A message: who spoke is in an object (`author.role`, `from.role`), in the name of an event or in a direction, and the
words lie deeper (`payload.text`, `content.body`). An exchange: a request and its response in one row, each an object
or JSON with the words somewhere in it (logs of bots: Lex, Dialogflow CX, Watson). Why so: decision 106 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.desk_sides import ANSWER, BOT, NOTE, SYSTEM, USER, Record
from steersman.data.formats.fields import parsed_json, plain
from steersman.data.formats.sides import flagged, named_side
from steersman.data.formats.turns import ROLES
from steersman.data.notices import MEDIA, TAKEN_BACK, THING, without_edges

SIDES = {
    **dict.fromkeys(("end_user", "enduser", "appuser", "incoming", "inbound", "in", "received"), USER),
    **dict.fromkeys(("human_agent", "business", "outgoing", "outbound", "out", "sent"), ANSWER),
    **dict.fromkeys(("mall_cs", "mall", "merchant", "shop", "seller", "cs", "waiter", "servicer"), ANSWER),
    **dict.fromkeys(("bot", "ai_agent", "virtual_agent", "appmaker", "robot", "app"), BOT),
}
"""Roles, types and directions beside those of `turns.ROLES`."""
PEOPLE = ("author", "sender", "from", "actor")
_GROUPS = """
    conversationid conversation conversationname channelurl sessionid session csid dialogid threadid ticketid chatid
    roomid contactid contact
"""
GROUPS = tuple(_GROUPS.split())
LOGGED = (*GROUPS, "senderid")
"""Of events and exchanges, where the sender is the user whom all of them are with; of a message its author."""
_TIMES = """
    createdat created createdtime timestamp time received receivedat sentat senton datetime date requesttime
    requesttimestamp sent
"""
TIMES = tuple(_TIMES.split())
DIRECT = ("text", "body", "content", "message", "msg", "html")
WITHIN = ("payload", "content", "message", "body", "data", "messagedata")
DEEPER = (
    *("text", "body", "message", "content", "msg", "bodies", "payload", "parts", "query", "label", "slate"),
    *("children", "value"),
)
ASKED = (
    *("inputtranscript", "text", "query", "utterance", "transcript", "message", "input", "queryinput", "queryresult"),
    *("prompt", "question"),
)
SAID = (
    *("generic", "responsemessages", "fulfillmentmessages", "messages", "fulfillmenttext", "output", "queryresult"),
    *("text", "message", "content", "title", "speech", "answer"),
)
EXCHANGES = (("inputtranscript", "messages"), ("request", "response"), ("queryinput", "queryresult"))
BUTTON = re.compile(r"/\w+\s*(?:\{.*\})?", re.S)
"""Pattern of what a button of Rasa sends in place of words."""
TOLD = ("trace", "event", "typing", "note")
"""Types of what is no message, or none to the other side."""
NOTES = re.compile(
    r"(?:is_?)?(?:agent_?|internal_?|staff_?|private_?)?note|(?:is_?)?internal(?:_?(?:note|comment|message))?|intern(?:e_notiz)?|"
    r"是否内部(?:消息|备注)?"
)
"""Pattern of fields that say with yes that a message is for colleagues alone."""
INTERNAL = frozenset(
    (
        *("internal note", "internal comment", "private note", "private comment", "work note", "agent note", "whisper"),
        *("interne notiz", "interner kommentar", "note interne", "nota interna"),
        *("内部备注", "内部消息", "内部备忘", "内部评论", "客服备注", "内部沟通"),
    )
)
"""What a field of a message's kind says of one for colleagues alone."""
KIND = re.compile(
    r"(?:message|msg|media|event|content|entry|comment|control|resource)?_?(?:type|kind)|art|typ|nachrichtentyp|"
    r"(?:消息)?类型"
)
"""Pattern of fields of a message's kind."""
NOTICES = frozenset(
    (
        *("notification", "system", "activity", "event", "auto_reply", "auto-reply", "auto reply", "automatic reply"),
        *("autoresponder", "auto_comment", "system message", "automatische antwort", "systemnachricht"),
        "systemmeldung",
        *("自动回复", "系统消息", "系统通知", "系统", "撤回", "撤回消息", "消息撤回", "红包", "转账"),
    )
)
"""Kinds of messages that nobody wrote."""
PICTURE = re.compile(r"data:[\w/+.-]+;base64,[\w+/=-]*")
FILE = re.compile(r"\S.{0,120}\.\w{2,5}|https?://\S+")
"""Patterns of a line that is a picture, and of one that is the name of a file or an address."""
PLAIN = re.compile(r"[\W_]")
DEEP = 6


def named(record: Record) -> dict[str, Any]:
    """The fields by their names in small letters without '_' and spaces."""
    return {PLAIN.sub("", str(key)).casefold(): value for key, value in record.items()}


def message(record: Record) -> Record | None:
    """{"side", "body", "created_at", "conversation_id"} of a message whose author or words lie deeper; else None."""
    opened = _opened(record)
    m = named(opened)
    event = m.get("event")
    person: Record = next((m[k] for k in PEOPLE if isinstance(m.get(k), Mapping)), {})
    deeper = any(isinstance(m.get(k), Mapping | list) for k in WITHIN)
    logged = "senderid" in m and not any(isinstance(m.get(k), str) for k in (*PEOPLE, "direction"))
    if isinstance(event, str) and (logged or (event in ("user", "bot") and "text" in m)):
        side = {"user": USER, "bot": BOT, "agent": ANSWER}.get(event, SYSTEM)
    elif str(m.get("format")) in ("request", "trace", "launch") and deeper:
        side = USER if m["format"] == "request" else BOT if m.get("type") in ("text", "speak") else SYSTEM
    elif ("role" in person or deeper or str(person.get("type")).casefold() in SIDES) and (role := _role(person)):
        side = SYSTEM if str(m.get("type")).casefold() in TOLD else role
    elif deeper:
        side = _side(m.get("direction")) or next((f for k, v in record.items() if (f := flagged(str(k), v))), "")
        side = side or (isinstance(m.get("sender"), str) and named_side(record, m["sender"], "sender")) or ""
    else:
        return None
    if not side:
        return None
    text = next((t for k in (*DIRECT, *WITHIN) if (t := words(m.get(k), DEEPER))), "")
    said = "" if event and BUTTON.fullmatch(text) else text
    side = NOTE if is_internal(record) or is_internal(opened) else side
    return _placed(side, said, m, LOGGED if isinstance(event, str) else GROUPS)


def _opened(record: Record) -> Record:
    """The record with what lies in a field of JSON (a cell of a table, a line of a log) beside its other fields."""
    data = record.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("conversation"), Mapping):  # an event, as its receiver kept it
        return {**{k: v for k, v in record.items() if k != "data"}, **data}
    if isinstance(inner := record.get("attributes"), Mapping) and "direction" in inner:  # JSON:API's
        return {**{k: v for k, v in record.items() if k != "attributes"}, **inner}
    for key, value in record.items():
        inner = parsed_json(value) if PLAIN.sub("", str(key)).casefold() in WITHIN else None
        if isinstance(value, str) and isinstance(inner, Mapping):
            return {**inner, **{k: v for k, v in record.items() if k != key}}
    return record


def is_internal(item: Record) -> bool:
    """Whether a message was for colleagues alone."""
    marks = {plain(str(key)): str(value).strip().casefold() for key, value in item.items()}
    no, yes = ("false", "0", "no"), ("true", "1", "yes")
    hidden = marks.get("public") in no or marks.get("is_public") in no or marks.get("private") in yes
    hidden = hidden or marks.get("part_type") == "note" or marks.get("visibility") in ("agents", "private", "internal")
    hidden = hidden or marks.get("is_private") in yes or marks.get("internal") in yes
    hidden = hidden or any(isinstance(of, Mapping) and _is_note(of) for of in item.values())
    told = (*yes, "ja", "oui", "sí", "sim", "是", "internal", "private", "intern", "内部")
    return hidden or any((v in told and NOTES.fullmatch(k)) or v in INTERNAL for k, v in marks.items())


def _is_note(of: Record) -> bool:
    """Whether an object of a message (what it was made of, its channel) is of the kind of a note."""
    kinds = (str(value).casefold() for key, value in of.items() if KIND.fullmatch(plain(str(key))))
    return any(kind == "note" or kind in INTERNAL for kind in kinds)


def is_notice(item: Record) -> bool:
    """Whether a message is of a kind that nobody wrote."""
    kinds = (value for key, value in item.items() if KIND.fullmatch(plain(str(key))))
    return any(isinstance(kind, str) and kind.strip().casefold() in NOTICES for kind in kinds)


def media_kind(item: Record) -> str:
    """What a field of a message's kind calls media, such as 图片; '' where none does."""
    kinds = (value for key, value in item.items() if isinstance(value, str) and KIND.fullmatch(plain(str(key))))
    return next((kind for kind in kinds if THING.fullmatch(kind.strip())), "")


def words_alone(text: str, item: Record, notes: Counter[str]) -> str | None:
    """A message's words without what stands there for media: placeholders, files and addresses alone, pictures as
    base64. None where nothing else was in it, or where it was taken back. Each is counted."""
    if TAKEN_BACK.fullmatch(text.strip()):
        notes["messages taken back, and gestures, left out"] += 1
        return None
    media = media_kind(item) != ""
    lines = text.split("\n")
    bare = [without_edges(line) for line in lines if not _stands_for_media(line.strip(), media)]
    kept = "\n".join(line for line, _ in bare).strip()
    if text.strip() and not kept:
        notes["messages of an image, voice or a file alone left out"] += 1
        return None
    found = len(lines) - 1 - kept.count("\n") if kept != text.strip() else 0
    found += sum(n for _, n in bare)
    notes["placeholders of images, voice and the like left out"] += found
    return kept if found else text


def _stands_for_media(line: str, media: bool) -> bool:
    return bool(line) and bool(MEDIA.fullmatch(line) or PICTURE.fullmatch(line) or (media and FILE.fullmatch(line)))


def _placed(side: str, text: str, m: Record, groups: tuple[str, ...]) -> Record:
    at = next((m[k] for k in TIMES if m.get(k) and m[k] is not True), None)
    at = int(at) if isinstance(at, float) and at > 1e9 else at
    group = _group(m, groups)
    return {"side": side, "body": text, "created_at": at} | ({} if group is None else {"conversation_id": group})


def _group(m: Record, groups: tuple[str, ...]) -> str | None:
    """The conversation that a record names, which may be number 0."""
    contact = isinstance(m.get("contact"), Mapping) and "channel" in m and isinstance(m.get("direction"), str)
    groups = groups if contact else tuple(k for k in groups if k != "contact")
    named = (m[k].get("id", m[k].get("csid")) if isinstance(m.get(k), Mapping) else m.get(k) for k in groups)
    return next((str(name) for name in named if isinstance(name, str | int) and name != ""), None)


def _role(person: Record) -> str:
    """The side of a person's object by its role, which the Bot Framework numbers, or by its type."""
    role = person.get("role")
    if type(role) is int:
        return {0: BOT, 1: USER}.get(role, "")
    return _side(role) or _side(person.get("type")) or _side(person.get("sender_type"))


def _side(value: Any) -> str:
    name = str(value).strip().casefold() if isinstance(value, str) else ""
    found = SIDES.get(name) or ROLES.get(name, "")
    return found if found in (USER, ANSWER, BOT, SYSTEM) else ""


def words(value: Any, keys: tuple[str, ...], depth: int = 0) -> str:
    """The words somewhere in a value: of an object its likeliest field, of a list all items'."""
    value = parsed_json(value)
    if isinstance(value, str) or depth > DEEP:
        return value.strip() if isinstance(value, str) else ""
    if isinstance(value, Mapping):
        fields = named(value)
        return next((text for k in keys if k in fields and (text := words(fields[k], keys, depth + 1))), "")
    return "\n".join(filter(None, (words(v, keys, depth + 1) for v in value))) if isinstance(value, list) else ""


def exchange(record: Any) -> list[Record] | None:
    """The question and the answer of a row of a bot's log as messages of their session; None for other records."""
    if not isinstance(record, Mapping):
        return None
    m = named(_opened(record))
    pair = next(((a, s) for a, s in EXCHANGES if a in m and s in m), None)
    if pair is None or _group(m, LOGGED) is None:
        return None
    asked, said = (parsed_json(m[k]) for k in pair)
    if not isinstance(said, Mapping | list) or (isinstance(asked, Mapping) and "messages" in asked):
        return None
    if isinstance(said, list) and any(isinstance(one, str) for one in said):
        return None  # several answers to choose from
    if pair == ("request", "response") and isinstance(asked, str) and isinstance(m[pair[1]], str):
        return None  # JSON that somebody asked for
    question, answer = words(asked, ASKED), words(said, SAID)
    turns = (USER, question), (BOT, answer)
    return [_placed(side, text, m, LOGGED) for side, text in turns] if question or answer else None
