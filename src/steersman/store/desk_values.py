"""What a labeling task may ask and what a label may say, by kind: checks of plain JSON.

    kind            content of the task                       a label's value
    ranking         (in `ranking_tasks`)                      {ranks | grades, all_bad}, in stored order
    demonstration   {messages, brief}                         {messages: [{role, content, origin, policy_version}]}
    edit            {messages, answer, policy_version}        {text}
    flag            the same                                  {flags: some of FLAGS, or none: nothing wrong}
    vote            the same                                  {vote: good | bad}

Labels of edits, flags and votes may hold `axes`: a grade for each axis of the rubric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from steersman.store.refusals import StoreError, clean_text, expect
from steersman.types import GRADES, ROLES, Message

RANKING, DEMONSTRATION, EDIT, FLAG, VOTE = KINDS = ("ranking", "demonstration", "edit", "flag", "vote")
OF_ANSWERS = (EDIT, FLAG, VOTE)
"""Kinds that are about one answer."""
FLAGS = ("harmful", "wrong", "off-topic", "private")
VOTES = ("good", "bad")
AXES = ("intent", "constraint", "fitness")
WRITTEN, SUGGESTED, CHANGED = ORIGINS = ("written", "suggested", "changed")
"""Who wrote an assistant's turn of a demonstration: a person; the model; the model, and a person changed it."""
MOST_TURNS = 200


def clean_messages(value: object, where: str, *, empty: bool = False) -> list[dict[str, Any]]:
    """Turns {role, content} of text."""
    good = isinstance(value, (list, tuple)) and len(value) <= MOST_TURNS and (empty or len(value) > 0)
    expect(good, f"{where}: expected a list of {0 if empty else 1} to {MOST_TURNS} turns")
    assert isinstance(value, (list, tuple))
    out = []
    for i, turn in enumerate(value):
        at = f"{where}[{i}]"
        expect(isinstance(turn, Mapping), f"{at}: expected an object with 'role' and 'content'")
        expect(turn.get("role") in ROLES[:3], f"{at}.role: expected one of {', '.join(ROLES[:3])}")
        out.append({"role": turn["role"], "content": clean_text(turn.get("content"), f"{at}.content")})
    return out


def clean_content(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A task's content. StoreError where the kind needs something else."""
    expect(kind in KINDS[1:], f"kind: expected one of {', '.join(KINDS)}, got {kind!r}"[:200])
    demonstration = kind == DEMONSTRATION
    messages = clean_messages(content.get("messages", []), "messages", empty=demonstration)
    brief = clean_text(content.get("brief", ""), "brief", limit=4000, empty=True)
    if demonstration:
        expect(bool(messages or brief.strip()), "demonstration: expected a prompt, or a brief that says what to write")
        return {"messages": messages, "brief": brief}
    expect(messages[-1]["role"] == "user", "messages: expected a prompt that ends with the user")
    answer = clean_text(content.get("answer"), "answer")
    version = clean_text(content.get("policy_version", ""), "policy_version", limit=200, empty=True)
    return {"messages": messages, "answer": answer, "policy_version": version} | ({"brief": brief} if brief else {})


def clean_value(kind: str, value: Mapping[str, Any] | None) -> dict[str, Any]:
    """A label's value, without what does not belong into it. Rankings are checked where they are stored."""
    if not isinstance(value, Mapping):
        raise StoreError("value: expected the label, got none")
    if kind == DEMONSTRATION:
        return {"messages": _clean_dialogue(value.get("messages"))}
    out: dict[str, Any]
    if kind == EDIT:
        out = {"text": clean_text(value.get("text"), "text")}
    elif kind == FLAG:
        flags = value.get("flags")
        good = isinstance(flags, (list, tuple)) and all(f in FLAGS for f in flags) and len(set(flags)) == len(flags)
        expect(good, f"flags: expected a list of {', '.join(FLAGS)}, each at most once")
        out = {"flags": sorted(flags or (), key=FLAGS.index)}
    else:
        expect(value.get("vote") in VOTES, f"vote: expected one of {', '.join(VOTES)}")
        out = {"vote": value["vote"]}
    axes = value.get("axes") or {}
    good = isinstance(axes, Mapping) and all(a in AXES and g in GRADES for a, g in axes.items())
    expect(good, f"axes: expected grades ({', '.join(GRADES)}) of {', '.join(AXES)}")
    return out | ({"axes": dict(axes)} if axes else {})


def _clean_dialogue(value: object) -> list[dict[str, Any]]:
    """A written dialogue: it ends with the assistant, whose turns say where they come from."""
    messages = clean_messages(value, "messages")
    assert isinstance(value, (list, tuple))
    turns = [m["role"] for m in messages if m["role"] != "system"]
    expect(all(m["role"] != "system" for m in messages[1:]), "messages: expected the system's turn first, if any")
    right = turns == ["user", "assistant"] * (len(turns) // 2) and bool(turns)
    expect(right, "messages: expected turns of user and assistant by turns, from the user to the assistant")
    for message, said in zip(messages, value, strict=True):
        if message["role"] == "assistant":
            origin = said.get("origin", WRITTEN)
            expect(origin in ORIGINS, f"messages: origin: expected one of {', '.join(ORIGINS)}")
            message["origin"] = origin
            if origin != WRITTEN:
                message["policy_version"] = clean_text(
                    said.get("policy_version", ""), "policy_version", limit=200, empty=True
                )
    return messages


def clean_gold(kind: str, gold: Mapping[str, Any] | None, answers: int = 0) -> dict[str, Any] | None:
    """The known answer of an item that measures labelers: a ranking, flags, or a vote."""
    if gold is None:
        return None
    expect(isinstance(gold, Mapping), "gold: expected an object, the label that is right")
    if kind == RANKING:
        for name, known in (("ranks", [*range(1, answers + 1)]), ("grades", [*GRADES])):
            if (given := gold.get(name)) is not None:
                good = isinstance(given, list) and len(given) == answers
                good = good and all(type(g) in (int, str) and g in known for g in given)
                expect(good, f"gold.{name}: expected {answers} of {', '.join(map(str, known))}, one per answer")
                return {name: list(given)}
        raise StoreError("gold: expected the ranks or grades of the answers")
    expect(kind in (FLAG, VOTE), f"gold: expected it for a ranking, flags or a vote, not for a {kind}")
    return {key: kept for key, kept in clean_value(kind, gold).items() if key != "axes"}


def to_messages(turns: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)
