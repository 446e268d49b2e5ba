"""Asks a model, local or behind an endpoint, for answers, and records which model was asked, when and with what
settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from steersman import progress
from steersman.artifact.files import now
from steersman.types import Completion, Conversation, Message, SamplingParams

if TYPE_CHECKING:
    from steersman.engine.protocol import Engine

BATCH = 16
"""Prompts asked together."""


@dataclass(frozen=True)
class Asked:
    """An engine and the settings of its requests; `about` goes into every record made of its answers."""

    engine: Engine
    params: SamplingParams
    url: str = ""
    named: str = ""
    """The model's name, where it says more than `engine.model_name`."""

    @property
    def about(self) -> dict[str, Any]:
        """Model, host (never the whole address, which may hold a key), date and settings."""
        usual = SamplingParams()
        changed = {
            f.name: getattr(self.params, f.name)
            for f in dataclasses.fields(SamplingParams)
            if getattr(self.params, f.name) != getattr(usual, f.name) and f.name not in ("n", "seed")
        }
        settings = {name: list(v) if isinstance(v, tuple) else v for name, v in changed.items()}
        settings |= {"temperature": self.params.temperature, "max_tokens": self.params.max_tokens}
        host = urlsplit(self.url).hostname or "" if self.url else "here"
        return {
            "model": self.named or self.engine.model_name,
            "version": self.engine.policy_version,
            "host": host,
            "date": now(),
            "settings": settings | ({"seed": self.params.seed} if self.params.seed is not None else {}),
        }


def answers(
    asked: Asked, prompts: Sequence[Conversation], what: str, n: int = 1, done: Callable[[], bool] | None = None
) -> list[list[Completion]]:
    """`n` answers to each prompt, asked in batches with a progress bar.

    `done` is called between two batches; once it returns True, the lists of the prompts so far are returned.
    """
    out: list[list[Completion]] = []
    with progress.progress(what, len(prompts), unit="prompt") as shown:
        for start in range(0, len(prompts), BATCH):
            seed = None if asked.params.seed is None else asked.params.seed + start
            params = dataclasses.replace(asked.params, n=n, seed=seed)
            out += asked.engine.generate(prompts[start : start + BATCH], params)
            shown.update(len(out))
            if done is not None and done():
                break
    return out


def question(text: str, system: str = "") -> Conversation:
    """A prompt of one turn."""
    start = (Message("system", system),) if system else ()
    return Conversation("", (*start, Message("user", text)))
