"""Records and keys that lie on disk while files are read, so that memory does not grow with the files.

A shelf is a list that is only added to: a record lies in a temporary file, its place in memory (8 bytes). Keys that
must be looked up lie in a temporary SQLite database, of which 16 MB are held in memory. Both are gone with the process.

Why so: decision 78 in docs/LOG.md.
"""

from __future__ import annotations

import pickle
import sqlite3
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import Generic, Protocol, TypeVar, overload

T = TypeVar("T")
CACHE_KB = 16_000
"""Memory of a database of keys."""
FEW = 10_000


class Pile(Protocol[T]):
    """What a list and a shelf have in common."""

    def append(self, item: T, /) -> None: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T]: ...
    def __getitem__(self, i: int, /) -> T: ...


MakePile = Callable[[], "Pile[T]"]


class Shelf(Sequence[T], Generic[T]):
    """A list on disk. Its file has no name; only what this process wrote there is read."""

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._file, self._ends, self._writing = tempfile.TemporaryFile(), array("q", [0]), True  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        for item in items:
            self.append(item)

    def append(self, item: T, /) -> None:
        if not self._writing:
            self._file.seek(self._ends[-1])
            self._writing = True
        self._ends.append(self._ends[-1] + self._file.write(pickle.dumps(item, pickle.HIGHEST_PROTOCOL)))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, i: int, /) -> T: ...
    @overload
    def __getitem__(self, i: slice, /) -> list[T]: ...
    def __getitem__(self, i: int | slice, /) -> T | list[T]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        self._writing = False
        self._file.seek(self._ends[i])
        found: T = pickle.loads(self._file.read(self._ends[i + 1] - self._ends[i]))
        return found

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(len(self)))


def kept(items: Iterable[T], count: int) -> Pile[T]:
    """The `count` items: few in memory, many on disk."""
    return Shelf(items) if count > FEW else list(items)


def in_order(pile: Pile[T], place: Callable[[T], int], make: MakePile[T]) -> Pile[T]:
    """The same records sorted by `place`, in the old order where it is equal."""
    import numpy as np

    places = np.fromiter(map(place, pile), np.int64, len(pile))
    if (places[1:] >= places[:-1]).all():
        return pile
    out = make()
    for i in np.argsort(places, kind="stable"):
        out.append(pile[int(i)])
    return out


def database(of: object) -> sqlite3.Connection:
    """A temporary database that nobody else sees, without what a crash would need; closed when `of` is gone."""
    # Garbage is collected in whatever thread runs then, and that one closes it
    found = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for setting in (f"cache_size = -{CACHE_KB}", "journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
        found.execute(f"PRAGMA {setting}")
    found.execute("BEGIN")
    weakref.finalize(of, found.close)
    return found


K = TypeVar("K", str, bytes)


class Numbers(MutableMapping[K, int], Generic[K]):
    """A dictionary of numbers on disk, in no order."""

    def __init__(self) -> None:
        self._base = database(self)
        self._base.execute("CREATE TABLE numbers (key BLOB PRIMARY KEY, n INTEGER) WITHOUT ROWID")

    def get_or(self, key: K, n: int) -> int:
        """The number of `key`, which is `n` from now on where it had none."""
        if self._base.execute("INSERT OR IGNORE INTO numbers VALUES (?, ?)", (key, n)).rowcount:
            return n
        return self[key]

    def __getitem__(self, key: K) -> int:
        found = self._base.execute("SELECT n FROM numbers WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise KeyError(key)
        return int(found[0])

    def __setitem__(self, key: K, n: int) -> None:
        self._base.execute("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (key, n))

    def __delitem__(self, key: K) -> None:
        self._base.execute("DELETE FROM numbers WHERE key = ?", (key,))

    def items(self) -> Iterator[tuple[K, int]]:  # type: ignore[override]
        return iter(self._base.execute("SELECT key, n FROM numbers"))

    def __iter__(self) -> Iterator[K]:
        return (key for (key,) in self._base.execute("SELECT key FROM numbers"))

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM numbers").fetchone()[0])
