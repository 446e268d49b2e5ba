"""An index of documents: a folder that is made whole or not at all, opened by mapping its files into memory.

    index.json         what it was made with: the model and what is put before questions and passages
    passages.jsonl     a passage a line; lines.npy: where each begins
    vectors.f16        [passages, dimensions], of length 1; not there without a model
    terms.npy, ...     BM25 (`lexical`)

Flat search: every vector is looked at, and both rankings are joined by the reciprocals of their places (Cormack et al.
2009).

Why so: decision 89 in docs/LOG.md.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from steersman import locks
from steersman.artifact.files import atomic_write, hash_json, read_object, write_json
from steersman.artifact.manifest import finish, sweep, tree_hashes, write_manifest
from steersman.progress import progress
from steersman.retrieval import lexical
from steersman.retrieval.passages import Passage

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Vectors of length 1."""
Floats = npt.NDArray[np.float32]
FILE, PASSAGES, LINES, VECTORS = "index.json", "passages.jsonl", "lines.npy", "vectors.f16"
HOW = ("hybrid", "dense", "bm25")
DEPTH, RRF = 100, 60
"""Places of each ranking that are joined, and what is added to a place before its reciprocal."""
BLOCK, SEEN = 64, 16_384
"""Passages that get vectors at a time, and vectors that are compared at a time."""


@dataclass(frozen=True)
class Vectors:
    """The model that passages are embedded with. `query`, `passage`: what it wants before each, such as 'query: '."""

    model: str
    hash: str
    embed: Embed
    query: str = ""
    passage: str = ""


@dataclass(frozen=True)
class Hit:
    """`score`: of the ranking that was asked for; a passage's place there is its place in the list."""

    passage: Passage
    score: float


