"""What a reader of a training stage's outcome must be told beside its numbers. Kept in the manifest as `cautions`."""

from __future__ import annotations

from pathlib import Path

from steersman.train.log import read_metrics

FEW_STEPS = 10
WINDOW = 5
RISE = 3.0
"""A loss this many times the first ones has diverged: cross-entropy over a vocabulary can hardly grow by more unless
weights explode (a uniform guess over 50,000 tokens is 10.8 nats)."""


def cautions(steps: int, folder: Path, *, before: float | None = None, after: float | None = None) -> list[str]:
    """Sentences on too few steps, a training loss that rose (by the folder's metrics) or a held-out loss that rose.

    `before`, `after`: held-out loss in nats per token, where it was measured.
    """
    losses = [float(row["loss"]) for row in read_metrics(folder) if "loss" in row]
    found = []
    if steps < FEW_STEPS:
        found.append(f"only {steps} optimizer step{'s' if steps > 1 else ''}: expect no visible change from so few")
    first, last = (sum(part) / len(part) if part else 0.0 for part in (losses[:WINDOW], losses[-WINDOW:]))
    if len(losses) >= 2 * WINDOW and last > RISE * first > 0:
        found.append(
            f"the training loss rose from {first:.3g} to {last:.3g}: training diverged; lower the learning rate (lr)"
        )
    if before is not None and after is not None and after > 1.05 * before:
        found.append(f"held-out loss got worse, {before:.3f} to {after:.3f}: fewer epochs or a lower rate (lr)")
    return found
