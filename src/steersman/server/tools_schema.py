"""Tools in requests: what may be called, what must be, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr

from steersman.parts import Json
from steersman.server.errors import ApiError
from steersman.server.request_text import Text

NAME = r"^[a-zA-Z0-9_-]{1,128}$"
MOST = 128
"""Most tools of a request."""
Name = Annotated[StrictStr, Field(pattern=NAME)]
Parameters = dict[str, Any]


class Function(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Text | None = None
    parameters: Parameters | None = None
    strict: StrictBool | None = None
    """Accepted: arguments follow the schema where a call is forced by `tool_choice`, else as the model writes them."""


class Tool(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["function"]
    function: Function


class ChosenName(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name


class ChosenFunction(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["function"]
    function: ChosenName


class Allowed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenFunction], Field(min_length=1, max_length=MOST, fail_fast=True)]


class AllowedChoice(BaseModel):
    """Some of the tools: the model is told of these alone."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


ToolList = Annotated[list[Tool], Field(max_length=MOST, fail_fast=True)]


def _usual(choice: Any) -> Any:
    """Mistral's word in OpenAI's."""
    return "required" if choice == "any" else choice


Choice = Annotated[
    Literal["none", "auto", "required"] | Annotated[ChosenFunction | AllowedChoice, Field(discriminator="type")],
    BeforeValidator(_usual),
]


@dataclass(frozen=True)
class Tools:
    """What a request says of tools, whatever its form."""

    given: tuple[Json, ...] = ()
    """In OpenAI's form."""
    forced: tuple[Json, ...] = ()
    """One of these must be called."""
    parallel: bool = True
    """Whether an answer may have several calls."""
    first_form: bool = False
    """Whether calls are told in OpenAI's first form, which has no ids."""


NO_TOOLS = Tools()


def tool_json(name: str, description: str | None, parameters: Parameters | None) -> Json:
    function: Json = {"name": name} | ({"description": description} if description else {})
    return {"type": "function", "function": function | {"parameters": parameters or _NOTHING}}


_NOTHING: Json = {"type": "object", "properties": {}}


def to_tools(given: list[Json], choice: str, parallel: bool | None) -> Tools:
    """`choice`: none, auto, required, or =NAME of the one that must be called. ApiError where it names none."""
    if choice in ("none", ""):
        return NO_TOOLS
    if choice == "auto":
        return Tools(tuple(given), (), parallel is not False)
    forced = [tool for tool in given if choice in ("required", f"={tool['function']['name']}")]
    if not forced:
        what = choice.removeprefix("=")
        raise ApiError(400, f"tool_choice: expected one of 'tools', got {what[:100]!r}", param="tool_choice")
    return Tools(tuple(given), tuple(forced), False)


def allowed(given: list[Json], names: Sequence[str]) -> list[Json]:
    """The tools of these names. ApiError where one is not there."""
    known = {tool["function"]["name"]: tool for tool in given}
    for name in names:
        if name not in known:
            raise ApiError(400, f"tool_choice: expected some of 'tools', got {name[:100]!r}", param="tool_choice")
    return [tool for name, tool in known.items() if name in names]


def chat_tools(tools: list[Tool] | None, choice: Any, parallel: bool | None) -> Tools:
    """Of a chat completions request."""
    given = [tool_json(t.function.name, t.function.description, t.function.parameters) for t in tools or ()]
    if isinstance(choice, AllowedChoice):
        given = allowed(given, [one.function.name for one in choice.allowed_tools.tools])
        return to_tools(given, choice.allowed_tools.mode, parallel)
    said = f"={choice.function.name}" if isinstance(choice, ChosenFunction) else choice or ("auto" if given else "none")
    return NO_TOOLS if said == "auto" and not given else to_tools(given, said, parallel)


def forced_schema(forced: tuple[Json, ...]) -> Json:
    """The schema of an answer that is one call."""
    each = [
        {
            "type": "object",
            "properties": {"name": {"const": tool["function"]["name"]}, "arguments": tool["function"]["parameters"]},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in forced
    ]
    return each[0] if len(each) == 1 else {"anyOf": each}
