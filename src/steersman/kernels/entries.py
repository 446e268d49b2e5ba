"""Calls of the kernels: each entry point's arguments, checked before the call, and its return codes.

Structs mirror kernels/structs.h, `CODES` the enumeration in kernels/machine.h, `ENTRIES` the functions in kernels/*.c.

Why so: decision 32 in docs/LOG.md.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping
from ctypes import c_float, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CODES = {
    1: (MemoryError, "memory that could be had"),
    2: (RuntimeError, "a processor with matrix tiles, and a system that lets us use them"),
    3: (ValueError, "sizes that it computes, multiples of 16 or 32"),
    4: (ValueError, "token ids within the vocabulary"),
    5: (ValueError, "positions within the cache"),
    6: (ValueError, "documents within the row"),
}
"""Return code of an entry point -> the violated expectation; 0 is success."""
KINDS = {"b": torch.bfloat16, "f": torch.float32, "l": torch.int64, "i": torch.int32, "c": torch.int8}


def _pointers(names: str) -> list[tuple[str, Any]]:
    return [(name, c_void_p) for name in names.split()]


def _integers(names: str) -> list[tuple[str, Any]]:
    return [(name, c_int64) for name in names.split()]


class Side(ctypes.Structure):
    _fields_ = [("at", c_void_p), *_integers("stride across")]


class Term(ctypes.Structure):
    _fields_ = [("a", Side), ("b", Side), ("k", c_int64)]


class Result(ctypes.Structure):
    _fields_ = [*_pointers("wide narrow add bias"), ("stride", c_int64)]


class AttentionRow(ctypes.Structure):
    _fields_ = [
        *_pointers("q k v out lse branch position bounds"),
        *_integers("tokens documents heads kv_heads d window"),
        ("scale", c_float),
    ]


class Gradients(ctypes.Structure):
    _fields_ = _pointers("grad q k v")


class Matrix(ctypes.Structure):
    _fields_ = [*_pointers("values scales"), *_integers("rows columns")]


class Layer(ctypes.Structure):
    _fields_ = [
        *((name, Matrix) for name in ("qkv", "out", "gate_up", "down")),
        *_pointers("bias input_norm post_norm pre_mlp_norm post_mlp_norm q_norm k_norm cos sin keys values key_scales"),
        *_pointers("value_scales"),
        ("window", c_int64),
    ]


class Model(ctypes.Structure):
    _fields_ = [
        *_integers("layers hidden intermediate heads kv_heads head_dim gelu sandwich slots capacity packed_from"),
        *((name, c_float) for name in ("eps", "scale", "embed_scale", "norm_offset")),
        *_pointers("embed final_norm"),
        ("head", Matrix),
        ("layer", ctypes.POINTER(Layer)),
        ("turns", c_void_p),
    ]


STRUCTS = (Side, Term, Result, AttentionRow, Gradients, Matrix, Layer, Model)
"""In the order of `steersman_layout`."""
ENTRIES = {
    "norm": "x:b[n,d] weight:b[d] out:+b[n,d] inverse:+f[n] n d how:r2",
    "norm_backward": "grad:b[n,d] x:b[n,d] weight:b[d] inverse:f[n] grad_x:+b[n,d] grad_weight:+f[d] n d how:r2",
    "rotate": "x:b[n~apart,heads,d] cos:b[n,1,d] sin:b[n,1,d] out:+b[n,heads,d] n heads d apart low high",
    "gate": "gate:b[n~apart,d] up:b[n~apart,d] out:+b[n,d] n d apart gelu",
    "gate_backward": "grad:b[n,d] gate:b[n,d] up:b[n,d] grad_gate:+b[n,d] grad_up:+b[n,d] count gelu",
    "softmax_part": "logits:b[n,size] targets:l[n] sums:f[n,4] n size first heat:r1",
    "softmax_part_backward": "logits:b[n,size] targets:l[n] about:f[n,4] n size first heat:r1",
    "adamw": "master:f[n,d] weight:b[n,d] grad:f[n,d] mean:f[n,d] square:f[n,d] count how:r8",
    "multiply": "terms:p count m n result:p",
    "attend": "row:p",
    "attend_backward": "row:p gradients:p",
    "attend_cached": "q:b[rows,heads,d] out:b[rows,heads,d] keys:b[n,kv_heads,capacity,d]"
    " values:b[n,kv_heads,capacity,d] rows heads d n kv_heads capacity start window how:r1",
    "attend_cached_int8": "q:b[rows,heads,d] out:b[rows,heads,d] keys:c[n,kv_heads,capacity,d]"
    " values:c[n,kv_heads,capacity,d] key_scales:f[n,kv_heads,capacity] value_scales:f[n,kv_heads,capacity]"
    " rows heads d n kv_heads capacity start window how:r1",
    "step": "model:p ids:p positions:p n scratch:p bytes logits:p",
    "sample": "logits:f[n,vocabulary] temperature:f[n] uniform:f[n] sums:f[n,spans] ids:+l[n] logprobs:+f[n]"
    " n vocabulary spans",
}
"""Arguments in C's order; of all the number of threads comes last, and int64 is returned.

