"""A corpus in a workspace: `corpus/NAME`, whole or absent, with what it was made of and what became of it.

corpus/NAME/corpus.json        sources with their files' hashes, steps, counts
corpus/NAME/texts/             cleaned documents, see `texts`
corpus/NAME/cleaning.jsonl     a line for each document dropped or flagged
corpus/NAME/report.html
corpus/NAME/shards/TOKENIZER/  tokens, see `shards`; `shards.json` is written last
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman import locks
from steersman.artifact.files import file_sha256, hash_json, now, read_object, write_json
from steersman.artifact.workspace import Workspace
from steersman.corpus import texts, tokenizing
from steersman.corpus.shards import SHARD, Documents
from steersman.corpus.texts import Gathering
from steersman.progress import activity, note

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "corpus.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
ALONE = (
    *("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tiktoken.model", "tekken.json", "vocab.txt"),
    *("qwen.tiktoken", "hy.tiktoken"),
)
"""What decides where there is no tokenizer.json."""


@dataclass(frozen=True)
class Corpus:
    """One that is there. `about`: what `corpus.json` says."""

    name: str
    path: Path
    about: dict[str, Any]

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(sorted(self.about["sources"]))

    def tokenizers(self) -> list[str]:
        """Names of the tokenizers whose shards are whole."""
        found = sorted(self.path.glob(f"shards/*/{tokenizing.FILE}"))
        return [path.parent.name for path in found]

    def documents(self, tokenizer: str) -> dict[tuple[str, str], Documents]:
        """(source, split) -> documents as tokens."""
        return tokenizing.open_shards(tokenizing.shards_folder(self.path, tokenizer))

    def unknown(self, tokenizer: str) -> int:
        """Tokens that stand for characters which the tokenizer does not have."""
        shards = read_object(tokenizing.shards_folder(self.path, tokenizer) / tokenizing.FILE, "a list of shards")
        return sum(shards.get("unknown", {}).values())

    def texts(self, source: str, split: str) -> Iterator[str]:
        return texts.read_texts(self.path, source, split, self.about["sources"][source]["kept"][split]["documents"])

    def damaged(self) -> list[str]:
        """Files of texts that are missing or not what was written; all are read whole."""
        if "texts" in self.about:
            return [of for of, sha256 in self.about["texts"].items() if not _is(self.path / of, sha256)]
        bad = []
        with activity("counting the corpus's documents"):  # older ones have no hashes
            for source, split in itertools.product(self.sources, texts.SPLITS):
                if self._size(source, split) != self.about["sources"][source]["kept"][split]:
                    bad.append(str(texts.text_path(self.path, source, split).relative_to(self.path)))
        return bad

    def _size(self, source: str, split: str) -> dict[str, int]:
        try:
            return texts.size_of(self.texts(source, split))
        except ValueError:
            return {}

    def check(self) -> None:
        """ValueError where texts are damaged."""
        if bad := self.damaged():
            raise ValueError(
                f"{self.path}: {', '.join(bad)} missing, or damaged since the corpus was built; {texts.AGAIN}"
            )


def corpora(space: Workspace) -> list[Corpus]:
    """All that can be read; of the others it is told."""
    found = []
    for path in _files(space):
        try:
            found.append(_opened(path))
        except ValueError as error:
            note(f"{error}; {texts.AGAIN}, with --replace")
    return found


def corpus_of(space: Workspace, name: str) -> Corpus:
    known = {path.parent.name: path for path in _files(space)}
    if name not in known:
        raise ValueError(f"{name}: no such corpus; expected one of {', '.join(known) or 'none, build one first'}")
    return _opened(known[name])


def _files(space: Workspace) -> list[Path]:
    found = sorted((space.root / "corpus").glob(f"[!.]*/{FILE}"))
    return [path for path in found if path.parent.suffix != ".partial"]


def _opened(path: Path) -> Corpus:
    return Corpus(path.parent.name, path.parent, read_object(path, "a corpus"))


def inputs_of(what: Gathering, tick: Callable[[str], None]) -> dict[str, Any]:
    """What the result depends on: hashes of the files, steps and wishes. `tick` is told each file's name."""
    files = {}
    for origin in what.origins:
        for path in origin.files:
            tick(path.name)
            files[f"{origin.name}: {path}"] = file_sha256(path)
    return {
        "files": files,
        "fields": {o.name: o.field for o in what.origins},
        "steps": [step.name for step in what.steps],
        "wishes": what.wishes.to_json(),
        "held_out": what.held_out,
        "tests": hash_json([t.to_json() for t in what.tests]),
        "encoding": what.reading.encoding,
    }


def build(
    space: Workspace, name: str, what: Gathering, inputs: dict[str, Any], tick: Callable[[int], None], replace: bool
) -> Corpus:
    """The corpus of these texts, made unless it is there already from the same inputs.

    ValueError where another one has the name (unless `replace`), or where nothing is left of a source.
    """
    path = space.root / "corpus" / name
    with locks.making(path):
        return _built(path, what, inputs, tick, replace)


