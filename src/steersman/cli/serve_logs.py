"""Logs of `serve`: without words, or as JSON; its traces."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from steersman.cli.framework import say
from steersman.terminal import safe


class Wordless(logging.Formatter):
    """Logs an error's place and kind without its text, which may quote a user's question.

    STEERSMAN_DEBUG=words shows all.
    """

    def formatException(self, ei: Any) -> str:
        from steersman.server.logs import wordless

        if os.environ.get("STEERSMAN_DEBUG") == "words":
            return super().formatException(ei)
        return f"{wordless(ei[1])}\n(STEERSMAN_DEBUG=words shows its text)"

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))


def set_up_traces() -> None:
    from steersman.server import traces

    if why_none := traces.begin(os.environ):
        say(why_none)


def set_up_logs(as_json: bool) -> None:
    from steersman.server.logs import JsonLines, access, words

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines() if as_json else Wordless("%(levelname)s %(name)s: %(message)s"))
    if as_json:
        access.setLevel(logging.INFO)
    if os.environ.get("STEERSMAN_DEBUG") == "words":
        words.setLevel(logging.DEBUG)
