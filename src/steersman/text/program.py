"""A chat template compiled once, and rendered the same way as by transformers."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
from jinja2 import nodes

from steersman.text.limits import SOURCE, Limited, weighed
from steersman.text.trace import LATER, TOLD, Log, Told, Traced, told, turnwise

TAG = "Zqgoeson "
"""Marker after the words to be continued; its space shows whether the template trims them."""
Messages = Sequence[dict[str, Any]]


@functools.cache
def _environment() -> Any:
    """transformers' environment, taken from an empty template, since compiling a template evaluates its constants."""
    from transformers.utils import chat_template_utils

    return chat_template_utils._compile_jinja_template("").environment


@functools.lru_cache(maxsize=64)
def parsed(source: str) -> nodes.Template:
    """The template as a tree. Raises ValueError where it is no template."""
    if len(source) > SOURCE:
        raise ValueError(f"the chat template has {len(source)} characters; expected at most {SOURCE}")
    try:
        tree: nodes.Template = _environment().parse(source)
    except (jinja2.TemplateError, RecursionError) as error:
        raise ValueError(f"the chat template is no valid Jinja template: {error}") from None
    return tree


class Program:
    """One template's source, ready to render. Threads may share it."""

    def __init__(self, source: str) -> None:
        parsed(source)  # raises the template's syntax errors
        self._environment = Limited(_environment())
        self._environment.filters.update({TOLD: told, LATER: self._later})
        self._template = self._compiled(self._environment.parse(source))
        tree = self._environment.parse(source)
        self._tracing = self._compiled(tree) if turnwise(tree) else None

    def _compiled(self, tree: nodes.Template) -> jinja2.Template:
        code = self._environment.compile(weighed(tree))
        return jinja2.Template.from_code(self._environment, code, self._environment.make_globals(None))

    def _later(self, value: Any) -> Any:
        log = self._environment.meter.log
        if log is not None:
            log.later()
        return value

    def render(self, messages: Messages, day: datetime.datetime | None = None, **values: Any) -> str:
        """The text of a dialogue. Raises Exhausted, and whatever else a template may raise."""
        given = sum(map(_size, messages))
        self._environment.meter.start(given, day)
        return self._join(self._template.generate(messages=messages, documents=None, **values), Log())

    def _join(self, pieces: Iterable[str], log: Log) -> str:
        meter, text = self._environment.meter, []
        meter.log = log
        for piece in pieces:
            text.append(piece)
            log.written += len(piece)
            meter.limit(log.written)
        return "".join(text)

    def trace(self, messages: Messages, day: datetime.datetime | None = None, **values: Any) -> Traced | None:
        """A rendering that records where turns end; None where the template does not write turn by turn."""
        if self._tracing is None:
            return None
        log = Log()
        self._environment.meter.start(sum(map(_size, messages)), day)
        pieces = self._tracing.generate(messages=Told(messages, log), documents=None, **values)
        return Traced(self._join(pieces, log), log, len(messages))

    def go_on(self, messages: Messages, day: datetime.datetime | None = None, **values: Any) -> str:
        """The text of a dialogue up to the last of its words. Raises ValueError where the template drops them."""
        last = dict(messages[-1])
        words = last["content"]
        last["content"] = [{**words[0], "text": words[0]["text"] + TAG}] if isinstance(words, list) else words + TAG
        text = self.render([*messages[:-1], last], day, **values)
        end = text.rfind(TAG.strip())
        said = words[0]["text"] if isinstance(words, list) else words
        if end < 0 or said.strip() not in text:
            raise ValueError("the chat template does not write the words that are to be gone on from")
        return text[:end] if text.startswith(TAG, end) else text[:end].rstrip()


@functools.lru_cache(maxsize=64)
def program(source: str) -> Program:
    """The template of that source. Raises ValueError where it is no template."""
    return Program(source)


def _size(value: Any) -> int:
    """Characters of a message."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 0
