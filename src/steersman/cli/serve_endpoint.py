"""A server whose answers come from an endpoint: `serve.endpoint`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from steersman.artifact.workspace import Workspace
from steersman.cli.bench import KEY_VARIABLE
from steersman.cli.framework import say

if TYPE_CHECKING:
    from steersman.engine.apart.process import Open
    from steersman.engine.protocol import Engine


def endpoint_engine(space: Workspace, opened: Open | None) -> Engine:
    """The engine that asks `serve.endpoint`, by `opened`; else in this process. Computes nothing here."""
    from steersman.engine.apart.wire import Wanted
    from steersman.engine.load import load_engine

    config, key = space.config.serve, os.environ.get(KEY_VARIABLE, "")
    model = config.endpoint_model or only_model(config.endpoint, key)
    options: dict[str, Any] = {"backend": "openai", "url": config.endpoint, "api_key": key}
    options |= {"name": space.config.project.name, "max_context": config.endpoint_context}
    options |= {"max_slots": max(config.streams, 128), "cache_int8": config.kv_cache == "int8"}
    say(f"answers come from {config.endpoint}, model {model}")
    return opened(Wanted(model, options), True) if opened is not None else load_engine(model, **options)


def only_model(url: str, api_key: str) -> str:
    """The one model that an endpoint lists. ValueError where there are others, or it cannot be asked."""
    import httpx

    from steersman.engine.backends.remote import checked

    there = f"{checked(url)}/models"
    try:
        reply = httpx.get(there, headers={"Authorization": f"Bearer {api_key or 'none'}"}, timeout=10)
        reply.raise_for_status()
        names = [str(entry["id"]) for entry in reply.json()["data"]]
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        told = str(error).replace(api_key, "...") if api_key else str(error)
        raise ValueError(f"{there}: {told or type(error).__name__}; expected a list of models") from None
    if len(names) != 1:
        shown = ", ".join(names[:9]) or "none"
        raise ValueError(f"serve.endpoint_model: expected the name of one of {len(names)} models of {url}: {shown}")
    return names[0]
