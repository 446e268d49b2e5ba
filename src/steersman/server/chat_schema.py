"""Requests of the chat page, and the JSON of chats and messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.server.request_parts import ImagePart, TextPart
from steersman.server.request_text import WHOLE, Said, Text
from steersman.store import Chat, ChatMessage

_TITLE, _COMMENT, _PARTS = 200, 10_000, 64
"""Most characters (the store's limits), and most parts of a question."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewConversation(_Body):
    title: Annotated[Text, Field(max_length=_TITLE)] = ""


class Title(_Body):
    title: Annotated[Said, Field(max_length=_TITLE)]


QuestionPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Wanted(_Body):
    """How a question is to be answered."""

    shorten: StrictBool = False
    """Leave out the earliest turns where the dialogue has outgrown the model's context."""


class Question(Wanted):
    content: Said | Annotated[list[QuestionPart], Field(min_length=1, max_length=_PARTS, fail_fast=True)]
    """Text, or a list of texts and images (`data:` URLs)."""
    parent_id: Text | None = None
    known: Annotated[StrictInt, Field(ge=0, le=1_000_000), WHOLE] | None = None
    """Number of questions after `parent_id` that the page knows; 409 where the store has more. None: not checked."""


class Reaction(_Body):
    kind: Literal["like", "dislike", "edit", "flag", "clear", "withdraw"]
    edited: Text | None = None
    comment: Annotated[Text, Field(max_length=_COMMENT)] = ""


def chat_json(chat: Chat) -> dict[str, Any]:
    return {"id": chat.id, "title": chat.title, "updated": chat.updated}


def message_json(message: ChatMessage, *, writing: bool = False) -> dict[str, Any]:
    """`writing`: the answer is being written. An incomplete answer that is not broke off when its server ended.

    `parts` is present if the content is more than text; an image's address is relative to /api/.
    """
    broken_off = message.role == "assistant" and not writing
    more = {"parts": [part.to_json() for part in message.said]} if message.said else {}
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": message.content,
        "policy_version": message.policy_version or None,
        "finish_reason": message.finish_reason or ("cancelled" if broken_off else None),
        "left_out": message.left_out,
        "created": message.created,
        "feedback": feedback_json(message),
    } | more


def feedback_json(message: ChatMessage) -> dict[str, Any]:
    """`about_edit`: the like or dislike is on the text `edited`, not on the model's."""
    return {
        "liked": message.liked,
        "edited": message.edited,
        "comment": message.comment,
        "about_edit": message.about_edit,
    }
