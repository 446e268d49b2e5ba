"""The application: routers, error handlers and the guard, put together."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI

from steersman import __version__
from steersman.engine.protocol import Engine
from steersman.server import (
    attachments_api,
    canary_api,
    chat_api,
    chat_duels,
    chat_images,
    chat_shelf,
    completions_api,
    data_api,
    desk_api,
    desk_manage,
    embeddings_api,
    health,
    leaving_api,
    messages_api,
    oidc_api,
    openai_api,
    pages,
    people_api,
    ranking_api,
    reports_api,
    responses_api,
    rounds_api,
    search_api,
    session_api,
    settings_api,
    training,
)
from steersman.server.access import allowed
from steersman.server.anthropic_errors import AnthropicErrors
from steersman.server.body import BODY_LIMIT, IMAGES_LIMIT
from steersman.server.buckets import Buckets
from steersman.server.context import Context
from steersman.server.errors import install_handlers
from steersman.server.guard import Guard, host_names
from steersman.server.key import Key
from steersman.server.models import Models
from steersman.server.observe import Observe, root_of
from steersman.server.openapi import describe
from steersman.server.plain_json import plain
from steersman.server.reach import HERE, Reach
from steersman.store import Store

_ROUTERS = (
    openai_api.router,
    completions_api.router,
    responses_api.router,
    messages_api.router,
    embeddings_api.router,
    search_api.router,
    chat_api.router,
    chat_shelf.router,
    chat_duels.router,
    chat_images.router,
    attachments_api.router,
    ranking_api.router,
    desk_api.router,
    desk_manage.router,
    training.router,
    settings_api.router,
    rounds_api.router,
    canary_api.router,
    session_api.router,
    people_api.router,
    leaving_api.router,
    oidc_api.router,
    data_api.router,
    reports_api.router,
    health.router,
    pages.router,
)


def create_app(
    engine: Engine | Models,
    store: Store,
    *,
    allowed_hosts: str = "",
    key: str = "",
    root_path: str = "",
    reach: Reach = HERE,
    buckets: Buckets | None = None,
    **settings: Any,
) -> FastAPI:
    """The server for one model, or `Models` that change while it runs, and one store; both stay the caller's to close.

    `settings` are those of `steersman.server.context.Context`: name, language, system_prompt, max_tokens, temperature,
    greeting, examples, report, round, workspace, team. `allowed_hosts` (comma-separated) are answered besides loopback,
    and beyond it as `reach` says, whose rate is counted in `buckets`. With a `key`, only who sends it is answered.
    `root_path`: where a proxy offers the server. ValueError where a setting cannot be.
    """
    models = engine if isinstance(engine, Models) else Models(engine)
    context = Context(models, store, **settings)
    if key and context.team is not None:
        raise ValueError("serve.key: with accounts everybody has keys of their own; expected one of --key and --auth")
    root = root_of(root_path)
    app = FastAPI(
        title="Steersman",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        servers=[{"url": root}] if root else None,
    )
    app.state.context = context
    app.state.reach = reach
    for router in _ROUTERS:
        app.include_router(router, dependencies=[Depends(allowed), Depends(plain)])
    app.state.routes = [route for router in _ROUTERS for route in router.routes]
    app.router.default = pages.fallback
    app.router.redirect_slashes = False  # to an address as this machine has it, which is not the proxy's
    install_handlers(app)
    describe(app)
    limit = IMAGES_LIMIT if getattr(models.current, "takes_images", False) else BODY_LIMIT
    hosts = host_names(allowed_hosts)
    door = context.team.door if context.team is not None else None
    shared = Key(key) if key else None
    app.add_middleware(
        Guard,
        allowed_hosts=hosts,
        key=shared,
        body_limit=limit,
        door=door,
        reach=reach,
        buckets=buckets,
    )
    app.add_middleware(AnthropicErrors)
    app.add_middleware(Observe, metrics=context.metrics, root_path=root)
    return app