`x:b[n~apart,d]` is a tensor of a kind in `KINDS` and of these sizes, contiguous but for rows that may lie `apart`;
sizes of one name are equal in one call. One with a `+` is made here, for what is computed. `r2` are two floats, `p` is
an address. A bare name is an integer: given, or a size of the tensors before it, or `count`, n times d.
"""
ROW = (
    "q:b[tokens,heads,d] k:b[tokens,kv_heads,d] v:b[tokens,kv_heads,d] out:b[tokens,heads,d] lse:f[tokens,heads]"
    " branch:i[tokens] position:i[tokens] bounds:l[documents,2]"
)
"""What an `AttentionRow` points to, in its order."""
OTHERS: dict[str, tuple[Any, ...]] = {"layout": (c_void_p, c_int64), "scratch": (c_void_p, c_int64)}
OTHERS["cached_room"] = (c_int64,) * 6
OTHERS |= dict.fromkeys(("tiles", "vectors", "products", "most"), ())
"""Entry points that do not compute, and their arguments."""


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    dtype: torch.dtype | None = None
    """Kind of a tensor argument; None for others."""
    shape: tuple[str | int, ...] = ()
    apart: str = ""
    made: bool = False
    reals: int = 0
    pointer: bool = False

    @property
    def text(self) -> str:
        layout = "rows that may lie apart" if self.apart else "contiguous"
        return f"{self.dtype} [{', '.join(map(str, self.shape))}], {layout}, on the CPU"


@functools.cache
def argument(text: str) -> Argument:
    """One of the words of `ENTRIES`."""
    name, _, kind = text.partition(":")
    if not kind or kind == "p":
        return Argument(name, pointer=bool(kind))
    if kind[0] == "r":
        return Argument(name, reals=int(kind[1:]))
    made, kind = kind[0] == "+", kind.removeprefix("+")
    first, *others = kind[2:-1].split(",")
    first, _, apart = first.partition("~")
    sizes = tuple(int(size) if size.isdigit() else size for size in (first, *others))
    return Argument(name, KINDS[kind[0]], sizes, apart, made)


def arguments(text: str) -> tuple[Argument, ...]:
    return tuple(map(argument, text.split()))


_ARGUMENTS = {name: arguments(text) for name, text in ENTRIES.items()}
_NAMES = {name: f"steersman_{name}" for name in ENTRIES}


Sizes = dict[Any, int]
"""Values of names; a number that stands in a shape is its own (`NUMBERS`)."""
NUMBERS: Sizes = {1: 1, 2: 2, 4: 4}


def address(entry: str, wanted: Argument, x: Tensor, sizes: Sizes) -> int:
    """x's address. ValueError unless x matches `wanted`; unset sizes take x's values."""
    # with few tokens this costs some percent of the work, so there is no loop in Python
    shape = x.shape
    fits = x.dtype is wanted.dtype and x.is_cpu and len(shape) == len(wanted.shape)
    fits = fits and tuple(map(sizes.setdefault, wanted.shape, shape)) == shape
    if not wanted.apart:
        fits = fits and x.is_contiguous()
    elif fits:  # one row is as far from the next as any other; what is within a row lies together
        first, *inner = x.stride()
        width = shape[1] if len(shape) == 2 else shape[1] * shape[2]
        first = first if shape[0] > 1 else width  # what has one place, has any stride
        fits = (inner[-1] == 1 or shape[-1] == 1) and (len(inner) == 1 or shape[1] == 1 or inner[0] == shape[2])
        fits = fits and sizes.setdefault(wanted.apart, first) == first
    if not fits:
        known = ", ".join(f"{name} = {size}" for name, size in sizes.items() if isinstance(name, str))
        raise ValueError(
            f"kernel '{entry}', {wanted.name}: expected {wanted.text}{f' where {known}' if known else ''}; "
            f"got {x.dtype} {list(x.shape)}, strides {list(x.stride())}, on {x.device}"
        )
    return x.data_ptr()


def fault(entry: str, code: int, about: str) -> Exception:
    """The exception for an entry point's return code."""
    kind, expected = CODES.get(code, (RuntimeError, "a code that is known"))
    return kind(f"kernel '{entry}' computed nothing: expected {expected}; got {about or 'none'} (code {code})")


