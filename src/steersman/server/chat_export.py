"""A chat as a file: Markdown of one branch for people, JSON of everything for programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from steersman.parts import Citation, Image
from steersman.server.chat_schema import chat_json, message_json
from steersman.store import Chat, ChatMessage

WORDS = {"en": ("Instructions", "You", "Assistant", "Sources"), "zh": ("系统提示", "您", "助手", "来源")}


def branch(messages: Sequence[ChatMessage], last: str | None) -> list[ChatMessage]:
    """The messages from the first down to `last`, by default the newest one. KeyError where there is none such."""
    nodes = {message.id: message for message in messages}
    at = last if last is not None else messages[-1].id if messages else None
    path: list[ChatMessage] = []
    while at is not None:
        path.append(nodes[at])
        at = nodes[at].parent_id
    return path[::-1]


def markdown(chat: Chat, path: Sequence[ChatMessage], language: str) -> str:
    """The dialogue as it is shown: what a person wrote in place of an answer stands for it."""
    instructions, you, assistant, sources = WORDS.get(language, WORDS["en"])
    lines = [f"# {_line(chat.title)}", ""]
    if chat.system_prompt:
        lines += [f"## {instructions}", "", chat.system_prompt, ""]
    for message in path:
        who = you if message.role == "user" else assistant
        version = f" ({_line(message.policy_version)})" if message.policy_version and not message.blind else ""
        lines += [f"## {who}{version}", "", message.edited or message.content, ""]
        lines += [f"![]({part.path})" for part in message.said if isinstance(part, Image)]
        cited = [part for part in message.said if isinstance(part, Citation)]
        if cited:
            lines += [
                f"{sources}:",
                "",
                *(f"{i}. [{_line(c.title or c.url)}](<{c.url}>)" for i, c in enumerate(cited, 1)),
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def whole(chat: Chat, messages: Sequence[ChatMessage]) -> dict[str, Any]:
    """Every message of the tree, alternatives included."""
    return chat_json(chat) | {
        "created": chat.created,
        "system_prompt": chat.system_prompt,
        "settings": dict(chat.settings),
        "messages": [message_json(message) | {"sampling": _sampling(message)} for message in messages],
    }


def _sampling(message: ChatMessage) -> dict[str, Any] | None:
    return None if message.sampling is None or message.blind else dict(message.sampling)


def disposition(title: str, ending: str) -> str:
    """A header that names the file after the chat, in ASCII for old clients and in UTF-8 for the others."""
    name = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', " ", title).strip(" .")[:80] or "chat"
    plain = re.sub(r"[^A-Za-z0-9 ._-]+", "_", name)
    return f"attachment; filename=\"{plain}.{ending}\"; filename*=UTF-8''{quote(name)}.{ending}"


def _line(text: str) -> str:
    return " ".join(text.split())
