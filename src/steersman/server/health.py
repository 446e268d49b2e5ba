"""`/healthz`: the process lives. `/readyz`: it can answer. `/metrics`: its numbers."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from steersman.server.context import Context, Ctx
from steersman.server.generation import RETRY_SECONDS
from steersman.server.metrics import CONTENT_TYPE

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(ctx: Ctx) -> Response:
    """503 with the reasons while the server is stopping, or its store or engine cannot be used."""
    reasons = await run_in_threadpool(_reasons, ctx)
    if not reasons:
        return JSONResponse({"status": "ok", "model": ctx.engine.policy_version})
    told = {"status": "not ready", "reasons": reasons}
    return JSONResponse(told, 503, {"Retry-After": str(RETRY_SECONDS)})


def _reasons(ctx: Context) -> list[str]:
    reasons = ["the server is stopping"] if ctx.generations.closing else []
    try:
        ctx.store.check()
    except Exception as error:  # whatever a database may raise: its kind alone is told
        reasons.append(f"the store cannot be read: {type(error).__name__}")
    down = getattr(ctx.engine, "down", None)
    reasons += [f"the engine is down: {down()}"] if down is not None and down() else []
    return reasons


@router.api_route("/metrics", methods=["GET", "HEAD"])
async def metrics(ctx: Ctx) -> Response:
    return Response(ctx.metrics.text(), media_type=CONTENT_TYPE)
