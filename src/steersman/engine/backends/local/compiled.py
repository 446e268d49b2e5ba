"""The native decode step: kernels/step.c, compiled for this machine when an engine is loaded, called through ctypes.

It is used for bfloat16 and int8 weights on a CPU, for up to `NativeStep.most` sequences at a time. Where there is no
compiler, or the model's sizes are not multiples of 32 (heads: 16), PyTorch computes every step; `LocalEngine.kernel`
says which.

Why so: decision 31 in docs/LOG.md.
"""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steersman.engine.backends.local.matrix import Int8, Matrix
from steersman.engine.backends.local.sharing import Sharing
from steersman.kernels import entries
from steersman.kernels.capabilities import Capabilities, capabilities
from steersman.kernels.entries import Sizes, address, argument, fault

if TYPE_CHECKING:
    from steersman.engine.backends.local.forward import Decoder

SPAN = 1024
"""Same value as in kernels/sample.c."""
_NORMS = {
    "input_norm": "input_layernorm",
    "post_norm": "post_attention_layernorm",
    "pre_mlp_norm": "pre_feedforward_layernorm",
    "post_mlp_norm": "post_feedforward_layernorm",
}
"""Fields of a layer, by transformers' names."""


def _at(tensor: Tensor | None, text: str, sizes: Sizes) -> int | None:
    """The tensor's address, checked against the shape `text` in the notation of `entries.ENTRIES`."""
    return None if tensor is None else address("step", argument(text), tensor, sizes)


def _matrix(matrix: Matrix, name: str, rows: int, columns: int) -> entries.Matrix:
    sizes: Sizes = {"rows": rows, "columns": columns}
    if isinstance(matrix, Int8):
        places = _at(matrix.values, f"{name}:c[rows,columns]", sizes), _at(matrix.scales, f"{name}:f[rows]", sizes)
    else:
        places = _at(matrix.weight, f"{name}:b[rows,columns]", sizes), None
    return entries.Matrix(*places, rows, columns)


GROUPS = 8
"""Most groups of sequences that one step goes through."""


