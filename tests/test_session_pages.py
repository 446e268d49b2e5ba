"""Answers and exports that say beside their messages who is who, or name only writers; layouts of vendors' documents:
Feishu, 51ima, Lingyang, Yuju, Yunxin, Tencent's IM, Shopline, Zulip, Webex, Amio, Trengo, Salesforce, Odoo's live chat.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steersman.data.importing import parse_file
from test_guessed_rows import CHATS, mixed, read, said

Row = Callable[[int, int, bool, str], dict[str, Any]]
SECONDS = 1_741_000_000


def at(c: int, i: int) -> int:
    return SECONDS + 60 * i + c


def each(row: Row) -> list[dict[str, Any]]:
    return [row(*turn) for turn in mixed()]


def pages(row: Row) -> list[list[dict[str, Any]]]:
    """The messages of each conversation."""
    return [[row(*turn) for turn in mixed() if turn[0] == c] for c in range(len(CHATS))]


def test_messages_of_a_page_whose_writers_the_user_names(tmp_path: Path) -> None:
    """Feishu's help desk; --speakers was asked for and then refused as well."""
    messages = pages(
        lambda c, i, asks, text: {"id": f"6{c}{i}", "message_type": "text", "created_at": at(c, i) * 1000,
                                  "content": json.dumps({"content": text, "msg_type": "text"}),
                                  "user_name": f"员工{c}" if asks else "小李", "user_id": f"o{c}" if asks else "kf"}
    )  # fmt: skip
    answers = tuple({"code": 0, "msg": "success", "data": {"messages": [*reversed(page)]}} for page in messages)
    found = read(tmp_path, answers, "*,小李")
    assert said(found) == CHATS
    assert found.changed["dialogues whose messages were put in order of time"] == 2
    assert said(read(tmp_path, answers, "*,kf")) == CHATS, "by another field"
    with pytest.raises(ValueError, match=r"'user_name' of each message is the customer or the team \(小李, 员工0\)"):
        read(tmp_path, answers)


