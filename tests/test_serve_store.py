"""`serve --store`: another database than the workspace's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from server_double import FakeEngine
from steersman.artifact.workspace import STORE_VARIABLE, Workspace
from steersman.cli import talk
from steersman.cli.framework import build
from steersman.server.app import create_app
from steersman.store import Store


def test_served_from_there(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Workspace] = []
    monkeypatch.setenv(STORE_VARIABLE, "")  # restored at the end
    monkeypatch.setattr(talk, "run_server", lambda space, *_, **__: seen.append(space))
    assert CliRunner().invoke(build(), ["init", str(tmp_path / "w")]).exit_code == 0
    done = CliRunner().invoke(build(), ["serve", "-w", str(tmp_path / "w"), "--store", store_url])
    assert done.exit_code == 0, done.output
    (space,) = seen
    assert str(space.store) == store_url
    with Store.open(space.store) as store:
        client: Any = TestClient(
            create_app(FakeEngine(), store, name="S", language="en"), base_url="http://127.0.0.1:8000"
        )
        chat = client.post("/api/conversations", json={"title": "there"}).json()["id"]
    with Store.open(store_url) as store:
        assert [one.id for one in store.conversations()] == [chat]
    assert not (tmp_path / "w/store.db").exists()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://localhost/x", "expected sqlite:///FILE or postgresql://USER@HOST/NAME, got mysql://"),
        ("postgresql://ann:secret@127.0.0.1:1/x", "cannot be reached"),
        ("/nowhere/store.db", "the folder /nowhere does not exist"),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, told: str) -> None:
    monkeypatch.setenv(STORE_VARIABLE, "")
    assert CliRunner().invoke(build(), ["init", str(tmp_path / "w")]).exit_code == 0
    done = CliRunner().invoke(build(), ["store", "check", "-w", str(tmp_path / "w")], env={STORE_VARIABLE: url})
    assert done.exit_code in (2, 3), done.output
    if url[0] != "/":
        assert told in done.output + done.stderr
    assert "secret" not in done.output + done.stderr
