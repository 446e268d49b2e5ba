"""Training's and prefill's operations by kernels in C.

Products of matrices (multiply.c), attention over packed rows (rows.c), and the operations between (layer.c).
`capabilities.py` says which kernels this machine has, `entries.py` checks arguments. The engine's own kernels
are called in `engine.backends.local.compiled`. Without a compiler PyTorch computes everything.

Why so: decision 11 in docs/LOG.md.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from steersman.kernels.capabilities import capabilities
from steersman.kernels.entries import (
    NUMBERS,
    ROW,
    AttentionRow,
    Gradients,
    Result,
    Side,
    Term,
    address,
    argument,
    arguments,
    call,
)

LANES = 16
"""Sizes must be multiples of this; same value as in kernels/common.h."""


def serves(x: Tensor, *sizes: int) -> bool:
    """Whether the kernels of layer.c take a tensor with x's dtype and device, and these sizes."""
    wanted = x.dtype == torch.bfloat16 and x.device.type == "cpu" and not any(size % LANES for size in sizes)
    return wanted and capabilities().library is not None


def multiplies(x: Tensor) -> bool:
    """Whether `multiply` and `attend` take a tensor like x."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and capabilities().library is not None


def whole(rows: int) -> int:
    """`rows`, and those beyond them that a product of so many computes all the same."""
    return -(-rows // 32) * 32 if capabilities().tiles else rows


def _call(entry: str, **values: Any) -> list[Tensor]:
    return call(capabilities().library, entry, values)


def _wrong(name: str, expected: str, x: Tensor) -> ValueError:
    got = f"{x.dtype} {list(x.shape)}, strides {list(x.stride())}, on {x.device}"
    return ValueError(f"kernel 'multiply', {name}: expected {expected}; got {got}")


def _strides(x: Tensor) -> tuple[int, int]:
    """Strides of a matrix [m, n]. PyTorch gives a dimension of size 1 any stride; here it gets the regular one."""
    (m, n), (apart, step) = x.shape, x.stride()
    step = step if n > 1 else 1
    return (apart if m > 1 else n if step == 1 else 1), step


def _side(x: Tensor, name: str, rows: int, terms: int) -> Side:
    """A matrix [rows, terms] or the transpose of one that lies as [terms, rows]."""
    if x.dtype is not torch.bfloat16 or not x.is_cpu or x.shape != (rows, terms) or 1 not in _strides(x):
        raise _wrong(name, f"torch.bfloat16 [{rows}, {terms}], rows or columns contiguous, on the CPU", x)
    apart, step = _strides(x)
    return Side(x.data_ptr(), apart if step == 1 else step, step != 1)


def multiply(
    terms: Sequence[tuple[Tensor, Tensor]], out: Tensor, add: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """out [m, n]: the sum of a @ b over terms a [m, k], b [k, n] in bfloat16, either transposed or not.

    A float32 `out` is added to. A bfloat16 one is filled, with `add` [m, n], laid out like it, and `bias` [n] added
    before the one rounding.
    """
    m, n = out.shape
    terms = [term for term in terms if term[0].shape[1]]
    if not (m and n and terms):  # an empty sum
        if out.dtype != torch.float32:
            out.zero_()
            for more in (add, bias):
                out += 0 if more is None else more
        return out
    sides = [
        Term(_side(a, "a", m, a.shape[1]), _side(b.T, "b, transposed", n, a.shape[1]), a.shape[1]) for a, b in terms
    ]
    wide = out.dtype is torch.float32
    lies = out.is_cpu and (n == 1 or out.stride(1) == 1) and (m == 1 or out.stride(0) >= n)
    if not lies or not (wide or out.dtype is torch.bfloat16):
        raise _wrong("out", "float32 or bfloat16, rows contiguous and apart, on the CPU", out)
    for name, x, like in (("add", add, out), ("bias", bias, out[0])):
        if x is None:
            continue
        fits = x.dtype is out.dtype and x.is_cpu and x.shape == like.shape
        if (
            wide
            or not fits
            or any(a != b and k > 1 for a, b, k in zip(x.stride(), like.stride(), x.shape, strict=True))
        ):
            kind = f"bfloat16 {list(like.shape)}, strides {list(like.stride())}"
            raise _wrong(name, f"none for a float32 out, else {kind}", x)
    places = (out.data_ptr(), None) if wide else (None, out.data_ptr())
    extra = (None if x is None else x.data_ptr() for x in (add, bias))
    result = Result(*places, *extra, out.stride(0))
    parts = (Term * len(sides))(*sides)
    _call("multiply", terms=ctypes.byref(parts), count=len(sides), m=m, n=n, result=ctypes.byref(result))
    return out


_ROW = arguments(ROW)


class Attention:
    """Attention over a packed row: q, out [T, heads, d], k, v [T, kv_heads, d]; lse [T, heads] float32.

    bounds [documents, 2] int64, branch (None: no branches) and position [T] int32, as `packing.Row` has them.
    """

    def __init__(
        self,
        tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
        places: tuple[Tensor, Tensor | None, Tensor],
        scale: float,
        window: int | None,
    ) -> None:
        self._tensors, self._places = tensors, places  # the struct only points there
        bounds, branch, position = places
        self._sizes = NUMBERS.copy()
        given = zip(_ROW, (*tensors, branch, position, bounds), strict=True)
        places_ = {a.name: None if x is None else address("attend", a, x, self._sizes) for a, x in given}
        sizes = {name: self._sizes[name] for name in ("tokens", "documents", "heads", "kv_heads", "d")}
        self._struct = AttentionRow(**places_, **sizes, window=window or 0, scale=scale)

    def forward(self) -> None:
        """Fill out and lse."""
        _call("attend", row=ctypes.byref(self._struct))

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k and v from the gradient of out."""
        q, k, v = (torch.empty_like(x) for x in self._tensors[:3])
        at = address("attend_backward", argument("grad:b[tokens,heads,d]"), grad, self._sizes)
        gradients = Gradients(at, *(x.data_ptr() for x in (q, k, v)))
        _call("attend_backward", row=ctypes.byref(self._struct), gradients=ctypes.byref(gradients))
        return q, k, v


