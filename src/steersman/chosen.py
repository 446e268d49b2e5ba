"""What computes on this machine, chosen by what was measured here: dtype, kernels or PyTorch, threads.

`train.pace` measures, this keeps and decides; reading the choice imports no torch. Only the best of all measurements
counts, since what else runs can only make one slower, and a choice changes where another is faster by `MARGIN` alone:
so a busy machine flips nothing. Explicit settings (`model.dtype`, STEERSMAN_KERNELS, OMP_NUM_THREADS) always win.

Why so: decision 61 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from steersman import installed, machine, waits

MARGIN = 1.15
"""Times faster that another way must be to be chosen."""
BUSY_MARGIN = 1.5
"""The same where something else computed meanwhile: it slows some ways more than others."""
KERNELS, PLAIN, FLOAT32 = "bfloat16 by kernels", "bfloat16 by PyTorch", "float32 by PyTorch"
"""Ways to compute, the usual one first."""
WAYS = {KERNELS: ("bfloat16", True), PLAIN: ("bfloat16", False), FLOAT32: ("float32", True)}
HARDWARE = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Instructions of which bfloat16 is computed by one."""


@dataclass(frozen=True)
class Choice:
    """What computes here. `paces`: way -> kind of work -> tokens per second, the best ever seen."""

    way: str = KERNELS
    threads: int = 0
    """0: as PyTorch does."""
    paces: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        return WAYS[self.way][0]

    @property
    def kernels(self) -> bool:
        return WAYS[self.way][1]


def place() -> Path:
    return Path.home() / ".cache" / "steersman" / "speed.json"


@functools.cache
def key() -> str:
    """All that a measurement depends on: processor, allowed cores, torch, and our kernels' sources."""
    sources = sorted(p for p in (Path(__file__).parent / "kernels").iterdir() if p.suffix in (".c", ".h"))
    kernels = hashlib.sha256(b"\0".join(p.read_bytes() for p in sources)).hexdigest()[:8]
    return f"{machine.processor()}, {machine.cores()} cores, torch {installed.version('torch')}, {kernels}"


def kept() -> Choice | None:
    """The choice of an earlier measurement here; None before the first, and where nothing may be measured."""
    return None if waits.off() else _choice(_read().get(key()))


def dtype() -> str:
    """What `model.dtype = auto` means here: as measured, before that by the processor's instructions."""
    if waits.off():
        return "bfloat16"
    if (choice := kept()) is not None:
        return choice.dtype
    return "float32" if emulated() and not Path("/dev/nvidia0").exists() else "bfloat16"


def emulated() -> bool:
    """Whether the processor has no instructions for bfloat16: PyTorch's products of it are slow then, 20 times."""
    known = machine.instructions()
    return bool(known) and not known & HARDWARE


def decide(paces: Mapping[str, Mapping[str, float]], before: str = KERNELS, margin: float = MARGIN) -> str:
    """The fastest way, where it is `margin` times as fast as the one before."""
    if not paces:
        return before

    def seconds(way: str) -> float:
        """Of a token learned and one generated."""
        return sum(1 / pace for pace in paces[way].values())

    best = min(paces, key=seconds)
    return best if before not in paces or seconds(before) > margin * seconds(best) else before


def keep(measured: Mapping[str, Mapping[str, float]], threads: Mapping[int, float], margin: float = MARGIN) -> Choice:
    """Merge a measurement (way -> work -> tokens per second; threads -> products per second), decide and write it."""
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        known = _read()
        entry = known.get(key()) if isinstance(known.get(key()), dict) else None
        old = _choice(entry) or Choice()
        paces = {way: dict(works) for way, works in old.paces.items()}
        for way, works in measured.items():
            of = paces.setdefault(way, {})
            of.update({work: max(pace, of.get(work, 0.0)) for work, pace in works.items()})
        counts = {int(n): float(x) for n, x in ((entry or {}).get("threads_measured") or {}).items()}
        counts |= {n: max(x, counts.get(n, 0.0)) for n, x in threads.items()}
        best = max(counts, key=lambda n: counts[n], default=0)
        usual = old.threads if old.threads in counts else max(counts, default=0)
        chosen = best if counts and counts[best] > MARGIN * counts[usual] else usual
        choice = Choice(decide(paces, old.way, margin), chosen if len(counts) > 1 else 0, paces)
        known[key()] = {
            "way": choice.way,
            "threads": choice.threads,
            "paces": paces,
            "threads_measured": {str(n): x for n, x in counts.items()},
        }
        _write(path, known)
    return choice


def best_pace(name: str, measured: Mapping[str, float]) -> dict[str, float]:
    """Merge what was measured of the model `name` with the best seen before."""
    if waits.off():
        return dict(measured)
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        known = _read()
        at = f"{key()}, {name}"
        before: Any = known.get(at) if isinstance(known.get(at), dict) else {}
        known[at] = {work: max(pace, float(before.get(work, 0.0))) for work, pace in measured.items()}
        _write(path, known)
        return dict(known[at])


def use() -> None:
    """Let PyTorch and the kernels of this process, which has loaded neither, take the threads chosen."""
    choice = kept()
    if choice is not None and choice.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(choice.threads))


def _choice(entry: Any) -> Choice | None:
    try:
        paces = {way: {k: float(v) for k, v in works.items()} for way, works in entry["paces"].items() if way in WAYS}
        return Choice(entry["way"], int(entry["threads"]), paces) if entry["way"] in WAYS else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _read() -> dict[str, Any]:
    try:
        read = json.loads(place().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _write(path: Path, known: dict[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(known, file, ensure_ascii=False, indent=1)
    Path(temporary).replace(path)
