"""What the routers work with: engine, store and settings, attached to the application."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from steersman.engine.protocol import Engine, Refused
from steersman.rounds.canary import count_api_answer
from steersman.server.answers import Answers
from steersman.server.encoders import Encoders
from steersman.server.errors import ApiError, unsayable
from steersman.server.fitting import Fitted, fit
from steersman.server.generation import Generations
from steersman.server.metrics import Metrics
from steersman.server.models import Found, Models
from steersman.server.team import Team
from steersman.store import Store
from steersman.types import Conversation

_COUNTING, _OPENING = 2, 8


@dataclass(frozen=True)
class Context:
    """The models, one store (both stay the caller's to close), and settings of the page."""

    models: Models
    store: Store
    name: str
    language: str
    """'en' or 'zh'."""
    system_prompt: str = ""
    """Precedes every dialogue that has no system message of its own."""
    max_tokens: int = 256
    """Default for requests without it, like `temperature`."""
    temperature: float = 0.7
    greeting: str = ""
    """What an empty chat says first; empty: a few words in the page's language."""
    examples: Callable[[], list[str]] = list
    """Returns questions that an empty chat offers."""
    report: Callable[[], Path | None] = lambda: None
    """Returns the report's present HTML file, or None."""
    round: int | Callable[[], int] = 1
    """The round whose tasks are ranked, or what says it at each request: another may be opened meanwhile."""
    overlap: int = 1
    """How many people label each task of the desk."""
    workspace: Path | None = None
    """The folder whose training runs are shown at /rounds and whose stages can be started, if there is one."""
    team: Team | None = None
    """People who may sign in; None: the server has no accounts."""
    generations: Generations = field(default_factory=Generations)
    answers: Answers = field(init=False)
    encoders: Encoders = field(default_factory=Encoders)
    """Small models beside the one that answers."""
    counting: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_COUNTING))
    """Limits concurrent tokenising, so that the event loop gets its turn."""

    opening: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_OPENING))
    """Limits requests that load a model, so that the others get their threads."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"serve: expected max_tokens >= 1 and temperature >= 0, got {self.max_tokens} and {self.temperature}"
            )
        object.__setattr__(self, "answers", Answers(self.store, self.generations))
        if self.team is not None:
            self.generations.limits = self.team.limits
            self.team.door.standing.count = self.metrics.broken_off

    @property
    def metrics(self) -> Metrics:
        return self.generations.metrics

    @property
    def open_round(self) -> int:
        return self.round if isinstance(self.round, int) else self.round()

    @property
    def engine(self) -> Engine:
        """Of the served model. A request that needs it twice asks once: it changes when another is promoted."""
        return self.models.current

    async def named(self, name: str) -> Found:
        """The model that a request names, loaded where it is a round's. ApiError 404 where there is none, as OpenAI
        answers, 409 where it cannot be loaded."""
        found = self.models.find(name)
        if found is None:
            try:
                found = await to_thread.run_sync(self.models.open, name, limiter=self.opening)
            except (ValueError, OSError) as error:
                message = f"The model `{name[:100]}` cannot be loaded: {error}"
                raise ApiError(409, message, param="model", code="model_not_loaded") from None
        if found is None:
            names = await to_thread.run_sync(self.models.names)
            there = ", ".join(f"`{known}`" for known in names[:10])
            message = f"The model `{name[:100]}` does not exist; this server has {there}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return found

    async def for_user(self, found: Found, *keys: str | None) -> Found:
        """The model that answers a request of the API, by the first of `keys` that is there: the user's id, or how the
        dialogue begins. A canary's users stay with their model, and their answers are counted."""
        engine, canary = self.models.of_request(found, next((key for key in keys if key), ""))
        if canary is not None and self.workspace is not None:
            told = (self.workspace, canary, engine is not found.engine)
            await to_thread.run_sync(functools.partial(count_api_answer, *told))
        return dataclasses.replace(found, engine=engine)

    async def fit(
        self, engine: Engine, prompt: Conversation, max_tokens: int | None, *, truncate: bool = False, inserted: int = 0
    ) -> Fitted:
        """`prompt` fitted for an answer of `max_tokens`, by default the server's; see `fitting.fit`.

        ApiError where the model's template refuses the dialogue; its first `inserted` turns are not the caller's.
        """
        wanted = self.max_tokens if max_tokens is None else max_tokens
        find = functools.partial(fit, engine, prompt, wanted, truncate=truncate)
        try:
            fitted = await to_thread.run_sync(find, limiter=self.counting)
            self.metrics.read(fitted.tokens)
            return fitted
        except Refused:
            raise
        except ValueError as error:
            raise unsayable(error, inserted) from None


async def _context(request: Request) -> Context:
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


Ctx = Annotated[Context, Depends(_context)]


async def _at_end() -> AsyncGenerator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


AtEnd = Annotated[contextlib.ExitStack, Depends(_at_end)]
"""Resources that are released when the response was sent or failed, such as reserved room for answers."""
