"""A model behind an OpenAI-compatible endpoint, asked as a folder is. A choice by log-probability takes
`/v1/completions` with `echo` and `logprobs`, and texts to be continued (`style=text`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from steersman.engine.backends.remote import RemoteEngine
from steersman.engine.protocol import EndpointError
from steersman.eval.suites.suite import APART, Item


@dataclass
class Endpoint:
    """`url` ends in /v1; `model` is its name there."""

    name: str
    url: str
    model: str
    key: str = dataclasses.field(default="", repr=False)
    parallel: int = 8

    def engine(self) -> RemoteEngine:
        return RemoteEngine(self.url, self.model, api_key=self.key, max_context=1 << 20, parallel=self.parallel)

    def fits(self, item: Item, room: int) -> bool:
        """The endpoint itself says so when it is asked."""
        return True

    def choose(self, items: Sequence[Item]) -> list[list[float]]:
        texts = []
        for item in items:
            for choice in item.choices:
                if not choice.context:
                    raise ValueError(
                        f"{self.name}: an endpoint gives no log-probabilities of dialogues; expected style=text, or "
                        "by=generation"
                    )
                context = choice.context.rstrip(" ")
                ending = APART if choice.ends else ""
                texts.append((context, choice.context[len(context) :] + choice.continuation + ending))
        engine = self.engine()
        with ThreadPoolExecutor(self.parallel) as pool:
            values = iter(list(pool.map(lambda pair: self._logprob(engine, *pair), texts)))
        return [[next(values) for _ in item.choices] for item in items]

    def _logprob(self, engine: RemoteEngine, context: str, said: str) -> float:
        """Of what follows `context`: tokens that end after it, by the text that each begins at."""
        body = {"prompt": context + said, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}
        told = engine.post_json("/completions", {"model": self.model, **body})
        try:
            of: dict[str, Any] = told["choices"][0]["logprobs"]
            offsets, values = of["text_offset"], of["token_logprobs"]
            ends = [*offsets[1:], len(context + said)]
            inside = [
                v
                for v, begin, end in zip(values, offsets, ends, strict=False)
                if end > len(context) and begin < len(context + said)
            ]
            return float(sum(inside))
        except (KeyError, IndexError, TypeError) as error:
            raise EndpointError(
                f"{self.url}: expected logprobs with token_logprobs and text_offset for a prompt with echo, got "
                f"{type(error).__name__}: {error}"
            ) from None
