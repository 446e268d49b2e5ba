"""Who speaks in a message of a help desk: the words for each side, and how flags and inner JSON are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.turns import ROLES

Record = Mapping[str, Any]
Said = tuple[str, Any, Any, Any]
"""Side, text, time and conversation of a message."""
USER, ANSWER, BOT, NOTE, SYSTEM = "user", "assistant", "bot", "note", "system"
OF_FILE = "of_file"
"""Beside a message of a system that exports a file a chat."""
FIRST = "by "
"""Before the name of an author of whom nothing says on which side: who speaks first is the customer."""
_SIDES = {
    USER: "customer client consumer visitor contact v user guest enduser end-user external 0 incoming inbound "
    "访客 客户 用户 会员 买家",
    ANSWER: "agent user_agent operator admin staff business a 2 outgoing outbound internal kefu "
    "客服 人工客服 坐席 卖家",
    BOT: "robot bot agentbot agent_bot agentbot 1 机器人 智能客服",
    SYSTEM: "system s sys activity template event trigger 系统 系统消息",
}
SIDES = {name: side for side, names in _SIDES.items() for name in names.split()}


def side_of(value: Any) -> str:
    name = str(value).strip().casefold()
    role = ROLES.get(name)
    return SIDES.get(name) or (role if role in (USER, ANSWER) else SYSTEM)


def is_side(value: Any) -> bool:
    name = str(value).strip().casefold()
    return name in SIDES or name in ROLES


def yes(value: Any) -> bool:
    return str(value).strip().casefold() in ("true", "1", "yes", "1.0", "t")


def of(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def inner(value: Any) -> Any:
    """The words of a message that is itself JSON; '' where it has none (pictures, cards)."""
    text = str(value or "").strip()
    if not (text.startswith("{") and text.endswith("}")):
        return value
    try:
        inside = json.loads(text)
    except ValueError:
        return value
    data = inside.get("data", inside)
    found = [data.get(name) for name in ("content", "text", "label")] if isinstance(data, Mapping) else [data]
    return next((words for words in found if isinstance(words, str)), "")
