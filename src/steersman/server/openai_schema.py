"""The part of OpenAI's chat completions request that Steersman answers.

A parameter that would change the answer and is not supported is refused, never ignored. `null` means not given.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from steersman.server.errors import ApiError
from steersman.server.text import Text
from steersman.types import Conversation, Message, Role, SamplingParams

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Parameters that are not supported, with the values that ask for nothing."""

_IGNORED = {"user", "metadata", "safety_identifier", "prompt_cache_key"}
"""Parameters that say who asks, and do not concern the answer."""

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class TextPart(BaseModel):
    type: Literal["text"]
    text: Text


class ChatMessageIn(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    include_usage: StrictBool = False


class JsonSchema(BaseModel):
    model_config = ConfigDict(extra="ignore")  # name, description and strict say nothing to a grammar

    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        if self.json_schema is None:
            raise ApiError(400, "response_format.json_schema: expected with this type", param="response_format")
        return self.json_schema.schema_


Penalty = Annotated[Number, Field(ge=-2, le=2)]
Bias = Annotated[Number, Field(ge=-100, le=100)]


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: Text
    messages: Annotated[list[ChatMessageIn], Field(min_length=1)]
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=0)] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=16)] | None = None
    stop: (
        Annotated[Text, Field(min_length=1)]
        | Annotated[list[Annotated[Text, Field(min_length=1)]], Field(max_length=4)]
        | None
    ) = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[Annotated[str, Field(pattern=r"^[0-9]+$")], Bias] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    # what OpenAI's API has not got
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=10)] | None = None
    regex: Annotated[Text, Field(min_length=1)] | None = None
    adapter: Text | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def answer_tokens(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


def to_params(request: ChatRequest, max_tokens: int, temperature: float) -> SamplingParams:
    """How to sample; `temperature` where the request names none. ApiError where parameters contradict each other."""
    if request.top_logprobs and not request.logprobs:
        raise ApiError(400, "top_logprobs: allowed only with logprobs", param="top_logprobs")
    schema = request.response_format.schema_of_answer if request.response_format is not None else None
    if schema is not None and request.regex is not None:
        raise ApiError(400, "regex: allowed only without response_format", param="regex")
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature if request.temperature is None else request.temperature,
        top_k=request.top_k or 0,
        top_p=1.0 if request.top_p is None else request.top_p,
        n=request.n or 1,
        seed=None if request.seed is None else request.seed % 2**63,
        stop=request.stops,
        min_p=request.min_p or 0.0,
        repetition_penalty=1.0 if request.repetition_penalty is None else request.repetition_penalty,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        logit_bias={int(token): bias for token, bias in (request.logit_bias or {}).items()},
        top_logprobs=request.top_logprobs or 0,
        json_schema=schema,
        regex=request.regex,
        adapter=request.adapter,
    )


def refuse_unsupported(request: ChatRequest) -> None:
    for name, value in (request.model_extra or {}).items():
        if value is None or name in _IGNORED:
            continue
        if name not in _NEUTRAL:
            raise ApiError(400, f"{name}: this parameter is not known here", param=name, code="unknown_parameter")
        if value not in _NEUTRAL[name]:
            raise ApiError(400, f"{name}: this server does not support it", param=name, code="unsupported_parameter")
    for i, message in enumerate(request.messages):
        for name, value in (message.model_extra or {}).items():
            if name != "name" and value not in (None, []):
                where = f"messages[{i}].{name}"
                raise ApiError(
                    400, f"{where}: this server does not support it", param=where, code="unsupported_parameter"
                )
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options: allowed only with stream", param="stream_options")


def to_prompt(request: ChatRequest, system_prompt: str) -> Conversation:
    """The request's dialogue, after `system_prompt` where it has no system message. ApiError where it is no prompt."""
    roles: dict[str, Role] = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}
    messages = [Message(roles[m.role], m.text) for m in request.messages]
    if system_prompt and messages[0].role != "system":
        messages.insert(0, Message("system", system_prompt))
    try:
        prompt = Conversation.from_json({"messages": [m.to_json() for m in messages]}, "dialogue")
    except ValueError as error:
        raise ApiError(400, str(error), param="messages") from None
    if not prompt.is_prompt:
        raise ApiError(400, "messages: expected the last message to be the user's", param="messages")
    if not prompt.last_user.strip():
        raise ApiError(400, "messages: the last message is empty", param="messages")
    return prompt
