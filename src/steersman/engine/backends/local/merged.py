"""Weights of a decoder, merged for the engine and assigned by transformers' names.

q, k and v are one matrix, gate and up another. Everything is allocated once; `load` copies in place.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from steersman.engine.backends.local.matrix import Dense, Int8, Matrix
from steersman.families.shape import Shape


class Weights:
    """`int8`: the matrices are kept as int8 (the embedding and the norms stay as they are)."""

    def __init__(self, s: Shape, dtype: torch.dtype, device: torch.device, int8: bool = False) -> None:
        self.shape, self.dtype, self.device, self.int8 = s, dtype, device, int8

        def matrix(rows: int, columns: int) -> Matrix:
            return Int8(rows, columns, dtype, device) if int8 else Dense(rows, columns, dtype, device)

        def vector(size: int) -> Tensor:
            return torch.zeros(size, dtype=dtype, device=device)

        each = range(s.layers)
        self.embed = torch.zeros(s.vocabulary, s.hidden, dtype=dtype, device=device)
        self.head = matrix(s.vocabulary, s.hidden) if int8 or not s.tied else Dense.of(self.embed)
        self.final_norm = vector(s.hidden)
        self.qkv = [matrix((s.heads + 2 * s.kv_heads) * s.head_dim, s.hidden) for _ in each]
        self.qkv_bias: list[Tensor | None] = [None] * s.layers
        self.out = [matrix(s.hidden, s.heads * s.head_dim) for _ in each]
        self.gate_up = [matrix(2 * s.intermediate, s.hidden) for _ in each]
        self.down = [matrix(s.hidden, s.intermediate) for _ in each]
        names = ["input_layernorm", "post_attention_layernorm"]
        if s.sandwich_norms:
            names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        self.norms = {name: [vector(s.hidden) for _ in each] for name in names}
        self.q_norm = [vector(s.head_dim) for _ in each] if s.qk_norm else []
        self.k_norm = [vector(s.head_dim) for _ in each] if s.qk_norm else []

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices that one step reads through."""
        return sum(m.nbytes for m in (self.head, *self.qkv, *self.out, *self.gate_up, *self.down))

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy tensors in by transformers' names. Raises ValueError on an unknown name or a wrong shape."""
        for name, tensor in weights:
            if name == "lm_head.weight" and self.shape.tied:
                continue
            if name == "model.embed_tokens.weight":
                self._copy(name, self.embed, tensor)
                if self.shape.tied and self.int8:
                    self.head.assign(0, tensor)
            elif name == "lm_head.weight":
                self._assign(name, self.head, 0, self.shape.vocabulary, tensor)
            elif name == "model.norm.weight":
                self._copy(name, self.final_norm, tensor)
            else:
                self._load_layer(name, tensor)

    def _load_layer(self, name: str, tensor: Tensor) -> None:
        layer, block, kind = layer_part(name)
        if layer >= self.shape.layers:
            raise ValueError(f"unknown weight '{name}'")
        rows = merged_rows(self.shape).get(block)
        if rows is not None and kind == "weight":
            merged, low, high = rows
            self._assign(name, self.matrices(merged)[layer], low, high, tensor)
        elif rows is not None and kind == "bias" and rows[0] == "qkv":
            bias = self.qkv_bias[layer]
            if bias is None:
                bias = torch.zeros(self.qkv[layer].shape[0], dtype=self.dtype, device=self.device)
                self.qkv_bias[layer] = bias
            self._copy(name, bias[rows[1] : rows[2]], tensor)
        elif block in self.norms and kind == "weight":
            self._copy(name, self.norms[block][layer], tensor)
        elif block in ("q_norm", "k_norm") and self.shape.qk_norm and kind == "weight":
            self._copy(name, (self.q_norm if block == "q_norm" else self.k_norm)[layer], tensor)
        else:
            raise ValueError(f"unknown weight '{name}'")

    def matrices(self, merged: str) -> list[Matrix]:
        """The layers' matrices called 'qkv', 'out', 'gate_up' or 'down'."""
        found: list[Matrix] = getattr(self, merged)
        return found

    def _copy(self, name: str, target: Tensor, tensor: Tensor) -> None:
        _check(name, target.shape, tensor)
        target.copy_(tensor)

    def _assign(self, name: str, matrix: Matrix, low: int, high: int, tensor: Tensor) -> None:
        _check(name, torch.Size((high - low, matrix.shape[1])), tensor)
        matrix.assign(low, tensor)


def _check(name: str, expected: torch.Size, tensor: Tensor) -> None:
    if expected != tensor.shape:
        raise ValueError(f"weight {name}: expected shape {tuple(expected)}, got {tuple(tensor.shape)}")


def layer_part(name: str) -> tuple[int, str, str]:
    """'model.layers.3.self_attn.q_proj.weight' -> (3, 'q_proj', 'weight'). ValueError on any other form."""
    number, _, rest = name.removeprefix("model.layers.").partition(".")
    part, _, kind = rest.rpartition(".")
    if not name.startswith("model.layers.") or not number.isdigit():
        raise ValueError(f"unknown weight '{name}'")
    return int(number), part.rpartition(".")[2], kind


def merged_rows(s: Shape) -> dict[str, tuple[str, int, int]]:
    """transformers' name of a projection -> (merged matrix, first row, row after the last)."""
    q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
    return {
        "q_proj": ("qkv", 0, q),
        "k_proj": ("qkv", q, q + kv),
        "v_proj": ("qkv", q + kv, q + 2 * kv),
        "o_proj": ("out", 0, s.hidden),
        "gate_proj": ("gate_up", 0, s.intermediate),
        "up_proj": ("gate_up", s.intermediate, 2 * s.intermediate),
        "down_proj": ("down", 0, s.hidden),
    }
