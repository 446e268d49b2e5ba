"""`functions` and `function_call` of OpenAI's chat completions, which older clients send: tools by another name.

An answer calls at most one, without an id, and says so in the same form.

Why so: decision 117 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from steersman.parts import ToolCall
from steersman.server.errors import ApiError
from steersman.server.request_text import Text
from steersman.server.tools_schema import MOST, Name, Parameters, Tools, to_tools, tool_json


class OldFunction(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Text | None = None
    parameters: Parameters | None = None


class OldChosen(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name


OldFunctions = Annotated[list[OldFunction], Field(max_length=MOST, fail_fast=True)]
OldChoice = Literal["none", "auto"] | OldChosen


def old_tools(functions: Sequence[OldFunction], choice: Literal["none", "auto"] | OldChosen | None) -> Tools:
    given = [tool_json(one.name, one.description, one.parameters) for one in functions]
    if isinstance(choice, OldChosen) and choice.name not in [one.name for one in functions]:
        message = f"function_call: expected one of 'functions', got {choice.name[:100]!r}"
        raise ApiError(400, message, param="function_call")
    said = f"={choice.name}" if isinstance(choice, OldChosen) else choice or "auto"
    return dataclasses.replace(to_tools(given, said, False), first_form=True)


def call_json(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": call.arguments}
