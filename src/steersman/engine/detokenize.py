"""From an answer's tokens to its text, piece by piece.

A text is what the bytes of its tokens say in UTF-8. Tokens may end in the midst of a character: those bytes wait for
the rest, and where the answer ends before it came they are left out, as are other bytes at the end that are none. In
mid-text such bytes become U+FFFD as in any decoder; elsewhere that stands only where the model said that character.

Why so: decision 35 in docs/LOG.md.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from transformers.convert_slow_tokenizer import bytes_to_unicode

from steersman.text.text2text import closed_up, unescaped

_NO_CHARACTER = re.compile("[\udc80-\udcff]+")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_SURROGATES = "".join(map(chr, range(0xDC80, 0xDD00)))
_SAMPLES = ("Where is it?\n  Two  days, ok.", "好的，谢谢。1～2天🙂é")


class TokenBytes:
    """The bytes that each token adds to a text; special tokens add none, nor does U+0000, which no database keeps.

    Known from the tokenizer's decoder: byte-level alphabets, SentencePiece's spaces and byte tokens. `exact` is False
    where the decoder does something else; then bytes are those of the token's own text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._special = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        steps = _decoder_steps(tokenizer)
        self._kinds = {step["type"] for step in steps}
        self._written = [pair for step in steps for pair in _replaced(step)]
        self._spaces = sum(map(_stripped, steps))
        self._alphabet = {c: b for b, c in bytes_to_unicode().items()}
        self._known: dict[int, bytes] = {}
        self.exact = True
        self.exact = all(self._agrees(text) for text in _SAMPLES)
        if not self.exact:
            self._known.clear()

    def _agrees(self, text: str) -> bool:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        theirs = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return bool(b"".join(self.each(ids)).decode("utf-8", "replace") == theirs)

    def of(self, token: int) -> bytes:
        if token not in self._known:
            self._known[token] = b"" if token in self._special else self._read(token).replace(b"\x00", b"")
        return self._known[token]

    def each(self, ids: Iterable[int]) -> Iterator[bytes]:
        """Of a whole text's tokens: some tokenizers drop the space before the first word."""
        began = False
        for token in ids:
            piece = self.of(token)
            yield piece if began else self.first(piece)
            began |= bool(piece)

    def first(self, piece: bytes) -> bytes:
        """What a token adds that begins a text."""
        spaces = self._spaces if self.exact else 0
        while spaces and piece.startswith(b" "):
            piece, spaces = piece[1:], spaces - 1
        return piece

    def _read(self, token: int) -> bytes:
        if not self.exact:
            text: str = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
            return text.encode("utf-8", "replace")
        name = self._tokenizer.convert_ids_to_tokens(token)
        if name is None or isinstance(name, bytes):
            return name or b""
        if "ByteLevel" in self._kinds and all(c in self._alphabet for c in name):
            return bytes(self._alphabet[c] for c in name)
        byte = _BYTE.fullmatch(name) if "ByteFallback" in self._kinds else None
        if byte is not None:
            return bytes.fromhex(byte[1])
        for written, meant in self._written:
            name = name.replace(written, meant)
        return str(name).encode("utf-8", "replace")


