"""Accounts with several web processes: what one of them learns or does holds at the others."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import argon2
import httpx
import psutil
import pytest

from steersman.server import buckets
from steersman.store import Store
from steersman.store.roles import Role

PASSWORD = "correct horse battery"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    with Store.open(tmp_path / "store.db") as store:
        hashed = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        for name, role in {"ada": Role.ADMIN, "lea": Role.LABELER}.items():
            store.accounts.set_password(store.accounts.add(name, role).id, hashed)
    command = [sys.executable, str(Path(__file__).with_name("workers_double.py")), str(tmp_path / "store.db")]
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]  # as a shell's & does
    running = subprocess.Popen([*ignoring, *command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().strip(), psutil.Process(running.pid)
    finally:
        workers = psutil.Process(running.pid).children()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
        assert running.returncode == 0
        assert not any(worker.is_running() for worker in workers)


@contextlib.contextmanager
def only(worker: psutil.Process, workers: list[psutil.Process]) -> Iterator[None]:
    """The other ones do not accept meanwhile."""
    others = [other for other in workers if other != worker]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    return False


def test_two_workers_are_one_server(server: tuple[str, psutil.Process]) -> None:
    url, parent = server
    deadline = time.monotonic() + 60
    workers: list[psutil.Process] = []
    while len(workers) < 2 and time.monotonic() < deadline:
        workers = [p for p in parent.children() if p.status() != psutil.STATUS_ZOMBIE]
    first, second = workers
    for worker in workers:  # both are up
        with only(worker, workers):
            while not answers(url):
                assert time.monotonic() < deadline

    def ask(method: str, path: str, **more: Any) -> httpx.Response:
        """By a connection of its own."""
        headers = {"x-steersman": "1"} | more.pop("headers", {})
        return httpx.request(method, url + path, headers=headers, timeout=30, **more)

    def session(name: str) -> dict[str, str]:
        return dict(ask("POST", "/api/session", json={"name": name, "password": PASSWORD}).cookies)

    with only(first, workers):
        ada, lea = session("ada"), session("lea")
        assert ask("GET", "/api/config", cookies=ada).json()["me"]["role"] == "admin"
        made = ask("POST", "/api/me/keys", cookies=ada, json={"name": "x", "scopes": ["chat"]}).json()
        by_key = {"authorization": f"Bearer {made['secret']}"}
        used = sum(ask("GET", "/api/config", cookies=lea).status_code == 200 for _ in range(6))
    with only(second, workers):
        assert ask("GET", "/api/config", cookies=ada).json()["me"]["role"] == "admin"
        assert ask("GET", "/v1/models", headers=by_key).status_code == 200
        later = [ask("GET", "/api/config", cookies=lea).status_code for _ in range(6)]
        # ten in a minute, wherever: one every six seconds comes back meanwhile
        assert later[-1] == 429
        assert 10 <= used + later.count(200) <= 11 + (time.monotonic() - deadline + 60) // 6
        # ended here, seen there: at the latest when what is remembered is no longer fresh
        assert ask("DELETE", f"/api/me/keys/{made['key']['id']}", cookies=ada).status_code == 200
        assert ask("DELETE", "/api/session", cookies=ada).status_code == 200
        assert ask("GET", "/api/config", cookies=ada).status_code == 401
        assert ask("GET", "/v1/models", headers=by_key).status_code == 401
    with only(first, workers):
        until = time.monotonic() + 15
        while 200 in (
            ask("GET", "/api/config", cookies=ada).status_code,
            ask("GET", "/v1/models", headers=by_key).status_code,
        ):
            assert time.monotonic() < until


def test_a_table_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(buckets.time, "monotonic", lambda: now[0])
    file = buckets.shared()
    one, other = buckets.Buckets(file), buckets.Buckets(file)
    assert [one.take("ann", 6), other.take("ann", 6), one.take("ann", 6)] == [0, 0, 0]
    assert [other.take("ann", 6) for _ in range(4)] == [0, 0, 0, 10]
    assert one.take("ben", 6) == 0
    now[0] += 9
    assert one.take("ann", 6) == 1
    now[0] += 1
    assert (other.take("ann", 6), one.take("ann", 6)) == (0, 10)
    now[0] += 3600
    assert [one.take("ann", 6) for _ in range(7)] == [0] * 6 + [10]


def test_a_table_has_an_end() -> None:
    """More names than it has places: the latest are counted still, and nobody is refused for another's requests."""
    table = buckets.Buckets()
    for n in range(buckets._SLOTS * 2):
        assert table.take(f"name {n}", 2) == 0
    assert [table.take("the last", 2) for _ in range(3)] == [0, 0, 30]
