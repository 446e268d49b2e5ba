"""Decides once what computes on this machine: kernels in C where available, PyTorch everywhere else."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from steersman import machine
from steersman.kernels.building import NotBuilt, built_by, commands, compiler_of

log = logging.getLogger(__name__)

SETTING = "STEERSMAN_KERNELS"
"""The environment variable that turns kernels off, or leaves them on."""
WITHOUT_TILES = 8
"""Most sequences decoded together where there are no matrix tiles: for more, PyTorch's products are faster."""


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
    sequences: int = 0
    """Most sequences that a native step decodes together."""
    library: ctypes.CDLL | None = field(default=None, repr=False, compare=False)

    @property
    def work(self) -> dict[str, str]:
        """Kind of work on the CPU -> what computes it, and the reason if no kernel does."""
        none = f"PyTorch: {self.off}"
        decoding = f"kernels, up to {self.sequences} sequences together, bfloat16 or int8; else PyTorch"
        return {
            "decoding and sampling": none if self.off else decoding,
            "norms, rotations, activations": none if self.off else "kernels in bfloat16; else PyTorch",
            "products, attention, vocabulary, optimizer": (
                "kernels in bfloat16; else PyTorch" if self.tiles else f"PyTorch: {self.off or self.no_tiles}"
            ),
        }

    def to_json(self) -> dict[str, Any]:
        names = ("processor", "compiler", "off", "vectors", "tiles", "no_tiles", "sequences", "work")
        return {name: getattr(self, name) for name in names}


def decide(again: bool = False) -> Capabilities:
    """Look at the machine and compile what is missing; `again`: also what failed before.

    Raises ValueError where the setting is neither 'on' nor 'off'.
    """
    processor = machine.processor()
    wanted = os.environ.get(SETTING, "on")
    if wanted not in ("on", "off"):
        raise ValueError(f"{SETTING}: expected on or off, got {wanted!r}")
    if wanted == "off":
        return Capabilities(processor, off=f"kernels are turned off ({SETTING}=off)")
    if sys.platform != "linux":
        return Capabilities(processor, off="kernels are compiled on Linux alone")
    reasons = []
    for command in commands():
        try:
            compiler = compiler_of(command)
            return _with(built_by(compiler, again), processor, compiler.name)
        except NotBuilt as error:
            reasons.append(str(error))
    return Capabilities(processor, off="; ".join(reasons) or "there is no C compiler (gcc or clang)", fault=True)


def _with(lib: ctypes.CDLL, processor: str, compiler: str) -> Capabilities:
    tiles = lib.steersman_tiles()
    why = {0: "the processor, as the compiler knows it, has no matrix tiles (AMX)", -1: "the system lets us use no AMX"}
    return Capabilities(
        processor,
        compiler,
        vectors=bool(lib.steersman_vectors()),
        tiles=tiles > 0,
        no_tiles=why.get(tiles, ""),
        sequences=lib.steersman_most() if tiles > 0 else WITHOUT_TILES,
        library=lib,
    )


@functools.cache
def capabilities() -> Capabilities:
    """This process's capabilities. Logs why there are no kernels, where the user can mend that."""
    found = decide()
    if found.fault:
        log.warning("no kernels, PyTorch computes instead, more slowly: %s", found.off)
    elif found.off:
        log.info("no kernels, PyTorch computes: %s", found.off)
    return found
