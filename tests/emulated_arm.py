"""The kernels built for ARM (AArch64, NEON) and run under qemu, in place of a library of this machine's.

Every call starts the emulator with the memory that the arguments point to, and takes over what changed. Needs
gcc-aarch64-linux-gnu and qemu-user (Debian's packages).
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from steersman.kernels import building
from steersman.kernels.capabilities import PACKED_FROM, Capabilities

COMPILER, EMULATOR, ROOT = "aarch64-linux-gnu-gcc", "qemu-aarch64", "/usr/aarch64-linux-gnu"
_address, _place = Tensor.data_ptr, ctypes.addressof
_bytes_at: dict[int, int] = {}


def _noted(x: Tensor) -> int:
    at = _address(x)
    if at:  # what is empty lies nowhere
        _bytes_at[at] = x.untyped_storage().nbytes() - x.storage_offset() * x.element_size()
    return at


def _noted_array(x: Any) -> int:
    at = _place(x)
    _bytes_at[at] = ctypes.sizeof(x)
    return at


@dataclass
class Part:
    """An argument, or memory that one points to."""

    at: int
    """Its address, or the argument itself where it is an integer."""
    memory: bytes = b""
    addresses: list[int] = field(default_factory=list)
    """Places in `memory` of addresses, each followed by the number of the part that lies there."""

    def packed(self) -> bytes:
        if not self.memory:
            return struct.pack("<qq", 0, self.at)
        numbers = struct.pack(f"<q{len(self.addresses)}q", len(self.addresses) // 2, *self.addresses)
        return struct.pack("<qq", 1, len(self.memory)) + self.memory + numbers


class Emulated:
    """Has the entry points of a library, as `entries.call` calls them."""

    def __init__(self, folder: Path) -> None:
        self.driver, self.library = folder / "driver", folder / "kernels.so"
        sources = [str(s) for s in building.SOURCES if s.suffix == ".c"]
        for flags in (
            [*building.FLAGS, "-march=armv8-a", "-o", str(self.library), *sources, "-lm"],
            ["-O1", "-o", str(self.driver), str(Path(__file__).with_name("arm_driver.c")), "-ldl"],
        ):
            subprocess.run([COMPILER, *flags], check=True)

    def __getattr__(self, name: str) -> Callable[..., int]:
        return functools.partial(self._call, name)

    def _follow(self, part: Part, held: Any, parts: list[Part]) -> None:
        """Add what the structure `held`, or one that it points to (a model's layers), has addresses of."""
        below = {}
        for name, kind in getattr(held, "_fields_", ()):
            if issubclass(kind, ctypes._Pointer):
                all_of = (kind._type_ * held.layers).from_address(_place(getattr(held, name).contents))
                below[_place(all_of)] = all_of
        self._point(part, parts, below)
        for all_of in below.values():
            self._point(next(p for p in parts if p.at == _place(all_of)), parts, {})

    def _point(self, part: Part, parts: list[Part], below: dict[int, Any]) -> None:
        for place, at in enumerate(struct.unpack(f"<{len(part.memory) // 8}q", part.memory)):
            size = ctypes.sizeof(below[at]) if at in below else _bytes_at.get(at)
            if size is not None:
                part.addresses.extend((8 * place, len(parts)))
                parts.append(Part(at, ctypes.string_at(at, size)))

    def _call(self, name: str, *given: Any) -> int:
        parts: list[Part] = []
        for one in given:
            if one is None or (isinstance(one, int) and one not in _bytes_at):
                parts.append(Part(one or 0))
            elif isinstance(one, int):
                parts.append(Part(one, ctypes.string_at(one, _bytes_at[one])))
            else:
                held = getattr(one, "_obj", one)
                parts.append(Part(_place(held), ctypes.string_at(ctypes.byref(held), ctypes.sizeof(held))))
        for part, one in zip(parts[:], given, strict=True):
            if hasattr(one, "_obj"):
                self._follow(part, one._obj, parts)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "arguments"
            file.write_bytes(struct.pack("<q", len(parts)) + b"".join(part.packed() for part in parts))
            emulator = [EMULATOR, "-L", ROOT, "-E", "OMP_NUM_THREADS=2"]
            command = [*emulator, str(self.driver), str(self.library), name, str(file)]
            subprocess.run(command, check=True)
            after = file.read_bytes()
        for part in parts:
            now, after = after[: len(part.memory)], after[len(part.memory) :]
            for i in range(0, 0 if part.addresses else len(now), 4):  # two may be views of the same memory
                if now[i : i + 4] != part.memory[i : i + 4]:
                    ctypes.memmove(part.at + i, now[i : i + 4], len(now[i : i + 4]))
        return int(struct.unpack("<q", after[:8])[0])


@functools.cache
def _built() -> Emulated:
    return Emulated(Path(tempfile.mkdtemp(prefix="steersman-arm-")))


def arm(monkeypatch: pytest.MonkeyPatch) -> Capabilities:
    """Kernels that this test calls under the emulator; without library and with a reason where that cannot be."""
    missing = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
    if missing:
        return Capabilities("none", off=f"{' and '.join(missing)} not installed (gcc-aarch64-linux-gnu, qemu-user)")
    _bytes_at.clear()
    monkeypatch.setattr(Tensor, "data_ptr", _noted)
    monkeypatch.setattr(ctypes, "addressof", _noted_array)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    library: Any = _built()
    return Capabilities(
        "ARM, emulated",
        products="float32 vectors (NEON)",
        instructions="arm",
        sequences=library.steersman_most(),
        packed_from=PACKED_FROM["float32 vectors"],
        library=library,
    )
