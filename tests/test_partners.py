"""Exports as dirty as they come: who takes part in many conversations is the team; what stands for media, what came
twice and what nobody answered goes; each message is accounted for."""

# ruff: noqa: E501

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from steersman.data.importing import Imported, parse_file
from steersman.data.partners import TAKEN, team_of
from steersman.data.reading import Reading
from test_guessed_rows import deskpro, odoo, said
from test_session_pages import tencent

CHATS = [
    [("user", f"Question {c}?"), ("assistant", f"Answer {c}."), ("user", "And?"), ("assistant", "Yes.")]
    for c in range(9)
]


def every() -> Iterator[tuple[int, int, bool, str]]:
    yield from sorted(
        ((c, i, who == "user", text) for c, chat in enumerate(CHATS) for i, (who, text) in enumerate(chat)),
        key=lambda turn: turn[1],
    )


def read(tmp_path: Path, value: Any, name: str = "rows.json", **options: Any) -> Imported:
    path = tmp_path / name
    path.write_bytes(
        value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    )
    told, mapping = options.pop("told", []), options.pop("mapping", None)
    return parse_file(path, reading=Reading(tell=told.append, **options), mapping=mapping)


@pytest.mark.parametrize(
    ("form", "team"),
    [(odoo, "Helga (9)"), (deskpro, "1 (9)"), (tencent, "m_9 (9)")],
    ids=["odoo", "deskpro", "tencent"],
)
def test_who_takes_part_in_most_conversations_is_the_team(form: Any, team: str, tmp_path: Path) -> None:
    rows = [form(*turn) for turn in every()]
    if form is odoo:  # whose customer is one person there
        rows = [
            {**row, "author_id": [row["res_id"], f"Uwe {row['res_id']}"]} if asks else row
            for row, (_, _, asks, _) in zip(rows, every(), strict=True)
        ]
    told: list[str] = []
    page: Any = {"MsgList": rows} if form is tencent else rows
    found = read(tmp_path, page, told=told)
    assert sorted(said(found)) == sorted(CHATS)
    notes = " ".join([*told, *found.changed])
    assert f"{team} took part in several of 9 conversations and everybody else in 1 at most: read as the team" in notes
    few = [row for row, turn in zip(rows, every(), strict=True) if turn[0] < 2]
    with pytest.raises(ValueError, match=r"say who is who|expected two names as --speakers"):
        read(tmp_path, {"MsgList": few} if form is tencent else few)


def test_conversations_that_do_not_tell_who_the_team_is() -> None:
    def pairs(*chats: str) -> list[tuple[int, str]]:
        return [(i, name) for i, chat in enumerate(chats) for name in chat.split()]

    told = team_of(pairs(*(f"c{i} {agent}" for i, agent in enumerate(["ann"] * 6 + ["bob"] * 3))))
    assert told is not None
    assert (told.names, told.others) == ({"ann": 6, "bob": 3}, 1)
    assert team_of(pairs(*(f"c{i} ann" for i in range(7)))) is None, "too few"
    assert team_of(pairs(*(f"c{i} d{i}" for i in range(20)))) is None, "nobody comes again"
    assert team_of(pairs(*(f"c{i} ann" for i in range(9)), "x y", "x z")) is None, "conversations without the team"
    assert team_of(pairs(*(f"c{i} d{i} e{i} ann" for i in range(9)))) is None, "rooms of many"
    assert team_of(pairs(*(f"c{i % 2} ann" for i in range(9)))) is None, "customers come as often as half of that"


