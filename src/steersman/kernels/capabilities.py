"""Decides once what computes on this machine: kernels in C where available, PyTorch everywhere else."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
import sys
from dataclasses import dataclass, field
from typing import Any

from steersman import chosen, machine
from steersman.kernels.building import INSTRUCTIONS, NotBuilt, built_by, commands, compiler_of

log = logging.getLogger(__name__)

SETTING = "STEERSMAN_KERNELS"
"""The environment variable that turns kernels off, leaves them on, or names the most that they may use."""
PRODUCTS = (
    "float32 vectors",
    "float32 vectors (NEON)",
    "float32 vectors (AVX2)",
    "float32 vectors (AVX512)",
    "bfloat16 vectors (AVX512-BF16)",
    "matrix tiles (AMX)",
)
"""What products of training and prefill are computed with, by the number that `steersman_products` returns."""
PACKED_FROM = {"tiles": (1, 5), "bfloat16 vectors": (14, 20), "float32 vectors": (16, 12)}
"""What multiplies in a decode step -> sequences from which inputs lie side by side (kernels/packed.h, panels.h): with
bfloat16 weights, with int8. For fewer a dot product each is faster. Measured on a Sapphire Rapids (tiles), a Zen 4
(bfloat16) and a Zen 3 (float32, AVX2)."""


@dataclass(frozen=True)
class Capabilities:
    """Kernels that processor, compiler and system allow; reasons for missing ones."""

    processor: str
    compiler: str = ""
    """The compiler, such as 'gcc 12.2.0'; '' without kernels."""
    off: str = ""
    """The reason why there are no kernels at all."""
    fault: bool = False
    """Whether the user can mend that."""
    vectors: bool = False
    """Products of bfloat16 in vector instructions (AVX512-BF16)."""
    tiles: bool = False
    """Products of bfloat16 in matrix tiles (AMX)."""
    no_tiles: str = ""
    """The reason for having no matrix tiles."""
    products: str = ""
    """What products of matrices of training and prefill are computed with; '' by PyTorch."""
    instructions: str = "native"
    """The most that kernels were allowed to use, one of `building.INSTRUCTIONS`."""
    sequences: int = 0
    """Most sequences that a native step decodes together."""
    packed_from: tuple[int, int] = (0, 0)
    """See `PACKED_FROM`."""
    library: ctypes.CDLL | None = field(default=None, repr=False, compare=False)

    @property
    def work(self) -> dict[str, str]:
        """Kind of work on the CPU -> what computes it, and the reason if no kernel does."""
        none = f"PyTorch: {self.off}"
        decoding = (
            f"kernels, up to {self.sequences} sequences together, bfloat16 or int8 ({self._products}); else PyTorch"
        )
        return {
            "decoding and sampling": none if self.off else decoding,
            "norms, rotations, activations": none if self.off else "kernels in bfloat16; else PyTorch",
            "products, attention, vocabulary, optimizer": (
                none if self.off else f"kernels in bfloat16, by {self.products}; else PyTorch"
            ),
        }

    @property
    def _products(self) -> str:
        """What multiplies in a decode step, and from how many sequences on."""
        bf16, int8 = self.packed_from
        few = "" if bf16 == 1 else f"up to {bf16 - 1} a dot product each, then "
        return f"{few}{_multiplied_by(self.tiles, self.vectors)}; int8 from {int8} on"

    def to_json(self) -> dict[str, Any]:
        names = "processor compiler instructions off vectors tiles no_tiles products sequences packed_from work"
        return {name: getattr(self, name) for name in names.split()}


def decide(again: bool = False) -> Capabilities:
    """Look at the machine and compile what is missing; `again`: also what failed before.

    Raises ValueError for a setting that is unknown, or that asks for what the processor does not have.
    """
    processor = machine.processor()
    if SETTING not in os.environ and (kept := chosen.kept()) is not None and not kept.kernels:
        return Capabilities(processor, off=f"PyTorch was measured to be faster here ({SETTING}=on for kernels)")
    wanted = _wanted()
    if wanted == "off":
        return Capabilities(processor, off=f"kernels are turned off ({SETTING}=off)")
    if sys.platform != "linux":
        return Capabilities(processor, off="kernels are compiled on Linux alone")
    reasons = []
    for command in commands():
        try:
            return _built(command, wanted, processor, again)
        except NotBuilt as error:
            reasons.append(str(error))
    return Capabilities(processor, off="; ".join(reasons) or "there is no C compiler (gcc or clang)", fault=True)


def _wanted() -> str:
    """'off', or the most that kernels may use."""
    wanted = os.environ.get(SETTING, "on")
    sets = [name for name in INSTRUCTIONS if name != "native"] if platform.machine() in ("x86_64", "AMD64") else []
    if wanted not in ("on", "off", *sets):
        raise ValueError(f"{SETTING}: expected {', '.join(['on', 'off', *sets])}, got {wanted!r}")
    has = machine.instructions()
    if wanted == "avx2" and has and not {"avx2", "fma"} <= has:
        raise ValueError(f"{SETTING}=avx2: this processor has no AVX2 with FMA; expected on or off")
    return "native" if wanted == "on" else wanted


def _built(command: tuple[str, ...], instructions: str, processor: str, again: bool) -> Capabilities:
    compiler = compiler_of(command, instructions)
    lib = built_by(compiler, again)
    tiles, why = lib.steersman_tiles(), "the processor, as the compiler knows it, has no matrix tiles (AMX)"
    if tiles < 0:  # what else there is
        lib, why = built_by(compiler_of(command, "avx512"), again), "the system lets us use no AMX"
    elif instructions != "native":
        why = f"turned off ({SETTING}={instructions})"
    return Capabilities(
        processor,
        compiler.name,
        vectors=bool(lib.steersman_vectors()),
        tiles=tiles > 0,
        no_tiles="" if tiles > 0 else why,
        products=PRODUCTS[lib.steersman_products()],
        instructions=instructions,
        sequences=lib.steersman_most(),
        packed_from=PACKED_FROM[_multiplied_by(tiles > 0, bool(lib.steersman_vectors()))],
        library=lib,
    )


def _multiplied_by(tiles: bool, vectors: bool) -> str:
    return "tiles" if tiles else "bfloat16 vectors" if vectors else "float32 vectors"


@functools.cache
def capabilities() -> Capabilities:
    """This process's capabilities. Logs why there are no kernels, where the user can mend that."""
    found = decide()
    if found.fault:
        log.warning("no kernels, PyTorch computes instead, more slowly: %s", found.off)
    elif found.off:
        log.info("no kernels, PyTorch computes: %s", found.off)
    return found