class NativeStep:
    """Decodes with kernels/step.c over a decoder's own weights and cache."""

    def __init__(self, decoder: Decoder, found: Capabilities) -> None:
        assert found.library is not None
        self._decoder, self._lib = decoder, found.library
        self._at_once = found.sequences
        self.most = GROUPS * found.sequences
        self._groups: dict[int, tuple[Any, ctypes.Array[entries.Layer]]] = {}
        """First slot of a group -> the model as it sees it, and its layers, kept alive."""
        self._packed_from = found.packed_from[decoder.weights.int8]
        self._threads = torch.get_num_threads()
        self.sharing = Sharing(self._threads)
        self._model, self._scratch = entries.Model(), torch.empty(0, dtype=torch.uint8)
        self._logits, self._sums = torch.empty(0, 0), torch.empty(0, 0)
        self._rows: tuple[Any, ...] = ()

    @staticmethod
    def of(decoder: Decoder) -> NativeStep | None:
        """A native step for the decoder; None where this machine or model does not allow one."""
        s = decoder.shape
        sizes = (s.hidden, s.intermediate, s.heads * s.head_dim)
        if (
            decoder.device.type != "cpu"
            or decoder.dtype != torch.bfloat16
            or any(size % 32 for size in sizes)
            or s.head_dim % 16
        ):
            return None
        found = capabilities()
        return None if found.library is None else NativeStep(decoder, found)

    def use_one_kind(self) -> None:
        """Multiply in one way however many sequences there are: then a sequence's logits do not depend on it."""
        self._packed_from = 1
        self.point()

    def point(self) -> None:
        """Read and check the addresses of weights and cache again, after any tensor was replaced."""
        s, w, cache = self._decoder.shape, self._decoder.weights, self._decoder.cache
        if not cache.slots:
            return
        sizes = {
            "hidden": s.hidden,
            "d": s.head_dim,
            "heads": s.kv_heads,
            "slots": cache.slots,
            "places": cache.capacity,
        }
        merged, attended = (s.heads + 2 * s.kv_heads) * s.head_dim, s.heads * s.head_dim
        shapes = {
            "qkv": (merged, s.hidden),
            "out": (s.hidden, attended),
            "gate_up": (2 * s.intermediate, s.hidden),
            "down": (s.hidden, s.intermediate),
        }
        layers = (entries.Layer * s.layers)()
        for i in range(s.layers):
            cos, sin = self._decoder.ropes[i]
            # a table may have more rows (positions) than the cache
            if len(cos) < s.switch + cache.capacity or len(sin) < s.switch + cache.capacity:
                raise ValueError(f"rotations: expected {s.switch + cache.capacity} positions or more, got {len(cos)}")
            layers[i] = entries.Layer(
                **{name: _matrix(w.matrices(name)[i], name, *shape) for name, shape in shapes.items()},
                **{name: _at(w.norms[n][i], f"{name}:b[hidden]", sizes) for name, n in _NORMS.items() if n in w.norms},
                bias=_at(w.qkv_bias[i], "bias:b[merged]", {"merged": merged}),
                q_norm=_at(w.q_norm[i], "q_norm:b[d]", sizes) if s.qk_norm else None,
                k_norm=_at(w.k_norm[i], "k_norm:b[d]", sizes) if s.qk_norm else None,
                cos=_at(cos, "cos:b[positions,d]", sizes),
                sin=_at(sin, "sin:b[positions,d]", sizes),
                **self._cached(i, sizes),
                window=s.windows[i],
            )
        self._model = entries.Model(
            *(s.layers, s.hidden, s.intermediate, s.heads, s.kv_heads, s.head_dim, s.gelu, s.sandwich_norms),
            *(cache.slots, cache.capacity, self._packed_from),
            *(s.eps, s.scale, float(torch.tensor(s.embed_scale, dtype=torch.bfloat16)), s.norm_offset),
            _at(w.embed, "embed:b[vocabulary,hidden]", sizes | {"vocabulary": s.vocabulary}),
            _at(w.final_norm, "final_norm:b[hidden]", sizes),
            _matrix(w.head, "head", s.vocabulary, s.hidden),
            layers,
            _at(cache.turns, "turns:l[slots]", sizes),
        )
        self._groups = {0: (self._model, layers)}
        needed = self._lib.steersman_scratch(ctypes.byref(self._model), self._threads)
        if needed > self._scratch.numel():
            self._scratch = torch.zeros(needed, dtype=torch.uint8)

    def _cached(self, layer: int, sizes: Sizes) -> dict[str, int | None]:
        """The cache's fields of a layer."""
        kind = "c" if self._decoder.cache.int8 else "b"
        kinds = {"keys": f"{kind}[slots,heads,places,d]", "values": f"{kind}[slots,heads,places,d]"}
        scales = dict.fromkeys(("key_scales", "value_scales"), "f[slots,heads,places]")
        found = self._decoder.cache.parts.items()
        return {name: _at(part[layer], f"{name}:{(kinds | scales)[name]}", sizes) for name, part in found}

    def decode(self, ids: Tensor, positions: Tensor) -> Tensor:
        """As `Decoder.decode`; logits are float32 [N, vocab]."""
        logits, sizes = torch.empty(len(ids), self._decoder.shape.vocabulary), {"n": len(ids)}
        given = {"ids:l[n]": ids, "positions:l[n]": positions}
        places = [address("step", argument(text), tensor, sizes) for text, tensor in given.items()]
        self._steps(len(ids), places[0], places[1], logits)
        return logits

    def _model_from(self, slot: int) -> Any:
        """The model whose first slot is `slot`."""
        if slot not in self._groups:
            (_, layers), cache = self._groups[0], self._decoder.cache
            later = type(layers)(*layers)
            for name, part in cache.parts.items():
                for layer, tensor in zip(later, part, strict=True):
                    setattr(layer, name, tensor[slot].data_ptr())
            model = entries.Model.from_buffer_copy(self._model)
            model.slots, model.layer = cache.slots - slot, later
            model.turns = cache.turns[slot:].data_ptr()
            self._groups[slot] = model, later
        return self._groups[slot][0]

    def _steps(self, n: int, ids: int, positions: int, logits: Tensor) -> None:
        """`_step` of n sequences, whose token ids and positions lie at these addresses, in as few equal groups as it
        takes: each reads all weights again."""
        group = -(-n // -(-n // self._at_once))
        began, spent = time.perf_counter(), time.process_time()
        for first in range(0, n, group):
            end, place = min(n, first + group), 8 * first
            self._step(first, end - first, ids + place, positions + place, logits[first:end])
        self.sharing.done(n, time.perf_counter() - began, time.process_time() - spent)

    def _step(self, first: int, n: int, ids: int, positions: int, logits: Tensor) -> None:
        model = ctypes.byref(self._model_from(first))
        scratch, size = self._scratch.data_ptr(), self._scratch.numel()
        threads = self.sharing.threads
        code = self._lib.steersman_step(model, ids, positions, n, scratch, size, logits.data_ptr(), threads)
        if code:
            raise fault("step", code, self._about(n, ids, positions))

    def _about(self, n: int, ids: int, positions: int) -> str:
        """A step's sizes and arguments, for error messages."""
        given = [list((ctypes.c_int64 * n).from_address(x)) for x in (ids, positions)]
        m, cache = self._model, self._decoder.cache
        have = f"a vocabulary of {m.head.rows} and {cache.slots} slots of {cache.capacity} positions"
        return f"{n} sequences, token ids {given[0][:8]}, positions {given[1][:8]}, for {have}"

    def sample(self, logits: Tensor, temperature: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """As `sampling.sample` without top-k, top-p and min-p, for float32 logits [N, vocab] on the CPU."""
        n, vocabulary = logits.shape
        sums = torch.empty(n, vocabulary // SPAN + 1)
        heat, chance = temperature.float(), uniform.float()
        given = {"logits": logits, "temperature": heat, "uniform": chance, "sums": sums}
        ids, logprobs = entries.call(self._lib, "sample", given)
        return ids, logprobs

    def advance(
        self, ids: list[int], positions: list[int], temperature: list[float], uniform: list[float]
    ) -> tuple[list[int], list[float]]:
        """`decode`, then `sample`, over reused buffers: (tokens, logprobs), one of each per sequence.

        A step reads all weights and so evicts PyTorch's operators from the CPU caches: calling them around each step
        of one sequence would cost several percent.
        """
        n, vocabulary = len(ids), self._decoder.shape.vocabulary
        if n > len(self._logits):
            self._logits, self._sums = torch.empty(n, vocabulary), torch.empty(n, vocabulary // SPAN + 1)
            whole, real = ctypes.c_int64 * n, ctypes.c_float * n
            self._rows = whole(), whole(), real(), real(), real()
        tokens, places, heats, chances, logprobs = self._rows
        tokens[:n], places[:n], heats[:n], chances[:n] = ids, positions, temperature, uniform
        self._steps(n, ctypes.addressof(tokens), ctypes.addressof(places), self._logits)
        logits, sums, sizes = self._logits.data_ptr(), self._sums.data_ptr(), (n, vocabulary, self._sums.shape[1])
        code = self._lib.steersman_sample(logits, heats, chances, sums, tokens, logprobs, *sizes, self._threads)
        if code:
            raise fault("sample", code, f"{n} sequences, a vocabulary of {vocabulary}")
        return tokens[:n], logprobs[:n]
