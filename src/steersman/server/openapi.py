"""/api/openapi.json: what FastAPI knows of the routes, with the errors that every one of them may answer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_TEXT = {"type": ["string", "null"]}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": {"type": "string"}, "type": {"type": "string"}, "param": _TEXT, "code": _TEXT},
        }
    },
}
_ANTHROPIC_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
    },
}
_STATUSES = {"4XX": "The request is refused; the message says why", "5XX": "The server failed or is shutting down"}


def describe(app: FastAPI) -> None:
    """Say of every operation that errors are OpenAI's objects (FastAPI would promise a 422 of its own)."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        told = made()
        schemas = told["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Error"] = _ERROR
        schemas["AnthropicError"] = _ANTHROPIC_ERROR
        for path, operations in told["paths"].items():
            form = "AnthropicError" if path.startswith("/v1/messages") else "Error"
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{form}"}}}
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["responses"] |= {s: {"description": d, "content": content} for s, d in _STATUSES.items()}
        return told

    app.openapi = openapi  # type: ignore[method-assign]
