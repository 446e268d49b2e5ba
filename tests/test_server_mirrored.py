"""Answers of one web process are read along and stopped through another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx

from apart import KEY, apart, linked
from server_double import FakeEngine, events, live
from steersman.engine.apart.client import Link
from steersman.server.app import create_app
from steersman.server.mirrored import Mirror
from steersman.store import Store


@contextlib.contextmanager
def worker(link: Link, store: Store) -> Iterator[tuple[httpx.Client, Link]]:
    """A web process's application over a link of its own."""
    own = Link(link._address, KEY)
    app = create_app(apart(own), store, name="S", language="en")
    mirror = Mirror(own, app.state.context.answers)
    with live(app, mirror.start) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client, own


def test_read_along_and_stop_through_another_process(tmp_path: Path) -> None:
    fake = FakeEngine(endless=True)
    with Store.open(tmp_path / "store.db") as store, linked(lambda _: fake) as link:
        chat = store.create_conversation("").id
        with worker(link, store) as (one, _), worker(link, store) as (two, _):
            with one.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Go on"}) as asked:
                lines = (line for line in asked.iter_lines() if line)
                begun = events(next(lines) + "\n\n")[0]
                next(lines)
                id_ = begun["assistant_id"]
                until_known(two, chat, id_)
                with (
                    two.stream("GET", f"/api/messages/{id_}/stream") as before,
                    worker(link, store) as (three, _),  # which came later, and to which all is told again
                ):
                    for other in (two, three):
                        until_known(other, chat, id_)
                        with other.stream("GET", f"/api/messages/{id_}/stream") as along:
                            seen = (line for line in along.iter_lines() if line)
                            start = events(next(seen) + "\n\n")[0]
                            assert start["assistant_id"] == id_
                            assert events(next(seen) + "\n\n")[0]["type"] == "delta"
                    refused = two.post(f"/api/messages/{id_}/feedback", json={"kind": "like"})
                    assert refused.json()["error"]["code"] == "still_writing"
                    stopped = three.post(f"/api/messages/{id_}/stop").json()["message"]
                    assert stopped["finish_reason"] == "cancelled"
                    assert [events(line + "\n\n")[0]["type"] for line in lines][-1] == "done"
                    assert two.get(f"/api/conversations/{chat}").json()["writing"] == []
                    assert events([line for line in before.iter_lines() if line][-1] + "\n\n")[0]["type"] == "done"


def test_what_a_dead_process_wrote_ends_elsewhere(tmp_path: Path) -> None:
    fake = FakeEngine(endless=True)
    with Store.open(tmp_path / "store.db") as store, linked(lambda _: fake) as link:
        chat = store.create_conversation("").id
        with worker(link, store) as (one, own), worker(link, store) as (two, _):
            with one.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Go on"}) as asked:
                id_ = events(next(asked.iter_lines()) + "\n\n")[0]["assistant_id"]
                until_known(two, chat, id_)
                with two.stream("GET", f"/api/messages/{id_}/stream") as along:
                    own._life.close()  # type: ignore[union-attr]
                    last = [line for line in along.iter_lines() if line][-1]
                assert events(last + "\n\n")[0]["code"] == "engine_restarting"


def until_known(client: httpx.Client, chat: str, id_: str) -> None:
    for _ in range(1000):
        if id_ in client.get(f"/api/conversations/{chat}").json()["writing"]:
            return
    raise AssertionError("nobody told of the answer")
