"""Every error leaves as {"error": {message, type, param, code}}, the shape that OpenAI's clients parse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from steersman.engine.protocol import PromptTooLong, Refused
from steersman.store import NotFound, StoreError

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large", 429: "rate_limit_exceeded"}
INTERNAL = "The server failed to answer this request; its log says why."


class ApiError(Exception):
    """A request that is answered with `status`; the message is shown to the caller, who may `retry_after` seconds."""

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
    # A message may quote the request, whose strings need not be valid Unicode.
    return {"error": {key: value and value.encode("utf-8", "replace").decode() for key, value in shown.items()}}


def error_response(
    status: int,
    message: str,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse(error_body(status, message, param, code), status, headers)


def shown_error(error: Exception) -> dict[str, Any]:
    """The error object for a stream that has already begun; what was not meant for the caller is not told."""
    if isinstance(error, ApiError):
        return error_body(error.status, error.message, error.param, error.code)
    if isinstance(error, PromptTooLong):
        return error_body(400, str(error), "messages", "context_length_exceeded")
    if isinstance(error, Refused):
        return error_body(400, str(error))
    if isinstance(error, StoreError):
        return error_body(404 if isinstance(error, NotFound) else 400, str(error))
    return error_body(500, INTERNAL)


def _first_problem(problems: Sequence[Any]) -> tuple[str, str | None]:
    """(message, parameter) of the first validation error, without what the request contained."""
    problem = problems[0]
    place = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    if problem["type"] == "json_invalid":
        return f"The body is not valid JSON: {problem.get('ctx', {}).get('error', 'it cannot be parsed')}", None
    if not place:
        return f"The body is not as expected: {problem['msg']}; send a JSON object as application/json", None
    return f"{'.'.join(place)}: {problem['msg']}", place[0]


def install_handlers(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def on_api_error(_request: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.message, error.param, error.code, error.headers)

    @app.exception_handler(StoreError)
    @app.exception_handler(Refused)
    async def on_known_error(_request: Request, error: Exception) -> JSONResponse:
        status = 404 if isinstance(error, NotFound) else 400
        return JSONResponse(shown_error(error), status)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
        message, param = _first_problem(error.errors())
        return error_response(400, message, param)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return error_response(error.status_code, message, headers=error.headers)

    @app.exception_handler(Exception)
    async def on_any_other(_request: Request, _error: Exception) -> JSONResponse:
        return error_response(500, INTERNAL)  # the traceback goes to the log, from Starlette
