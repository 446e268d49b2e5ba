"""Tokens on disk: shards of whole documents, mapped into memory, each with the places where documents begin.

A source's folder holds `SPLIT-00000.tokens` (little-endian uint16 or uint32) and `SPLIT-00000.starts` (int64, one more
than documents). Shards are cut at documents by number of tokens alone, so building them again, or going on after a
stop, gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from steersman.artifact.files import atomic_write, file_sha256

Tokens = np.ndarray[Any, np.dtype[Any]]
SHARD = 1 << 24
"""Tokens from which on a shard is full: 32 or 64 MiB."""


def dtype_of(vocabulary: int) -> str:
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


@dataclass(frozen=True)
class Shard:
    """One pair of files."""

    name: str
    documents: int
    tokens: int
    sha256: str
    starts: str = ""
    """sha256 of the places; '' in lists of before."""

    def to_json(self) -> dict[str, Any]:
        return {**vars(self)}


class Writer:
    """Writes documents into shards of one split; full ones are kept as they come, the last by `close`."""

    def __init__(self, folder: Path, split: str, dtype: str, size: int = SHARD) -> None:
        self.folder, self.split, self.dtype, self.size = folder, split, dtype, size
        self.shards: list[Shard] = []
        self._held: list[Tokens] = []
        self._tokens = 0

    def add(self, ids: Iterable[int]) -> None:
        document = np.fromiter(ids, self.dtype)
        self._held.append(document)
        self._tokens += len(document)
        if self._tokens >= self.size:
            self._flush()

    def close(self) -> list[Shard]:
        if self._held:
            self._flush()
        return self.shards

    def _flush(self) -> None:
        name = f"{self.split}-{len(self.shards):05d}"
        starts = np.concatenate([[0], np.cumsum([len(d) for d in self._held])]).astype("<i8")
        with atomic_write(self.folder / f"{name}.starts", "wb", words=True) as file:
            file.write(starts.tobytes())
        with atomic_write(self.folder / f"{name}.tokens", "wb", words=True) as file:
            for document in self._held:
                file.write(document.tobytes())
        sha256, places = (file_sha256(self.folder / f"{name}.{of}") for of in ("tokens", "starts"))
        self.shards.append(Shard(name, len(self._held), self._tokens, sha256, places))
        self._held, self._tokens = [], 0


class Documents:
    """The documents of one source and split, by number, without reading more than is asked for."""

    def __init__(self, folder: Path, split: str, dtype: str, shards: Iterable[Shard]) -> None:
        mine = [s for s in shards if s.name.rpartition("-")[0] == split]
        self._tokens: list[Tokens] = []
        self._starts: list[Tokens] = []
        for shard in mine:
            self._tokens.append(_mapped(folder / f"{shard.name}.tokens", dtype, shard.tokens))
            self._starts.append(_mapped(folder / f"{shard.name}.starts", "<i8", shard.documents + 1))
        self._firsts = np.concatenate([[0], np.cumsum([s.documents for s in mine], dtype=np.int64)])
        self.lengths = np.concatenate([np.diff(s) for s in self._starts] or [np.zeros(0, np.int64)])
        """Tokens of each document."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> Tokens:
        shard = int(np.searchsorted(self._firsts, number, "right")) - 1
        place = number - int(self._firsts[shard])
        start, end = self._starts[shard][place : place + 2]
        return self._tokens[shard][start:end]

    def count(self, token: int) -> int:
        """How often a token is there."""
        return sum(int(np.count_nonzero(tokens == token)) for tokens in self._tokens)

    def __iter__(self) -> Iterator[Tokens]:
        return (self[i] for i in range(len(self)))


def damaged(folder: Path, shard: Shard) -> Path | None:
    """The shard's file that is not there or not what was written; both are read whole."""
    for path, sha256 in (
        (folder / f"{shard.name}.tokens", shard.sha256),
        (folder / f"{shard.name}.starts", shard.starts),
    ):
        if not path.is_file() or (file_sha256(path) != sha256 if sha256 else not _are_places(path, shard)):
            return path
    return None


def _are_places(path: Path, shard: Shard) -> bool:
    """Whether a file without a hash may hold a shard's places: they rise from nothing to its number of tokens."""
    if path.stat().st_size != 8 * (shard.documents + 1):
        return False
    places = np.fromfile(path, "<i8")
    return places[0] == 0 and places[-1] == shard.tokens and bool((np.diff(places) >= 0).all())


def _mapped(path: Path, dtype: str, count: int) -> Tokens:
    """ValueError where the file is not as long as its list says."""
    expected = count * np.dtype(dtype).itemsize
    if not path.is_file() or path.stat().st_size != expected:
        found = path.stat().st_size if path.is_file() else "none"
        raise ValueError(f"{path}: expected {expected} bytes, found {found}; steersman corpus tokenize makes it again")
    return np.memmap(path, dtype, "r") if count else np.zeros(0, dtype)
