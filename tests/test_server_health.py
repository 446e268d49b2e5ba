"""/healthz, /readyz, /metrics, request ids, JSON logs, a proxy's path, and an end that waits for answers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine
from steersman.server import logs
from steersman.server.app import create_app
from steersman.server.models import Models
from steersman.store import Store

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "ibex one two"}]}


def client_of(path: Path, **settings: Any) -> TestClient:
    store = Store.open(path / "store.db")
    engine = settings.pop("engine", None) or FakeEngine()
    app = create_app(engine, store, name="S", language="en", max_tokens=20, **settings)
    return TestClient(app, base_url="http://127.0.0.1")


def test_ready_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(tmp_path)
    assert client.get("/readyz").json() == {"status": "ok", "model": "ppo-7"}
    context = client.app.state.context  # type: ignore[attr-defined]
    context.generations.closing = True
    monkeypatch.setattr(context.store, "check", lambda: 1 / 0)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["reasons"] == ["the server is stopping", "the store cannot be read: ZeroDivisionError"]
    assert client.get("/healthz").status_code == 200


def test_metrics_count_requests_answers_and_tokens(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    assert client.post("/v1/chat/completions", json=BODY).status_code == 200
    assert client.post("/v1/chat/completions", json=BODY | {"stream": True}).status_code == 200
    assert client.get("/v1/ibex").status_code == 404
    told = client.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain; version=")
    lines = told.text.split("\n")
    for line in (
        'steersman_requests_total{method="POST",route="/v1/chat/completions",status="200"} 2.0',
        'steersman_requests_total{method="GET",route="no route",status="404"} 1.0',
        'steersman_answers_total{ended="stop"} 2.0',
        'steersman_tokens_total{of="answer"} 8.0',
        'steersman_tokens_total{of="prompt"} 6.0',
        "steersman_first_text_seconds_count 2.0",
        "steersman_answers_live 0.0",
        "steersman_answers_most 256.0",
    ):
        assert line in lines
    assert "ibex" not in told.text


def test_a_request_keeps_its_id_or_gets_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logs.access.name)
    client = client_of(tmp_path)
    assert client.get("/v1/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = client.get("/v1/models", headers={"x-request-id": 'forged\t{"level": "error"}'}).headers["x-request-id"]
    assert made.startswith("req_")
    assert caplog.records[-1].getMessage().startswith("method=GET route=/v1/models status=200 ms=")


def test_a_log_line_is_json_without_words() -> None:
    def line(*args: Any, **more: Any) -> dict[str, Any]:
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, __file__, 1, *args, **more)
        return dict(json.loads(logs.JsonLines().format(record)))

    token = logs.request.set("req_1")
    try:
        raise KeyError("ibex\nsecond line")
    except KeyError:
        told = line("it failed", (), sys.exc_info())
    logs.request.reset(token)
    assert (told["level"], told["request"], told["message"], told["error"]) == (
        "error",
        "req_1",
        "it failed",
        "KeyError",
    )
    assert told["stack"].startswith("KeyError\n")
    assert "ibex" not in json.dumps(told)


def test_a_proxys_path_may_be_there_or_not(tmp_path: Path) -> None:
    client = client_of(tmp_path, root_path="/desk/", key="k")
    for path in ("/v1/models", "/desk/v1/models", "/desk/healthz", "/desk"):
        assert client.get(path, headers={"authorization": "Bearer k"}).status_code == 200, path
    other = {"authorization": "Bearer k"}  # an address of the page's own, for people alone
    assert client.get("/desks/v1/models", headers=other | {"accept": "text/html"}).status_code == 200
    assert client.get("/desks/v1/models", headers=other).status_code == 404
    entered = client.get("/desk/rank?key=k", follow_redirects=False)
    assert entered.headers["location"] == "/desk/rank"
    with pytest.raises(ValueError, match="root_path"):
        client_of(tmp_path, root_path="desk")


def test_an_anthropic_clients_key_is_taken(tmp_path: Path) -> None:
    client = client_of(tmp_path, key="k")
    assert client.get("/v1/models", headers={"x-api-key": "k"}).status_code == 200
    assert client.get("/v1/models", headers={"x-api-key": "other"}).status_code == 401


def test_models_are_picked_by_name_and_version(tmp_path: Path) -> None:
    now, base = FakeEngine(), FakeEngine(policy_version="base", pieces=("from the base",))
    client = client_of(tmp_path, engine=Models(now, {"base": base}))
    listed = client.get("/v1/models").json()
    assert [one["id"] for one in listed["data"]] == ["tiny", "ppo-7", "base"]
    answer = client.post("/v1/chat/completions", json=BODY | {"model": "base"}).json()
    assert answer["choices"][0]["message"]["content"] == "from the base"
    assert answer["model"] == "base"
    missing = client.post("/v1/chat/completions", json=BODY | {"model": "huge"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


SERVER = """
import sys, threading
sys.path.insert(0, {tests!r})
from server_double import FakeEngine
from steersman.server.app import create_app
from steersman.server.listening import serve
from steersman.store import Store
class Slow(FakeEngine):
    def _pieces(self):
        yield "begun"
        sys.stdin.readline()
        yield " and done"
engine = Slow(pieces=("begun", " and done"))
with Store.open({store!r}) as store:
    app = create_app(engine, store, name="S", language="en", max_tokens=20)
    serve(app, "127.0.0.1", 0, lambda url: print(url, flush=True), grace=60)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_sigterm_lets_an_answer_end_and_admits_no_other(tmp_path: Path) -> None:
    code = SERVER.format(tests=str(Path(__file__).parent), store=str(tmp_path / "store.db"))
    server = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    said: list[str] = []
    begun = threading.Event()

    def ask() -> None:
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=BODY | {"stream": True}, timeout=60) as reply:
            for line in reply.iter_lines():
                said.append(line)
                begun.set()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert begun.wait(60)
        server.send_signal(signal.SIGTERM)
        while httpx.get(f"{url}/readyz").status_code == 200:
            pass
        refused = httpx.post(f"{url}/v1/chat/completions", json=BODY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        server.stdin.write("\n")
        server.stdin.flush()
        thread.join(60)
        assert said[-2:] == ["data: [DONE]", ""]
        assert '" and done"' in "".join(said)
        assert server.wait(60) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.wait()
        server.stdin.close()
        server.stdout.close()
