"""Tools of `/v1/responses`: functions, those that take words instead of arguments, and several under one name.

Tools that OpenAI runs itself are left out where others are given beside them, and the answer says so.

To the model all are functions: of a tool that takes words these are its one argument, and one under a common name is
called by both names. Calls are answered in the form in which the tool was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from steersman.parts import Json, ToolCall
from steersman.server.errors import ApiError
from steersman.server.request_text import Text
from steersman.server.tools_schema import MOST, Name, Tools, allowed, to_tools, tool_json

_WORDS: Json = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


class _Tool(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FlatTool(_Tool):
    type: Literal["function"]
    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: StrictBool | None = None
    defer_loading: Literal[False] | None = None


class Anything(_Tool):
    type: Literal["text"]


class Grammar(_Tool):
    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: Text


class CustomTool(_Tool):
    type: Literal["custom"]
    name: Name
    description: Text | None = None
    format: Annotated[Anything | Grammar, Field(discriminator="type")] | None = None
    """A grammar is told to the model, like a function's schema: nothing holds its words to it."""
    defer_loading: Literal[False] | None = None

    @property
    def told(self) -> str | None:
        if not isinstance(self.format, Grammar):
            return self.description
        grammar = f"The input follows this grammar ({self.format.syntax}):\n{self.format.definition}"
        return f"{self.description}\n\n{grammar}" if self.description else grammar


class Namespace(_Tool):
    type: Literal["namespace"]
    name: Name
    description: Text | None = None
    tools: Annotated[
        list[Annotated[FlatTool | CustomTool, Field(discriminator="type")]], Field(max_length=MOST, fail_fast=True)
    ]


class HostedTool(BaseModel):
    """A tool that others run, or whose calls have a form of their own. Why it is not refused: decision 100."""

    model_config = ConfigDict(extra="ignore")

    type: Literal[
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "file_search",
        "code_interpreter",
        "image_generation",
        "mcp",
        "computer",
        "computer_use_preview",
        "local_shell",
        "shell",
        "apply_patch",
        "tool_search",
    ]


AnyTool = Annotated[FlatTool | CustomTool | Namespace | HostedTool, Field(discriminator="type")]


class FlatChoice(_Tool):
    type: Literal["function", "custom"]
    name: Name
    namespace: Name | None = None


class FlatAllowed(_Tool):
    """Some of the tools: the model is told of these alone."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FlatChoice], Field(min_length=1, max_length=MOST, fail_fast=True)]


AnyChoice = Literal["none", "auto", "required"] | Annotated[FlatChoice | FlatAllowed, Field(discriminator="type")]


def flat_name(name: str, namespace: str | None) -> str:
    """What the model calls a tool."""
    return f"{namespace}__{name}" if namespace else name


def wrapped(words: str) -> str:
    """The arguments of a tool that takes words."""
    return json.dumps({"input": words}, ensure_ascii=False)


def _each(tools: Sequence[Any]) -> Iterator[tuple[FlatTool | CustomTool, Namespace | None]]:
    for tool in tools:
        if isinstance(tool, Namespace):
            yield from ((inner, tool) for inner in tool.tools)
        elif not isinstance(tool, HostedTool):
            yield tool, None


def left_out(tools: Sequence[Any] | None) -> list[str]:
    """Types of the tools that the model is not told of."""
    return sorted({tool.type for tool in tools or () if isinstance(tool, HostedTool)})


class Given:
    """The tools of a request by the names that the model knows."""

    def __init__(self, tools: Sequence[Any] | None) -> None:
        self._tools: dict[str, tuple[FlatTool | CustomTool, Namespace | None]] = {}
        for tool, space in _each(tools or ()):
            name = flat_name(tool.name, space.name if space else None)
            if name in self._tools:
                raise ApiError(400, f"tools: expected names that differ, got '{name}' twice", param="tools")
            self._tools[name] = tool, space
        if len(self._tools) > MOST:
            raise ApiError(400, f"tools: expected at most {MOST}", param="tools")

    def functions(self) -> list[Json]:
        """In OpenAI's older form, which templates know. What is said of a common name goes before each."""
        found = []
        for name, (tool, space) in self._tools.items():
            own = tool.told if isinstance(tool, CustomTool) else tool.description
            told = "\n\n".join(filter(None, (space.description if space else None, own)))
            found.append(tool_json(name, told, _WORDS if isinstance(tool, CustomTool) else tool.parameters))
        return found

    def item(self, call: ToolCall) -> Json:
        """A call as an item of the response, without id and status."""
        tool, space = self._tools.get(call.name, (None, None))
        item: Json = {"type": "function_call", "call_id": call.id, "name": tool.name if tool else call.name}
        item |= {"namespace": space.name} if space else {}
        if isinstance(tool, CustomTool):
            return item | {"type": "custom_tool_call", "input": _words(call.arguments)}
        return item | {"arguments": call.arguments}


def _words(arguments: str) -> str:
    """Of a call's arguments, which the model may have written otherwise."""
    try:
        given = json.loads(arguments)["input"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return arguments
    return given if isinstance(given, str) else arguments


def asked_tools(tools: Sequence[Any] | None, choice: Any, parallel: bool | None) -> Tools:
    """Of a request. ApiError where names meet, `tool_choice` names none, or a tool is wanted that nobody runs here."""
    given, hosted = Given(tools).functions(), left_out(tools)
    if hosted and choice != "none" and (choice == "required" or not given):
        message = f"tools: this server does not run {', '.join(hosted)}; expected functions or custom tools"
        raise ApiError(400, message, param="tools", code="unsupported_parameter")
    if isinstance(choice, FlatAllowed):
        given = allowed(given, [flat_name(one.name, one.namespace) for one in choice.tools])
        choice = choice.mode
    said = f"={flat_name(choice.name, choice.namespace)}" if isinstance(choice, FlatChoice) else choice or "auto"
    return to_tools(given, "none" if said == "auto" and not given else said, parallel)
