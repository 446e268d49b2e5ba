"""The part of OpenAI's chat completions request that Steersman answers.

A parameter that would change the answer and is not supported is refused, never ignored. `null` means not given.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt
from pydantic_core import PydanticCustomError

from steersman.server.chat_messages import ROLES, ChatMessageIn, to_turns
from steersman.server.errors import ApiError, refused
from steersman.server.held import SAME, Held, HeldTo
from steersman.server.instead import instead
from steersman.server.neutral import ELSEWHERE, ENDS, NEUTRAL, SPEED, no_field, refuse_other_end
from steersman.server.old_functions import OldChoice, OldFunctions, old_tools
from steersman.server.request_parts import closed, told_names
from steersman.server.request_text import WHOLE, Number, Text
from steersman.server.tools_schema import Choice, ChosenFunction, ToolList, Tools, chat_tools
from steersman.types import Conversation, Message, SamplingParams

_NEUTRAL: dict[str, tuple[Any, ...]] = NEUTRAL | {
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "enable_thinking": (False,),
    "think": (False,),
    "thinking": ({"type": "disabled"},),
    "chat_template_kwargs": ({}, {"enable_thinking": False}, {"thinking": False}),
    "verbosity": ("medium",),
}
"""Parameter without a field -> its values that are accepted."""

_NO_THOUGHTS = ("reasoning_effort", "enable_thinking", "think", "thinking", "chat_template_kwargs")
"""Those of them that ask for an answer without thoughts, by any value but {}."""

_IGNORED = (
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "prediction",
    *SPEED,
    *ELSEWHERE,
)
"""Parameters that do not affect the answer: storage, priority."""

_STOP_LENGTH = 1000
MOST_STOPS = 16
"""Most texts that end an answer; clients that complete code name more than OpenAI's four."""
_MOST_BIASES = 1024


def _close(schema: dict[str, Any]) -> None:
    """Add to the schema what pydantic's fields cannot express: unknown parameters, and combinations."""
    closed((*_IGNORED, *ENDS), _NEUTRAL)(schema)
    for name in (*SAME, "random_seed"):  # the document names one way to each thing
        del schema["properties"][name]
    free = {
        "properties": {"response_format": {"anyOf": [{"$ref": "#/components/schemas/TextFormat"}, {"type": "null"}]}}
    }
    without_logprobs = {"properties": {"top_logprobs": {"enum": [0, None]}}}
    schema["allOf"] = [
        {"anyOf": [without_logprobs, {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]}]},
        {"anyOf": [free, {"properties": {"regex": {"type": "null"}}}]},
        {"anyOf": [{"properties": {name: {"enum": [[], None]}}} for name in ("tools", "functions")]},
    ]


def _few(biases: Any) -> Any:
    if isinstance(biases, dict) and len(biases) > _MOST_BIASES:  # pydantic would validate each item first
        raise PydanticCustomError("text", "{expected}", {"expected": f"a length of at most {_MOST_BIASES}"})
    return biases


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool | None = None
    continuous_usage_stats: Literal[False] | None = None
    """vLLM's: usage beside each piece."""
    include_obfuscation: StrictBool | None = None
    """Accepted and ignored: it pads pieces against eavesdroppers, and there are none on loopback."""


Penalty = Annotated[Number, Field(ge=-2, le=2)]
Bias = Annotated[Number, Field(ge=-100, le=100)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Seed = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1), WHOLE]
_BIASES = Field(max_length=_MOST_BIASES, json_schema_extra={"additionalProperties": False})
Stop = Annotated[Text, Field(min_length=1, max_length=_STOP_LENGTH)]


class ChatRequest(Held):
    model_config = ConfigDict(extra="allow", json_schema_extra=_close)

    model: Text
    messages: Annotated[list[ChatMessageIn], Field(min_length=1, fail_fast=True)]
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=2**31 - 1), WHOLE] | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1), WHOLE] | None = None
    max_completion_tokens: Annotated[StrictInt, Field(ge=1), WHOLE] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=16), WHOLE] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: Seed | None = None
    random_seed: Seed | None = None
    """The same, as Mistral's clients call it."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenId, Bias], _BIASES, BeforeValidator(_few)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20), WHOLE] | None = None
    # extensions to OpenAI's API
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=10)] | None = None
    adapter: Text | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: Text | None = None
    safety_identifier: Text | None = None
    """Who asks, like `user`: a canary's users stay with their model."""
    tools: ToolList | None = None
    tool_choice: Choice | None = None
    functions: OldFunctions | None = None
    function_call: OldChoice | None = None
    parallel_tool_calls: StrictBool | None = None

    @property
    def beginning(self) -> str:
        """The dialogue up to the first turn of the user, which stays while it goes on."""
        first = next((i for i, m in enumerate(self.messages) if m.role == "user"), 0)
        return repr([(m.role, m.content) for m in self.messages[: first + 1]])

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def answer_tokens(self) -> int | None:
        """Both are limits, and some clients send both."""
        return min((n for n in (self.max_tokens, self.max_completion_tokens) if n is not None), default=None)

    @functools.cached_property
    def turns(self) -> list[Message]:
        """The messages, whose files are read once. See `to_turns`."""
        return to_turns(self.messages)

    @property
    def asked_tools(self) -> Tools:
        """ApiError where a choice names none of them."""
        if self.functions:
            if self.tools:
                raise ApiError(400, "functions: allowed only without tools", param="functions")
            return old_tools(self.functions, self.function_call)
        if self.function_call not in (None, "none", "auto"):
            raise ApiError(400, "function_call: allowed only with functions", param="function_call")
        return chat_tools(self.tools, self.tool_choice, self.parallel_tool_calls)


