"""Exports as people have them: titles above tables, merged cells, a dialogue in a cell, HTML, two encodings."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from imported import said
from steersman.data.importing import Imported, parse_file
from steersman.types import Conversation

ROWS = [
    ["在线客服会话明细导出", "", "", "", "", ""],
    ["导出时间：2024-05-06", "", "", "", "", ""],
    ["会话ID", "客户", "客服", "发送人", "时间", "内容"],
    ["S1", "张三", "小美", "客户", "2024/5/1 9:03:11", "你好&nbsp;我的订单还没发货"],
    ["", "", "", "客服", "2024-05-01 09:03:40", "已催仓库<br>请放心"],
    ["", "", "", "系统", "2024-05-01 09:04:00", "客户已离开"],
    ["", "", "", "", "", ""],
    ["S2", "李四", "小美", "客户", "2024-05-01 10:00:05", "能开专票吗"],
    ["", "", "", "客服", "2024-05-01 10:00:31", "可以的"],
    ["S3", "王五", "小丽", "客户", "2024-05-01 11:00:05", "在吗"],
]
SAID = [
    [("user", "你好 我的订单还没发货"), ("assistant", "已催仓库\n请放心")],
    [("user", "能开专票吗"), ("assistant", "可以的")],
]


def table(rows: list[list[str]], delimiter: str = ",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


def read(path: Path, content: bytes, **options: Any) -> tuple[Imported, list[str]]:
    path.write_bytes(content)
    notes: list[str] = []
    return parse_file(path, encoding="auto", tell=notes.append, **options), notes


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_titles_and_merged_cells(tmp_path: Path, suffix: str) -> None:
    content = table(ROWS).encode("gb18030")
    if suffix == "xlsx":
        book = openpyxl.Workbook()
        for row in ROWS:
            book.active.append([cell or None for cell in row])
        book.active.merge_cells("A4:A6")
        book.save(tmp_path / "whole.xlsx")
        content = (tmp_path / "whole.xlsx").read_bytes()
    found, notes = read(tmp_path / f"a.{suffix}", content)
    assert said(found) == SAID
    assert found.changed["empty cells of '会话ID' taken from the row above"] == 3
    assert sum(found.left_out.values()) == 1
    assert sum("is a title" in note for note in notes) == 2


def test_names_in_every_row_are_never_filled(tmp_path: Path) -> None:
    head = ["conversation_id", "sender", "message"]
    rows = [
        head,
        ["1", "user", "Hi"],
        ["1", "agent", "Hello"],
        ["", "user", "Lost"],
        ["2", "user", "A"],
        ["2", "agent", "B"],
    ]
    with pytest.raises(ValueError, match="4: record: no known format"):
        read(tmp_path / "a.csv", table(rows).encode())


def test_a_dialogue_in_a_cell(tmp_path: Path) -> None:
    stamped = "(09:00:01) Jane: In stock?\n(09:00:20) Tom: Yes, 3 left."
    joined = "(10:00:01) Bob: Declined again\n(10:00:20) *** Tom joined the chat ***\n(10:00:40) Tom: Try another."
    rows = [
        ["Chat ID", "Visitor Name", "Agent", "Transcript"],
        ["c1", "Jane", "Tom", stamped],
        ["c2", "Bob", "Tom", joined],
    ]
    found, notes = read(tmp_path / "a.csv", table(rows).encode())
    assert said(found) == [
        [("user", "In stock?"), ("assistant", "Yes, 3 left.")],
        [("user", "Declined again"), ("assistant", "Try another.")],
    ]
    assert [r.id for r in found.records if isinstance(r, Conversation)] == ["c1", "c2"]
    assert "not used beside it: Chat ID, Visitor Name, Agent" in notes[0]
    rows = [["会话编号", "会话内容"], ["1", "访客：能便宜点吗\n客服：已经是活动价了\n访客：好吧"]]
    assert said(read(tmp_path / "b.csv", table(rows).encode())[0]) == [
        [("user", "能便宜点吗"), ("assistant", "已经是活动价了")]
    ]
    rows = [["id", "chat log"], ["1", "(09:00:01) Ann: a?\n(09:00:20) Tom: b."]]
    with pytest.raises(ValueError, match=r"--speakers USER,ASSISTANT.*Ann \(1\), Tom \(1\)"):
        read(tmp_path / "c.csv", table(rows).encode())
    assert len(said(read(tmp_path / "c.csv", table(rows).encode(), speakers="Ann,Tom")[0])) == 1


def test_tickets_with_html(tmp_path: Path) -> None:
    rows = [
        ["Ticket ID", "Subject", "Description", "Created", "Created", "Public reply"],
        ["1", "Refund", "I&#39;d like a refund", "1/5/24", "2024-05-01", "<p>Issued today &amp; takes 5 days.</p>"],
        ["2", "Late", "My parcel is late", "2/5/24", "2024-05-02", ""],
    ]
    found, notes = read(tmp_path / "a.csv", b"\xef\xbb\xbf" + table(rows, ";").encode())
    assert said(found)[0] == [("user", "Refund\n\nI'd like a refund"), ("assistant", "Issued today & takes 5 days.")]
    assert found.changed["tickets whose HTML was turned into text"] == 1
    assert any("'Public reply' is read as the answer" in note for note in notes)


def test_lines_of_two_encodings(tmp_path: Path) -> None:
    one, two = (
        '{"question": "怎么退货", "answer": "在订单页申请"}\n',
        '{"question": "多久发货呢亲", "answer": "四十八小时内发货"}\n',
    )
    found, notes = read(tmp_path / "a.jsonl", one.encode() + two.encode("gb18030") + one.encode())
    assert [turns[0][1] for turns in said(found)] == ["怎么退货", "多久发货呢亲", "怎么退货"]
    assert sum("holds UTF-8 too" in note for note in notes) == 1


def test_speakers_in_a_field_of_another_name(tmp_path: Path) -> None:
    text = '[{"messages": [{"type": "visitor", "message": "Hi"}, {"type": "visitor", "message": "You there?"}, '
    found, _ = read(tmp_path / "a.json", (text + '{"type": "operator", "message": "Yes."}]}]').encode())
    assert said(found) == [[("user", "Hi\n\nYou there?"), ("assistant", "Yes.")]]


def test_dialogues_on_one_line_and_rows_that_name_no_chat(tmp_path: Path) -> None:
    rows = [["id", "对话"], ["1", "用户：怎么开发票 客服：在订单详情申请 用户：谢谢"]]
    found, _ = read(tmp_path / "a.csv", table(rows).encode())
    assert said(found) == [[("user", "怎么开发票"), ("assistant", "在订单详情申请")]]
    rows = [["序号", "时间", "角色", "内容", ""]]
    for day, words in (("01", ("有货吗", "有的")), ("02", ("怎么退", "申请就行"))):
        rows += [["1", f"2024-05-{day} 09:0{i}", who, words[i], ""] for i, who in enumerate(("客户", "客服"))]
    found, _ = read(tmp_path / "b.txt", table(rows, "\t").encode())
    assert said(found) == [[("user", "有货吗"), ("assistant", "有的")], [("user", "怎么退"), ("assistant", "申请就行")]]
    assert all(record.id for record in found.records if isinstance(record, Conversation))


def test_one_side_is_called_by_its_role(tmp_path: Path) -> None:
    log = "2024-05-01 09:03:11  tb张三丰:\n  有L码吗\n2024-05-01 09:03:40  旗舰店:小美:\n  亲，有的\n"
    found, notes = read(tmp_path / "a.txt", log.encode("gb18030"))
    assert said(found) == [[("user", "有L码吗"), ("assistant", "亲，有的")]]
    assert any("tb张三丰 is read as the user, 旗舰店:小美 as the assistant" in note for note in notes)
    with pytest.raises(ValueError, match=r"--speakers.*张三 \(1\), 小美 \(1\)"):
        read(tmp_path / "b.txt", "张三 2024/5/1 9:03\n有货吗\n\n小美 2024/5/1 9:04\n有\n".encode())


def test_flags_beside_words_that_lie_deeper(tmp_path: Path) -> None:
    lines = [
        f'{{"conversationId": "a", "isFromCustomer": {flag}, "message": {{"text": "{text}"}}, "ts": {at}}}\n'
        for flag, text, at in (("true", "Where is it?", 1714550400), ("false", "On its way.", 1714550460))
    ]
    found, _ = read(tmp_path / "a.jsonl", "".join(lines).encode())
    assert said(found) == [[("user", "Where is it?"), ("assistant", "On its way.")]]
    rows = [["Conversation ID", "Part type", "Author type", "Body"]]
    rows += [["9", "initial", "lead", "<p>Refunds?</p>"], ["9", "note", "admin", "<p>check plan</p>"]]
    rows += [["9", "comment", "admin", "<p>Within 30 days.</p>"], ["9", "close", "admin", ""]]
    found, _ = read(tmp_path / "b.csv", table(rows).encode())
    assert said(found) == [[("user", "Refunds?"), ("assistant", "Within 30 days.")]]
    assert found.changed["internal notes left out of tickets"] == 1


def test_columns_whose_names_are_only_alike(tmp_path: Path) -> None:
    rows = [["通话流水号", "坐席工号", "说话人", "开始时间", "文本"], ["C1", "8001", "客户", "00:00:04", "我要报修"]]
    rows += [["C1", "8001", "坐席", "00:00:08", "已登记"]]
    found, _ = read(tmp_path / "a.csv", table(rows).encode())
    assert said(found) == [[("user", "我要报修"), ("assistant", "已登记")]]
    rows = [["Case ID", "Sent By", "Message Text", "Sent At"], ["7", "Customer", "Vegan?", "5/1/2024 10:00 AM"]]
    rows += [["7", "Support Agent", "Yes.", "5/1/2024 10:02 AM"], ["7", "System", "Closed", "5/1/2024 10:03 AM"]]
    assert said(read(tmp_path / "b.csv", table(rows).encode())[0]) == [[("user", "Vegan?"), ("assistant", "Yes.")]]


def test_sheets_with_the_same_columns_are_read_together(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for name in ("一月", "二月", "说明"):
        sheet = book.create_sheet(name)
        head = ["会话ID", "角色", "内容"] if name != "说明" else ["字段", "含义"]
        for row in (head, [name, "用户", "在吗"][: len(head)], [name, "客服", "在的"][: len(head)]):
            sheet.append(row)
    book.save(tmp_path / "whole.xlsx")
    found, notes = read(tmp_path / "a.xlsx", (tmp_path / "whole.xlsx").read_bytes())
    assert said(found) == [[("user", "在吗"), ("assistant", "在的")]] * 2
    assert any("sheet '一月', '二月' are read; others are not: '说明'" in note for note in notes)
