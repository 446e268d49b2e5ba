"""The part of OpenAI's older completions request (`/v1/completions`) that Steersman answers: text to be continued, and
the log-probabilities of the text itself (`echo`), as evaluation programs ask for them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from steersman.server.errors import ApiError, refused
from steersman.server.held import ONE_OF
from steersman.server.neutral import NEUTRAL, SPEED
from steersman.server.openai_schema import (
    _BIASES,
    MOST_STOPS,
    Bias,
    Penalty,
    Stop,
    StreamOptions,
    TokenId,
    _few,
    refuse_unknown,
    sampling_of,
)
from steersman.server.request_parts import closed
from steersman.server.request_text import WHOLE, Number, Text
from steersman.types import SamplingParams

MOST_PROMPTS = 32
"""Most prompts of one request."""
MOST_ANSWERS = 16
BEGINNING = 500
"""Characters of a prompt that tell its user from others, where none is named."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **{name: values for name, values in NEUTRAL.items() if name not in ("add_special_tokens", "echo")},
    "suffix": ("",),
}
Token = Annotated[StrictInt, Field(ge=0, lt=2**31), WHOLE]
Tokens = Annotated[list[Token], Field(min_length=1, fail_fast=True)]


def _close(schema: dict[str, Any]) -> None:
    closed(SPEED, _NEUTRAL)(schema)
    as_many = {"properties": {"best_of": {"enum": [1, None]}}}
    several = [{"properties": {name: {"const": k} for name in ("n", "best_of")}} for k in range(2, MOST_ANSWERS + 1)]
    schema["properties"]["best_of"] = {}
    schema["anyOf"] = [as_many, *(one | {"required": ["n"]} for one in several)]


class CompletionRequest(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=_close)

    model: Text
    prompt: (
        Text
        | Tokens
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
    )
    """A text, its token ids, or a list of either."""
    max_tokens: Annotated[StrictInt, Field(ge=0), WHOLE] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MOST_ANSWERS), WHOLE] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**53), le=2**53), WHOLE] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[TokenId, Bias], _BIASES, BeforeValidator(_few)] | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=20), WHOLE] | None = None
    """As many likeliest tokens beside each token, whose own log-probability comes with 0 too."""
    echo: StrictBool | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: Text | None = None
    # extensions to OpenAI's API
    top_k: Annotated[StrictInt, Field(ge=-1, le=2**31 - 1), WHOLE] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=10)] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        given: Any = self.prompt
        if isinstance(given, str) or isinstance(given[0], int):
            return [given]
        return list(given)

    @property
    def beginning(self) -> str:
        return str(self.prompts[0])[:BEGINNING]


def checked(request: CompletionRequest) -> None:
    """ApiError where something would change the answer and is not supported."""
    for name in ONE_OF:
        if (request.model_extra or {}).get(name) is not None:
            told = f"{name}: only answers of /v1/chat/completions are held to a form"
            raise ApiError(400, told, param=name, code="unsupported_parameter")
    refuse_unknown(request.model_extra, SPEED, _NEUTRAL | {"best_of": (1, request.n or 1)})  # the best n of n are all


def params_of(request: CompletionRequest, max_tokens: int, temperature: float) -> SamplingParams:
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    try:
        return SamplingParams(
            **sampling_of(request, max_tokens, temperature), stop=stops, top_logprobs=request.logprobs or 0
        )
    except ValueError as error:
        raise refused(error) from None
