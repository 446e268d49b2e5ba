"""Texts padded side by side: which share a pass, and the tensors of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def passes(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Numbers of the texts of each pass, of similar length, the longest first; a pass has at most `tokens` with its
    padding, or one text."""
    out: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if out and (len(out[-1]) + 1) * lengths[out[-1][0]] <= tokens:
            out[-1].append(number)
        else:
            out.append([number])
    return out


def padded(rows: Sequence[Sequence[int]], fill: int, device: Any) -> Tensor:
    """[B, L]: the rows, shorter ones filled up at their end."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows], device=device)


def mask_of(rows: Sequence[Sequence[int]], device: Any) -> Tensor:
    """[B, L]: 1 where a row has a token."""
    return padded([[1] * len(row) for row in rows], 0, device)
