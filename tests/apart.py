"""An engine of this process behind the socket of `steersman.engine.apart`: what crosses it, without a child."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Listener
from pathlib import Path

from steersman.engine.apart.client import ApartEngine, Link
from steersman.engine.apart.host import serve
from steersman.engine.apart.shelf import Shelf
from steersman.engine.apart.wire import Wanted
from steersman.engine.protocol import Engine

KEY = b"k" * 32


@contextlib.contextmanager
def linked(load: Callable[[Wanted], Engine], shelf: Shelf | None = None) -> Iterator[Link]:
    """A link to a host that loads engines by `load`, onto a shelf of the caller's."""
    with tempfile.TemporaryDirectory(prefix="apart-") as folder:
        address = str(Path(folder) / "engine")
        listener = Listener(address, backlog=64, authkey=KEY)
        threading.Thread(target=serve, args=(listener, shelf or Shelf(load)), daemon=True).start()
        link = Link(address, KEY, 10)
        try:
            yield link
        finally:
            link.close()
            listener.close()


def apart(link: Link, model: str = "m") -> ApartEngine:
    return ApartEngine(link, Wanted(model))
