"""How a server is reached: by TLS, through a proxy that is trusted or not, below a path."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient

from proxy_double import Proxy
from server_double import FakeEngine, events, live
from steersman.config import AccountsConfig
from steersman.config.project_settings import ServeConfig
from steersman.server import passwords
from steersman.server.app import create_app
from steersman.server.reach import Reach, reach_of
from steersman.server.team import Team
from steersman.store import Store
from steersman.store.roles import Role

PAGE = {"x-steersman": "1"}
WRONG = {"name": "ada", "password": "x"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.open(tmp_path_factory.mktemp("reach") / "store.db") as opened:
        opened.accounts.add("ada", Role.ADMIN)
        yield opened


@pytest.fixture(scope="module", autouse=True)
def _quick_passwords() -> Iterator[None]:
    import argon2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        passwords._nobody.cache_clear()
        yield
    passwords._nobody.cache_clear()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate of this machine, its key, and the key behind a password."""
    folder, key, now = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "steersman")])
    here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    files = {
        "cert": made.public_bytes(serialization.Encoding.PEM),
        "key": key.private_bytes(*form, serialization.NoEncryption()),
        "locked": key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")),
        "other": ec.generate_private_key(ec.SECP256R1()).private_bytes(*form, serialization.NoEncryption()),
    }
    for kind, data in files.items():
        (folder / f"{kind}.pem").write_bytes(data)
    return {kind: folder / f"{kind}.pem" for kind in files}


def served(store: Store, reach: Reach = Reach(), **settings: Any) -> Any:  # noqa: B008  frozen
    team = Team(store, AccountsConfig())
    return create_app(FakeEngine(), store, name="S", language="en", team=team, reach=reach, **settings)


def cookie_of(answer: httpx.Response) -> str:
    return str(answer.headers["set-cookie"])


def accept(store: Store) -> dict[str, str]:
    """What signs ada in."""
    token = store.accounts.reset(store.accounts.named("ada").id, by="")
    return {"token": token, "password": "correct horse battery"}


def test_over_tls(store: Store, certificate: dict[str, Path]) -> None:
    config = ServeConfig(auth=True, certfile=str(certificate["cert"]), keyfile=str(certificate["key"]))
    trusting = ssl.create_default_context(cafile=str(certificate["cert"]))
    with live(served(store, reach_of(config, "127.0.0.1"))) as url:
        assert url.startswith("https://127.0.0.1:")
        port = urlsplit(url).port
        with httpx.Client(base_url=url, verify=trusting, headers=PAGE) as client:
            entered = client.post("/api/invitation/accept", json=accept(store))
            words = cookie_of(entered)
            assert words.startswith(f"__Host-steersman_{port}=")
            assert all(word in words for word in ("Secure", "HttpOnly", "SameSite=strict", "Path=/;"))
            chat = client.post("/api/conversations", json={}).json()["id"]
            with client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Hi"}) as answer:
                assert answer.http_version == "HTTP/1.1"
                told = events("".join(answer.iter_text()))
            assert [event["type"] for event in told][::5] == ["start", "done"]
            gone = client.delete("/api/session")
            assert "Max-Age=0" in cookie_of(gone)
            assert "Secure" in cookie_of(gone)
        with pytest.raises(httpx.ConnectError):  # nobody's certificate is taken for granted
            httpx.get(f"{url}/healthz")
        with socket.create_connection(
            ("127.0.0.1", port or 0), timeout=10
        ) as plain:  # no TLS: closed, and nothing said
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(1000)


@pytest.mark.parametrize(
    ("cert", "key", "told"),
    [
        ("cert", "other", "cannot be used"),
        ("cert", "locked", "without a password"),
        ("cert", "", "cannot be used"),
        ("", "key", "expected the certificate of serve.keyfile"),
        ("missing", "key", "No such file"),
    ],
)
def test_files_that_cannot_be_used(certificate: dict[str, Path], cert: str, key: str, told: str) -> None:
    files = {"": "", "missing": "/nowhere/cert.pem"} | {kind: str(path) for kind, path in certificate.items()}
    with pytest.raises(ValueError, match=told):
        reach_of(ServeConfig(certfile=files[cert], keyfile=files[key]), "127.0.0.1")


def last_address(store: Store) -> str:
    return str(store.audit.page(most=1)[0].details["address"])


