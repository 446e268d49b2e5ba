"""How one chat's answers are made: its settings where it has any, else the server's, which the page shows as defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from steersman.server.context import Context
from steersman.server.models import Found
from steersman.server.request_text import WHOLE, Number, Text
from steersman.store import Chat
from steersman.store.shelf import SYSTEM
from steersman.types import SamplingParams

Stop = Annotated[Text, Field(min_length=1, max_length=100)]


class Settings(BaseModel):
    """All settings of a chat that differ from the server's; null and what is missing are the server's."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[Text, Field(max_length=200)] | None = None
    """A name of /v1/models; null: the promoted model, or a canary's for its share of chats."""
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1, le=1_000_000), WHOLE] | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**31), WHOLE] | None = None
    stop: Annotated[list[Stop], Field(max_length=4)] | None = None
    system_prompt: Annotated[Text, Field(max_length=SYSTEM)] | None = None

    def kept(self) -> dict[str, Any]:
        """For the store, without the system prompt, which has a column of its own, and what is the server's."""
        said = self.model_dump(exclude={"system_prompt"}, exclude_none=True)
        return {name: value for name, value in said.items() if value not in ("", [])}


def settings_json(ctx: Context, chat: Chat) -> dict[str, Any]:
    """The settings as the page sends them back; the system prompt only where it is not the server's."""
    own = {"system_prompt": chat.system_prompt} if chat.system_prompt != ctx.system_prompt else {}
    return dict(chat.settings) | own


def defaults_json(ctx: Context) -> dict[str, Any]:
    return {"system_prompt": ctx.system_prompt, "temperature": ctx.temperature, "max_tokens": ctx.max_tokens}


async def model_of(ctx: Context, chat: Chat) -> Found:
    """The model that answers in a chat. ApiError 404 where the chosen one is not served any more."""
    if name := chat.settings.get("model"):
        return await ctx.named(str(name))
    engine = ctx.models.of_chat(chat)
    return Found(engine.model_name, engine, current=True)


def wanted_tokens(chat: Chat) -> int | None:
    """Most tokens of an answer; None: the server's default."""
    return chat.settings.get("max_tokens")


def params_of(ctx: Context, settings: Mapping[str, Any], room: int, adapter: str | None = None) -> SamplingParams:
    temperature = settings.get("temperature")
    return SamplingParams(
        max_tokens=room,
        temperature=ctx.temperature if temperature is None else temperature,
        seed=settings.get("seed"),
        stop=tuple(settings.get("stop") or ()),
        adapter=adapter,
    )
