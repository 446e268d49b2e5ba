"""How one chat's answers are made: by its own settings where it has any, else by the server's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steersman.server.context import Context
from steersman.server.models import Found, Models
from steersman.store import Chat
from steersman.types import SamplingParams


def settings_json(ctx: Context, chat: Chat) -> dict[str, Any]:
    """The settings as the page sends them back; the system prompt only where it is not the server's."""
    own = {"system_prompt": chat.system_prompt} if chat.system_prompt != ctx.system_prompt else {}
    return dict(chat.settings) | own


def defaults_json(ctx: Context) -> dict[str, Any]:
    return {"system_prompt": ctx.system_prompt, "temperature": ctx.temperature, "max_tokens": ctx.max_tokens}


def models_json(models: Models) -> list[dict[str, Any]]:
    """What may answer in a chat: the promoted model first, under the assistant's name, then each by its version."""
    found = [(name, models.find(name)) for name in models.names()]
    return [
        {"id": name, "version": one.engine.policy_version if one else name, "current": one is not None and one.current}
        for name, one in found
    ]


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
