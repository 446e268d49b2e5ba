"""More exports of desks, messengers and assistants, batches and annotations, by the fields that they document."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from steersman.data import who_said
from steersman.data.importing import parse_file
from steersman.types import Ranking
from test_chat_tools import TURNS, both, read
from tiny import write_jsonl


def minute(i: int) -> str:
    return f"2024-05-02T10:0{i}:00.000Z"


def freshchat(words: list[str]) -> Any:
    kinds = [(w, ("user", "agent")[i % 2], "normal") for i, w in enumerate(words)] + [("note", "agent", "private")]
    said = [
        {
            "message_parts": [{"text": {"content": text}}],
            "actor_type": who,
            "message_type": kind,
            "conversation_id": "c",
            "created_time": minute(i),
        }
        for i, (text, who, kind) in enumerate(kinds)
    ]
    return {"messages": said[::-1], "link": {"rel": "next"}}


def gladly(words: list[str]) -> Any:
    said = [
        {
            "id": str(i),
            "conversationId": "c",
            "timestamp": minute(i),
            "initiator": {"id": "x", "type": ("CUSTOMER", "AGENT")[i % 2]},
            "content": {"type": "CHAT_MESSAGE", "content": w},
        }
        for i, w in enumerate(words)
    ]
    return [*said, said[1] | {"content": {"type": "CONVERSATION_NOTE", "body": "note"}}]


def kustomer(words: list[str]) -> Any:
    said = [
        {
            "type": "message",
            "id": str(i),
            "attributes": {"direction": ("in", "out")[i % 2], "preview": w, "sentAt": minute(i)},
            "relationships": {"conversation": {"data": {"type": "conversation", "id": "c"}}},
        }
        for i, w in enumerate(words)
    ]
    return {"meta": {"page": 1}, "data": said}


def drift(words: list[str]) -> Any:
    """Its users are the desk's people."""
    said = [
        {
            "id": i,
            "conversationId": 5,
            "body": f"<p>{w}</p>",
            "author": {"id": 7, "type": ("contact", "user")[i % 2], "bot": False},
            "type": "chat",
            "createdAt": 1700000000000 + i,
        }
        for i, w in enumerate(words)
    ]
    return {"data": {"messages": [*said, said[3] | {"type": "private_note", "body": "note"}]}}


def happyfox(words: list[str]) -> Any:
    updates = [
        {"update_id": i, "timestamp": minute(i), "by": {"type": ("user", "staff")[i % 2]}, "message": {"text": w}}
        for i, w in enumerate(words)
    ]
    return {"rows": [{"id": 1, "subject": "?", "updates": updates}]}


def reamaze(words: list[str]) -> Any:
    said = [
        {
            "body": w,
            "visibility": 0,
            "origin": 1,
            "created_at": minute(i),
            "user": {"name": "J", "customer?": not i % 2},
            "conversation": {"slug": "c"},
        }
        for i, w in enumerate(words)
    ]
    return {"page_count": 1, "messages": [*said, said[3] | {"visibility": 1, "body": "note"}]}


def groove(words: list[str]) -> Any:
    said = [
        {"created_at": minute(i), "plain_text_body": w, "body": w, "note": False, "agent_response": bool(i % 2)}
        for i, w in enumerate(words)
    ]
    return {"messages": [*said, said[3] | {"note": True, "plain_text_body": "note"}], "meta": {}}


def deepseek(words: list[str]) -> Any:
    nodes: dict[str, Any] = {"root": {"id": "root", "parent": None, "message": None}}
    kinds = ("REQUEST", "RESPONSE")
    for i, w in enumerate(words):
        parts = [{"type": "THINK", "content": "hm"}] * (i % 2) + [{"type": kinds[i % 2], "content": w}]
        message = {"files": [], "inserted_at": minute(i), "fragments": parts}
        nodes[str(i)] = {"id": str(i), "parent": str(i - 1) if i else "root", "message": message}
    other = {"files": [], "inserted_at": minute(0), "fragments": [{"type": "RESPONSE", "content": "another"}]}
    nodes["x"] = {"id": "x", "parent": "0", "message": other}
    return [{"id": "u", "title": "?", "inserted_at": minute(0), "mapping": nodes}]


