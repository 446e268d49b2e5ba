"""Models of rounds that a server loads when somebody chooses one."""

from __future__ import annotations

import shutil
import threading
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


def test_two_who_want_the_same_model_load_it_once(space: Workspace) -> None:
    loads, begun, go = [], threading.Event(), threading.Event()

    def load(name: str) -> Engine:
        loads.append(name)
        begun.set()
        assert go.wait(30)
        return FakeEngine(policy_version=name)

    shelf = OnDemand(space, load, 1)
    threads = [threading.Thread(target=shelf.open, args=("002/kto",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert begun.wait(30)
    go.set()
    for thread in threads:
        thread.join()
    assert loads == ["002/kto"]
    assert OnDemand(space, load, 0).names() == []
