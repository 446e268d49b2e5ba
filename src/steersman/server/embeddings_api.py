"""`/v1/embeddings`: a model's last states as one vector of length 1. `/v1/moderations`: what may be unsafe."""

from __future__ import annotations

import base64
import functools
import json
import math
import struct
import uuid
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt
from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Embeds
from steersman.server.completions_schema import Tokens
from steersman.server.context import Ctx
from steersman.server.encoders import WORD_LISTS
from steersman.server.errors import ApiError
from steersman.server.logprobs import with_raw
from steersman.server.models import Found
from steersman.server.request_text import WHOLE, Text

router = APIRouter(prefix="/v1")
MOST_INPUTS = 2048
"""Most texts of one request: OpenAI's, up to which clients fill one (LangChain 1,000)."""
MODERATION = WORD_LISTS
"""Name of what answers `/v1/moderations`; OpenAI's names are taken too."""
OTHERS = ("omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest", "text-moderation-stable")


class EmbeddingsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: Text
    input: (
        Annotated[Text, Field(min_length=1)]
        | Tokens
        | Annotated[
            list[Annotated[Text, Field(min_length=1)]], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)
        ]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_INPUTS, fail_fast=True)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[StrictInt, Field(ge=1, le=65_536), WHOLE] | None = None
    """The first so many numbers, scaled to length 1 again. No model here was trained so that they mean much."""
    user: Text | None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        given: Any = self.input
        return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


@router.post("/embeddings")
async def embeddings(ctx: Ctx, request: Request, body: EmbeddingsRequest) -> Response:
    own = ctx.encoders.embeddings
    named = own is not None and body.model in (own.model_name, own.policy_version)
    found = Found(own.model_name, own) if own is not None and named else await ctx.named(body.model)
    if not isinstance(found.engine, Embeds):
        raise ApiError(400, "This server's engine gives no embeddings", param="model", code="unsupported_parameter")
    vectors: list[list[float]] = []
    tokens = 0
    for one in body.inputs:  # one by one, so that answers get their turn
        if await request.is_disconnected():
            break  # nobody reads the rest
        made = await to_thread.run_sync(functools.partial(found.engine.embed, [one]), limiter=ctx.counting)
        vectors += [_shortened(vector, body.dimensions) for vector, _ in made]
        tokens += sum(count for _, count in made)
    ctx.metrics.read(tokens)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    head = {"id": f"embd-{uuid.uuid4().hex}", "object": "list", "model": found.name, "usage": usage}
    told = functools.partial(_body, head, vectors, body.encoding_format == "base64")
    return Response(await run_in_threadpool(told), media_type="application/json")


def _body(head: dict[str, Any], vectors: list[list[float]], packed: bool) -> str:
    """The answer in JSON, vector by vector: one call of json would hold Python's lock throughout."""
    dumps = functools.partial(json.dumps, separators=(",", ":"), allow_nan=False)
    each = (
        dumps({"object": "embedding", "index": i, "embedding": _packed(v) if packed else v})
        for i, v in enumerate(vectors)
    )
    return with_raw(head, data=f"[{','.join(each)}]")


def _shortened(vector: list[float], dimensions: int | None) -> list[float]:
    if dimensions is None or dimensions == len(vector):
        return vector
    if dimensions > len(vector):
        raise ApiError(400, f"dimensions: expected at most {len(vector)}, got {dimensions}", param="dimensions")
    size = math.hypot(*vector[:dimensions]) or 1.0
    return [x / size for x in vector[:dimensions]]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class ModerationText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Text


class ModerationsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[ModerationText], Field(min_length=1, max_length=MOST_INPUTS)]
    )
    model: Text | None = None


@router.post("/moderations")
async def moderations(ctx: Ctx, body: ModerationsRequest) -> dict[str, Any]:
    """Flags by words, in English, Chinese and German, and by a classifier where serve.moderation names one: a reason to
    look, no verdict. Categories are this server's own, not OpenAI's; a word list's score is 1 where a word was found,
    else 0. `category_judged_by` says who gave which."""
    judge = ctx.encoders.judge
    if body.model is not None and body.model not in (MODERATION, judge, ctx.encoders.moderation_name, *OTHERS):
        message = f"The model `{body.model[:100]}` does not exist; this server has `{judge}`"
        raise ApiError(404, message, param="model", code="model_not_found")
    texts = [body.input] if isinstance(body.input, str) else [t if isinstance(t, str) else t.text for t in body.input]
    alone = body.model == MODERATION
    results = await to_thread.run_sync(functools.partial(ctx.encoders.judged, texts, alone), limiter=ctx.counting)
    return {"id": f"modr-{uuid.uuid4().hex}", "model": MODERATION if alone else judge, "results": results}