def lm_studio(words: list[str]) -> Any:
    def version(role: str, w: str) -> Any:
        parts = [{"type": "text", "text": w}]
        inner = {"content": parts} if role == "user" else {"steps": [{"type": "contentBlock", "content": parts}]}
        return {"versions": [{"role": role, **inner}], "currentlySelected": 0}

    return {"name": "?", "messages": [version(r, w) for r, w in zip(TURNS, words, strict=True)]}


def webui(words: list[str]) -> Any:
    pairs = [["<|BEGIN-VISIBLE-CHAT|>", "Hello!"], words[:2], words[2:]]
    return {"internal": pairs, "visible": pairs}


def langfuse(words: list[str]) -> Any:
    turns = [{"role": r, "content": w} for r, w in zip(TURNS, words, strict=True)]
    return [{"id": "t", "input": {"messages": turns[:3]}, "output": turns[3], "sessionId": "s"}]


@both
@pytest.mark.parametrize(
    "made",
    [freshchat, gladly, kustomer, drift, happyfox, reamaze, groove, deepseek, lm_studio, webui, langfuse],
)
def test_who_speaks_is_told(tmp_path: Path, made: Callable[[list[str]], Any], words: list[str]) -> None:
    found, said = read(tmp_path / "x.json", made(words))
    assert said == list(zip(TURNS, words, strict=True))
    notes = found.changed.get("internal notes left out of tickets", 0)
    assert notes == (made in (freshchat, gladly, drift, reamaze, groove))
    if made is deepseek:
        assert found.changed["messages of other branches (edited, regenerated) left out of exported chats"] == 1


def test_an_answer_that_was_given_before_stays(tmp_path: Path) -> None:
    """Of a trace whose output repeats the conversation its turns come once; an answer may repeat an earlier one."""
    turns = [{"role": r, "content": w} for r, w in zip(TURNS, ("Open?", "Yes.", "On Sunday?", "Yes."), strict=True)]
    for output in (turns[3], {"messages": turns}):
        _, said = read(tmp_path / "x.json", [{"id": "t", "input": {"messages": turns[:3]}, "output": output}])
        assert said == [(t["role"], t["content"]) for t in turns]


def mattermost(words: list[str]) -> str:
    replies = [
        {"user": ("jane", "desk")[i % 2], "message": w, "create_at": 1700000000000 + i} for i, w in enumerate(words)
    ]
    post = {"team": "t", "channel": "help", **replies[0], "replies": replies[1:]}
    about = [{"type": "version", "version": 1}] + [
        {"type": "user", "user": {"username": f"u{i}", "position": "one of our very many people"}} for i in range(50)
    ]
    return "\n".join(map(json.dumps, [*about, {"type": "post", "post": post}]))


def sillytavern(words: list[str]) -> str:
    head = {
        "user_name": "jane",
        "character_name": "desk",
        "chat_metadata": {"note_prompt": "Always be kind to all of them."},
    }
    said = [
        {"name": ("jane", "desk")[i % 2], "mes": w, "send_date": f"May 2, 2024 10:0{i}am"} for i, w in enumerate(words)
    ]
    return "\n".join(map(json.dumps, [head, *said]))


def google_chat(words: list[str]) -> Any:
    said = [
        {
            "creator": {"name": ("jane", "desk")[i % 2], "user_type": "Human"},
            "created_date": f"Tuesday, September 6, 2022 at 6:3{i}:22\u202fPM UTC",
            "text": w,
        }
        for i, w in enumerate(words)
    ]
    picture = {key: value for key, value in said[0].items() if key != "text"} | {"attached_files": []}
    return {"messages": [*said, picture, {"created_date": said[0]["created_date"], "message_state": "DELETED"}]}


