"""Turns as they are learned: empty ones and what precedes the first question left out, turns of one speaker joined."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.data.formats.fields import Fields
from steersman.parts import joined
from steersman.types import Message

HAN = re.compile("[\u4e00-\u9fff]")
APART = re.compile(r"(?<=[\u4e00-\u9fff，。！？、；：]) (?=[\u4e00-\u9fff，。！？、；：])")
"""Pattern of a space between Chinese words."""
LEAST_HAN, OFTEN_APART = 8, 0.3
"""Characters, and spaces for each, from which on a dialogue's words stand apart."""


def settled(turns: Sequence[Message], field: str, fields: Fields) -> list[Message]:
    """Turns corrected for training, each change noted: empty ones left out, what the assistant says before anybody
    asked left out, turns of one speaker in a row joined, results of tools named after the calls."""
    if _words_apart(turns):
        fields.note("dialogues whose Chinese words stood apart: spaces between them taken out")
        turns = [m.mapped(lambda text: APART.sub("", text)) for m in turns]
    kept = [m for i, m in enumerate(turns) if _says(m) or i == len(turns) - 1]
    fields.note("empty turns left out", len(turns) - len(kept))
    head = [m for m in kept[: _first(kept)] if m.role == "system"]
    fields.note("turns before the first question left out", _first(kept) - len(head))
    rest = kept[_first(kept) :]
    if not rest:
        if not any(map(_says, turns)):
            raise ValueError(f"{field}: expected a question, got nothing there and nothing in the answer")
        who = kept[len(head)].role if len(kept) > len(head) else ""
        want = f"{field}[{len(head)}]: expected the user's turn, got {who}" if who else ""
        raise ValueError(want or f"{field}: expected a user turn after the system message")
    out: list[Message] = []
    for message in [*head, *rest]:
        joined = _join(out[-1], message) if out else None
        if joined is None:
            out.append(message)
        else:
            out[-1] = joined
            fields.note("turns of one speaker in a row joined")
    return _named(out)


def _words_apart(turns: Sequence[Message]) -> bool:
    """Whether Chinese is written word by word with spaces between, as public sets of dialogues have it."""
    said = [m.text for m in turns if m.role in ("user", "assistant")]
    if any(len(HAN.findall(text)) >= LEAST_HAN and not APART.search(text) for text in said):
        return False  # one turn alone: a sentence cut into words on demand
    text = "\n".join(said)
    han = len(HAN.findall(text))
    return han >= LEAST_HAN and len(APART.findall(text)) >= OFTEN_APART * han


def _says(message: Message) -> bool:
    return bool(message.text.strip() or message.images or message.tool_calls)


def _first(turns: Sequence[Message]) -> int:
    """Index of the first turn of the user; all turns where there is none."""
    return next((i for i, m in enumerate(turns) if m.role == "user"), len(turns))


def _join(before: Message, after: Message) -> Message | None:
    """Two turns of one speaker as one, or None where they must stay two."""
    if before.role != after.role or before.role == "tool" or before.learn != after.learn:
        return None
    if before.tool_calls and (after.text.strip() or after.images):
        return None  # words after a call must not move before it
    first, second = (m.said if m.text.strip() else m.images for m in (before, after))
    said = joined(first, second, "\n\n")
    thoughts = [m.thinking for m in (before, after) if m.thinking]
    calls = (*before.tool_calls, *after.tool_calls)
    return Message(before.role, said, before.learn, "\n\n".join(thoughts), calls)


def _named(turns: list[Message]) -> list[Message]:
    """Tools' turns that name neither call nor tool get the name (and id, if any) of the calls before them, in turn."""
    waiting: list[Mapping[str, Any]] = []
    out = []
    for m in turns:
        if m.tool_calls:
            waiting = list(m.tool_calls)
        elif m.role == "tool" and waiting:
            call = waiting.pop(0)
            if not (m.name or m.tool_call_id):
                name = str(call.get("function", {}).get("name", ""))
                m = Message("tool", m.said, tool_call_id=str(call.get("id") or ""), name=name)
        out.append(m)
    return out
