"""Models of the workspace's rounds that are loaded when somebody asks for one, and give way to the next."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from steersman.artifact.manifest import MANIFEST_NAME
from steersman.artifact.workspace import Workspace
from steersman.engine.protocol import Engine
from steersman.rounds import registry
from steersman.rounds.canary import read_choice

BASE = "base"


class OnDemand:
    """At most `most` engines, the least recently used goes first. One is loaded at a time, and nobody else waits."""

    def __init__(self, space: Workspace, load: Callable[[str], Engine], most: int) -> None:
        self._space, self._load, self._most = space, load, most
        self._engines: OrderedDict[str, tuple[int, Engine]] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def names(self) -> list[str]:
        """What can be asked for: 'base' and every round's models, the newest first, such as '002/ppo'."""
        if not self._most:
            return []
        made = [(number, stage.name) for number in reversed(self._space.rounds()) for stage in registry.models()]
        rounds = [f"{number:03d}/{stage}" for number, stage in made if self._space.has(stage, number)]
        return [*rounds, BASE] if rounds else []

    def open(self, name: str, retire: Callable[[list[Engine]], None]) -> Engine:
        """The engine, loaded where it is not, or where its model was made again. ValueError, OSError or NoRoom.

        `retire` takes those that give way, before the new one is loaded.
        """
        made = self._made(name)
        with self._lock:
            known = self._taken(name, made)
        if known is not None:
            return known
        with self._loading:
            with self._lock:
                known = self._taken(name, made)  # somebody else may have loaded it meanwhile
                if known is not None:
                    return known
                old = [self._engines.pop(name)[1]] if name in self._engines else []
                while len(self._engines) >= self._most:
                    old.append(self._engines.popitem(last=False)[1][1])
            if old:
                retire(old)
            engine = self._load(name)
            with self._lock:
                self._engines[name] = made, engine
            return engine

    def _taken(self, name: str, made: int) -> Engine | None:
        """The engine of the model made then, if it is there; it counts as used."""
        then, engine = self._engines.get(name, (-1, None))
        if engine is None or then != made:
            return None
        self._engines.move_to_end(name)
        return engine

    def _made(self, name: str) -> int:
        """When the model was made, by its manifest; 0 for the base."""
        if name == BASE:
            return 0
        round_, stage = read_choice(name)
        return (self._space.stage_dir(stage, round_) / MANIFEST_NAME).stat().st_mtime_ns