def attend_cached(
    q: Tensor, out: Tensor, kept: Sequence[Tensor], start: int, scale: float, window: int | None = None
) -> None:
    """Fill out [n * size, heads, d] with the attention of q, at positions start.. of n sequences, over what is `kept`.

    kept: keys and values [n, kv_heads, capacity, d], the queries' own among them; in int8 their scales too.
    """
    entry = "attend_cached" if len(kept) == 2 else "attend_cached_int8"
    parts = dict(zip(("keys", "values", "key_scales", "value_scales"), kept, strict=False))
    _call(entry, q=q, out=out, **parts, start=start, window=window or 0, how=(scale,))


def cached_room(tokens: int, heads: int, kv_heads: int, d: int, int8: bool) -> int:
    """Bytes that `attend_cached` keeps, of all threads, after chunks of so many tokens."""
    library = capabilities().library
    return (
        int(library.steersman_cached_room(tokens, heads, kv_heads, d, int8, torch.get_num_threads())) if library else 0
    )


def norm(x: Tensor, weight: Tensor, offset: float, eps: float) -> tuple[Tensor, Tensor]:
    """(x / rms(x) * (weight + offset), 1 / rms(x)) of x [n, d]."""
    out, inverse = _call("norm", x=x.contiguous(), weight=weight, how=(offset, eps))
    return out, inverse


def norm_backward(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Gradients of x, and of weight in float32."""
    given = {"grad": grad.contiguous(), "x": x.contiguous(), "weight": weight, "inverse": inverse}
    grad_x, grad_weight = _call("norm_backward", how=(offset, 0.0), **given)
    return grad_x, grad_weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor, signs: tuple[int, int]) -> Tensor:
    """x [n, heads, d] * cos + (x2, x1) * sin, halves of sin times `signs`: (-1, 1), or (1, -1) to turn back.

    cos, sin [n, 1, d]; only rows of x may lie apart.
    """
    return _call("rotate", x=x, cos=cos, sin=sin, low=signs[0], high=signs[1])[0]


def gated(gate: Tensor, up: Tensor, gelu: bool) -> Tensor:
    """act(gate) * up [n, d], for SiLU or GELU by tanh; rows of both may lie equally far apart."""
    return _call("gate", gate=gate, up=up, gelu=gelu)[0]


def gate_backward(grad: Tensor, gate: Tensor, up: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    grad_gate, grad_up = _call("gate_backward", grad=grad, gate=gate, up=up, gelu=gelu)
    return grad_gate, grad_up


def check_ids(ids: Tensor, vocabulary: int) -> None:
    """ValueError unless all are tokens of the vocabulary: kernels that take it in parts pass over others."""
    if len(ids) and (int(ids.amin()) < 0 or int(ids.amax()) >= vocabulary):
        raise ValueError(f"token ids: expected 0 to {vocabulary - 1}, got {int(ids.amin())} to {int(ids.amax())}")


def softmax_part(logits: Tensor, targets: Tensor, sums: Tensor, first: int, temperature: float) -> None:
    """Take logits [n, size], tokens first.. of the vocabulary, into the running `sums` [n, 4]; see kernels/layer.c."""
    _call("softmax_part", logits=logits, targets=targets, sums=sums, first=first, heat=(temperature,))


def softmax_part_backward(logits: Tensor, targets: Tensor, about: Tensor, first: int, temperature: float) -> None:
    """logits [n, size] become the gradient with respect to them; about [n, 4], see kernels/layer.c."""
    _call("softmax_part_backward", logits=logits, targets=targets, about=about, first=first, heat=(temperature,))


def adamw(tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], how: Sequence[float]) -> None:
    """One step on (master, weight, grad, mean, square) [n, d], float32 but the weight; `how` as in kernels/layer.c."""
    _call("adamw", **dict(zip(("master", "weight", "grad", "mean", "square"), tensors, strict=True)), how=how)
