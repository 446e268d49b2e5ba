"""Rows with a message each whose columns nobody knows, as `--map conversation=,sender=,message=,time=` names them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

from steersman.data.formats.fields import empty, plain
from steersman.data.formats.shapes import DEEPER, is_internal, is_notice, media_kind, words
from steersman.data.formats.sides import named_side
from steersman.data.formats.turns import ROLES

Record = Mapping[str, Any]
COLUMNS = {"conversation": "conversation_id", "sender": "sender", "message": "text", "time": "timestamp"}
"""What --map calls a column of a message -> its name in the rows that are gathered."""
NOBODY = "(nobody)"
OWN = ("msg_id", "msgid", "message_id", "messageid", "id", "消息id", "消息编号")
"""Names of a message's own id."""
ASKS = re.compile(r"(?:is|was|has|by|from|sent)_?[a-z]|owner$|in$|out$|(?:in|out)(?:bound|coming|going)$")
"""How a field begins, or is called, that is true or false of a message's writer."""
NAMES = ("display_name", "name", "email", "id")
LOST = "messages that name no conversation left out"


def of_messages(mapping: Mapping[str, str]) -> bool:
    """Whether --map says what the columns of messages are. ValueError where it says so of some and lacks others."""
    if not mapping.keys() & {"conversation", "sender"}:
        return False
    if lacking := [role for role in ("conversation", "sender", "message") if role not in mapping]:
        raise ValueError(
            f"--map {', '.join(mapping)}: rows with a message each need conversation, sender and message; "
            f"{' and '.join(lacking)} lacks; such as --map conversation=Ticket,sender=From,message=Text,time=Date"
        )
    return True


def check(mapping: Mapping[str, str], seen: Set[str]) -> None:
    """ValueError where a field that --map names is in no message; `seen`: the names of their fields."""
    for role in COLUMNS:
        for field in mapping.get(role, "").split(",") if role in mapping else ():
            if plain(field) not in seen:
                among = ", ".join(sorted(seen)) or "none"
                raise ValueError(f"--map {role}={field}: no message has such a field; the fields are {among}")


def lacking(value: Any, mapping: Mapping[str, str]) -> str:
    """Why a record is none of the messages that --map describes; '' where it has none of their columns, and may be
    something else, such as a dialogue."""
    there = {plain(str(key)) for key in value} if isinstance(value, Mapping) else set()
    if there.isdisjoint(plain(field) for role in COLUMNS for field in mapping.get(role, "").split(",")):
        return ""
    roles = (
        role for role in ("conversation", "message") if not any(plain(f) in there for f in mapping[role].split(","))
    )
    named = ", ".join(f"{mapping[role]} (--map {role}=)" for role in roles)
    return f"record: no message of these columns: it has no {named}"


def rows_of(
    value: Any, mapping: Mapping[str, str], notes: Counter[str], seen: set[str], speakers: str = ""
) -> list[Record] | None:
    """The messages of a record, by the names that `gathered` knows: itself, and those of its lists; None of others.

    `seen` gathers the names of the messages' fields. `speakers`: what --speakers says.
    """
    if not isinstance(value, Mapping):
        return None
    places = (value, *(inner for inner in value.values() if isinstance(inner, Mapping)))
    lists = (items for place in places for items in place.values() if isinstance(items, list))
    pages = ([item for item in items if isinstance(item, Mapping)] for items in lists)
    items = [item for found in ([value], *pages) if any(_row(item, mapping) for item in found) for item in found]
    if not items:
        seen |= {plain(str(key)) for key in value}
        return None
    seen |= {plain(str(key)) for item in items for key in item}
    found = (_row(item, mapping, named_by(speakers)) for item in items)
    rows = [row for row in found if row and row[COLUMNS["conversation"]]]
    notes[LOST] += len(items) - len(rows)
    return rows


def named_by(speakers: str) -> bool | None:
    """Whether --speakers calls a side true or false; None where it is not given."""
    return bool(re.search(r"(?:^|[,，|])\s*(?:true|false)\s*(?:[,，|]|$)", speakers, re.I)) if speakers else None


def _row(record: Record, mapping: Mapping[str, str], truths: bool | None = None) -> Record | None:
    """A record that has the fields of a message as its row; an internal note says so. `truths`: of `named_by`."""
    keys = {plain(str(key)): key for key in reversed(list(record))}
    named = {
        role: [keys[n] for f in mapping[role].split(",") if (n := plain(f)) in keys]
        for role in COLUMNS
        if role in mapping
    }
    if not named["message"] or not named["conversation"]:
        return None
    cells = {role: _said if role == "message" else _cell for role in named}
    out = {COLUMNS[r]: next((c for f in fields if (c := cells[r](record[f]))), "") for r, fields in named.items()}
    out["sender"] = out["sender"] or next((_yes_or_no(f, record[f], truths) for f in named["sender"]), "")
    writer = next((plain(str(f)) for f in named["sender"] if _cell(record[f])), "")
    if "guest" in writer.split("_"):  # a visitor without an account
        out["sender"] = "customer"
    elif out["sender"] and out["sender"].casefold() not in ROLES:
        side = named_side(record, out["sender"], named["sender"][0])
        out["sender"] = {"user": "customer", "assistant": "agent"}.get(side or "", out["sender"])
    taken = {field for fields in named.values() for field in fields}
    rest = {key: item for key, item in record.items() if key not in taken}
    kind = {"private": "true"} if is_internal(rest) else {"type": "system"} if is_notice(rest) else {}
    kind = kind or ({"type": media} if (media := media_kind(rest)) else {})
    own = {key: item for key, item in rest.items() if plain(str(key)) in OWN}
    return {**out, "sender": out["sender"] or NOBODY, **own, **kind}


def _yes_or_no(field: str, value: Any, truths: bool | None) -> str:
    """ "false" of a field that says whether one side wrote a message (WATI's `owner`, SleekFlow's
    `isSentFromSleekflow`): what --speakers calls so, or, without it, what asks by its name; '' of others, in which it
    says that nobody did."""
    asks = ASKS.match(plain(field)) is not None if truths is None else truths
    return "false" if value is False and asks else ""


def _said(value: Any) -> str:
    """A message's words, also of parts (Comm100: `{"type": "htmlText", "data": {"htmlText": ...}}`)."""
    parts = value if isinstance(value, list) else [value]
    if value and all(isinstance(part, Mapping) for part in parts):
        return words(value, (*DEEPER, "htmltext", "html", "data"))
    return _cell(value)


def _cell(value: Any) -> str:
    """A cell's words: of an object or a pair of id and name the name; '' of False, as which Odoo writes nothing."""
    if isinstance(value, Mapping):
        return next((str(value[k]) for k in NAMES if not empty(value.get(k))), "")
    if isinstance(value, list | tuple):
        return str(value[-1]).strip() if value else ""
    return "" if value is None or value is False else str(value).strip()