def test_only_a_trusted_proxys_word_counts(store: Store) -> None:
    said = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto": "https"}
    lies = {"X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6;proto=https", "X-Forwarded-Host": "evil.example"}
    trusting = reach_of(ServeConfig(auth=True, trusted_proxy="127.0.0.1"), "127.0.0.1")
    for reach, address, secure in ((trusting, "203.0.113.7", True), (Reach(), "127.0.0.1", False)):
        with live(served(store, reach)) as url, httpx.Client(base_url=url, headers=PAGE | said | lies) as client:
            assert client.post("/api/session", json=WRONG).status_code == 401
            assert last_address(store) == address
            entered = client.post("/api/invitation/accept", json=accept(store))
            assert ("Secure" in cookie_of(entered), cookie_of(entered).startswith("__Host-")) == (secure, secure)
            assert last_address(store) == address
            # guesses are counted where they come from, not where they say
            assert store.credentials.failures("nobody", address, dt.datetime.now(dt.UTC) - dt.timedelta(1))[2] == 1
    elsewhere = Reach(trusted_proxies=("10.0.0.0/8",))
    with live(served(store, elsewhere)) as url:
        assert httpx.post(f"{url}/api/session", json=WRONG, headers=PAGE | said).status_code == 401
        assert last_address(store) == "127.0.0.1"


def test_addresses_that_are_none(store: Store) -> None:
    reach = Reach(trusted_proxies=("127.0.0.1",))
    with live(served(store, reach)) as url:
        for said, address in {
            "'; DROP TABLE audit; --": "'; DROP TABLE audit; --",
            "<script>" * 50: "<script>" * 8,
            "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
            "::ffff:192.0.2.7": "192.0.2.7",  # as a socket for both kinds of address says IPv4
            "": "127.0.0.1",
        }.items():
            answer = httpx.post(f"{url}/api/session", json=WRONG, headers=PAGE | {"X-Forwarded-For": said})
            assert answer.status_code == 401
            # one that was refused a moment ago has its line already
            assert address in {entry.details.get("address") for entry in store.audit.page()}
        odd = httpx.get(f"{url}/api/session", headers={"X-Forwarded-Proto": "javascript"})
        assert odd.status_code == 200


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.0/33", "10.0.0.1/8", "*"])
def test_a_proxy_is_named_by_address(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"serve\.trusted_proxy: expected addresses or networks"):
        reach_of(ServeConfig(trusted_proxy=wrong), "127.0.0.1")


def test_below_a_path(store: Store) -> None:
    app = served(store, root_path="/assistant")
    plain, tls = (
        TestClient(app, base_url=base, headers=PAGE, follow_redirects=False)
        for base in ("http://127.0.0.1:8000", "https://127.0.0.1")
    )
    assert plain.get("/report").headers["location"] == "/assistant/login?next=%2Freport"
    entered = plain.post("/assistant/api/invitation/accept", json=accept(store))
    assert "Path=/assistant;" in cookie_of(entered)
    assert plain.get("/assistant/api/config").json()["me"]["name"] == "ada"
    assert "Path=/assistant;" in cookie_of(plain.delete("/assistant/api/session"))
    entered = tls.post("/api/invitation/accept", json=accept(store))
    # `__Host-` would want the whole host, where there are others' pages
    assert cookie_of(entered).startswith("__Secure-steersman_session=")
    assert "Path=/assistant;" in cookie_of(entered)


def test_a_slash_at_the_end_leads_to_no_address_of_this_machine(store: Store) -> None:
    app = create_app(FakeEngine(), store, name="S", language="en", root_path="/assistant")
    client = TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False)
    for path in ("/healthz/", "/assistant/metrics/", "/assistant/rank/", "/assistant/"):
        assert client.get(path).status_code == 200, path
    assert client.get("/assistant/api/openapi.json").json()["servers"] == [{"url": "/assistant"}]
    nothing = client.get("/assistant/report/")
    assert (nothing.status_code, "No report yet" in nothing.text) == (404, True)
    chinese = client.get("/assistant/report", headers={"accept-language": "zh-CN"}).text
    assert ("还没有报告" in chinese, "name=viewport" in chinese) == (True, True)


