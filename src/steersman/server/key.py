"""`serve --key`: a machine that several people share is not yet one person's loopback.

Programs send the key as OpenAI's clients do; a browser gives it once and gets a cookie, which holds a digest of the key
instead and which no script can read.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import re
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from steersman.server.cookies import ROOT, cookie_of, is_secure, path_of
from steersman.server.errors import error_response

HEALTH = ("/healthz", "/readyz")
_ENTERING = ("POST", "/login")
_MONTH = 30 * 24 * 3600
_LOGIN = """<!doctype html><html lang=en><meta charset=utf-8><title>Steersman</title>
<body style='font:16px/1.5 sans-serif;max-width:26em;margin:4em auto;padding:0 1em'>
<h1>Steersman</h1><p>%s</p>
<form method=post action="%s/login"><input type=hidden name=next value="%s">
<label>Key <input type=password name=key autofocus></label> <button>Go on</button></form>"""


class Key:
    """The key that clients must send. ValueError where it cannot be sent as a header."""

    def __init__(self, key: str) -> None:
        if not re.fullmatch(r"[!-~]+", key):
            raise ValueError("serve.key: expected printable ASCII characters without spaces")
        self._key = key.encode()
        self._token = hmac.new(self._key, b"steersman page", hashlib.sha256).hexdigest()
        # cookies are shared by all ports of a host: two servers must not use the same name
        self._cookie = f"steersman_{self._token[:8]}"

    def answer(self, scope: Scope, headers: Headers) -> Response | None:
        """None where the request may pass; else the login page for a browser, or 401. Of a login that is sent, whose
        key is in its body, `entered` says more."""
        path, method = scope["path"], scope["method"]
        if path in HEALTH or (method, path) == _ENTERING:
            return None
        if method == "GET" and b"key=" in scope["query_string"] and not is_api(path):
            query = parse_qsl(scope["query_string"].decode("latin-1"))
            rest = urlencode([pair for pair in query if pair[0] != "key"])
            return self._enter(scope, dict(query).get("key", ""), f"{path}?{rest}" if rest else path)
        if "authorization" in headers or ("x-api-key" in headers and is_api(path)):
            right = hmac.compare_digest(given_key(headers).encode("latin-1"), self._key)
        else:
            right = self._has_cookie(headers) and _own_origin(headers)
        return None if right else _refusal(scope, path, "")

    def entered(self, scope: Scope, body: bytes) -> Response | None:
        """The answer to a login; None to any other request."""
        if (scope["method"], scope["path"]) != _ENTERING:
            return None
        form = parse_qs(body.decode("utf-8", "replace"))
        return self._enter(scope, form.get("key", [""])[0], form.get("next", ["/"])[0])

    def _has_cookie(self, headers: Headers) -> bool:
        value = cookie_of(headers, self._cookie)
        return hmac.compare_digest(value.encode("latin-1", "replace"), self._token.encode())

    def _enter(self, scope: Scope, key: str, place: str) -> Response:
        if not hmac.compare_digest(key.encode("utf-8", "replace"), self._key):
            return _refusal(scope, "/", "That is not the key.", place)
        # only a path of this server, never another host
        place = place if re.fullmatch(r"/(?![/\\])[!-~]*", place) else "/"
        response = RedirectResponse(place, 303)
        response.set_cookie(
            self._cookie,
            self._token,
            max_age=_MONTH,
            path=path_of(scope),
            secure=is_secure(scope),
            httponly=True,
            samesite="strict",
        )
        return response


def given_key(headers: Headers) -> str:
    """The key of a program: `Authorization: Bearer KEY` as OpenAI's clients, or `x-api-key` as Anthropic's."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    return headers.get("x-api-key", "").strip() if not scheme else ""


def is_api(path: str) -> bool:
    return path.split("/", 2)[1:2] in (["v1"], ["api"])


def _own_origin(headers: Headers) -> bool:
    """A cookie goes to every port of the machine and comes with pages of every port; those may not use it."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _refusal(scope: Scope, path: str, why: str, place: str = "") -> Response:
    if is_api(path):
        message = "Incorrect API key, or none: expected 'Authorization: Bearer KEY' with the key of serve --key"
        return error_response(401, message, headers={"WWW-Authenticate": "Bearer"})
    text = why or "This server asks for the key that it was started with."
    root = scope.get(ROOT, "")
    return HTMLResponse(_LOGIN % (text, root, html.escape(place or path, quote=True)), 401)
