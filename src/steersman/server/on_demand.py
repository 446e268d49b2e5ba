"""Models of the workspace's rounds that are loaded when somebody asks for one, and give way to the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from steersman.artifact.workspace import Workspace
from steersman.engine.protocol import Engine
from steersman.rounds import registry

BASE = "base"


class OnDemand:
    """At most `most` engines, the least recently used goes first. One is loaded at a time; who wants it too waits."""

    def __init__(self, space: Workspace, load: Callable[[str], Engine], most: int) -> None:
        self._space, self._load, self._most = space, load, most
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """What can be asked for: 'base' and every round's models, the newest first, such as '002/ppo'."""
        if not self._most:
            return []
        made = [(number, stage.name) for number in reversed(self._space.rounds()) for stage in registry.models()]
        rounds = [f"{number:03d}/{stage}" for number, stage in made if self._space.has(stage, number)]
        return [*rounds, BASE] if rounds else []

    def loaded(self, name: str) -> Engine | None:
        """The engine where it is there; it counts as used."""
        with self._lock:
            if name in self._engines:
                self._engines.move_to_end(name)
            return self._engines.get(name)

    def open(self, name: str) -> tuple[Engine, list[Engine]]:
        """The engine, loaded where it is not, and those that gave way. ValueError, OSError or NoRoom from loading."""
        with self._lock:
            gone = []
            if name not in self._engines:
                while len(self._engines) >= self._most:
                    gone.append(self._engines.popitem(last=False)[1])
                self._engines[name] = self._load(name)
            self._engines.move_to_end(name)
            return self._engines[name], gone
