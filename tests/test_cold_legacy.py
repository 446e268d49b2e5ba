"""Old systems' exports become dialogues without notes, quotes, signatures, greetings and macros; every letter is counted."""

# ruff: noqa: E501

from __future__ import annotations

import email.policy
import json
import time
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman.cli.framework import build
from steersman.cold.legacy import STEPS, Report, signature, stripped
from steersman.cold.quoted import without_quotes
from steersman.data import mail
from steersman.data.importing import parse_file
from steersman.data.reading import Reading
from steersman.types import Conversation, Message


def dialogue(*turns: str, name: str = "d") -> Conversation:
    roles = ("user", "assistant")
    return Conversation(name, tuple(Message(roles[i % 2], text) for i, text in enumerate(turns)))  # type: ignore[arg-type]


def adds_up(report: Report) -> None:
    for counts in (report.letters, report.turns):
        assert counts["read"] == sum(n for what, n in counts.items() if what != "read"), counts
    assert report.dialogues == report.kept + report.dropped.total()


@pytest.mark.parametrize(
    ("asked", "answered", "expected"),
    [
        (
            "Hi team,\n\nI hope this email finds you well. My order 12 has not arrived.\n\nBest regards,\nAnna\nTel: 030 1",
            "Dear Anna,\n\nthank you for contacting us.\n\nIt left on Monday.\n\nKind regards\nTom\n\n"
            "On Mon, 3 Jan 2024 at 10:00, Anna <a@b.example> wrote:\n> My order\n> 12",
            ("My order 12 has not arrived.", "It left on Monday."),
        ),
        (
            "Sehr geehrte Damen und Herren,\n\nmein Paket fehlt.\n\nMit freundlichen Grüßen\nK. Meier\n\nVon meinem iPhone gesendet",
            "Guten Tag Frau Meier,\n\nvielen Dank für Ihre Nachricht. Wir prüfen das.\n\nInterne Notiz: schwierig\n\n"
            "Viele Grüße\nIhr Team\n\n-----Ursprüngliche Nachricht-----\nVon: K. Meier\nGesendet: Montag\n\nmein Paket fehlt",
            ("mein Paket fehlt.", "Wir prüfen das."),
        ),
        (
            "您好，请问我的订单到哪了？\n谢谢",
            "您好！感谢您的咨询。已经发货，预计明天到。\n\n祝好\n李明\n客服部\n\n在 2024年1月3日 写道：\n> 订单",
            ("请问我的订单到哪了？", "已经发货，预计明天到。"),
        ),
    ],
)
def test_what_is_not_meant_goes_and_what_is_stays(asked: str, answered: str, expected: tuple[str, str]) -> None:
    (record,), report = stripped([dialogue(asked, answered)])
    assert tuple(m.text for m in record.messages) == expected
    adds_up(report)
    kept, all_kept = stripped([dialogue(asked, answered)], keep=STEPS)
    assert kept == [dialogue(asked, answered)]
    adds_up(all_kept)


@pytest.mark.parametrize(
    "text",
    [
        "Hello Kitty mug broken, is there a refund?",
        "This is broken at the hinge.",
        "On Monday I wrote: nobody answered.\nIs that right?",
        "你好吗这个牌子怎么样",
        "I want to thank you.\nBest of all is the blue one, but which is cheaper?",
        "My notes:\n- from: Berlin\n- to: Rome",
        "Contact me at anna@x.example or 030 123",
    ],
)
def test_what_only_looks_so_stays(text: str) -> None:
    (record,), report = stripped([dialogue(text, "Yes, it is so.")])
    assert record.messages[0].text == text
    assert not report.pieces


def test_answers_between_quoted_lines_stay() -> None:
    text = "> Is it blue?\nYes.\n\n> And big?\nNo, small."
    kept, removed = without_quotes(text)
    assert kept == "Yes.\n\nNo, small."
    assert removed == ["> Is it blue?", "> And big?"]
    assert without_quotes("a > b\nc") == ("a > b\nc", [])


def test_a_closing_in_the_middle_is_no_signature() -> None:
    text = "Thanks\n\n" + "\n".join(
        f"Line {i} of a long text that goes on and on, with all that matters." for i in range(12)
    )
    assert signature(text) == (text, [])
    assert signature("It works.\n-- \nAnna\nACME") == ("It works.", ["-- \nAnna\nACME"])


