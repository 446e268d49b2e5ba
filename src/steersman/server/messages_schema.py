"""The part of Anthropic's Messages request that Steersman answers; what would change it is refused."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from steersman.parts import Json, Said
from steersman.parts import Text as Words
from steersman.server.anthropic_errors import UNTHREADED
from steersman.server.asked import Asked
from steersman.server.errors import ApiError
from steersman.server.file_parts import document, file_said
from steersman.server.openai_schema import MOST_STOPS, refuse_unknown, spread
from steersman.server.request_parts import (
    PART_MARKS,
    ImagePart,
    ImageUrl,
    Loose,
    closed,
    to_said,
    told_names,
    unknown_in,
)
from steersman.server.request_text import WHOLE, Number, Text
from steersman.server.tools_schema import MOST, Name, Tools, to_tools, tool_json
from steersman.types import Conversation, Message, SamplingParams

_IGNORED = ("metadata", "service_tier", "cache_control", "betas", "inference_geo")
_NEUTRAL: dict[str, tuple[Any, ...]] = {"mcp_servers": ([],), "container": ()}


class _Block(Loose):
    """A part of content."""

    marks = PART_MARKS | {"citations", "caller"}


class TextBlock(_Block):
    type: Literal["text"]
    text: Text


class ImageSource(_Block):
    type: Literal["base64"]
    media_type: Literal["image/png", "image/jpeg", "image/webp", "image/gif"]
    data: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class ImageBlock(_Block):
    type: Literal["image"]
    source: ImageSource


Seen = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class PlainSource(_Block):
    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Text


class FileSource(_Block):
    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: Text


class ContentSource(_Block):
    type: Literal["content"]
    content: Text | Annotated[list[Seen], Field(fail_fast=True)]


class DocumentBlock(_Block):
    """A document in words (and images), or a PDF's words, which stand in the turn. What is elsewhere is refused."""

    marks = PART_MARKS

    type: Literal["document"]
    source: Annotated[PlainSource | FileSource | ContentSource, Field(discriminator="type")]
    title: Text | None = None
    context: Text | None = None

    @property
    def words(self) -> str | list[Any]:
        return self.source.content if isinstance(self.source, ContentSource) else self.source.data


class SearchResultBlock(_Block):
    """The same, of a search."""

    marks = PART_MARKS

    type: Literal["search_result"]
    title: Text
    source: Text
    content: Annotated[list[TextBlock], Field(fail_fast=True)]

    @property
    def context(self) -> str:
        return self.source

    @property
    def words(self) -> list[Any]:
        return self.content


Shown = Annotated[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock, Field(discriminator="type")]


class ToolUseBlock(_Block):
    type: Literal["tool_use"]
    id: Text
    name: Text
    input: dict[str, Any]


class ToolResultBlock(_Block):
    type: Literal["tool_result"]
    tool_use_id: Text
    content: Text | list[Shown] | None = None
    is_error: StrictBool | None = None


class ThinkingBlock(_Block):
    """Of an answer that is sent back: no model is shown it."""

    marks = frozenset({"thinking", "signature", "data", "cache_control"})

    type: Literal["thinking", "redacted_thinking"]


Block = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock,
    Field(discriminator="type"),
]


class Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant", "system"]
    content: Text | Annotated[list[Block], Field(fail_fast=True)]


class MessagesTool(Loose):
    """A tool. Marks for caching, and how its arguments are streamed, are accepted and mean nothing."""

    marks = frozenset({"cache_control", "eager_input_streaming"})

    type: Literal["custom"] | None = None
    name: Name
    description: Text | None = None
    input_schema: dict[str, Any]
    # these are said to have no effect, see `_left_out`
    strict: StrictBool | None = None
    defer_loading: StrictBool | None = None
    input_examples: list[Any] | None = None
    allowed_callers: list[Any] | None = None


class MessagesChoice(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["auto", "any", "tool", "none"]
    name: Text | None = None
    disable_parallel_tool_use: StrictBool | None = None


class Thinking(BaseModel):
    """Adaptive: as much as the model likes, none among it. Disabled: none, where its template can ask for that."""

    type: Literal["disabled", "adaptive"]


class Cleared(BaseModel):
    """Of thoughts, which no model is shown again."""

    type: Literal["clear_thinking_20251015"]


class ContextManagement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    edits: list[Cleared] | None = None


class OutputFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    effort: Literal["high"] | None = None
    """Anthropic's default: as without it."""
    format: OutputFormat | None = None


class CountRequest(BaseModel):
    model_config = ConfigDict(extra="allow", json_schema_extra=closed(_IGNORED, _NEUTRAL))

    model: Text
    messages: Annotated[list[Turn], Field(min_length=1, fail_fast=True)]
    system: Text | Annotated[list[TextBlock], Field(fail_fast=True)] | None = None
    tools: Annotated[list[MessagesTool], Field(max_length=MOST, fail_fast=True)] | None = None
    tool_choice: MessagesChoice | None = None
    thinking: Thinking | None = None
    context_management: ContextManagement | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """As it was called before `output_config.format`."""

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        form = (self.output_config and self.output_config.format) or self.output_format
        return form.schema_ if form else None


class MessagesRequest(CountRequest):
    model_config = ConfigDict(extra="allow", json_schema_extra=closed(_IGNORED, _NEUTRAL))

    max_tokens: Annotated[StrictInt, Field(ge=1), WHOLE]
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[StrictInt, Field(ge=0, le=2**31 - 1), WHOLE] | None = None
    stop_sequences: (
        Annotated[list[Annotated[Text, Field(min_length=1, max_length=1000)]], Field(max_length=MOST_STOPS)] | None
    ) = None
    stream: StrictBool | None = None


def refuse_what_changes(request: CountRequest) -> None:
    if (request.model_extra or {}).get("thread") is not None:
        told = "thread: no conversation is held between requests here; send the whole one"
        raise ApiError(400, told, param="thread", code=UNTHREADED)
    refuse_unknown(request.model_extra, _IGNORED, _NEUTRAL)


def user_of(request: MessagesRequest) -> str | None:
    """`metadata.user_id`, by which a client names its user."""
    metadata = (request.model_extra or {}).get("metadata")
    named = metadata.get("user_id") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) else None


