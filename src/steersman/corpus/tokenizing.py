"""Texts of a corpus -> shards of tokens, by one tokenizer; goes on after a stop at the last whole shard."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman import stopping
from steersman.artifact.files import TORN, hash_json, read_object, write_json
from steersman.corpus.shards import SHARD, Documents, Shard, Writer, damaged, dtype_of
from steersman.corpus.texts import SPLITS
from steersman.data.near import texts_in_batches
from steersman.progress import note
from steersman.text.unknown import unknown_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH, CHARACTERS = 256, 1 << 19
FILE, STATE = "shards.json", "unfinished.json"


@dataclass(frozen=True)
class Ends:
    """Ids put before and after each document: the tokenizer's beginning of text, where it has one, and its end."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def ends_of(tokenizer: PreTrainedTokenizerBase) -> Ends:
    """ValueError where the tokenizer has no token that ends a text."""
    if tokenizer.eos_token_id is None:
        raise ValueError("tokenizer: expected an end-of-text token (eos_token), found none")
    return Ends(beginning(tokenizer), (int(tokenizer.eos_token_id),))


def beginning(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before every text, without which its model reads badly."""
    begins = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    return (int(tokenizer.bos_token_id),) if begins else ()


@dataclass(frozen=True)
class Work:
    """What is tokenised, source by source, and the tokenizer."""

    sources: Sequence[str]
    texts: Callable[[str, str], Iterable[str]]
    """Of a source and a split."""
    tokenizer: PreTrainedTokenizerBase
    identity: str
    """Of the tokenizer and the texts: shards of another one are not gone on with."""
    size: int = SHARD


def shards_folder(folder: Path, name: str) -> Path:
    """ValueError for a name that would be a place outside of the corpus."""
    if not name or Path(name).name != name:
        raise ValueError(f"shards: expected a tokenizer's name, got {name!r}")
    return folder / "shards" / name


def tokenise(work: Work, into: Path, tick: Callable[[int], None]) -> dict[str, Any]:
    """Write shards of every source and split into `into`; returns what `shards.json` says.

    `tick` is told how many documents have been done. A run that was stopped goes on at its last whole shard.
    """
    for torn in (path for pattern in TORN for path in into.rglob(pattern)):  # what a run left that was killed
        torn.unlink(missing_ok=True)
    state = _state(into, work.identity)
    vocabulary = max(work.tokenizer.get_vocab().values()) + 1  # ids may have gaps
    done, count = _sound(into, state["shards"]), 0
    for source, split in itertools.product(work.sources, SPLITS):
        writer = Writer(into / source, split, dtype_of(vocabulary), work.size)
        writer.shards = done.setdefault(f"{source}/{split}", [])
        (into / source).mkdir(parents=True, exist_ok=True)
        skip = sum(s.documents for s in writer.shards)
        texts = itertools.islice(work.texts(source, split), skip, None)
        count += skip
        whole = len(writer.shards)
        for ids in _encoded(texts, work.tokenizer):
            writer.add(ids)
            count += 1
            tick(count)
            if len(writer.shards) > whole:
                whole = len(writer.shards)
                _keep(into, work.identity, done)
            stopping.check()
        writer.close()
        _keep(into, work.identity, done)
    found = {
        "identity": work.identity,
        "dtype": dtype_of(vocabulary),
        "vocabulary": vocabulary,
        "shards": {key: [s.to_json() for s in shards] for key, shards in done.items()},
    }
    if (token := unknown_id(work.tokenizer)) is not None:
        found["unknown"] = {key: _count(into, key, found["dtype"], shards, token) for key, shards in done.items()}
    write_json(into / FILE, found)
    (into / STATE).unlink(missing_ok=True)
    return found


def _count(into: Path, key: str, dtype: str, shards: list[Shard], token: int) -> int:
    source, _, split = key.rpartition("/")
    return Documents(into / source, split, dtype, shards).count(token)


def _state(into: Path, identity: str) -> dict[str, Any]:
    state = _readable(into / STATE)
    return state if state.get("identity") == identity else {"shards": {}}


def _readable(path: Path) -> dict[str, Any]:
    """A list of shards; an empty one where there is none, or where it is damaged, which is told."""
    try:
        return read_object(path, "a list of shards") if path.is_file() else {}
    except ValueError as error:
        note(f"{error}; its shards are made again")
        return {}


def _sound(into: Path, listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Shard]]:
    """Of each source and split the shards before the first damaged one, which is told: from it on they are made again,
    with the same bytes, as shards are cut by number of tokens alone."""
    out: dict[str, list[Shard]] = {}
    for key, shards in listed.items():
        out[key] = []
        for shard in (Shard(**s) for s in shards):
            if path := damaged(into / key.rpartition("/")[0], shard):
                note(f"{path}: missing, or damaged since it was written; made again from the corpus's texts")
                break
            out[key].append(shard)
    return out


def made(into: Path, identity: str, check: bool = True) -> dict[str, Any] | None:
    """The list of shards, where it is there of these texts and tokenizer. `check`: and all are as they were written."""
    path = into / FILE
    try:
        found = read_object(path, "a list of shards") if path.is_file() else {}
    except ValueError:
        return None
    if found.get("identity") != identity:
        return None
    listed = ((key.rpartition("/")[0], Shard(**s)) for key, shards in found["shards"].items() for s in shards)
    return None if check and any(damaged(into / source, shard) for source, shard in listed) else found


def go_back(into: Path, identity: str) -> None:
    """Of a list with damaged shards, which are told, or of a damaged list, keep what `tokenise` goes on from."""
    found = _readable(into / FILE)
    if found.get("identity") == identity:
        _keep(into, identity, _sound(into, found["shards"]))
    elif found:
        note(f"{into}: the shards there are of another tokenizer or of other texts, and are made again")
        shutil.rmtree(into)
    (into / FILE).unlink(missing_ok=True)


def _keep(into: Path, identity: str, done: Mapping[str, Sequence[Shard]]) -> None:
    shards = {key: [s.to_json() for s in value] for key, value in done.items()}
    write_json(into / STATE, {"identity": identity, "shards": shards})


def _encoded(texts: Iterator[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[list[int]]:
    ends = ends_of(tokenizer)
    for batch in texts_in_batches(texts, BATCH, CHARACTERS):
        rows = tokenizer(batch, add_special_tokens=False, verbose=False, split_special_tokens=True).input_ids
        for ids in rows:
            yield [*ends.before, *ids, *ends.after]


def identity_of(tokenizer_sha256: str, texts: Mapping[str, Any]) -> str:
    return hash_json([tokenizer_sha256, texts])


def open_shards(into: Path) -> dict[tuple[str, str], Documents]:
    """(source, split) -> its documents. ValueError where the folder holds no whole set of shards."""
    path = into / FILE
    if not path.is_file():
        raise ValueError(f"{into}: no shards here; make them with steersman corpus build --tokenizer")
    found = read_object(path, "a list of shards")
    out = {}
    for key, shards in found["shards"].items():
        source, _, split = key.rpartition("/")
        out[source, split] = Documents(into / source, split, found["dtype"], [Shard(**s) for s in shards])
    return out