def test_greetings_alone_go_and_what_follows_is_put_together() -> None:
    chat = dialogue("你好", "您好，很高兴为您服务。请问有什么可以帮您？", "我要退货", "好的，请提供订单号")
    only = dialogue("hello", "Hello! How can I help you today?")
    records, report = stripped([chat, only])
    assert [m.text for m in records[0].messages] == ["我要退货", "好的，请提供订单号"]
    assert report.dropped == {"nothing is left": 1}
    assert report.turns["emptied"] == 4
    adds_up(report)
    joined, report = stripped([dialogue("Where is it?", "Hello!", "My order 12.", "On its way.", "ok")])
    assert [m.text for m in joined[0].messages] == ["Where is it?\nMy order 12.", "On its way."]
    assert (report.turns["joined"], report.turns["cut off"]) == (1, 1)
    adds_up(report)


def test_macros_go_where_anything_was_asked_and_stay_where_they_answer() -> None:
    asked = [
        "Is the sofa blue?",
        "Battery dead after a week",
        "Invoice for May please",
        "The app crashes",
        "Where is parcel 7?",
        "Cancel it",
    ]
    macro = "We have received your request and will answer within 24 hours."
    records = [dialogue(q, f"{macro}\n\nAnswer number {'abcdef'[i]}.") for i, q in enumerate(asked)]
    answer = "Open Settings, choose Account and then Reset password."
    again = [
        "How do I reset my password?",
        "how can I reset the password",
        "reset my password how",
        "password reset: how do I",
        "I want to reset my password",
    ]
    records += [dialogue(q, answer) for q in again]
    kept, report = stripped(records)
    assert [m.text for r in kept[:6] for m in r.messages[1:]] == [f"Answer number {c}." for c in "abcdef"]
    assert all(r.messages[1].text == answer for r in kept[6:])
    assert (report.pieces["macros"], report.answers_kept) == (6, 1)
    adds_up(report)
    ask = "Does the order on the screen look right?"
    asks = [dialogue(asked[i], ask, "Yes, it does.", f"Answer number {i}.") for i in range(6)]
    kept, report = stripped([*asks, *(dialogue(q, f"{ask}\n\nAnswer.") for q in asked)])
    assert all([m.text for m in r.messages][1:3] == [ask, "Yes, it does."] for r in kept[:6]), "the user replies to it"
    assert (report.pieces["macros"], report.questions_kept) == (6, 6)
    adds_up(report)


JIRA = {
    "issues": [
        {
            "key": "S-1",
            "fields": {
                "summary": "Printer",
                "description": "It prints blank pages.",
                "reporter": {"accountId": "c1"},
                "comment": {
                    "comments": [
                        {
                            "author": {"accountId": "a1"},
                            "body": {
                                "type": "doc",
                                "content": [{"type": "paragraph", "content": [{"type": "text", "text": "Clean it."}]}],
                            },
                            "jsdPublic": True,
                            "created": "2024-01-02T10:00:00.000+0100",
                        },
                        {
                            "author": {"accountId": "a1"},
                            "body": "odd customer",
                            "jsdPublic": False,
                            "created": "2024-01-02T10:01:00.000+0100",
                        },
                        {
                            "author": {"accountId": "c1"},
                            "body": "Can it scan?",
                            "created": "2024-06-02T10:00:00.000+0100",
                        },
                        {"author": {"accountId": "a1"}, "body": "Yes.", "created": "2024-06-02T11:00:00.000+0100"},
                    ]
                },
            },
        }
    ]
}
FRESHDESK = [
    {
        "helpdesk_ticket": {
            "display_id": 5,
            "description": "Wo ist mein Paket?",
            "notes": [
                {"helpdesk_note": {"body": "Beim Nachbarn.", "incoming": False, "private": False}},
                {"helpdesk_note": {"body": "nervt", "incoming": False, "private": True}},
            ],
        }
    }
]
OSTICKET = (
    "id,thread_id,staff_id,user_id,type,poster,title,body,format,created\n"
    '1,7,0,3,M,Li,退款,"<p>我想退款</p>",html,2024-01-01 10:00:00\n'
    "2,7,2,0,N,Bo,,客户很急,text,2024-01-01 10:10:00\n"
    '3,7,2,0,R,Bo,,"<p>请提供订单号。</p>",html,2024-01-01 10:20:00\n'
)
JIRA_ROWS = (
    "Summary,Issue key,Reporter,Description,Comment,Comment\n"
    "Printer,S-2,anna,Blank pages,02/Jan/24 10:12 AM;bob;Clean the heads.,02/Jan/24 11:12 AM;anna;Thanks\n"
)
JIRA_XML = """<?xml version="1.0" encoding="UTF-8" ?>
<!-- RSS generated by JIRA (9.12.2) at Mon Jun 03 12:00:00 UTC 2024 -->
<rss version="0.92"><channel><title>S</title><description>An XML representation of a search request</description>
<item><title>[S-1] Drucker</title><key id="10">S-1</key><summary>Drucker</summary><reporter username="karl">Karl</reporter>
<description>&lt;p&gt;Der Drucker druckt &amp;nbsp;leer.&lt;/p&gt;</description><comments>
<comment id="1" author="eva" created="Mon, 3 Jun 2024 09:00:00 +0000">&lt;p&gt;&lt;b&gt;Patrone&lt;/b&gt; reinigen.&lt;/p&gt;</comment>
<comment id="2" author="eva" created="Mon, 3 Jun 2024 09:05:00 +0000" grouplevel="staff">Kunde nervt</comment>
<comment id="3" author="karl" created="Mon, 3 Jun 2024 10:00:00 +0000">Danke</comment></comments></item>
<item><title>[S-2] x</title><key id="11">S-2</key><summary>Ohne Antwort</summary><reporter username="karl">Karl</reporter></item>
</channel></rss>"""


