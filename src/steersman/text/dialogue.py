"""A dialogue as the messages of a chat template, and what to do where a template cannot say one as it is.

Templates refuse what their family was never trained on: a system message, two turns of one role, a dialogue that begins
with the assistant. Four steps change a dialogue into one that says the same; each is tried only where the template
refuses the dialogue, fewer before more, and what was done is told.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from steersman.types import Conversation, Message

Turns = tuple[Message, ...]
GAP = "\n\n"
"""Between texts that become one turn."""


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as an object, which templates expect, where they are one in a string."""
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
    except ValueError:
        return call


def to_messages(turns: Turns, thoughts: bool, parts: bool = False, written: bool = False) -> list[dict[str, Any]]:
    """Messages for `apply_chat_template`; thoughts as `reasoning_content` where they are wanted.

    `parts`: content as a list of one text part. `written`: arguments of tool calls as they are, text and no object.
    """
    out = []
    for turn in turns:
        content = [{"type": "text", "text": turn.content}] if parts else turn.content
        message: dict[str, Any] = {"role": turn.role, "content": content}
        if turn.thinking and thoughts:
            message["reasoning_content"] = turn.thinking
        if turn.tool_calls:
            message["tool_calls"] = [call if written else _arguments(call) for call in turn.tool_calls]
        message |= {key: value for key in ("tool_call_id", "name") if (value := getattr(turn, key))}
        out.append(message)
    return out


def _merged(first: Message, second: Message) -> Message:
    return dataclasses.replace(
        first,
        content=GAP.join(filter(None, (first.content, second.content))),
        thinking=GAP.join(filter(None, (first.thinking, second.thinking))),
        tool_calls=first.tool_calls + second.tool_calls,
        learn=first.learn and second.learn,
    )


def join_turns(turns: Turns) -> Turns:
    """Neighbours of one role as one turn; tools' results stay apart."""
    out: list[Message] = []
    for turn in turns:
        if out and out[-1].role == turn.role != "tool":
            out[-1] = _merged(out[-1], turn)
        else:
            out.append(turn)
    return tuple(out)


def fold_system(turns: Turns) -> Turns:
    """The system text at the beginning of the first user turn, as families without a system role document it."""
    system = GAP.join(t.content for t in turns if t.role == "system")
    rest = tuple(t for t in turns if t.role != "system")
    if not system:
        return turns
    if not rest or rest[0].role != "user":
        return (Message("user", system), *rest)
    return (dataclasses.replace(rest[0], content=GAP.join(filter(None, (system, rest[0].content)))), *rest[1:])


def lift_system(turns: Turns) -> Turns:
    """System messages that come later as the user's words, where they stand."""
    head = next((i for i, t in enumerate(turns) if t.role != "system"), len(turns))
    later = (dataclasses.replace(t, role="user") if t.role == "system" else t for t in turns[head:])
    return (*turns[:head], *later)


def lead_in(turns: Turns) -> Turns:
    """An empty user turn before a dialogue that the assistant begins."""
    head = next((i for i, t in enumerate(turns) if t.role != "system"), len(turns))
    if head == len(turns) or turns[head].role == "user":
        return turns
    return (*turns[:head], Message("user", ""), *turns[head:])


Step = Callable[[Turns], Turns]
STEPS: dict[str, Step] = {
    "system messages after the first turn are said as the user's": lift_system,
    "the system message is said at the beginning of the first user turn": fold_system,
    "neighbouring turns of one role are joined": join_turns,
    "an empty user turn stands before a dialogue that the assistant begins": lead_in,
}
"""What is told -> what is done, in the order in which several are done."""


def readings(conversation: Conversation) -> Iterator[tuple[tuple[str, ...], Conversation]]:
    """(what was done, the dialogue): as it is first, then by one step, two, ... each different reading once."""
    seen: set[Turns] = set()
    names = list(STEPS)
    subsets: Sequence[tuple[str, ...]] = [c for n in range(len(names) + 1) for c in itertools.combinations(names, n)]
    for subset in subsets:
        turns = conversation.messages
        for name in subset:
            turns = STEPS[name](turns)
        key = tuple(dataclasses.replace(t, tool_calls=()) for t in turns)
        if key not in seen:
            seen.add(key)
            yield subset, dataclasses.replace(conversation, messages=turns)
