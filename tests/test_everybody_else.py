"""Every route against everybody who may not: no session, a dead one, another site, a role or scope too low, another's.

The routes are those of the table of decisions, which `test_access` compares with the server's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI

from server_double import FakeEngine
from steersman.config import AccountsConfig
from steersman.server.access import NEEDS, SCOPES, Need
from steersman.server.app import create_app
from steersman.server.team import Team
from steersman.store import Store
from steersman.store.desk import Asker, NewTask
from steersman.store.responses import StoredResponse
from steersman.store.roles import Role
from steersman.store.schema import utc_now
from steersman.types import Completion

HERE = "http://127.0.0.1:8000"
PAGE = {"x-steersman": "1"}
CLOSED = {route: need for route, need in NEEDS.items() if need is not Need.OPEN}
PAGES = ("/report", "/reports", "/datasets")
"""Shown by a browser: a visitor is led to the sign-in page."""


@dataclass(frozen=True)
class Place:
    app: FastAPI
    store: Store

    def ask(self, requests: list[tuple[str, str, dict[str, str]]]) -> list[httpx.Response]:
        """(method, path, headers) each; what the server says, in order."""

        async def all_of_them() -> list[httpx.Response]:
            to = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=to, base_url=HERE) as client:
                return [
                    await client.request(method, path, headers=headers, json=None if method == "GET" else {})
                    for method, path, headers in requests
                ]

        return asyncio.run(all_of_them())

    def session(self, name: str, hours: float = 1) -> dict[str, str]:
        token = self.store.credentials.begin(self.store.accounts.named(name).id, hours)
        return {"cookie": f"steersman_8000={token}"}

    def key(self, name: str, *scopes: str) -> dict[str, str]:
        secret = self.store.credentials.add_key(self.store.accounts.named(name).id, "program", scopes)[1]
        return {"authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Store.open(tmp_path_factory.mktemp("others") / "store.db") as store:
        for name, role in {"chloe": 1, "carl": 1, "lea": 2, "lou": 2, "max": 3, "ada": 4, "gone": 4}.items():
            store.accounts.add(name, Role(role))
        settings = AccountsConfig(requests_per_minute="")
        yield Place(create_app(FakeEngine(), store, name="S", language="en", team=Team(store, settings)), store)


def filled(path: str, value: str = "1") -> str:
    return re.sub(r"\{\w+(:path)?\}", value, path)


def codes(answers: list[httpx.Response]) -> list[Any]:
    """(status, code), or where the answer leads; Anthropic's errors have no code."""
    return [
        answer.headers.get("location") or (answer.status_code, answer.json()["error"].get("code")) for answer in answers
    ]


def refused(code: Any, status: int, *expected: str) -> bool:
    return isinstance(code, tuple) and code[0] == status and code[1] in (*expected, None)


def test_who_has_no_session_that_holds(place: Place) -> None:
    ended, disabled = place.session("chloe"), place.session("gone")
    place.store.credentials.end_all(place.store.accounts.named("chloe").id)
    place.store.accounts.set_disabled(place.store.accounts.named("gone").id, True)
    other_server = {"cookie": place.session("ada")["cookie"].replace("8000", "9000")}
    dead = [{}, place.session("ada", hours=-1), ended, disabled, other_server]
    broken = [{"cookie": f"steersman_8000={word}"} for word in ("' OR 1=1 --", "../../etc", "x" * 5000)]
    asked = [(route, headers) for headers in dead for route in CLOSED]
    asked += [(route, headers) for headers in broken for route in [*CLOSED][::20]]
    answers = place.ask([(method, filled(path), PAGE | headers) for (method, path), headers in asked])
    for ((method, path), _), code in zip(asked, codes(answers), strict=True):
        led = f"/login?next={filled(path).replace('/', '%2F')}" if path.startswith(PAGES) else None
        assert code == led if led else refused(code, 401, "not_signed_in"), (method, path)


def test_keys_that_hold_no_more(place: Place) -> None:
    ada = place.store.accounts.named("ada").id
    revoked, late = place.key("ada", *SCOPES), place.store.credentials.add_key(ada, "late", SCOPES)[1]
    for key in place.store.credentials.keys(ada):
        if key.name == "program":
            place.store.credentials.revoke(key.id, ada)
    with place.store._db.write() as session:
        session.execute(expired(late, utc_now() - dt.timedelta(seconds=1)))
    for headers in (revoked, {"authorization": f"Bearer {late}"}, {"x-api-key": late}):
        api = [route for route in CLOSED if route[1].startswith(("/v1", "/api"))]
        asked = [*CLOSED] if headers is revoked else api[::10]
        for route, answer in zip(asked, place.ask([(m, filled(p), headers) for m, p in asked]), strict=True):
            assert answer.status_code == 401, route


