"""Answers held to a JSON schema or a regular expression, by llguidance (optional; imported when asked for)."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from steersman.engine.protocol import Refused
from steersman.types import SamplingParams


class Grammar:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allowed(self, vocabulary: int, device: torch.device) -> Tensor:
        """bool [vocabulary]: tokens that may come next; the end of turn where the answer may be complete."""
        packed = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        mask = torch.zeros(vocabulary, dtype=torch.bool)
        known = min(vocabulary, bits.numel())
        mask[:known] = bits.view(-1)[:known].bool()
        return mask.to(device)

    def accept(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"the grammar refused token {token}: {self._matcher.get_error()}")


class Grammars:
    """Makes `Grammar`s for one tokenizer, whose vocabulary is prepared once."""

    def __init__(self, tokenizer: Any, ends: Collection[int], vocabulary: int) -> None:
        self._tokenizer, self._ends, self._vocabulary = tokenizer, sorted(ends), vocabulary
        self._prepared: Any = None

    def of(self, params: SamplingParams) -> Grammar | None:
        """None where the answer is free. Raises Refused for a schema or expression that cannot be followed."""
        if params.json_schema is None and params.regex is None:
            return None
        try:
            import llguidance
            import llguidance.hf
        except ImportError:
            raise Refused(
                "json_schema and regex need the package llguidance: pip install 'steersman[grammar]'"
            ) from None
        if self._prepared is None:
            self._prepared = llguidance.hf.from_tokenizer(
                self._tokenizer, n_vocab=max(self._vocabulary, len(self._tokenizer)), eos_token=self._ends
            )
        try:
            if params.regex is not None:
                source = llguidance.LLMatcher.grammar_from_regex(params.regex)
            else:
                source = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(params.json_schema))
            matcher = llguidance.LLMatcher(self._prepared, source, log_level=0)
        except ValueError as error:
            raise Refused(f"sampling.{_name(params)}: {error}") from None
        if matcher.is_error():
            raise Refused(f"sampling.{_name(params)}: {matcher.get_error()}")
        return Grammar(matcher)


def _name(params: SamplingParams) -> str:
    return "json_schema" if params.json_schema is not None else "regex"
