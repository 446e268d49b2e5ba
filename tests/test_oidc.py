"""Signing in at an OpenID Connect provider, against one that runs: the whole way, and each thing that can be wrong."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi import FastAPI
from joserfc.jwk import OctKey, RSAKey
from starlette.testclient import TestClient

from oidc_double import CLIENT, SECRET, Provider
from server_double import FakeEngine
from steersman.config import AccountsConfig
from steersman.server.app import create_app
from steersman.server.oidc_api import check_settings
from steersman.server.team import Team
from steersman.store import Store
from steersman.store.roles import Role

HERE = "http://127.0.0.1:8000"
NUMBERS = itertools.count(1)
APPS: dict[AccountsConfig, FastAPI] = {}


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """Another person at each test."""
    running.claims, running.discovery, running.header = {}, {}, {"alg": "RS256", "kid": "one"}
    running.subject, running.by, running.secret = f"u-{next(NUMBERS)}", None, SECRET
    return running


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    APPS.clear()
    with Store.open(tmp_path_factory.mktemp("oidc") / "store.db") as opened:
        # who can sign in: the last such admin would stay one whatever the provider says
        opened.accounts.set_password(opened.accounts.add("grace", Role.ADMIN).id, "hash")
        opened.accounts.add("ada", Role.ADMIN)
        yield opened


def browser_of(store: Store, provider: Provider, **settings: Any) -> TestClient:
    told = {"oidc_issuer": provider.url, "oidc_client_id": CLIENT, "public_url": HERE} | settings
    config = AccountsConfig(**{"oidc_client_secret": provider.secret, "oidc_role": "chatter"} | told)
    if config not in APPS:  # its first request takes half a second
        team = Team(store, config)
        check_settings(team)
        APPS[config] = create_app(FakeEngine(), store, name="S", language="en", team=team)
    return TestClient(APPS[config], base_url=HERE, follow_redirects=False, headers={"x-steersman": "1"})


def to_the_provider(client: TestClient) -> httpx.Response:
    """What the provider says: a redirect back."""
    away = client.get("/api/oidc/start")
    assert away.status_code == 303, away.text
    return httpx.get(away.headers["location"])


def back(client: TestClient, answer: httpx.Response, **instead: str) -> str:
    """Where the server leads a browser that comes back from the provider."""
    told = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    # as a browser does it: a redirect from another site, without cookies of its own site alone
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    led = client.get("/api/oidc/callback", params=told | instead, headers=headers)
    assert led.status_code == 303, led.text
    return str(led.headers["location"])


def signs_in(client: TestClient) -> str:
    return back(client, to_the_provider(client))


def test_the_whole_way(store: Store, provider: Provider) -> None:
    client = browser_of(store, provider)
    answer = to_the_provider(client)
    asked = provider.asked[-1]
    assert asked["redirect_uri"] == f"{HERE}/api/oidc/callback"
    assert asked["scope"] == "openid profile email"
    to_the_provider(browser_of(store, provider, oidc_scope="openid groups"))
    assert provider.asked[-1]["scope"] == "openid groups"
    assert back(client, answer) == "/"
    me = client.get("/api/config").json()["me"]
    assert (me["name"], me["role"]) == (f"Ann 安 {provider.subject}", "chatter")
    assert [name for name in client.cookies if "oidc" in name] == []
    (entry, *_) = store.audit.page()
    assert (entry.action, entry.who, entry.details["how"]) == ("signed in", me["id"], "oidc")
    # the second time it is the same person, under whatever name
    provider.claims = {"preferred_username": "Annabel"}
    again = browser_of(store, provider)
    assert signs_in(again) == "/"
    assert again.get("/api/config").json()["me"] == me
    # a name opens nothing: another subject that is called as an admin is another person
    provider.claims = {"preferred_username": "ADA", "email": "ada@example.com"}
    provider.subject += " another"
    other = browser_of(store, provider)
    assert signs_in(other) == "/"
    stranger = other.get("/api/config").json()["me"]
    assert (stranger["name"].startswith("ADA "), stranger["role"]) == (True, "chatter")
    assert store.accounts.named("ada").joined is False


def test_an_invitation_is_accepted_at_the_provider(store: Store, provider: Provider) -> None:
    def invited(client: TestClient, token: str) -> str:
        answer = client.post("/api/oidc/start", json={"token": token})
        assert answer.status_code == 200, answer.text
        return back(client, httpx.get(answer.json()["url"]))

    eve = store.accounts.add("eve", Role.ADMIN)
    named = store.accounts.invite(Role.CHATTER, by="", user_id=eve.id)
    client = browser_of(store, provider, oidc_role="")
    assert invited(client, named) == "/"
    # as whom it was made, whatever the provider calls them
    assert client.get("/api/config").json()["me"] == {"id": eve.id, "name": "eve", "role": "admin"}
    provider.subject += " another"
    assert browser_of(store, provider).post("/api/oidc/start", json={"token": named}).status_code == 404
    for_anybody = store.accounts.invite(Role.MANAGER, by="")
    max_ = browser_of(store, provider, oidc_role="")
    assert invited(max_, for_anybody) == "/"
    me = max_.get("/api/config").json()["me"]
    assert (me["name"], me["role"]) == (f"Ann 安 {provider.subject}", "manager")
    # it works once, and not while the person who is invited is disabled
    provider.subject += " once more"
    late = browser_of(store, provider, oidc_role="")
    ivy = store.accounts.add("ivy", Role.CHATTER)
    token = store.accounts.invite(Role.CHATTER, by="", user_id=ivy.id)
    answer = httpx.get(late.post("/api/oidc/start", json={"token": token}).json()["url"])
    store.accounts.set_disabled(ivy.id, True)
    assert back(late, answer) == "/login?failed=unknown"
    assert store.accounts.named("ivy").joined is False


def test_a_client_without_a_secret(store: Store, provider: Provider) -> None:
    provider.secret = ""
    assert signs_in(browser_of(store, provider)) == "/"


def test_an_audience_that_is_a_list_of_one(store: Store, provider: Provider) -> None:
    provider.claims |= {"aud": [CLIENT]}
    assert signs_in(browser_of(store, provider)) == "/"


def test_a_secret_in_the_form(store: Store, provider: Provider) -> None:
    provider.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert signs_in(browser_of(store, provider)) == "/login?failed=oidc"  # the double wants Basic: it was not sent


def test_keys_without_a_name(store: Store, provider: Provider) -> None:
    known, provider.header = provider.keys, {"alg": "RS256"}
    provider.keys = [{name: value for name, value in known[1].items() if name != "kid"}]
    try:
        assert signs_in(browser_of(store, provider)) == "/"
    finally:
        provider.keys = known


NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"claims": {"nonce": "x" * 43}},
    "no nonce": {"claims": {"nonce": None}},
    "audience": {"claims": {"aud": "another"}},
    "one audience of several, issued to another": {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
    "several audiences, issued to nobody": {"claims": {"aud": [CLIENT, "another"]}},
    "issuer": {"claims": {"iss": "http://localhost:1"}},
    "no issuer": {"claims": {"iss": None}},
    "expired": {"claims": {"exp": NOW - 3600, "iat": NOW - 7200}},
    "never expires": {"claims": {"exp": None}},
    "not yet": {"claims": {"nbf": NOW + 3600}},
    "nobody": {"claims": {"sub": None}},
    "an empty subject": {"claims": {"sub": ""}},
    "a number as the subject": {"claims": {"sub": 7}},
    "unsigned": {"header": {"alg": "none"}},
    "signed with the secret": {"header": {"alg": "HS256", "kid": "one"}, "by": OctKey.import_key(SECRET)},
    "signed by somebody": {"by": RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)},
    "another key's name": {"header": {"alg": "RS256", "kid": "three"}},
    "the provider is another": {"discovery": {"issuer": "https://evil.example"}},
    "no such endpoint": {"discovery": {"token_endpoint": "http://localhost:9/"}},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused(store: Store, provider: Provider, what: str) -> None:
    client, users, last = browser_of(store, provider), store.accounts.users(), store.audit.page()
    answer = to_the_provider(client)
    for name, value in WRONG[what].items():
        setattr(provider, name, value)
    assert back(client, answer) == "/login?failed=oidc"
    assert client.get("/api/config").status_code == 401
    assert store.accounts.users() == users
    # a new line, or one more counted on a line of this minute
    (said,) = [entry for entry in store.audit.page() if entry not in last]
    assert (said.action, said.details["how"]) == ("sign-in refused", "oidc")


def test_another_state_and_a_code_used_twice(store: Store, provider: Provider) -> None:
    client = browser_of(store, provider)
    answer = to_the_provider(client)
    for instead in ({"state": "x" * 43}, {"state": ""}, {"code": ""}, {"error": "access_denied"}, {"state": "\udc80é"}):
        kept = dict(client.cookies)
        shown = {name: value.encode("utf-8", "replace").decode() for name, value in instead.items()}
        assert back(client, answer, **shown) == "/login?failed=oidc"
        client.cookies = kept  # type: ignore[assignment]
    # somebody else's answer, in a browser that never asked
    assert back(browser_of(store, provider), answer) == "/login?failed=oidc"
    kept = dict(client.cookies)
    assert back(client, answer) == "/"
    thief = browser_of(store, provider)
    thief.cookies = kept  # type: ignore[assignment]
    assert back(thief, answer) == "/login?failed=oidc"
    assert thief.get("/api/config").status_code == 401
    assert back(client, to_the_provider(client), code="y" * 22) == "/login?failed=oidc"


def test_who_is_unknown_or_disabled(store: Store, provider: Provider) -> None:
    users = store.accounts.users()
    assert signs_in(browser_of(store, provider, oidc_role="")) == "/login?failed=unknown"
    assert store.accounts.users() == users
    assert signs_in(browser_of(store, provider)) == "/"
    user = store.accounts.named(f"Ann 安 {provider.subject}")
    assert signs_in(browser_of(store, provider, oidc_role="")) == "/"
    store.accounts.set_disabled(user.id, True)
    disabled = browser_of(store, provider)
    assert signs_in(disabled) == "/login?failed=unknown"
    assert disabled.get("/api/config").status_code == 401
    assert store.accounts.password(user.name) is None  # nobody signs in with a password that was never chosen


GROUPS = {"oidc_claim": "realm.roles", "oidc_groups": "ou=leads,o=x=manager; root=admin; raters=labeler"}


def test_groups_decide_on_the_role_at_each_sign_in(store: Store, provider: Provider) -> None:
    def role_by(*groups: Any, **settings: Any) -> str:
        provider.claims = {"realm": {"roles": groups[0] if len(groups) == 1 else list(groups)}}
        client = browser_of(store, provider, **GROUPS | settings)
        led = signs_in(client)
        return str(client.get("/api/config").json()["me"]["role"]) if led == "/" else led

    assert role_by("others", "raters") == "labeler"
    assert role_by("raters", "ou=leads,o=x") == "manager"
    (_, changed, *_) = store.audit.page()
    assert (changed.action, changed.details) == (
        "role changed",
        {"before": "labeler", "after": "manager", "how": "oidc"},
    )
    assert role_by("raters") == "labeler"  # a text in place of a list
    assert role_by("others") == "chatter"  # accounts.oidc_role
    assert role_by("others", oidc_role="") == "/login?failed=groups"
    assert role_by("root") == "admin"
    for odd in ({"a": 1}, 7, None, ["root ", ["root"], 3], "ROOT"):
        assert role_by(odd) == "chatter"
    assert role_by("root", oidc_claim="", oidc_groups="") == "chatter"  # as it was: no claim is asked


def test_who_is_refused_for_lack_of_a_group_uses_up_no_invitation(store: Store, provider: Provider) -> None:
    invitation = store.accounts.invite(Role.LABELER, by="")
    client, users = browser_of(store, provider, **GROUPS, oidc_role=""), store.accounts.users()
    for group, led in (("others", "/login?failed=groups"), ("raters", "/")):
        provider.claims = {"realm": {"roles": [group]}}
        away = client.post("/api/oidc/start", json={"token": invitation}).json()["url"]
        assert back(client, httpx.get(away)) == led
        assert (store.accounts.users() == users) == (group == "others")


def test_the_last_admin_stays_one(tmp_path: Path, provider: Provider) -> None:
    with Store.open(tmp_path / "own.db") as own:
        provider.claims = {"groups": ["root"]}
        settings = {"oidc_claim": "groups", "oidc_groups": "root=admin"}
        config = {"oidc_issuer": provider.url, "oidc_client_id": CLIENT, "public_url": HERE, "oidc_role": "chatter"}
        team = Team(own, AccountsConfig(**config, oidc_client_secret=SECRET, **settings))
        app = create_app(FakeEngine(), own, name="S", language="en", team=team)
        for groups in (["root"], ["others"]):
            provider.claims = {"groups": groups}
            own.accounts.add(f"admin who never accepted, {groups[0]}", Role.ADMIN)  # nobody who could mend anything
            client = TestClient(app, base_url=HERE, follow_redirects=False)
            assert signs_in(client) == "/"
            assert client.get("/api/config").json()["me"]["role"] == "admin"
        assert [entry.action for entry in own.audit.page()][:2] == ["signed in", "role kept"]
        # also where who has no group is refused; that holds for everybody else, and once there is another admin
        team = Team(own, AccountsConfig(**config | {"oidc_role": ""}, oidc_client_secret=SECRET, **settings))
        client = TestClient(
            create_app(FakeEngine(), own, name="S", language="en", team=team), base_url=HERE, follow_redirects=False
        )
        assert (signs_in(client), own.audit.page()[1].action) == ("/", "role kept")
        own.accounts.set_password(own.accounts.add("ada", Role.ADMIN).id, "hash")
        assert signs_in(client) == "/login?failed=groups"
        provider.subject += " another"
        assert signs_in(client) == "/login?failed=groups"


def test_a_claim_that_is_mistyped_shuts_out_no_two_admins(
    tmp_path: Path, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was refused because of the other."""
    with Store.open(tmp_path / "own.db") as own:
        config = {
            "oidc_issuer": provider.url,
            "oidc_client_id": CLIENT,
            "public_url": HERE,
            "oidc_client_secret": SECRET,
        }

        def led(claim: str, person: str) -> str:
            provider.subject = person
            team = Team(own, AccountsConfig(**config, oidc_claim=claim, oidc_groups="root=admin"))
            app = create_app(FakeEngine(), own, name="S", language="en", team=team)
            return signs_in(TestClient(app, base_url=HERE, follow_redirects=False))

        provider.claims = {"groups": ["root"], "odd \ud800\n": 1}
        assert [led("groups", person) for person in ("amy", "ben", "cat")] == ["/"] * 3
        assert "oidc_claim" not in caplog.text
        refused = "/login?failed=groups"
        assert [led("gruops", person) for person in ("amy", "ben", "cat", "amy", "cat")] == [
            *(refused, refused, "/", refused, "/")  # the last one stays, and stays that
        ]
        assert [entry.action for entry in own.audit.page()][:2] == ["signed in", "role kept"]
        (warning,) = [record.getMessage() for record in caplog.records if "oidc_claim" in record.getMessage()]
        assert "no claim 'gruops'" in warning
        assert "groups, iat, iss" in warning
        assert "\n" not in warning
        assert led("groups", "amy") == "/"
        assert [led("gruops", "cat"), led("gruops", "amy")] == [refused, "/"]  # whoever comes last