def call(lib: ctypes.CDLL | None, entry: str, values: Mapping[str, Any]) -> list[Tensor]:
    """Check `values` by `ENTRIES`, compute, and return what was made.

    ValueError, MemoryError or RuntimeError says what was expected.
    """
    if lib is None:
        raise RuntimeError(f"kernel '{entry}': expected kernels, but there are none here; see steersman doctor")
    sizes = NUMBERS.copy()
    given: list[Any] = []
    made: list[Tensor] = []
    for wanted in _ARGUMENTS[entry]:
        name = wanted.name
        if wanted.made:
            made.append(x := torch.empty(tuple(map(sizes.__getitem__, wanted.shape)), dtype=wanted.dtype))
            given.append(x.data_ptr())
        elif wanted.dtype is not None:
            given.append(address(entry, wanted, values[name], sizes))
        elif wanted.reals:
            given.append((c_float * wanted.reals)(*values[name]))
        elif name in values:
            given.append(values[name])
        else:
            given.append(sizes["n"] * sizes["d"] if name == "count" else sizes[name])
    function: Callable[..., int] = getattr(lib, _NAMES[entry])
    if code := function(*given, torch.get_num_threads()):
        plain = {name: value for name, value in values.items() if isinstance(value, int | float)}
        named = {name: size for name, size in sizes.items() if isinstance(name, str)} | plain
        raise fault(entry, code, ", ".join(f"{name} {value}" for name, value in named.items()))
    return made


def declare(lib: ctypes.CDLL) -> None:
    """Give every entry point its types. AttributeError where one is missing."""
    kinds = {name: tuple(c_void_p if _is_address(a) else c_int64 for a in _ARGUMENTS[name]) for name in ENTRIES}
    for name, types in {**{n: (*k, c_int64) for n, k in kinds.items()}, **OTHERS}.items():
        function = getattr(lib, f"steersman_{name}")
        function.restype, function.argtypes = c_int64, types


def _is_address(wanted: Argument) -> bool:
    return wanted.pointer or wanted.reals > 0 or wanted.dtype is not None


def layout_differs(lib: ctypes.CDLL) -> str:
    """Name of a struct whose field offsets differ between the library and Python; '' where all agree."""
    mine = [[ctypes.sizeof(s), *(getattr(s, name).offset for name, *_ in s._fields_)] for s in STRUCTS]
    total = sum(map(len, mine))
    theirs = (c_int64 * total)()
    count = lib.steersman_layout(theirs, total)
    at = 0
    for struct, places in zip(STRUCTS, mine, strict=True):
        if list(theirs[at : at + len(places)]) != places:
            return struct.__name__
        at += len(places)
    return "" if count == total else "the number of fields"
