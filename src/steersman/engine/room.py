"""How many dialogues the keys and values of a server hold: said before it starts, and by `steersman plan serve`.

Why so: decision 92 in docs/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """Sequences that run together share a rectangle: as many tokens for each as the longest has."""

    token: int
    """Bytes of one token's keys and values."""
    budget: int
    """Most bytes of running sequences."""
    context: int
    slots: int
    """Most sequences that run together."""
    int8: bool = False
    working: int = 0
    """Bytes that a prompt takes while it comes in, beside its keys and values."""

    @property
    def whole(self) -> int:
        """Sequences of the whole context that run together."""
        return min(self.slots, self.budget // (self.token * self.context))

    @property
    def longest(self) -> int:
        """Most tokens of one sequence, prompt and answer."""
        return min(self.context, self.budget // self.token)

    def to_json(self) -> dict[str, int]:
        return {
            "token_bytes": self.token,
            "budget_bytes": self.budget,
            "working_bytes": self.working,
            "context": self.context,
            "longest": self.longest,
            "whole_contexts": self.whole,
            "full_slots_tokens": min(self.context, self.budget // (self.token * self.slots)),
        }

    def __str__(self) -> str:
        kind = ", in int8" if self.int8 else ""
        each = self.to_json()["full_slots_tokens"]
        said = (
            f"keys and values: {self.token / 1024:.1f} KiB a token{kind}, at most {self.budget / 2**30:.1f} GiB: "
            f"{self.slots} dialogues of {each:,} tokens at a time"
        )
        if self.longest < self.context:
            said += f"; the whole context ({self.context:,} tokens) does not fit, one of {self.longest:,} does"
        elif self.whole < self.slots:
            said += f", {self.whole} of {self.context:,} tokens"
        return f"{said}; {self.working / 2**20:,.0f} MiB more while prompts come in" if self.working else said
