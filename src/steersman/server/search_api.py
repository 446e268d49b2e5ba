"""`/v1/vector_stores`: the indexes of documents that serve.indexes names, listed and searched as OpenAI's are."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from steersman.retrieval.index import Hit, Index
from steersman.server.context import Ctx
from steersman.server.errors import ApiError
from steersman.server.request_text import WHOLE, Text

router = APIRouter(prefix="/v1/vector_stores")


class SearchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: Annotated[Text, Field(min_length=1, max_length=4000)]
    max_num_results: Annotated[StrictInt, Field(ge=1, le=50), WHOLE] = 10
    how: Literal["hybrid", "dense", "bm25"] | None = None
    """This server's own: which ranking; default: both joined, where the index has vectors."""


@router.get("")
async def vector_stores(ctx: Ctx) -> dict[str, Any]:
    """The indexes; `steersman index build` makes them."""
    return {"object": "list", "data": [_store(index) for index in ctx.encoders.indexes.values()], "has_more": False}


@router.post("/{name}/search")
async def search(ctx: Ctx, name: str, body: SearchRequest) -> dict[str, Any]:
    """The passages that fit a question best, the best first. A file is a document; its attributes say where the passage
    begins in it."""
    index = ctx.encoders.indexes.get(name)
    if index is None:
        known = ", ".join(ctx.encoders.indexes) or "none"
        raise ApiError(404, f"No index named {name[:100]!r}; serve.indexes has {known}", param="vector_store_id")
    if body.how in ("hybrid", "dense") and index.usual == "bm25":
        raise ApiError(400, f"The index {name!r} has no vectors here; expected how = bm25", param="how")
    look = functools.partial(index.search, body.query, body.max_num_results, body.how or "")
    hits = await to_thread.run_sync(look, limiter=ctx.counting)
    data = [_result(hit) for hit in hits]
    page = {"object": "vector_store.search_results.page", "search_query": body.query, "data": data}
    return {**page, "has_more": False, "next_page": None}


def _store(index: Index) -> dict[str, Any]:
    counts = {"total": index.about["documents"], "completed": index.about["documents"]}
    return {
        "object": "vector_store",
        "id": index.name,
        "name": index.name,
        "file_counts": counts,
        "status": "completed",
    }


def _result(hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    return {
        "file_id": passage.document,
        "filename": passage.title or passage.document,
        "score": hit.score,
        "attributes": {"start": passage.start},
        "content": [{"type": "text", "text": passage.text}],
    }
