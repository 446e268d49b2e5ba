"""The training page's API: what runs there are, and their numbers while they are being written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server.app import create_app
from steersman.store import Store


def write(root: Path, run: str, *rows: dict[str, Any], tail: str = "") -> Path:
    path = root / run / "metrics.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + tail)
    return path


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(FakeEngine(), store, name="Shop", language="en", workspace=tmp_path)
        with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
            yield opened


def get(client: TestClient, run: str, after: int = 0) -> Any:
    return client.get("/api/training/metrics", params={"run": run, "after": after}).json()


def test_runs_of_stages_and_searches(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/api/training/runs").json() == []
    write(tmp_path, "rounds/001/sft", {"step": 1})
    write(tmp_path, "rounds/002/ppo.partial", {"iteration": 0})
    old = write(tmp_path, "rounds/002/reward.partial", {"step": 1})
    os.utime(old, (time.time() - 1000,) * 2)
    write(tmp_path, "search/001-sft-wide/trials/003.partial", {"step": 1})
    write(tmp_path, "exports/elsewhere", {"step": 1})
    found = [(r["name"], r["stage"], r["state"]) for r in client.get("/api/training/runs").json()]
    assert found == [
        ("rounds/001/sft", "sft", "done"),
        ("rounds/002/ppo.partial", "ppo", "running"),
        ("rounds/002/reward.partial", "reward", "stopped"),
        ("search/001-sft-wide/trials/003.partial", "sft", "running"),
    ]


def test_metrics_come_line_by_line(client: TestClient, tmp_path: Path) -> None:
    run = "rounds/001/ppo.partial"
    first = {"iteration": 0, "reward": 0.5, "samples": [{"prompt": "问", "answer": "答"}], "stopped": False}
    write(tmp_path, run, first, tail='{"iteration": 1, "rew')
    assert get(client, run) == {"axis": "iteration", "rows": [{"iteration": 0, "reward": 0.5}], "lines": 1}
    write(tmp_path, run, first, {"iteration": 1, "reward": float("nan"), "kl": 2.0})
    assert get(client, run, after=1) == {"axis": "iteration", "rows": [{"iteration": 1, "kl": 2.0}], "lines": 2}
    assert get(client, run, after=2)["rows"] == []
    write(tmp_path, run, first)
    assert get(client, run, after=2)["lines"] == 1, "resumed: the page begins again"


@pytest.mark.parametrize("run", ["rounds/001/sft", "../secret", "/etc", "", "rounds/001/../../secret"])
def test_only_runs_of_the_list_are_read(client: TestClient, tmp_path: Path, run: str) -> None:
    write(tmp_path.parent, "secret", {"step": 1})
    response = client.get("/api/training/metrics", params={"run": run})
    assert response.status_code == 404
    assert response.json()["error"]["param"] == "run"


def test_without_a_workspace_there_are_no_runs(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        with TestClient(
            create_app(FakeEngine(), store, name="S", language="en"), base_url="http://127.0.0.1"
        ) as client:
            assert client.get("/api/training/runs").json() == []
            assert client.get("/api/training/metrics?run=rounds/001/sft").status_code == 404
