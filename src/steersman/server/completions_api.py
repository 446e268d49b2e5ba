"""`/v1/completions`: text that is continued, and how likely the text is itself."""

from __future__ import annotations

import codecs
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Engine, PromptScores, PromptTooLong, ScoresPrompts
from steersman.server.completions_schema import CompletionRequest, checked, params_of
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError
from steersman.server.generation import Place
from steersman.server.logprobs import with_raw
from steersman.server.openai_api import check_tokens, complete, finish_of, head_of, used
from steersman.types import Completion

router = APIRouter(prefix="/v1")
DEFAULT_TOKENS = 16
"""OpenAI's own default."""


@dataclass(frozen=True)
class _Token:
    """One token of the text, with its log-probability (None of the first) and the likeliest ones."""

    id: int
    logprob: float | None
    top: Sequence[tuple[int, float]]


@router.post("/completions")
async def completions(ctx: Ctx, request: Request, body: CompletionRequest, at_end: AtEnd) -> Response:
    engine = (await ctx.named(body.model)).engine  # one for the whole request, whatever is promoted meanwhile
    checked(body)
    scorer = engine if isinstance(engine, ScoresPrompts) else None
    if body.logprobs is not None:
        check_tokens(engine)
    if body.echo and scorer is None:
        raise ApiError(400, "echo: this server's engine gives no log-probabilities of prompts", param="echo")
    place = at_end.enter_context(ctx.generations.reserve(len(body.prompts) * (body.n or 1)))
    choices: list[str] = []
    answered: list[Completion] = []
    prompt_tokens = 0
    for prompt in body.prompts:
        scores: PromptScores | None = None
        if body.echo and scorer is not None:
            asked = functools.partial(scorer.prompt_logprobs, prompt, body.logprobs or 0)
            scores = await to_thread.run_sync(asked, limiter=ctx.counting)
        count, answers = await _answers(ctx, engine, request, body, prompt, place)
        prompt_tokens += count
        for answer in answers or [Completion("", (), (), "length", engine.policy_version)]:
            told = functools.partial(_choice, engine, body, len(choices), scores, answer)
            choices.append(await run_in_threadpool(told))
        answered += answers
    head = head_of(engine, "text_completion")
    text = with_raw(head | {"usage": used(prompt_tokens, answered)}, choices=f"[{','.join(choices)}]")
    return Response(text, media_type="application/json")


async def _answers(
    ctx: Context, engine: Engine, request: Request, body: CompletionRequest, prompt: str | list[int], place: Place
) -> tuple[int, list[Completion]]:
    """(tokens of the prompt, its continuations); none where the request wants the prompt alone."""
    counted = functools.partial(engine.count_tokens, prompt)
    count = await to_thread.run_sync(counted, limiter=ctx.counting)
    wanted = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    context = engine.max_context
    # whoever asks for the prompt's log-probabilities asks for a token more, for which a full context has no room
    if wanted == 0 or (body.echo and count == context):
        return count, []
    if count >= context:
        raise PromptTooLong(f"This model's maximum context length is {context} tokens; the prompt has {count}")
    params = params_of(body, min(wanted, context - count), ctx.temperature)
    return count, await complete(ctx, engine, place, request, prompt, params)


def _choice(
    engine: Engine, body: CompletionRequest, index: int, scores: PromptScores | None, answer: Completion
) -> str:
    """One choice in JSON."""
    before = list(_of_prompt(scores)) if scores is not None else []
    tops = answer.top_logprobs or ((),) * len(answer.token_ids)
    after = [_Token(*one) for one in zip(answer.token_ids, answer.logprobs, tops, strict=True)]
    echoed = "" if not before else _text(engine, [token.id for token in before])[0]
    if before and isinstance(body.prompt, str):
        echoed = body.prompt
    choice = {"index": index, "text": echoed + answer.text, "finish_reason": finish_of(answer)}
    if body.logprobs is None:
        return with_raw(choice, logprobs="null")
    return with_raw(choice, logprobs=json.dumps(_told(engine, [*before, *after], body.logprobs)))


def _of_prompt(scores: PromptScores) -> Iterator[_Token]:
    yield _Token(scores.token_ids[0], None, ())
    tops = scores.top_logprobs or ((),) * len(scores.logprobs)
    for token, logprob, top in zip(scores.token_ids[1:], scores.logprobs, tops, strict=True):
        yield _Token(token, logprob, top)


def _text(engine: Engine, ids: Sequence[int]) -> tuple[str, list[int]]:
    """(the text of tokens, the number of characters before each)."""
    decoder, parts, offsets, size, begun = codecs.getincrementaldecoder("utf-8")("replace"), [], [], 0, False
    for token in ids:
        offsets.append(size)
        piece = engine.token_bytes(token, first=not begun)
        begun = begun or bool(piece)
        parts.append(decoder.decode(piece))
        size += len(parts[-1])
    return "".join(parts) + decoder.decode(b"", True), offsets


def _told(engine: Engine, tokens: Sequence[_Token], top: int) -> dict[str, Any]:
    """OpenAI's older form: lists of one length; the likeliest tokens by their text, of equal texts the likelier."""
    name = functools.cache(engine.token_text)
    tops: list[dict[str, float] | None] = []
    for token in tokens:
        if token.logprob is None or not top:
            tops.append(None)
            continue
        found: dict[str, float] = {}
        for other, value in [*token.top, (token.id, token.logprob)]:
            found[name(other)] = max(value, found.get(name(other), value))
        tops.append(found)
    return {
        "tokens": [name(token.id) for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": tops,
        "text_offset": _text(engine, [token.id for token in tokens])[1],
    }
