"""What an answer is held to: a JSON schema, a regular expression or a list of texts, as OpenAI, vLLM, SGLang, TGI,
llama.cpp, Ollama and others ask for it. Grammars are refused, with what to send instead.

Why so: decision 118 in docs/LOG.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from steersman.server.errors import ApiError
from steersman.server.request_text import Text

_MOST_REGEX = 4096
_MOST_CHOICES = 256
OBJECT = {"type": "object"}


def _parsed(value: Any) -> Any:
    """A schema that comes as its JSON, as vLLM and SGLang take it too."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


Schema = Annotated[dict[str, Any], BeforeValidator(_parsed)]
Regex = Annotated[Text, Field(min_length=1, max_length=_MOST_REGEX)]
Choices = Annotated[list[Regex], Field(min_length=1, max_length=_MOST_CHOICES)]


class JsonSchema(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    # these keywords do not constrain a grammar
    name: Text | None = None
    description: Text | None = None
    strict: StrictBool | None = None


class TextFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    json_schema: None = None


class JsonObjectFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_object"]
    json_schema: None = None


class JsonSchemaFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(BaseModel):
    """TGI's, whose `value` is the expression; Fireworks' and Together's call it `pattern`."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["regex"]
    value: Regex


def _usual(value: Any) -> Any:
    """A format in the words of TGI, llama.cpp, Together and Fireworks, in OpenAI's."""
    match value:
        case {"type": "json" | "json_object", "value": schema, **rest} if not rest:
            return {"type": "json_schema", "json_schema": {"schema": schema}}
        case {"type": "json_schema", "value": told, **rest} if not rest:
            return {"type": "json_schema", "json_schema": told}
        case {"type": "json_schema" | "json_object", "schema": schema, **rest} if not rest:
            return {"type": "json_schema", "json_schema": {"schema": schema}}
        case {"type": "regex", "pattern": expression, **rest} if not rest:
            return {"type": "regex", "value": expression}
    return value


ResponseFormat = Annotated[
    Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat, Field(discriminator="type")],
    BeforeValidator(_usual),
]


class StructuredOutputs(BaseModel):
    """vLLM's."""

    model_config = ConfigDict(extra="forbid")

    json_: Annotated[Schema | None, Field(alias="json")] = None
    regex: Regex | None = None
    choice: Choices | None = None
    json_object: StrictBool | None = None

    @model_validator(mode="after")
    def _of_which_one_is_given(self) -> Self:
        if sum(value not in (None, False) for value in (self.json_, self.regex, self.choice, self.json_object)) > 1:
            expected = "one of json, regex, choice and json_object"
            raise PydanticCustomError("text", "{expected}", {"expected": expected})
        return self


@dataclass(frozen=True)
class HeldTo:
    """One of these at most is given; they are arguments of `SamplingParams`."""

    json_schema: Mapping[str, Any] | None = None
    regex: str | None = None
    choices: tuple[str, ...] = ()


FREE = HeldTo()
SAME = ("json_schema", "format", "guided_json", "guided_regex", "guided_choice", "structured_outputs")
ONE_OF = ("response_format", "regex", *SAME)
"""Parameters that hold an answer to a form, the last ones in other servers' words; one of them at most is given."""


class Held(BaseModel):
    """The parameters of a request that say to what its answer is held."""

    response_format: ResponseFormat | None = None
    # extensions to OpenAI's API: SGLang's regex and json_schema (llama.cpp's too), Ollama's format, vLLM's
    regex: Regex | None = None
    json_schema: Schema | None = None
    format: Literal["json", ""] | dict[str, Any] | None = None
    guided_json: Schema | None = None
    guided_regex: Regex | None = None
    guided_choice: Choices | None = None
    structured_outputs: StructuredOutputs | None = None

    def held_to(self) -> HeldTo:
        """ApiError where more than one thing is asked for."""
        asked = {name: told for name in ONE_OF if (told := _held(name, getattr(self, name))) != FREE}
        if len(asked) > 1:
            first, second, *_ = asked
            raise ApiError(400, f"{second}: allowed only without {first}", param=second)
        return next(iter(asked.values()), FREE)


def _held(name: str, value: Any) -> HeldTo:
    match name, value:
        case (_, None | "" | TextFormat()):
            return FREE
        case (_, JsonObjectFormat() | StructuredOutputs(json_object=True)) | ("format", "json"):
            return HeldTo(json_schema=OBJECT)
        case _, JsonSchemaFormat():
            return HeldTo(json_schema=value.json_schema.schema_)
        case _, RegexFormat():
            return HeldTo(regex=value.value)
        case _, StructuredOutputs():
            return HeldTo(value.json_, value.regex, tuple(value.choice or ()))
        case (("regex" | "guided_regex"), _):
            return HeldTo(regex=value)
        case "guided_choice", _:
            return HeldTo(choices=tuple(value))
    return HeldTo(json_schema=value)
