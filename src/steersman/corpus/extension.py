"""New entries for a tokenizer that is there: its merges go on where they end, learned from its own tokens of texts.

Old entries keep their ids and old merges go first, so that a text where no new merge applies is cut as it was, and in
other texts each new entry stands for just the old tokens that it was merged from (`Extension.pieces`). Of a unigram
tokenizer the ids stay, and a text is cut otherwise where a new entry is likelier than the old ones.

The tokenizers library learns the merges; to it each old token is one character (`_Letters`).

Why so: decision 90 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steersman import stopping
from steersman.corpus.tokenizing import BATCH, CHARACTERS
from steersman.data.near import texts_in_batches

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

LEAST = 5
"""Times that an entry must occur in the texts."""
LONGEST = 16
"""Old tokens in one new entry, at most: longer ones are sentences that somebody copied."""
SPARE = 1.25
"""Merges are learned beyond the wanted ones, since some make entries that are there."""
LOOKED = 64
"""Texts by which the new tokenizer is compared with the old one."""
SPACE = "▁"
Json = dict[str, Any]
Pieces = tuple[int, ...]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Extension:
    """A tokenizer with new entries, and the old ids that each of them stands for."""

    tokenizer: PreTrainedTokenizerBase
    pieces: Mapping[int, Pieces]

    @property
    def entries(self) -> list[str]:
        """What the new entries write, in order of their ids."""
        return [self.tokenizer.decode([i]) for i in self.pieces]


def extend(
    tokenizer: PreTrainedTokenizerBase, texts: Callable[[], Iterable[str]], wanted: int, ascii_too: bool = False
) -> Extension:
    """The tokenizer with `wanted` new entries, or with fewer where the texts give no more.

    Without `ascii_too` no new entry holds a character of ASCII, so texts of ASCII alone are cut as they were.
    ValueError for a tokenizer whose entries cannot be added to.
    """
    if wanted < 1:
        raise ValueError(f"entries: expected at least 1, got {wanted}")
    parts, known = _parts(tokenizer), tokenizer.get_vocab()
    names = {i: name for name, i in known.items()}
    growing = _Growing(parts, names)
    pieces: dict[int, Pieces] = {}
    for character, share in growing.characters(texts(), wanted // 2, ascii_too).items():
        in_bytes = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in character.encode()])
        pieces[growing.add(character, math.log(share))] = tuple(in_bytes)
    letters = _Letters(growing, set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder), ascii_too)
    made: dict[Pieces, int] = {}
    for left, right in letters.merges(growing.built(), texts(), wanted - len(pieces)):
        if len(pieces) == wanted:
            break
        sides = [made.get(side) if len(side) > 1 else side[0] for side in (left, right)]
        if sides[0] is None or sides[1] is None:  # of a merge that was left out
            continue
        new = growing.merge(sides[0], sides[1], made.get(left + right))
        if new is not None:
            made[left + right] = new
            pieces[new] = tuple(j for i in left + right for j in pieces.get(i, (i,)))
    found = Extension(_loaded(tokenizer, growing.parts), pieces)
    _check(tokenizer, found, texts(), exactly=not growing.unigram)
    return found


def _parts(tokenizer: PreTrainedTokenizerBase) -> Json:
    """The tokenizer as the library writes it. ValueError for those that cannot be extended."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"{type(tokenizer).__name__}: expected a tokenizer with tokenizer.json, this one is in Python")
    parts: Json = json.loads(backend.to_str())
    model = parts["model"]
    if model["type"] not in ("BPE", "Unigram"):
        raise ValueError(f"a tokenizer of kind {model['type']}: expected BPE or unigram, whose entries can be added to")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise ValueError("a BPE that marks the ends of words in its entries: expected one of bytes or with spaces (▁)")
    reads_all = _by_bytes(parts) or model.get("byte_fallback")
    if model["type"] == "BPE" and not reads_all:
        raise ValueError(
            "a BPE of characters that cannot write all texts: expected one of bytes or that falls back on them"
        )
    if model["type"] == "Unigram" and model.get("unk_id") is None and not reads_all:
        raise ValueError(
            "a unigram tokenizer that has neither an unknown token nor bytes: it cannot read texts with other "
            "characters than its own; expected one with either"
        )
    behind = [t["content"] for t in parts["added_tokens"] if t["id"] >= len(model["vocab"])]
    if model["type"] == "Unigram" and behind:
        raise ValueError(
            f"a unigram tokenizer whose added tokens ({', '.join(behind[:3])}) stand behind its entries: new entries "
            "would move their ids; expected one that has them among its entries"
        )
    return parts


