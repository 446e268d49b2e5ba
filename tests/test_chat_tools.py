"""Exports of contact centres, chat tools and annotation tools, by the fields that their own documentation shows."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from steersman.data import stamps
from steersman.data.importing import Imported, parse_file
from steersman.types import Conversation
from tiny import write_jsonl

WORDS = {
    "en": ["My parcel never came.", "It is at the depot.", "Can I fetch it?", "Yes, until six."],
    "zh": ["包裹一直没到。", "在中转站。", "我可以自己去取吗？", "可以，六点前。"],
}
TURNS = ["user", "assistant", "user", "assistant"]
both = pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)


def read(path: Path, value: Any, speakers: str = "") -> tuple[Imported, list[tuple[str, str]]]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    path.write_text(text, encoding="utf-8")
    found = parse_file(path, speakers=speakers, encoding="auto")
    said = [m for r in found.records if isinstance(r, Conversation) for m in r.messages]
    return found, [(m.role, m.text) for m in said]


def contact_lens(words: list[str]) -> Any:
    people = [{"ParticipantId": p, "ParticipantRole": r} for p, r in (("A1", "AGENT"), ("C1", "CUSTOMER"))]
    said = [{"ParticipantId": "CA"[i % 2] + "1", "Content": w, "BeginOffsetMillis": i} for i, w in enumerate(words)]
    return {"Version": "1.1.0", "Participants": people, "Transcript": said, "CustomerMetadata": {"ContactId": "7c"}}


def connect_chat(words: list[str]) -> Any:
    said: list[dict[str, Any]] = [
        {"ParticipantRole": ("CUSTOMER", "AGENT")[i % 2], "Type": "MESSAGE", "Content": w, "ParticipantId": f"p{i % 2}"}
        for i, w in enumerate(words)
    ]
    joined = {"ParticipantRole": "AGENT", "Type": "EVENT", "ParticipantId": "p1"}
    told = {"ParticipantRole": "SYSTEM", "Type": "MESSAGE", "Content": "This chat is kept."}
    return {"ContactId": "c", "Participants": [{"ParticipantId": "p0"}], "Transcript": [told, *said, joined]}


def genesys(words: list[str]) -> Any:
    purpose = ("external", "internal")
    phrases = [
        {"text": w.lower(), "decoratedText": w, "participantPurpose": purpose[i % 2]} for i, w in enumerate(words)
    ]
    return {"conversationId": "c", "transcripts": [{"phrases": phrases}], "participants": [{"userId": "u"}]}


def liveperson(words: list[str]) -> Any:
    records = [
        {"type": "TEXT_PLAIN", "messageData": {"msg": {"text": w}}, "timeL": 1472483659564 + i, "sentBy": who}
        for i, (w, who) in enumerate(zip(words, ("Consumer", "Agent") * 2, strict=True))
    ]
    return {"conversationHistoryRecords": [{"info": {"conversationId": "e5"}, "messageRecords": records}]}


def zoho(words: list[str]) -> Any:
    threads = [{"direction": ("in", "out")[i % 2], "content": w, "id": str(i)} for i, w in enumerate(words)]
    return {"data": [{"id": "1", "ticketNumber": "101", "subject": "?", "threads": threads}]}


def librechat(words: list[str]) -> Any:
    ids = ["0000", "a", "b", "c", "d"]
    said = [
        {"messageId": ids[i + 1], "parentMessageId": ids[i], "isCreatedByUser": not i % 2, "sender": "GPT", "text": w}
        for i, w in enumerate(words)
    ]
    said[3] |= {"text": "", "content": [{"type": "think", "think": "hm"}, {"type": "text", "text": words[3]}]}
    other = {**said[1], "messageId": "x", "text": "a branch that was regenerated"}
    return {"conversationId": "c", "messages": [said[0], other, *said[1:]]}


@both
@pytest.mark.parametrize("made", [contact_lens, connect_chat, genesys, liveperson, zoho, librechat])
def test_who_speaks_is_told(tmp_path: Path, made: Any, words: list[str]) -> None:
    found, said = read(tmp_path / "x.json", made(words))
    assert said == list(zip(TURNS, words, strict=True))
    assert found.read == 1
    if made is connect_chat:
        assert sum(found.changed.values()) == 2, "what the system says, and who came"
    if made is librechat:
        assert found.changed["messages of other branches (edited, regenerated) left out of exported chats"] == 1


def teams(words: list[str]) -> Any:
    people = [{"user": {"displayName": name}} for name in ("Jane", "Desk")]
    said = [
        {"createdDateTime": f"2024-02-02T18:2{i}:00Z", "from": people[i % 2], "body": {"content": f"<p>{w}</p>"}}
        for i, w in enumerate(words)
    ]
    told = {"createdDateTime": "2024-02-02T18:00:00Z", "from": None, "messageType": "systemEventMessage", "body": {}}
    return {"@odata.count": 5, "value": [*reversed(said), told]}


def rocket_chat(words: list[str]) -> Any:
    said = [
        {"msg": w, "ts": f"2024-01-02T10:0{i}:00Z", "rid": "r", "u": {"username": ("jane", "desk")[i % 2]}}
        for i, w in enumerate(words)
    ]
    return {"messages": [*said, {"t": "uj", "msg": "jane", "ts": "2024-01-02T09:00:00Z", "u": {"username": "jane"}}]}


def twilio(words: list[str]) -> Any:
    return {
        "messages": [
            {"sid": f"IM{i}", "author": ("Jane", "Desk")[i % 2], "body": w, "date_created": f"2024-01-02T10:0{i}:00Z"}
            for i, w in enumerate(words)
        ]
    }


def lines(words: list[str]) -> str:
    rows = [
        {"msg": w, "username": ("jane", "desk")[i % 2], "ts": f"2024-01-02T10:0{i}:00Z"} for i, w in enumerate(words)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(words: list[str]) -> str:
    rows = "".join(f'{i},文本,{("Jane", "Desk")[i % 2]},2024-02-01 10:0{i}:00,"{w}"\n' for i, w in enumerate(words))
    return f"\ufeff消息ID,类型,发送人,时间,内容\n{rows}9,图片,Jane,2024-02-01 10:09:00,[图片]\n"


def line_app(words: list[str]) -> str:
    said = "".join(f"下午1:0{i}\t{('Jane', 'Desk')[i % 2]}\t{w}\n" for i, w in enumerate(words))
    return f"[LINE] 與Jane的聊天記錄\n儲存日期：2024/01/06 10:00\n\n2024/01/05（五）\n{said}"


@both
@pytest.mark.parametrize("made", [teams, rocket_chat, twilio, lines, table, line_app])
def test_people_are_named_by_speakers(tmp_path: Path, made: Any, words: list[str]) -> None:
    path = tmp_path / f"x.{ {'table': 'csv', 'line_app': 'txt'}.get(made.__name__, 'json') }"
    if made is not line_app:
        with pytest.raises(ValueError, match=r"--speakers USER,ASSISTANT.*Jane \(2\), Desk \(2\)|jane \(2\), desk"):
            read(path, made(words))
    found, said = read(path, made(words), "Jane,Desk")
    assert said == list(zip(TURNS, words, strict=True))
    assert found.read == 1, "nothing is taken for a bad line"


def test_the_name_of_a_person_may_be_followed_by_a_number(tmp_path: Path) -> None:
    text = "Li 00123456 2024-02-01 10:00:00\nHello?\n\nDesk 00123457 2024-02-01 10:01:00\nYes.\n"
    assert read(tmp_path / "x.txt", text, "Li,Desk")[1] == [("user", "Hello?"), ("assistant", "Yes.")]


@pytest.mark.parametrize(
    "message",
    [
        lambda n, who: {"conversation_id": n, "channel": "web", "username": who, "message": f"{n}{who}"},
        lambda n, who: {
            "room": {"name": "help", "id": n},
            "user": who,
            "text": [f"{n}", {"type": "bold", "text": who}],
        },
    ],
)
def test_conversations_at_the_same_time_are_apart(tmp_path: Path, message: Any) -> None:
    """Also rooms of one name; a text may come in parts."""
    times = (("10:00:00", "Jane"), ("10:01:00", "Desk"))
    rows = [message(n, who) | {"created_at": f"2024-01-01 {t}"} for t, who in times for n in (1, 2)]
    words = [("user", "1Jane"), ("assistant", "1Desk"), ("user", "2Jane"), ("assistant", "2Desk")]
    assert read(tmp_path / "x.jsonl", "\n".join(map(json.dumps, rows)), "Jane,Desk")[1] == words


def test_the_newest_message_may_come_first(tmp_path: Path) -> None:
    said = [("Jane", "a", 0), ("Desk", "b", 0), ("Jane", "c", 9), ("Desk", "d", 9)]
    rows = [{"username": who, "msg": text, "ts": 1704067200 + at} for who, text, at in reversed(said)]
    turns = list(zip(TURNS, "abcd", strict=True))
    assert read(tmp_path / "x.json", rows, "Jane,Desk")[1] == turns


def test_columns_that_are_mapped_are_no_chat(tmp_path: Path) -> None:
    row = {"author": "x", "date": "2024-01-02", "title": "Ask about tea", "content": "A drink."}
    path = write_jsonl(tmp_path / "x.jsonl", [row])
    assert len(parse_file(path, mapping={"question": "title", "answer": "content"}).records) == 1


def test_what_people_annotated(tmp_path: Path) -> None:
    argilla = {"id": "r", "fields": {"prompt": "a"}, "responses": {"response": [{"value": "b"}, {"value": "c"}]}}
    found, said = read(tmp_path / "a.jsonl", json.dumps(argilla))
    assert said == [("user", "a"), ("assistant", "b")]
    assert found.changed["answers of further annotators left out"] == 1
    responses = [
        {"values": {"response": {"value": v}}, "status": s} for v, s in (("x", "discarded"), ("b", "submitted"))
    ]
    found, said = read(tmp_path / "b.jsonl", json.dumps({**argilla, "responses": responses}))
    assert said == [("user", "a"), ("assistant", "b")]
    assert found.changed["responses that people discarded or left as drafts left out"] == 1
    result = {"from_name": "response", "type": "textarea", "value": {"text": ["b"]}}
    task = {"id": 1, "data": {"prompt": "a"}, "annotations": [{"result": [result]}, {"was_cancelled": True}]}
    found, said = read(tmp_path / "s.json", [task])
    assert said == [("user", "a"), ("assistant", "b")]
    assert found.changed["annotations that people cancelled left out"] == 1


def test_files_beside_the_chats_of_an_export_are_not_read(tmp_path: Path) -> None:
    """Whole exports of Claude (a chat of it is empty) and Slack, without --skip-bad."""
    said: list[dict[str, Any]] = [{"sender": who, "text": who} for who in ("human", "assistant")]
    said[0]["attachments"] = [{"file_name": "a.txt", "extracted_content": "what the answer is about"}]
    chats = [{"uuid": "u", "name": "?", "chat_messages": m} for m in (said, [])]
    with zipfile.ZipFile(tmp_path / "claude.zip", "w") as archive:
        archive.writestr("conversations.json", json.dumps(chats))
        archive.writestr("users.json", json.dumps([{"uuid": "u", "full_name": "X"}]))
    told: list[str] = []
    found = parse_file(tmp_path / "claude.zip", tell=told.append)
    assert (found.read, len(found.records), sum(found.left_out.values())) == (2, 1, 1)
    assert "users.json" in told[0]
    assert found.changed["files that came with turns left out"] == 1
    slack = tmp_path / "slack"
    (slack / "help").mkdir(parents=True)
    for name in ("users", "channels"):
        (slack / f"{name}.json").write_text('[{"id": "U1", "name": "jane"}]', encoding="utf-8")
    posts = [{"type": "message", "text": "ab"[i], "user": f"U{i}", "ts": f"170418960{i}.1"} for i in (0, 1)]
    (slack / "help" / "2024-01-02.json").write_text(json.dumps(posts), encoding="utf-8")
    assert parse_file(slack, speakers="U0,U1").read == 1


def test_what_describes_a_data_set_is_not_read(tmp_path: Path) -> None:
    """A data set of Hugging Face: its card has headings and paragraphs like questions and answers."""
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data" / "train.jsonl", [{"prompt": "a", "response": "b"}])
    (tmp_path / "README.md").write_text("## How is it made?\n\nBy people.\n\n## What?\n\nWords.\n", encoding="utf-8")
    for name in ("dataset_infos", "data/dataset_info", "data/state"):
        (tmp_path / f"{name}.json").write_text('{"default": {"features": {}}}', encoding="utf-8")
    told: list[str] = []
    assert parse_file(tmp_path, tell=told.append).read == 1
    assert "README.md, data/dataset_info.json, data/state.json, dataset_infos.json" in told[0]
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "README.md").write_bytes((tmp_path / "README.md").read_bytes())
    assert parse_file(tmp_path / "faq").read == 2, "alone it is what there is"


def test_tweets_and_turns_are_no_chat(tmp_path: Path) -> None:
    tweet = {"username": "x", "date": "2024-01-02", "text": "A text by itself."}
    assert parse_file(write_jsonl(tmp_path / "t.jsonl", [tweet])).kind == "texts"


def test_the_limit_of_one_value_can_be_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.data.json_values.DOCUMENT_MB", 0.1)
    rows = ",\n".join(json.dumps({"prompt": "x" * 1000, "response": "y"}) for _ in range(300))
    path = tmp_path / "x.json"
    path.write_text(f'{{"tickets": [\n{rows}]}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"at most 0\.1 MB.*--set data\.max_line_mb"):
        parse_file(path, max_line_mb=0.05)
    assert len(parse_file(path, max_line_mb=1).records) == 300


def test_notes_on_many_chats_are_put_together(tmp_path: Path) -> None:
    rows = [
        {"msg": "x", "username": ("jane", "desk")[i % 2], "ts": f"2024-01-{1 + i // 2:02d}T10:00:00Z", "rid": str(chat)}
        for chat in range(20)
        for i in range(4)
    ]
    told: list[str] = []
    assert parse_file(write_jsonl(tmp_path / "x.jsonl", rows), speakers="jane,desk", tell=told.append).read == 40
    assert [note.rpartition(" (")[2] for note in told] == ["20 chats)"]


def test_a_hebrew_afternoon_with_a_plain_quotation_mark() -> None:
    for mark in ("״", '"'):
        found = stamps.LEADING.match(f"[3.1.2024, 3:15 אחה{mark}צ] Anna: hi")
        assert found is not None
        at = stamps.when(found)
        assert at is not None
        assert at.seconds == 54900


@pytest.mark.parametrize("text", [" " * 3000 + "x", "2024-01-01" + " " * 3000 + "x"], ids=("indented", "dated"))
def test_a_line_with_much_space_takes_no_time(text: str) -> None:
    began = time.process_time()
    assert not stamps.LEADING.match(text)
    assert not stamps.TRAILING.match(text)
    assert time.process_time() - began < 2
