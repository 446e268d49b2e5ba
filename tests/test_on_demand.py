"""Models of rounds that a server loads when somebody chooses one."""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from round_space import allow_judges
from server_double import FakeEngine
from steersman.artifact.workspace import Workspace
from steersman.engine.protocol import Engine
from steersman.server.app import create_app
from steersman.server.models import Models
from steersman.server.on_demand import OnDemand
from steersman.store import Store


@pytest.fixture
def space(two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    allow_judges(monkeypatch)
    return Workspace.open(shutil.copytree(two_rounds, tmp_path / "w", copy_function=shutil.copy2))


def test_a_rounds_model_answers_when_it_is_asked_for(space: Workspace, tmp_path: Path) -> None:
    loads: list[str] = []

    def load(name: str) -> Engine:
        loads.append(name)
        if name == "base":
            raise ValueError("no such weights")
        return FakeEngine(policy_version=name, pieces=(f"I am {name}",))

    models = Models(FakeEngine(policy_version="001/sft"), on_demand=OnDemand(space, load, 1))
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(models, store, name="S", language="en", workspace=space.root)
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            listed = [one["id"] for one in client.get("/v1/models").json()["data"]]
            assert listed[1:] == ["001/sft", "002/sft", "002/kto", "base"]
            told = client.get("/api/config").json()["models"]
            assert [(one["version"], one["current"]) for one in told] == [
                *(("001/sft", one) for one in (True, False)),
                *((name, False) for name in listed[2:]),
            ]
            assert loads == []

            def ask(name: str) -> tuple[int, str]:
                body = {"model": name, "messages": [{"role": "user", "content": "Hi"}]}
                answer = client.post("/v1/chat/completions", json=body)
                told = answer.json()
                return answer.status_code, told["choices"][0]["message"]["content"] if "choices" in told else str(told)

            for name in ("002/kto", "002/kto", "002/sft", "001/sft", "002/kto"):
                status, said = ask(name)
                assert (status, said) == (200, f"I am {name}") if name != "001/sft" else status == 200
            assert loads == ["002/kto", "002/sft", "002/kto"]  # one stays; the served model is loaded already
            assert (client.get("/v1/models/002/sft").status_code, ask("009/sft")[0]) == (200, 404)
            assert ask("base")[0] == 409
            assert "`base` cannot be loaded: no such weights" in ask("base")[1]
            chat = client.post("/api/conversations", json={"settings": {"model": "002/sft"}}).json()["id"]
            answer = client.post(f"/api/conversations/{chat}/messages", json={"content": "Hi"})
            assert "I am 002/sft" in answer.text


def test_loading_keeps_nobody_else_waiting(space: Workspace) -> None:
    loads: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def load(name: str) -> Engine:
        loads.append(name)
        if len(loads) > 1:
            begun.set()
            assert go.wait(30)
        return FakeEngine(policy_version=name)

    shelf = OnDemand(space, load, 2)
    gone: list[Engine] = []
    first = shelf.open("002/sft", gone.extend)
    threads = [threading.Thread(target=shelf.open, args=("002/kto", gone.extend)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    assert shelf.open("002/sft", gone.extend) is first  # while the other is loaded
    go.set()
    for thread in threads:
        thread.join()
    assert (loads, gone) == (["002/sft", "002/kto"], [])  # three wanted it, one loaded it
    shelf.open("base", gone.extend)
    assert gone == [first]  # used longest ago
    assert OnDemand(space, load, 0).names() == []


def test_a_model_that_was_made_again_is_loaded_again(space: Workspace) -> None:
    shelf = OnDemand(space, lambda name: FakeEngine(policy_version=name), 2)
    gone: list[Engine] = []
    old = shelf.open("002/sft", gone.extend)
    assert shelf.open("002/sft", gone.extend) is old
    manifest = space.stage_dir("sft", 2) / "manifest.json"
    os.utime(manifest, ns=(1, 1))
    assert shelf.open("002/sft", gone.extend) is not old
    assert gone == [old]


def test_what_gives_way_is_freed_though_the_next_one_cannot_be_loaded(space: Workspace) -> None:
    def load(name: str) -> Engine:
        if name == "base":
            raise ValueError("no such weights")
        return FakeEngine(policy_version=name)

    models = Models(FakeEngine(policy_version="001/sft"), on_demand=OnDemand(space, load, 1))
    found = models.open("002/sft")
    assert found is not None
    engine = weakref.ref(found.engine)
    del found
    with pytest.raises(ValueError, match="no such weights"):
        models.open("base")
    models.free()
    assert engine() is None