def expired(secret: str, time: dt.datetime) -> Any:
    from sqlalchemy import update

    from steersman.store.schema_accounts import ApiKeyRow

    return update(ApiKeyRow).where(ApiKeyRow.prefix == secret[:11]).values(expires=time)


def test_another_sites_page(place: Place) -> None:
    writes = [route for route in NEEDS if route[0] != "GET" and route[1].startswith(("/api", "/v1"))]
    mine = place.session("ada")
    for headers in (
        {},  # a form has no header of its own
        PAGE | {"origin": "http://localhost:3000"},
        PAGE | {"origin": "null"},
        PAGE | {"origin": HERE, "sec-fetch-site": "cross-site"},
        PAGE | {"origin": "http://127.0.0.1:8000.evil.example"},
    ):
        answers = place.ask([(method, filled(path), mine | headers) for method, path in writes])
        for route, code in zip(writes, codes(answers), strict=True):
            assert refused(code, 403, "cross_site", "origin_not_allowed"), route


def test_roles_too_low(place: Place) -> None:
    for name, role in {"chloe": Role.CHATTER, "lea": Role.LABELER, "max": Role.MANAGER}.items():
        above = [route for route, need in CLOSED.items() if need.role > role]
        assert above
        by_page, by_key = PAGE | place.session(name), place.key(name, *SCOPES)
        for headers in (by_page, by_key):
            answers = place.ask([(method, filled(path), headers) for method, path in above])
            for route, code in zip(above, codes(answers), strict=True):
                assert refused(code, 403, "role_too_low"), (name, route)


def test_scopes_that_a_key_has_not(place: Place) -> None:
    for scope in SCOPES:
        headers = place.key("ada", scope)
        others = [route for route, need in CLOSED.items() if need.scope != scope]
        answers = place.ask([(method, filled(path), headers) for method, path in others])
        for route, code in zip(others, codes(answers), strict=True):
            assert refused(code, 403, "out_of_scope"), (scope, route)


SHARED = {
    ("GET", "/api/shared/{token}"): "a link that whoever has it may read, which only the chat's owner makes",
    ("GET", "/v1/models/{name:path}"): "models are everybody's",
    ("POST", "/v1/vector_stores/{name}/search"): "indexes that serve.indexes names are everybody's",
    ("GET", "/api/media/{folder}/{name}"): "by the chats and tasks that show the image: test_server_images",
    ("POST", "/api/rank/{task_id}"): "tasks to rank are everybody's; the keys of the answers are one labeler's",
}
"""Routes with an id that needs no owner, and why."""


def test_what_is_anothers(place: Place) -> None:
    """Refused in the same words as what does not exist; of the desk's tasks with 403, since they are the team's."""
    store = place.store
    chloe, lea = (store.accounts.named(name).id for name in ("chloe", "lea"))
    chat = store.create_conversation("secret", owner=chloe)
    question = store.add_question(chat.id, "Hi")
    answer = store.add_answer(question.id, Completion("secret", (1,), (0.0,), "stop", "v"))
    store.responses.add(StoredResponse("resp_1", chloe, None, {"output": []}, []))
    key, _ = store.credentials.add_key(chloe, "mine", ["chat"])
    store.desk.add([NewTask("vote", {"messages": [{"role": "user", "content": "Q"}], "answer": "A"})])
    task = store.desk.take(Asker(lea), "vote")
    assert task is not None
    theirs = {
        "/api/conversations/{id}": [chat.id],
        "/api/messages/{id}": [question.id, answer.id],
        "/v1/responses/{id}": ["resp_1"],
        "/api/me/keys/{id}": [key.id],
        "/api/desk/tasks/{id}": [task.id],
    }
    tried = 0
    for (method, path), need in NEEDS.items():
        if "{" not in path or need.role >= Role.MANAGER or (method, path) in SHARED:
            continue
        start = next((start for start in theirs if path.startswith(start)), None)
        assert start is not None, f"{method} {path}: say here whose it is, or in SHARED why it is everybody's"
        who = "carl" if need.role is Role.CHATTER else "lou"
        for id_ in theirs[start]:
            for headers in (PAGE | place.session(who), place.key(who, *SCOPES)):
                if need is Need.SELF and "authorization" in headers:
                    continue
                other = filled(path.replace(start, start.replace("{id}", id_)), "x")
                missing = filled(path.replace(start, start.replace("{id}", "0" * 32)), "x")
                said, none = place.ask([(method, other, headers), (method, missing, headers)])
                assert none.status_code == 404 or task.id in other, (method, path, none.text)
                if task.id in other:
                    # nothing of a task that is in another's hands; giving back what one has not changes nothing
                    assert said.status_code in ((200,) if method == "DELETE" else (400, 403, 409)), said.text
                    assert "secret" not in said.text
                else:
                    told = none.text.replace("0" * 32, id_)
                    assert (said.status_code, said.text) == (404, told), (method, path)
                tried += 1
    assert tried > 50
    assert store.messages(chat.id)[-1].liked is None
    assert store.shelf.shares(chat.id) == []
    assert store.credentials.keys(chloe)[-1].id == key.id
    assert store.desk.task(task.id, lea).id == task.id
    for path in ("/api/search?q=secret", "/api/conversations"):
        (found,) = place.ask([("GET", path, place.session("carl"))])
        assert found.json() == []


