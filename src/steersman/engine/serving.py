"""What an engine is told when it is made: `Serving` for engines over weights that are loaded, `Loading` for all."""

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
    """Sequences together at most."""
    cache_mib: int | None = None
    """Memory for keys and values of running sequences; None is 40 % of the machine's, and for finished dialogues a
    quarter more."""
    reuse: Reuse = "streams"
    """Whose finished sequences are kept for prompts that begin the same way (`backends.local.engine.LocalEngine`)."""
    independent: bool = False
    """Prefill every prompt alone, so that an answer does not depend on who shares its batch."""
    int8: bool = False
    """Weight matrices in int8; local engine."""
    native: bool = True
    """Decode few sequences by step.c, which is compiled on first use, or on a GPU by CUDA graphs."""
    thinking: str = "keep"
    """As `model.thinking` of a workspace's settings."""
    today: bool = True
    """A chat template that writes a date writes today's, not the day of `steersman.text.template.DAY`."""


class Loading(TypedDict, total=False):
    """Keyword arguments of `steersman.load_engine`; those of `Serving`, and what is loaded how."""

    name: str | None
    version: str | None
    max_slots: int
    cache_mib: int | None
    reuse: Reuse
    independent: bool
    native: bool
    thinking: str
    today: bool
    trust_remote_code: bool
    template: str
    """As `model.template` of a workspace's settings."""
    url: str
    """Of the endpoint, for the backend 'openai'."""
    api_key: str
    max_context: int
    """Tokens that the endpoint's model takes."""
