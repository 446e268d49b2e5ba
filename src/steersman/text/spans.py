"""People's text inside a rendered dialogue: what looks like a special token there is encoded as text, never obeyed.

Before a template renders people's words, every control token in them is put between two private-use characters. The
template may still split or test for it. What stands between the two afterwards is spelled out; all else is encoded as
transformers does it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

START, END = "\U0010fdd0", "\U0010fdd1"
"""Marks around people's control tokens; taken off people's text beforehand, so that nobody can forge one."""
MARKS = re.compile(f"[{START}{END}]")
ANCHORS = ("\n", "a", "0")
MARKUP = re.compile(r"<[|｜].*[|｜]>", re.DOTALL)
"""Tokens that control turns by their looks, which templates may put together of pieces."""
THOUGHT_TAG = re.compile(r"</?[\w:]*think[\w:]*>|\[/?THINK\]")
"""What a model writes around its thoughts: in its own text these stay what they are."""


@functools.lru_cache(maxsize=64)
def literal_text(chat_template: str) -> str:
    """All text that a template can write itself, pieces apart. Raises ValueError where it is no template."""
    import jinja2
    from jinja2 import nodes
    from transformers.utils import chat_template_utils

    try:
        compiled = chat_template_utils._compile_jinja_template(chat_template)
        tree = compiled.environment.parse(chat_template)
    except (jinja2.TemplateError, RecursionError) as error:
        raise ValueError(f"the chat template is no valid Jinja template: {error}") from None
    texts = {node.data for node in tree.find_all(nodes.TemplateData)}
    texts |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return "\0".join(sorted(texts))


def sources(tokenizer: Any) -> list[str]:
    """The tokenizer's chat templates: one, or several for different uses."""
    given = tokenizer.chat_template
    return list(given.values()) if isinstance(given, dict) else [given]


def _any_of(names: set[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(None, names), key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


class Spans:
    """Marking and encoding for one tokenizer and its chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        written = "\0".join(literal_text(source) for source in sources(tokenizer))
        added = tokenizer.added_tokens_decoder.values()
        special = {t.content for t in added if t.special} | set(tokenizer.all_special_tokens)
        # Special tokens, and of the others those that the template writes: white space is ordinary text in both
        ordinary = (t.content for t in added if not t.content.isspace())
        names = special | {name for name in ordinary if name in written or MARKUP.fullmatch(name)}
        self.control = _any_of(names)
        """Any control token."""
        self._own = _any_of({name for name in special if not THOUGHT_TAG.fullmatch(name)})
        self._marked = re.compile(f"{START}({self.control.pattern}){END}|[{START}{END}]")
        self._either = re.compile(f"{START}(?:{self.control.pattern}){END}|{self.control.pattern}")
        self._known = {tokenizer.convert_tokens_to_ids(name) for name in names}

    def mark(self, value: Any, own: bool = False) -> Any:
        """`value` (text, or JSON of texts) with its control tokens marked.

        `own`: it is the model's own text, which may say what is no special token, and begin and end its thoughts.
        """
        if isinstance(value, str):
            pattern = self._own if own else self.control
            return pattern.sub(f"{START}\\g<0>{END}", MARKS.sub("", value))
        if isinstance(value, dict):
            return {key: self.mark(item, own) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mark(item, own) for item in value]
        return value

    def plain(self, text: str) -> str:
        """Without marks: what a reader sees."""
        return MARKS.sub("", text)

    def controls(self, text: str, start: int = 0) -> Iterator[re.Match[str]]:
        """The control tokens in `text` from `start` on that stand outside of marks, which the template wrote."""
        for found in self._either.finditer(text, start):
            if found[0][0] != START:
                yield found

    def encode(self, text: str, begins: bool = True) -> tuple[int, ...]:
        """Ids of rendered text; `begins`: it is the beginning of a dialogue and not what follows another text."""
        ids: list[int] = []
        for i, piece in enumerate(self._marked.split(text)):
            if piece:
                ids += (
                    self._spelled(piece) if i % 2 else self._ids(piece) if begins and not i else self._inner_ids(piece)
                )
        return tuple(ids)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def _inner_ids(self, text: str) -> list[int]:
        """Ids of text from the middle of a dialogue: SentencePiece puts a space before what begins a text."""
        for anchor in ANCHORS:
            before, ids = self._ids(anchor), self._ids(anchor + text)
            if ids[: len(before)] == before:
                return ids[len(before) :]
        return self._ids(text)

    def _spelled(self, token: str) -> list[int]:
        """A control token as text: its first character apart from the rest; character by character if need be."""
        for pieces in ((token[:1], token[1:]), tuple(token)):
            ids = [i for piece in pieces if piece for i in self._inner_ids(piece)]
            if not self._known & set(ids):
                return ids
        raise ValueError(f"the tokenizer knows no way to write {token!r} as text")
