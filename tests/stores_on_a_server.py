"""`make test-postgres`: stores that tests would keep in files are databases of a server.

In place of the database a file holds its URL. A copied file is a copied database; a file that is SQLite's stays that.
Programs that tests start do the same (`on_a_server/sitecustomize.py`).
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from sqlalchemy import Connection, Engine, event

from steersman.artifact.workspace import Workspace
from steersman.store import Store

SERVER = "STEERSMAN_TEST_SERVER"
"""Variable with the URL of a database of that name."""
TEMPLATE = "migrated"
opened: Callable[[], object] = lambda: None  # noqa: E731
"""Called at each transaction on the server."""
_stores: list[Store] = []
"""Opened by the test that runs."""


def _say(*statements: str) -> None:
    import psycopg

    with psycopg.connect(url_of("postgres"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def url_of(name: str) -> str:
    return os.environ[SERVER].replace("/postgres?", f"/{name}?")


def _held(place: Path) -> tuple[str, str]:
    """(the database's name, of which place it is), or nothing."""
    try:
        first, name, of, *_ = [*place.read_bytes()[:2000].decode().split("\n"), "", ""]
    except (OSError, ValueError):
        return "", ""
    return (name, of) if first == SERVER else ("", "")


def url_at(place: Path) -> str | None:
    """The database's URL, which is made where there is none; None: the place holds something else, or cannot."""
    place = place.absolute()
    folder = os.environ[SERVER].partition("?host=")[2]
    with FileLock(Path(folder) / f"{hashlib.sha256(str(place).encode()).hexdigest()[:16]}.lock"):
        return _url_at(place)


def _url_at(place: Path) -> str | None:
    name, of = _held(place)
    if not place.parent.is_dir() or (not name and place.exists() and place.stat().st_size):
        return None
    if of == str(place):
        return url_of(name)
    fresh = f"test_{uuid.uuid4().hex}"
    let_go = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name or TEMPLATE}'"
    _say(let_go, f"CREATE DATABASE {fresh} TEMPLATE {name or TEMPLATE}")
    place.write_text(f"{SERVER}\n{fresh}\n{place}\n", encoding="utf-8")
    return url_of(fresh)


def let_go() -> None:
    """Close connections of stores that a test left open; a store that is used again connects again."""
    for store in _stores:
        store._db.engine.dispose()
    _stores.clear()


def _begun(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        opened()


def drop_below(folder: Path) -> None:
    """Drop the databases of places in the folder."""
    for place in folder.rglob("*.db"):
        name, of = _held(place)
        if name and of == str(place):
            _say(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def install() -> Callable[[], None]:
    """From now on `Store.open` and workspaces do so; returns what ends it."""
    plain_open, plain_store = Store.open, Workspace.store
    event.listen(Engine, "begin", _begun)

    def there(path_or_url: str | Path, objective: str | None = None) -> Store:
        if "://" not in str(path_or_url):
            path_or_url = url_at(Path(path_or_url)) or path_or_url
        _stores.append(store := plain_open(path_or_url, objective))
        return store

    def store(space: Workspace) -> str | Path:
        assert plain_store.fget is not None
        place: str | Path = plain_store.fget(space)
        held = isinstance(place, Path) and _held(place)[0]
        return (url_at(Path(place)) or place) if held else place

    Store.open, Workspace.store = there, property(store)  # type: ignore[method-assign, assignment]

    def end() -> None:
        event.remove(Engine, "begin", _begun)
        Store.open, Workspace.store = plain_open, plain_store  # type: ignore[method-assign, assignment]

    return end
