"""Dialogues: a `Message` is a turn, made of parts; a `Conversation` is a list of turns.

Both read and write plain JSON through `to_json` / `from_json`, in OpenAI's form. A turn of nothing but words is written
with its words as `content`; one with images as a list of parts.

Why so: decision 53 in docs/LOG.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from steersman.parts import (
    Citation,
    Image,
    Json,
    Part,
    Said,
    Text,
    ToolCall,
    ToolResult,
    expect,
    merged,
    said_in,
    text_of,
)

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """One turn of a dialogue.

    `Message("user", "hi")`, `Message("user", [Image(...), Text("What is it?")])`. Parts are kept in their usual order:
    what is said, citations, calls of tools. A tool's turn is one `ToolResult`.
    """

    role: Role
    parts: tuple[Part, ...]
    learn: bool
    """False: an assistant's turn that is context alone, never a target of training."""
    thinking: str
    """The assistant's thoughts before its answer, for models that write them; never part of the content."""
    name: str
    """In a tool's turn: the tool's name."""
    text: str = field(init=False, compare=False, repr=False)
    """The words only; images are lost here."""

    def __init__(
        self,
        role: Role,
        content: str | Iterable[Part] | None = None,
        learn: bool = True,
        thinking: str = "",
        tool_calls: Iterable[Json | ToolCall] = (),
        tool_call_id: str = "",
        name: str = "",
        parts: Iterable[Part] | None = None,
    ) -> None:
        """`content`: text, or a list of parts. `tool_calls`, in OpenAI's form or as parts, `tool_call_id` and
        `name` make calls and results of tools of it; `parts` are all of them as they are."""
        if parts is None and isinstance(content, str) and role != "tool" and not (tool_calls or tool_call_id):
            # the most frequent case
            self._set(role, (Text(content),) if content else (), learn, thinking, name, content)
            return
        if parts is None:
            said: Iterable[Part] = [Text(content)] if isinstance(content, str) else content or ()
            parts = [*said, *(c if isinstance(c, ToolCall) else ToolCall.from_json(c) for c in tool_calls)]
        elif content is not None or tool_calls or tool_call_id:
            raise TypeError("Message: expected 'content' or 'parts', got both")
        parts = merged(parts)
        result = next((p for p in parts if isinstance(p, ToolResult)), None)
        if result is None and (role == "tool" or tool_call_id):
            calls = [p for p in parts if isinstance(p, ToolCall)]
            parts = (ToolResult(tool_call_id, name, said_in(parts)), *calls)
        elif result is not None:
            expect(sum(not isinstance(p, ToolCall) for p in parts) == 1, "message", "one tool's result", len(parts))
            name = result.name
        self._set(role, parts, learn, thinking, name, text_of(parts))

    def _set(self, *values: Any) -> None:
        for name, value in zip(("role", "parts", "learn", "thinking", "name", "text"), values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def said(self) -> tuple[Said, ...]:
        """The content parts, including those of a tool's result, without calls of tools."""
        return said_in(self.parts)

    @property
    def spelled(self) -> str:
        """The words, and the path of each image in brackets where it stands: tells turns apart, shows them as text."""
        if not self.images:
            return self.text
        return "".join(f"[{p.path}]" if isinstance(p, Image) else text_of([p]) for p in self.said)

    @property
    def content(self) -> str:
        """The words of a turn that has no images; ValueError where it has one, which would be lost."""
        if self.images:
            raise ValueError(f"the {self.role}'s turn has an image, its content is no string; expected .text or .said")
        return self.text

    @property
    def images(self) -> tuple[Image, ...]:
        if not self.parts or (len(self.parts) == 1 and isinstance(self.parts[0], Text)):
            return ()
        return tuple(part for part in self.said if isinstance(part, Image))

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(part for part in self.said if isinstance(part, Citation))

    @property
    def tool_calls(self) -> tuple[Json, ...]:
        """The assistant's calls of tools, in OpenAI's form (`{"type": "function", "function": {...}}`)."""
        return tuple(part.to_json() for part in self.parts if isinstance(part, ToolCall))

    @property
    def tool_call_id(self) -> str:
        """In a tool's turn: the id of the call that it answers."""
        return next((part.call_id for part in self.parts if isinstance(part, ToolResult)), "")

    def saying(self, said: Iterable[Part]) -> Message:
        """The same turn with other content; calls, thoughts and the answered call's id are kept."""
        calls = [part for part in self.parts if isinstance(part, ToolCall)]
        return Message(self.role, said, self.learn, self.thinking, calls, self.tool_call_id, self.name)

    def mapped(self, change: Callable[[str], str]) -> Message:
        """The same turn with each of its texts changed; citations go with their words."""
        changed = [Text(change(part.text)) if isinstance(part, Text) else part for part in self.said]
        old, new = self.text, text_of(changed)
        if old == new:
            return self
        return self.saying(part.moved(old, new) if isinstance(part, Citation) else part for part in changed)

    def to_json(self) -> Json:
        content: Any = self.text
        if self.images:
            content = [part.to_json() for part in self.said if not isinstance(part, Citation)]
        out: Json = {"role": self.role, "content": content}
        if not self.learn:
            out["learn"] = False
        if calls := self.tool_calls:
            out["tool_calls"] = list(calls)
        given = {"thinking": self.thinking, "tool_call_id": self.tool_call_id, "name": self.name}
        out |= {key: value for key, value in given.items() if value}
        return out | ({"annotations": [c.to_json() for c in cited]} if (cited := self.citations) else {})

    @staticmethod
    def from_json(value: Any, where: str = "message") -> Message:
        expect(isinstance(value, Mapping), where, "an object with 'role' and 'content'", value)
        expect(value.get("role") in ROLES, f"{where}.role", f"one of {', '.join(ROLES)}", value.get("role"))
        said = read_said(value.get("content"), f"{where}.content")
        learn, calls, cited = value.get("learn", True), value.get("tool_calls", []), value.get("annotations", [])
        expect(isinstance(learn, bool), f"{where}.learn", "true or false", learn)
        good = isinstance(calls, list) and all(isinstance(call, Mapping) for call in calls)
        expect(good, f"{where}.tool_calls", "a list of objects", calls)
        expect(isinstance(cited, list), f"{where}.annotations", "a list of objects", cited)
        said += [Citation.from_json(one, f"{where}.annotations[{i}]") for i, one in enumerate(cited)]
        texts = {key: value.get(key, "") for key in ("thinking", "tool_call_id", "name")}
        for key, text in texts.items():
            expect(isinstance(text, str), f"{where}.{key}", "a string", text)
        return Message(cast(Role, value["role"]), said, learn, tool_calls=calls, **texts)


def read_said(value: Any, where: str) -> list[Said]:
    """Content parts from our own JSON: a string, or a list of texts, images in a workspace, and annotations."""
    if isinstance(value, str):
        return [Text(value)]
    expect(isinstance(value, list), where, "a string, or a list of parts", value)
    out: list[Said] = []
    for i, part in enumerate(value):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "url_citation":
            out.append(Citation.from_json(part, f"{where}[{i}]"))
            continue
        expect(kind in ("text", "image_url"), f"{where}[{i}]", "a part of type text or image_url", part)
        if kind == "text":
            expect(isinstance(part.get("text"), str), f"{where}[{i}].text", "a string", part.get("text"))
            out.append(Text(part["text"]))
        else:
            out.append(Image.from_json(part, f"{where}[{i}]"))
    return out


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue with turns in any order of roles; each model's chat template decides what it accepts.

    As a *prompt* it ends with the user (or with a tool's result); as a *demonstration* it ends with the assistant.
    `meta` is JSON-able and travels with the record (the shop domain keeps its checkable facts there).
    """

    id: str
    messages: tuple[Message, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    tools: tuple[Json, ...] = ()
    """Tools that the assistant may call, in OpenAI's form (`{"type": "function", "function": {...}}`)."""
    think: bool = True
    """False: whoever asks wants an answer without thoughts, where the model's template can ask for that. It belongs to
    one request and is not in a record's JSON."""

    @property
    def is_prompt(self) -> bool:
        return bool(self.messages) and self.messages[-1].role != "assistant"

    @property
    def last_user(self) -> str:
        """Text of the last user turn ('' where there is none)."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")

    def with_answer(self, text: str) -> Conversation:
        """This prompt with an assistant turn appended."""
        return dataclasses.replace(self, messages=(*self.messages, Message("assistant", text)))

    def without_answer(self) -> Conversation:
        """This demonstration without its last assistant turn, which makes it a prompt."""
        assert self.messages, "an empty conversation"
        assert self.messages[-1].role == "assistant", "a prompt already"
        return dataclasses.replace(self, messages=self.messages[:-1])

    def to_json(self) -> Json:
        out: Json = {"id": self.id, "messages": [m.to_json() for m in self.messages]}
        if self.tools:
            out["tools"] = list(self.tools)
        if self.meta:
            out["meta"] = dict(self.meta)
        return out

    @staticmethod
    def from_json(value: Any, where: str = "conversation") -> Conversation:
        expect(isinstance(value, Mapping), where, "an object with 'messages'", value)
        raw = value.get("messages")
        expect(isinstance(raw, list) and len(raw) > 0, f"{where}.messages", "a non-empty list", raw)
        messages = tuple(Message.from_json(m, f"{where}.messages[{i}]") for i, m in enumerate(raw))
        tools = value.get("tools", [])
        good = isinstance(tools, list) and all(isinstance(tool, Mapping) for tool in tools)
        expect(good, f"{where}.tools", "a list of objects", tools)
        meta = value.get("meta", {})
        expect(isinstance(meta, Mapping), f"{where}.meta", "an object", meta)
        return Conversation(str(value.get("id", "")), messages, dict(meta), tuple(map(dict, tools)))
