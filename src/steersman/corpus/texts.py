"""Cleaned documents on disk: what `corpus build` keeps of raw text, by source and split, before any tokenizer.

`corpus/NAME/texts/SOURCE-SPLIT.jsonl.zst` has one JSON string a line. A document goes to validation by a hash of its
text, so the same text is always on the same side, whatever else is built with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import zstandard

from steersman import stopping
from steersman.artifact.files import atomic_write
from steersman.corpus.documents import LeftOut, documents
from steersman.data.cleaning.cleaners import Step, Wishes
from steersman.data.cleaning.outcomes import Counts, Ledger
from steersman.data.cleaning.passes import Cleaning, Source, Work, readings
from steersman.data.formats import Parsed
from steersman.data.reading import Reading
from steersman.messages import Conversation

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Origin:
    """One source of raw text: its name and its files."""

    name: str
    files: Sequence[Path]
    field: str = ""
    """The field of records that holds the text; '' for the usual ones."""


@dataclass(frozen=True)
class Gathering:
    """What is built: sources, how they are read and cleaned, and the share of documents held out."""

    origins: Sequence[Origin]
    reading: Reading
    steps: Sequence[Step]
    wishes: Wishes
    tests: Sequence[Conversation] = ()
    held_out: float = 0.01


@dataclass
class Told:
    """What became of the text: counts by source and by step."""

    left_out: dict[str, LeftOut] = field(default_factory=dict)
    read: Counter[str] = field(default_factory=Counter)
    """Documents read of each source."""
    steps: list[Counts] = field(default_factory=list)
    documents: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, split) -> documents kept."""
    characters: Counter[tuple[str, str]] = field(default_factory=Counter)
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        def of(name: str) -> dict[str, Any]:
            kept = {
                split: {
                    "documents": self.documents[name, split],
                    "characters": self.characters[name, split],
                    "bytes": self.bytes[name, split],
                }
                for split in SPLITS
            }
            return {"read": self.read[name], "kept": kept, "left_out": self.left_out[name].to_json()}

        return {"sources": {name: of(name) for name in self.left_out}, "steps": [c.to_json() for c in self.steps]}


def size_of(found: Iterable[str]) -> dict[str, int]:
    """What `Told.to_json` says of documents that were kept."""
    size = {"documents": 0, "characters": 0, "bytes": 0}
    for text in found:
        size["documents"] += 1
        size["characters"] += len(text)
        size["bytes"] += len(text.encode("utf-8", "surrogatepass"))
    return size


def text_path(folder: Path, source: str, split: str) -> Path:
    return folder / "texts" / f"{source}-{split}.jsonl.zst"


def is_held_out(text: str, share: float) -> bool:
    digest = hashlib.sha256(b"validation" + text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def gather(what: Gathering, folder: Path, tick: Callable[[int], None]) -> Told:
    """Write the cleaned documents and the line of each that was dropped (`cleaning.jsonl`) into `folder`."""
    told = Told({o.name: LeftOut() for o in what.origins})
    firsts: list[int] = []

    def read() -> Iterator[Parsed]:
        """Every reading counts anew; all of them give the same."""
        firsts.clear()
        number = 0
        for origin in what.origins:
            firsts.append(number)
            told.left_out[origin.name] = LeftOut()
            found = documents(origin.files, what.reading, told.left_out[origin.name], origin.field)
            for text in found:
                number += 1
                yield text
            told.read[origin.name] = number - firsts[-1]

    told.steps = [Counts(step.name) for step in what.steps]
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    cleaning = Cleaning(Source(folder / "texts", read), what.steps, what.wishes, what.tests)
    passes = readings(cleaning)
    cleaning = dataclasses.replace(cleaning, tick=lambda n: tick(n // passes))
    with contextlib.ExitStack() as stack:
        ledger = Ledger(stack.enter_context(atomic_write(folder / "cleaning.jsonl")))
        files = {
            (o.name, split): stack.enter_context(_writing(text_path(folder, o.name, split)))
            for o in what.origins
            for split in SPLITS
        }
        work = stack.enter_context(Work(cleaning, told.steps, ledger))
        for number, text, _ in work.results():
            assert isinstance(text, str)
            stopping.check()
            name = what.origins[bisect_right(firsts, number - 1) - 1].name
            key = name, SPLITS[is_held_out(text, what.held_out)]
            files[key].write(json.dumps(text, ensure_ascii=False) + "\n")
            told.documents[key] += 1
            told.characters[key] += len(text)
            told.bytes[key] += len(text.encode("utf-8", "surrogatepass"))
    return told


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[IO[str]]:
    with atomic_write(path, "wb", words=True) as raw:
        with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as packed:
            with io.TextIOWrapper(packed, encoding="utf-8", errors="surrogatepass") as file:
                yield file


AGAIN = "steersman corpus build makes it again"


def read_texts(folder: Path, source: str, split: str, count: int) -> Iterator[str]:
    """The documents of one source and split, in order, `count` of them. ValueError where they are not there."""
    path, number = text_path(folder, source, split), 0
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {AGAIN}")
    with open(path, "rb") as raw:
        stream = zstandard.ZstdDecompressor().stream_reader(raw)
        lines = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogatepass", newline="\n")
        try:
            for line in lines:
                number += 1
                yield json.loads(line)
        except (ValueError, zstandard.ZstdError) as error:
            raise ValueError(f"{path}: damaged ({error}); {AGAIN}") from None
    if number != count:
        raise ValueError(f"{path}: damaged, it holds {number} documents where {count} were written; {AGAIN}")
