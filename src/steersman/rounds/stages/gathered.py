"""What `steersman round` learns from: the store's feedback and rankings and a share of older data, as files."""

from __future__ import annotations

from steersman.rounds.registry import Stage

STAGE = Stage(
    name="gathered",
    verb="round",
    section="round",
    title="gathered data",
    summary="Make the next model of what people said, and promote it if it is better.",
    examples=("steersman round",),
    parents=(),
    sources=(),
    run=None,
)
