"""The native decode step: kernels/step.c, compiled for this machine when an engine is loaded, called through ctypes.

It is used for bfloat16 and int8 weights on a CPU, for up to `NativeStep.most` sequences at a time. Where there is no
compiler, or the model's sizes are not multiples of 32 (heads: 16), PyTorch computes every step; `LocalEngine.kernel`
says which.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steersman.engine.matrix import Int8, Matrix
from steersman.models.native import Pointer, library

if TYPE_CHECKING:
    from steersman.engine.decoder import Decoder

WITHOUT_TILES = 8
"""Most sequences where the machine has no matrix tiles: for more, PyTorch's matrix products are faster."""
INT8_TILES_FROM = 5
"""Below, vector products over int8 are faster than tiles. bfloat16 always takes tiles, so that a sequence's logits do
not depend on how many others there are."""
SPAN = 1024
"""As in kernels/sample.c."""


class _Matrix(ctypes.Structure):
    _fields_ = [("values", Pointer), ("scales", Pointer), ("rows", ctypes.c_int64), ("columns", ctypes.c_int64)]


_NORMS = ("input_norm", "post_norm", "pre_mlp_norm", "post_mlp_norm")


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Matrix) for name in ("qkv", "out", "gate_up", "down")),
        *((name, Pointer) for name in ("bias", *_NORMS, "q_norm", "k_norm", "cos", "sin", "keys", "values")),
        ("window", ctypes.c_int64),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "gelu", "sandwich")
        ),
        ("capacity", ctypes.c_int64),
        ("tiles_from", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("eps", "scale", "embed_scale", "norm_offset")),
        ("embed", Pointer),
        ("final_norm", Pointer),
        ("head", _Matrix),
        ("layer", ctypes.POINTER(_Layer)),
    ]


def _address(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


def _matrix(matrix: Matrix) -> _Matrix:
    rows, columns = matrix.shape
    if isinstance(matrix, Int8):
        return _Matrix(_address(matrix.values), _address(matrix.scales), rows, columns)
    return _Matrix(_address(matrix.weight), None, rows, columns)


class NativeStep:
    """Decodes with kernels/step.c over a decoder's own weights and cache."""

    def __init__(self, decoder: Decoder, lib: ctypes.CDLL) -> None:
        self._decoder, self._lib = decoder, lib
        tiles = bool(lib.steersman_tiles())
        self.most: int = lib.steersman_most() if tiles else WITHOUT_TILES
        self._tiles_from = (INT8_TILES_FROM if decoder.weights.int8 else 1) if tiles else 0
        self._threads = torch.get_num_threads()
        self._model, self._scratch = _Model(), torch.empty(0, dtype=torch.uint8)
        self._logits, self._sums = torch.empty(0, 0), torch.empty(0, 0)
        self._rows: tuple[Any, ...] = ()

    @staticmethod
    def of(decoder: Decoder) -> NativeStep | None:
        """None where it cannot compute this decoder on this machine."""
        s = decoder.shape
        sizes = (s.hidden, s.intermediate, s.heads * s.head_dim)
        if (
            decoder.device.type != "cpu"
            or decoder.dtype != torch.bfloat16
            or any(size % 32 for size in sizes)
            or s.head_dim % 16
        ):
            return None
        lib = library()
        return None if lib is None else NativeStep(decoder, lib)

    def point(self) -> None:
        """Take the addresses of weights and cache again, after any of them was replaced."""
        s, w, cache = self._decoder.shape, self._decoder.weights, self._decoder.cache
        if not cache.keys:
            return
        layers = (_Layer * s.layers)()
        for i in range(s.layers):
            cos, sin = self._decoder.ropes[i]
            norms = {n: w.norms[n][i] for n in w.norms}
            layers[i] = _Layer(
                *(_matrix(w.matrices(name)[i]) for name in ("qkv", "out", "gate_up", "down")),
                _address(w.qkv_bias[i]),
                _address(norms["input_layernorm"]),
                _address(norms["post_attention_layernorm"]),
                _address(norms.get("pre_feedforward_layernorm")),
                _address(norms.get("post_feedforward_layernorm")),
                _address(w.q_norm[i]) if s.qk_norm else None,
                _address(w.k_norm[i]) if s.qk_norm else None,
                _address(cos),
                _address(sin),
                _address(cache.keys[i]),
                _address(cache.values[i]),
                s.windows[i],
            )
        self._layers = layers  # the struct below only points there
        self._model = _Model(
            *(s.layers, s.hidden, s.intermediate, s.heads, s.kv_heads, s.head_dim, s.gelu, s.sandwich_norms),
            *(cache.capacity, self._tiles_from),
            *(s.eps, s.scale, float(torch.tensor(s.embed_scale, dtype=torch.bfloat16)), s.norm_offset),
            _address(w.embed),
            _address(w.final_norm),
            _matrix(w.head),
            layers,
        )
        needed = self._lib.steersman_scratch(ctypes.byref(self._model), self._threads, cache.capacity)
        if needed > self._scratch.numel():
            self._scratch = torch.zeros(needed, dtype=torch.uint8)

    def decode(self, ids: Tensor, positions: Tensor) -> Tensor:
        """As `Decoder.decode`; logits are float32 [N, vocab]."""
        logits = torch.empty(len(ids), self._decoder.shape.vocabulary)
        self._step(len(ids), _address(ids), _address(positions), logits)
        return logits

    def _step(self, n: int, ids: Any, positions: Any, logits: Tensor) -> None:
        assert n <= self.most
        longest, scratch = self._decoder.cache.capacity, self._scratch.data_ptr()
        model = ctypes.byref(self._model)
        self._lib.steersman_step(model, ids, positions, n, self._threads, longest, scratch, logits.data_ptr())

    def sample(self, logits: Tensor, temperature: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """As `sampling.sample` without top-k, top-p and min-p, for float32 logits [N, vocab] on the CPU."""
        n, vocabulary = logits.shape
        temperature, uniform = temperature.float(), uniform.float()  # named, so that they outlive the call
        ids, logprobs = torch.empty(n, dtype=torch.long), torch.empty(n)
        sums = torch.empty(n, vocabulary // SPAN + 1)
        heat, chance, sum_, id_, logprob = (_address(x) for x in (temperature, uniform, sums, ids, logprobs))
        self._lib.steersman_sample(_address(logits), n, vocabulary, heat, chance, self._threads, sum_, id_, logprob)
        return ids, logprobs

    def advance(
        self, ids: list[int], positions: list[int], temperature: list[float], uniform: list[float]
    ) -> tuple[list[int], list[float]]:
        """`decode`, then `sample`, over buffers that stay: (tokens, logprobs), one of each per sequence.

        When a step has gone through all weights, PyTorch's operators are in no cache any more: those around the step
        of one sequence would cost several percent of it.
        """
        n, vocabulary = len(ids), self._decoder.shape.vocabulary
        if n > len(self._logits):
            self._logits, self._sums = torch.empty(n, vocabulary), torch.empty(n, vocabulary // SPAN + 1)
            whole, real = ctypes.c_int64 * n, ctypes.c_float * n
            self._rows = whole(), whole(), real(), real(), real()
        tokens, places, heats, chances, logprobs = self._rows
        tokens[:n], places[:n], heats[:n], chances[:n] = ids, positions, temperature, uniform
        self._step(n, tokens, places, self._logits)
        logits, sums = self._logits.data_ptr(), self._sums.data_ptr()
        self._lib.steersman_sample(logits, n, vocabulary, heats, chances, self._threads, sums, tokens, logprobs)
        return tokens[:n], logprobs[:n]
