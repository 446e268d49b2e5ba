"""People's text inside a rendered dialogue: anything there that looks like a special token is encoded as text.

Before a template renders people's words, every control token in them is put between two private-use characters. The
template may still split or test for it. After rendering, text between two such marks is encoded as
ordinary characters; all else is encoded as by transformers.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from jinja2 import nodes

from steersman.text.program import parsed

START, END = "\U0010fdd0", "\U0010fdd1"
"""Marks around people's control tokens; taken off people's text beforehand, so that nobody can forge one."""
MARKS = re.compile(f"[{START}{END}]")
ANCHORS = ("\n", "a", "0")
EXAMPLE = " Where|is it?\n| 我的订单|\n\n在哪里？ |Tomorrow, 2 p.m.|"
KEPT = 1 << 22
"""Characters of text whose ids are cached."""
MARKUP = re.compile(r"<[|｜].*[|｜]>", re.DOTALL)
"""Strings that look like control tokens, which templates may assemble from pieces."""
THOUGHT_TAG = re.compile(r"</?[\w:]*think[\w:]*>|\[/?THINK\]")
"""Tokens around a model's thoughts: in the model's own text they remain tokens."""


@functools.lru_cache(maxsize=64)
def literal_text(chat_template: str) -> str:
    """All literal text in a template's source, as separate pieces. Raises ValueError where it is no template."""
    tree = parsed(chat_template)
    texts = {node.data for node in tree.find_all(nodes.TemplateData)}
    texts |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return "\0".join(sorted(texts))


def sources(tokenizer: Any) -> list[str]:
    """The tokenizer's chat templates: one, or several for different uses."""
    given = tokenizer.chat_template
    return list(given.values()) if isinstance(given, dict) else [given]


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """A pattern for the longest of `names`, built as a prefix tree since some vocabularies have thousands."""
    tree: dict[str, Any] = {}
    for name in filter(None, names):
        branch = tree
        for character in name:
            branch = branch.setdefault(character, {})
        branch[""] = {}

    def pattern(branch: dict[str, Any]) -> str:
        parts = []
        for character in sorted(branch, reverse=True):  # "" marks the end of a name and comes last
            text, rest = character, branch[character]
            while len(rest) == 1 and "" not in rest:
                ((character, rest),) = rest.items()
                text += character
            parts.append(re.escape(text) + (pattern(rest) if text and list(rest) != [""] else ""))
        return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"

    return re.compile(pattern(tree) if tree else "(?!)")


def continued(encode: Callable[[str], list[int]], text: str, known: dict[str, list[int]]) -> list[int]:
    """Ids of text that continues another, without the space that SentencePiece adds at the beginning of a text.

    `known`: ids of ANCHORS, as far as they have been found."""
    for anchor in ANCHORS:
        before, ids = known.get(anchor) or encode(anchor), encode(anchor + text)
        known[anchor] = before
        if ids[: len(before)] == before:
            return ids[len(before) :]
    return encode(text)


