"""Who may ask for what: a decision for each route, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server import access
from steersman.server.access import NEEDS
from steersman.server.app import create_app
from steersman.store import Store


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    with Store.open(tmp_path / "store.db") as store:
        yield create_app(FakeEngine(), store, name="S", language="en")


def test_every_route_has_a_decision_and_every_decision_a_route(app: FastAPI) -> None:
    routes = {(method, route.path) for route in app.state.routes for method in route.methods - {"HEAD"}}
    assert routes - set(NEEDS) == set(), "expected a line in server/access.py for each route"
    assert set(NEEDS) - routes == set(), "expected a route for each line of server/access.py"


def test_a_route_without_a_decision_is_refused(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    assert client.get("/api/conversations").status_code == 200
    monkeypatch.delitem(access.NEEDS, ("GET", "/api/conversations"))
    refused = client.get("/api/conversations")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "undecided")
