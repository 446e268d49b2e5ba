"""Answers of an API on one conversation that say beside or inside its messages who is who -> a ticket with `comments`.

Lingyang (its session names the member and the servicer), Bitrix24 (its people say who comes through a connector),
51ima (the terminal that a message came from), Yuju (messages as JSON that says whether the customer wrote). Whom
nothing names keeps the name, which --speakers can say more of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.desk_sides import ANSWER, BOT, SYSTEM, USER
from steersman.data.formats.fields import maps, parsed_json
from steersman.data.formats.shapes import named, words

Record = Mapping[str, Any]
TERMINALS = {"user": USER, "kf": ANSWER, "robot": BOT}
"""What a terminal's name begins with -> who writes there."""


def as_ticket(record: Record) -> Record | None:
    """The ticket in the usual form; None for records of other kinds."""
    result = parsed_json(record.get("result"))
    inner = parsed_json(record.get("data", result if isinstance(result, Mapping) else record))
    if isinstance(inner, Mapping):
        inner = inner["data"] if isinstance(inner.get("data"), Mapping) else inner
        if (found := _session(inner) or _terminals(inner) or _portal(inner)) is not None:
            return found
    return _customers(record)


def _session(page: Record) -> Record | None:
    info, said = page.get("sessionInfo"), maps(page.get("messageList"))
    robot = maps(page.get("robotMessageList"))
    if not isinstance(info, Mapping) or not (said or robot):
        return None
    sides = {str(info[k]): USER for k in ("memberId", "memberName") if info.get(k)}
    staff = {str(info[k]): ANSWER for k in ("servicerId", "servicerName") if info.get(k)}
    sides = {name: side for name, side in (sides | staff).items() if not (name in sides and name in staff)}

    def item(m: Record, other: str) -> Record:
        names = [str(m.get(k)) for k in ("senderId", "senderName") if m.get(k)]
        side = next((sides[n] for n in names if n in sides), other or names[-1] if names else "?")
        return {"side": side, "body": words(m.get("content"), ("text", "content")), "created_at": m.get("gmtCreated")}

    items = [*(item(m, BOT) for m in robot), *(item(m, "") for m in said)]
    own = next((str(m["sid"]) for m in (*said, *robot) if m.get("sid")), None)
    return {"id": own, "comments": items}


def _terminals(page: Record) -> Record | None:
    items = maps(page.get("list"))
    if not items or not all({"fromTerminal", "content", "contentType"} <= m.keys() for m in items):
        return None

    def side(m: Record) -> str:
        terminal = str(m["fromTerminal"]).casefold()
        return next((of for begins, of in TERMINALS.items() if terminal.startswith(begins)), str(m.get("msgFrom")))

    said = [
        {"side": side(m), "body": m["content"] if m["contentType"] == "text" else "", "created_at": m.get("time")}
        for m in items
    ]
    return {"comments": said}


def _portal(page: Record) -> Record | None:
    """Bitrix24: messages and people in lists, or by their ids; customers come through a connector, 0 is the system."""
    lists = (page.get("message", page.get("messages")), page.get("users"))
    said, people = (maps([*found.values()] if isinstance(found, Mapping) else found) for found in lists)
    known = [(str(p.get("id")), p) for p in people if "connector" in p]
    sides = {who: USER if p["connector"] else BOT if p.get("bot") else ANSWER for who, p in known}
    if not said or not sides:
        return None

    def item(m: Record) -> Record:
        who = str(m.get("senderid", m.get("author_id")))
        side = SYSTEM if who == "0" else sides.get(who, who)
        return {"side": side, "body": _without_marks(str(m.get("text") or "")), "created_at": m.get("date")}

    return {"id": page.get("sessionId", page.get("chat_id")), "comments": [item(m) for m in said]}


BB_CODE = re.compile(r"\[(/?)(b|i|u|s|url|user|chat|quote|code|size|color)(?:=([^\[\]\n]{0,2000}))?\]", re.I)


def _without_marks(text: str) -> str:
    """A text without the marks that come in pairs; where a link leads stands behind its words."""
    opened: dict[str, list[re.Match[str]]] = {}
    instead: dict[int, str] = {}
    for mark in BB_CODE.finditer(text):
        begun = opened.setdefault(mark[2].lower(), [])
        if not mark[1]:
            begun.append(mark)
        elif begun:
            begin = begun.pop()
            to = begin[3] if mark[2].lower() == "url" else ""
            said = not to or to == text[begin.end() : mark.start()].strip()
            instead |= {begin.start(): "", mark.start(): "" if said else f" ({to})"}
    return BB_CODE.sub(lambda mark: instead.get(mark.start(), mark[0]), text)


def _customers(record: Record) -> Record | None:
    found = [parsed_json(m.get("msg")) for m in maps(record.get("msg"))]
    items = [m for m in found if isinstance(m, Mapping) and {"conversationID", "payload", "from"} <= m.keys()]
    if not items or len(items) < len(found):
        return None
    if len(names := {str(m["conversationID"]) for m in items}) > 1:
        raise ValueError(f"msg: expected the messages of one conversation, found those of {len(names)}")

    def item(m: Record) -> Record:
        payload = m["payload"] if isinstance(m["payload"], Mapping) else {}
        told = parsed_json(payload.get("extension"))
        asks = named(told).get("iscustomer") if isinstance(told, Mapping) else None
        side = (USER if asks else ANSWER) if isinstance(asks, bool) else str(m.get("nick") or m["from"])
        return {"side": side, "body": words(payload, ("data", "text", "content")), "created_at": m.get("time")}

    return {"id": next(iter(names)), "comments": [item(m) for m in items]}
