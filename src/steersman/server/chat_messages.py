"""Messages of OpenAI's chat completions request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from steersman.parts import Citation, Json
from steersman.parts import Text as Words
from steersman.server.errors import ApiError
from steersman.server.neutral import MARKS, PREFIX
from steersman.server.request_parts import FilePart, ImagePart, Loose, TextPart, refuse_files, to_said, unknown_in
from steersman.server.request_text import WHOLE, Text
from steersman.types import Message, Role

ROLES: dict[str, Role] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


class RefusalPart(Loose):
    type: Literal["refusal"]
    refusal: Text

    @property
    def text(self) -> str:
        return self.refusal


Part = Annotated[TextPart | RefusalPart | ImagePart | FilePart, Field(discriminator="type")]


class CalledFunction(Loose):
    name: Text
    arguments: Text


class ToolCall(Loose):
    marks = frozenset({"index"})

    id: Text | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class UrlCitation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: Text
    title: Text | None = None
    start_index: Annotated[StrictInt, Field(ge=0), WHOLE] = 0
    end_index: Annotated[StrictInt, Field(ge=0), WHOLE] = 0


class Annotation(BaseModel):
    """Of an answer that is sent back: no model is shown it."""

    type: Literal["url_citation"]
    url_citation: UrlCitation

    def citation(self, where: str) -> Citation:
        try:
            return Citation.from_json(self.model_dump(), where)
        except ValueError as error:
            raise ApiError(400, str(error), param=where) from None


def _marked(schema: dict[str, Any]) -> None:
    schema["properties"] |= {name: {} for name in MARKS} | {name: {"enum": [False, None]} for name in PREFIX}
    schema["additionalProperties"] = {"enum": [None, []]}
    silent = {"properties": {"role": {"enum": ["assistant", "tool", "function"]}}}
    schema["anyOf"] = [silent, {"required": ["content"], "properties": {"content": {"not": {"type": "null"}}}}]


class ChatMessageIn(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=_marked)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | Annotated[list[Part], Field(fail_fast=True)] | None = None
    name: Text | None = None
    refusal: Text | None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    reasoning_text: Text | None = None
    """The same, as some servers and FastGPT call it."""
    reasoning_details: list[Any] | None = None
    """The same in parts, some of them encrypted: no model is shown them."""
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    function_call: CalledFunction | None = None
    """A call in OpenAI's first form, which has no id."""
    tool_call_id: Text | None = None
    id: Text | None = None
    """Of a tool's result: its call's, as Qwen-Agent has it; of other messages nobody asks."""
    extra: dict[str, Any] | None = None
    """Qwen-Agent's notes to itself: no model is shown them."""
    annotations: Annotated[list[Annotation], Field(fail_fast=True)] | None = None

    def message(self, where: str, last_call: str = "") -> Message:
        """The turn. `name` is kept for tools only. `last_call`: the id of a call in OpenAI's first form, if this turn
        is that call or its result."""
        role = ROLES[self.role]
        if isinstance(self.content, list):
            if role == "assistant":
                refuse_files(self.content, FilePart, f"{where}.content")
            said = to_said(self.content, f"{where}.content")
        else:
            said = [Words(self.content or self.refusal or "")]
        if role == "tool":
            return Message(role, said, tool_call_id=self.tool_call_id or self.id or last_call, name=self.name or "")
        if role == "assistant":
            said += [one.citation(f"{where}.annotations[{i}]") for i, one in enumerate(self.annotations or ())]
            thoughts = self.reasoning_content or self.reasoning or self.reasoning_text or ""
            return Message(role, said, thinking=thoughts, tool_calls=tuple(self._calls(last_call)))
        return Message(role, said)

    def _calls(self, last_call: str) -> Iterator[Json]:
        given = self.tool_calls or []
        yield from (call.model_dump(exclude_none=True) for call in given)
        if self.function_call and self.function_call not in [call.function for call in given]:
            yield {"id": last_call, "type": "function", "function": self.function_call.model_dump()}

    def unknown(self) -> Iterator[str]:
        """Names of what this turn's parts and calls say that no model here is shown."""
        yield from unknown_in(self.content if isinstance(self.content, list) else (), "messages.content")
        for call in self.tool_calls or ():
            yield from unknown_in((call, call.function), "messages.tool_calls")
        if self.tool_calls and ROLES[self.role] != "assistant":
            yield "messages.tool_calls"


def to_turns(messages: Sequence[ChatMessageIn]) -> list[Message]:
    turns, last_call = [], ""
    for i, message in enumerate(messages):
        last_call = f"call_{i}" if message.function_call else last_call
        turns.append(message.message(f"messages[{i}]", last_call if message.role != "tool" else ""))
    return turns