def test_no_way_up(place: Place) -> None:
    """Roles come from an admin's request or invitation alone, whatever else a body says."""

    async def tried() -> list[httpx.Response]:
        to = httpx.ASGITransport(place.app, raise_app_exceptions=False)
        headers = PAGE | place.session("carl")
        carl = place.store.accounts.named("carl").id
        token = place.store.accounts.invite(Role.CHATTER, by="")
        bodies = [
            ("PATCH", f"/api/people/{carl}", {"role": "admin"}),
            ("POST", "/api/people", {"name": "x", "role": "admin"}),
            ("POST", "/api/invitations", {"role": "admin"}),
            ("POST", "/api/me/keys", {"name": "x", "scopes": ["manage"]}),
            ("POST", "/api/me/keys", {"name": "x", "scopes": ["chat", "people"]}),
            (
                "POST",
                "/api/me/keys",
                {"name": "x", "scopes": ["chat"], "user_id": place.store.accounts.named("ada").id},
            ),
            ("POST", "/api/session", {"name": "carl", "password": "x", "role": "admin"}),
            (
                "POST",
                "/api/invitation/accept",
                {"token": token, "name": "y", "password": "long enough", "role": "admin"},
            ),
            (
                "PUT",
                "/api/me/password",
                {"old": "x", "new": "long enough 1", "id": place.store.accounts.named("ada").id},
            ),
            ("POST", "/api/conversations", {"owner": place.store.accounts.named("ada").id}),
        ]
        async with httpx.AsyncClient(transport=to, base_url=HERE, headers=headers) as client:
            return [await client.request(method, path, json=body) for method, path, body in bodies]

    assert {answer.status_code for answer in asyncio.run(tried())} == {400, 403}
    roles = {user.name: user.role for user in place.store.accounts.users()}
    assert (roles["carl"], "x" in roles, "y" in roles) == (Role.CHATTER, False, False)


HOSTILE: list[Any] = ["<script>alert(1)</script>", "'; DROP TABLE users; --", "a\r\nSet-Cookie: x=y", "\x00", "\ud800"]
HOSTILE += ["a\u202eb", "\x1b[2J", "é" * 200, "%00", "../../etc/passwd", "a" * 10**6, "", " ", None, 7, [], {}]


def test_hostile_values(place: Place) -> None:
    """No answer is the server's failure, a name is one printable line, and what is kept is kept as it was said."""
    fields = [
        ("POST", "/api/people", {"name": 0, "role": "chatter"}),
        ("POST", "/api/me/keys", {"name": 0, "scopes": ["chat"]}),
        ("POST", "/api/invitations", {"role": 0}),
        ("POST", "/api/invitation", {"token": 0}),
        ("POST", "/api/invitation/accept", {"token": 0, "name": 0, "password": 0}),
        ("POST", "/api/session", {"name": "nobody", "password": 0}),
        ("PUT", "/api/me/password", {"old": 0, "new": 0}),
        ("POST", "/api/me/leave", {"password": 0, "feedback": 0}),
        ("POST", "/api/oidc/start", {"token": 0}),
    ]
    paths = ["/api/people/{}/owned", "/api/people/{}/export", "/api/audit?before={}", "/report?{}", "/{}"]
    paths += ["/api/oidc/callback?state={}&code={}", "/api/conversations/{}"]

    async def tried() -> list[tuple[Any, str, httpx.Response]]:
        to = httpx.ASGITransport(place.app, raise_app_exceptions=False)
        headers = PAGE | place.session("ada") | {"content-type": "application/json"}
        out = []
        async with httpx.AsyncClient(transport=to, base_url=HERE, headers=headers) as client:
            for value in HOSTILE:
                for method, path, body in fields:
                    told = json.dumps({name: value if given == 0 else given for name, given in body.items()})
                    out.append((value, path, await client.request(method, path, content=told.encode())))
                if isinstance(value, str) and len(value) < 1000 and value != "\ud800":
                    asked = (path.format(*[quote(value, safe="")] * 2) for path in paths)
                    out += [(value, path, await client.get(path)) for path in asked]
        return out

    for value, path, answer in asyncio.run(tried()):
        assert answer.status_code < 500, (path, value, answer.text)
        assert "\n" not in str(answer.headers)
        if answer.status_code == 201 and path in ("/api/people", "/api/me/keys"):
            assert str(value).isprintable(), path
    named = {user.name for user in place.store.accounts.users()}
    assert {"<script>alert(1)</script>", "'; DROP TABLE users; --", "%00"} <= named
    assert len(place.store.audit.page()) > 3