@pytest.mark.parametrize(
    ("name", "text", "expected", "notes"),
    [
        ("jira.json", json.dumps(JIRA), [("It prints blank pages.", "Clean it."), ("Can it scan?", "Yes.")], 1),
        ("fresh.json", json.dumps(FRESHDESK), [("Wo ist mein Paket?", "Beim Nachbarn.")], 1),
        ("ost.csv", OSTICKET, [("我想退款", "请提供订单号。")], 1),
        ("jira.csv", JIRA_ROWS, [("Blank pages", "Clean the heads.")], 0),
        ("jira.xml", JIRA_XML, [("Der Drucker druckt leer.", "Patrone reinigen.")], 1),
    ],
)
def test_help_desks(tmp_path: Path, name: str, text: str, expected: list[tuple[str, str]], notes: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = parse_file(tmp_path / name)
    assert [tuple(m.text for m in r.messages) for r in found.records if isinstance(r, Conversation)] == expected
    assert found.changed.get("internal notes left out of tickets", 0) == notes
    if name == "jira.xml":  # an issue that nobody has answered was no record of any form, of the API's JSON too
        assert (found.read, sum(found.left_out.values())) == (2, 1)
        (tmp_path / name).write_text(text[:-30], encoding="utf-8")
        with pytest.raises(ValueError, match="expected whole XML, found after issue 1"):
            parse_file(tmp_path / name)


ROWS = """customer_id,sender_type,message,sent_at
7,customer,Where is it?,2024-01-05 10:00
8,customer,怎么退货,2024-01-05 10:01
7,agent,On its way.,2024-01-05 10:10
8,agent,七天内寄回。,2024-01-05 10:02
7,customer,And now?,2024-01-06 09:00
7,agent,It has arrived.,2024-01-06 09:05
"""


def test_rows_without_a_conversation_are_parted_by_customer_and_time(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    found = parse_file(tmp_path / "rows.csv", session_hours=6)
    texts = [tuple(m.text for m in r.messages) for r in found.records if isinstance(r, Conversation)]
    assert texts == [("Where is it?", "On its way."), ("怎么退货", "七天内寄回。"), ("And now?", "It has arrived.")]
    whole = parse_file(tmp_path / "rows.csv", session_hours=0)
    assert [len(r.messages) for r in whole.records if isinstance(r, Conversation)] == [4, 2]
    lines = ROWS.replace("customer_id", "conversation_id").splitlines()
    (tmp_path / "named.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    named = parse_file(tmp_path / "named.csv", session_hours=6)
    assert sorted(len(r.messages) for r in named.records if isinstance(r, Conversation)) == [2, 4]
    assert named.changed["conversations whose messages were put in order of time"] == 2


MAILS = """From anna@x.example Mon Jan  1 10:00:00 2024
From: Anna <anna@x.example>
To: desk@firm.example
Subject: Paket fehlt
Date: Mon, 01 Jan 2024 10:00:00 +0100
Message-ID: <1@x.example>

mein Paket fehlt seit Montag.

From joerg@firm.example Mon Jan  1 12:00:00 2024
From: =?utf-8?q?J=C3=B6rg?= <joerg@firm.example>
To: anna@x.example
Subject: AW: Paket fehlt
Date: Mon, 01 Jan 2024 12:00:00 +0100
Message-ID: <2@firm.example>
In-Reply-To: <1@x.example>
Content-Type: text/html; charset=utf-8

<div>es liegt beim Nachbarn.</div><div>Am 01.01.2024 schrieb Anna:</div><blockquote>mein Paket<br>fehlt</blockquote>

From x@firm.example Mon Jan  1 12:30:00 2024
From: x@firm.example
To: joerg@firm.example
Subject: FW: Paket fehlt
Date: Mon, 01 Jan 2024 12:30:00 +0100
Message-ID: <3@firm.example>
References: <1@x.example>

kümmerst du dich?

From robot@x.example Mon Jan  1 12:31:00 2024
From: anna@x.example
To: desk@firm.example
Subject: Automatische Antwort
Date: Mon, 01 Jan 2024 12:31:00 +0100
Message-ID: <4@x.example>
Auto-Submitted: auto-replied

Ich bin im Urlaub.
"""


def test_mails_of_a_thread_are_a_dialogue(tmp_path: Path) -> None:
    (tmp_path / "m.mbox").write_text(MAILS, encoding="utf-8")
    found = parse_file(tmp_path / "m.mbox", reading=Reading(speakers="*,@firm.example", encoding="auto"))
    (record,) = found.records
    assert isinstance(record, Conversation)
    assert [m.role for m in record.messages] == ["user", "assistant"]
    assert record.messages[1].text.startswith("es liegt beim Nachbarn.")
    assert found.changed["mails among colleagues left out"] == 1
    assert found.changed["mails of machines (out of office, bounces, newsletters) left out"] == 1
    kept, report = stripped([record])
    assert kept[0].messages[1].text == "es liegt beim Nachbarn."
    assert report.pieces["quotes"] == 1
    with pytest.raises(ValueError, match=r"--speakers USER,ASSISTANT.*anna@x.example \(1\)"):
        parse_file(tmp_path / "m.mbox", reading=Reading(encoding="auto"))


def test_a_flowed_quote_does_not_go_on_in_the_answer() -> None:
    part = email.message_from_string(
        "Content-Type: text/plain; format=flowed\n\n> It left on Monday. \nWhich \nMonday, please?\n",
        policy=email.policy.default,
    )
    assert isinstance(part, EmailMessage)
    assert mail._text(part, Counter()) == "> It left on Monday. \nWhich Monday, please?"


def test_mails_of_one_thread_in_several_files(tmp_path: Path) -> None:
    for i, text in enumerate(MAILS.split("\nFrom ")[:2]):
        head, _, body = text.partition("\n")
        assert "example" in head
        (tmp_path / f"{i}.eml").write_bytes(body.encode("gb18030" if i == 9 else "utf-8"))
    found = parse_file(tmp_path, reading=Reading(speakers="*,@firm.example", encoding="auto"))
    assert [len(r.messages) for r in found.records if isinstance(r, Conversation)] == [2]


PAGE = """<!doctype html><html><head><title>FAQ</title><style>p{}</style></head><body><nav><a>Home</a></nav>
<h1>FAQ</h1><h2>How do I return an item?</h2><p>Within 30 days,<br>by post.</p><ul><li>pack it</li></ul>
<h2>When will it arrive?</h2><p>In 3 days.</p><script>alert(1)</script></body></html>"""
SCHEMA = """<html><body><script type="application/ld+json">{"@type": "FAQPage", "mainEntity": [{"@type": "Question",
"name": "怎么退货？", "acceptedAnswer": {"@type": "Answer", "text": "<p>七天内寄回。</p>"}}]}</script><p>x</p></body></html>"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            PAGE,
            [
                ("How do I return an item?", "Within 30 days,\nby post.\n- pack it"),
                ("When will it arrive?", "In 3 days."),
            ],
        ),
        (SCHEMA, [("怎么退货？", "七天内寄回。")]),
        (
            "<html><body><dl><dt>Is it blue?</dt><dd>Yes.</dd><dt>Is it big?</dt><dd>No.</dd></dl></body></html>",
            [("Is it blue?", "Yes."), ("Is it big?", "No.")],
        ),
    ],
)
def test_pages_of_questions(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    (tmp_path / "faq.html").write_text(text, encoding="utf-8")
    found = parse_file(tmp_path / "faq.html")
    assert [tuple(m.text for m in r.messages) for r in found.records if isinstance(r, Conversation)] == expected


def test_the_verb_previews_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Any:
        return CliRunner().invoke(build(), [*args])

    assert run("init", "w").exit_code == 0
    monkeypatch.chdir(tmp_path / "w")
    (tmp_path / "m.mbox").write_text(MAILS, encoding="utf-8")
    where = ["cold", "legacy", str(tmp_path / "m.mbox"), "--speakers", "*,@firm.example"]
    dry = run(*where, "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    assert "removed 1 quotes, such as:" in dry.stdout
    assert "nothing written (--dry-run)" in dry.stdout
    assert not list((tmp_path / "w" / "data").iterdir())
    done = run(*where, "--json")
    told = json.loads(done.stdout)
    assert told["datasets"][0]["count"] == told["kept"] == 1
    assert told["datasets"][0]["changed"]["quotes taken out"] == 1
    letters = told["cleaning"]["letters"]
    assert letters["read"] == sum(n for what, n in letters.items() if what != "read")
    assert run(*where, "--keep", "jokes").exit_code == 2


def test_each_message_of_a_turn_may_begin_with_a_greeting() -> None:
    """Two messages of the desk in a row are one turn: an automatic reply before the answer."""
    asked = [Message("user", f"Question {i}?") for i in range(6)]
    said = "We have received your request.\n\nDear Anna,\n\nThe parcel is at depot {}."
    records = [
        Conversation(str(i), (ask, Message("assistant", said.format("abcdef"[i])))) for i, ask in enumerate(asked)
    ]
    kept, report = stripped(records)
    assert [c.messages[1].text for c in kept] == [f"The parcel is at depot {x}." for x in "abcdef"]
    assert report.letters["read"] == sum(n for what, n in report.letters.items() if what != "read")


def test_what_parts_the_other_paragraphs_stays() -> None:
    code = "Run this:\n\n    a = 1\n\n\n    b = 2\nand this"
    found, report = stripped([dialogue("Hello,\n\n" + code, "Dear Ann,\n\nFirst.\n\n\nHello!\n\nSecond.")])
    assert [m.text for m in found[0].messages] == [code, "First.\n\n\nSecond."]
    adds_up(report)


@pytest.mark.timeout(10)
def test_a_long_blank_run_takes_no_long_time() -> None:
    asked = "[Internal note] rude\n\nWhere is it?\n" + " " * 200_000 + "x"
    said = Conversation("1", (Message("user", asked), Message("assistant", "Here.")))
    (kept,), _ = stripped([said])
    assert kept.messages[0].text.startswith("Where is it?")


HEADS = (
    "王芳 <w@qq.com> 于2024年6月3日周一 08:00写道：\n\n老问题",
    "王芳 <w@qq.com> 于2024年6月3日周一 08:00写道：\n> 老问题",
    f"{'-' * 66}\n发件人：王芳 <w@x.cn>\n日\u3000期：2024年06月03日 08:00:00\n收件人：客服<a@b.cn>\n主\u3000题：包裹\n\n老问题",
    '------------------&nbsp;原始邮件&nbsp;------------------\n发件人: "王芳" <w@qq.com>;\n\n老问题',
    "寄件者: 王芳 <w@x.tw>\n寄件日期: 2024年6月3日 上午 08:00\n收件者: a@b.tw\n主旨: 退貨\n\n老問題",
    "-----原始邮件-----\n发件人:王芳 <w@x.cn>\n发件时间:2024年06月03日 08:00\n收件人:a@b.cn\n主题:退货\n\n老问题",
    'Gesendet: Montag, 03. Juni 2024 um 08:00 Uhr\nVon: "Anna" <a@gmx.de>\nAn: s@f.de\nBetreff: Größe\nAlte Frage',
    "-----Original-Nachricht-----\nBetreff: Größe\nDatum: 2024-06-03T08:00\nVon: a@t.de\n\nAlte Frage",
    "Anna <a@w.de> hat am 03.06.2024 08:00 CEST geschrieben:\n\n> Alte Frage",
    "2024年6月3日(月) 8:00 山田 <y@x.jp>:\n\n> 古い質問",
    "Am Mo., 3. Juni 2024 um 08:00 Uhr schrieb Anna <a@w.de>:\n\nAlte Frage",
)


@pytest.mark.parametrize("head", HEADS)
def test_heads_of_quoted_mails(head: str) -> None:
    """Of Gmail, Alibaba, QQ, GMX, Telekom and 1&1 the mail or its head was learned; Outlook's and WeCom's were known."""
    kept, removed = without_quotes(f"Neue Antwort.\n新的回复。\n\n{head}")
    assert (kept, len(removed)) == ("Neue Antwort.\n新的回复。", 1)
    own = "Am Montag schrieb ich Ihnen:\nBitte antworten."
    assert without_quotes(own) == (own, [])


def test_blank_lines_of_a_mail_take_no_longer_than_others() -> None:
    """All lines were copied for each: 200,000 took two minutes."""
    began = time.perf_counter()
    assert without_quotes("\n" * 40_000)[1] == []
    assert time.perf_counter() - began < 1.5
