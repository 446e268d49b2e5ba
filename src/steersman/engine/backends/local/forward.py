"""One forward step of a decoder-only transformer over a slot cache, with merged weights.

Covers the Llama shape and its relatives (SmolLM, Mistral, Qwen2/2.5/3, Gemma 3). Only activations are allocated per
step. Few sequences at a time are computed by a native step where there is one (`compiled.py`), or
by a captured one (`graphs.py`), since such a step is bounded by reading the weights and by the overhead
of operators.

Why so: decision 38 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steersman.engine.backends.local.adapters import Adapter
from steersman.engine.backends.local.cache import Cache, default_budget
from steersman.engine.backends.local.compiled import NativeStep
from steersman.engine.backends.local.graphs import Graphs
from steersman.engine.backends.local.matrix import MANY
from steersman.engine.backends.local.merged import Weights
from steersman.families.known import family_of
from steersman.families.rope import rotations
from steersman.kernels import ops as kernels

FIRST_ROPE_LENGTH = 4096
ALIGN = 8
"""Prompts are padded to multiples of this; a chunk within a prompt should begin at a multiple."""


def room(tokens: int) -> int:
    """Rows that a prompt of `tokens` tokens takes in a prefill."""
    return -(-tokens // ALIGN) * ALIGN


def _aligned(rows: int) -> int:
    """Rows of a prefill's matrix products, rounded up to one of a few sizes.

    oneDNN compiles bfloat16 products for each number of rows and keeps what it compiled: without
    rounding, memory would grow by the kernels of every new length.
    """
    step = 16 if rows <= 64 else 64 if rows <= 1024 else 128 if rows <= 2048 else 256
    return -(-rows // step) * step


def _by_lender(lenders: Sequence[int | None], first_slot: int) -> dict[int, list[int]]:
    """Lending slot -> the slots, from `first_slot` on, that borrow from it."""
    found: dict[int, list[int]] = {}
    for slot, lender in enumerate(lenders, first_slot):
        if lender is not None:
            found.setdefault(lender, []).append(slot)
    return found


class Decoder:
    """Weights, cache and the two kinds of step: `prefill` of prompts and `decode` of one token per sequence."""

    def __init__(
        self,
        config: Any,
        dtype: torch.dtype,
        device: torch.device,
        *,
        int8: bool = False,
        cache_bytes: int | None = None,
        cache_int8: bool = False,
        native: bool = True,
    ) -> None:
        self.shape = s = family_of(config).shape(config)
        self.dtype, self.device = dtype, device
        self.weights = Weights(s, dtype, device, int8)
        budget = default_budget(device) if cache_bytes is None else cache_bytes
        self.cache = Cache(s, dtype, device, budget, cache_int8)
        self.ropes = self._rope_tables(FIRST_ROPE_LENGTH)
        self.adapter: Adapter | None = None
        """Applied by every step until it is changed."""
        self.native = NativeStep.of(self) if native else None
        self.graphs = Graphs.of(self) if native and not s.switch else None

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy tensors in by transformers' names. Raises ValueError on an unknown name or a wrong shape."""
        self.weights.load(weights)
        if self.native is not None:
            self.native.point()

    def reserve(self, slots: int, capacity: int, live: int = 0, most_slots: int = 0) -> None:
        """Room in the cache, keeping slots 0..live-1; see `Cache.reserve`."""
        replaced = self.cache.reserve(slots, capacity, live, most_slots or slots)
        self._reach(self.cache.capacity)
        if replaced and self.native is not None:
            self.native.point()
        if replaced and self.graphs is not None:
            self.graphs.clear()

    def _reach(self, tokens: int) -> bool:
        """Tables for so many positions; True if they were replaced."""
        if tokens <= self.rope_length:
            return False
        self.ropes = self._rope_tables(max(tokens, min(2 * tokens, self.shape.context)))
        return True

    def _rope_tables(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """Per layer (cos, sin), each [switch + length, head_dim]: `switch` positions of short sequences, then those of
        long ones; without a switch, `length` positions of all. Layers of one kind share a table."""
        tables: dict[str, tuple[Tensor, Tensor]] = {}
        result = []
        self.rope_length = length
        for scaling in self.shape.rope_scalings:
            key = repr(scaling)
            if key not in tables:
                parts = [self._rotation_table(scaling, length, long=True)]
                if self.shape.switch:
                    parts.insert(0, self._rotation_table(scaling, self.shape.switch, long=False))
                cos, sin = (torch.cat(part) for part in zip(*parts, strict=True))
                tables[key] = (cos.to(self.device, self.dtype), sin.to(self.device, self.dtype))
            result.append(tables[key])
        return result

    def _rotation_table(self, scaling: dict[str, Any], length: int, long: bool) -> tuple[Tensor, Tensor]:
        """(cos, sin) of positions 0..length - 1, so that x is rotated to x * cos + swap_halves(x) * sin."""
        inverse, size = rotations(scaling, self.shape.head_dim, long)
        angles = torch.outer(torch.arange(length).float(), inverse)
        angles = torch.cat([angles, angles], dim=-1)
        cos, sin = angles.cos() * size, angles.sin() * size
        sin[:, : self.shape.head_dim // 2].neg_()
        return cos, sin

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        if kernels.serves(x, x.shape[-1]):
            flat = x.reshape(-1, x.shape[-1])
            return kernels.norm(flat, weight, self.shape.norm_offset, self.shape.eps)[0].view(x.shape)
        if self.shape.norm_offset:
            return (F.rms_norm(x.float(), (x.shape[-1],), eps=self.shape.eps) * (1.0 + weight.float())).to(x.dtype)
        return F.rms_norm(x, (x.shape[-1],), weight, self.shape.eps)

    def _project(self, x: Tensor, merged: str, layer: int, least: int, bias: Tensor | None = None) -> Tensor:
        y = self.weights.matrices(merged)[layer].linear(x, bias, least)
        if self.adapter is not None:
            self.adapter.add(y, x, merged, layer)
        return y

    def _rotations(self, places: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per layer (cos, sin), each [rows, 1, d], of places [rows] in the tables; made once for layers of one kind."""
        made: dict[int, tuple[Tensor, Tensor]] = {}
        for cos, sin in self.ropes:
            if id(cos) not in made:
                made[id(cos)] = cos.index_select(0, places)[:, None], sin.index_select(0, places)[:, None]
        return [made[id(cos)] for cos, _ in self.ropes]

    def _qkv(self, x: Tensor, layer: int, cos: Tensor, sin: Tensor, least: int = MANY) -> tuple[Tensor, Tensor, Tensor]:
        """x [rows, hidden], cos, sin [rows, 1, d] -> q [rows, heads, d], k and v [rows, kv_heads, d], rotated."""
        s, w = self.shape, self.weights
        merged = self._project(x, "qkv", layer, least, w.qkv_bias[layer]).view(len(x), -1, s.head_dim)
        qk, v = merged[:, : s.heads + s.kv_heads], merged[:, s.heads + s.kv_heads :]
        if s.qk_norm:
            q = self._norm(qk[:, : s.heads], w.q_norm[layer])
            k = self._norm(qk[:, s.heads :], w.k_norm[layer])
            qk = torch.cat([q, k], dim=1)
        half = s.head_dim // 2
        if kernels.serves(qk, half):
            q, k = (kernels.rotate(x, cos, sin, (1, 1)) for x in (qk[:, : s.heads], qk[:, s.heads :]))
            return q, k, v
        swapped = torch.cat([qk[..., half:], qk[..., :half]], dim=-1)
        qk = torch.addcmul(qk * cos, swapped, sin)
        return qk[:, : s.heads], qk[:, s.heads :], v

    def _rest(self, x: Tensor, attended: Tensor, layer: int, least: int = MANY) -> Tensor:
        """Output projection, MLP and their residuals. x [rows, hidden], attended [rows, heads * d]."""
        s, norms = self.shape, self.weights.norms
        y = self._project(attended, "out", layer, least)
        if s.sandwich_norms:
            x = x + self._norm(y, norms["post_attention_layernorm"][layer])
            h = self._norm(x, norms["pre_feedforward_layernorm"][layer])
        else:
            x = x + y
            h = self._norm(x, norms["post_attention_layernorm"][layer])
        gate, up = self._project(h, "gate_up", layer, least).chunk(2, dim=-1)
        if kernels.serves(gate, gate.shape[1]):
            product = kernels.gated(gate, up, s.gelu)
        else:
            product = (F.gelu(gate, approximate="tanh") if s.gelu else F.silu(gate)) * up
        y = self._project(product, "down", layer, least)
        if s.sandwich_norms:
            y = self._norm(y, norms["post_feedforward_layernorm"][layer])
        return x + y

    def _embed(self, ids: Tensor) -> Tensor:
        x = F.embedding(ids, self.weights.embed)
        if self.shape.embed_scale != 1.0:
            x = x * torch.tensor(self.shape.embed_scale, dtype=x.dtype)
        return x

    def _prefill_mask(self, start: int, t: int, window: int) -> Tensor | None:
        """bool [t, start + t], or None where the mask is plainly causal."""
        if not start and not (window and t > window):
            return None
        rows = torch.arange(start, start + t, device=self.device)[:, None]
        distance = rows - torch.arange(start + t, device=self.device)[None]
        seen = distance >= 0
        return seen & (distance < window) if window else seen

    @contextlib.contextmanager
    def beside(self, cache: Cache) -> Iterator[None]:
        """Inside, prefills use another cache, and the running sequences' is left alone."""
        if self._reach(cache.capacity):
            if self.native is not None:
                self.native.point()
            if self.graphs is not None:
                self.graphs.clear()
        kept, self.cache = self.cache, cache
        try:
            yield
        finally:
            self.cache = kept

    @torch.inference_mode()
    def prefill(
        self,
        prompts: Sequence[Sequence[int]],
        first_slot: int,
        starts: Sequence[int],
        lenders: Sequence[int | None] = (),
    ) -> Tensor:
        """Prefill prompts (token ids) into slots first_slot, first_slot + 1, ...; returns the last logits [N, vocab].

        `starts` and `lenders` [N]: see `states`.
        """
        x, begins = self.states(prompts, first_slot, starts, lenders)
        ends = [begin + len(prompt) - 1 for begin, prompt in zip(begins, prompts, strict=False)]
        return self.logits(x[ends])

    def normed(self, states: Tensor) -> Tensor:
        """States [N, hidden] of the last layer after the final norm."""
        return self._norm(states, self.weights.final_norm)

    def logits(self, states: Tensor) -> Tensor:
        """[N, vocab] of states [N, hidden] of the last layer."""
        return self.weights.head.linear(self._norm(states, self.weights.final_norm), least=self._least)

    @property
    def _least(self) -> int:
        """Rows of a prompt from which on kernels multiply: any where they also attend, since what they compute of a row
        does not depend on how many there are."""
        return 1 if self.tiled else MANY

    @property
    def tiled(self) -> bool:
        """Whether prompts' attention and products are computed by kernels, whatever the number of rows."""
        return kernels.multiplies(self.weights.embed) and self.shape.head_dim % kernels.LANES == 0

    @torch.inference_mode()
    def states(
        self,
        prompts: Sequence[Sequence[int]],
        first_slot: int,
        starts: Sequence[int],
        lenders: Sequence[int | None] = (),
    ) -> tuple[Tensor, list[int]]:
        """As `prefill`: (the last layer's states [rows, hidden], the row at which each prompt begins).

        `starts` [N]: tokens of each sequence that are computed already, after which its prompt continues: its slot
        holds them, or they are copied from the slot in `lenders`, one of the present ones or an earlier one of these.
        Prompts are concatenated, each padded only to `room`; neighbours of equal start and room share calls of
        attention.
        """
        s, cache = self.shape, self.cache
        sizes = [min(room(len(p)), cache.capacity - start) for p, start in zip(prompts, starts, strict=True)]
        begins = [0, *itertools.accumulate(sizes)]
        tiled = self.tiled
        whole_rows = kernels.whole(begins[-1]) if tiled else _aligned(begins[-1])
        ids = torch.zeros(whole_rows, dtype=torch.long)
        positions, turned = torch.zeros_like(ids), torch.zeros_like(ids)
        for slot, (prompt, begin, start) in enumerate(zip(prompts, begins, starts, strict=False), first_slot):
            size = sizes[slot - first_slot]
            ids[begin : begin + len(prompt)] = torch.tensor(prompt)
            positions[begin : begin + size] = torch.arange(start, start + size)
            # padding may lie beyond the positions of short sequences; what becomes of it is overwritten
            turned[begin : begin + len(prompt)] = positions[begin : begin + len(prompt)] + cache.turns[slot]
        positions = positions.to(self.device)
        rotations = self._rotations(turned.to(self.device))
        x = self._embed(ids.to(self.device))
        attended = x.new_zeros(len(ids), s.heads * s.head_dim)
        groups, at = [], 0
        for (start, size), same in itertools.groupby(zip(starts, sizes, strict=True)):
            n = len(list(same))
            rows, slots = slice(begins[at], begins[at + n]), slice(first_slot + at, first_slot + at + n)
            masks = {} if tiled else {window: self._prefill_mask(start, size, window) for window in set(s.windows)}
            borrowed = _by_lender(lenders[at : at + n], first_slot + at)
            groups.append((rows, slots, start, (n, size), masks, borrowed))
            at += n
        for layer in range(s.layers):
            h = self._norm(x, self.weights.norms["input_layernorm"][layer])
            q, k, v = self._qkv(h, layer, *rotations[layer], self._least)
            # attention sees what the cache will hold: an answer does not depend on the chunks of its prompt
            seen = () if tiled else (q, cache.seen(k), cache.seen(v))
            for rows, slots, start, shape, masks, borrowed in groups:
                for lender, borrowers in borrowed.items():
                    cache.lend(layer, lender, borrowers, start)
                fresh_k, fresh_v = (part[rows].view(*shape, -1, s.head_dim).transpose(1, 2) for part in (k, v))
                # padding goes into the cache too, where later tokens overwrite it
                cache.put(layer, (slots, slice(None), slice(start, start + shape[1])), fresh_k, fresh_v)
                if tiled:
                    kept = [part[layer][slots] for part in cache.parts.values()]
                    query, out = q[rows].contiguous(), attended[rows].view(shape[0] * shape[1], *q.shape[1:])
                    kernels.attend_cached(query, out, kept, start, s.scale, s.windows[layer])
                else:
                    mine = [part[rows] for part in seen]
                    self._attend(layer, mine, slots, start, shape, masks, attended[rows])
            x = self._rest(x, attended, layer, self._least)
        return x, begins

    def _attend(
        self,
        layer: int,
        seen: Sequence[Tensor],
        slots: slice,
        start: int,
        shape: tuple[int, int],
        masks: dict[int, Tensor | None],
        out: Tensor,
    ) -> None:
        """Attention by PyTorch of prompts of equal start and length: q, k, v [n * length, heads, d] -> out."""
        s = self.shape
        queries, keys, values = (part.view(*shape, -1, s.head_dim).transpose(1, 2) for part in seen)
        if start:
            keys, values = self.cache.take(layer, (slots, slice(None), slice(start + shape[1])))
        mask, grouped = masks[s.windows[layer]], s.heads != s.kv_heads
        a = F.scaled_dot_product_attention(
            queries, keys, values, mask, is_causal=mask is None, scale=s.scale, enable_gqa=grouped
        )
        out.view(*shape, s.heads, s.head_dim).copy_(a.transpose(1, 2))

    def native_for(self, sequences: int) -> NativeStep | None:
        """The native step, if it decodes this number of sequences; else None."""
        native = self.native
        return native if native is not None and self.adapter is None and sequences <= native.most else None

    @torch.inference_mode()
    def decode(self, ids: Tensor, positions: Tensor) -> Tensor:
        """One token each for the sequences in slots 0..N-1.

        ids, positions [N], on the CPU; returns logits [N, vocab].
        """
        n = len(ids)
        if (native := self.native_for(n)) is not None:
            return native.decode(ids, positions)
        longest = int(positions.max()) + 1
        if self.graphs is not None and n <= self.cache.buckets:
            logits = self.graphs.decode(ids, positions, longest)
            if logits is not None:
                return logits
            self.graphs = None
        return self.step(ids.to(self.device), positions.to(self.device), room(longest))

    def step(self, ids: Tensor, positions: Tensor, longest: int) -> Tensor:
        """`decode` by PyTorch, attending to the first `longest` positions of the cache.

        It can be captured: shapes follow from len(ids) and `longest`, and nothing is read back from the device.
        """
        s, cache = self.shape, self.cache
        n = ids.shape[0]
        group = s.heads // s.kv_heads
        x = self._embed(ids)
        rows = torch.arange(n, device=self.device)
        places = positions + cache.turns[:n].to(self.device) if s.switch else positions
        masks, rotations = self._decode_masks(positions, longest), self._rotations(places)
        for layer in range(s.layers):
            h = self._norm(x, self.weights.norms["input_layernorm"][layer])
            q, k, v = self._qkv(h, layer, *rotations[layer])
            cache.put(layer, (rows, slice(None), positions), k, v)
            a = F.scaled_dot_product_attention(
                q.view(n, s.kv_heads, group, s.head_dim),
                *cache.take(layer, (slice(n), slice(None), slice(longest))),
                attn_mask=masks[s.windows[layer]].expand(n, s.kv_heads, group, longest),
                scale=s.scale,
            )
            x = self._rest(x, a.reshape(n, -1), layer)
        return self.weights.head.linear(self._norm(x, self.weights.final_norm))

    def _decode_masks(self, positions: Tensor, longest: int) -> dict[int, Tensor]:
        """Window -> additive mask [N, 1, 1, longest]."""
        reach = torch.arange(longest, device=self.device)[None]
        masks: dict[int, Tensor] = {}
        for window in set(self.shape.windows):
            seen = reach <= positions[:, None]
            if window:
                seen &= reach > positions[:, None] - window
            mask = torch.zeros(len(positions), 1, 1, longest, dtype=self.dtype, device=self.device)
            masks[window] = mask.masked_fill_(~seen[:, None, None], float("-inf"))
        return masks
