"""Signing in at an OpenID Connect provider: the authorisation code flow with PKCE, by authlib (extra `oidc`).

What must outlive the way to the provider and back is in a cookie for ten minutes, which names state, nonce and
verifier; an answer that does not fit it is refused, so that nobody can be signed in to another's account.

A person is the provider's subject, never a name or address, which people choose themselves: a subject that is known
signs in; an unknown one becomes the person of the invitation that it came with, else a new one of `accounts.oidc_role`,
else nobody. Where `accounts.oidc_claim` is set, groups decide on the role (`oidc_roles`).
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response

from steersman import installed
from steersman.config.account_settings import AccountsConfig
from steersman.server import logs
from steersman.server.audit import Us
from steersman.server.buckets import address_of
from steersman.server.cookies import cookie_name, cookie_of, delete_cookie, set_cookie
from steersman.server.errors import ApiError
from steersman.server.oidc_roles import NoGroup, role_for, role_without_groups, table, taken_over, tell_missing
from steersman.server.reach import is_loopback
from steersman.server.session_api import Shown, signed_in
from steersman.server.team import Team
from steersman.store import StoreError
from steersman.store.accounts import User
from steersman.store.audit_log import GROUPS

router = APIRouter(prefix="/api/oidc")
_MINUTES = 10
_COOKIE = "_oidc"
"""The end of the cookie's name."""
_SUBJECT = 255
"""Most characters of a subject, by the standard."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures of public keys; never HMAC with the client's secret, never none."""


def check_settings(team: Team) -> None:
    """ValueError where the settings of OpenID Connect cannot work."""
    s = team.settings
    if not s.oidc_issuer:
        return
    table(s)
    place = urlsplit(s.oidc_issuer)
    if place.scheme != "https" and not (place.scheme == "http" and is_loopback(place.hostname or "")):
        raise ValueError(f"accounts.oidc_issuer: expected an https address, got {s.oidc_issuer[:200]!r}")
    for name in ("oidc_client_id", "public_url"):
        if not getattr(s, name):
            raise ValueError(f"accounts.{name}: expected a value, because accounts.oidc_issuer is set")
    if "openid" not in s.oidc_scope.split():
        raise ValueError(f"accounts.oidc_scope: expected words with openid among them, got {s.oidc_scope[:200]!r}")
    try:
        import authlib  # noqa: F401
        import joserfc  # noqa: F401
    except ImportError:
        raise ValueError(f"accounts.oidc_issuer: expected the extra: {installed.command('oidc')}") from None


async def _provider(http: httpx.AsyncClient, issuer: str) -> dict[str, Any]:
    answer = await http.get(issuer.rstrip("/") + "/.well-known/openid-configuration")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    if found.get("issuer", "").rstrip("/") != issuer.rstrip("/"):
        raise ValueError("the provider names another issuer")
    return found


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=10)


def _callback(team: Team) -> str:
    return team.settings.public_url.rstrip("/") + "/api/oidc/callback"


def _settings(team: Team) -> AccountsConfig:
    if not team.settings.oidc_issuer:
        raise ApiError(404, "This server has no OpenID Connect provider", code="no_oidc")
    return team.settings


@router.get("/start", status_code=303)
async def start(us: Us, request: Request) -> Response:
    """To the provider; back to the sign-in page where it cannot be reached."""
    _settings(us)
    try:
        url, kept = await _way(us)
    except Exception as error:
        _log(error)
        return RedirectResponse("/login?failed=provider", 303)
    return _remember(request, RedirectResponse(url, 303), kept)


@router.post("/start")
async def start_invited(us: Us, request: Request, body: Shown) -> Response:
    """The provider's address for who accepts an invitation by signing in there instead of by a password."""
    _settings(us)
    await run_in_threadpool(us.store.accounts.invitation, body.token)
    try:
        url, kept = await _way(us)
    except Exception as error:
        _log(error)
        raise ApiError(
            502, "The OpenID Connect provider failed; the server's log says why", code="oidc_failed"
        ) from None
    return _remember(request, JSONResponse({"url": url}), f"{kept}.{body.token}")


