"""Requests of the chat page, and the JSON of chats and messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.server.openai_schema import MOST_STOPS
from steersman.server.request_parts import ImagePart, TextPart
from steersman.server.request_text import WHOLE, Number, Said, Text
from steersman.store import Chat, ChatMessage
from steersman.store.kept_chats import FOLDER, SYSTEM

_TITLE, _COMMENT, _PARTS = 200, 10_000, 64
"""Most characters (the store's limits), and most parts of a question."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


Stop = Annotated[Text, Field(min_length=1, max_length=100)]


class Settings(_Body):
    """All settings of a chat that differ from the server's; null and what is missing are the server's."""

    model: Annotated[Text, Field(max_length=200)] | None = None
    """A name of /v1/models; null: the promoted model, or a canary's for its share of chats."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=1_000_000), WHOLE] | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31), WHOLE] | None = None
    stop: Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    system_prompt: Annotated[Text, Field(max_length=SYSTEM)] | None = None

    def kept(self) -> dict[str, Any]:
        """For the store, without the system prompt, which has a column of its own, and what is the server's."""
        said = self.model_dump(exclude={"system_prompt"}, exclude_none=True)
        return {name: value for name, value in said.items() if value not in ("", [])}


class NewConversation(_Body):
    title: Annotated[Text, Field(max_length=_TITLE)] = ""
    settings: Settings | None = None


class Changes(_Body):
    """What is given is changed, the rest stays."""

    title: Annotated[Said, Field(max_length=_TITLE)] | None = None
    folder: Annotated[Text, Field(max_length=FOLDER)] | None = None
    """Name of the folder it lies in; empty: none."""
    pinned: StrictBool | None = None
    settings: Settings | None = None
    """All of them."""


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
    kept = {"folder": chat.folder, "pinned": chat.pinned}
    return {"id": chat.id, "title": chat.title, "updated": chat.updated} | kept


def message_json(message: ChatMessage, *, writing: bool = False) -> dict[str, Any]:
    """`writing`: the answer is being written. An incomplete answer that is not broke off when its server ended.

    `blind` is present if nobody may know yet which model wrote it, `parts` if the content is more than text; an image's
    address is relative to /api/.
    """
    broken_off = message.role == "assistant" and not writing
    more: dict[str, Any] = {"blind": True} if message.blind else {}
    more |= {"parts": [part.to_json() for part in message.said]} if message.said else {}
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": message.content,
        "policy_version": None if message.blind else message.policy_version or None,
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
