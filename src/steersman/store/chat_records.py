"""Chats and messages as the store returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from steersman.parts import Said


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation's entry in the list of chats. `updated` is an ISO 8601 time, UTC."""

    id: str
    title: str
    system_prompt: str
    created: str
    updated: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How answers are made where that differs from the server's settings."""
    folder: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A node of a chat's tree, with the latest feedback on it.

    `parent_id` is None for a first question. `finish_reason` is None for a user's message, and for an answer of which
    only a part is stored: it is being written, or who wrote it died. `liked` is None where
    nobody reacted or the reaction was taken back, `comment` is what was said with it; `edited` is the latest better
    answer that someone wrote, and `about_edit` says that `liked` is about that one.
    """

    id: str
    conversation_id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    content: str
    policy_version: str
    finish_reason: str | None
    sampling: Mapping[str, Any] | None
    tokens: int | None
    created: str
    liked: bool | None = None
    edited: str | None = None
    comment: str = ""
    about_edit: bool = False
    said: tuple[Said, ...] = ()
    """Content with more than the text in `content`: texts, images, citations."""

    @property
    def left_out(self) -> int:
        """Number of the dialogue's first turns that were left out of the prompt because they did not fit."""
        return int((self.sampling or {}).get("left_out", 0))

    @property
    def blind(self) -> bool:
        """Whether nobody may know yet which model wrote it: it stands beside another answer until somebody chooses."""
        return bool((self.sampling or {}).get("blind"))