def build(folder: Path, passages: Iterable[Passage], about: dict[str, Any], vectors: Vectors | None) -> dict[str, Any]:
    """Make the index; goes on with its vectors where it was stopped. Returns what index.json says.

    `about`: what else it is made with, for the record. ValueError where there is nothing to search, and where the
    folder holds something else, which would be gone.
    """
    if folder.exists() and not (folder / FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise ValueError(f"{folder}: holds something else; expected a new folder, or an index to replace")
    partial = folder.with_name(f"{folder.name}.partial")
    with locks.making(folder):
        partial.mkdir(parents=True, exist_ok=True)
        count, documents, repeated = _write_passages(partial, passages)
        if not count:
            raise ValueError(f"{folder}: expected documents with text, found none")
        of = {} if vectors is None else {n: getattr(vectors, n) for n in ("model", "hash", "query", "passage")}
        told = {**about, "passages": count, "documents": documents, "repeated_ids": repeated, **of}
        dimensions = _write_vectors(partial, told, vectors) if vectors else 0
        told |= {"dimensions": dimensions, "terms": lexical.write(_texts(partial), partial)}
        write_json(partial / FILE, told)
        write_manifest(partial, "index", told, {"model": told["hash"]} if of else {}, {})
        finish(partial, folder)
        sweep(folder)
    return told


def _write_passages(folder: Path, passages: Iterable[Passage]) -> tuple[int, int, int]:
    """(passages, ids of documents, documents whose id another one had)."""
    starts, documents, place, repeated = [], set(), 0, 0
    before = ("", -1)
    with (
        progress("passages", None, unit="passage") as shown,
        atomic_write(folder / PASSAGES, mode="wb", words=True) as file,
    ):
        for passage in passages:
            line = json.dumps(asdict(passage), ensure_ascii=False).encode() + b"\n"
            starts.append(place)
            if passage.document != before[0] or passage.start <= before[1]:  # another document
                repeated += passage.document in documents
            before = passage.document, passage.start
            documents.add(passage.document)
            place += file.write(line)
            shown.update(len(starts))
    np.save(folder / LINES, np.asarray(starts, dtype=np.int64))
    return len(starts), len(documents), repeated


def _read(folder: Path) -> Iterator[Passage]:
    with (folder / PASSAGES).open("rb") as file:
        for line in file:
            yield Passage(**json.loads(line))


def _texts(folder: Path) -> Iterator[str]:
    return (passage.whole for passage in _read(folder))


def _write_vectors(folder: Path, told: dict[str, Any], vectors: Vectors) -> int:
    """Blocks are appended, so that a stopped run goes on behind the last whole one of the same passages and model."""
    identity = hash_json([told, tree_hashes(folder)[PASSAGES]])
    path, mark = folder / VECTORS, folder / ".vectors.json"
    known = read_object(mark, "a mark") if mark.is_file() else {}
    if known.get("identity") != identity:
        path.unlink(missing_ok=True)
        known = {}
    width = int(known.get("dimensions", 0))
    done = path.stat().st_size // (2 * width * BLOCK) * BLOCK if width and path.is_file() else 0
    texts = itertools.islice(_texts(folder), done, None)
    with progress("vectors", told["passages"], start=done, unit="passage") as shown, path.open("ab") as file:
        file.truncate(done * 2 * width)
        while some := [vectors.passage + text for text in itertools.islice(texts, BLOCK)]:
            block = np.asarray(vectors.embed(some), dtype=np.float16)
            if not width:
                width = block.shape[1]
                write_json(mark, {"identity": identity, "dimensions": width})
            file.write(block.tobytes())
            file.flush()
            done += len(block)
            shown.update(done)
    mark.unlink()
    return width


class Index:
    """An index that was made, open. ValueError where there is none."""

    def __init__(self, folder: Path, embed: Embed | None = None) -> None:
        """`embed`: of the model that it was made with; without it BM25 alone."""
        if not (folder / FILE).is_file():
            raise ValueError(f"{folder}: expected an index that `steersman index build` made; found no {FILE}")
        self.about = read_object(folder / FILE, "an index")
        self.name, self._folder, self._embed = folder.name, folder, embed
        self._passages: Any = np.memmap(folder / PASSAGES, np.uint8, "r")
        """Mapped too: a folder that is made anew meanwhile has other passages in other places."""
        self.count = int(self.about["passages"])
        self._lines: Any = np.load(folder / LINES, mmap_mode="r")
        self._lexical = lexical.Lexical(folder, self.count)
        shape = self.count, int(self.about["dimensions"])
        self._vectors: Any = np.memmap(folder / VECTORS, np.float16, "r", shape=shape) if shape[1] else None

    @property
    def usual(self) -> str:
        """How it searches unless the question says."""
        return "bm25" if self._vectors is None or self._embed is None else "hybrid"

    def passage(self, number: int) -> Passage:
        start, *end = self._lines[number : number + 2].tolist()
        return Passage(**json.loads(self._passages[slice(start, *end or [None])].tobytes()))

    def search(self, question: str, most: int = 5, how: str = "") -> list[Hit]:
        """The best passages, the best first; `how`: one of `HOW`. By BM25 none that has no word of the question."""
        how = how or self.usual
        if how not in HOW:
            raise ValueError(f"how: expected one of {', '.join(HOW)}, got '{how}'")
        if how == "bm25":
            found = _best(self._lexical.scores(question), most, 0.0)
        elif how == "dense":
            found = _best(self._likeness(question), most)
        else:
            rankings = _best(self._lexical.scores(question), DEPTH, 0.0), _best(self._likeness(question), DEPTH)
            found = joined(rankings)[:most]
        return [Hit(self.passage(number), score) for number, score in found]

    def _likeness(self, question: str) -> Floats:
        """Cosines with every passage."""
        if self._vectors is None:
            raise ValueError(f"{self._folder}: made without a model; expected a search by bm25")
        if self._embed is None:
            raise ValueError(f"{self._folder}: made with the model {self.about['model']}, which is not loaded")
        asked = np.asarray(self._embed([self.about["query"] + question])[0], dtype=np.float32)
        blocks = (self._vectors[i : i + SEEN].astype(np.float32) @ asked for i in range(0, self.count, SEEN))
        return np.concatenate(list(blocks))


def _best(scores: Floats, most: int, above: float = -np.inf) -> list[tuple[int, float]]:
    """(number, score), the highest first, of equal ones the first; only scores greater than `above`."""
    some = np.argpartition(-scores, most - 1)[:most] if most < len(scores) else np.arange(len(scores))
    order = some[np.lexsort((some, -scores[some]))]
    return [(int(i), float(scores[i])) for i in order if scores[i] > above]


def joined(rankings: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion: each ranking gives 1 / (60 + place)."""
    out: dict[int, float] = {}
    for ranking in rankings:
        for place, (number, _) in enumerate(ranking, 1):
            out[number] = out.get(number, 0.0) + 1 / (RRF + place)
    return sorted(out.items(), key=lambda entry: (-entry[1], entry[0]))
