"""Keys and values of running sequences, in slots, within a memory budget.

Each layer has one [slots, kv_heads, capacity, head_dim] tensor for keys and one for values, as the model computes them
or in int8 with a scale per token and head. Running sequences sit in slots 0..n-1, so that a step reads a plain slice
and copies nothing. The rectangle grows when sequences come or get longer; the budget bounds it.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
from typing import Any

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


def default_budget(device: torch.device, others: int = 0) -> int:
    """Bytes: 40 % of the machine's memory (of the container's, where it has a limit), at most 80 % of what is free.

    `others`: bytes that will be taken before."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(0.8 * max(0, free - others))
    return int(min(0.4 * total_memory(), 0.8 * max(0, free_memory() - others)))


def token_bytes(shape: Shape, dtype: torch.dtype, int8: bool = False) -> int:
    """Bytes of one token's keys and values over all layers."""
    row = shape.head_dim + torch.float32.itemsize if int8 else shape.head_dim * dtype.itemsize
    return 2 * shape.layers * shape.kv_heads * row


Saved = tuple[Tensor, ...]
"""A sequence's part of the cache: of each of `Cache.parts` [layers, kv_heads, length, ...]."""
Place = tuple[Any, Any, Any]
"""Indices of slots, heads and tokens."""


def quantised(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [..., d] as (int8 [..., d], scales [...]): the nearest 127ths of the largest number of each row."""
    wide = x.float()
    most = wide.abs().amax(-1)
    inverse = torch.where(most > 0, 127 / most, 0)
    return (wide * inverse[..., None]).round_().to(torch.int8), most / 127


def _zeroed(count: int) -> Any:
    """So many bytes, of which the system provides each page on first use.

    Not numpy's: those are huge pages where the system leaves it to programs, and then a prompt's first chunk, which
    touches every head of every layer, waits for all memory that the prompt will need: decision 94 in docs/LOG.md.
    """
    if sys.platform != "linux":
        return np.zeros(count, dtype=np.uint8)
    try:
        memory = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{count:,} bytes of keys and values: {error.strerror}") from None
    with contextlib.suppress(OSError):  # a system that has no huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


class Cache:
    """`budget`: most bytes of keys and values; `int8`: whether they are kept so, which takes about half."""

    def __init__(self, shape: Shape, dtype: torch.dtype, device: torch.device, budget: int, int8: bool = False) -> None:
        self.shape, self.int8 = shape, int8
        self.layers, self.kv_heads, self.head_dim = shape.layers, shape.kv_heads, shape.head_dim
        self.dtype, self.device, self.budget = dtype, device, budget
        self.buckets = 0
        """Up to this number of slots, slots and capacity are rounded to a few sizes."""
        self.slots, self.capacity = 0, 0
        names = ("keys", "values", "key_scales", "value_scales") if int8 else ("keys", "values")
        self.parts: dict[str, list[Tensor]] = {name: [] for name in names}
        """What is kept of each layer: [slots, kv_heads, capacity, ...]."""
        self.turns = torch.zeros(0, dtype=torch.long)
        """[slots]: where in the tables of rotations a sequence begins: 0, or `Shape.switch` if it is long."""

    def beside(self) -> Cache:
        """An empty cache of this kind, which may become as large as this one."""
        return Cache(self.shape, self.dtype, self.device, self.budget, self.int8)

    def turn(self, slot: int, tokens: int) -> None:
        """Choose a slot's rotations, before it is filled, by the sequence's tokens so far."""
        self.turns[slot] = self.shape.switch if tokens > self.shape.switch else 0

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values over all layers."""
        return token_bytes(self.shape, self.dtype, self.int8)

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
        for name, part in self.parts.items():
            each = (slots, self.kv_heads, capacity, *([] if "scales" in name else [self.head_dim]))
            dtype = torch.float32 if "scales" in name else torch.int8 if self.int8 else self.dtype
            for layer in range(self.layers):
                fresh = self._zeros(each, dtype)
                if len(part) == self.layers:
                    fresh[:live, :, :kept] = part[layer][:live, :, :kept]
                    part[layer] = fresh
                else:
                    part.append(fresh)
        turns = torch.zeros(slots, dtype=torch.long)
        turns[:live] = self.turns[:live]
        self.slots, self.capacity, self.turns = slots, capacity, turns

    def clear(self) -> None:
        """Free all memory."""
        self.slots, self.capacity = 0, 0
        self.parts = {name: [] for name in self.parts}

    def put(self, layer: int, place: Place, keys: Tensor, values: Tensor) -> None:
        """Write a layer's keys and values [..., head_dim] into a place."""
        for name, x in (("key", keys), ("value", values)):
            if self.int8:
                self.parts[f"{name}s"][layer][place], self.parts[f"{name}_scales"][layer][place] = quantised(x)
            else:
                self.parts[f"{name}s"][layer][place] = x

    def seen(self, x: Tensor) -> Tensor:
        """Keys or values [..., head_dim] as `take` returns them after `put`."""
        if not self.int8:
            return x
        values, scales = quantised(x)
        return (values * scales[..., None]).to(self.dtype)

    def take(self, layer: int, place: Place) -> tuple[Tensor, Tensor]:
        """A layer's keys and values in a place, in the model's dtype."""
        keys, values = (self.parts[name][layer][place] for name in ("keys", "values"))
        if not self.int8:
            return keys, values
        scales = (self.parts[name][layer][place][..., None] for name in ("key_scales", "value_scales"))
        keys, values = (x * scale for x, scale in zip((keys, values), scales, strict=True))
        return keys.to(self.dtype), values.to(self.dtype)

    def _zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor of zeros: a masked product with uninitialised memory could be NaN."""
        if self.device.type != "cpu":
            return torch.zeros(shape, dtype=dtype, device=self.device)
        return torch.frombuffer(_zeroed(math.prod(shape) * dtype.itemsize), dtype=dtype).view(shape)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a sequence's first `length` cached tokens from one slot to another."""
        self.turns[target] = self.turns[source]
        for part in self.parts.values():
            for layer in part:
                layer[target, :, :length] = layer[source, :, :length]

    def lend(self, layer: int, source: int, targets: list[int], length: int) -> None:
        """Copy a layer's first `length` tokens of a slot into others."""
        for part in self.parts.values():
            part[layer][targets, :, :length] = part[layer][source, :, :length]

    def read(self, slot: int, start: int, end: int) -> Saved:
        """A copy of a slot's tokens from one place to another."""
        return tuple(torch.stack([layer[slot, :, start:end] for layer in part]) for part in self.parts.values())

    def write(self, slot: int, saved: Saved, length: int, start: int = 0) -> None:
        """Write the first `length` tokens of a result of `read` into a slot, from `start` on."""
        for part, kept in zip(self.parts.values(), saved, strict=True):
            for layer, tensor in zip(part, kept, strict=True):
                layer[slot, :, start : start + length] = tensor[:, :length]
