"""`serve --auth`: signing in, sessions, keys, roles, whose chats are whose; and attacks on each."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import argon2
import pytest
from starlette.testclient import TestClient

from server_double import FakeEngine, events
from steersman.config import AccountsConfig
from steersman.server import door, passwords, team
from steersman.server.access import NEEDS, Need
from steersman.server.app import create_app
from steersman.server.quotas import by_role
from steersman.server.reach import Reach
from steersman.server.team import Team
from steersman.store import Store, Unreachable
from steersman.store.roles import Role
from steersman.store.schema import Base, utc_now

PASSWORD = "correct horse battery"
HTTP = "http://127.0.0.1:8000"
PEOPLE = {"chloe": Role.CHATTER, "carl": Role.CHATTER, "lea": Role.LABELER, "max": Role.MANAGER, "ada": Role.ADMIN}


@pytest.fixture(scope="module", autouse=True)
def hashed() -> Iterator[str]:
    """The hash of everybody's password, by an argon2 that takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        passwords._nobody.cache_clear()
        yield passwords.hashed(PASSWORD)
    passwords._nobody.cache_clear()


@pytest.fixture
def store(store_url: str, hashed: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        for name, role in PEOPLE.items():
            user = opened.accounts.add(name, role)
            opened.accounts.set_password(user.id, hashed)
        yield opened


@pytest.fixture
def made(store: Store) -> Any:
    """A server of the store; `made(base_url)` a browser that asks it."""
    app = create_app(
        FakeEngine(), store, name="Shop", language="en", team=Team(store, AccountsConfig(tokens_per_day="chatter=30"))
    )

    def browser(base: str = HTTP) -> TestClient:
        return TestClient(
            app, base_url=base, raise_server_exceptions=False, follow_redirects=False, headers={"x-steersman": "1"}
        )

    browser.app = app  # type: ignore[attr-defined]
    return browser


def sign_in(client: TestClient, name: str, password: str = PASSWORD) -> Any:
    return client.post("/api/session", json={"name": name, "password": password})


def as_person(made: Any, name: str, base: str = HTTP) -> TestClient:
    """Signed in by a session begun in the store: comparing passwords takes long."""
    client: TestClient = made(base)
    store: Store = made.app.state.context.store
    token = store.credentials.begin(store.accounts.named(name).id, 1)
    client.cookies.set("steersman_8000", token, domain="127.0.0.1")
    return client


def key_of(made: Any, name: str, *scopes: str) -> TestClient:
    client: TestClient = made()
    store: Store = made.app.state.context.store
    _, secret = store.credentials.add_key(store.accounts.named(name).id, "program", scopes)
    client.headers = {"authorization": f"Bearer {secret}"}  # type: ignore[assignment]
    return client


def raising(error: Exception) -> Any:
    def fail(*_given: object) -> None:
        raise error

    return fail


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_nobody_gets_anything_but_the_page(made: Any) -> None:
    client = made()
    for method, path in NEEDS:
        where = path.replace("{name:path}", "x").replace("{number}", "1")
        where = re.sub(r"\{\w+\}", "1", where)
        if NEEDS[method, path] is not Need.OPEN and not path.startswith(("/report", "/datasets")):
            assert client.request(method, where, json={}).status_code == 401, (method, where)
    for path in ("/api/openapi.json", "/api/nothing", "/v1/nothing", "/metrics"):
        assert client.get(path).status_code == 401
    assert client.get("/").status_code == 200
    for path in ("/", "/desk/team?task=1", "/shared/x", "/rounds"):  # a browser's page would ask in vain
        answer = client.get(path, headers={"accept": "text/html,*/*"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?{urlencode({'next': path})}")
    assert client.get("/login", headers={"accept": "text/html"}).status_code == 200
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/report").headers["location"] == "/login?next=%2Freport"
    assert client.get("/api/session").json() == {
        "auth": True,
        "me": None,
        "name": "Shop",
        "language": "en",
        "oidc": False,
    }


def test_signing_in_and_out(made: Any, store: Store) -> None:
    client = made()
    answer = sign_in(client, " ADA ")
    assert answer.json()["me"]["role"] == "admin"
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Max-Age=1209600", "Path=/"))
    assert "Secure" not in cookie
    token = client.cookies["steersman_8000"]
    assert client.get("/api/config").json()["me"]["name"] == "ada"
    assert token not in _stored(store)
    assert store.accounts.named("ada").id in _stored(store)
    assert client.delete("/api/session").status_code == 200
    replayed = made()
    replayed.cookies.set("steersman_8000", token)
    assert replayed.get("/api/config").status_code == 401
    assert [entry.action for entry in store.audit.page()] == ["signed out", "signed in"]


def _stored(store: Store) -> str:
    """Everything that the database holds."""
    if store._db.path is None:
        with store._db.read() as session:
            tables = Base.metadata.sorted_tables
            return "\n".join(str(row) for table in tables for row in session.execute(table.select()))
    files = (store._db.path, Path(f"{store._db.path}-wal"))
    return "".join(file.read_bytes().decode("latin-1") for file in files if file.exists())


def test_over_tls_the_cookie_is_bound_to_the_host(made: Any) -> None:
    cookie = sign_in(made("https://127.0.0.1:8443"), "ada").headers["set-cookie"]
    assert cookie.startswith("__Host-steersman_8443=")
    assert "Secure" in cookie


def test_all_that_is_wrong_is_wrong_in_the_same_words(made: Any, store: Store) -> None:
    store.accounts.set_disabled(store.accounts.named("carl").id, True)
    store.accounts.add("ivy", Role.CHATTER)  # invited, without a password
    answers = [sign_in(made(), name, "wrong password 1") for name in ("chloe", "nobody", "carl", "ivy")]
    answers += [sign_in(made(), "carl"), sign_in(made(), "ivy", "")]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert answers[0].json()["error"]["message"] == team.WRONG


def test_guessing_is_slowed_down_and_locks_nobody_out(made: Any, store: Store) -> None:
    limit = team.MOST_BOTH
    for _ in range(limit):
        store.credentials.failed("chloe", "testclient", utc_now() - team.WINDOW)
    refused = sign_in(made(), "Chloe")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "900")
    # another person from there, and the same from elsewhere
    assert sign_in(made(), "ada").status_code == 200
    elsewhere = TestClient(made.app, base_url=HTTP, client=("10.1.2.3", 5), headers={"x-steersman": "1"})
    assert sign_in(elsewhere, "chloe").status_code == 200
    for n in range(team.MOST_ADDRESS):
        store.credentials.failed(f"guess {n}", "testclient", utc_now() - team.WINDOW)
    assert sign_in(made(), "max").status_code == 429
    # what was refused by a clock that was ahead, and what was refused long ago, count no more
    assert store.credentials.failures("chloe", "testclient", utc_now() - team.WINDOW)[0] == limit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steersman.store.credentials.utc_now", lambda: utc_now() - dt.timedelta(days=1))
        assert store.credentials.failures("chloe", "testclient", utc_now() - dt.timedelta(days=2)) == (0, 0, 0)
    store.credentials.failed("x", "y", utc_now() + dt.timedelta(seconds=1))
    assert store.credentials.failures("chloe", "testclient", utc_now() - team.WINDOW) == (0, 0, 0)


def test_sessions_end(made: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chloe = store.accounts.named("chloe")
    client = as_person(made, "chloe")
    assert client.get("/api/config").status_code == 200
    # remembered, and yet over when its time is
    real = door.utc_now
    monkeypatch.setattr(door, "utc_now", lambda: real() + dt.timedelta(hours=2))
    assert client.get("/api/config").status_code == 401
    monkeypatch.undo()
    # changed by an admin of this server: at once
    admin = as_person(made, "ada")
    assert client.get("/api/config").status_code == 200
    assert admin.patch(f"/api/people/{chloe.id}", json={"disabled": True}).status_code == 200
    assert client.get("/api/config").status_code == 401
    # changed by another process: when what was remembered is no longer fresh
    other = as_person(made, "carl")
    assert other.get("/api/config").status_code == 200
    store.accounts.set_disabled(store.accounts.named("carl").id, True)
    later = door.time.monotonic() + door.FRESH_SECONDS + 1
    monkeypatch.setattr(door.time, "monotonic", lambda: later)
    assert other.get("/api/config").status_code == 401


def test_a_store_that_is_gone_while_somebody_is_looked_up(
    made: Any, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can be found then; it was answered without a reason, and logged with whatever the error quotes."""
    client = as_person(made, "ada")
    for error, status, told in ((Unreachable("gone"), 503, "store_unreachable"), (ValueError("WORDS"), 500, None)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store.credentials, "session", raising(error))
            answer = client.get("/api/conversations")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, told)
        assert answer.headers["x-frame-options"] == "DENY"
    assert "WORDS" not in caplog.text
    assert client.get("/api/conversations").status_code == 200


def test_an_expired_session_in_the_store_is_none(store: Store) -> None:
    user = store.accounts.named("chloe")
    assert store.credentials.session(store.credentials.begin(user.id, -1)) is None
    assert store.credentials.session("") is None
    assert store.credentials.session("\udcff\x00' OR 1=1 --") is None


def test_another_site_cannot_write_with_a_cookie(made: Any, store: Store) -> None:
    client = as_person(made, "chloe")
    assert client.post("/api/conversations", json={}).status_code == 200
    for headers in (
        {"origin": "http://localhost:3000"},  # another server of the machine, to which cookies go too
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert client.post("/api/conversations", json={}, headers=headers).status_code == 403
        assert client.get("/api/conversations", headers=headers).status_code == 401
    plain = as_person(made, "chloe")
    del plain.headers["x-steersman"]
    assert code_of(plain.post("/api/conversations", json={})) == (403, "cross_site")
    assert code_of(sign_in_without_header(made)) == (403, "cross_site")
    assert len(store.conversations()) == 1


def sign_in_without_header(made: Any) -> Any:
    client = made()
    del client.headers["x-steersman"]
    return sign_in(client, "ada")


def test_roles(made: Any) -> None:
    wanted = {
        ("GET", "/api/conversations"): 1,
        ("GET", "/api/rank/next?labeler=x"): 2,
        ("GET", "/api/training/runs"): 3,
        ("GET", "/api/people"): 4,
        ("GET", "/api/audit"): 4,
    }
    for name, role in PEOPLE.items():
        client = as_person(made, name)
        for (method, path), least in wanted.items():
            assert (client.request(method, path).status_code != 403) == (role >= least), (name, path)
    chloe = made.app.state.context.store.accounts.named("chloe").id
    for name in ("chloe", "lea", "max"):
        client = as_person(made, name)
        assert code_of(client.post("/api/rounds/promote", json={}))[0] == (404 if name == "max" else 403)
        refused = client.patch(f"/api/people/{chloe}", json={"role": "admin"})
        assert code_of(refused) == (403, "role_too_low")
        assert code_of(client.post("/api/people", json={"name": "x", "role": "admin"})) == (403, "role_too_low")


def test_chats_are_their_owners(made: Any, store: Store) -> None:
    old = store.create_conversation("of before accounts")
    chloe, carl, ada = (as_person(made, name) for name in ("chloe", "carl", "ada"))
    chat = chloe.post("/api/conversations", json={"title": "secret"}).json()["id"]
    asked = events(chloe.post(f"/api/conversations/{chat}/messages", json={"content": "Hi"}).text)
    question, answer = asked[0]["user"]["id"], asked[-1]["message"]["id"]
    assert [one["id"] for one in chloe.get("/api/conversations").json()] == [chat]
    assert carl.get("/api/conversations").json() == []
    assert [one["id"] for one in ada.get("/api/conversations").json()] == [old.id]
    assert [hit["id"] for hit in chloe.get("/api/search?q=secret").json()] == [chat]
    for other in (carl, as_person(made, "max"), ada):
        assert other.get("/api/search?q=secret").json() == []
        for method, path, body in (
            ("GET", f"/api/conversations/{chat}", None),
            ("GET", f"/api/conversations/{chat}/export", None),
            ("POST", f"/api/conversations/{chat}/shares", {"last_id": answer}),
            ("GET", f"/api/conversations/{chat}/shares", None),
            ("PATCH", f"/api/conversations/{chat}", {"title": "mine"}),
            ("DELETE", f"/api/conversations/{chat}", None),
            ("POST", f"/api/conversations/{chat}/messages", {"content": "Hi"}),
            ("POST", f"/api/messages/{question}/answer", None),
            ("POST", f"/api/messages/{answer}/regenerate", None),
            ("GET", f"/api/messages/{answer}/stream", None),
            ("POST", f"/api/messages/{answer}/stop", None),
            ("POST", f"/api/messages/{answer}/feedback", {"kind": "like"}),
        ):
            refused = other.request(method, path, json=body)
            missing = other.request(method, path.replace(chat, "0" * 32).replace(answer, "0" * 32), json=body)
            assert refused.status_code == 404, path
            shown = refused.text.replace(chat, "ID").replace(answer, "ID").replace(question, "ID")
            assert shown == missing.text.replace("0" * 32, "ID").replace(question, "ID")
    # an id of another's message smuggled into one's own chat
    own = carl.post("/api/conversations", json={}).json()["id"]
    smuggled = carl.post(f"/api/conversations/{own}/messages", json={"content": "Hi", "parent_id": answer})
    assert smuggled.status_code in (400, 404)
    assert "Hello" not in smuggled.text
    assert chloe.post(f"/api/messages/{answer}/feedback", json={"kind": "like"}).status_code == 200
    (said,) = store.feedback()
    assert said.user == store.accounts.named("chloe").id


def test_labels_are_their_labelers(made: Any, store: Store) -> None:
    from steersman.types import Candidates, Completion, Conversation, Message

    answers = [Completion(text, (), (), "stop", "v") for text in "ab"]
    store.add_candidates(1, [Candidates(Conversation("p", (Message("user", "Hi"),)), tuple(answers), {})])
    lea = as_person(made, "lea")
    task = lea.get("/api/rank/next?labeler=max").json()["task"]
    keys = [answer["key"] for answer in task["answers"]]
    ranks = {key: place for place, key in enumerate(keys, 1)}
    # the keys of one labeler fit no other's
    assert (
        as_person(made, "max").post(f"/api/rank/{task['id']}", json={"labeler": "lea", "ranks": ranks}).status_code
        == 400
    )
    assert lea.post(f"/api/rank/{task['id']}", json={"labeler": "max", "ranks": ranks}).status_code == 200
    (ranking,) = store.rankings()
    assert ranking.labeler == store.accounts.named("lea").id


def test_keys_do_what_their_scopes_say(made: Any, store: Store) -> None:
    chat, manage = key_of(made, "ada", "chat"), key_of(made, "ada", "manage", "metrics")
    assert chat.get("/v1/models").status_code == 200
    assert chat.post("/api/conversations", json={}).status_code == 200  # programs need no header of a page
    assert code_of(chat.get("/api/training/runs")) == (403, "out_of_scope")
    assert code_of(chat.get("/metrics")) == (403, "out_of_scope")
    assert manage.get("/api/training/runs").status_code == 200
    assert manage.get("/metrics").status_code == 200
    assert code_of(manage.get("/v1/models")) == (403, "out_of_scope")
    for method, path in (("GET", "/api/people"), ("GET", "/api/me/keys"), ("DELETE", "/api/me/sessions")):
        assert code_of(manage.request(method, path)) == (403, "out_of_scope")
    # a scope is worth what its person's role is
    assert code_of(key_of(made, "chloe", "manage").get("/api/training/runs")) == (403, "role_too_low")
    anthropic = made()
    anthropic.headers = {"x-api-key": chat.headers["authorization"].split()[1]}
    assert anthropic.get("/v1/models").status_code == 200
    for wrong in ("sk-", "sk-00000000x", "", "x" * 3000, chat.headers["authorization"][7:] + "x"):
        client = made()
        client.headers = {"authorization": f"Bearer {wrong}"}
        assert client.get("/v1/models").status_code == 401
    basic = made()
    basic.headers = {"authorization": "Basic YTpi"}
    assert basic.get("/v1/models").status_code == 401


def test_keys_are_shown_once_and_end(made: Any, store: Store) -> None:
    client = as_person(made, "chloe")
    assert client.get("/api/me/keys").json() == {"keys": [], "scopes": ["chat"]}
    refused = client.post("/api/me/keys", json={"name": "x", "scopes": ["manage"]})
    assert code_of(refused) == (403, "role_too_low")
    past = client.post("/api/me/keys", json={"name": "x", "scopes": ["chat"], "expires": "2020-01-01T00:00:00Z"})
    assert past.status_code == 400
    for never in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        outside = client.post("/api/me/keys", json={"name": "x", "scopes": ["chat"], "expires": never})
        assert (outside.status_code, outside.json()["error"]["param"]) == (400, "expires")
    new = client.post("/api/me/keys", json={"name": "x", "scopes": ["chat"]}).json()
    assert new["secret"].startswith(new["key"]["prefix"])
    shown = client.get("/api/me/keys").text
    assert new["secret"] not in shown
    assert new["secret"] not in _stored(store)
    program = made()
    program.headers = {"authorization": f"bearer {new['secret']}"}
    assert program.get("/v1/models").status_code == 200
    (key,) = client.get("/api/me/keys").json()["keys"]
    assert key["used"] is not None
    assert as_person(made, "carl").delete(f"/api/me/keys/{key['id']}").status_code == 404
    assert client.delete(f"/api/me/keys/{key['id']}").status_code == 200
    assert program.get("/v1/models").status_code == 401
    user = store.accounts.named("chloe")
    _, soon = store.credentials.add_key(user.id, "soon", ["chat"], utc_now() + dt.timedelta(hours=1))
    assert store.credentials.key(soon) is not None
    store.accounts.set_disabled(user.id, True)
    assert store.credentials.key(soon) is None


def test_invitations_work_once(made: Any, store: Store) -> None:
    admin = as_person(made, "ada")
    answer = admin.post("/api/people", json={"name": "Zoë", "role": "labeler"})
    token = answer.json()["token"]
    visitor = made()
    assert visitor.post("/api/invitation", json={"token": token}).json()["name"] == "Zoë"
    for weak in ("short", "aaaaaaaaaaaaaaa", "x" * 201):
        assert visitor.post("/api/invitation/accept", json={"token": token, "password": weak}).status_code == 400
    taken = visitor.post("/api/invitation/accept", json={"token": token, "name": "ada", "password": PASSWORD})
    assert taken.json()["me"]["name"] == "Zoë"  # the name of an invitation cannot be chosen
    assert visitor.get("/api/config").json()["me"]["role"] == "labeler"
    for path, more in (("/api/invitation", {}), ("/api/invitation/accept", {"password": PASSWORD})):
        assert made().post(path, json={"token": token, **more}).status_code == 404
        assert made().post(path, json={"token": "x" * 43, **more}).status_code == 404
    assert admin.post("/api/people", json={"name": "ZOË", "role": "labeler"}).status_code == 400
    open_one = admin.post("/api/invitations", json={"role": "chatter"}).json()["token"]
    (listed,) = admin.get("/api/people").json()["invitations"]
    chosen = {"token": open_one, "name": "ａｄａ", "password": PASSWORD}
    assert made().post("/api/invitation/accept", json=chosen).status_code == 400  # there is ada already
    assert admin.delete(f"/api/invitations/{listed['id']}").status_code == 200
    assert made().post("/api/invitation", json={"token": open_one}).status_code == 404
    expired = store.accounts.invite(Role.ADMIN, by="", hours=-1)
    assert made().post("/api/invitation", json={"token": expired}).status_code == 404


def test_passwords_change_and_are_reset(made: Any, store: Store) -> None:
    client, thief = as_person(made, "chloe"), as_person(made, "chloe")
    wrong = client.put("/api/me/password", json={"old": "wrong password", "new": "another good one"})
    assert wrong.status_code == 401
    assert client.put("/api/me/password", json={"old": PASSWORD, "new": "another good one"}).status_code == 200
    assert client.get("/api/config").status_code == 200
    assert thief.get("/api/config").status_code == 401
    assert sign_in(made(), "chloe").status_code == 401
    admin, chloe = as_person(made, "ada"), store.accounts.named("chloe").id
    secret = store.credentials.add_key(chloe, "program", ["chat"])[1]
    by_key = {"authorization": f"Bearer {secret}"}
    done = admin.post(f"/api/people/{chloe}/reset").json()
    assert (done["keys_revoked"], done["keys_left"]) == (0, 1)
    assert made().get("/v1/models", headers=by_key).status_code == 200
    done = admin.post(f"/api/people/{chloe}/reset", json={"keys": True}).json()
    assert (done["keys_revoked"], done["keys_left"]) == (1, 0)
    assert made().get("/v1/models", headers=by_key).status_code == 401
    token = done["token"]
    assert client.get("/api/config").status_code == 401
    assert sign_in(made(), "chloe", "another good one").status_code == 401
    assert made().post("/api/invitation/accept", json={"token": token, "password": PASSWORD}).status_code == 200
    assert admin.post(f"/api/people/{store.accounts.named('ada').id}/reset").status_code == 400


def test_one_admin_remains(made: Any, store: Store) -> None:
    admin, ada = as_person(made, "ada"), store.accounts.named("ada")
    for change in ({"role": "chatter"}, {"disabled": True}):
        assert admin.patch(f"/api/people/{ada.id}", json=change).status_code == 400
    chloe = store.accounts.named("chloe")
    assert admin.patch(f"/api/people/{chloe.id}", json={"role": "admin"}).json()["role"] == "admin"
    assert admin.patch(f"/api/people/{ada.id}", json={"role": "chatter"}).status_code == 200
    assert admin.get("/api/people").status_code == 403  # at once
    changes = [entry for entry in store.audit.page() if entry.action == "role changed"]
    assert changes[0].details == {"before": "admin", "after": "chatter"}


def test_the_audit_log_has_no_words(made: Any, store: Store) -> None:
    client = as_person(made, "chloe")
    chat = client.post("/api/conversations", json={"title": "my illness"}).json()["id"]
    assert client.delete(f"/api/conversations/{chat}").status_code == 200
    sign_in(made(), "typed my password here", "x")
    told = as_person(made, "ada").get("/api/audit").json()
    assert [entry["action"] for entry in told] == ["sign-in refused", "chat deleted"]
    assert told[1]["who"] == store.accounts.named("chloe").id
    assert "illness" not in str(told)
    assert "typed" not in str(told)


def test_requests_and_tokens_are_counted(made: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("server.quotas", "store.credentials"):  # at midnight the count begins anew
        monkeypatch.setattr(f"steersman.{place}.today", lambda: "2026-05-06")
    settings = AccountsConfig(requests_per_minute="chatter=3")
    app = create_app(FakeEngine(), store, name="S", language="en", team=Team(store, settings))
    token = store.credentials.begin(store.accounts.named("chloe").id, 1)
    client = TestClient(app, base_url=HTTP, cookies={"steersman_8000": token})
    assert [client.get("/api/config").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = client.get("/v1/models")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert client.get("/").status_code == 200

    program = key_of(made, "carl", "chat")
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
    statuses = [program.post("/v1/chat/completions", json=asked).status_code for _ in range(9)]
    # 30 tokens a day, 4 an answer: the one that crosses the line is finished
    assert statuses == [200] * 8 + [429]
    made.app.state.context.team.limits.close()
    assert store.credentials.spent(store.accounts.named("carl").id, 0) == 32
    last = program.post("/v1/chat/completions", json=asked)
    assert code_of(last) == (429, "tokens_used_up")
    assert 0 < int(last.headers["retry-after"]) <= 86400


def test_settings_of_limits() -> None:
    assert by_role(" chatter=5, admin = 7 ,", "x") == {Role.CHATTER: 5, Role.ADMIN: 7}
    for wrong in ("5", "chatter=", "chatter=0", "boss=5", "chatter=1e3"):
        with pytest.raises(ValueError, match="accounts"):
            by_role(wrong, "accounts.requests_per_minute")


def test_a_key_for_all_and_accounts_do_not_go_together(store: Store) -> None:
    with pytest.raises(ValueError, match="--key and --auth"):
        create_app(FakeEngine(), store, name="S", language="en", key="k", team=Team(store, AccountsConfig()))


def test_without_accounts_there_are_none(store: Store) -> None:
    client = TestClient(create_app(FakeEngine(), store, name="S", language="en"), base_url=HTTP)
    told = client.get("/api/session").json()
    assert (told["auth"], told["me"]["role"]) == (False, "admin")
    for method, path in (
        ("GET", "/api/people"),
        ("POST", "/api/people"),
        ("GET", "/api/me/keys"),
        ("GET", "/api/audit"),
    ):
        assert code_of(client.request(method, path, json={"name": "x", "role": "admin"})) == (404, "no_accounts")


def test_hosts_beyond_loopback(store: Store) -> None:
    app = create_app(
        FakeEngine(), store, name="S", language="en", reach=Reach(beyond=True), allowed_hosts="chat.example"
    )
    client = TestClient(app, base_url=HTTP)
    for host in ("192.168.1.5:8000", "[fd00::1]:8000", "chat.example"):
        assert client.get("/api/config", headers={"host": host, "origin": f"http://{host}"}).status_code == 200
    assert code_of(client.get("/api/config", headers={"host": "evil.example"})) == (403, "host_not_allowed")