def feishu(words: list[str]) -> Any:
    said = [
        {
            "message_id": f"om_{i}",
            "msg_type": "text",
            "create_time": str(1714615200000 + i),
            "chat_id": "oc",
            "sender": {"id": ("jane", "desk")[i % 2], "id_type": "open_id", "sender_type": "user"},
            "body": {"content": json.dumps({"text": w})},
        }
        for i, w in enumerate(words)
    ]
    picture = said[0] | {"msg_type": "image", "body": {"content": '{"image_key": "img"}'}}
    return {"code": 0, "data": {"has_more": False, "items": [*said, picture]}}


def skype(words: list[str]) -> Any:
    said = [
        {
            "originalarrivaltime": minute(i),
            "messagetype": "RichText",
            "content": w,
            "from": ("jane", "desk")[i % 2],
        }
        for i, w in enumerate(words)
    ]
    call = said[0] | {"messagetype": "Event/Call", "content": "<partlist/>"}
    return {"userId": "desk", "conversations": [{"id": "8:jane", "MessageList": [call, *said[::-1]]}]}


@both
@pytest.mark.parametrize("made", [mattermost, sillytavern, google_chat, feishu, skype])
def test_people_are_named_by_speakers(tmp_path: Path, made: Callable[[list[str]], Any], words: list[str]) -> None:
    """Also where the first records are no messages, and nothing more than the chat is read."""
    found, said = read(tmp_path / "x.json", made(words), "jane,desk")
    assert said == list(zip(TURNS, words, strict=True))
    assert found.read == 1


