"""`ApartEngine`: an `Engine` that sends its requests to the engine's process over a socket.

If that process dies and is started again, calls and answers without any text yet are asked for once more. An answer
that had begun fails with `Gone`, since another one would go on differently.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import queue
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman.engine.apart.wire import About, Gone, Item, Unloaded, Wanted
from steersman.engine.protocol import Prompt, alone, party
from steersman.types import Completion, SamplingParams

if TYPE_CHECKING:
    import torch

WAIT_SECONDS = 60.0
"""Seconds that a request waits until the engine's process can be reached (again)."""
LOOK_SECONDS = 0.05
"""Seconds between looks at which answers were cancelled."""
TRIES = 3
BLOCK = 256
"""Number of tokens whose texts are fetched in one message."""


Told = Callable[[int, Any], None]


class Pending:
    """One request, and what the engine has sent for it so far."""

    def __init__(self, cancelled: threading.Event | None = None) -> None:
        self.came: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.cancelled = cancelled

    def value(self) -> Any:
        kind, value = self.came.get()
        if kind == "error":
            raise value
        return value


class Life:
    """One connection to the engine's process, until either side closes it."""

    def __init__(self, connection: Connection, told: Told, released: queue.SimpleQueue[int]) -> None:
        """`released`: queue of engines that nobody uses any more. The reading thread passes them on, since the garbage
        collector, which may find them, runs at any moment and must not send."""
        self._connection, self._told, self._released = connection, told, released
        self._sending, self._ids = threading.Lock(), itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self.over = False
        threading.Thread(target=self._read, name="engine link", daemon=True).start()

    def ask(self, kind: str, *given: Any, cancelled: threading.Event | None = None) -> tuple[int, Pending]:
        """Send a request. Raises Gone."""
        pending, id_ = Pending(cancelled), next(self._ids)
        self._pending[id_] = pending
        self._send(kind, id_, *given)
        if self.over:  # maybe after the reader told all whom it knew
            self._pending.pop(id_, None)
            raise Gone("the engine's process ended")
        return id_, pending

    def end(self, kind: str, id_: int) -> None:
        """Cancel an answer, which then ends with the text so far, or close one that nobody reads any more."""
        if id_ in self._pending:
            with contextlib.suppress(Gone):
                self._send(kind, id_)

    def tell(self, what: Any) -> None:
        self._send("tell", 0, what)

    def close(self) -> None:
        self._connection.close()

    def _send(self, *message: Any) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            raise Gone("the engine's process ended") from None

    def _read(self) -> None:
        try:
            while True:
                while not self._connection.poll(LOOK_SECONDS):
                    self._pass_on()
                self._take(self._connection.recv())
                self._pass_on()
        except (EOFError, OSError, TypeError):  # TypeError: closed by this process meanwhile
            pass
        self.over = True
        for pending in list(self._pending.values()):
            pending.came.put(("error", Gone("the engine's process ended")))
        self._pending.clear()
        self._told(0, None)

    def _pass_on(self) -> None:
        """Tell the engine's process which answers were cancelled and which engines nobody uses any more."""
        for id_, pending in list(self._pending.items()):
            if pending.cancelled is not None and pending.cancelled.is_set():
                pending.cancelled = None
                self.end("cancel", id_)
        with contextlib.suppress(queue.Empty, Gone):
            while True:
                self._send("release", 0, self._released.get_nowait())

    def _take(self, items: Iterable[Item]) -> None:
        for id_, kind, value in items:
            if kind == "told":
                self._told(*value)
            over = kind in ("value", "error", "done")
            pending = self._pending.pop(id_, None) if over else self._pending.get(id_)
            if pending is not None:
                pending.came.put((kind, value))


class Link:
    """Connects to the engine's process, again whenever that was restarted. Thread-safe."""

    def __init__(self, address: str, key: bytes, wait: float = WAIT_SECONDS) -> None:
        self._address, self._key, self._wait = address, key, wait
        self._life: Life | None = None
        self._lock, self._closed = threading.Lock(), threading.Event()
        self.told: Told = lambda _sender, _what: None
        """Called with what another client told all; None: it left, and sender 0: this connection ended."""
        self.released: queue.SimpleQueue[int] = queue.SimpleQueue()
        """Holders whose engines nobody here uses any more."""
        self.connected: Callable[[], None] = lambda: None
        """Called after each connection, which knows nothing of what was told before."""

    def life(self) -> Life:
        """The present connection; connects if there is none. Raises Gone after `wait` seconds without one."""
        with self._lock:
            fresh = self._life is None or self._life.over
            if self._life is None or self._life.over:
                told = lambda sender, what: self.told(sender, what)  # noqa: E731
                self._life = Life(self._connect(), told, self.released)
            life = self._life
        if fresh:
            self.connected()
        return life

    def _connect(self) -> Connection:
        deadline = time.monotonic() + self._wait
        while not self._closed.is_set():
            try:
                return Client(self._address, authkey=self._key)  # type: ignore[no-any-return, return-value, unused-ignore]
            except (OSError, EOFError, AuthenticationError):
                if self._closed.wait(0.05) or time.monotonic() > deadline:
                    raise Gone("the engine's process does not start") from None
        raise Gone("this process ends")

    def close(self) -> None:
        """Send no further request; those that wait for the process to come back fail with Gone."""
        self._closed.set()
        if self._life is not None:
            self._life.close()