def test_refused_sign_ins_do_not_flood_the_log(store: Store) -> None:
    before = len(store.audit.page(most=1000))
    for address in ["10.0.0.1"] * 50 + ["10.0.0.2"]:
        store.audit.refused("", how="oidc", why="oidc", address=address)
    new = store.audit.page(most=1000)[: -before or None]
    assert [(entry.details["address"], entry.details.get("times")) for entry in new] == [
        ("10.0.0.2", None),
        ("10.0.0.1", 50),
    ]


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "<script>alert(1)</script>"}, "<script>alert(1)</script>"),
        ({"preferred_username": "x'); DROP TABLE users; --"}, "x'); DROP TABLE users; --"),
        ({"preferred_username": "a\r\nSet-Cookie: b=c\x00\u202e\ud800"}, "a Set-Cookie: b=c"),
        ({"preferred_username": " \t", "name": "李雷"}, "李雷"),
        ({"preferred_username": ["ada"], "name": {"a": 1}, "email": "é" * 5000}, "é" * 80),
        ({"preferred_username": None}, "member"),
    ],
)
def test_names_are_texts(store: Store, provider: Provider, claims: dict[str, Any], name: str) -> None:
    provider.claims = claims
    client = browser_of(store, provider)
    assert signs_in(client) == "/"
    assert client.get("/api/config").json()["me"]["name"].startswith(name)