def _built(path: Path, what: Gathering, inputs: dict[str, Any], tick: Callable[[int], None], replace: bool) -> Corpus:
    name, identity = path.name, hash_json(inputs)
    before = _before(path, inputs, replace) if (path / FILE).is_file() else None
    same = before is not None and before.about["identity"] == identity
    if before is not None and same:
        bad = before.damaged()
        if not bad:
            return before
        note(f"{path}: {', '.join(bad)} missing, or damaged since the corpus was built, which is built again")
    with whole_folder(path) as partial:
        told = texts.gather(what, partial, tick)
        for origin in what.origins:
            if not told.documents[origin.name, "train"]:
                raise ValueError(f"{origin.name}: nothing is left of {told.read[origin.name]} documents; {_why(told)}")
        about = {"identity": identity, "made": now(), "inputs": inputs, **told.to_json()}
        about["texts"] = {str(p.relative_to(partial)): file_sha256(p) for p in sorted(partial.glob("texts/*.zst"))}
        by = before.tokenizers() if before is not None else []
        if by and same and before is not None and before.about.get("texts") == about["texts"]:
            shutil.copytree(path / "shards", partial / "shards", copy_function=_link)
        elif by:
            note(f"{path}: shards by {', '.join(by)} were of the texts before; corpus tokenize makes them again")
        write_json(partial / FILE, about)
    return Corpus(name, path, about)


def _before(path: Path, inputs: dict[str, Any], replace: bool) -> Corpus | None:
    """What is there, if it can be read. ValueError for what is made otherwise, unless it may be replaced."""
    try:
        found = _opened(path / FILE)
    except ValueError as error:
        if replace:
            return None
        raise ValueError(f"{error}; {texts.AGAIN}, with --replace") from None
    if found.about["identity"] == hash_json(inputs):
        return found
    changed = _changed(found.about["inputs"], inputs)
    if not replace:
        raise ValueError(
            f"{path}: a corpus of other texts or settings is there ({changed}); --replace, or another --into"
        )
    note(f"{path}: built again: {changed}")
    return found


def _link(source: str, target: str) -> None:
    """One file in both places, or a copy where there are no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _changed(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Which files and settings are not those that a corpus was built from."""
    was, now_there = old.get("files", {}), new["files"]
    kinds = {
        "added": [name for name in now_there if name not in was],
        "changed": [name for name in now_there if name in was and was[name] != now_there[name]],
        "removed": [name for name in was if name not in now_there],
    }
    said = [
        f"{len(files)} files {how}: {', '.join(files[:3])}{', ...' if len(files) > 3 else ''}"
        for how, files in kinds.items()
        if files
    ]
    settings = [key for key in new if key != "files" and old.get(key) != new[key]]
    return "; ".join([*said, *([f"settings: {', '.join(settings)}"] if settings else [])])


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that then takes the place of `path`; what was there stays if anything goes wrong."""
    partial, old = path.with_name(f"{path.name}.partial"), path.with_name(f".{path.name}.old")

    def settle() -> None:
        """Also what a run left that was killed."""
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)

    settle()
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            path.rename(old)
        partial.rename(path)
    finally:
        settle()


def _why(told: texts.Told) -> str:
    dropped = [f"{c.name} dropped {n}: {why}" for c in told.steps for why, n in c.dropped.most_common(3)]
    unread = [line.strip() for left in told.left_out.values() for line in left.lines()]
    return "; ".join([*dropped, *unread]) or "its files hold no text"


def tokenizer_sha256(folder: Path) -> str:
    """Of the files that decide on ids. ValueError where there are none."""
    names = (*TOKENIZER_FILES, *(() if (folder / "tokenizer.json").is_file() else ALONE))
    files = {name: file_sha256(folder / name) for name in names if (folder / name).is_file()}
    if not files:
        raise ValueError(f"{folder}: expected a tokenizer's folder (tokenizer.json), found no such file")
    return hash_json(files)


def tokenise(
    corpus: Corpus,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    sha256: str,
    tick: Callable[[int], None],
    size: int = SHARD,
    check: bool = True,
) -> dict[str, Any]:
    """Shards of the corpus by a tokenizer, unless they are there; returns their list. `check`: those that are there are
    read whole, and made again where they are damaged."""
    into = tokenizing.shards_folder(corpus.path, name)
    identity = tokenizing.identity_of(sha256, {"texts": corpus.about["identity"], "size": size})
    if (found := tokenizing.made(into, identity, check)) is not None:
        return found
    with locks.making(corpus.path):
        if (found := tokenizing.made(into, identity)) is not None:  # by the process that was waited for
            return found
        corpus.check()
        tokenizing.go_back(into, identity)
        into.mkdir(parents=True, exist_ok=True)
        work = tokenizing.Work(corpus.sources, corpus.texts, tokenizer, identity, size)
        return tokenizing.tokenise(work, into, tick)


def tokens_of(documents: dict[tuple[str, str], Documents], split: str) -> dict[str, int]:
    """Tokens of each source in a split."""
    return {source: int(docs.lengths.sum()) for (source, of), docs in documents.items() if of == split}
