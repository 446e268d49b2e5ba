"""Every error is answered as {"error": {message, type, param, code}}, the shape that OpenAI's clients parse."""

from __future__ import annotations

import html
import logging
import math
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from steersman import installed
from steersman.engine.apart.wire import Gone, NoRoom
from steersman.engine.protocol import EndpointError, PromptTooLong, Refused
from steersman.parts import CannotTake
from steersman.server import logs
from steersman.server.validation import first_problem
from steersman.store import Deleted, DiskError, NotFound, NotLearned, NotYours, Outdated, StoreError, Unreachable

logger = logging.getLogger(__name__)
_CODES = {
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "request_too_large",
    414: "uri_too_long",
    415: "unsupported_encoding",
    429: "rate_limit_exceeded",
    502: "endpoint_failed",
    503: "overloaded",
}
DISK = "Nothing was kept; the disk that holds the workspace needs room, or to be writable."
STORE_GONE = "The store's database cannot be reached at the moment; what was just sent may not be kept. Try again."
GONE = "The process that computes answers ended and is being started again; ask again in a moment."
RESTART_SECONDS = 5
"""Seconds that a client is told to wait for the engine's process, or for memory."""
ROUTES = "/v1/models, /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages and /v1/embeddings"
INTERNAL = "The server failed to answer this request; its log says why."


class ApiError(Exception):
    """An error answered with `status`; the caller sees the message, and may retry after `retry_after` seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    shown = {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}
    # A message may quote the request, which may contain unpaired surrogates.
    return {"error": {key: value and value.encode("utf-8", "replace").decode() for key, value in shown.items()}}


def error_response(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse(error_body(status, message, param, code), status, headers)


def plain_page(title: str, body: str, language: str = "en") -> str:
    return (
        f"<!doctype html><html lang={language}><meta charset=utf-8><title>{html.escape(title)}</title>"
        "<meta name=viewport content='width=device-width'><meta name=color-scheme content='light dark'>"
        "<body style='font:16px/1.5 sans-serif;max-width:40em;margin:4em auto;padding:0 1em'>"
        f"<main><h1>{html.escape(title)}</h1>{body}</main>"
    )


def _store_status(error: Exception) -> int:
    codes = ((Deleted, 401), (NotFound, 404), (NotYours, 403), (Outdated, 409), (NotLearned, 409))
    return next((code for kind, code in codes if isinstance(error, kind)), 400)


def shown_error(error: Exception) -> dict[str, Any]:
    """The error object for a stream that has already begun; internal messages are hidden."""
    if isinstance(error, ApiError):
        return error_body(error.status, error.message, error.param, error.code)
    if isinstance(error, PromptTooLong):
        return error_body(400, str(error), "messages", "context_length_exceeded")
    if isinstance(error, Refused):
        return shown_error(refused(error))
    if isinstance(error, Gone):
        return error_body(503, GONE, code="engine_restarting")
    if isinstance(error, NoRoom):
        return error_body(503, str(error), code="no_room")
    if isinstance(error, EndpointError):
        return error_body(502 if error.busy is None else 429, f"The model's endpoint failed: {error}")
    if isinstance(error, StoreError):
        code = "outdated" if isinstance(error, Outdated) else None
        told = error_body(_store_status(error), str(error), code=error.code or code)
        if isinstance(error, NotLearned):
            told["error"]["records"] = error.records
        return told
    if isinstance(error, DiskError):
        return error_body(507, f"The store cannot be written: {error.strerror}. {DISK}", code="disk_error")
    if isinstance(error, Unreachable):
        return error_body(503, STORE_GONE, code="store_unreachable")
    if lacks := installed.lacking(error):
        return error_body(501, lacks, code="not_installed")
    return error_body(500, INTERNAL)


def outage(error: Exception) -> JSONResponse | None:
    """The answer where the store cannot be read or written; None of other errors."""
    if isinstance(error, DiskError):
        return JSONResponse(shown_error(error), 507)
    if isinstance(error, Unreachable):
        logger.error("%s", error)
        return JSONResponse(shown_error(error), 503, {"Retry-After": str(RESTART_SECONDS)})
    return None


def failed_answer(error: Exception) -> dict[str, Any]:
    """`shown_error` of an answer that failed amid its words; what is no fault of the request goes into the log too."""
    shown = shown_error(error)
    if isinstance(error, Gone):  # with all answers of that moment, and who starts the process again says why
        logger.error("an answer failed: %s", error)
    elif shown["error"]["type"] == "server_error":
        logs.failed("an answer failed", error)
    return shown


def refused(error: ValueError) -> ApiError:
    """An engine's refusal as the API's error."""
    told = re.fullmatch(r"sampling\.(\w+): (.*)", str(error), re.DOTALL)
    if told is None:
        return ApiError(400, str(error))
    name = "response_format" if told[1] == "json_schema" else told[1]
    return ApiError(400, f"{name}: {told[2]}", param=name)


def unsayable(error: ValueError, inserted: int) -> ApiError:
    """A chat template's refusal of a dialogue, with the caller's numbers of turns."""
    code = "unsupported_content" if isinstance(error, CannotTake) else None
    message = re.sub(r"^conversation '[^']*': ", "", str(error))
    turn = re.search(r"messages\[(\d+)\]", message)
    if turn is None:
        return ApiError(400, f"messages: {message}", param="messages", code=code)
    place = f"messages[{max(0, int(turn[1]) - inserted)}]"
    return ApiError(400, message.replace(turn[0], place), param=place, code=code)


def allowed_for_a_name(request: Request) -> bool:
    """Whether another method of `/v1` would take the path's end for a name, as GET takes that of /v1/responses/compact:
    to a client which posts there, this server lacks what it asks for."""
    found = [route.path for route in request.app.state.routes if route.matches(request.scope)[0] != Match.NONE]
    return any(path.startswith("/v1/") and path.endswith("}") for path in found)


def allowed_methods(request: Request) -> list[str]:
    """Methods allowed for the path. Several routes may share it, and Starlette names only the first one's methods."""
    routes = request.app.state.routes
    path = next((route.path for route in routes if route.matches(request.scope)[0] != Match.NONE), None)
    methods = {method for route in routes if route.path == path for method in route.methods}
    return sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))