class ApartEngine:
    """An `Engine` in the engine's process, open as long as this object lives. `pinned`: it is never unloaded for
    another."""

    def __init__(self, link: Link, wanted: Wanted, *, pinned: bool = True) -> None:
        self._link, self._wanted = link, wanted
        self._holder = next(_holders) if pinned else None
        self._opening = threading.Lock()
        self._life: Life | None = None
        self._texts: dict[int, list[tuple[str, bytes, bytes]]] = {}
        self._about = self._opened()[1]
        self._version = self._about.policy_version
        self.__dict__.update(self._about.facts)
        for name in self._about.abilities:  # on the object, so that it satisfies the protocols that its engine does
            self.__dict__[name] = functools.partial(self._call, name)
        if self._holder is not None:
            weakref.finalize(self, link.released.put, self._holder)

    def _opened(self, again: bool = False) -> tuple[Life, About]:
        """(connection, facts about the engine), after opening the engine over this connection if it is not open yet."""
        with self._opening:
            life = self._link.life()
            if life is not self._life or again:
                self._about = life.ask("open", self._wanted, self._holder)[1].value()
                self._life = life
            return life, self._about

    def _ask(self, kind: str, *given: Any, cancelled: threading.Event | None = None) -> tuple[Life, int, Any]:
        """(connection, request's id, first message: `begun` or a value). The request is sent again if the process died
        or the engine was unloaded meanwhile."""
        again = False
        for left in reversed(range(TRIES)):
            life, _ = self._opened(again)
            try:
                id_, pending = life.ask(kind, self._wanted.key, *given, cancelled=cancelled)
                return life, id_, (pending.value(), pending)
            except Unloaded:
                again = True
                if not left:
                    raise
            except Gone:
                if not left or (cancelled is not None and cancelled.is_set()):
                    raise
        raise AssertionError

    def _call(self, method: str, *given: Any) -> Any:
        return self._ask("call", method, given)[2][0]

    @property
    def model_name(self) -> str:
        return self._about.model_name

    @property
    def policy_version(self) -> str:
        return self._version

    @property
    def max_context(self) -> int:
        return self._about.max_context

    def count_tokens(self, prompt: Prompt) -> int:
        counted: int = self._call("count_tokens", prompt)
        return counted

    def _token(self, token: int) -> tuple[str, bytes, bytes] | None:
        block = token // BLOCK
        if block not in self._texts:
            self._texts[block] = self._call("tokens", block * BLOCK, (block + 1) * BLOCK)
        known = self._texts[block]
        return known[token % BLOCK] if token % BLOCK < len(known) else None

    def token_text(self, token: int) -> str:
        known = self._token(token)
        text: str = known[0] if known else self._call("token_text", token)
        return text

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        known = self._token(token)
        part: bytes = (known[2] if first else known[1]) if known else self._call("token_bytes", token, first)
        return part

    def generate(self, prompts: Sequence[Prompt], params: SamplingParams) -> list[list[Completion]]:
        answers: list[list[Completion]] = self._call("generate", prompts, params)
        return answers

    def stream(self, prompt: Prompt, params: SamplingParams) -> Iterator[str | Completion]:
        return alone(self.answers(prompt, dataclasses.replace(params, n=1)))

    def answers(
        self, prompt: Prompt, params: SamplingParams, cancelled: threading.Event | None = None
    ) -> Generator[tuple[int, str | Completion]]:
        """See `Engine.answers`. Refusals are raised at once; Gone if the process dies after the first text."""
        cancelled = cancelled or threading.Event()
        life, id_, (_, pending) = self._ask("answers", prompt, params, party.get(), cancelled=cancelled)
        return self._answers(life, id_, pending, prompt, params, cancelled)

    def _answers(
        self,
        life: Life,
        id_: int,
        pending: Pending,
        prompt: Prompt,
        params: SamplingParams,
        cancelled: threading.Event,
    ) -> Generator[tuple[int, str | Completion]]:
        begun, died = False, 0
        try:
            while True:
                kind, value = pending.came.get()
                if kind == "done":
                    return
                if kind == "error":
                    died += 1
                    if not isinstance(value, Gone) or begun or died == TRIES or cancelled.is_set():
                        raise value
                    life, id_, (_, pending) = self._ask("answers", prompt, params, party.get(), cancelled=cancelled)
                    continue
                begun = True
                if kind == "end":
                    number, completion, self._version = value
                    yield number, completion
                else:
                    yield value
        finally:
            life.end("close", id_)

    def down(self) -> str:
        """Why requests cannot be answered now; '' where they can. Asking makes it come back, without any request."""
        if self._life is not None and not self._life.over:
            return ""
        if not self._opening.locked():
            threading.Thread(target=self._come_back, name="engine link", daemon=True).start()
        return "the engine's process is being started again"

    def _come_back(self) -> None:
        with contextlib.suppress(Exception):  # asked again, or said to whoever asks for an answer
            self._opened()

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        """See `Engine.load_weights`. Weights go through a file, since they are too large for a message."""
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory(prefix="steersman-") as folder:
            file = Path(folder) / "weights.safetensors"
            save_file({name: tensor.detach().clone().contiguous() for name, tensor in weights}, file)
            self._call("load_weights", str(file), version)
        self._version = version


_holders = itertools.count(1)
