"""Keys and values of running sequences, in slots, within a memory budget.

Each layer has one [slots, kv_heads, capacity, head_dim] tensor for keys and one for values. Running sequences sit in
slots 0..n-1, so that a step reads a plain slice and copies nothing. The rectangle grows when sequences come or get
longer; the budget bounds it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from steersman.families.shape import Shape
from steersman.machine import free_memory, total_memory

STEP = 64
"""Capacities are multiples of this."""


def rounded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


def bucket(count: int, unit: int = 1) -> int:
    """The smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... times `unit` that is at least `count`."""
    power = 1 << (-(-count // unit) - 1).bit_length()
    return unit * (3 * power // 4 if count <= unit * (3 * power // 4) else power)


def default_budget(device: torch.device) -> int:
    """Bytes: 40 % of the machine's memory (of the container's, where it has a limit), at most 80 % of what is free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.8 * free)
    return int(min(0.4 * total_memory(), 0.8 * free_memory()))


class Cache:
    """`budget`: most bytes of keys and values."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device, budget: int) -> None:
        self.shape = shape
        self.layers, self.kv_heads, self.head_dim = shape.layers, shape.kv_heads, shape.head_dim
        self.dtype, self.device, self.budget = dtype, device, budget
        self.buckets = 0
        """Up to this number of slots, slots and capacity are rounded to a few sizes."""
        self.slots, self.capacity = 0, 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.turns = torch.zeros(0, dtype=torch.long)
        """[slots]: where in the tables of rotations a sequence begins: 0, or `Shape.switch` if it is long."""

    def beside(self) -> Cache:
        """An empty cache of this kind, which may become as large as this one."""
        return Cache(self.shape, self.dtype, self.device, self.budget)

    def turn(self, slot: int, tokens: int) -> None:
        """Choose a slot's rotations, before it is filled, by the sequence's tokens so far."""
        self.turns[slot] = self.shape.switch if tokens > self.shape.switch else 0

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize

    def sizes(self, slots: int, capacity: int) -> tuple[int, int]:
        """(slots, tokens), each rounded up to a size that the cache is allocated in."""
        if not self.buckets:
            return slots, rounded(capacity)
        return bucket(slots) if slots <= self.buckets else slots, bucket(capacity, 2 * STEP)

    def fits(self, slots: int, capacity: int) -> bool:
        slots, capacity = self.sizes(slots, capacity)
        return slots * capacity * self.token_bytes <= self.budget

    def reserve(self, slots: int, capacity: int, live: int, most_slots: int) -> bool:
        """Make room for `slots` sequences of `capacity` tokens, keeping slots 0..live-1; True if tensors were replaced.

        Slots grow by doubling up to `most_slots`. Where growth in one direction would exceed the budget, or twice the
        present or the needed size, the rectangle shrinks in the other.
        """
        slots, capacity = self.sizes(slots, capacity)
        if slots <= self.slots and capacity <= self.capacity:
            return False
        assert self.fits(slots, capacity), "the scheduler asks before it admits"
        doubled = max(slots, min(most_slots, 1 << (slots - 1).bit_length()), self.slots)
        bound = 2 * max(self.slots * self.capacity, slots * capacity)
        shapes = (
            (doubled, max(capacity, self.capacity)),
            (slots, max(capacity, self.capacity)),
            (max(slots, self.slots), capacity),
        )
        good = (shape for shape in shapes if self.fits(*shape) and shape[0] * shape[1] <= bound)
        self._resize(*next(good, (slots, capacity)), live)
        return True

    def _resize(self, slots: int, capacity: int, live: int) -> None:
        kept = min(capacity, self.capacity)
        for cache in (self.keys, self.values):
            for layer in range(self.layers):
                fresh = self._zeros((slots, self.kv_heads, capacity, self.head_dim))
                if len(cache) == self.layers:
                    fresh[:live, :, :kept] = cache[layer][:live, :, :kept]
                    cache[layer] = fresh
                else:
                    cache.append(fresh)
        turns = torch.zeros(slots, dtype=torch.long)
        turns[:live] = self.turns[:live]
        self.slots, self.capacity, self.turns = slots, capacity, turns

    def clear(self) -> None:
        """Free all memory."""
        self.slots, self.capacity, self.keys, self.values = 0, 0, [], []

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor of zeros: a masked product with uninitialised memory could be NaN."""
        if self.device.type != "cpu":
            return torch.zeros(shape, dtype=self.dtype, device=self.device)
        # numpy requests zeroed memory, of which the system provides each page on first use
        count = math.prod(shape) * self.dtype.itemsize
        return torch.from_numpy(np.zeros(count, dtype=np.uint8)).view(self.dtype).view(shape)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a sequence's first `length` cached tokens from one slot to another."""
        self.turns[target] = self.turns[source]
        for cache in (self.keys, self.values):
            for layer in cache:
                layer[target, :, :length] = layer[source, :, :length]

    def read(self, slot: int, length: int) -> Tensor:
        """A copy of a slot: [2, layers, kv_heads, length, head_dim]."""
        parts = [torch.stack([layer[slot, :, :length] for layer in cache]) for cache in (self.keys, self.values)]
        return torch.stack(parts)

    def write(self, slot: int, saved: Tensor, length: int) -> None:
        """Write the first `length` tokens of a result of `read` into a slot."""
        for cache, part in zip((self.keys, self.values), saved, strict=True):
            for layer, tensor in zip(cache, part, strict=True):
                layer[slot, :, :length] = tensor[:, :length]
