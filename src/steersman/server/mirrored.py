"""Answers under way in other web processes, so that a reader who comes to this one can read along and stop them.

Every worker tells the others, by way of the engine's process, of each answer of the page that it begins, of each piece,
and of its end; each keeps a mirror of the others' answers among its own. Who comes later says hello and is told what is
under way. A worker that dies takes its answers with it: their mirrors end with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import Any

from steersman.engine.apart.client import Link
from steersman.engine.apart.wire import Gone
from steersman.server.answers import Answer, Answers
from steersman.server.errors import GONE


class Elsewhere:
    """In place of a generation: cancelling asks whoever writes the answer."""

    def __init__(self, mirror: Mirror, id_: str) -> None:
        self._mirror, self._id = mirror, id_

    def cancel(self) -> None:
        self._mirror.tell("cancel", self._id)


class Mirror:
    """`start` in the event loop; all else happens there too."""

    def __init__(self, link: Link, answers: Answers) -> None:
        self._link, self._answers = link, answers
        self._others: dict[str, int] = {}
        """Answers of others -> whose."""
        self._outgoing: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def start(self) -> None:
        loop = asyncio.get_running_loop()

        def told(sender: int, what: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._take, sender, what)

        self._link.told, self._link.connected = told, lambda: self.tell("hello")
        self._answers.tell = self.tell
        threading.Thread(target=self._send, name="mirror", daemon=True).start()
        self.tell("hello")

    def tell(self, *what: Any) -> None:
        self._outgoing.put(what)

    def _send(self) -> None:
        """In a thread, since a socket may keep one waiting."""
        while True:
            what = self._outgoing.get()
            with contextlib.suppress(Gone):
                self._link.life().tell(what)

    def _take(self, sender: int, what: tuple[Any, ...] | None) -> None:
        if what is None:
            self._left(sender)
            return
        kind, *given = what
        if kind == "hello":
            for answer in self._answers.own(self._others):
                self.tell("begin", answer.question, answer.message)
        elif kind == "begin":
            question, message = given
            if message.id not in self._others:  # else told for one who came later: this mirror has readers
                self._others[message.id] = sender
                self._answers.mirror(Answer(question, message, Elsewhere(self, message.id)))
        elif (known := self._answers.get(given[0])) is not None:
            mine = given[0] not in self._others
            if kind == "cancel" and mine:
                known.generation.cancel()
            elif kind == "delta" and not mine:
                known.add(given[1])
            elif kind == "end" and not mine:
                self._end(known, given[1])

    def _left(self, sender: int) -> None:
        for id_, whose in list(self._others.items()):
            if (answer := self._answers.get(id_)) is not None and sender in (0, whose):
                self._end(answer, {"type": "error", "message": GONE, "code": "engine_restarting"})

    def _end(self, answer: Answer, last: dict[str, Any]) -> None:
        del self._others[answer.message.id]
        self._answers.unmirror(answer.message.id)
        answer.end(last)
