"""Transcripts of contact centres (Amazon Connect and Contact Lens, Genesys, LivePerson) -> tickets with `comments`;
LibreChat's chats -> ChatGPT's form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from steersman.data.formats.desk_sides import side_of
from steersman.data.formats.fields import maps

Record = Mapping[str, Any]
WHO = ("ParticipantRole", "participantPurpose", "sentBy", "ParticipantId")
"""Fields of an utterance that say who speaks."""


def as_ticket(record: Record) -> Record | None:
    """The transcript as a ticket; None for records of other kinds."""
    said = maps(record.get("Transcript")) or maps(record.get("messageRecords"))
    said = said or [p for t in maps(record.get("transcripts")) for p in maps(t.get("phrases"))]
    people = maps(record.get("Participants"))
    roles = {p.get("ParticipantId"): p.get("ParticipantRole") for p in people}
    if not said or not any(name in one for one in said for name in WHO):
        return None
    whole = {**_map(record.get("info")), **_map(record.get("CustomerMetadata")), **record}
    return {
        "id": next((whole[k] for k in ("conversationId", "ContactId") if whole.get(k)), None),
        "comments": [
            {
                "side": side_of(roles.get(m.get("ParticipantId")) or next((m[k] for k in WHO if m.get(k)), "")),
                "body": _words(m),
                "created_at": m.get("AbsoluteTime") or m.get("timeL"),
            }
            for m in said
        ],
    }


def as_tree(record: Record) -> Record | None:
    """A chat of LibreChat as ChatGPT's tree of messages; its last message is the current one."""
    every = list(_flat(record.get("messages")))
    if not every or not all({"isCreatedByUser", "messageId"} <= m.keys() for m in every):
        return None
    nodes = {m["messageId"]: {"parent": m.get("parentMessageId"), "message": _message(m)} for m in every}
    return {"id": record.get("conversationId"), "mapping": nodes, "current_node": every[-1]["messageId"]}


def _message(m: Record) -> Record:
    parts = maps(m.get("content"))
    thought = "".join(str(p.get("think", "")) for p in parts)
    text = str(m.get("text") or "") or "\n\n".join(str(p["text"]) for p in parts if isinstance(p.get("text"), str))
    said = f"<think>{thought}</think>{text}" if thought and text else text
    return {"author": {"role": "user" if m["isCreatedByUser"] else "assistant"}, "content": {"parts": [said]}}


def _flat(messages: Any) -> Iterator[Record]:
    for m in maps(messages):
        yield m
        yield from _flat(m.get("children"))


def _words(m: Record) -> str:
    inner = _map(_map(m.get("messageData")).get("msg"))
    found = (m.get("Content"), m.get("decoratedText"), m.get("text"), inner.get("text"))
    return next((text for text in found if isinstance(text, str) and text), "")


def _map(value: Any) -> Record:
    return value if isinstance(value, Mapping) else {}