def to_params(request: ChatRequest, max_tokens: int, temperature: float) -> SamplingParams:
    """Sampling parameters; `temperature` is the default. ApiError where parameters contradict each other."""
    if request.top_logprobs and not request.logprobs:
        raise ApiError(400, "top_logprobs: allowed only with logprobs", param="top_logprobs")
    held = request.held_to()
    if request.random_seed is not None:
        if request.seed is not None:
            raise ApiError(400, "random_seed: allowed only without seed", param="random_seed")
        request = request.model_copy(update={"seed": request.random_seed})
    try:
        return _params(request, held, max_tokens, temperature)
    except ValueError as error:
        raise refused(error) from None


def _params(request: ChatRequest, held: HeldTo, max_tokens: int, temperature: float) -> SamplingParams:
    return SamplingParams(
        **sampling_of(request, max_tokens, temperature),
        stop=request.stops,
        top_logprobs=request.top_logprobs or 0,
        json_schema=held.json_schema,
        regex=held.regex,
        choices=held.choices,
        adapter=request.adapter,
    )


def spread(request: Any, temperature: float) -> dict[str, Any]:
    """`temperature` (by default the one given) and `top_p` of `SamplingParams`. A `top_p` of 0, which OpenAI takes,
    leaves the likeliest token alone, as a temperature of 0 does."""
    asked = temperature if request.temperature is None else request.temperature
    if request.top_p == 0:
        return {"temperature": 0.0, "top_p": 1.0}
    return {"temperature": asked, "top_p": 1.0 if request.top_p is None else request.top_p}


def sampling_of(request: Any, max_tokens: int, temperature: float) -> dict[str, Any]:
    """The arguments of `SamplingParams` that chats and completions ask for by the same names; None is not given."""
    return {
        "max_tokens": max_tokens,
        **spread(request, temperature),
        "top_k": max(request.top_k or 0, 0),
        "n": request.n or 1,
        "seed": None if request.seed is None else request.seed % 2**63,
        "min_p": request.min_p or 0.0,
        "repetition_penalty": 1.0 if request.repetition_penalty is None else request.repetition_penalty,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "logit_bias": {int(token): bias for token, bias in (request.logit_bias or {}).items()},
    }


def refuse_unknown(extra: Mapping[str, Any] | None, ignored: Sequence[str], neutral: Mapping[str, Any]) -> None:
    """ApiError for a parameter without a field that is neither `ignored` nor given a `neutral` value."""
    for name, value in (extra or {}).items():
        if value is None or name in ignored:
            continue
        if name not in neutral:
            told = f"{name}: this parameter is not known here{instead(name)}"
            raise ApiError(400, told, param=name, code="unknown_parameter")
        if value not in neutral[name]:
            told = f"{name}: this server does not support it{instead(name)}"
            raise ApiError(400, told, param=name, code="unsupported_parameter")


def refuse_unsupported(request: ChatRequest) -> None:
    refuse_unknown(request.model_extra, (*_IGNORED, *ENDS), _NEUTRAL)
    refuse_other_end(request.model_extra or {}, request.messages[-1].role == "assistant")
    last = len(request.messages) - 1
    for i, message in enumerate(request.messages):
        if message.content is None and ROLES[message.role] in ("system", "user"):
            where = f"messages[{i}].content"
            raise ApiError(400, f"{where}: expected a string or a list, got null", param=where)
        for name, value in (message.model_extra or {}).items():
            if not no_field(name, value, i == last and message.role == "assistant"):
                where = f"messages[{i}].{name}"
                raise ApiError(
                    400, f"{where}: this server does not support it", param=where, code="unsupported_parameter"
                )


def no_thoughts(request: ChatRequest) -> str:
    """The parameter by which an answer without thoughts is asked for; '' where none is."""
    given = request.model_extra or {}
    return next((name for name in _NO_THOUGHTS if given.get(name) not in (None, {})), "")


def left_out(request: ChatRequest) -> tuple[str, ...]:
    """What the answer's header says has no effect: names of who speaks, tools' promise to hold to a schema, and fields
    of parts that are not known here."""
    forced = request.tool_choice == "required" or isinstance(request.tool_choice, ChosenFunction)
    shown = [] if forced or request.tool_choice == "none" else request.tools or []
    said = {
        "messages.name": any(one.name and ROLES[one.role] != "tool" for one in request.messages),
        "tools.strict": any(tool.function.strict for tool in shown),
    }
    given = request.model_extra or {}
    said |= {name: given.get(name) not in (None, [], {}) for name in ELSEWHERE}
    names = [name for name, is_so in said.items() if is_so]
    return (*names, *told_names(name for one in request.messages for name in one.unknown()))


def to_prompt(request: ChatRequest, system_prompt: str) -> Conversation:
    """The request's dialogue, after `system_prompt` where it has no system message.

    A dialogue that ends with the assistant is continued: the answer follows its last words.
    """
    messages = [*request.turns]
    if messages[-1].tool_calls:
        last = f"messages[{len(messages) - 1}]"
        raise ApiError(400, f"{last}: expected the results of its tool calls after it", param=f"{last}.tool_calls")
    if system_prompt and not any(message.role == "system" for message in messages):
        messages.insert(0, Message("system", system_prompt))
    return Conversation("", tuple(messages))
