"""Kernels in C, compiled for this machine when first used, called through ctypes.

Here are building them and calling those that training shares with nothing else: products of matrices in tiles,
attention over packed rows, and what lies between (kernels/multiply.c, rows.c, layer.c). The engine's are called in
`steersman.engine.native`. Without a compiler PyTorch computes everything; without matrix tiles (AMX) products and
attention.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SOURCES = sorted((Path(__file__).parent / "kernels").iterdir())
FLAGS = ["-O3", "-march=native", "-fPIC", "-shared", "-fopenmp", "-std=gnu11"]
# sums may be reordered and vectorised; unlike -ffast-math this leaves the process's rounding mode alone
FLAGS += ["-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]
LANES = 16
"""As in kernels/common.h: sizes are multiples of it."""
Pointer = ctypes.c_void_p
SIGNATURES = {
    "steersman_most": "",
    "steersman_tiles": "",
    "steersman_scratch": "pii",
    "steersman_step": "pppiiipp",
    "steersman_sample": "piippippp",
    "steersman_multiply": "piiipi",
    "steersman_attend": "pi",
    "steersman_attend_backward": "ppi",
    "steersman_norm": "ppppiipi",
    "steersman_norm_backward": "ppppppiipi",
    "steersman_rotate": "ppppiiiiiii",
    "steersman_gate": "pppiiiii",
    "steersman_gate_backward": "pppppiii",
    "steersman_adamw": "pppppipi",
    "steersman_softmax_part": "pppiiipi",
    "steersman_softmax_part_backward": "pppiiipi",
}
"""Arguments of kernels/*.c: pointers and int64."""


def _cpu() -> str:
    """What `-march=native` depends on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8")
    flags = [line for line in text.splitlines() if line.startswith(("flags", "model name"))][:2]
    return platform.machine() + "".join(flags)


def _build(compiler: str, built: Path) -> None:
    """Compile; the library appears whole or not at all."""
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as temporary:
        fresh = Path(temporary) / built.name
        sources = [str(s) for s in SOURCES if s.suffix == ".c"]
        command = [compiler, *FLAGS, "-o", str(fresh), *sources, "-lm"]
        subprocess.run(command, capture_output=True, text=True, check=True)
        fresh.replace(built)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels for this machine, compiled once and kept in the cache folder; None where that is not possible."""
    compiler = shutil.which("cc")
    if compiler is None or platform.system() != "Linux":
        log.info("no C compiler: PyTorch computes what kernels would, more slowly")
        return None
    key = hashlib.sha256("".join([*(s.read_text() for s in SOURCES), *FLAGS, compiler, _cpu()]).encode()).hexdigest()[
        :20
    ]
    built = Path("~/.cache/steersman/native").expanduser() / f"kernels-{key}.so"
    try:
        if not built.is_file():
            _build(compiler, built)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.stderr[:500] if isinstance(error, subprocess.CalledProcessError) else error
        log.warning("no kernels, PyTorch computes instead, more slowly: %s", reason)
        return None
    found = ctypes.CDLL(str(built))
    for name, arguments in SIGNATURES.items():
        function = getattr(found, name)
        function.restype = ctypes.c_int64
        function.argtypes = [Pointer if kind == "p" else ctypes.c_int64 for kind in arguments]
    return found


@functools.cache
def _has_tiles() -> bool:
    lib = library()
    return lib is not None and bool(lib.steersman_tiles())


def serves(x: Tensor, *sizes: int) -> bool:
    """Whether the kernels of layer.c take a tensor like x, whose sizes are these."""
    wanted = x.dtype == torch.bfloat16 and x.device.type == "cpu" and not any(size % LANES for size in sizes)
    return wanted and library() is not None


def multiplies(x: Tensor) -> bool:
    """Whether `multiply` and `attend` take a tensor like x."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and _has_tiles()


def _call(name: str, *arguments: Any) -> None:
    """Tensors are given by their addresses, all contiguous; the number of threads comes last."""
    assert all(a.is_contiguous() for a in arguments if isinstance(a, Tensor)), name
    given = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    getattr(library(), name)(*given, torch.get_num_threads())


class _Side(ctypes.Structure):
    _fields_ = [("at", Pointer), ("stride", ctypes.c_int64), ("across", ctypes.c_int)]


class _Term(ctypes.Structure):
    _fields_ = [("a", _Side), ("b", _Side), ("k", ctypes.c_int64)]


class _Result(ctypes.Structure):
    _fields_ = [*((name, Pointer) for name in ("wide", "narrow", "add", "bias")), ("stride", ctypes.c_int64)]


def _side(x: Tensor) -> _Side:
    """A matrix [n, k] or the transpose of one that lies as [k, n]."""
    across = x.stride(1) != 1 and x.stride(0) == 1
    assert across or x.stride(1) == 1
    return _Side(x.data_ptr(), x.stride(1) if across else x.stride(0), across)


def multiply(
    terms: Sequence[tuple[Tensor, Tensor]], out: Tensor, add: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """out [m, n]: the sum of a @ b over terms a [m, k], b [k, n] in bfloat16, either transposed or not.

    A float32 `out` is added to. A bfloat16 one is filled, with `add` [m, n] and `bias` [n] added before the one
    rounding.
    """
    m, n = out.shape
    terms = [term for term in terms if term[0].shape[1]]
    if not (m and n and terms):  # a sum of nothing
        if out.dtype != torch.float32:
            out.zero_()
            for more in (add, bias):
                out += 0 if more is None else more
        return out
    parts = (_Term * len(terms))(*(_Term(_side(a), _side(b.T), a.shape[1]) for a, b in terms))
    wide = out.dtype == torch.float32
    address = out.data_ptr()
    extra = (None if x is None else x.data_ptr() for x in (add, bias))
    result = _Result(address if wide else None, None if wide else address, *extra, out.stride(0))
    _call("steersman_multiply", ctypes.byref(parts), len(terms), m, n, ctypes.byref(result))
    return out


class _Attention(ctypes.Structure):
    _fields_ = [
        *((name, Pointer) for name in ("q", "k", "v", "out", "lse", "branch", "position", "bounds")),
        *((name, ctypes.c_int64) for name in ("documents", "heads", "kv_heads", "d", "window")),
        ("scale", ctypes.c_float),
    ]


class _Gradients(ctypes.Structure):
    _fields_ = [(name, Pointer) for name in ("grad", "q", "k", "v")]


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
        (q, k), (bounds, branch, position) = tensors[:2], places
        pointers = [None if x is None else x.data_ptr() for x in (*tensors, branch, position, bounds)]
        sizes = len(bounds), q.shape[1], k.shape[1], q.shape[2], window or 0
        self._struct = _Attention(*pointers, *sizes, scale)

    def forward(self) -> None:
        """Fill out and lse."""
        _call("steersman_attend", ctypes.byref(self._struct))

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the gradient of out those of q, k and v."""
        q, k, v = (torch.empty_like(x) for x in self._tensors[:3])
        gradients = _Gradients(*(x.data_ptr() for x in (grad, q, k, v)))
        _call("steersman_attend_backward", ctypes.byref(self._struct), ctypes.byref(gradients))
        return q, k, v


def norm(x: Tensor, weight: Tensor, offset: float, eps: float) -> tuple[Tensor, Tensor]:
    """(x / rms(x) * (weight + offset), 1 / rms(x)) of x [n, d]."""
    x = x.contiguous()
    out, inverse = torch.empty_like(x), torch.empty(len(x))
    _call("steersman_norm", x, weight, out, inverse, *x.shape, _reals(offset, eps))
    return out, inverse


def norm_backward(grad: Tensor, x: Tensor, weight: Tensor, inverse: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Gradients of x, and of weight in float32."""
    grad, x = grad.contiguous(), x.contiguous()
    grad_x, grad_weight = torch.empty_like(x), torch.empty(len(weight))
    _call("steersman_norm_backward", grad, x, weight, inverse, grad_x, grad_weight, *x.shape, _reals(offset, 0.0))
    return grad_x, grad_weight


def rotate(x: Tensor, cos: Tensor, sin: Tensor, signs: tuple[int, int]) -> Tensor:
    """x [n, heads, d] * cos + (x2, x1) * sin, halves of sin times `signs`: (-1, 1), or (1, -1) to turn back.

    cos, sin [n, 1, d]; only rows of x may lie apart.
    """
    out = x.new_empty(x.shape)
    assert x.stride()[1:] == out.stride()[1:]
    _call("steersman_rotate", x.data_ptr(), cos, sin, out, *x.shape, x.stride(0), *signs)
    return out


def gated(gate: Tensor, up: Tensor, gelu: bool) -> Tensor:
    """act(gate) * up [n, d], for SiLU or GELU by tanh; rows of both may lie equally far apart."""
    assert gate.stride() == up.stride()
    out = gate.new_empty(gate.shape)
    _call("steersman_gate", gate.data_ptr(), up.data_ptr(), out, *gate.shape, gate.stride(0), gelu)
    return out


def gate_backward(grad: Tensor, gate: Tensor, up: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
    _call("steersman_gate_backward", grad, gate, up, grad_gate, grad_up, gate.numel(), gelu)
    return grad_gate, grad_up


def softmax_part(logits: Tensor, targets: Tensor, sums: Tensor, first: int, temperature: float) -> None:
    """Take logits [n, size], tokens first.. of the vocabulary, into the running `sums` [n, 4]; see kernels/layer.c."""
    _call("steersman_softmax_part", logits, targets, sums, *logits.shape, first, _reals(temperature))


def softmax_part_backward(logits: Tensor, targets: Tensor, about: Tensor, first: int, temperature: float) -> None:
    """logits [n, size] become the gradient with respect to them; about [n, 4], see kernels/layer.c."""
    _call("steersman_softmax_part_backward", logits, targets, about, *logits.shape, first, _reals(temperature))


def adamw(tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor], how: Sequence[float]) -> None:
    """One step on (master, weight, grad, mean, square), float32 but the weight; `how` as in kernels/layer.c."""
    _call("steersman_adamw", *tensors, tensors[0].numel(), _reals(*how))


def _reals(*values: float) -> Any:
    return (ctypes.c_float * len(values))(*values)
