"""What the routers work with: engine, store and settings, attached to the application."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Engine, PromptTooLong
from steersman.server.generation import Generations
from steersman.store import Store
from steersman.types import Conversation


@dataclass(frozen=True)
class Context:
    """See `create_app` for the fields."""

    engine: Engine
    store: Store
    name: str
    language: str
    system_prompt: str
    max_tokens: int
    temperature: float
    report: Callable[[], Path | None]
    round: int
    workspace: Path | None
    generations: Generations = field(default_factory=Generations)

    async def fit(self, prompt: Conversation, max_tokens: int | None) -> tuple[int, int]:
        """(tokens of the prompt, tokens the answer may have).

        Where the request does not say how long the answer may be, it is the default or what the context leaves.
        Raises PromptTooLong.
        """
        used = await run_in_threadpool(self.engine.count_tokens, prompt)
        room = self.engine.max_context - used
        wanted = max_tokens if max_tokens is not None else max(1, min(self.max_tokens, room))
        if wanted > room:
            raise PromptTooLong(
                f"This model's context is {self.engine.max_context} tokens; the messages take {used} "
                f"and the answer may take {wanted}. Send less, or ask for fewer tokens."
            )
        return used, wanted


async def _context(request: Request) -> Context:
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


Ctx = Annotated[Context, Depends(_context)]


async def _at_end() -> AsyncGenerator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


AtEnd = Annotated[contextlib.ExitStack, Depends(_at_end)]
"""What is left when the response has been sent, or could not be, such as a place among the answers in the making."""
