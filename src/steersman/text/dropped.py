"""Finds the parts of a dialogue that a template silently drops."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from steersman.parts import Text
from steersman.text.images import places, without
from steersman.text.spans import Spans
from steersman.text.text2text import escaped
from steersman.text.thoughts import split_thoughts
from steersman.types import Conversation, Message

MARK = "Zqmark"


class Lost(ValueError):
    """A template leaves out content that must not be lost."""


def left_out(
    conversation: Conversation, text: str, spans: Spans, render: Callable[[Conversation], str]
) -> Iterator[str]:
    """A note for each turn whose words are not in the dialogue's rendered `text`.

    Raises Lost where images, tools, calls of tools or their results are missing.
    """
    for i, j, _ in places(conversation):
        if _same(render, conversation, without(conversation, i, j)):
            raise Lost(f"the chat template leaves out the image messages[{i}].content[{j}]")
    at = 0
    for i, turn in enumerate(conversation.messages):
        where = f"messages[{i}] ({turn.role})"
        for name, arguments in map(called, turn.tool_calls):
            values = arguments.values() if isinstance(arguments, dict) else ()
            simple = [name, *(value for value in values if isinstance(value, str))]
            if any(not written_in(str(spans.mark(value)), text) for value in simple):
                raise Lost(f"the chat template leaves out the call of '{name}' in {where}")
        words = str(spans.mark(turn.text, turn.role == "assistant")).strip()
        words = split_thoughts(words)[1].strip() if turn.role == "assistant" else words
        if turn.images and all(written_in(str(spans.mark(part.text)).strip(), text) for part in _texts(turn)):
            continue
        if (found := text.find(words, at)) >= 0:  # most turns are written in order
            at = found + len(words)
        elif written_in(words, text) or (turn.role == "tool" and _changes(conversation, i, render)):
            continue
        elif turn.role == "tool":
            raise Lost(f"the chat template leaves out what the tool said in {where}")
        else:
            yield f"the chat template leaves out or alters the words of {turn.role} turns"
    for name, _ in map(called, conversation.tools):
        if not written_in(str(spans.mark(name)), text):
            raise Lost(f"the chat template leaves out the tool '{name}'; expected a dialogue without tools")


def _texts(turn: Message) -> Iterator[Text]:
    return (part for part in turn.said if isinstance(part, Text))


def _same(render: Callable[[Conversation], str], one: Conversation, other: Conversation) -> bool:
    try:
        return render(one) == render(other)
    except Exception:  # a template is a program and may raise anything
        return False


def _changes(conversation: Conversation, i: int, render: Callable[[Conversation], str]) -> bool:
    """Whether changing the words of turn `i` changes the rendering: templates may reformat a tool's result."""
    turns = list(conversation.messages)
    turns[i] = turns[i].saying((*turns[i].said, Text(MARK)))
    try:
        return MARK in render(dataclasses.replace(conversation, messages=tuple(turns)))
    except Exception:  # a template is a program: it may raise anything
        return False


def called(call: dict[str, Any]) -> tuple[str, Any]:
    """(name, arguments) of a tool or a call of one."""
    function = call.get("function", call)
    if not isinstance(function, dict):
        return "", {}
    arguments = function.get("arguments")
    with contextlib.suppress(ValueError):
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    return str(function.get("name", "")), arguments


def written_in(words: str, text: str) -> bool:
    """Whether rendered text contains the words: literally, with escaped newlines, or as JSON."""
    return words in text or escaped(words) in text or json.dumps(words, ensure_ascii=False)[1:-1] in text
