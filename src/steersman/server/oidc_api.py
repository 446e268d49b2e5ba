"""Signing in at an OpenID Connect provider: the authorisation code flow with PKCE, by authlib (extra `oidc`).

What must outlive the way to the provider and back is in a cookie for ten minutes, which names state, nonce and
verifier; an answer that does not fit it is refused, so that nobody can be signed in to another's account.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from steersman import installed
from steersman.server import logs
from steersman.server.audit import Us
from steersman.server.door import cookie_name, cookie_of
from steersman.server.errors import ApiError
from steersman.server.guard import is_loopback
from steersman.server.session_api import signed_in
from steersman.server.team import Team
from steersman.store import NotFound
from steersman.store.accounts import User
from steersman.store.roles import to_role

router = APIRouter(prefix="/api/oidc")
_MINUTES = 10
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures of public keys; never HMAC with the client's secret, never none."""
_SCOPE = "openid profile email"


def check_settings(team: Team) -> None:
    """ValueError where the settings of OpenID Connect cannot work."""
    s = team.settings
    if not s.oidc_issuer:
        return
    place = urlsplit(s.oidc_issuer)
    if place.scheme != "https" and not (place.scheme == "http" and is_loopback(place.hostname or "")):
        raise ValueError(f"accounts.oidc_issuer: expected an https address, got {s.oidc_issuer[:200]!r}")
    for name in ("oidc_client_id", "public_url"):
        if not getattr(s, name):
            raise ValueError(f"accounts.{name}: expected a value, because accounts.oidc_issuer is set")
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


def _http(team: Team) -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=10)


def _callback(team: Team) -> str:
    return team.settings.public_url.rstrip("/") + "/api/oidc/callback"


def _settings(team: Team) -> Any:
    if not team.settings.oidc_issuer:
        raise ApiError(404, "This server has no OpenID Connect provider", code="no_oidc")
    return team.settings


@router.get("/start", status_code=303)
async def start(us: Us, request: Request) -> Response:
    """To the provider."""
    s = _settings(us)
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    try:
        async with _http(us) as http:
            provider = await _provider(http, s.oidc_issuer)
        async with AsyncOAuth2Client(
            s.oidc_client_id, redirect_uri=_callback(us), scope=_SCOPE, code_challenge_method="S256"
        ) as client:
            url, _ = client.create_authorization_url(
                provider["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
            )
    except Exception as error:
        raise _failed(error) from None
    answer = RedirectResponse(url, 303)
    kept = urlencode({"s": state, "n": nonce, "v": verifier})
    # Lax: the provider's redirect comes from another site
    answer.set_cookie(
        _cookie(request),
        kept,
        max_age=_MINUTES * 60,
        httponly=True,
        samesite="lax",
        secure=request.scope["scheme"] == "https",
    )
    return answer


def _cookie(request: Request) -> str:
    return cookie_name(request.scope, request.headers) + "_oidc"


@router.get("/callback", status_code=303)
async def callback(us: Us, request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    """Back from the provider: the person is signed in, or the sign-in page says that it failed."""
    s = _settings(us)
    kept = httpx.QueryParams(cookie_of(request.headers, _cookie(request)))
    right = bool(kept.get("s")) and hmac.compare_digest(kept["s"].encode(), state.encode("utf-8", "replace"))
    if error or not code or not right:
        return _away(request, "/login?failed=oidc")
    try:
        claims = await _claims(us, code, kept.get("v", ""), kept.get("n", ""))
        user = await run_in_threadpool(_user, us, s.oidc_issuer, claims)
    except NotFound:
        return _away(request, "/login?failed=unknown")
    except Exception as problem:
        _failed(problem)
        return _away(request, "/login?failed=oidc")
    if user.disabled:
        return _away(request, "/login?failed=unknown")
    return await signed_in(us, request, user, _away(request, "/"), "oidc")


def _away(request: Request, place: str) -> Response:
    answer = RedirectResponse(place, 303)
    answer.delete_cookie(_cookie(request), httponly=True, samesite="lax", secure=request.scope["scheme"] == "https")
    return answer


async def _claims(team: Team, code: str, verifier: str, nonce: str) -> dict[str, Any]:
    """The verified claims of the provider's ID token."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from joserfc import jwt
    from joserfc.jwk import KeySet

    s = team.settings
    async with _http(team) as http:
        provider = await _provider(http, s.oidc_issuer)
        keys = KeySet.import_key_set((await http.get(provider["jwks_uri"])).raise_for_status().json())
    async with AsyncOAuth2Client(s.oidc_client_id, s.oidc_client_secret, redirect_uri=_callback(team)) as client:
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
    if claims.get("azp", s.oidc_client_id) != s.oidc_client_id:
        raise ValueError("the token is another client's")
    return claims


def _user(team: Team, issuer: str, claims: dict[str, Any]) -> User:
    names = (claims.get(name) for name in ("preferred_username", "name", "email"))
    name = next((name for name in names if isinstance(name, str) and name.strip()), "member")
    subject = json.dumps([issuer, str(claims["sub"])[:255]])
    role = to_role(team.settings.oidc_role) if team.settings.oidc_role else None
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return team.store.accounts.external(subject, " ".join(plain.split()), role)


def _failed(error: Exception) -> ApiError:
    logs.failed("signing in at the OpenID Connect provider failed", error)
    return ApiError(502, "The OpenID Connect provider failed; the server's log says why", code="oidc_failed")
