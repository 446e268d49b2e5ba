"""What the chat page sends, and chats and messages as it gets them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.server.request_parts import ImagePart, TextPart
from steersman.server.request_text import WHOLE, Said, Text
from steersman.store import Chat, ChatMessage

_TITLE, _COMMENT, _PARTS = 200, 10_000, 64
"""Characters, the store's limits; and parts of a question."""


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
    """Words, or words and images as `data:` URLs."""
    parent_id: Text | None = None
    known: Annotated[StrictInt, Field(ge=0, le=1_000_000), WHOLE] | None = None
    """How many questions the page knows after `parent_id`; refused (409) where there are others. None: not checked."""


class Reaction(_Body):
    kind: Literal["like", "dislike", "edit", "clear", "withdraw"]
    edited: Text | None = None
    comment: Annotated[Text, Field(max_length=_COMMENT)] = ""


def chat_json(chat: Chat) -> dict[str, Any]:
    return {"id": chat.id, "title": chat.title, "updated": chat.updated}


def message_json(message: ChatMessage, *, writing: bool = False) -> dict[str, Any]:
    """`writing`: the answer is under way; one that is neither that nor whole broke off when its server ended.

    `parts` is there where something beside words is said; an image's address is relative to /api/.
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
    """`about_edit`: what was liked or disliked is the text `edited`, not the model's."""
    return {
        "liked": message.liked,
        "edited": message.edited,
        "comment": message.comment,
        "about_edit": message.about_edit,
    }
