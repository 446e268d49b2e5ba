"""Separates a model's thoughts from the words that follow them, in texts and in answers' tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from steersman.text.surroundings import Shape
from steersman.types import Conversation, Message

INLINE = re.compile(
    r"\s*(?:<(?P<tag>[\w:]*think(?:ing)?)>|\[THINK\])(?P<thought>.*?)(?:</(?P=tag)>|\[/THINK\])\s*", re.DOTALL
)
"""Pattern of thoughts at the beginning of a text."""


USUAL = ("<think>", "</think>")
HEAD = 32
"""Number of tokens within which the mark that begins thoughts is complete."""


def split_thoughts(content: str) -> tuple[str, str]:
    """(thoughts, words) of an assistant's text; unclosed thoughts count as words."""
    found = INLINE.match(content)
    if found is not None:
        return found["thought"].strip(), content[found.end() :]
    head, close, rest = content.partition("</think>")  # the generation prompt may have opened the thoughts
    return (head.strip(), rest.lstrip()) if close and "<think>" not in head else ("", content)


def apart(message: Message) -> Message:
    """A turn with the thoughts moved from its words into `thinking`."""
    thoughts, _ = split_thoughts(message.text)
    if message.thinking or not thoughts:
        return message
    return dataclasses.replace(message.mapped(_words), thinking=thoughts)


def _words(content: str) -> str:
    return split_thoughts(content)[1]


def without_thoughts(conversation: Conversation) -> Conversation:
    """The dialogue without thoughts."""

    def spoken(message: Message) -> Message:
        if message.role != "assistant":
            return message
        return dataclasses.replace(message.mapped(_words), thinking="")

    return dataclasses.replace(conversation, messages=tuple(map(spoken, conversation.messages)))


class Words:
    """Finds the tokens of an answer that are meant for people, for one template."""

    def __init__(self, tokenizer: Any, shape: Shape) -> None:
        self._tokenizer, self._inside = tokenizer, shape.inside
        # data may have the usual marks, even if the family's differ
        pairs = {opening.strip(): closing.strip() for opening, closing in filter(None, (shape.thoughts, USUAL))}
        self._closes = {opening: closing for opening, closing in pairs.items() if opening}
        self._close = shape.close
        self._lead = shape.opening.strip()
        """What stands before words without thoughts."""
        self._blank = any(text[:1].isspace() for text in (shape.opening, *(shape.thoughts or ())))
        """Whether white space may come before what leads in."""

    def start(self, ids: Sequence[int]) -> int:
        """Number of leading tokens that are thoughts or introduce the words.

        All of them while this is undecided: words begin neither within thoughts nor with half a mark.
        """
        ids = list(ids)
        start = self._behind(ids, 0, self._close) if self._inside else 0
        while start < len(ids):
            head = self._text(ids[start : start + HEAD]).lstrip()
            marks = [*filter(None, (self._lead,)), *self._closes]
            mark = next((mark for mark in marks if head.startswith(mark)), "")
            if not mark:
                unsure = len(ids) - start < HEAD and any(mark.startswith(head) for mark in marks)
                return len(ids) if unsure and (head or self._blank) else start
            start = self._behind(ids, start, mark if mark == self._lead else self._closes[mark])
        return start

    def _behind(self, ids: list[int], start: int, mark: str) -> int:
        """Index after the first `mark` from `start` on and the white space after it; len(ids) without a mark."""
        token = self._tokenizer.convert_tokens_to_ids(mark)
        if token is not None and token != self._tokenizer.unk_token_id:
            end = ids.index(token, start) + 1 if token in ids[start:] else 0
        elif mark in self._text(ids[start:]):
            low, end = start, len(ids)
            while low < end:
                middle = (low + end) // 2
                low, end = (low, middle) if mark in self._text(ids[start:middle]) else (middle + 1, end)
        else:
            end = 0
        if not end:
            return len(ids)
        while end < len(ids) and not self._text(ids[end : end + 1]).strip():
            end += 1
        return end

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text
