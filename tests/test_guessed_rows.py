"""Messages whose columns are guessed from their names, and pages and chats of several conversations, kept apart.

The layouts are those of vendors' documents: Odoo, Deskpro, RingCentral, Zoho Desk, Dixa, Ada, Brevo, WeCom's archive
as a tool lists it, tables of shops' chats.
"""

# ruff: noqa: E501

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.data.formats.guessed_rows import GUESSED, guess
from steersman.data.importing import Imported, parse_file
from steersman.data.reading import Reading
from steersman.types import Conversation

CHATS = [
    [
        ("user", "My kettle leaks."),
        ("assistant", "Which model?"),
        ("user", "The K20."),
        ("assistant", "A new one comes."),
    ],
    [("user", "订单88213能改地址吗？"), ("assistant", "可以，请发新地址。")],
]
Turn = tuple[int, int, bool, str]


def turns() -> Iterator[Turn]:
    """(conversation, minute, whether the customer speaks, words), the two conversations at the same time."""
    yield from sorted((c, i, who == "user", text) for c, chat in enumerate(CHATS) for i, (who, text) in enumerate(chat))


def mixed() -> list[Turn]:
    return sorted(turns(), key=lambda turn: turn[1])


def read(tmp_path: Path, value: Any, speakers: str = "") -> Imported:
    path = tmp_path / (
        "rows.csv" if isinstance(value, str) else "rows.jsonl" if isinstance(value, tuple) else "rows.json"
    )
    lines = "".join(f"{json.dumps(line)}\n" for line in value) if isinstance(value, tuple) else json.dumps(value)
    path.write_text(value if isinstance(value, str) else lines, encoding="utf-8")
    return parse_file(path, reading=Reading(speakers=speakers, tell=lambda line: None))


def guessed(found: Imported) -> str:
    return next(note.partition(": ")[2] for note in found.changed if note.startswith(GUESSED))


def odoo(c: int, at: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"id": 10 * c + at, "date": f"2025-04-01 08:{at:02}:0{c}", "model": "helpdesk.ticket", "res_id": 40 + c}
    return {
        **row,
        "message_type": "comment",
        "body": f"<p>{text}</p>",
        "author_id": [9, "Uwe"] if asks else [4, "Helga"],
    }


def deskpro(c: int, at: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"id": 10 * c + at, "ticket": 500 + c, "person": 90 + c if asks else 1, "is_agent_note": 0, "message": text}
    return {**row, "date_created": f"2025-04-01T08:{at:02}:0{c}+0000", "message_full": "", "message_preview_text": "x"}


def test_columns_that_leave_no_choice_are_guessed_and_said(tmp_path: Path) -> None:
    rows = [odoo(*turn) for turn in mixed()]
    found = read(tmp_path, rows, "*,Helga")
    assert said(found) == CHATS
    assert (
        guessed(found) == "conversation = res_id, sender = author_id, message = body, time = date (--map says others)"
    )
    with pytest.raises(ValueError, match=r"got 'Uwe'; say who is who with --speakers .*guessed: conversation = res_id"):
        read(tmp_path, rows)
    table = "ID,Date,Related Document ID,Type,Contents,Author/Name,From\n" + "".join(
        f"{i},2025-04-01 08:{at:02}:0{c},{c},Comment,{text},{'Uwe' if asks else 'Helga'},\n"
        for i, (c, at, asks, text) in enumerate(mixed())
    )
    assert said(read(tmp_path, table, "*,Helga")) == CHATS


def test_people_whom_a_page_links_say_on_which_side_they_are(tmp_path: Path) -> None:
    rows = [deskpro(*turn) for turn in mixed()]
    rows.insert(1, {**deskpro(0, 0, False, "VIP"), "id": 999, "is_agent_note": 1})
    people = {str(number): {"id": number, "is_agent": number == 1} for number in (90, 91, 1)}
    found = read(tmp_path, {"data": rows, "meta": {"count": 7}, "linked": {"person": people}})
    assert said(found) == CHATS
    assert found.changed["internal notes left out of tickets"] == 1
    with pytest.raises(ValueError, match=r"got '90'; say who is who .*conversation = ticket, sender = person"):
        read(tmp_path, {"data": rows, "linked": {}})
    assert said(read(tmp_path, {"data": rows, "linked": {}}, "*,1")) == CHATS


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("ticket person message date_created", "ticket person message date_created"),
        (
            "content_thread_id author_id author_name creator_name body body_as_text",
            "content_thread_id author_name,author_id body",
        ),
        (
            "zendesk_conversation_id author_type content_type content_text",
            "zendesk_conversation_id author_type content_text",
        ),
        ("res_id body date", None),  # nobody who wrote
        ("ticket session_id person message", None),  # two conversations
        ("ticket person author message", None),  # two writers
        ("ticket person message body", None),  # two texts
        ("ticket person message answer", None),  # of another form
    ],
)
def test_names_that_leave_a_choice_are_not_guessed(names: str, expected: str | None) -> None:
    found = guess(tuple(names.split()))
    assert (found and " ".join(column for _, column in found)) == expected


def test_pages_of_an_answer_keep_their_conversations_apart(tmp_path: Path) -> None:
    """One dialogue was made of all of them."""
    rows = [
        {
            "messageId": i,
            "sessionID": f"s{c}",
            "from": "visitor" if asks else "agent",
            "content": text,
            "createTime": at,
        }
        for i, (c, at, asks, text) in enumerate(mixed())
    ]
    page = {"success": True, "data": {"count": len(rows), "messages": rows}}
    assert said(read(tmp_path, page)) == CHATS
    assert said(read(tmp_path, (page, {"success": True, "data": {"count": 0, "messages": []}})[:1])) == CHATS