def to_asked(request: CountRequest, system_prompt: str, temperature: float) -> Asked:
    """ApiError where content cannot be said."""
    turns = [turn for i, one in enumerate(request.messages) for turn in _turns(one, f"messages[{i}]")]
    system = request.system if isinstance(request.system, str) else "\n\n".join(b.text for b in request.system or ())
    head = [Message("system", system or system_prompt)] if system or system_prompt else []
    given = [tool_json(tool.name, tool.description, tool.input_schema) for tool in request.tools or ()]
    params = SamplingParams(max_tokens=1)
    if isinstance(request, MessagesRequest):
        params = SamplingParams(
            max_tokens=request.max_tokens,
            **spread(request, temperature),
            top_k=request.top_k or 0,
            stop=tuple(request.stop_sequences or ()),
            json_schema=request.schema_of_answer,
        )
    limit = getattr(request, "max_tokens", 1)
    tools, unthinking = _tools(given, request.tool_choice), "thinking" if _disabled(request.thinking) else ""
    dialogue = Conversation("", (*head, *turns))
    return Asked(dialogue, params, tools, len(head), limit, unthinking, _left_out(request, tools))


def _left_out(request: CountRequest, tools: Tools) -> tuple[str, ...]:
    """What the answer's header says has no effect: arguments follow a schema only where a call is forced, and a tool is
    shown as it is."""
    shown = request.tools or () if tools.given else ()
    said = {
        "tools.strict": not tools.forced and any(tool.strict for tool in shown),
        "tools.defer_loading": any(tool.defer_loading for tool in shown),
        "tools.input_examples": any(tool.input_examples for tool in shown),
        "tools.allowed_callers": any(tool.allowed_callers not in (None, ["direct"]) for tool in shown),
    }
    told = [request.system, *(turn.content for turn in request.messages)]
    blocks: list[Any] = [block for one in told if isinstance(one, list) for block in one]
    results = [block.content for block in blocks if isinstance(block, ToolResultBlock)]
    blocks += [block for one in results if isinstance(one, list) for block in one]
    documents = [block for block in blocks if isinstance(block, DocumentBlock)]
    blocks += [block.source for block in documents]
    blocks += [one for block in documents if isinstance(block.words, list) for one in block.words]
    names = [name for name, is_so in said.items() if is_so]
    return (*names, *told_names([*unknown_in(blocks, "messages.content"), *unknown_in(shown, "tools")]))


def _disabled(thinking: Thinking | None) -> bool:
    return thinking is not None and thinking.type == "disabled"


def _tools(given: list[Json], choice: MessagesChoice | None) -> Tools:
    if choice is None:
        return to_tools(given, "auto" if given else "none", None)
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    said = {"auto": "auto" if given else "none", "any": "required", "none": "none", "tool": f"={choice.name or ''}"}
    return to_tools(given, said[choice.type], parallel)


def _turns(turn: Turn, where: str) -> list[Message]:
    """A turn as ours: results of tools are turns of their own, before what the user says with them."""
    if isinstance(turn.content, str):
        return [Message(turn.role, turn.content)]
    said: list[Said] = []
    calls: list[Json] = []
    results: list[Message] = []
    for i, block in enumerate(turn.content):
        place = f"{where}.content[{i}]"
        match block:
            case TextBlock() | ImageBlock():
                said += _shown(block, place)
            case DocumentBlock() | SearchResultBlock() if turn.role == "user":
                said += _shown(block, place)
            case ToolUseBlock() if turn.role == "assistant":
                arguments = json.dumps(block.input, ensure_ascii=False)
                function = {"name": block.name, "arguments": arguments}
                calls.append({"id": block.id, "type": "function", "function": function})
            case ToolResultBlock() if turn.role == "user":
                results.append(Message("tool", _result(block, place), tool_call_id=block.tool_use_id))
            case ThinkingBlock() if turn.role == "assistant":
                pass
            case _:
                raise ApiError(400, f"{place}: expected no {block.type} in the {turn.role}'s turn", param=place)
    own = [Message(turn.role, said, tool_calls=calls)] if said or calls or not results else []
    return [*results, *own]


def _shown(block: Any, place: str) -> list[Said]:
    if isinstance(block, TextBlock):
        return [Words(block.text)]
    if not isinstance(block, ImageBlock):
        if isinstance(block.source, FileSource):
            return file_said(block, block.source.data, "\n".join(filter(None, (block.title, block.context))), place)
        inside = block.words
        said = [Words(inside)] if isinstance(inside, str) else [s for one in inside for s in _shown(one, place)]
        return document(said, block.title, block.context)
    url = f"data:{block.source.media_type};base64,{block.source.data}"
    return to_said([ImagePart(type="image_url", image_url=ImageUrl(url=url))], place)


def _result(block: ToolResultBlock, place: str) -> list[Said]:
    failed = [Words("Error: ")] if block.is_error else []
    if not isinstance(block.content, list):
        return [*failed, Words(block.content or "")]
    return [*failed, *(said for one in block.content for said in _shown(one, place))]
