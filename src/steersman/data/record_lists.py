"""What of a JSON value are records: a list's items, lists within one object around a data set, an object's fields."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from steersman.data import formats
from steersman.data.formats import exports, session_pages
from steersman.data.formats.desk_messages import usual
from steersman.data.formats.message_rows import pages, tells
from steersman.data.formats.transcripts import cued
from steersman.data.formats.turn_lists import as_dialogue
from steersman.data.formats.turns import ROLES, TEXT_KEYS

PEEK = 64
"""Fields of an object that are looked at to see whether each is a record."""
_WRAPPERS = """
    data items examples example rows records record conversations dialogs dialogues chats results result entries
    samples instances questions qas qa pairs faq faqs tickets issues threads train training validation valid val dev
    test eval documents prompts train_data test_data list content value values messages_list 数据 问答 问答对
    ticket payload _results im_logs ticket_events audits logs 对话 列表
"""
WRAPPERS = frozenset(_WRAPPERS.split())
"""Fields whose value, in an object around a whole data set, is the list of records."""
OF_DIALOGUES = frozenset(("conversation", "conversations", "dialogs", "dialogues", "chats", "threads", "turns", "对话"))
"""Fields that contain either the turns of one dialogue or several dialogues."""
_SAID = """
    question prompt instruction query input text answer response output completion messages chosen rejected
    system
"""
SAID = frozenset(_SAID.split())
"""Fields of a record: an object with one of them is not a wrapper."""


def is_turn(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    if {"role", "content"} <= value.keys() or {"from", "value"} <= value.keys() or {"role", "parts"} <= value.keys():
        return True
    alone = str(value.get("role")).casefold() in ROLES and not tells(value)
    return alone and any(isinstance(value.get(key), str) for key in TEXT_KEYS)


def is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_turn, value))


def dialogues(values: list[Any]) -> list[Any]:
    """Records in a list: one dialogue if items are turns, a dialogue per item if items are lists, else the items."""
    if not values:
        raise ValueError("the list is empty; expected at least one record")
    return [{"messages": values}] if is_said(values) else [dialogue(value) for value in values]


def is_said(value: Any) -> bool:
    """Whether a list is one dialogue: turns, or texts that take turns."""
    texts = isinstance(value, list) and len(value) > 1 and all(isinstance(text, str) for text in value)
    return (texts and not all(map(cued, value))) or is_turns(value)


def dialogue(value: Any) -> Any:
    """A record of a list's item that is a dialogue: as turns, or as one text with its speakers; others unchanged."""
    if isinstance(value, str):
        return {"text": value} if cued(value) else value
    return {"messages": value} if is_said(value) else value


def wrapped(value: Any, depth: int = 0) -> dict[str, list[Any]]:
    """Field -> list of records in an object around a data set; {} where the object is itself a record."""
    if isinstance(value, Mapping) and (named := pages(value)):
        return named
    if not depth and exports.answer_of(value):
        return {}
    if not depth and isinstance(value, Mapping) and session_pages.as_ticket(value) is not None:
        return {}
    if not isinstance(value, Mapping) or SAID & value.keys() or is_turn(value) or depth > 2:
        return {}
    found: dict[str, list[Any]] = {}
    for name, item in value.items():
        if isinstance(item, list) and item and _is_record(item[0], str(name)):
            found[str(name)] = item
        elif isinstance(item, Mapping):
            found |= {f"{name}.{inside}": rows for inside, rows in wrapped(item, depth + 1).items()}
    known = {name: rows for name, rows in found.items() if name.rpartition(".")[2].lower() in WRAPPERS}
    if not known and not depth and (keyed := _keyed(value)):
        return {"": keyed}
    if known or len(found) != 1 or _known(value):
        return known
    (rows,) = found.values()
    first = rows[0]
    if not isinstance(first, Mapping) or exports.is_export(first) or usual(first) is not None or tells(first):
        return found
    return {} if formats.detect(first) == "text" else found


def _keyed(value: Mapping[str, Any]) -> list[Any]:
    """The records of an object that holds each in a field of its own, with this field as their id; [] for others."""
    named = all(isinstance(item, Mapping) and len(item) > 1 for item in value.values())
    if not value or not named or (len(value) == 1 and str(next(iter(value))).casefold() in WRAPPERS):
        return []
    first = itertools.islice(value.values(), PEEK)
    return [{"id": name, **item} for name, item in value.items()] if all(map(_known, first)) else []


def _is_record(item: Any, name: str) -> bool:
    """Whether an item of the list `name` is a separate record, not a turn of a dialogue."""
    if is_turns(item):
        return True
    if not isinstance(item, Mapping) or is_turn(item):
        return False
    if name.lower() in OF_DIALOGUES:
        return any(is_turns(inside) for inside in item.values()) or exports.is_export(item)
    return _known(item)


def _known(value: Mapping[str, Any]) -> bool:
    try:
        known = exports.is_export(value) or usual(value) is not None or tells(value)
        return known or as_dialogue(value, formats.as_fields(value)) is not None or bool(formats.detect(value))
    except ValueError:
        return False
