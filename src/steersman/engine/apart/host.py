"""The engine's process: `python -m steersman.engine.apart.host`, started by `process.py`.

Reads {"address", "key"} as one line of JSON on its standard input, which stays open as long as who started it lives:
when that ends, however it ends, this process does too. Each client has a session; when its connection ends, its answers
are cancelled, and those of the others go on.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, Listener
from typing import Any

from steersman.engine.apart.shelf import Shelf
from steersman.engine.apart.wire import ABILITIES, FACTS, About, Outbox, Wanted, portable
from steersman.engine.protocol import Engine, party
from steersman.machine import keep_freed_memory
from steersman.types import Completion

CALLS = 4
"""Calls of one client that are answered at a time, such as counting tokens; answers are not among them."""


def about(engine: Engine) -> About:
    abilities = tuple(name for name in ABILITIES if callable(getattr(engine, name, None)))
    facts = {name: getattr(engine, name) for name in FACTS if hasattr(engine, name)}
    return About(engine.model_name, engine.policy_version, engine.max_context, abilities, facts)


def tokens(engine: Engine, first: int, end: int) -> list[tuple[str, bytes, bytes]]:
    """(text, bytes, bytes where it begins an answer) of tokens, up to one that there is not."""
    found = []
    with contextlib.suppress(IndexError, KeyError, ValueError, OverflowError):
        for token in range(first, end):
            text = engine.token_text(token)
            found.append((text, engine.token_bytes(token), engine.token_bytes(token, first=True)))
    return found


def load_weights(engine: Engine, file: str, version: str) -> None:
    from safetensors.torch import load_file

    engine.load_weights(load_file(file).items(), version)


OWN: dict[str, Callable[..., Any]] = {"tokens": tokens, "load_weights": load_weights}
"""Calls that are not the engine's method of that name."""


class Session:
    """One client."""

    def __init__(self, shelf: Shelf, connection: Connection, peers: set[Session]) -> None:
        self._shelf, self._connection, self._peers = shelf, connection, peers
        self._out = Outbox(connection, self.cancel)
        self._cancelled: dict[int, threading.Event] = {}
        self._left: set[int] = set()
        """Requests whose answers nobody reads any more."""
        self._holders: set[tuple[int, int]] = set()
        self._gone = False
        self._calls = ThreadPoolExecutor(CALLS, "call")

    def run(self) -> None:
        """Until the client leaves."""
        self._peers.add(self)
        try:
            while True:
                self._take(*self._connection.recv())
        except (EOFError, OSError):
            pass
        finally:
            self._peers.discard(self)
            self._tell(None)
            self.cancel()
            self._out.close()
            self._calls.shutdown(wait=False, cancel_futures=True)
            self._gone = True  # before the release: what is still being loaded sees it after
            for holder in list(self._holders):
                self._shelf.release(holder)
            self._connection.close()

    def cancel(self) -> None:
        for id_, event in list(self._cancelled.items()):
            self._left.add(id_)
            event.set()

    def _take(self, kind: str, id_: int, *given: Any) -> None:
        if kind in ("cancel", "close"):
            if (event := self._cancelled.get(id_)) is not None:
                event.set()
                if kind == "close":
                    self._left.add(id_)
        elif kind == "tell":
            self._tell(given[0])
        elif kind == "call":
            self._calls.submit(self._value, id_, lambda: self._call(*given))
        elif kind == "answers":
            self._cancelled[id_] = threading.Event()
            threading.Thread(target=self._answers, args=(id_, *given), name="answers", daemon=True).start()
        else:
            work: Callable[..., Any] = self._open if kind == "open" else self._release
            threading.Thread(target=self._value, args=(id_, lambda: work(*given)), name=kind, daemon=True).start()

    def _tell(self, what: Any) -> None:
        for peer in list(self._peers):
            if peer is not self:
                peer._out.put(0, "told", (id(self), what))

    def _value(self, id_: int, work: Callable[[], Any]) -> None:
        try:
            self._out.put(id_, "value", work())
        except Exception as error:
            self._out.put(id_, "error", portable(error))

    def _open(self, wanted: Wanted, holder: int | None) -> About:
        who = None if holder is None else (id(self), holder)
        if who is not None:
            self._holders.add(who)
        engine = self._shelf.open(wanted, who)
        if who is not None and self._gone:  # it left while this was loaded, and can release nothing any more
            self._shelf.release(who)
        return about(engine)

    def _release(self, holder: int) -> None:
        self._shelf.release((id(self), holder))
        self._holders.discard((id(self), holder))

    def _call(self, key: str, method: str, arguments: tuple[Any, ...]) -> Any:
        engine = self._shelf.take(key)
        try:
            own = OWN.get(method)
            return own(engine, *arguments) if own else getattr(engine, method)(*arguments)
        finally:
            self._shelf.give_back(key, engine)

    def _answers(self, id_: int, key: str, prompt: Any, params: Any, whose: str) -> None:
        cancelled = self._cancelled[id_]
        party.set(whose)
        try:
            engine = self._shelf.take(key)
            try:
                with contextlib.closing(engine.answers(prompt, params, cancelled)) as items:
                    self._out.put(id_, "begun", None)
                    for number, item in items:
                        if isinstance(item, Completion):
                            self._out.put(id_, "end", (number, item, engine.policy_version))
                        elif item:
                            self._out.put(id_, "piece", (number, item))
                        if id_ in self._left:
                            break
                self._out.put(id_, "done", None)
            finally:
                self._shelf.give_back(key, engine)
        except Exception as error:
            self._out.put(id_, "error", portable(error))
        finally:
            del self._cancelled[id_]
            self._left.discard(id_)


def serve(listener: Listener, shelf: Shelf) -> None:
    """Accept clients until the listener is closed."""
    from multiprocessing import AuthenticationError

    peers: set[Session] = set()
    while True:
        try:
            connection: Any = listener.accept()
        except (AuthenticationError, EOFError, ConnectionError):  # not one of ours, or it left at once
            continue
        except OSError:
            return
        threading.Thread(target=Session(shelf, connection, peers).run, name="session", daemon=True).start()


def load(wanted: Wanted) -> Engine:
    from steersman.engine.load import load_engine

    return load_engine(wanted.model, say=lambda text: print(text, file=sys.stderr, flush=True), **wanted.options)


def main() -> None:
    import signal

    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it decides
    told = json.loads(sys.stdin.readline())
    with Listener(told["address"], backlog=128, authkey=bytes.fromhex(told["key"])) as listener:
        threading.Thread(target=serve, args=(listener, Shelf(load)), name="accept", daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
