"""`/v1/completions`: text that is continued, and how likely the text is itself."""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from steersman.engine.protocol import Engine, PromptScores, PromptTooLong, ScoresPrompts
from steersman.server.completions_schema import CompletionRequest, checked, params_of
from steersman.server.context import AtEnd, Context, Ctx
from steersman.server.errors import ApiError, failed_answer
from steersman.server.generation import Generation, Place
from steersman.server.logprobs import check_tokens, with_raw
from steersman.server.openai_api import complete, finish_of, head_of, used
from steersman.server.sse import event, following, stream
from steersman.types import Completion, SamplingParams

router = APIRouter(prefix="/v1")
DEFAULT_TOKENS = 16
"""OpenAI's own default."""


@dataclass(frozen=True)
class _Token:
    """One token of the text, with its log-probability (None of the first) and the likeliest ones."""

    id: int
    logprob: float | None
    top: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class _Wanted:
    """A prompt, its number of tokens, and how it is continued; None where the request wants the prompt alone."""

    prompt: str | list[int]
    tokens: int
    params: SamplingParams | None


@router.post("/completions", responses={200: {"content": {"text/event-stream": {}}}})
async def completions(ctx: Ctx, request: Request, body: CompletionRequest, at_end: AtEnd) -> Response:
    found = await ctx.for_user(await ctx.named(body.model), body.user, body.beginning)
    engine = found.engine  # one for the whole request, whatever is promoted meanwhile
    checked(body)
    if body.logprobs is not None:
        check_tokens(engine)
    if body.echo and not isinstance(engine, ScoresPrompts):
        raise ApiError(400, "echo: this server's engine gives no log-probabilities of prompts", param="echo")
    place = at_end.enter_context(ctx.generations.reserve(len(body.prompts) * (body.n or 1)))
    wanted = [await _wanted(ctx, engine, body, prompt) for prompt in body.prompts]
    head = head_of(engine, "text_completion", found.name)
    if body.stream:
        chunks = _chunks(ctx, engine, body, wanted, place, head)
        first = await anext(chunks)  # raises the engine's refusal
        return stream(following(first, chunks))
    choices: list[str] = []
    answered: list[Completion] = []
    for one in wanted:
        scores = await _scores(ctx, engine, body, one.prompt)
        answers = await complete(ctx, engine, place, request, one.prompt, one.params) if one.params else []
        for answer in answers or [_nothing(engine)]:
            told = functools.partial(_choice, engine, body, len(choices), scores, answer)
            choices.append(await run_in_threadpool(told))
        answered += answers
    usage = used(sum(one.tokens for one in wanted), answered, body.n or 1)
    text = with_raw(head | {"usage": usage}, choices=f"[{','.join(choices)}]")
    return Response(text, media_type="application/json")


async def _chunks(
    ctx: Context, engine: Engine, body: CompletionRequest, wanted: Sequence[_Wanted], place: Place, head: dict[str, Any]
) -> AsyncGenerator[bytes]:
    """The continuations as they grow, in OpenAI's chunks, then [DONE]. An echoed prompt comes first, log-probabilities
    with a continuation's end; usage where it is asked for.

    Raises the engine's refusal; later errors become events.
    """
    include = body.stream_options is not None and bool(body.stream_options.include_usage)
    head = head | ({"usage": None} if include else {})
    many, begun, answered = body.n or 1, False, list[Completion]()

    def piece(index: int, text: str) -> bytes:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": None}
        return event(head | {"choices": [choice]})

    def last(index: int, scores: PromptScores | None, answer: Completion, told: bool) -> bytes:
        """The end: its text has been told already, but for that of a choice of which nothing was."""
        choice = _choice(engine, body, index, scores, answer, told)
        return event(with_raw(head, choices=f"[{choice}]"))

    try:
        for base, one in zip(range(0, many * len(wanted), many), wanted, strict=True):
            scores = await _scores(ctx, engine, body, one.prompt)
            if one.params is None:
                begun = True
                yield await run_in_threadpool(last, base, scores, _nothing(engine), False)
                continue
            said: set[int] = set()
            async with contextlib.aclosing(
                ctx.generations.run_all(Generation(engine, one.prompt, one.params), place)
            ) as items:
                async for number, item in items:
                    if scores is not None and number not in said:
                        said.add(number)
                        begun = True
                        yield piece(base + number, _echoed(engine, body, scores))
                    if isinstance(item, Completion):
                        answered.append(item)
                        begun = True
                        yield await run_in_threadpool(last, base + number, scores, item, True)
                    elif item:
                        begun = True
                        yield piece(base + number, item)
        if include:
            usage = used(sum(one.tokens for one in wanted), answered, body.n or 1)
            yield event(head | {"choices": [], "usage": usage})
        yield event("[DONE]")
    except Exception as error:
        if not begun:
            raise
        yield event(failed_answer(error))


async def _scores(
    ctx: Context, engine: Engine, body: CompletionRequest, prompt: str | list[int]
) -> PromptScores | None:
    """How likely the prompt is, where the request wants it echoed."""
    if not (body.echo and isinstance(engine, ScoresPrompts)):
        return None
    asked = functools.partial(engine.prompt_logprobs, prompt, body.logprobs or 0)
    return await to_thread.run_sync(asked, limiter=ctx.counting)


async def _wanted(ctx: Context, engine: Engine, body: CompletionRequest, prompt: str | list[int]) -> _Wanted:
    counted = functools.partial(engine.count_tokens, prompt)
    count = await to_thread.run_sync(counted, limiter=ctx.counting)
    wanted = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    context = engine.max_context
    # whoever asks for the prompt's log-probabilities asks for a token more, for which a full context has no room
    if wanted == 0 or (body.echo and count == context):
        return _Wanted(prompt, count, None)
    if count >= context:
        raise PromptTooLong(f"This model's maximum context length is {context} tokens; the prompt has {count}")
    return _Wanted(prompt, count, params_of(body, min(wanted, context - count), ctx.temperature))


def _nothing(engine: Engine) -> Completion:
    return Completion("", (), (), "length", engine.policy_version)


def _choice(
    engine: Engine,
    body: CompletionRequest,
    index: int,
    scores: PromptScores | None,
    answer: Completion,
    told: bool = False,
) -> str:
    """One choice in JSON; without its text where that has been `told`."""
    before = list(_of_prompt(scores)) if scores is not None else []
    tops = answer.top_logprobs or ((),) * len(answer.token_ids)
    after = [_Token(*one) for one in zip(answer.token_ids, answer.logprobs, tops, strict=True)]
    text = "" if told else _echoed(engine, body, scores) + answer.text
    choice = {"index": index, "text": text, "finish_reason": finish_of(answer)}
    if body.logprobs is None:
        return with_raw(choice, logprobs="null")
    return with_raw(choice, logprobs=json.dumps(_told(engine, [*before, *after], body.logprobs)))


def _echoed(engine: Engine, body: CompletionRequest, scores: PromptScores | None) -> str:
    """The prompt's text, where it is wanted."""
    if scores is None:
        return ""
    return body.prompt if isinstance(body.prompt, str) else _text(engine, scores.token_ids)[0]


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