def _decoder_steps(tokenizer: Any) -> list[dict[str, Any]]:
    """The decoder of a `tokenizers` tokenizer as its JSON says it, sequences unrolled."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return []
    whole = json.loads(decoder.__getstate__())
    steps = whole["decoders"] if whole["type"] == "Sequence" else [whole]
    return [step for step in steps if isinstance(step, dict)]


def _replaced(step: dict[str, Any]) -> list[tuple[str, str]]:
    """(what tokens are written with, what it means)."""
    if step["type"] == "Replace" and step["pattern"].get("String"):
        return [(step["pattern"]["String"], step["content"])]
    return [(step["replacement"], " ")] if step["type"] == "Metaspace" else []


def _stripped(step: dict[str, Any]) -> int:
    """Spaces that are taken off the beginning of a text."""
    if step["type"] == "Strip" and step["content"] == " ":
        return int(step["start"])
    return int(step["type"] == "Metaspace" and step["prepend_scheme"] != "never")


class Growing(Protocol):
    again: bool
    """Whether the text of the last call begins the words anew: what came before was none."""

    def grow(self, ids: Sequence[int]) -> str:
        """The text that these further tokens add; bytes that are no character as lone surrogates, for `shown`."""
        ...


class Words:
    """`Growing` of the words meant for people alone: `words_from` says how many of an answer's tokens come before them,
    its thoughts for one. That may turn out late."""

    def __init__(self, begin: Callable[[], Growing], words_from: Callable[[Sequence[int]], int]) -> None:
        self._begin, self._words_from = begin, words_from
        self._ids: list[int] = []
        self._first, self._next = 0, 0
        """The first of the words, and the token that is read next."""
        self._words = begin()
        self.again = False

    def grow(self, ids: Sequence[int]) -> str:
        self._ids.extend(ids)
        first = self._words_from(self._ids)
        self.again = first != self._first and self._next > self._first
        if first != self._first:
            self._first = self._next = first
            self._words = self._begin()
        text = self._words.grow(self._ids[self._next :])
        self._next = len(self._ids)
        return text


class Unescaped:
    """`Growing` of a text in which newlines and tabs are written out (`text.text2text`), with them back.

    A backslash waits for what follows it; at the very end of an answer it is left out.
    """

    def __init__(self, text: Growing) -> None:
        self._text, self._held = text, ""
        self.again = False

    def grow(self, ids: Sequence[int]) -> str:
        text = self._held + self._text.grow(ids)
        self._held = "\\" if text.endswith("\\") else ""
        return unescaped(text[: len(text) - len(self._held)])


def ending_whole(text: str) -> str:
    """Without bytes at its end that are no character."""
    return text.rstrip(_SURROGATES)


def shown(text: str) -> str:
    """With U+FFFD for bytes that are no character."""
    return _NO_CHARACTER.sub(lambda b: b[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace"), text)


class ByteText:
    """`Growing` by the tokens' bytes."""

    def __init__(self, tokens: TokenBytes) -> None:
        self._tokens, self._began = tokens, False
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.again = False

    def grow(self, ids: Sequence[int]) -> str:
        pieces = [self._tokens.of(token) for token in ids]
        if not self._began:
            start = next((i for i, piece in enumerate(pieces) if piece), None)
            if start is not None:
                pieces[start], self._began = self._tokens.first(pieces[start]), True
        return self._decoder.decode(b"".join(pieces))


class DecodedText:
    """`Growing` by a tokenizer's own decoding, for those whose tokens' bytes are not known. A step decodes the last few
    tokens only."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._settled, self._read = 0, 0
        self.again = False

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return closed_up(self._tokenizer, text.replace("\x00", ""))

    def grow(self, ids: Sequence[int]) -> str:
        self._ids.extend(ids)
        before = self._decode(self._ids[self._settled : self._read])
        after = self._decode(self._ids[self._settled :])
        if after.endswith("\ufffd"):
            return ""
        # one settled step stays as context, since a tokenizer may write a word's first space only after another word
        self._settled, self._read = self._read, len(self._ids)
        return after[len(before) :]


class Stops:
    """Looks for strings in a text that comes in pieces, at each of its characters once (Knuth, Morris, Pratt 1977)."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._each = [(s, _borders(s)) for s in strings]
        self._matched = [0] * len(strings)
        self.length = 0
        """Of the text so far."""

    @property
    def held(self) -> int:
        """How many of the text's last characters may be the beginning of one of the strings."""
        return max(self._matched, default=0)

    def find(self, text: str) -> int | None:
        """Take in the next piece; where in the whole text the string begins that was complete first, the longest of
        several. To be asked no more after one was found."""
        found: tuple[int, int] | None = None
        for number, (string, borders) in enumerate(self._each):
            end, self._matched[number] = _advance(string, borders, self._matched[number], text)
            if end is not None:
                found = min(found or (end, -len(string)), (end, -len(string)))
        begin = None if found is None else self.length + sum(found)
        self.length += len(text)
        return begin


def _borders(string: str) -> list[int]:
    """For each length of a beginning of `string`, the longest shorter beginning that it ends in."""
    borders, k = [0, 0], 0
    for i in range(1, len(string)):
        while k and string[i] != string[k]:
            k = borders[k]
        k += string[i] == string[k]
        borders.append(k)
    return borders


def _advance(string: str, borders: list[int], matched: int, text: str) -> tuple[int | None, int]:
    """(where in `text` the string is complete, characters of it matched at the end); `matched` before."""
    at = 0
    while at < len(text):
        if not matched:
            at = text.find(string[0], at)
            if at < 0:
                return None, 0
        while matched and string[matched] != text[at]:
            matched = borders[matched]
        matched += string[matched] == text[at]
        at += 1
        if matched == len(string):
            return at, matched
    return None, matched