@pytest.mark.parametrize("root", ["", "/assistant"])
def test_the_page_finds_its_files(store: Store, root: str) -> None:
    client = TestClient(served(store, root_path=root), base_url="http://127.0.0.1:8000")
    for path in ("/", "/desk", "/rounds/data/x"):
        page = client.get(root + path)
        if "not built" in page.text:
            pytest.skip("the page is not built")
        files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(files) >= 4
        for file in files:
            assert file.startswith(f"{root}/")
            assert client.get(file).headers["content-type"].split(";")[0] != "text/html", file


def test_the_page_of_the_key_below_a_path(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(FakeEngine(), store, name="S", language="en", key="k", root_path="/a/b")
        client = TestClient(app, base_url="https://127.0.0.1", follow_redirects=False)
        asked = client.get("/a/b/rank")
        assert 'action="/a/b/login"' in asked.text
        entered = client.post("/a/b/login", data={"key": "k", "next": "/rank"})
        assert entered.headers["location"] == "/a/b/rank"
        assert "Path=/a/b;" in cookie_of(entered)
        assert "Secure" in cookie_of(entered)
        assert client.get("/a/b/rank").status_code == 200


def test_through_a_proxy_that_takes_the_path_off(store: Store) -> None:
    reach = Reach(trusted_proxies=("127.0.0.1",))
    with live(served(store, reach, root_path="/assistant")) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as forwarding:  # whole addresses
            forwarding.sendall(f"GET {url}/assistant/healthz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert forwarding.recv(15) == b"HTTP/1.1 200 OK"
        with Proxy(url, "/assistant", {"X-Forwarded-For": "203.0.113.9"}) as proxy:
            with httpx.Client(base_url=proxy.url, headers=PAGE) as client:
                entered = client.post("/api/invitation/accept", json=accept(store))
                assert entered.status_code == 200, entered.text
                assert last_address(store) == "203.0.113.9"
                chat = client.post("/api/conversations", json={}).json()["id"]
                with client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": "Hi"}) as answer:
                    assert events("".join(answer.iter_text()))[-1]["type"] == "done"
                assert client.get("/report", headers={"cookie": ""}).status_code in (303, 404)


def asking(app: Any, address: str, **headers: str) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8000", client=(address, 5), headers=PAGE | headers)


def test_an_address_asks_so_often(store: Store) -> None:
    app = create_app(FakeEngine(), store, name="S", language="en", reach=Reach(rate=3))
    far, here = asking(app, "203.0.113.5"), asking(app, "127.0.0.1")
    told = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    preflight = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    assert {far.options("/v1/chat/completions", headers=preflight).status_code for _ in range(9)} == {
        204
    }  # none counts
    assert [far.get("/").status_code, far.get("/api/config").status_code] == [200, 200]
    assert far.post("/v1/chat/completions", json=told).status_code == 200
    refused = far.post("/v1/chat/completions", json=told)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    for path in ("/", "/api/config", "/v1/models", "/nothing"):
        assert far.get(path).status_code == 429
    assert far.get("/healthz").status_code == 200  # whoever watches the server
    assert {here.get("/api/config").status_code for _ in range(9)} == {200}
    assert asking(app, "203.0.113.6").get("/api/config").status_code == 200
    # one household's network is one address
    house = [asking(app, f"2001:db8::{n}").get("/api/config").status_code for n in range(1, 6)]
    assert house == [200, 200, 200, 429, 429]
    # an address that is made up is none: nobody is trusted here
    spoofed = asking(app, "203.0.113.5", **{"X-Forwarded-For": "203.0.113.99"})
    assert spoofed.get("/api/config").status_code == 429


def test_with_accounts_it_counts_who_is_not_signed_in(store: Store) -> None:
    app = served(store, Reach(rate=3))
    far = asking(app, "203.0.113.5")
    far.cookies.set("steersman_8000", store.credentials.begin(store.accounts.named("ada").id, 1), domain="127.0.0.1")
    assert {far.get("/api/config").status_code for _ in range(9)} == {200}  # by role: accounts.requests_per_minute
    guessing = [
        asking(app, "203.0.113.5", authorization=f"Bearer sk-{n:040}").get("/v1/models").status_code for n in range(5)
    ]
    assert guessing == [401, 401, 401, 429, 429]
    tries = [asking(app, "203.0.113.8").post("/api/invitation", json={"token": f"{n}"}).status_code for n in range(5)]
    assert tries == [404, 404, 404, 429, 429]