def test_terminals_that_tell_who_wrote(tmp_path: Path) -> None:
    def row(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
        who = {"fromTerminal": "user_h5" if asks else "kf_web", "msgFrom": f"v{c}" if asks else "kf1"}
        return {"recordKind": "IM", "content": text, "contentType": "text", "type": "chat", "time": at(c, i), **who}

    probe = {
        "recordKind": "IM",
        "fromTerminal": "user_h5",
        "content": "con_probe",
        "contentType": "none",
        "time": SECONDS,
    }
    answers = tuple({"code": "10000", "data": {"total": 4, "list": [probe, *page]}} for page in pages(row))
    found = read(tmp_path, answers)
    assert said(found) == CHATS
    assert found.changed["messages without text left out of tickets"] == 2
    assert said(read(tmp_path, answers[0])) == CHATS[:1]


def test_a_session_that_names_the_member_and_the_servicer(tmp_path: Path) -> None:
    def row(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
        who = {
            "senderName": f"刘{c}" if asks else "小二",
            "senderId": 4000 + c if asks else 77,
            "senderType": 1 if asks else 2,
        }
        return {"msgType": "MSG", "gmtCreated": at(c, i) * 1000, "content": text, "sid": f"fe{c}", **who}

    def answer(c: int, page: list[dict[str, Any]], robot: list[dict[str, Any]]) -> dict[str, Any]:
        info = {
            "robotSid": f"fe{c}",
            "memberName": f"刘{c}",
            "memberId": 4000 + c,
            "servicerId": 77,
            "servicerName": "小二",
        }
        return {"data": {"sessionInfo": info, "robotMessageList": robot, "messageList": page}, "status": 1}

    first, second = pages(row)
    asked, welcome = (
        row(0, -2, True, "转人工"),
        {**row(0, -1, False, "您好，正在转接。"), "senderId": 1, "senderName": "bot"},
    )
    found = read(tmp_path, (answer(0, first, [asked, welcome]), answer(1, second, [])))
    robot = [("user", "转人工"), ("assistant", "您好，正在转接。")]
    assert said(found) == [[*robot, *CHATS[0]], CHATS[1]]
    assert found.changed["messages of bots taken for the assistant's"] == 1
    stranger = {**second[1], "senderId": 5, "senderName": "老王"}
    with pytest.raises(ValueError, match="got '老王'; say who is who"):
        read(tmp_path, (answer(1, [second[0], stranger], []),))


def test_messages_as_json_that_says_whether_the_customer_wrote(tmp_path: Path) -> None:
    def row(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
        extension = json.dumps({"msgType": "TIMCustomElemUser", "isCustomer": asks})
        payload = {"data": json.dumps({"text": text}), "description": "", "extension": extension}
        who = {"from": f"v{c}" if asks else "kf", "nick": f"访客{c}" if asks else "客服01"}
        told = {"ID": f"1-{c}-{i}", "conversationID": f"GROUP{c}", "payload": payload, "time": at(c, i), **who}
        return {"msg": json.dumps(told), "msg_type": "customer_service"}

    answer = {"Code": 2000, "Data": [{"channel": "抖音", "msg": page} for page in pages(row)], "Msg": ""}
    assert said(read(tmp_path, answer)) == CHATS
    both = [message for page in pages(row) for message in page]
    with pytest.raises(ValueError, match="messages of one conversation, found those of 2"):
        read(tmp_path, {"Code": 2000, "Data": [{"channel": "抖音", "msg": both}, {"channel": "抖音", "msg": both}]})


def yunxin(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    pair = (f"cust{c}", "kefu1") if asks else ("kefu1", f"cust{c}")
    row = {"text": json.dumps({"msg": text}), "message_server_id": 10 * c + i, "create_time": at(c, i) * 1000}
    return {**row, "sender_id": pair[0], "receiver_id": pair[1], "conversation_type": 1, "message_type": 0}


def tencent(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    pair = (f"u_{c}", "m_9") if asks else ("m_9", f"u_{c}")
    body = [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}]
    return {"From_Account": pair[0], "To_Account": pair[1], "MsgTimestamp": at(c, i), "MsgSeq": i, "MsgBody": body}


def webex(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    who = f"c{c}@x.example" if asks else "ann@firm.example"
    row = {"id": f"Y{c}{i}", "roomId": f"R{c}", "roomType": "group", "text": text, "personEmail": who}
    return {**row, "personId": f"P{who}", "created": f"2025-03-03T11:{i:02}:0{c}.000Z"}


def zulip(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"id": 10 * i + c, "sender_id": 10 + c if asks else 5, "content": f"<p>{text}</p>", "timestamp": at(c, i)}
    row |= {"subject": f"Case {c}", "display_recipient": "help", "type": "stream", "is_me_message": False}
    return {**row, "sender_full_name": f"Bob {c}" if asks else "Ann", "content_type": "text/html"}


@pytest.mark.parametrize(
    ("row", "around", "team"),
    [
        (yunxin, lambda rows: {"code": 200, "data": {"count": len(rows), "items": rows}}, "kefu1"),
        (tencent, lambda rows: {"MsgList": rows}, "m_9"),
        (webex, lambda rows: {"items": rows[::-1]}, "ann@firm.example"),
        (zulip, lambda rows: {"result": "success", "messages": rows}, "Ann"),
    ],
)
def test_chats_apart_whose_writers_the_user_names(
    tmp_path: Path, row: Row, around: Callable[[list[Any]], Any], team: str
) -> None:
    """Webex's were texts, whoever was named; Zulip's all the user's."""
    rows = each(row)
    assert sorted(said(read(tmp_path, around(rows), f"*,{team}"))) == sorted(CHATS)
    if row is not yunxin:  # kefu means the team
        with pytest.raises(ValueError, match="expected two names as --speakers"):
            read(tmp_path, around(rows))


def shopline(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"conversationId": f"gid/{c}", "userId": f"u{c}", "content": text, "messageType": "TEXT", "id": f"m{c}{i}"}
    return {**row, "createAt": f"2025-03-03T11:{i:02}:0{c}Z", "senderType": "USER" if asks else "STORE"}


def amio(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"id": f"a{c}{i}", "direction": "received" if asks else "sent", "sent": f"2025-03-03T11:{i:02}:0{c}Z"}
    return {**row, "channel": {"id": "ch"}, "contact": {"id": f"ct{c}"}, "content": {"type": "text", "payload": text}}


def trengo(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"id": 10 * c + i, "ticket_id": 800 + c, "type": "INBOUND" if asks else "OUTBOUND", "body_type": "TEXT"}
    return {**row, "message": text, "created_at": f"2025-03-03 11:{i:02}:0{c}", "contact": {"id": c} if asks else None}


def odoo(c: int, i: int, asks: bool, text: str) -> dict[str, Any]:
    row = {"id": 10 * c + i, "date": f"2025-04-01 08:{i:02}:0{c}", "res_id": 40 + c, "body": f"<p>{text}</p>"}
    return {**row, "author_id": False if asks else [4, "Helga"], "author_guest_id": [30 + c, "V"] if asks else False}


@pytest.mark.parametrize(
    ("row", "around"),
    [
        (shopline, lambda rows: {"data": {"messageQuery": {"messages": rows}}}),
        (amio, lambda rows: rows),
        (trengo, lambda rows: {"data": rows, "links": {"next": None}}),
        (odoo, lambda rows: rows),
    ],
)
def test_rows_that_tell_who_is_who(tmp_path: Path, row: Row, around: Callable[[list[Any]], Any]) -> None:
    assert said(read(tmp_path, around(each(row)))) == CHATS


def test_notes_and_pages_of_one_ticket(tmp_path: Path) -> None:
    rows = [row for row in each(trengo) if row["ticket_id"] == 800]
    note = {**rows[0], "id": 99, "type": "NOTE", "message": "Look at the warranty."}
    found = read(tmp_path, {"data": [rows[0], note, *rows[1:]], "links": {}})
    assert said(found) == CHATS[:1]
    assert found.changed["internal notes left out of tickets"] == 1


def test_guests_of_a_chat_answered_by_one_person_or_several(tmp_path: Path) -> None:
    """Who answers a known customer alone is the team; of two it is asked which."""
    rows = each(odoo)
    found = read(tmp_path, rows)
    assert (
        found.changed["messages of the only other person in a chat whose customer is known: taken for the team's"] == 3
    )
    assert said(read(tmp_path, rows, "*,Helga")) == CHATS
    other = {**odoo(0, 9, False, "I am the courier."), "author_id": [7, "Kurt"]}
    with pytest.raises(ValueError, match="say who is who"):
        read(tmp_path, [*rows, other])


def test_transcripts_of_salesforces_chats(tmp_path: Path) -> None:
    """They name their agent at the beginning."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["Id", "Status", "Body"])
    for c, chat in enumerate(CHATS):
        lines = "".join(
            f"( {i}m {7 * i}s ) {'Bob Visitor' if who == 'user' else 'Ann Lee'}: {text}<br>"
            for i, (who, text) in enumerate(chat)
        )
        head = (
            "<p>Chat Started: Monday, March 03, 2025, 11:06:40 (+0000)</p><p>Chat Origin: Site</p><p>Agent Ann Lee</p>"
        )
        table.writerow([f"570{c}", "Completed", head + lines])
    path = tmp_path / "chats.csv"
    path.write_text(out.getvalue(), encoding="utf-8")
    found = parse_file(path)
    assert said(found) == CHATS
    assert sum(n for what, n in found.changed.items() if "at the beginning of chats" in what) == 6
