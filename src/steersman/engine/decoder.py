"""One forward step of a decoder-only transformer over a slot cache, with merged weights.

Covers the Llama shape and its relatives (SmolLM, Mistral, Qwen2/2.5/3, Gemma 3). Weights are read from a
transformers state dict under transformers' names, so that a trainer can push updates by name. q, k and v are one
matrix, gate and up another; nothing is allocated per step but activations.

The cache is one [slots, kv_heads, capacity, head_dim] tensor for keys and one for values per layer. Active
sequences sit in slots 0..n-1, so a step reads a plain slice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FAMILIES = {"llama", "mistral", "qwen2", "qwen3", "gemma3_text"}


@dataclass(frozen=True)
class Shape:
    """What differs between families."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    scale: float
    embed_scale: float
    gelu: bool
    sandwich_norms: bool
    """Gemma 3 also normalises what attention and MLP return."""
    norm_offset: float
    """Gemma's norm weights are stored minus one."""
    qk_norm: bool
    tied: bool
    windows: tuple[int, ...]
    """Per layer: how many past tokens it attends to; 0 is all."""
    thetas: tuple[float, ...]
    rope_scalings: tuple[dict[str, Any], ...]
    context: int


def shape_of(config: Any) -> Shape:
    """Raises ValueError for a model the local engine does not compute exactly; use the reference backend there."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ValueError(f"model type '{kind}' is not one of {', '.join(sorted(FAMILIES))}")
    layers = config.num_hidden_layers
    gemma = kind == "gemma3_text"
    rope = config.rope_parameters
    types = getattr(config, "layer_types", None) or ["full_attention"] * layers
    per_type = rope if "full_attention" in rope else dict.fromkeys(set(types), rope)
    for parameters in per_type.values():
        if parameters.get("rope_type", "default") not in ("default", "linear", "llama3"):
            raise ValueError(f"rope type '{parameters['rope_type']}' is not supported")
    window = getattr(config, "sliding_window", None) or 0
    if kind in ("llama", "qwen2", "qwen3") and not (kind != "llama" and getattr(config, "use_sliding_window", False)):
        window = 0
    sliding = [(kind == "mistral" and window > 0) or t == "sliding_attention" for t in types]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        layers=layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        eps=config.rms_norm_eps,
        scale=config.query_pre_attn_scalar**-0.5 if gemma else head_dim**-0.5,
        embed_scale=config.hidden_size**0.5 if gemma else 1.0,
        gelu=gemma,
        sandwich_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        qk_norm=kind in ("qwen3", "gemma3_text"),
        tied=bool(config.tie_word_embeddings),
        windows=tuple(window if s else 0 for s in sliding),
        thetas=tuple(float(per_type[t]["rope_theta"]) for t in types),
        rope_scalings=tuple(dict(per_type[t]) for t in types),
        context=config.max_position_embeddings,
    )


def _inverse_frequencies(theta: float, scaling: dict[str, Any], head_dim: int) -> Tensor:
    """[head_dim / 2] rotation frequencies, float32; linear and Llama 3 scaling as in their papers."""
    inverse: Tensor = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim)
    kind = scaling.get("rope_type", "default")
    if kind == "linear":
        inverse = inverse / scaling["factor"]
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        wavelength = 2 * torch.pi / inverse
        smooth = (scaling["original_max_position_embeddings"] / wavelength - low) / (high - low)
        smooth = smooth.clamp(0, 1)
        inverse = smooth * inverse + (1 - smooth) * inverse / scaling["factor"]
    return inverse


class Decoder:
    """Weights, cache and the two kinds of step: `prefill` of whole prompts and `decode` of one token per sequence."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = s = shape_of(config)
        self.dtype, self.device = dtype, device
        qkv_rows = (s.heads + 2 * s.kv_heads) * s.head_dim

        def empty(*size: int) -> Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        self.embed = empty(config.vocab_size, s.hidden)
        self.head = self.embed if s.tied else empty(config.vocab_size, s.hidden)
        self.final_norm = empty(s.hidden)
        self.qkv = [empty(qkv_rows, s.hidden) for _ in range(s.layers)]
        self.qkv_bias: list[Tensor | None] = [None] * s.layers
        self.out = [empty(s.hidden, s.heads * s.head_dim) for _ in range(s.layers)]
        self.gate_up = [empty(2 * s.intermediate, s.hidden) for _ in range(s.layers)]
        self.down = [empty(s.hidden, s.intermediate) for _ in range(s.layers)]
        names = ["input_layernorm", "post_attention_layernorm"]
        if s.sandwich_norms:
            names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        self.norms = {name: [empty(s.hidden) for _ in range(s.layers)] for name in names}
        self.q_norm = [empty(s.head_dim) for _ in range(s.layers)] if s.qk_norm else []
        self.k_norm = [empty(s.head_dim) for _ in range(s.layers)] if s.qk_norm else []
        self.ropes = self._rope_tables(4096)
        self.capacity, self.slots = 0, 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    # weights

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy tensors in by transformers' names. Raises ValueError on an unknown name or a wrong shape."""
        for name, tensor in weights:
            target = self._target(name)
            if target is None:
                continue
            if target.shape != tensor.shape:
                raise ValueError(f"weight {name}: expected shape {tuple(target.shape)}, got {tuple(tensor.shape)}")
            target.copy_(tensor)

    def _target(self, name: str) -> Tensor | None:
        s = self.shape
        if name == "model.embed_tokens.weight":
            return self.embed
        if name == "lm_head.weight":
            return None if s.tied else self.head
        if name == "model.norm.weight":
            return self.final_norm
        if not name.startswith("model.layers."):
            raise ValueError(f"unknown weight '{name}'")
        number, _, rest = name.removeprefix("model.layers.").partition(".")
        layer = int(number)
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        rows = {"q_proj": (0, q), "k_proj": (q, q + kv), "v_proj": (q + kv, q + 2 * kv)}
        part, _, kind = rest.rpartition(".")
        block = part.rpartition(".")[2]
        if block in rows:
            low, high = rows[block]
            if kind == "bias":
                bias = self.qkv_bias[layer]
                if bias is None:
                    bias = self.qkv_bias[layer] = torch.zeros(q + 2 * kv, dtype=self.dtype, device=self.device)
                return bias[low:high]
            return self.qkv[layer][low:high]
        if kind == "weight":
            if block == "o_proj":
                return self.out[layer]
            if block in ("gate_proj", "up_proj"):
                low = 0 if block == "gate_proj" else s.intermediate
                return self.gate_up[layer][low : low + s.intermediate]
            if block == "down_proj":
                return self.down[layer]
            if block in self.norms:
                return self.norms[block][layer]
            if block in ("q_norm", "k_norm") and s.qk_norm:
                return (self.q_norm if block == "q_norm" else self.k_norm)[layer]
        raise ValueError(f"unknown weight '{name}'")

    # cache

    def reserve(self, slots: int, capacity: int) -> None:
        """Room for `slots` sequences of `capacity` tokens; grows by copying what is there, never shrinks."""
        if slots <= self.slots and capacity <= self.capacity:
            return
        slots, capacity = max(slots, self.slots), max(capacity, self.capacity)
        s = self.shape
        for cache in (self.keys, self.values):
            for layer in range(s.layers):
                grown = torch.zeros(slots, s.kv_heads, capacity, s.head_dim, dtype=self.dtype, device=self.device)
                if self.slots:
                    grown[: self.slots, :, : self.capacity] = cache[layer]
                    cache[layer] = grown
                else:
                    cache.append(grown)
        self.slots, self.capacity = slots, capacity
        if capacity > self.ropes[0][0].shape[0]:
            self.ropes = self._rope_tables(2 * capacity)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a sequence's first `length` cached tokens from one slot to another."""
        for cache in (self.keys, self.values):
            for layer in cache:
                layer[target, :, :length] = layer[source, :, :length]

    def _rope_tables(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """Per layer (cos, sin), each [length, head_dim]; layers of one kind share a table."""
        tables: dict[str, tuple[Tensor, Tensor]] = {}
        result = []
        for theta, scaling in zip(self.shape.thetas, self.shape.rope_scalings, strict=True):
            key = repr((theta, scaling))
            if key not in tables:
                inverse = _inverse_frequencies(theta, scaling, self.shape.head_dim)
                angles = torch.outer(torch.arange(length).float(), inverse)
                angles = torch.cat([angles, angles], dim=-1)
                cos, sin = angles.cos(), angles.sin()
                sin[:, : self.shape.head_dim // 2].neg_()  # so that rotation is x * cos + swap_halves(x) * sin
                tables[key] = (cos.to(self.device, self.dtype), sin.to(self.device, self.dtype))
            result.append(tables[key])
        return result

    # forward

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.shape.norm_offset:
            return (F.rms_norm(x.float(), (x.shape[-1],), eps=self.shape.eps) * (1.0 + weight.float())).to(x.dtype)
        return F.rms_norm(x, (x.shape[-1],), weight, self.shape.eps)

    def _qkv(self, x: Tensor, layer: int, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, T, hidden] -> q [N, heads, T, d], k and v [N, kv_heads, T, d], rotated."""
        s = self.shape
        n, t = x.shape[:2]
        merged = F.linear(x, self.qkv[layer], self.qkv_bias[layer]).view(n, t, -1, s.head_dim)
        qk, v = merged[:, :, : s.heads + s.kv_heads], merged[:, :, s.heads + s.kv_heads :]
        if s.qk_norm:
            q = self._norm(qk[:, :, : s.heads], self.q_norm[layer])
            k = self._norm(qk[:, :, s.heads :], self.k_norm[layer])
            qk = torch.cat([q, k], dim=2)
        half = s.head_dim // 2
        swapped = torch.cat([qk[..., half:], qk[..., :half]], dim=-1)
        qk = torch.addcmul(qk * cos, swapped, sin).transpose(1, 2)
        return qk[:, : s.heads], qk[:, s.heads :], v.transpose(1, 2)

    def _rest(self, x: Tensor, attended: Tensor, layer: int) -> Tensor:
        """Output projection, MLP and their residuals. x [N, T, hidden], attended [N, T, heads * d]."""
        s = self.shape
        y = F.linear(attended, self.out[layer])
        if s.sandwich_norms:
            x = x + self._norm(y, self.norms["post_attention_layernorm"][layer])
            h = self._norm(x, self.norms["pre_feedforward_layernorm"][layer])
        else:
            x = x + y
            h = self._norm(x, self.norms["post_attention_layernorm"][layer])
        gate, up = F.linear(h, self.gate_up[layer]).chunk(2, dim=-1)
        gate = F.gelu(gate, approximate="tanh") if s.gelu else F.silu(gate)
        y = F.linear(gate * up, self.down[layer])
        if s.sandwich_norms:
            y = self._norm(y, self.norms["post_feedforward_layernorm"][layer])
        return x + y

    def _embed(self, ids: Tensor) -> Tensor:
        x = F.embedding(ids, self.embed)
        if self.shape.embed_scale != 1.0:
            x = x * torch.tensor(self.shape.embed_scale, dtype=x.dtype)
        return x

    @torch.inference_mode()
    def prefill(self, ids: Tensor, lengths: Tensor, first_slot: int) -> Tensor:
        """Run prompts [N, T] (padded at the right) into slots first_slot..; returns last logits [N, vocab]."""
        s = self.shape
        n, t = ids.shape
        x = self._embed(ids)
        slots = slice(first_slot, first_slot + n)
        for layer in range(s.layers):
            cos, sin = (table[:t, None] for table in self.ropes[layer])
            q, k, v = self._qkv(self._norm(x, self.norms["input_layernorm"][layer]), layer, cos, sin)
            self.keys[layer][slots, :, :t] = k
            self.values[layer][slots, :, :t] = v
            window = s.windows[layer]
            mask = None
            if window and t > window:
                position = torch.arange(t, device=self.device)
                distance = position[:, None] - position[None]
                mask = (distance >= 0) & (distance < window)
            a = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=s.scale, enable_gqa=s.heads != s.kv_heads
            )
            x = self._rest(x, a.transpose(1, 2).reshape(n, t, -1), layer)
        last = x[torch.arange(n, device=self.device), lengths - 1]
        return F.linear(self._norm(last, self.final_norm), self.head)

    @torch.inference_mode()
    def decode(self, ids: Tensor, positions: Tensor) -> Tensor:
        """One token each for the sequences in slots 0..N-1. ids, positions [N]; returns logits [N, vocab]."""
        s = self.shape
        n = ids.shape[0]
        group = s.heads // s.kv_heads
        x = self._embed(ids)[:, None]
        longest = int(positions.max()) + 1
        rows = torch.arange(n, device=self.device)
        reach = torch.arange(longest, device=self.device)[None]
        masks: dict[int, Tensor] = {}
        for window in set(s.windows):
            seen = reach <= positions[:, None]
            if window:
                seen &= reach > positions[:, None] - window
            masks[window] = torch.zeros(n, 1, 1, longest, dtype=self.dtype).masked_fill_(
                ~seen[:, None, None], float("-inf")
            )
        for layer in range(s.layers):
            cos, sin = (table[positions][:, None, None] for table in self.ropes[layer])
            q, k, v = self._qkv(self._norm(x, self.norms["input_layernorm"][layer]), layer, cos, sin)
            self.keys[layer][rows, :, positions] = k[:, :, 0]
            self.values[layer][rows, :, positions] = v[:, :, 0]
            a = F.scaled_dot_product_attention(
                q.view(n, s.kv_heads, group, s.head_dim),
                self.keys[layer][:n, :, :longest],
                self.values[layer][:n, :, :longest],
                attn_mask=masks[s.windows[layer]].expand(n, s.kv_heads, group, longest),
                scale=s.scale,
            )
            x = self._rest(x, a.reshape(n, 1, -1), layer)
        return F.linear(self._norm(x[:, 0], self.final_norm), self.head)
