"""Pages for a browser: the built page.

Why so: decision 46 in docs/LOG.md.
"""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from steersman.server.cookies import ROOT
from steersman.server.errors import ROUTES, error_response, plain_page

STATIC = Path(__file__).with_name("static")
PLACES = frozenset({"", "desk", "login", "people", "rank", "rounds", "shared", "training"})
"""Beginnings of the page's own paths, as web/src/App.svelte has them."""
router = APIRouter(include_in_schema=False)

# The report contains its own style and pictures, and models' texts. The sandbox gives it an origin of its own, so
# that nothing in it can call this server's API.
_REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:; "
    "frame-ancestors 'self'; sandbox allow-scripts allow-popups allow-top-navigation-by-user-activation"
)

# The system's own table of types is unreliable on some machines, and browsers refuse scripts of a wrong type.
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}


REPORT_HEADERS = {
    "Content-Security-Policy": _REPORT_POLICY,
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-cache",
}


def _file(path: Path, cache: str) -> FileResponse:
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": cache})


def _static(relative: str) -> Path | None:
    """The file of that name below the page's folder, or None; nothing outside is ever found."""
    try:
        path = (STATIC / relative).resolve()
        return path if path.is_relative_to(STATIC.resolve()) and path.is_file() else None
    except (OSError, ValueError):  # longer than a file's name can be, or with a NUL in it
        return None


def page(method: str, path: str, root: str = "", reader: bool = True) -> Response:
    """Answer to a path without a route: a file of the page, or the page itself, which handles paths such as /rank.

    To a program (no `reader`) an address of nothing is an error: a client whose base URL lacks /v1 asks for /models,
    and took the page for an answer.
    """
    first = path.split("/", 1)[0]
    if method not in ("GET", "HEAD") or first in ("api", "v1"):
        there = "" if path.startswith("api/") else f"; this server has {ROUTES}"
        return error_response(404, f"{method} /{path}: Not Found{there}")
    found = _static(path) if path else None
    if found is not None:
        # Built files under assets/ have a hash in their name; the others may change under the same name.
        return _file(found, "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache")
    if path.startswith("assets/"):
        return error_response(404, f"{method} /{path}: Not Found")
    if first not in PLACES and not reader:
        return error_response(404, f"{method} /{path}: Not Found; this server has {ROUTES}")
    index = _index(root)
    if index is None:
        text = "<p>The chat page is not built. Run <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>, "
        text += "then reload. The API works without it: <code>/v1/chat/completions</code>.</p>"
        return HTMLResponse(plain_page("Steersman", text))
    return HTMLResponse(index, headers={"Cache-Control": "no-cache"})


def _index(root: str) -> str | None:
    """The page, its files under `root` whatever the place's own path is; built, it names them from where it lies."""
    file = _static("index.html")
    return re.sub(r'(src|href)="\./', rf'\1="{root}/', file.read_text(encoding="utf-8")) if file else None


async def fallback(scope: Scope, receive: Receive, send: Send) -> None:
    """The application's answer where no route matches (a route for every path would turn each 405 into a 404)."""
    request = Request(scope, receive)
    path, reader = scope["path"].lstrip("/"), "text/html" in request.headers.get("accept", "")
    response = await run_in_threadpool(page, request.method, path, scope.get(ROOT, ""), reader)
    await response(scope, receive, send)
