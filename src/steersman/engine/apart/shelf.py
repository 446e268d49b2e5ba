"""Which engines are loaded in this process, and which one gives way where memory is short.

An engine that somebody holds on to (the served model, a canary's candidate) stays. The others stay while there is
room; for a new one the least recently used goes first. What gives way frees its memory when its last answer has ended.
"""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from steersman import machine
from steersman.engine.apart.wire import NoRoom, Unloaded, Wanted
from steersman.engine.protocol import Engine

Load = Callable[[Wanted], Engine]
SPARE = 256 << 20
"""Bytes that a new model must leave free."""
COPIES = 2.2
"""An engine copies the weights that were read, and the first copy goes when it is done; 2.2 leaves room for keys and
values."""


@dataclass
class Shelved:
    engine: Engine
    used: int
    holders: set[Hashable] = field(default_factory=set)
    running: int = 0


def needed(wanted: Wanted) -> int:
    """Bytes of memory that loading takes; 0 where unknown (a name, an endpoint)."""
    folder = Path(wanted.model)
    files = [folder] if folder.is_file() else sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return int(COPIES * sum(file.stat().st_size for file in files))


class Shelf:
    """Thread-safe. One engine is loaded at a time; who wants the same one waits for it."""

    def __init__(self, load: Load, free: Callable[[], int] = machine.free_memory) -> None:
        self._load, self._free = load, free
        self._engines: dict[str, Shelved] = {}
        self._uses = itertools.count()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def open(self, wanted: Wanted, holder: Hashable | None = None) -> Engine:
        """The engine, loaded where it is not; it stays while `holder` holds it. NoRoom; ValueError from loading."""
        with self._loading:
            with self._lock:
                known = self._engines.get(wanted.key)
            if known is None:
                machine.return_freed_memory()
                self._make_room(needed(wanted), wanted)
                known = Shelved(self._load(wanted), 0)
            with self._lock:
                self._engines[wanted.key] = known
                known.used = next(self._uses)
                if holder is not None:
                    known.holders.add(holder)
                return known.engine

    def take(self, key: str) -> Engine:
        """The engine for a request, until `give_back`. Unloaded where it gave way."""
        with self._lock:
            known = self._engines.get(key)
            if known is None:
                raise Unloaded(key)
            known.used = next(self._uses)
            known.running += 1
            return known.engine

    def give_back(self, key: str, engine: Engine) -> None:
        """`engine` may have been dropped meanwhile, and another of the same key loaded, which counts its own."""
        with self._lock:
            if (known := self._engines.get(key)) is not None and known.engine is engine:
                known.running -= 1

    def release(self, holder: Hashable) -> None:
        """`holder` lets go; what nobody holds any more is dropped."""
        with self._lock:
            for name, known in list(self._engines.items()):
                if holder in known.holders:
                    known.holders.discard(holder)
                    if not known.holders:
                        del self._engines[name]
        _collect()

    def loaded(self) -> Iterable[str]:
        """Keys of the engines, the least recently used first."""
        with self._lock:
            return sorted(self._engines, key=lambda key: self._engines[key].used)

    def _make_room(self, size: int, wanted: Wanted) -> None:
        while size and self._free() < size + SPARE:
            with self._lock:
                idle = [key for key, known in self._engines.items() if not known.holders and not known.running]
                if not idle:
                    raise NoRoom(
                        f"{Path(wanted.model).name}: loading takes some {size >> 20} MiB, of which "
                        f"{self._free() >> 20} are free, and every loaded model is in use"
                    )
                del self._engines[min(idle, key=lambda key: self._engines[key].used)]
            _collect()


def _collect() -> None:
    gc.collect()
    machine.return_freed_memory()