def test_types_of_messages_that_say_who_wrote(tmp_path: Path) -> None:
    """They were taken for texts."""
    rows = [
        {"id": f"{c}{at}", "type": "visitor" if asks else "agent", "text": text, "visitorId": f"v{c}", "agentId": None,
         "createdAt": f"2025-04-01T08:{at:02}:0{c}Z"}
        for c, at, asks, text in mixed()
    ]  # fmt: skip
    assert said(read(tmp_path, rows)) == CHATS
    alone = [{"text": text, "sender_id": "a", "receiver_id": "b", "create_time": 1} for *_, text in turns()]
    with pytest.raises(ValueError, match="got one message"):
        read(tmp_path, alone)


def test_writers_whom_another_column_names(tmp_path: Path) -> None:
    table = "会话ID,用户昵称,客服昵称,发送方,消息内容,消息发送时间\n" + "".join(
        f"7{c},买家{c},小美,{'用户' if asks else '小美'},{text},2025-03-03 09:{at:02}:0{c}\n"
        for c, at, asks, text in mixed()
    )
    found = read(tmp_path, table)
    assert said(found) == CHATS
    assert found.changed["messages whose writer another column names as the customer or the agent"] == 3
    rows = [
        {"_id": f"{c}{at}", "chatter_id": f"ch{c}", "conversation_id": f"cv{c}", "date_created": f"2025-03-03T09:{at:02}:00",
         "message_data": {"message_type": "text_message", "body": text}, "sender": f"ch{c}" if asks else "Ada",
         "recipient": "Ada" if asks else f"ch{c}"}
        for c, at, asks, text in mixed()
    ]  # fmt: skip
    assert said(read(tmp_path, {"data": rows})) == CHATS
    rows = [{"会话ID": "1", "发送方": "小美", "用户昵称": "小美", "客服昵称": "小美", "消息内容": "在吗"}]
    with pytest.raises(ValueError, match="got '小美'; say who is who"):
        read(tmp_path, rows)


def test_an_answer_on_one_ticket_whose_messages_do_not_name_it(tmp_path: Path) -> None:
    answers = []
    for c, chat in enumerate(CHATS):
        items = [
            {"id": f"{c}{at}", "type": "thread", "direction": "in" if who == "user" else "out", "summary": text[:4],
             "content": f"<div>{text}</div>", "createdTime": f"2025-03-03T09:{at:02}:00.000Z", "author": {"type": "x"}}
            for at, (who, text) in enumerate(chat)
        ]  # fmt: skip
        items.append(
            {"id": "n", "type": "comment", "isPublic": False, "content": "look", "commentedTime": "2025-03-03T09:00:30.000Z",
             "commenterId": "9"}
        )  # fmt: skip
        answers.append({"ticketId": f"t{c}", "data": [*reversed(items)]})
    found = read(tmp_path, tuple(answers))
    assert said(found) == CHATS
    assert [r.id for r in found.records if isinstance(r, Conversation)] == ["t0", "t1"]
    assert found.changed["internal notes left out of tickets"] == 2
    assert said(read(tmp_path, answers[0])) == CHATS[:1]
    bare = [
        {k: v for k, v in item.items() if k != "content" or item["type"] == "comment"} for item in answers[0]["data"]
    ]
    cut = read(tmp_path, {**answers[0], "data": bare})
    assert any("summary alone, which may be cut" in note and n == 4 for note, n in cut.changed.items())


def test_events_that_hold_a_message(tmp_path: Path) -> None:
    events = tuple(
        {"event_fqn": "CONVERSATION_MESSAGE_ADDED", "event_id": "e", "event_version": "1", "data": {
            "author": {"user_type": "Contact" if asks else "Member", "name": "x"}, "content": {"text": text},
            "conversation": {"csid": c, "direction": "INBOUND"}, "created_at": f"2025-03-03T09:{at:02}:0{c}Z",
            "direction": "inbound" if asks else "outbound", "text": text}}
        for c, at, asks, text in mixed()
    )  # fmt: skip
    assert said(read(tmp_path, events)) == CHATS


@pytest.mark.parametrize("ticket", [True, False])
def test_messages_of_several_customers_are_not_one_chat(tmp_path: Path, ticket: bool) -> None:
    """By a ticket's column, or by whom a message is to: the answers to one customer went to the other."""
    rows: list[dict[str, Any]] = []
    for c, at, asks, text in mixed():
        row = {"from": f"c{c}" if asks else "kf", "message": text, "date": f"2025-03-03 09:{at:02}:0{c}"}
        rows.append({**row, **({"ticket": c} if ticket else {"to": "kf" if asks else f"c{c}"})})
    assert said(read(tmp_path, rows, "*,kf")) == CHATS
    rooms = [{**row, "to": "room 1"} for row in rows]
    if not ticket:  # a room is one chat
        assert ("assistant", "Which model?\n可以，请发新地址。") in said(read(tmp_path, rooms, "*,kf"))[0]


def test_words_that_are_json_with_their_kind(tmp_path: Path) -> None:
    rows = [
        {"msgid": f"{c}{at}", "action": 0, "from": f"137{c}" if asks else "136", "tolist": "136" if asks else f"137{c}",
         "msgtype": "text", "content": json.dumps({"content": text}), "msgtime": 1741000000 + 60 * at + c, "roomid": ""}
        for c, at, asks, text in mixed()
    ]  # fmt: skip
    assert said(read(tmp_path, {"status": 1, "total": 6, "data": rows}, "*,136")) == CHATS