def test_a_provider_that_is_gone(store: Store, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    client = browser_of(store, provider, oidc_issuer="http://localhost:9")
    answer = client.get("/api/oidc/start")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?failed=provider")
    assert "signing in at the OpenID Connect provider failed" in caplog.text
    none = browser_of(store, provider, oidc_issuer="")
    assert none.get("/api/oidc/start").status_code == 404


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"oidc_issuer": "http://id.example"}, "accounts.oidc_issuer: expected an https address"),
        ({"oidc_client_id": ""}, "accounts.oidc_client_id: expected a value"),
        ({"public_url": ""}, "accounts.public_url: expected a value"),
        ({"oidc_claim": "groups", "oidc_groups": "a=boss"}, "expected GROUP=ROLE with a role of chatter"),
        ({"oidc_claim": "groups", "oidc_groups": "admin"}, "expected GROUP=ROLE"),
        ({"oidc_claim": "groups", "oidc_groups": "a=admin; a=chatter"}, "expected each group once, got 'a' twice"),
        ({"oidc_claim": "groups"}, "expected both or none"),
        ({"oidc_scope": "profile groups"}, "accounts.oidc_scope: expected words with openid among them"),
    ],
)
def test_settings(store: Store, provider: Provider, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        browser_of(store, provider, **settings)