class Kept:
    """Cache of the latest results for texts, up to `most` characters of text in total. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._left, self._lock = most, threading.Lock()
        self._results: OrderedDict[tuple[str, bool], Any] = OrderedDict()

    def get(self, text: str, flag: bool) -> Any:
        """None where it is not kept."""
        with self._lock:
            found = self._results.get((text, flag))
            if found is not None:
                self._results.move_to_end((text, flag))
            return found

    def put(self, text: str, flag: bool, result: Any) -> None:
        with self._lock:
            if (text, flag) not in self._results:
                self._results[text, flag] = result
                self._left -= len(text)
            while self._left < 0:
                (old, _), _ = self._results.popitem(last=False)
                self._left += len(old)


class _Target:
    """A tokenizer that encodes what is to be answered."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        if name == "spm_target":
            raise AttributeError(name)
        return getattr(self._tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:
        return self._tokenizer(text_target=text, **options)


class Spans:
    """Marking and encoding for one tokenizer and its chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        written = "\0".join(literal_text(source) for source in sources(tokenizer))
        added = tokenizer.added_tokens_decoder.values()
        special = {t.content for t in added if t.special} | set(tokenizer.all_special_tokens)
        # Special tokens, and other added tokens that the template writes, without tokens of white space
        ordinary = (t.content for t in added if not t.content.isspace())
        names = special | {name for name in ordinary if name in written or MARKUP.fullmatch(name)}
        self.control = _any_of(names)
        """Any control token."""
        self._own = _any_of({name for name in special if not THOUGHT_TAG.fullmatch(name)})
        self._marked = re.compile(f"{START}({self.control.pattern}){END}|[{START}{END}]")
        self._either = re.compile(f"{START}(?:{self.control.pattern}){END}|{self.control.pattern}")
        self._known = {tokenizer.convert_tokens_to_ids(name) for name in names}
        self._backend: Any = None
        self._cuts: frozenset[str] = frozenset()
        self._ids_kept, self._marked_kept, self._anchors = Kept(KEPT), Kept(KEPT), dict[str, list[int]]()
        self._backend, self._cuts = self._find_backend(names)
        self.answers: Spans | None = Spans(_Target(tokenizer)) if hasattr(tokenizer, "spm_target") else None
        """For answers, where they have a vocabulary of their own (Marian)."""

    def _find_backend(self, names: set[str]) -> tuple[Any, frozenset[str]]:
        """(what encodes without transformers' overhead, control tokens at which text may be cut and encoded in parts).

        Both are taken if they give transformers' ids of an example.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if not getattr(self.tokenizer, "is_fast", False) or backend is None:
            return None, frozenset()
        added = self.tokenizer.added_tokens_decoder.values()
        free = {
            token.content
            for token in added
            if not (token.lstrip or token.single_word or (token.normalized and backend.normalizer is not None))
        }
        within = {name for name in names for token in added if name in token.content and name != token.content}
        cuts = frozenset((names & free) - within)
        backend.no_truncation()
        backend.no_padding()
        for text in (EXAMPLE, *(EXAMPLE.replace("|", name) for name in sorted(cuts)[:8])):
            whole = self._ids(text)
            self._backend, self._cuts = backend, frozenset()
            if self._ids(text) != whole:
                return None, frozenset()
            self._cuts = cuts
            if list(self.encode(text)) != whole:
                return backend, frozenset()
            self._backend = None
        return backend, cuts

    def mark(self, value: Any, own: bool = False) -> Any:
        """`value` (text, or JSON of texts) with its control tokens marked.

        `own`: the model's own text, in which added tokens that are not special and marks of thoughts stay tokens.
        """
        if isinstance(value, str):
            marked = self._marked_kept.get(value, own)
            if marked is None:
                pattern = self._own if own else self.control
                marked = pattern.sub(f"{START}\\g<0>{END}", MARKS.sub("", value))
                self._marked_kept.put(value, own, marked)
            return marked
        if isinstance(value, dict):
            return {key: self.mark(item, own) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark(item, own) for item in value]
        return value

    def plain(self, text: str) -> str:
        """The text without marks, as a reader sees it."""
        return MARKS.sub("", text)

    def tail(self, text: str) -> str:
        """The text from its last control token on, all of it where there is none."""
        marks = list(self.controls(text))
        return text[marks[-1].start() :] if marks else text

    def controls(self, text: str, start: int = 0) -> Iterator[re.Match[str]]:
        """The control tokens written by the template (outside of marks) in `text` from `start` on."""
        for found in self._either.finditer(text, start):
            if found[0][0] != START:
                yield found

    def encode(self, text: str, begins: bool = True) -> tuple[int, ...]:
        """Ids of rendered text; `begins`: the text begins a dialogue and does not continue another text.

        Text is encoded in parts between control tokens, so most of a dialogue is cached from its last prompt.
        """
        return self.parts(text, begins)[2]

    def parts(self, text: str, begins: bool = True) -> tuple[list[int], list[int], tuple[int, ...]]:
        """(starts of the separately encoded parts of a text, number of ids before each, all ids)."""
        cuts = [found.start() for found in self.controls(text) if found[0] in self._cuts] if self._cuts else []
        starts = cuts if cuts[:1] == [0] else [0, *cuts]
        offsets: list[int] = []
        ids: list[int] = []
        for start, end in pairwise((*starts, len(text))):
            part, first = text[start:end], begins or start > 0
            known = self._ids_kept.get(part, first)
            if known is None:
                known = self._part(part, first)
                self._ids_kept.put(part, first, known)
            offsets.append(len(ids))
            ids += known
        return starts, offsets, tuple(ids)

    def _part(self, text: str, begins: bool) -> tuple[int, ...]:
        ids: list[int] = []
        for i, piece in enumerate(self._marked.split(text)):
            if piece:
                ids += (
                    self._spelled(piece) if i % 2 else self._ids(piece) if begins and not i else self._inner_ids(piece)
                )
        return tuple(ids)

    def _ids(self, text: str) -> list[int]:
        if self._backend is not None:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _inner_ids(self, text: str) -> list[int]:
        return continued(self._ids, text, self._anchors)

    def _spelled(self, token: str) -> list[int]:
        """A control token as text: its first character encoded apart from the rest, or if necessary every character."""
        for pieces in ((token[:1], token[1:]), tuple(token)):
            ids = [i for piece in pieces if piece for i in self._inner_ids(piece)]
            if not self._known & set(ids):
                return ids
        raise ValueError(f"the tokenizer knows no way to write {token!r} as text")
