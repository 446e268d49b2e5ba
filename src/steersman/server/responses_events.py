"""A response in the making: OpenAI's object, and every event of its stream in order."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from steersman.parts import Json, ToolCall
from steersman.server.asked import Answering, Ended
from steersman.server.logprobs import Told
from steersman.server.responses_schema import ResponsesRequest
from steersman.server.responses_tools import FlatAllowed, FlatChoice, FlatTool, Given, HostedTool


def item_id(kind: str, response: str, place: int) -> str:
    """The id of an item, which names the response that it is of."""
    return f"{kind}_{response.removeprefix('resp_')}{place:02x}"


def response_of(item: str) -> str:
    """The id of the response that an item is of, by its own."""
    return f"resp_{item.partition('_')[2][:32]}"


class Response:
    """Grows by `add`, each call of which yields the events that it makes, to be written by `json`.

    Log-probabilities, which may be megabytes and are in five events, are known at an answer's end: calls and what
    follows them wait for it where they are asked for. `add` should then have a thread.
    """

    def __init__(self, request: ResponsesRequest, answering: Answering) -> None:
        self.id = f"resp_{uuid.uuid4().hex}"
        self._given = Given(request.tools)
        self._number = 0
        self._tokens = answering.tokens
        self.body = _blank(self.id, request, answering)
        self._output: list[Json] = self.body["output"]
        self._waiting: list[str | ToolCall] | None = [] if request.wants_logprobs else None
        self._told: Told | None = None
        self._logprobs: dict[str, str] = {}
        """By the names that stand for them."""
        self._engine = answering.engine
        self._words: list[str] | None = None
        """Of the message that is being written."""

    def _event(self, kind: str, **more: Any) -> Json:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1} | more

    def _whole(self, kind: str) -> Json:
        return self._event(f"response.{kind}", response=json.loads(json.dumps(self.body)))

    def begin(self) -> Iterator[Json]:
        yield self._whole("created")
        yield self._whole("in_progress")

    def json(self, one: Json) -> str:
        """An event or the body. Its log-probabilities are put in as they are, without parsing them."""
        text = json.dumps(one, separators=(",", ":"))
        for name, logprobs in self._logprobs.items():
            text = text.replace(f'"{name}"', logprobs)
        return text

    @property
    def stored(self) -> Json:
        """The body without log-probabilities."""
        output = [
            item | {"content": [part | {"logprobs": []} for part in item["content"]]} if "content" in item else item
            for item in self._output
        ]
        return self.body | {"output": output}

    def add(self, item: str | ToolCall | Ended) -> Iterator[Json]:
        if self._waiting is not None:
            if isinstance(item, Ended):
                waited, self._waiting = self._waiting, None
                self._told = Told(self._engine, item.completion)
                for one in waited:
                    yield from self.add(one)
            elif self._waiting or isinstance(item, ToolCall):
                self._waiting.append(item)
                return
        if isinstance(item, str):
            if item:
                yield from self._add_words(item)
            return
        yield from self._close_words(last=isinstance(item, Ended))
        if isinstance(item, ToolCall):
            if self._told is not None:
                self._told.passed(item)
            yield from self._add_call(item)
        else:
            yield from self._end(item)

    def _add_words(self, piece: str) -> Iterator[Json]:
        if self._words is None:
            self._words = []
            item = {"id": self._item_id("msg"), "type": "message", "role": "assistant", "status": "in_progress"}
            self._output.append(item | {"content": []})
            yield self._event("response.output_item.added", output_index=self._place, item=self._output[-1] | {})
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            yield self._part("response.content_part.added", part=part)
        self._words.append(piece)
        yield self._part("response.output_text.delta", delta=piece, logprobs=[])

    def _item_id(self, kind: str) -> str:
        return item_id(kind, self.id, len(self._output))

    @property
    def _place(self) -> int:
        return len(self._output) - 1

    def _part(self, kind: str, **more: Any) -> Json:
        return self._event(kind, item_id=self._output[-1]["id"], output_index=self._place, content_index=0, **more)

    def _close_words(self, last: bool) -> Iterator[Json]:
        if self._words is None:
            return
        text, self._words = "".join(self._words), None
        logprobs: Any = []
        if self._told is not None:
            logprobs = f"logprobs-{self.id}-{self._place}"
            self._logprobs[logprobs] = self._told.json(text, last)
            yield self._part("response.output_text.delta", delta="", logprobs=logprobs)
        yield self._part("response.output_text.done", text=text, logprobs=logprobs)
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
        yield self._part("response.content_part.done", part=part)
        self._output[-1] |= {"status": "completed", "content": [part]}
        yield self._event("response.output_item.done", output_index=self._place, item=self._output[-1] | {})

    def _add_call(self, call: ToolCall) -> Iterator[Json]:
        told = self._given.item(call)
        custom = told["type"] == "custom_tool_call"
        field = "input" if custom else "arguments"
        item = {"id": self._item_id("ctc" if custom else "fc")} | told
        self._output.append(item | {"status": "completed"})
        where = {"item_id": item["id"], "output_index": self._place}
        kind = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
        begun = item | {field: "", "status": "in_progress"}
        yield self._event("response.output_item.added", output_index=self._place, item=begun)
        yield self._event(f"{kind}.delta", **where, delta=told[field])
        named = {} if custom else {"name": told["name"]}
        yield self._event(f"{kind}.done", **where, **named, **{field: told[field]})
        yield self._event("response.output_item.done", output_index=self._place, item=self._output[-1] | {})

    def _end(self, ended: Ended) -> Iterator[Json]:
        answered, asked = ended.completion.tokens, ended.completion.counted[0] or self._tokens
        self.body["usage"] = {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answered,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + answered,
        }
        cut = ended.reason == "length"
        self.body["status"] = "incomplete" if cut else "completed"
        self.body["completed_at"] = None if cut else int(time.time())
        self.body["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        yield self._whole("incomplete" if cut else "completed")

    def fail(self, message: str) -> Json:
        self.body |= {"status": "failed", "error": {"code": "server_error", "message": message}}
        return self._whole("failed")


def _shown(tool: Any) -> Json:
    """A tool as OpenAI says it again."""
    if isinstance(tool, FlatTool):
        return tool.model_dump(exclude={"defer_loading"}) | {"strict": bool(tool.strict)}
    return dict(tool.model_dump(exclude_none=True))


def _blank(id_: str, request: ResponsesRequest, answering: Answering) -> Json:
    choice = request.tool_choice
    form = request.text.format if request.text else None
    return {
        "id": id_,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "model": answering.found.name,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "store": request.store is not False,
        "temperature": answering.params.temperature,
        "text": {"format": {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True)},
        "tool_choice": choice.model_dump(exclude_none=True)
        if isinstance(choice, FlatChoice | FlatAllowed)
        else choice or "auto",
        "tools": [_shown(tool) for tool in request.tools or () if not isinstance(tool, HostedTool)],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": answering.params.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": None,
    }