async def _way(team: Team) -> tuple[str, str]:
    """The provider's address to go to, and what must be known when its answer comes."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    s = team.settings
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    async with _http() as http:
        provider = await _provider(http, s.oidc_issuer)
    async with AsyncOAuth2Client(
        s.oidc_client_id, redirect_uri=_callback(team), scope=s.oidc_scope, code_challenge_method="S256"
    ) as client:
        url, _ = client.create_authorization_url(
            provider["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
        )
    return url, f"{state}.{nonce}.{verifier}"


def _remember(request: Request, answer: Response, kept: str) -> Response:
    # Lax: the provider's redirect comes from another site
    set_cookie(request, answer, kept, end=_COOKIE, seconds=_MINUTES * 60, samesite="lax")
    return answer


@router.get("/callback", status_code=303)
async def callback(us: Us, request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    """Back from the provider: the person is signed in, or the sign-in page says that it failed."""
    s = _settings(us)
    kept = cookie_of(request.headers, cookie_name(request.scope, request.headers) + _COOKIE).split(".")
    expected, nonce, verifier, invitation = (*kept, "", "", "", "")[:4]
    try:
        if error or not code or not expected or not hmac.compare_digest(expected.encode(), _bytes(state)):
            raise ValueError("the answer is none to what this browser asked")
        claims = await _claims(us, code, verifier, nonce)
        user = await run_in_threadpool(_user, us, s.oidc_issuer, claims, invitation)
    except Exception as problem:
        if not isinstance(problem, StoreError):
            _log(problem)
        why = GROUPS if isinstance(problem, NoGroup) else "unknown" if isinstance(problem, StoreError) else "oidc"
        who = problem.who if isinstance(problem, NoGroup) else ""
        await run_in_threadpool(us.store.audit.refused, who, how="oidc", why=why, address=address_of(request.scope))
        return _away(request, f"/login?failed={why}")
    return await signed_in(us, request, user, _away(request, "/"), "oidc")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _away(request: Request, place: str) -> Response:
    answer = RedirectResponse(place, 303)
    delete_cookie(request, answer, end=_COOKIE, samesite="lax")
    return answer


async def _claims(team: Team, code: str, verifier: str, nonce: str) -> dict[str, Any]:
    """The verified claims of the provider's ID token."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from joserfc import jwt
    from joserfc.jwk import KeySet

    s = team.settings
    async with _http() as http:
        provider = await _provider(http, s.oidc_issuer)
        keys = KeySet.import_key_set((await http.get(provider["jwks_uri"])).raise_for_status().json())
    shown = {"client_secret": s.oidc_client_secret, "token_endpoint_auth_method": _method(provider, s)}
    async with AsyncOAuth2Client(s.oidc_client_id, redirect_uri=_callback(team), timeout=10, **shown) as client:
        token = await client.fetch_token(
            provider["token_endpoint"], code=code, code_verifier=verifier, grant_type="authorization_code"
        )
    claims: dict[str, Any] = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS).claims
    wanted = jwt.JWTClaimsRegistry(
        now=int(time.time()),
        leeway=60,
        iss={"essential": True, "value": provider["issuer"]},
        aud={"essential": True, "value": s.oidc_client_id},
        exp={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce},
    )
    wanted.validate(claims)
    alone = claims["aud"] in (s.oidc_client_id, [s.oidc_client_id])  # only one of several must say who asked
    if claims.get("azp", s.oidc_client_id if alone else None) != s.oidc_client_id:
        raise ValueError("the token is another client's")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= _SUBJECT:
        raise ValueError(f"the token's subject is no text of 1 to {_SUBJECT} characters")
    return claims


def _method(provider: Mapping[str, Any], s: AccountsConfig) -> str:
    """How the server shows its secret: in the header, which is the standard's default, unless the provider names other
    ways alone."""
    if not s.oidc_client_secret:
        return "none"
    known = provider.get("token_endpoint_auth_methods_supported") or []
    basic = "client_secret_basic" in known or "client_secret_post" not in known
    return "client_secret_basic" if basic else "client_secret_post"


def _user(team: Team, issuer: str, claims: dict[str, Any], invitation: str) -> User:
    names = (claims.get(name) for name in ("preferred_username", "name", "email"))
    plain = (_line(name) for name in names if isinstance(name, str))
    name = next(filter(None, plain), "member")
    if team.settings.oidc_claim:
        tell_missing(team.settings, claims)
    role = role_for(team.settings, claims)
    subject = json.dumps([issuer, claims["sub"]])
    if team.settings.oidc_claim and role is None:
        role = role_without_groups(team.store, subject)  # before an invitation is used up
    user = team.store.accounts.external(subject, name, role, invitation)
    if user.disabled:
        raise StoreError("This account is disabled; ask an admin")
    return taken_over(team.store, user, role) if team.settings.oidc_claim and role is not None else user


def _line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _log(error: Exception) -> None:
    logs.failed("signing in at the OpenID Connect provider failed", error)
