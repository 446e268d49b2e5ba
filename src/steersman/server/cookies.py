"""Cookies: their names, where they go, and who may read them."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

ROOT = "steersman.root"
"""Name in the ASGI scope of the path under which a proxy offers the server; '': none."""


def is_secure(scope: Scope) -> bool:
    return bool(scope["scheme"] == "https")


def path_of(scope: Scope) -> str:
    return str(scope.get(ROOT) or "/")


def cookie_name(scope: Scope, headers: Headers) -> str:
    """All ports of a host share its cookies, so the port is in the name. Over TLS `__Host-` binds it to this host;
    below a path of a host it goes to that path alone, which the prefix would forbid."""
    port = headers.get("host", "").rpartition(":")[2]
    name = f"steersman_{port if port.isdecimal() else 'session'}"
    if not is_secure(scope):
        return name
    return f"__Host-{name}" if path_of(scope) == "/" else f"__Secure-{name}"


def cookie_of(headers: Headers, name: str) -> str:
    for part in ";".join(headers.getlist("cookie")).split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def set_cookie(
    request: Request,
    answer: Response,
    value: str,
    *,
    seconds: int,
    end: str = "",
    samesite: Literal["strict", "lax"] = "strict",
) -> None:
    """No script reads it. `value` must need no quotes: letters, digits and -_. ; `end` is that of its name."""
    scope = request.scope
    answer.set_cookie(
        cookie_name(scope, request.headers) + end,
        value,
        max_age=seconds,
        path=path_of(scope),
        secure=is_secure(scope),
        httponly=True,
        samesite=samesite,
    )


def delete_cookie(
    request: Request, answer: Response, *, end: str = "", samesite: Literal["strict", "lax"] = "strict"
) -> None:
    set_cookie(request, answer, "", seconds=0, end=end, samesite=samesite)
