"""A dialogue as the messages of a chat template, and the changes for templates that refuse a dialogue.

Templates refuse what their family was never trained on: a system message, two turns of one role, a dialogue that begins
with the assistant. Four steps change a dialogue into an equivalent one. The steps that a template needs are found
once (`needed`), so that a dialogue and its beginning are treated alike; where they do not suffice, further steps are
tried (`readings`), fewer before more. Applied steps are reported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steersman.parts import Citation, Image, Part, joined
from steersman.types import Conversation, Message, Role

Turns = tuple[Message, ...]
GAP = "\n\n"
"""Separator of texts that are joined into one turn."""


@dataclass(frozen=True)
class Form:
    """The form of tool calls that a template expects."""

    as_text: bool = False
    """Whether arguments are a string of JSON instead of an object."""
    without_content: bool = False
    """Whether empty content beside calls is left out."""


FORMS = (Form(), Form(without_content=True), Form(as_text=True), Form(True, True))


def _call(call: dict[str, Any], as_text: bool) -> dict[str, Any]:
    """A tool call with its arguments as an object, which most templates expect, or if `as_text` as JSON."""
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    arguments = function.get("arguments", {})
    if as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    elif not as_text and isinstance(arguments, str):
        with contextlib.suppress(ValueError):
            arguments = json.loads(arguments or "{}")
    return {**call, "function": {**function, "arguments": arguments}}


def to_message(turn: Message, form: Form = FORMS[0], parts: bool = False) -> dict[str, Any]:
    """A message for `apply_chat_template`; thoughts under both names that templates know.

    Content is a list where the turn has images, as transformers' processors hand it over, and where `parts` says so.
    """
    content: Any = [{"type": "text", "text": turn.text}] if parts else turn.text
    if turn.images:
        content = [
            {"type": "image"} if isinstance(p, Image) else p.to_json() for p in turn.said if not isinstance(p, Citation)
        ]
    message: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.thinking:
        message |= {"reasoning_content": turn.thinking, "thinking": turn.thinking}
    if turn.tool_calls:
        message["tool_calls"] = [_call(call, form.as_text) for call in turn.tool_calls]
        if form.without_content and not (turn.text or turn.images):
            del message["content"]
    return message | {key: value for key in ("tool_call_id", "name") if (value := getattr(turn, key))}


def _merged(first: Message, second: Message) -> Message:
    return dataclasses.replace(
        first,
        parts=joined(first.parts, second.parts, GAP),
        thinking=GAP.join(filter(None, (first.thinking, second.thinking))),
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
    system: tuple[Part, ...] = ()
    for turn in turns:
        system = joined(system, turn.parts, GAP) if turn.role == "system" else system
    rest = tuple(t for t in turns if t.role != "system")
    if not system:
        return turns
    if not rest or rest[0].role != "user":
        return (Message("user", system), *rest)
    return (dataclasses.replace(rest[0], parts=joined(system, rest[0].parts, GAP)), *rest[1:])


def lift_system(turns: Turns) -> Turns:
    """Later system messages become user turns at the same place."""
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
"""Description of a step -> its function, in the order in which several steps are applied."""


def needed(accepts: Callable[[Turns], str | None]) -> tuple[str, ...]:
    """The steps that a template needs, in order. `accepts`: renders a dialogue, None where the template refuses it.

    Losing a system message counts as a refusal, if there are two or the message comes later.
    """

    def takes(*words: str) -> bool:
        said = [Message(ROLES[word[:1]], word) for word in words]
        text = accepts(tuple(said))
        return text is not None and all(word in text for word in words)

    system = accepts((Message("system", "Srule"), Message("user", "Qask"))) is None
    later = not takes("Qask", "Atell", "Srule", "Qmore") or not takes("Srule", "Qask", "Atell", "Sother", "Qmore")
    joined = not takes("Qask", "Qmore") or not takes("Qask", "Atell", "Aother", "Qmore")
    begun = not takes("Atell", "Qask") and takes("", "Atell", "Qask")
    lift, fold, join, lead = STEPS
    return tuple(name for name, wanted in ((lift, later), (fold, system), (join, joined), (lead, begun)) if wanted)


ROLES: dict[str, Role] = {"S": "system", "Q": "user", "A": "assistant", "": "user"}


def apply(names: Sequence[str], turns: Turns) -> tuple[tuple[str, ...], Turns]:
    """(the steps that changed something, the resulting turns)."""
    done = []
    for name in names:
        before, turns = turns, STEPS[name](turns)
        done += [name] if turns != before else []
    return tuple(done), turns


def readings(conversation: Conversation) -> Iterator[tuple[tuple[str, ...], Conversation]]:
    """(applied steps, dialogue): first unchanged, then after one step, two, ...; each different result once."""
    yield (), conversation
    seen = {_key(conversation.messages)}
    names = list(STEPS)
    subsets: Sequence[tuple[str, ...]] = [c for n in range(len(names)) for c in itertools.combinations(names, n + 1)]
    for subset in subsets:
        _, turns = apply(subset, conversation.messages)
        if (key := _key(turns)) not in seen:
            seen.add(key)
            yield subset, dataclasses.replace(conversation, messages=turns)


def _key(turns: Turns) -> Turns:
    return tuple(dataclasses.replace(turn, parts=turn.said) for turn in turns)
