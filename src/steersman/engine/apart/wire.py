"""What goes over the socket between a web process and the engine's: pickled tuples, framed by `multiprocessing`.

    to the host   ("open", id, Wanted, holder), ("release", 0, holder), ("call", id, key, method, arguments),
                  ("answers", id, key, prompt, params), ("cancel", id), ("close", id), ("tell", 0, anything)
    back          a list of (id, kind, value): everything that came since the last one

Both sides are the same program under the same user: the socket lies in a folder that only its owner may enter, and who
connects proves that it knows a key of this start.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Literal

Kind = Literal["value", "error", "begun", "piece", "end", "done", "told"]
Item = tuple[int, Kind, Any]
"""(request's id, kind, value); of a piece (answer's number, text), of an end (number, Completion, policy version); what
another client told all: (its number, anything), of one that left (its number, None)."""

ABILITIES = ("prompt_logprobs", "embed", "classify", "call_form", "stops_thinking", "load_adapter", "unload_adapter")
"""Methods that some engines have besides `Engine`'s."""
FACTS = ("labels", "exclusive", "takes_images", "max_slots", "kernel", "room")
"""Attributes of some engines."""
GATHER_SECONDS = 0.004
"""Time for what comes from one step to go in one message."""
CROWDED = 512
"""Items that wait for a slow reader, from which on pieces of one answer are joined."""


@dataclass(frozen=True)
class Wanted:
    """A model to load: `load_engine`'s arguments, and what says that a folder holds the same model as before."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    identity: str = ""

    @property
    def key(self) -> str:
        told = repr((self.model, sorted(self.options.items()), self.identity))
        return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(frozen=True)
class About:
    """What a client knows of an engine without asking again."""

    model_name: str
    policy_version: str
    max_context: int
    abilities: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    """What was said while it was loaded."""


class Unloaded(RuntimeError):
    """The engine of this key is not loaded (any more); to be opened again."""


class NoRoom(ValueError):
    """A model does not fit into memory beside those that are in use."""


class Gone(ConnectionError):
    """The engine's process ended before it answered."""


def portable(error: Exception) -> Exception:
    """The error; where it cannot be pickled, one of the nearest kind that can, with its words."""
    made: Callable[[], Exception] = lambda: error  # noqa: E731
    for kind in type(error).__mro__[1:]:
        try:
            pickle.loads(pickle.dumps(whole := made()))
            return whole
        except Exception:
            made = functools.partial(kind, str(error))
    return RuntimeError(str(error))


class Outbox:
    """Items for one client, sent by a thread of its own: who answers never waits for who reads.

    What a slow reader leaves behind is joined in the end, so that it is never much more than its answers' text.
    """

    def __init__(self, connection: Connection, lost: Callable[[], None]) -> None:
        self._connection, self._lost = connection, lost
        self._items: list[Item] = []
        self._open: dict[tuple[int, int], int] = {}
        """(request, answer's number) -> where in `_items` its latest piece lies."""
        self._changed = threading.Condition()
        self._closed = False
        threading.Thread(target=self._send, name="outbox", daemon=True).start()

    def put(self, id_: int, kind: Kind, value: Any) -> None:
        with self._changed:
            if kind == "piece" and len(self._items) >= CROWDED:
                number, text = value
                at = self._open.setdefault((id_, number), len(self._items))
                if at < len(self._items):
                    self._items[at] = (id_, kind, (number, self._items[at][2][1] + text))
                    return
            self._items.append((id_, kind, value))
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _send(self) -> None:
        gather = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._closed)
                if self._closed:
                    return
                pieces = all(kind == "piece" for _, kind, _ in self._items)
            if pieces:
                gather.wait(GATHER_SECONDS)
            with self._changed:
                items, self._items = self._items, []
                self._open.clear()
            try:
                self._connection.send(items)
            except (OSError, ValueError):
                self._lost()
                return