def test_mails_by_who_takes_part_and_each_counted(tmp_path: Path) -> None:
    def mail(number: str, sender: str, to: str, text: str, answers: str = "") -> bytes:
        one = EmailMessage()
        one["Message-ID"], one["From"], one["To"], one["Subject"] = f"<{number}@x>", sender, to, f"Order {number[:2]}"
        one["Date"] = "Mon, 03 Mar 2025 10:00:00 +0000"
        if answers:
            one["In-Reply-To"] = f"<{answers}@x>"
        one.set_content(text)
        return b"From a Mon Mar  3 10:00:00 2025\n" + bytes(one) + b"\n"

    desk, mails = "help@firm.example", b""
    for c in range(9):
        mails += mail(f"{c}a", f"c{c}@x.example", desk, f"Question {c}?")
        mails += mail(f"{c}b", desk, f"c{c}@x.example", f"Answer {c}.", f"{c}a")
    mails += mail("8b", desk, "c8@x.example", "Answer 8.", "8a") + mail("0c", "c0@x.example", desk, "Thanks", "0b")
    mails += mail("na", "d@x.example", desk, "Nobody answers")
    found = read(tmp_path, mails, "box.mbox")
    assert said(found) == [chat[:2] for chat in CHATS]
    assert found.changed[TAKEN] == 9
    counts = {
        "messages gathered into dialogues": 18,
        "mails that came again (the same id, sender and time) left out": 1,
        "messages in last turns of the user cut off": 1,
        "messages of dialogues in which one side alone speaks left out": 1,
    }
    assert {what: found.changed[what] for what in counts} == counts
    assert sum(counts.values()) == mails.count(b"Message-ID")
    with pytest.raises(ValueError, match="expected two names as --speakers"):
        read(tmp_path, mails[: len(mails) // 3], "few.mbox")


HEADS = "序号,会话ID,发送时间,发送人,发送人身份,接收人,消息类型,消息内容,是否撤回"
WECOM = """1,c1,2024-01-05 11:42:00,系统,系统,王敏,系统消息,你已添加了张三，现在可以开始聊天了。,否
2,c1,2024-01-05 11:45:09,张三,外部联系人,王敏,文本,可以改地址吗？,否
3,c1,2024-01-05 11:45:10,张三,外部联系人,王敏,图片,[图片],否
4,c1,2024-01-05 11:45:11,张三,外部联系人,王敏,文件,订单.pdf,否
5,c1,2024-01-05 11:46:00,王敏,员工,张三,撤回消息,撤回了一条消息,是
6,c1,2024-01-05 11:46:10,王敏,员工,张三,文本,,否
7,c1,2024-01-05 11:46:20,王敏,员工,张三,文本,可以，请发新地址。,否
7,c1,2024-01-05 11:46:20,王敏,员工,张三,文本,可以，请发新地址。,否
8,c1,2024-01-05 11:47:00,张三,外部联系人,王敏,红包,恭喜发财，大吉大利,否
9,c2,2024-01-05 12:00:01,李四,外部联系人,王敏,文本,几点下班？,否
10,c2,2024-01-05 12:00:02,李四,外部联系人,王敏,图片,data:image/png;base64,否
11,c2,2024-01-05 12:00:30,王敏,员工,李四,文本,六点。,否
12,c2,2024-01-05 12:00:40,李四,外部联系人,王敏,文本,谢谢,否
"""


def test_a_table_of_wecom_says_who_is_who_and_what_is_no_words(tmp_path: Path) -> None:
    table = f"{HEADS}\n{WECOM}".replace("data:image/png;base64", '"data:image/png;base64,iVBORw0KGgo="')
    found = read(tmp_path, table, "企微.csv")
    assert said(found) == [
        [("user", "可以改地址吗？"), ("assistant", "可以，请发新地址。")],
        [("user", "几点下班？"), ("assistant", "六点。")],
    ]
    left = {
        "messages of an image, voice or a file alone left out": 3,
        "messages of others (in copy, systems) left out of tickets": 2,
        "messages taken back, and gestures, left out": 1,
        "messages without text left out of tickets": 1,
        "messages that came again (the same writer, words and time) left out": 1,
        "last turns of the user cut off": 1,
    }
    assert {what: found.changed[what] for what in left} == left
    assert sum(left.values()) + 4 == found.changed["messages of a row each gathered into dialogues"] == 13
    mapping = {"conversation": "会话ID", "sender": "发送人", "message": "消息内容", "time": "发送时间"}
    assert said(read(tmp_path, table, "企微.csv", mapping=mapping, speakers="*,王敏")) == said(found), (
        "--map beside --speakers"
    )


def test_who_says_the_same_again_is_kept_where_rows_have_their_conversations_time(tmp_path: Path) -> None:
    table = "conversation_id,role,text,created_at\n" + "".join(
        f"1,{role},{text},2024-01-05 11:42:10\n"
        for role, text in [("user", "Blue?"), ("agent", "Yes."), ("user", "Big?"), ("agent", "Yes.")]
    )
    (chat,) = said(read(tmp_path, table, "rows.csv"))
    assert [text for _, text in chat] == ["Blue?", "Yes.", "Big?", "Yes."]


def test_posts_that_say_whether_the_requester_wrote_and_lists_of_one_writer(tmp_path: Path) -> None:
    """Kayako's pages, and LiveAgent's groups, whose messages were taken for both sides in turn."""
    at = "2024-01-05T11:4{}:00+00:00"
    posts = [
        {"id": i, "contents": text, "creator": {"id": 8 if asks else 1, "resource_type": "user"}, "is_requester": asks,
         "original": {"body_text": text, "resource_type": kind}, "created_at": at.format(i), "resource_type": "post"}
        for i, (asks, text, kind) in enumerate([(True, "Is it blue?", "case_message"), (False, "VIP", "note"), (False, "It is.", "case_message")])
    ]  # fmt: skip
    found = read(tmp_path, {"status": 200, "data": posts[::-1], "resource": "post", "total_count": 3})
    assert said(found) == [[("user", "Is it blue?"), ("assistant", "It is.")]]
    assert found.changed["internal notes left out of tickets"] == 1
    group = {"id": "g", "userid": "agent7", "user_full_name": "Susi", "type": "4", "datecreated": "2024-01-05 11:42:00"}
    group["messages"] = [
        {"id": str(i), "userid": "agent7", "type": "M", "message": text} for i, text in enumerate(("Re", "It is blue."))
    ]  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"got messages of one writer alone .'userid' is 'agent7'"):
        read(tmp_path, [group])


def test_chats_of_salesforce_that_nobody_answered_or_a_bot_began(tmp_path: Path) -> None:
    out = io.StringIO()
    head = "<p>Chat Started: Monday, March 03, 2025, 11:06:40 (+0000)</p><p>Chat Origin: Site</p>"
    bot, asks = "( 2s ) Chatbot: How can I help?<br>", "( 9s ) Bob: Is it blue?<br>"
    rows = [
        (
            "Ann Lee",
            "",
            f"{head}<p>Agent Ann Lee</p>{bot}( 5s ) Ann Lee: Hello!<br>{asks}( 1m 2s ) Ann Lee: It is.<br>",
        ),
        ("", "Bob", f"{head}<p>Agent Chatbot</p>{bot}{asks}( 1m 2s ) Unknown: It is.<br>"),
        ("Ann Lee", "", f"{head}<p>Agent Ann Lee</p>"),
        ("", "", f"{head}{bot}"),
    ]
    csv.writer(out).writerows(
        [("Id", "Owner.Name", "Visitor Name", "Body"), *((f"570{i}", *row) for i, row in enumerate(rows))]
    )
    found = read(tmp_path, out.getvalue(), "chats.csv")
    assert said(found) == [[("user", "Is it blue?"), ("assistant", "It is.")]] * 2
    assert sum(found.left_out.values()) == 2
    assert found.read == 4