def test_a_batch_joins_its_requests_with_the_answers(tmp_path: Path) -> None:
    def request(i: int) -> Any:
        return {"custom_id": f"r{i}", "body": {"messages": [{"role": "user", "content": f"question {i}"}]}}

    def answer(i: int) -> Any:
        body = {"choices": [{"message": {"role": "assistant", "content": f"answer {i}"}}]}
        return {"custom_id": f"r{i}", "response": {"status_code": 200, "body": body}, "error": None}

    failed = {"custom_id": "r3", "response": None, "error": {"code": "batch_expired", "message": "too late"}}
    asked = write_jsonl(tmp_path / "in.jsonl", [request(i) for i in range(4)])
    vector = {
        "custom_id": "v1",
        "response": {"status_code": 200, "body": {"data": [{"embedding": [0.1]}]}},
        "error": None,
    }
    said = write_jsonl(tmp_path / "out.jsonl", [answer(2), answer(0), answer(1), answer(9), failed, vector])
    found = parse_file([asked, said])
    assert [(r.messages[0].text, r.messages[1].text) for r in found.records] == [
        (f"question {i}", f"answer {i}") for i in range(3)
    ]
    assert sum(found.left_out.values()) == 1, "the question that nobody answered"
    assert found.changed["requests of a batch that failed left out"] == 1
    assert found.changed["requests of a batch answered without words (embeddings, calls alone) left out"] == 1
    assert found.changed["answers of a batch whose request is in no file left out"] == 1
    assert (parse_file(asked).kind, len(parse_file(asked).records)) == ("prompts", 4)
    with pytest.raises(ValueError, match=r"4 answers of a batch without their requests.*name both files"):
        parse_file(said)
    claude = {"custom_id": "a", "params": {"system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}]}}
    done = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Hello!"}]}
    both_ = write_jsonl(
        tmp_path / "c.jsonl", [{"custom_id": "a", "result": {"type": "succeeded", "message": done}}, claude]
    )
    (record,) = parse_file(both_).records
    assert [m.text for m in record.messages] == ["Be kind.", "Hi", "Hello!"]


def test_one_id_of_two_requests_is_refused(tmp_path: Path) -> None:
    """Batches often number their requests from 1."""
    made = []
    for name, (question, answer) in {"a": ("Open?", "Until six."), "b": ("Closed?", "On Mondays.")}.items():
        body = {"choices": [{"message": {"role": "assistant", "content": answer}}]}
        made += [
            write_jsonl(tmp_path / f"{name}.jsonl", [{"custom_id": "1", "body": {"input": question}}]),
            write_jsonl(tmp_path / f"{name}-out.jsonl", [{"custom_id": "1", "response": {"body": body}}]),
        ]
    with pytest.raises(ValueError, match="'1' is that of two different requests"):
        parse_file(made)
    found = parse_file([made[0], made[0], made[1], made[3]])
    assert [m.text for m in found.records[0].messages] == ["Open?", "On Mondays."]
    assert found.changed["requests of a batch that are there twice left out"] == 1
    assert found.changed["earlier answers to the same request of a batch left out"] == 1
    assert len(found.records) == 1


def test_a_label_without_a_space_takes_no_longer_than_it_is(tmp_path: Path) -> None:
    """A pattern of words took time by the square of it."""
    began = time.process_time()
    parse_file(write_jsonl(tmp_path / "d.jsonl", [{"id": 1, "text": "Open?", "label": ["x" * 500_000]}]))
    assert time.process_time() - began < 5


def test_what_prodigy_says_of_an_example_is_no_answer(tmp_path: Path) -> None:
    options = [{"id": 1, "text": "Yes."}, {"id": 2, "text": "No."}]
    base = {"text": "Open?", "options": options, "_task_hash": 1, "_input_hash": 2}
    rows = [base | {"accept": [2], "answer": "accept"}, base | {"accept": [], "answer": "reject"}]
    found = parse_file(write_jsonl(tmp_path / "p.jsonl", rows))
    (record,) = found.records
    assert isinstance(record, Ranking)
    assert (record.prompt.messages[0].text, record.answers, record.ranks) == ("Open?", ("Yes.", "No."), (2, 1))
    assert (found.read, sum(found.left_out.values())) == (2, 1)
    classes = base | {
        "options": [{"id": 1, "text": "sport"}, {"id": 2, "text": "政治"}],
        "accept": [2],
        "answer": "accept",
    }
    found = parse_file(write_jsonl(tmp_path / "c.jsonl", [classes, rows[0]]))
    said = found.changed["examples whose options are names of classes left out"]
    assert (len(found.records), sum(found.left_out.values()), said) == (1, 1, 1)
    typed = {"text": "Open?", "user_input": "Until six.", "answer": "accept", "_task_hash": 1}
    assert read(tmp_path / "t.jsonl", json.dumps(typed))[1] == [("user", "Open?"), ("assistant", "Until six.")]


def test_an_activity_is_a_question_and_its_answer(tmp_path: Path) -> None:
    item = {"header": "Gemini Apps", "title": "Prompted Open?", "safeHtmlItem": [{"html": "<p>Until <b>six</b>.</p>"}]}
    used = {"header": "Gemini Apps", "title": "Used Gemini Apps"}
    found, said = read(tmp_path / "MyActivity.json", [item, used])
    assert said == [("user", "Open?"), ("assistant", "Until six.")]
    assert (found.read, sum(found.left_out.values())) == (2, 1)
    with pytest.raises(ValueError, match="title: expected 'Prompted '"):
        read(tmp_path / "de.json", [item | {"title": "Gefragt: Offen?"}])


def test_a_line_beside_messages_that_says_something_is_no_message(tmp_path: Path) -> None:
    rows = [
        {"msg": w, "username": ("jane", "desk")[i % 2], "ts": f"2024-01-01T10:{i:02}:00Z"} for i, w in enumerate(TURNS)
    ]
    path = write_jsonl(tmp_path / "x.jsonl", [*rows, 5])
    about = "lines about a chat, in a file of its messages, left out"
    assert parse_file(path, speakers="jane,desk").changed[about] == 1
    strange = {"nick": "张三", "words": "你好，我的订单什么时候到？"}
    with pytest.raises(ValueError, match=r"x\.jsonl:.*nick, words"):
        parse_file(write_jsonl(tmp_path / "x.jsonl", [*rows, strange]), speakers="jane,desk")


def test_a_version_that_is_not_there_is_said(tmp_path: Path) -> None:
    message = {"versions": [{"role": "user", "content": []}], "currentlySelected": 3}
    with pytest.raises(ValueError, match="currentlySelected: expected the place of a version, 1 are there, got 3"):
        read(tmp_path / "x.json", {"messages": [message]})


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"custom_id": "1", "body": {}}, {"custom_id": "1", "response": {"body": {"choices": 7}}}], "expected"),
        ([{"inserted_at": "x", "mapping": {"1": {"parent": [], "message": {"files": 5}}}}], "no good|one good"),
        ([{"messages": [{"message_parts": 5, "message_type": "normal", "actor_type": "user"}]}], "expected"),
        ([{"type": "version", "version": 1}, {"type": "post", "post": {"replies": 5}}], "one good record"),
    ],
)
def test_fields_of_another_form_are_an_error(tmp_path: Path, rows: list[Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_file(write_jsonl(tmp_path / "x.jsonl", rows), speakers="jane,desk")


def test_messages_lie_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chats of one file that follow each other by turns, whatever holds them."""
    rows = [
        {"msg": f"{chat}.{i}", "username": ("jane", "desk")[i % 2], "ts": f"2024-01-01T10:{i:02}:00Z", "rid": str(chat)}
        for i in range(40)
        for chat in (2, 1)
    ]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    before = [r.to_json() for r in parse_file(path, speakers="jane,desk").records]
    monkeypatch.setattr("steersman.data.shelves.FEW", 3)
    after = parse_file(path, speakers="jane,desk").records
    assert [r.to_json() for r in after] == before
    assert [[m.text for m in r.messages] for r in after] == [[f"{c}.{i}" for i in range(40)] for c in (2, 1)]
    gathered = who_said.Gathered(rows)
    assert [len(chat.messages) for chat in gathered] == [40, 40]
    assert gathered[1].messages[3].text == "1.3"


def test_labels_that_are_sentences_are_answers(tmp_path: Path) -> None:
    row = {"id": 7, "text": "Open?", "label": ["Until six.", "Yes, until six."], "Comments": []}
    found, said = read(tmp_path / "d.jsonl", json.dumps(row))
    assert said == [("user", "Open?"), ("assistant", "Until six.")]
    assert found.changed["answers of further annotators left out"] == 1
    assert parse_file(write_jsonl(tmp_path / "c.jsonl", [row | {"label": ["opening"]}])).kind == "texts"


@pytest.mark.parametrize(
    "columns",
    [
        "Subject,Body,From: (Name),From: (Address),To: (Address)",
        "Betreff,Text,Von: (Name),Von: (Adresse),An: (Adresse)",
    ],
)
def test_a_folder_that_outlook_exported_is_mails(tmp_path: Path, columns: str) -> None:
    rows = "RE: Parcel,At the depot.,Desk,desk@firm.example,jane@x.example\n"
    rows += "Parcel,Where is it?,Jane,jane@x.example,desk@firm.example\n"
    said = read(tmp_path / "mails.csv", f"{columns}\n{rows}", "*,@firm.example")[1]
    assert said == [("user", "Where is it?"), ("assistant", "At the depot.")]
    with pytest.raises(ValueError, match="--speakers"):
        read(tmp_path / "mails.csv", f"{columns}\n{rows}")
    book = openpyxl.Workbook()
    for line in (columns, *rows.splitlines()):
        book.active.append(line.split(","))
    book.save(tmp_path / "mails.xlsx")
    (again,) = parse_file(tmp_path / "mails.xlsx", speakers="*,@firm.example").records
    assert [m.text for m in again.messages] == ["Where is it?", "At the depot."]