def install_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def on_api_error(request: Request, error: ApiError) -> Response:
        if "text/html" in request.headers.get("accept", ""):  # somebody opened a report's address
            chinese = request.headers.get("accept-language", "")[:2].lower() == "zh"
            title, language = ("无法显示", "zh") if chinese else ("This cannot be shown", "en")
            text = f"<p lang=en>{html.escape(error.message)}</p>"
            return HTMLResponse(plain_page(title, text, language), error.status, error.headers)
        return error_response(error.status, error.message, error.param, error.code, error.headers)

    @app.exception_handler(StoreError)
    @app.exception_handler(Refused)
    async def on_known_error(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(shown_error(error), _store_status(error))

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(400, *first_problem(error.errors(), error.body))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed_methods(request))
            if request.method == "OPTIONS":
                return Response(None, 204, headers)
        message = f"{request.method} {request.url.path}: {error.detail}"
        if error.status_code == 405 and request.method == "POST" and allowed_for_a_name(request):
            return error_response(404, f"{request.method} {request.url.path}: Not Found; this server has {ROUTES}")
        if error.status_code == 400:  # raised by FastAPI for json's errors other than syntax errors
            message = "The body is not valid JSON: expected UTF-8, integers of fewer than 4300 digits and less nesting"
        return error_response(error.status_code, message, headers=headers)

    @app.exception_handler(EndpointError)
    async def on_endpoint_error(_request: Request, error: EndpointError) -> JSONResponse:
        if error.busy is None:
            return JSONResponse(shown_error(error), 502)
        return JSONResponse(shown_error(error), 429, {"Retry-After": str(math.ceil(error.busy))})

    @app.exception_handler(Gone)
    @app.exception_handler(NoRoom)
    async def on_no_engine(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(shown_error(error), 503, {"Retry-After": str(RESTART_SECONDS)})

    @app.exception_handler(ModuleNotFoundError)
    async def on_left_out(_request: Request, error: ModuleNotFoundError) -> JSONResponse:
        if installed.lacking(error) is None:
            raise error
        return JSONResponse(shown_error(error), 501)

    @app.exception_handler(DiskError)
    @app.exception_handler(Unreachable)
    async def on_outage(_request: Request, error: Exception) -> JSONResponse:
        answer = outage(error)
        assert answer is not None
        return answer