def _by_bytes(parts: Json) -> bool:
    return '"ByteLevel"' in json.dumps(parts.get("pre_tokenizer"))


class _Growing:
    """A tokenizer's entries and merges, to which more are added."""

    def __init__(self, parts: Json, names: dict[int, str]) -> None:
        self.parts, self.model, self.names = parts, parts["model"], names
        self.known = set(names.values())
        self.size = max(names) + 1
        self.unigram, self.by_bytes = self.model["type"] == "Unigram", _by_bytes(parts)
        self.scores = {name: float(score) for name, score in self.model["vocab"]} if self.unigram else {}
        if not self.unigram:  # the library gives ids by counting a model's entries: none may be missing below the new
            taken = set(self.model["vocab"].values())
            for i in range(self.size):
                if i not in taken:
                    self.model["vocab"][names.get(i, f"[none {i}]")] = i

    def built(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self.parts))

    def characters(self, texts: Iterable[str], most: int, ascii_too: bool) -> dict[str, float]:
        """The most frequent letters that have no entry, with their shares of the text; none where bytes are entries."""
        if self.by_bytes:
            return {}
        counts = Counter[str]()
        for text in texts:
            counts.update(text)
        normal = self.built().normalizer
        found = {
            c: n / counts.total()
            for c, n in counts.most_common()
            if n >= LEAST and c.isalpha() and c not in self.known and (ascii_too or not c.isascii())
            and (normal is None or c in normal.normalize_str(c))
        }  # fmt: skip
        return dict(list(found.items())[:most])

    def add(self, name: str, score: float) -> int:
        """The id of a new entry; `score` counts in unigram tokenizers."""
        if self.unigram:
            self.model["vocab"].append([name, score])
            self.scores[name] = score
        else:
            self.model["vocab"][name] = self.size
        self.names[self.size] = name
        self.known.add(name)
        self.size += 1
        return self.size - 1

    def merge(self, left: int, right: int, there: int | None) -> int | None:
        """The id of what a new merge makes, `there` if that was made before; None where it is an old entry."""
        sides = [self.names[left], self.names[right]]
        name = "".join(sides)
        if there is None and name in self.known:
            return None
        if not self.unigram:
            self.model["merges"].append(sides)
        if there is not None:
            return there
        # as likely as the rarer of its parts: then it goes before both of them
        return self.add(name, min(self.scores[side] for side in sides) if self.unigram else 0.0)


