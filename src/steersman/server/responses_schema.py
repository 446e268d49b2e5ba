"""The part of OpenAI's Responses request that Steersman supports; other parameters that would change an answer are
refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, StrictInt, Tag

from steersman.parts import Json, Said
from steersman.parts import Text as Words
from steersman.server.asked import Asked
from steersman.server.errors import ApiError, refused
from steersman.server.file_parts import file_said
from steersman.server.openai_schema import refuse_unknown, spread
from steersman.server.request_parts import (
    PART_MARKS,
    ImagePart,
    ImageUrl,
    Loose,
    closed,
    refuse_files,
    to_said,
    told_names,
    unknown_in,
)
from steersman.server.request_text import WHOLE, Number, Text
from steersman.server.responses_tools import AnyChoice, AnyTool, asked_tools, flat_name, wrapped
from steersman.server.tools_schema import MOST
from steersman.types import Conversation, Message, Role, SamplingParams

_IGNORED = (
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "max_tool_calls",
    "stream_options",
    "client_metadata",
)
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "conversation": (),
    "prompt": (),
    "moderation": (),
}
_ROLES: dict[str, Role] = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant"}


class _Item(Loose):
    """An item or part, as this server or OpenAI wrote it: ids, statuses and annotations are accepted."""

    marks = PART_MARKS | {"id", "status", "phase", "logprobs", "created_by", "caller", "agent"}


class WordsPart(_Item):
    type: Literal["input_text", "output_text"]
    text: Text


class RefusedPart(_Item):
    type: Literal["refusal"]
    refusal: Text


class PicturePart(_Item):
    type: Literal["input_image"]
    image_url: Text = Field(json_schema_extra={"pattern": "^data:image/"})
    detail: Literal["auto", "low", "high", "original"] | None = None


class InputFile(_Item):
    type: Literal["input_file"]
    file_data: Text | None = None
    filename: Text | None = None
    file_id: Text | None = None
    file_url: Text | None = None


Content = Annotated[WordsPart | RefusedPart | PicturePart | InputFile, Field(discriminator="type")]


class MessageItem(_Item):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | Annotated[list[Content], Field(fail_fast=True)]


class CallItem(_Item):
    type: Literal["function_call"]
    call_id: Text
    name: Text
    namespace: Text | None = None
    arguments: Text


class CustomCallItem(_Item):
    type: Literal["custom_tool_call"]
    call_id: Text
    name: Text
    namespace: Text | None = None
    input: Text


class OutputItem(_Item):
    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Text
    output: Text | Annotated[list[Content], Field(fail_fast=True)]


class ReferenceItem(_Item):
    """An item that this server has kept: `responses_api` puts the item in its place."""

    type: Literal["item_reference"]
    id: Text


class ReasoningItem(_Item):
    """Of an answer that is sent back: no model is shown it."""

    marks = frozenset({"id", "status", "summary", "content", "encrypted_content"})

    type: Literal["reasoning"]


def _kind(value: Any) -> str:
    given = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return str(given or "message")


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CustomCallItem, Tag("custom_tool_call")]
    | Annotated[OutputItem, Tag("function_call_output")]
    | Annotated[OutputItem, Tag("custom_tool_call_output")]
    | Annotated[ReferenceItem, Tag("item_reference")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


class FormatText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


class FormatObject(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_object"]


class FormatSchema(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_schema"]
    name: Text
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: Text | None = None
    strict: StrictBool | None = None


class TextOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Annotated[FormatText | FormatObject | FormatSchema, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None


class Reasoning(BaseModel):
    """How much to think is a setting of the workspace, not to think the template's; there are no summaries."""

    model_config = ConfigDict(extra="forbid")

    effort: Literal["none"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class Compaction(BaseModel):
    """To be done where a dialogue gets longer than so many tokens: not here, and the answer's header says so."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["compaction"]
    compact_threshold: Annotated[StrictInt, Field(ge=1), WHOLE] | None = None


LOGPROBS = "message.output_text.logprobs"
Included = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
    "file_search_call.results",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
]
"""Values of `include`. But for `LOGPROBS` answers here have no such parts; clients always send them."""


class ResponsesRequest(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=closed(_IGNORED, _NEUTRAL))

    model: Text
    input: Text | Annotated[list[InputItem], Field(min_length=1, fail_fast=True)]
    instructions: Text | None = None
    max_output_tokens: Annotated[StrictInt, Field(ge=1), WHOLE] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    stream: StrictBool | None = None
    store: StrictBool | None = None
    """Whether the response can be asked for again and gone on from; by default yes, for 30 days."""
    previous_response_id: Text | None = None
    metadata: Annotated[dict[Text, Text], Field(max_length=16)] | None = None
    tools: Annotated[list[AnyTool], Field(max_length=MOST, fail_fast=True)] | None = None
    tool_choice: AnyChoice | None = None
    parallel_tool_calls: StrictBool | None = None
    reasoning: Reasoning | None = None
    include: list[Included] | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20), WHOLE] | None = None
    """As many likeliest tokens beside each; a number but 0 asks for log-probabilities as `include` does."""
    text: TextOptions | None = None
    truncation: Literal["disabled", "auto"] | None = None
    """With `auto` the earliest turns are left out of a dialogue that is too long."""
    context_management: list[Compaction] | None = None

    @property
    def wants_logprobs(self) -> bool:
        return bool(self.top_logprobs) or LOGPROBS in (self.include or ())

    @property
    def items(self) -> list[Any]:
        if isinstance(self.input, str):
            return [MessageItem(role="user", content=self.input)]
        return list(self.input)


def refuse_what_changes(request: ResponsesRequest) -> None:
    refuse_unknown(request.model_extra, _IGNORED, _NEUTRAL)


def users_of(request: ResponsesRequest) -> list[str | None]:
    """The ids by which a client may name its user."""
    named = [(request.model_extra or {}).get(name) for name in ("user", "safety_identifier")]
    return [name if isinstance(name, str) else None for name in named]


def to_asked(
    request: ResponsesRequest, before: list[Any], system_prompt: str, max_tokens: int, temperature: float
) -> Asked:
    """The request as a dialogue with settings and tools. `before`: items of the earlier responses that it continues.

    Raises ApiError (400) for content, tools or settings that the model cannot take.
    """
    turns: list[Message] = []
    for i, item in enumerate([*before, *request.items]):
        _add(turns, item, f"input[{max(0, i - len(before))}]")
    if not turns or turns[-1].tool_calls:
        raise ApiError(400, "input: expected something said, or the results of the last calls", param="input")
    rules = request.instructions or ("" if any(t.role == "system" for t in turns) else system_prompt)
    head = [Message("system", rules)] if rules else []
    form = request.text.format if request.text else None
    schema = {"type": "object"} if isinstance(form, FormatObject) else None
    schema = form.schema_ if isinstance(form, FormatSchema) else schema
    try:
        params = SamplingParams(
            max_tokens=request.max_output_tokens or max_tokens,
            **spread(request, temperature),
            top_logprobs=request.top_logprobs or 0,
            json_schema=schema,
        )
    except ValueError as error:
        raise refused(error) from None
    dialogue = Conversation("", (*head, *turns))
    tools = asked_tools(request.tools, request.tool_choice, request.parallel_tool_calls)
    unthinking = "reasoning.effort" if request.reasoning and request.reasoning.effort else ""
    loose = (
        bool(tools.given) and not tools.forced and any(getattr(tool, "strict", None) for tool in request.tools or ())
    )
    said = {"tools.strict": loose, "context_management": bool(request.context_management)}
    left_out = (*(name for name, is_so in said.items() if is_so), *told_names(_unknown(request.items)))
    inserted = len(head) + len(before)
    truncate = request.truncation == "auto"
    return Asked(dialogue, params, tools, inserted, request.max_output_tokens, unthinking, left_out, truncate)


def _unknown(items: list[Any]) -> Iterator[str]:
    yield from unknown_in(items, "input")
    for item in items:
        parts = getattr(item, "content", None) or getattr(item, "output", None)
        yield from unknown_in(parts if isinstance(parts, list) else (), "input.content")


def _add(turns: list[Message], item: Any, where: str) -> None:
    """The item as a turn; calls go into the assistant's turn before them."""
    match item:
        case MessageItem():
            if item.role == "assistant" and not isinstance(item.content, str):
                refuse_files(item.content, InputFile, f"{where}.content")
            turns.append(Message(_ROLES[item.role], _said(item.content, f"{where}.content")))
        case OutputItem():
            turns.append(Message("tool", _said(item.output, f"{where}.output"), tool_call_id=item.call_id))
        case CallItem() | CustomCallItem():
            arguments = item.arguments if isinstance(item, CallItem) else wrapped(item.input)
            function = {"name": flat_name(item.name, item.namespace), "arguments": arguments}
            call: Json = {"id": item.call_id, "type": "function", "function": function}
            last = turns.pop() if turns and turns[-1].role == "assistant" else Message("assistant", "")
            turns.append(Message("assistant", last.said, tool_calls=[*last.tool_calls, call]))


def _said(content: Any, where: str) -> list[Said]:
    if isinstance(content, str):
        return [Words(content)]
    out: list[Said] = []
    for i, part in enumerate(content):
        if isinstance(part, PicturePart):
            try:
                url = ImageUrl(url=part.image_url, detail=part.detail)
            except ValueError:
                place = f"{where}[{i}].image_url"
                raise ApiError(400, f"{place}: expected a data: URL of an image", param=place) from None
            out += to_said([ImagePart(type="image_url", image_url=url)], where)
        elif isinstance(part, InputFile):
            out += file_said(part, part.file_data, part.filename, f"{where}[{i}].file_data")
        else:
            out.append(Words(part.refusal if isinstance(part, RefusedPart) else part.text))
    return out
