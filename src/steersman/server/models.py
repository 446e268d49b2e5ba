"""Which model answers: the served one, and beside it a canary's candidate for its share of chats.

A model that is promoted is loaded beside the one that answers; then new requests go to it. An answer keeps the engine
that began it, so no stream is dropped, and the old engine's memory is freed when its last answer has ended.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from steersman.artifact.workspace import Workspace
from steersman.engine.protocol import Engine
from steersman.rounds import canary as canaries
from steersman.rounds.canary import Canary
from steersman.server import logs
from steersman.server.on_demand import OnDemand
from steersman.store import Chat, Store

LOOK_SECONDS = 2.0
"""Seconds between looks at what is promoted and compared."""
VOTE_LOOKS = 15
"""Looks of which one also counts votes."""


@dataclass(frozen=True)
class Found:
    """A model by a name that requests may give."""

    name: str
    engine: Engine
    adapter: str | None = None
    current: bool = False
    """Whether it is whatever is promoted, now and later."""


class Models:
    """The engines that answer. What another thread sets is seen by the next request."""

    def __init__(
        self, engine: Engine, also: Mapping[str, Engine] | None = None, on_demand: OnDemand | None = None
    ) -> None:
        """`also`: engines beside the served one, by the names they were asked for."""
        self.current = engine
        self.also = dict(also or {})
        self._on_demand = on_demand
        self._candidate: tuple[Canary, Engine] | None = None
        self._old: list[weakref.ref[Engine]] = []
        self._freeing = threading.Lock()

    @property
    def canary(self) -> Canary | None:
        """The canary whose candidate is loaded."""
        return self._candidate[0] if self._candidate else None

    def names(self) -> list[str]:
        """All that a request may name: the served model by the assistant's name first, then every model by its version,
        the adapters that engines have loaded, and models of rounds that are loaded when they are asked for."""
        return list(dict.fromkeys([*self._named(), *(self._on_demand.names() if self._on_demand else ())]))

    def find(self, name: str) -> Found | None:
        """The model of this name that is served all the time; None where there is none."""
        return self._named().get(name)

    def open(self, name: str) -> Found | None:
        """A round's model, loaded where it is not; None where there is none. ValueError, OSError or NoRoom."""
        if self._on_demand is None or name not in self._on_demand.names():
            return None
        return Found(name, self._on_demand.open(name, self._retire))

    def _retire(self, engines: list[Engine]) -> None:
        with self._freeing:
            self._old += map(weakref.ref, engines)
        engines.clear()
        self.free()

    def _named(self) -> dict[str, Found]:
        current = self.current
        named = {current.model_name: Found(current.model_name, current, current=True)}
        engines = [current, *([self._candidate[1]] if self._candidate else []), *self.also.values()]
        for engine in engines:
            named.setdefault(engine.policy_version, Found(engine.policy_version, engine))
            for adapter in getattr(engine, "adapters", ()):
                named.setdefault(adapter, Found(adapter, engine, adapter))
        for name, engine in self.also.items():
            named.setdefault(name, Found(name, engine))
        return named

    def of_chat(self, chat: Chat) -> Engine:
        candidate = self._candidate
        return candidate[1] if candidate and candidate[0].candidate_answers(chat) else self.current

    def of_request(self, found: Found, key: str) -> tuple[Engine, Canary | None]:
        """The engine for a request of the API, whose user or beginning `key` is, and the canary that it takes part in:
        requests that name a version get that."""
        candidate = self._candidate
        if candidate is None or not found.current:
            return found.engine, None
        return candidate[1] if candidate[0].has(key) else found.engine, candidate[0]

    def serve(self, engine: Engine) -> None:
        """New requests go to `engine` from now on."""
        with self._freeing:
            self._old.append(weakref.ref(self.current))
        self.current = engine

    def compare(self, canary: Canary | None, engine: Engine | None = None) -> None:
        """New requests of the canary's chats go to `engine`; None: there is no candidate any more."""
        if self._candidate:
            with self._freeing:
                self._old.append(weakref.ref(self._candidate[1]))
        self._candidate = None if canary is None or engine is None else (canary, engine)

    def free(self) -> None:
        """Free the memory of engines that nobody uses any more. The server's objects are exempt from collection."""
        with self._freeing:
            self._old = [old for old in self._old if old() is not None]
            if self._old:
                gc.unfreeze()
                gc.collect()
                gc.freeze()


@dataclass
class Following:
    """Keeps `models` to what the workspace says: the promoted model, and the present canary's candidate."""

    space: Workspace
    store: Store
    models: Models
    load: Callable[[str], Engine]
    """An engine of the promoted model (''), or of a canary's candidate ('2/ppo'). ValueError where it cannot be."""
    served: str
    """Identity of the promoted model that is loaded, '' before the first promotion."""
    follow: bool = True
    """Whether what is promoted is served; not where the caller chose a model."""
    promote: bool = False
    """Whether a candidate that votes call better is promoted without a command."""
    _refused: str = ""
    _looks: int = 0

    def look(self) -> None:
        """One look. An error is logged once, and the models stay as they are."""
        try:
            self._look()
            self._refused = ""
        except (ValueError, OSError) as error:
            if str(error) != self._refused:
                self._refused = str(error)
                logs.failed("the served model stays as it is", error)

    def _look(self) -> None:
        present = canaries.present(self.space)
        if present is not None and self._looks % VOTE_LOOKS == 0:
            present = self._judged()
        self._looks += 1
        history = self.space.history()
        if self.follow and history and history[-1]["identity"] != self.served:
            self.models.serve(self.load(""))
            self.served = history[-1]["identity"]
        loaded = self.models.canary
        if present is None:
            if loaded is not None:
                self.models.compare(None)
        elif loaded is None or loaded.salt != present.salt:
            canaries.check_unchanged(self.space, present)
            self.models.compare(present, self.load(f"{present.round}/{present.stage}"))
        self.models.free()

    def _judged(self) -> Canary | None:
        """The present canary once votes were counted: none where they decided and that is acted on."""
        found = canaries.look(self.space, self.store)
        if found is None or found.canary.ended:
            return None
        word = (found.canary.decided or {}).get("word")
        if word == "worse":
            canaries.end(self.space, "worse")
            return None
        if word == "better" and self.promote:
            canaries.promote(self.space, self.store)
            return None
        return found.canary

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look once, so that a candidate's chats are its own from the first request, and then every few seconds, in a
        thread of its own, while the block runs."""
        stop = threading.Event()
        self.look()

        def forever() -> None:
            while not stop.wait(LOOK_SECONDS):
                self.look()

        # a daemon, so that the end of the server does not wait for a model that is being loaded
        threading.Thread(target=forever, name="following", daemon=True).start()
        try:
            yield
        finally:
            stop.set()
