"""The application: routers, error handlers and the guard, put together."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from steersman import __version__
from steersman.engine.protocol import Engine
from steersman.server import chat_api, chat_images, logs, openai_api, pages, ranking_api, rounds_api, training
from steersman.server.body import BODY_LIMIT, IMAGES_LIMIT
from steersman.server.context import Context
from steersman.server.errors import install_handlers
from steersman.server.guard import Guard, host_names
from steersman.server.key import Key
from steersman.server.openapi import describe
from steersman.store import Store


def create_app(
    engine: Engine,
    store: Store,
    *,
    name: str,
    language: str,
    system_prompt: str = "",
    max_tokens: int = 256,
    temperature: float = 0.7,
    report: Callable[[], Path | None] = lambda: None,
    round: int = 1,
    workspace: Path | None = None,
    allowed_hosts: str = "",
    key: str = "",
) -> FastAPI:
    """The server for one model and one store, both of which stay the caller's to close.

    `name` and `language` ("en", "zh") are what the page shows. `system_prompt` precedes every dialogue that has no
    system message of its own; `max_tokens` and `temperature` hold where a request does not say. `report` gives the
    report's HTML file at the time it is asked, or None. `round` is the one whose tasks are ranked.
    `workspace` is the folder whose training runs are shown at /training and whose stages can be started, if there is
    one. `allowed_hosts` (comma-separated) are answered besides loopback. With a `key`, only who sends it is answered.
    ValueError where a setting cannot be.
    """
    if max_tokens < 1 or not 0 <= temperature < math.inf:
        raise ValueError(f"serve: expected max_tokens >= 1 and temperature >= 0, got {max_tokens} and {temperature}")
    logs.quiet()
    app = FastAPI(
        title="Steersman", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    settings = (name, language, system_prompt, max_tokens, temperature, report, round, workspace)
    app.state.context = Context(engine, store, *settings)
    routers = (
        openai_api.router,
        chat_api.router,
        chat_images.router,
        ranking_api.router,
        training.router,
        rounds_api.router,
        pages.router,
    )
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    app.router.default = pages.fallback
    install_handlers(app)
    describe(app)
    limit = IMAGES_LIMIT if getattr(engine, "takes_images", False) else BODY_LIMIT
    hosts = host_names(allowed_hosts)
    app.add_middleware(Guard, allowed_hosts=hosts, key=Key(key) if key else None, body_limit=limit)
    return app
