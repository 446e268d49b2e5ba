"""Tables of messages whose columns nobody knows, and what a row says of its message beside its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.cli.data import parse_columns
from steersman.data.importing import Imported, parse_file
from steersman.data.reading import Reading

Q, A = "Wo bleibt mein Paket 1234?", "Es ging am Montag ab."
GATHERED = "messages of a row each gathered into dialogues"


def read(tmp_path: Path, value: Any, speakers: str = "", columns: str = "", **how: Any) -> Imported:
    table = isinstance(value, str)
    path = tmp_path / ("rows.csv" if table else "rows.json")
    path.write_text(value if table else json.dumps(value), encoding="utf-8")
    mapping = parse_columns([columns] if columns else None)
    return parse_file(path, mapping=mapping, reading=Reading(speakers=speakers, tell=lambda line: None), **how)


def odoo(at: int, author: Any, body: str, **more: Any) -> dict[str, Any]:
    guest = False if author else [9, "Besucher"]
    when = f"2025-04-01 08:{at:02}:00"
    row = {"id": at, "date": when, "res_id": 5, "message_type": "comment", "body": f"<p>{body}</p>"}
    return {**row, "author_id": author, "author_guest_id": guest, **more}


def test_columns_that_the_user_names(tmp_path: Path) -> None:
    """Pairs of id and name, no author, HTML, notices and notes; all messages are counted."""
    agent = [44, "Helga Brandt"]
    rows = [
        odoo(3, agent, A),
        odoo(1, False, Q),
        odoo(2, agent, "Kunde wirkt verärgert", is_internal=True),
        odoo(4, False, "hat den Kanal verlassen", message_type="notification"),
        odoo(5, False, "Danke!"),
    ]
    columns = "conversation=res_id,sender=author_id,sender=author_guest_id,message=body,time=date"
    found = read(tmp_path, rows, "*,Helga Brandt", columns)
    assert said(found) == [[("user", Q), ("assistant", A)]]
    assert found.changed == {
        GATHERED: 5,
        "internal notes left out of tickets": 1,
        "messages of others (in copy, systems) left out of tickets": 1,
        "last turns of the user cut off": 1,
        "conversations whose messages were put in order of time": 1,
    }
    with pytest.raises(ValueError, match="--map time=dat: no message has such a field"):
        read(tmp_path, rows, "*,Helga Brandt", columns.replace("=date", "=dat"))
    with pytest.raises(ValueError, match="conversation and message lacks"):
        read(tmp_path, rows, "*,Helga Brandt", "sender=author_id")


def test_a_page_with_messages_of_several_tickets_is_not_one_dialogue(tmp_path: Path) -> None:
    rows = [
        {"id": i, "ticket": 7 + i // 2, "person": p, "message": f"{t} {i // 2}", "is_agent_note": False}
        for i, (p, t) in enumerate([(9, Q), (1, A), (8, Q), (1, A)])
    ]
    page = {"data": rows, "linked": {"person": {"1": {"id": 1}}}}
    alone = [{name: value for name, value in one.items() if name != "ticket"} for one in rows]
    with pytest.raises(ValueError, match=r"nothing tells whether 'person' of each message is the customer or the team"):
        read(tmp_path, {"data": alone}, columns="ignore=linked")
    found = read(tmp_path, page, "*,1", "conversation=ticket,sender=person,message=message")
    assert said(found) == [[("user", f"{Q} {i}"), ("assistant", f"{A} {i}")] for i in range(2)]


def test_a_german_table(tmp_path: Path) -> None:
    rows = (
        f"Ticket-Nr.;Erstellt am;Absender;Art;Nachricht\n1;01.05.2025 10:20;Uwe;Kundenanfrage;{Q}\n"
        "1;01.05.2025 10:21;Team;Automatische Antwort;Wir melden uns.\n"
        f"1;01.05.2025 10:23;Team;Antwort;{A}\n1;01.05.2025 10:22;Team;Interne Notiz;Lager gefragt.\n"
    )
    found = read(tmp_path, rows, "*,Team")
    assert said(found) == [[("user", Q), ("assistant", A)]]
    assert found.changed["internal notes left out of tickets"] == 1
    assert found.changed["messages of others (in copy, systems) left out of tickets"] == 1


def row(at: int, kind: str, text: str, call: str = "a") -> dict[str, Any]:
    return {"id": f"m{at}", "sendTime": 1659938956000 + at, "sourceType": kind, "content": text, "callId": call}


def test_pages_of_messages_by_the_types_of_their_senders(tmp_path: Path) -> None:
    rows = [row(0, "USER", Q), row(1, "AGENT", A), row(2, "SYSTEM", "ended")]
    rows += [row(10, "USER", Q + "!", "b"), row(11, "AGENT", A, "b")]
    found = read(tmp_path, {"messageList": rows, "resultCode": "0"})
    assert said(found) == [[("user", Q), ("assistant", A)], [("user", Q + "!"), ("assistant", A)]]


def test_messages_are_put_in_order_and_those_that_came_twice_left_out(tmp_path: Path) -> None:
    rows = [
        {"msg_id": i, "chat_id": "c", "sender_type": side, "send_time": 1659938956000 + i, "content": text}
        for i, side, text in [(2, 0, A), (1, 1, Q), (2, 0, A), (4, 0, A), (3, 1, Q)]
    ]
    found = read(tmp_path, rows, "1,0")
    assert said(found) == [[("user", Q), ("assistant", A)] * 2]
    assert found.changed["messages that came again (the same id, words and time) left out"] == 1
    for one in rows:
        one["msg_id"] = 1  # of the dialogue: what is said again is said again
    assert len(said(read(tmp_path, [rows[1], rows[0], rows[4], rows[3]], "1,0"))[0]) == 4


def test_a_line_with_the_sum_of_a_column_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="问题描述: expected a question, got nothing there and nothing in the answer"):
        read(tmp_path, f"工单编号,问题描述,处理结果,数\nG1,{Q},{A},1\n合计,,,1\n")


@pytest.mark.parametrize("flag", ["is_bot", "is_admin"])
def test_who_is_no_bot_may_be_the_customer_or_an_agent(tmp_path: Path, flag: str) -> None:
    rows = [
        {"conversation_id": 1, flag: yes, "text": text} for yes, text in [(False, Q), (True, "Moment."), (False, A)]
    ]
    with pytest.raises(ValueError, match=rf"got '{flag}=false'; say who is who with --speakers"):
        read(tmp_path, rows)
    assert said(read(tmp_path, rows, f"{flag}=false,agent")) == [[("user", Q), ("assistant", "Moment.")]]


def test_quoted_mails_that_an_import_keeps_are_counted(tmp_path: Path) -> None:
    rows = f'Ticket-Nr.;Absender;Nachricht\n1;Uwe;{Q}\n1;Team;"{A}\nAm 02.05.2025 um 11:20 schrieb Uwe:\n> {Q}"\n'
    found = read(tmp_path, rows, "*,Team")
    kept = "messages with quoted mails or signatures, kept whole (`steersman cold legacy` takes these out)"
    assert found.changed[kept] == 1


def test_who_wrote_as_true_and_false_one_level_down(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"chat": "1", "text": Q, "owner": False}, {"chat": "1", "text": A, "owner": True}]
    columns = "conversation=chat,sender=owner,message=text"
    for value in (rows, {"messages": {"items": [*rows, {"chat": "1", "event": "assigned"}]}}):
        assert said(read(tmp_path, value, "false,true", columns)) == [[("user", Q), ("assistant", A)]]
    pages = {"messages": {"first": rows[:1], "second": rows[1:]}}  # of which the first alone was read
    replies = {**rows[0], "replies": rows[1:]}
    for value in (pages, replies, pages["messages"]):
        assert said(read(tmp_path, value, "false,true", columns)) == [[("user", Q), ("assistant", A)]]
    for name in ("agent", "self", "issuer"):
        renamed = [{"chat": "1", "text": row["text"], name: row["owner"]} for row in rows]
        named = f"conversation=chat,sender={name},message=text"
        assert said(read(tmp_path, renamed, "false,true", named)) == [[("user", Q), ("assistant", A)]]
        renamed[1][name] = "Anna"
        assert said(read(tmp_path, renamed, "(nobody),Anna", named)) == [[("user", Q), ("assistant", A)]]
    ready = {"messages": [{"role": "user", "content": Q}, {"role": "assistant", "content": A}]}
    assert len(said(read(tmp_path, [*rows, ready], "false,true", columns))) == 2  # rows beside whole dialogues
    lacks = read(tmp_path, [*rows, {"chat": "1"}], "false,true", columns, skip_bad=True)
    assert [one.reason for one in lacks.rejected] == [
        "record: no message of these columns: it has no text (--map message=)"
    ]
