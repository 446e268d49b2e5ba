"""Options for making an engine: `Serving` for engines over loaded weights, `Loading` for `load_engine`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from steersman.engine.protocol import Reuse


@dataclass(frozen=True)
class Serving:
    """How a model's weights are served."""

    name: str
    version: str = "0"
    """Stamped on completions."""
    backend: str = "auto"
    """'local' (the fast engine), 'reference' (transformers' forward pass), or 'auto': local where it can be."""
    max_slots: int = 128
    """Largest number of sequences that run together."""
    cache_mib: int | None = None
    """Memory for keys and values of running sequences; None: 40 % of the machine's. Finished dialogues get another
    quarter of that."""
    cache_int8: bool = False
    """Keep keys and values in int8, with a scale per token and head: about half the memory; local engine."""
    reuse: Reuse = "streams"
    """Which finished sequences stay cached for later prompts that extend them (see `LocalEngine`)."""
    independent: bool = False
    """Prefill every prompt alone, so that an answer does not depend on the rest of its batch."""
    bits: int = 0
    """Of the weight matrices: 8, or in the reference engine 4; 0: as loaded."""
    native: bool = True
    """Decode few sequences by step.c, which is compiled on first use, or on a GPU by CUDA graphs."""
    thinking: str = "keep"
    """As `model.thinking` of a workspace's settings."""
    today: bool = True
    """A chat template that writes a date writes today's, not the day of `steersman.text.template.DAY`."""
    ends: frozenset[int] = frozenset()
    """Tokens that end an answer besides the tokenizer's and the template's."""


class Loading(TypedDict, total=False):
    """Keyword arguments of `steersman.load_engine`; those of `Serving`, and those for loading."""

    name: str | None
    version: str | None
    max_slots: int
    cache_mib: int | None
    cache_int8: bool
    reuse: Reuse
    independent: bool
    native: bool
    thinking: str
    today: bool
    trust_remote_code: bool
    template: str
    """As `model.template` of a workspace's settings."""
    url: str
    """Address of the endpoint, for the backend 'openai'."""
    api_key: str
    max_context: int
    """Context of the endpoint's model in tokens."""