class _Letters:
    """Old tokens as characters of words, from which the library learns merges.

    A word ends where the tokenizer's own does, where a token begins with a space, and between Chinese and other
    letters. Where entries are characters, what is no letter stands outside of words.
    """

    FIRST, GAP = 0x100, 0x800
    """The character of id 0; as many characters from 0xD800 on are none."""
    BETWEEN, NOTHING = 0x0A, 0x0B

    def __init__(self, growing: _Growing, special: set[int], ascii_too: bool) -> None:
        codes = np.arange(growing.size, dtype=np.uint32) + self.FIRST
        self.codes = codes + np.where(codes >= 0xD800, self.GAP, 0).astype(np.uint32)
        self.apart = np.ones(growing.size, bool)
        self.begins = np.zeros(growing.size, bool)
        self.han = np.zeros(growing.size, bool)
        for i, name in growing.names.items():
            text = _bytes_of(name).decode("utf-8", "ignore") if growing.by_bytes else name.replace(SPACE, " ")
            part = growing.by_bytes and not text  # of a character
            letters = growing.by_bytes or (any(map(str.isalpha, text)) and not _is_byte(name))
            has_ascii = any(map(str.isascii, text)) or (growing.by_bytes and any(b < 128 for b in _bytes_of(name)))
            self.apart[i] = i in special or not letters or (has_ascii and not ascii_too)
            self.begins[i] = not growing.by_bytes and text.startswith(" ")
            self.han[i] = part or any("\u3400" <= c <= "\u9fff" for c in text)

    def words(self, ids: Array, of: Array) -> str:
        """Tokens as characters, with BETWEEN where a word (`of`: its number) ends."""
        apart = self.apart[ids]
        cut = self.begins[ids] | apart
        cut[1:] |= (of[1:] != of[:-1]) | (self.han[ids][1:] != self.han[ids][:-1])
        both = np.empty((len(ids), 2), np.uint32)
        both[:, 0] = np.where(cut, self.BETWEEN, self.NOTHING)
        both[:, 1] = np.where(apart, self.BETWEEN, self.codes[ids])
        flat = both.reshape(-1)
        return str(flat[flat != self.NOTHING].astype("<u4").tobytes(), "utf-32-le")

    def merges(self, tokenizer: Tokenizer, texts: Iterable[str], wanted: int) -> Iterator[tuple[Pieces, Pieces]]:
        """Pairs of runs of ids that are merged, the most frequent first."""
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        if wanted < 1:
            return
        known = bytes(self.codes.astype("<u4").tobytes()).decode("utf-32-le")
        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(chr(self.BETWEEN))
        training = trainers.BpeTrainer(
            vocab_size=len(known) + int(SPARE * wanted) + 100,
            min_frequency=LEAST,
            initial_alphabet=list(known),
            max_token_length=LONGEST,
            show_progress=False,
        )
        learner.train_from_iterator(self._written(tokenizer, texts), training)
        of = {c: i for i, c in enumerate(known)}
        for left, right in json.loads(learner.to_str())["model"]["merges"]:
            yield tuple(of[c] for c in left), tuple(of[c] for c in right)

    def _written(self, tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[str]:
        for batch in texts_in_batches(texts, BATCH, CHARACTERS):
            stopping.check()
            for found in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                of = np.fromiter((-1 if w is None else w for w in found.word_ids), np.int64, len(found.ids))
                yield self.words(np.array(found.ids, np.int64), of)


def _bytes_of(name: str) -> bytes:
    """Of an entry of a byte-level tokenizer."""
    table = _table()
    return bytes(table[c] for c in name) if all(c in table for c in name) else name.encode()


@functools.cache
def _table() -> dict[str, int]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {character: byte for byte, character in bytes_to_unicode().items()}


def _is_byte(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")


def _loaded(tokenizer: PreTrainedTokenizerBase, parts: Json) -> PreTrainedTokenizerBase:
    """A tokenizer like the old one in all else, through files, as everybody will read it."""
    from steersman.weights.folders import read_tokenizer

    with tempfile.TemporaryDirectory(prefix="steersman-vocabulary-") as place:
        folder = Path(place)
        tokenizer.save_pretrained(place)
        for name in ("vocab.json", "merges.txt", "tokenizer.model", "spiece.model"):
            (folder / name).unlink(missing_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(parts, ensure_ascii=False), encoding="utf-8")
        found: PreTrainedTokenizerBase = read_tokenizer(folder)
    found.name_or_path = ""
    return found


def _check(old: PreTrainedTokenizerBase, new: Extension, texts: Iterable[str], exactly: bool) -> None:
    """ValueError where texts do not come back, or (`exactly`) a new entry stands for other tokens than its own."""
    for text in itertools.islice(texts, LOOKED):
        text = text[: CHARACTERS >> 8]
        before, after = (t(text, add_special_tokens=False, verbose=False).input_ids for t in (old, new.tokenizer))
        spelled = [j for i in after for j in new.pieces.get(i, (i,))]
        same = spelled == before if exactly else new.tokenizer.decode(after) == old.decode(before)
        if not same:
            raise ValueError(
                f"{type(old).__name__}: with new entries it cuts texts otherwise than by them (such as {text[:40]!r}); "
                "expected a tokenizer that is read from tokenizer.json alone"
            )
