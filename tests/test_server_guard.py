"""Who may ask, from where, how much and how long: hosts, origins, the key, and limits of size and time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient
from typer.testing import CliRunner

from server_double import FakeEngine, live
from steersman.cli import talk
from steersman.cli.framework import build
from steersman.server import body, connection
from steersman.server.app import create_app
from steersman.server.reach import Reach, origins_of
from steersman.store import Store

KEY = "sk-abc+/%1"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("guard") / "store.db") as opened:
        yield opened


def client_of(store: Store, **settings: Any) -> TestClient:
    app = create_app(FakeEngine(), store, name="S", language="en", **settings)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture(scope="module")
def client(store: Store) -> TestClient:
    return client_of(store)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:5173"])
def test_pages_of_this_machine_may_call_the_api(client: TestClient, origin: str) -> None:
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    preflight = client.options("/v1/chat/completions", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-stainless-os" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["vary"] == "Origin"
    for answer in (
        client.post("/v1/chat/completions", json=ASK, headers={"origin": origin}),
        client.get("/v1/models/none", headers={"origin": origin}),
    ):
        assert answer.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in answer.headers


def test_no_other_page_may(client: TestClient, store: Store) -> None:
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        for method, path in (("OPTIONS", "/v1/models"), ("GET", "/v1/models")):
            headers = {"origin": origin, "access-control-request-method": "GET"}
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
    # one that is named: /v1 alone
    named = client_of(store, reach=Reach(origins=origins_of("https://Chat.example/, http://10.0.0.5:3000")))
    for origin in ("https://chat.example", "http://10.0.0.5:3000"):
        headers = {"origin": origin, "access-control-request-method": "POST"}
        assert named.options("/v1/models", headers=headers).headers["access-control-allow-origin"] == origin
        assert named.get("/v1/models", headers={"origin": origin}).status_code == 200
        assert named.get("/api/conversations", headers={"origin": origin}).status_code == 403
        assert named.get("/v1/models", headers={"origin": origin + "0"}).status_code == 403
    for wrong in (
        "*",
        "chat.example",
        "https://chat.example/path",
        "https://chat.example:443",
        "https://a:b",
        "http://..",
    ):
        with pytest.raises(ValueError, match=r"serve.allowed_origins: expected such as"):
            origins_of(wrong)
    # chats are for the page alone
    answer = client.get("/api/conversations", headers={"origin": "http://localhost:3000"})
    assert "access-control-allow-origin" not in answer.headers


def test_options_without_a_page(client: TestClient) -> None:
    answer = client.options("/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert client.options("/api/conversations/x").headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert client.options("/v1/nothing").status_code == 404


def test_wrong_methods_name_the_right_ones(client: TestClient) -> None:
    assert client.put("/api/conversations").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert client.get("/v1/chat/completions").headers["allow"] == "OPTIONS, POST"
    refused = client.delete("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (405, "method_not_allowed")


def test_other_hosts_by_a_setting(store: Store) -> None:
    client = client_of(store, allowed_hosts="host.docker.internal, Box.local")
    for host in ("host.docker.internal:8000", "box.local", "localhost:1"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 200
        headers = {"host": host, "origin": f"http://{host}"}
        assert client.post("/api/conversations", json={}, headers=headers).status_code == 200
    for host in ("docker.internal", "host.docker.internal.evil.example", "evil.example"):
        assert client.get("/v1/models", headers={"host": host}).status_code == 403
    for wrong in ("*", "a b", "http://x", "host:80"):
        with pytest.raises(ValueError, match=r"serve\.allowed_hosts: expected host names"):
            client_of(store, allowed_hosts=wrong)


@pytest.mark.parametrize("path", ["/v1/models/", "//v1/models", "/v1//models", "/v1/models/tiny/"])
def test_slashes_too_many(client: TestClient, path: str) -> None:
    assert client.get(f"http://127.0.0.1:8000{path}").status_code == 200
    answer = client.post("http://127.0.0.1:8000/v1/chat/completions/", json=ASK)
    assert answer.status_code == 200


def test_head(client: TestClient) -> None:
    for path in ("/v1/models", "/v1/models/tiny", "/api/config", "/healthz"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    assert client.head("/v1/models/none").status_code == 404
    assert client.head("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/images", "/v1/a/b/c", "/api/none"])
def test_unknown_paths(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 404
    if method != "HEAD":
        assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rank/" + "a" * 300, 200),  # the page, which knows its own paths
        ("/" + "a" * 2_001, 414),
        ("/v1/models/" + "a" * 3_000, 414),
        ("/api/conversations/" + "é" * 1_500, 414),
        ("/v1/models?x=" + "a" * 8_001, 414),
    ],
)
def test_over_long_addresses(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["code"] == "uri_too_long"


# --- the key


def test_programs_send_the_key(store: Store) -> None:
    app = create_app(FakeEngine(), store, name="S", language="en", key=KEY)
    with live(app) as url:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
            assert client.chat.completions.create(**ASK).choices[0].message.content  # type: ignore[call-overload]
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-other", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as caught:
                client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert KEY not in str(caught.value.body)


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER  {KEY} "])
def test_the_word_before_the_key_may_be_written_as_one_likes(store: Store, header: str) -> None:
    assert client_of(store, key=KEY).get("/v1/models", headers={"authorization": header}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"])
@pytest.mark.parametrize("path", ["/v1/models", "/api/conversations", "/api/openapi.json"])
def test_without_the_key_nothing_is_told(store: Store, path: str, header: str) -> None:
    headers = {"authorization": header.encode("latin-1")} if header else {}
    answer = client_of(store, key=KEY).get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert client_of(store, key=KEY).get("/healthz").status_code == 200


@pytest.mark.parametrize("way", ["form", "address"])
def test_a_browser_gives_the_key_once(store: Store, way: str) -> None:
    client = client_of(store, key=KEY)
    asked = client.get("/rank")
    assert (asked.status_code, "<form" in asked.text) == (401, True)
    assert asked.headers["content-security-policy"]
    if way == "form":
        entered = client.post("/login", data={"key": KEY, "next": "/rank"})
    else:
        entered = client.get("/rank", params={"key": KEY})
    assert (entered.status_code, entered.headers["location"]) == (303, "/rank")
    cookie = entered.headers["set-cookie"]
    assert KEY not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert client.get("/rank").status_code == 200
    assert client.get("/api/conversations").status_code == 200
    same, other = ("http://127.0.0.1:8000", 200), ("http://127.0.0.1:3000", 401)
    for origin, status in (same, other):  # cookies know no ports
        assert client.post("/api/conversations", json={}, headers={"origin": origin}).status_code == status


def test_a_wrong_key_opens_nothing(store: Store) -> None:
    client = client_of(store, key=KEY)
    for answer in (client.post("/login", data={"key": "x", "next": "/rank"}), client.get("/", params={"key": "x"})):
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    entered = client.post("/login", data={"key": KEY, "next": "//evil.example/"})
    assert entered.headers["location"] == "/"
    other = client_of(store, key="another")
    other.cookies = client.cookies
    assert other.get("/api/conversations").status_code == 401


def test_a_page_elsewhere_is_asked_for_the_key_after_its_preflight(store: Store) -> None:
    client = client_of(store, key=KEY)
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    assert client.options("/v1/chat/completions", headers=headers).status_code == 204
    asked = client.post("/v1/chat/completions", json=ASK, headers={"origin": "http://localhost:3000"})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (401, "http://localhost:3000")


def test_a_key_must_fit_into_a_header(store: Store) -> None:
    for key in ("a b", "schlüssel", "a\nb"):
        with pytest.raises(ValueError, match=r"serve\.key: expected printable"):
            client_of(store, key=key)


# --- time and size


def _raw(url: str, data: bytes, seconds: float = 60) -> tuple[bytes, float]:
    """What the server says to these bytes until it closes the connection, and after how many seconds it does."""
    parts = urlsplit(url)
    began = time.monotonic()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=seconds) as sock:
        said = b""
        with contextlib.suppress(ConnectionError):  # more than the server reads before it refuses
            sock.sendall(data)
        with contextlib.suppress(ConnectionError):
            while chunk := sock.recv(65_536):
                said += chunk
    return said, time.monotonic() - began


def _error(said: bytes) -> tuple[int, str]:
    head, _, told = said.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(told)["error"]["message"]


@pytest.fixture
def url(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 20)
    with live(create_app(FakeEngine(), store, name="S", language="en")) as served:
        yield served


CLOSE = b"\r\nConnection: close\r\n\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_wrong_key_is_refused_before_the_body_comes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    with live(create_app(FakeEngine(), store, name="S", language="en", key=KEY)) as served:
        said, _ = _raw(served, HEAD + b"Authorization: Bearer x\r\nContent-Length: 900000" + CLOSE + b"{")
    assert _error(said)[0] == 401


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"Content-Length: 100\r\n\r\n{", 408),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", 408),
        (HEAD, 408),
        (b"", 408),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 70_000 + CLOSE, 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 700_000, 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost" + CLOSE, 414),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost" + CLOSE, 403),
        (b"GET http:///v1/models HTTP/1.1\r\nHost: localhost" + CLOSE, 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (HEAD + b"Content-Length: 900000000\r\n\r\n{", 413),
        (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
        (
            HEAD
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost"
            + CLOSE,
            400,
        ),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost" + CLOSE, 400),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost" + CLOSE, 400),
    ],
)
def test_what_never_comes_is_not_waited_for(url: str, data: bytes, status: int) -> None:
    said, seconds = _raw(url, data)
    got, message = _error(said)
    assert got == status, said
    assert message
    assert said.count(b"HTTP/1.1 ") == 1  # what follows a length and chunks is another's to a proxy
    assert seconds < 30


def test_whole_addresses_as_clients_of_a_proxy_send_them(url: str) -> None:
    for target in (b"http://localhost:80/v1/models?a=1", b"HTTPS://127.0.0.1"):  # the Host header then says nothing
        said, _ = _raw(url, b"GET " + target + b" HTTP/1.1\r\nHost: evil.example" + CLOSE)
        assert said.startswith(b"HTTP/1.1 200 "), said


@pytest.mark.parametrize("length", [b"Content-Length: 100\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"])
def test_half_a_body_is_not_acted_on(url: str, store: Store, length: bytes) -> None:
    """Whoever breaks off amid a body has not asked for what the first half of it says."""
    parts, head, before = (
        urlsplit(url),
        HEAD.replace(b"/v1/chat/completions", b"/api/conversations"),
        len(store.conversations()),
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as sock:
        sock.sendall(head + length)
    deadline = time.monotonic() + 60
    while 'route="refused",status="400"' not in httpx.get(f"{url}/metrics").text.replace("'", '"'):
        assert time.monotonic() < deadline, httpx.get(f"{url}/metrics").text
        time.sleep(0.02)
    assert len(store.conversations()) == before


def test_there_are_only_so_many_connections(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 60.0)  # else the first are refused before the last is there
    parts = urlsplit(url)
    held = [socket.create_connection((parts.hostname or "", parts.port or 0)) for _ in range(20)]
    assert _error(_raw(url, b"")[0])[0] == 503
    for sock in held:
        sock.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise AssertionError("connections that were closed still count")


# --- from the command line


def test_the_key_comes_from_flag_environment_or_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(talk, "run_server", lambda *args, **_: seen.append(args[-1]))
    runner, verbs = CliRunner(), build()
    assert runner.invoke(verbs, ["init", str(tmp_path / "w")]).exit_code == 0
    serve = ["serve", "--workspace", str(tmp_path / "w")]
    assert runner.invoke(verbs, serve).exit_code == 0
    assert runner.invoke(verbs, serve, env={"STEERSMAN_KEY": "from-env"}).exit_code == 0
    assert runner.invoke(verbs, [*serve, "--key", "flag"], env={"STEERSMAN_KEY": "from-env"}).exit_code == 0
    assert seen == ["", "from-env", "flag"]


class Whole:
    """A client that sends a body in one piece."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __call__(self) -> dict[str, object]:
        return {"type": "http.request", "body": self._content}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"," * 40_001 + b'"' + b'\\"' * 400_000, True),  # a string without an end: took an hour of the event loop
        (b"," * 40_000 + b'"' + b'\\"' * 400_000 + b"\\", False),
        (b"[" + b'"",' * 4_000_000, True),
        (b"[" + b'"' + b"," * 900_000 + b'"]', False),
        (b'{"a":"b"' + b',"a\\"":"b,["' * 19_999 + b"}", False),
        (b'{"a":"b"' + b',"a":"b"' * 40_000 + b"}", True),
    ],
    ids=["unterminated", "backslash", "strings", "a text", "members", "too many members"],
)
def test_values_are_counted_outside_of_strings_in_no_time(content: bytes, told: bool) -> None:
    begun = time.process_time()
    refused = False
    try:
        asyncio.run(body.read_body(Headers({}), Whole(content), 14_000_000))
    except body.BodyRefused as refusal:
        refused = "values" in str(refusal)
    assert refused == told
    assert time.process_time() - begun < 0.4


def test_large_bodies_share_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "HELD_LIMIT", 3_000_000)
    room = body.Room()
    with room.hold() as first, room.hold() as second, room.hold() as small:
        first(1_500_000)
        first(2_000_000)
        small(body.BODY_LIMIT)
        with pytest.raises(body.BodyRefused, match="too many large requests") as refused:
            second(1_000_001)
        assert (refused.value.status, room.taken) == (429, 2_000_000)
    assert room.taken == 0
