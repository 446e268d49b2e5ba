"""Rows and texts that only look like a help desk's: read as what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from steersman.data.formats.exports import body_of
from steersman.data.formats.markup import text_of
from steersman.data.importing import parse_file
from steersman.data.tables import titles_of
from steersman.types import Conversation

Q, A = "Where is my parcel 1234?", "It left on Monday."


def said(tmp_path: Path, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (record,) = parse_file(path).records
    assert isinstance(record, Conversation)
    return [(message.role, message.text) for message in record.messages]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ({"conversation_id": 1, "sender_type": "customer", "body": Q}, {"sender_type": "agent", "body": A}),
        ({"ticket_id": 1, "sender_type": "customer", "body": Q}, {"sender_type": "support", "body": A}),
        ({"cid": 1, "sender_type": "user", "content": Q}, {"sender_type": "support", "content": A}),
        (
            {"conversation_id": 1, "from": "user", "type": "text", "content": Q, "timestamp": 1},
            {"from": "agent", "content": A, "timestamp": 2},
        ),
    ],
)
def test_rows_of_no_system_are_read_as_they_are(
    question: dict[str, Any], answer: dict[str, Any], tmp_path: Path
) -> None:
    assert said(tmp_path, [question, {**question, **answer}]) == [("user", Q), ("assistant", A)]


def test_tables_of_chats(tmp_path: Path) -> None:
    """消息来源 may be a channel, and WeCom's lists and objects are JSON in tables."""
    common = {"会话id": 1, "消息来源": "微信"}
    rows: list[dict[str, Any]] = [{**common, "发送者": w, "消息内容": t} for w, t in (("客户", Q), ("客服", A))]
    assert said(tmp_path, rows) == [("user", Q), ("assistant", A)]
    rows = [
        {
            **{"msgid": who, "from": who, "tolist": json.dumps([to]), "msgtime": 1704186000000 + at, "msgtype": "text"},
            "text": json.dumps({"content": text}),
        }
        for at, (who, to, text) in enumerate([("wm1", "ann", Q), ("ann", "wm1", A)])
    ]
    assert said(tmp_path, rows) == [("user", Q), ("assistant", A)]


def test_what_looks_like_a_systems_message_is_read_otherwise(tmp_path: Path) -> None:
    turns = [{"from": who, "type": "text", "content": text, "timestamp": 1} for who, text in (("user", Q), ("gpt", A))]
    assert said(tmp_path, [{"messages": turns}]) == [("user", Q), ("assistant", A)]
    asked = {"requester_id": 1, "subject": "", "description": Q, "answer": A}
    assert said(tmp_path, [asked]) == [("user", Q), ("assistant", A)]
    told = {"conversation_id": "1", "message_type": "1"}
    notes = [{**told, "private": "t", "content": "angry"}, {**told, "private": "f", "content": A}]
    first = {**told, "message_type": "0", "private": "f", "content": Q}
    assert said(tmp_path, [first, *notes]) == [("user", Q), ("assistant", A)]
    events = [
        {
            **{"ticket_id": 7, "timestamp": 1704186000 + at, "updater_id": at},
            "child_events": [{"event_type": "Comment", "author_id": at, "body": text, "public": True}],
        }
        for at, text in ((2, A), (1, Q))
    ]
    assert said(tmp_path, events) == [("user", Q), ("assistant", A)]
    unread: tuple[list[dict[str, Any]], ...] = (
        [{"ticket_id": 1, "child_events": None, "updater_id": 2}],
        [{"is_inbound": True, "recipients": [], "body": ""}],
        [{"conversation_id": 1, "side": 0, "text": Q}],
    )
    for rows in unread:
        with pytest.raises(ValueError, match=r"expected|no known format"):
            said(tmp_path, rows)


def test_markup_of_a_few_words_leaves_the_lines() -> None:
    assert text_of("One\n\n<b>two</b>\n- three") == "One\ntwo\n- three"
    assert text_of("<html><head><meta charset=x><body><p>Hi</p></body></html>") == "Hi"
    assert text_of("<head class=gmail_quote><body>a<b>b<blockquote>c</b>d</blockquote>") == "ab\n> c\nd"
    assert len(text_of("<div>x" * 30_000)) == 59_999  # half a minute where work per tag grows with those that are open
    mail = "P. Smith <p.smith@example.com> wrote:\n> old\nnew"
    assert body_of({"body": mail}) == mail


def test_who_is_no_bot_is_who_else_the_row_says(tmp_path: Path) -> None:
    rows = [
        {"conversation_id": "1", "sender": who, "is_bot": False, "text": text}
        for who, text in (("customer", Q), ("agent", A))
    ]
    assert said(tmp_path, rows) == [("user", Q), ("assistant", A)]


def test_headings_stay_though_a_row_has_too_many_cells() -> None:
    assert titles_of([["question", "answer"], ["a", "b"], ["a", "b", "c", "d"]]) == 0
    assert titles_of([["Report", ""], ["question", "answer"], ["a", "b"]]) == 1


def test_a_sentence_cut_into_words_on_demand_keeps_its_spaces(tmp_path: Path) -> None:
    cut = "今天 天气 很 好 我们 出去 走走"
    rows = [{"question": "分词：今天天气很好我们出去走走", "answer": cut}]
    assert said(tmp_path, rows)[1] == ("assistant", cut)


HEAD = "conversation_id,sender,message,created_at\n"


def test_times_of_several_zones_are_one_order(tmp_path: Path) -> None:
    rows = [
        "c,customer,first,2024-03-01T07:30:00+08:00",
        "c,agent,second,2024-02-29T23:45:00Z",
        "c,customer,third,2024-03-01T01:50:00+02:00",
        "c,agent,fourth,2024-02-29T23:55:00Z",
    ]
    (tmp_path / "a.csv").write_text(HEAD + "\n".join(rows[i] for i in (3, 1, 0, 2)), encoding="utf-8")
    (found,) = parse_file(tmp_path / "a.csv").records
    assert [m.text for m in found.messages] == ["first", "second", "third", "fourth"]


def test_an_export_that_came_twice_is_read_once(tmp_path: Path) -> None:
    rows = [
        f"c,{who},{text},2024-05-01T10:0{i}:00Z"
        for i, (who, text) in enumerate(
            (("customer", "a?"), ("agent", "b[图片]"), ("customer", "点[图片]按钮？"), ("agent", "d"))
        )
    ]
    (tmp_path / "a.csv").write_text(HEAD + "\n".join([*rows, *rows]), encoding="utf-8")
    read = parse_file(tmp_path / "a.csv")
    assert [m.text for m in read.records[0].messages] == ["a?", "b", "点[图片]按钮？", "d"]
    assert read.changed["messages that came again (the same writer, words and time) left out"] == 4
    assert read.changed["placeholders of images, voice and the like left out"] == 2


def test_a_list_that_was_cut_off_keeps_what_is_whole(tmp_path: Path) -> None:
    whole = json.dumps([{"question": f"q{i}", "answer": f"a{i}"} for i in range(5)])
    (tmp_path / "a.json").write_text(whole[:-9], encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.json:5: the list breaks here, and nothing behind it is read"):
        parse_file(tmp_path / "a.json")
    read = parse_file(tmp_path / "a.json", skip_bad=True)
    assert (len(read.records), read.read) == (4, 5)
    assert list(read.reasons()) == ["the list breaks here, and nothing behind it is read: expected one JSON value"]
