"""The server as a whole: pages, guard, errors, ports, shutting down."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine, events
from steersman.server import pages
from steersman.server.app import create_app
from steersman.server.listening import listen, serve, url_of
from steersman.store import Store


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


@pytest.fixture
def client(store: Store, report: Path) -> Iterator[TestClient]:
    app = create_app(
        FakeEngine(), store, name="Shop", language="en", report=lambda: report if report.is_file() else None
    )
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "static"
    monkeypatch.setattr(pages, "STATIC", folder)
    return folder


def test_the_page_and_its_files(client: TestClient, static: Path) -> None:
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<title>page</title>")
    (static / "assets" / "app-1a2b.js").write_text("let x")
    (static.parent / "secret.txt").write_text("outside")
    for path in ("/", "/rank", "/rounds/some/client/route"):
        response = client.get(path)
        assert (response.status_code, response.text) == (200, "<title>page</title>")
        assert response.headers["cache-control"] == "no-cache"
        assert "default-src 'self'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
    script = client.get("/assets/app-1a2b.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert client.head("/").status_code == 200
    assert client.get("/assets/gone.js").status_code == 404
    browser = {"accept": "text/html,*/*;q=0.8"}
    assert [client.get("/of/nothing", headers=h).status_code for h in ({}, browser)] == [404, 200]
    for path in ("/..%2fsecret.txt", "/assets/..%2f..%2fsecret.txt", "/%2e%2e/secret.txt", "/a%00b"):
        assert "outside" not in client.get(path).text


def test_without_a_built_page_it_says_how_to_build_it(client: TestClient, static: Path) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert "npm run build" in response.text


def test_the_report(client: TestClient, report: Path) -> None:
    missing = client.get("/report")
    assert missing.status_code == 404
    assert "steersman eval" in missing.text
    report.write_text("<title>verdict</title>")
    found = client.get("/report")
    assert (found.status_code, found.text) == (200, "<title>verdict</title>")
    assert "sandbox" in found.headers["content-security-policy"]
    assert client.get("/api/config").json()["report"] is True


def test_healthz(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.5:8000", "", "0.0.0.0", "[::2]:1"]
)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    response = client.get("/api/config", headers={"host": host})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000"])
def test_loopback_hosts_are_served(client: TestClient, host: str) -> None:
    assert client.get("/api/config", headers={"host": host}).status_code == 200


def test_other_origins_are_refused(client: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://localhost.evil.example", "http://[bad"):
        response = client.post("/api/conversations", json={}, headers={"origin": origin})
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "origin_not_allowed"
    assert client.get("/api/conversations").json() == []
    own = client.post("/api/conversations", json={}, headers={"origin": "http://localhost:5173"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model": "tiny", "messages": [{"role": "user", "content": NaN}]}',
        b'"text"',
        b"null",
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/rank/x", "/api/messages/x/feedback"])
def test_bodies_that_are_no_json_object(client: TestClient, path: str, body: bytes) -> None:
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_form_is_no_json(client: TestClient) -> None:
    headers = {"content-type": "text/plain"}
    response = client.post("/v1/chat/completions", content=b'{"model": "tiny"}', headers=headers)
    assert response.status_code == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_that_are_too_large(client: TestClient, chunked: bool) -> None:
    part = b'{"content": "' + b"x" * 250_000
    body = (part for _ in range(8)) if chunked else part * 8
    response = client.post("/api/conversations/x/messages", content=body)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"
    just_below = client.post("/api/conversations/x/messages", json={"content": "x" * 900_000})
    assert just_below.status_code == 404


def test_an_unexpected_error_tells_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Store) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(Store, "conversations", broken)
    response = client.get("/api/conversations")
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "secret" not in response.text


def test_eight_clients_at_once(client: TestClient, store: Store) -> None:
    def work(worker: int) -> None:
        chat = client.post("/api/conversations", json={}).json()["id"]
        parent = None
        for i in range(3):
            body = {"content": f"{worker}.{i}", "parent_id": parent}
            said = events(client.post(f"/api/conversations/{chat}/messages", json=body).text)
            assert said[-1]["type"] == "done", said
            parent = said[-1]["message"]["id"]
            client.post(f"/api/messages/{parent}/feedback", json={"kind": "like"})

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, i) for i in range(8)]:
            done.result()
    assert len(list(store.feedback(["like"]))) == 24


def test_wrong_settings_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="max_tokens >= 1"):
        create_app(FakeEngine(), store, name="S", language="en", max_tokens=0)


def test_hosts_and_ports(capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("0.0.0.0", "192.168.1.2", "example.com", "::", ""):
        with pytest.raises(ValueError, match=r"serve\.host: .*can be reached from other machines"):
            listen(host, 8000)
    with pytest.raises(ValueError, match=r"serve\.port: expected a number"):
        listen("127.0.0.1", 70_000)
    first = listen("localhost", 0)
    port = first.getsockname()[1]
    second = listen("127.0.0.1", port)
    assert port < second.getsockname()[1] < port + 20
    assert f"{port} is in use, so the server listens on {second.getsockname()[1]}" in capsys.readouterr().err
    assert url_of(first) == f"http://127.0.0.1:{port}"
    first.close()
    second.close()


def test_twenty_ports_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(_self: socket.socket, _address: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr("steersman.server.listening.socket.socket.bind", taken)
    with pytest.raises(ValueError, match="9000 to 9019 are all in use"):
        listen("127.0.0.1", 9000)


def test_serve_refuses_before_it_starts(store: Store) -> None:
    app = create_app(FakeEngine(), store, name="S", language="en")
    with pytest.raises(ValueError, match="can be reached from other machines"):
        serve(app, "0.0.0.0", 8000)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_ends_serve_with_a_stream_open(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from server_double import FakeEngine
        from steersman.server import listening
        from steersman.server.app import create_app
        from steersman.server.listening import serve
        from steersman.store import Store
        store = Store.open(sys.argv[1])
        app = create_app(FakeEngine(endless=True), store, name="S", language="en")
        listening._GRACE_SECONDS = 50  # what would end it if it did not by itself
        url = serve(app, "127.0.0.1", 0, lambda url: print(url, flush=True))
        print("ended", url)
    """)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-c", program, str(tmp_path / "store.db")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    killer = threading.Timer(120, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with httpx.Client(base_url=url) as client:
            chat = client.post("/api/conversations", json={}).json()["id"]
            body = {"content": "Go on"}
            with client.stream("POST", f"/api/conversations/{chat}/messages", json=body) as response:
                lines = (line for line in response.iter_lines() if line)
                assert [events(next(lines))[0]["type"] for _ in range(2)] == ["start", "delta"]
                began = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert events(list(lines)[-1])[0]["type"] == "done"
        output, errors = process.communicate(timeout=60)
    finally:
        killer.cancel()
        process.kill()
    assert (process.returncode, output.strip(), errors) == (0, f"ended {url}", "")
    assert time.monotonic() - began < 40
    with Store.open(tmp_path / "store.db") as store:
        assert store.messages(chat)[1].finish_reason == "cancelled"
