"""What the chat page sends, and chats and messages as it gets them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.server.request_text import WHOLE, Said, Text
from steersman.store import Chat, ChatMessage

_TITLE, _COMMENT = 200, 10_000
"""Characters; the store's limits."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewConversation(_Body):
    title: Annotated[Text, Field(max_length=_TITLE)] = ""


class Title(_Body):
    title: Annotated[Said, Field(max_length=_TITLE)]


class Wanted(_Body):
    """How a question is to be answered."""

    shorten: StrictBool = False
    """Leave out the earliest turns where the dialogue has outgrown the model's context."""


class Question(Wanted):
    content: Said
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
    """`writing`: the answer is under way; one that is neither that nor whole broke off when its server ended."""
    broken_off = message.role == "assistant" and not writing
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
    }


def feedback_json(message: ChatMessage) -> dict[str, Any]:
    """`about_edit`: what was liked or disliked is the text `edited`, not the model's."""
    return {
        "liked": message.liked,
        "edited": message.edited,
        "comment": message.comment,
        "about_edit": message.about_edit,
    }
