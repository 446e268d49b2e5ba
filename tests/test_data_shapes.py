"""Messages and exchanges of systems that no form names: who spoke and what was said lie deeper, or in one row."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from steersman.data.formats.fields import ONE_KEPT
from steersman.data.importing import parse_file
from steersman.types import Conversation

Q, A, Q2, A2 = "Where is my parcel?", "It left on Monday.", "And the second one?", "That left on Tuesday."
ONE, TWO = [("user", Q), ("assistant", A)], [("user", Q2), ("assistant", A2)]
T = "2024-05-01T10:0{}:00Z"


def said(path: Path, **options: Any) -> list[list[tuple[str, str]]]:
    records = parse_file(path, **options).records
    assert all(isinstance(record, Conversation) for record in records)
    return [[(m.role, m.text) for m in record.messages] for record in records]


def direction(way: str, text: str, group: str, at: int) -> dict[str, Any]:
    words = {"payload": {"type": "text", "text": text}, "userId": "x", "type": "text"}
    return {"id": at, "createdAt": T.format(at), "conversationId": group, "direction": way, **words}


def author(role: str, text: str, group: str) -> dict[str, Any]:
    return {"id": 1, "conversation_id": group, "author": {"id": 1, "role": role}, "content": {"body": text}}


def exchange(question: str, answer: str, at: int) -> dict[str, Any]:
    return {
        "conversation_name": "s/1",
        "turn_position": at,
        "request_time": f"2024-01-05 10:0{at}:00 UTC",
        "request": json.dumps({"queryInput": {"text": {"text": question}, "languageCode": "en"}}),
        "response": json.dumps({"queryResult": {"text": question, "responseMessages": [{"text": {"text": [answer]}}]}}),
    }


def event(who: str, text: str) -> dict[str, Any]:
    return {"event": who, "text": text, "timestamp": 1559744411.5, "data": {}}


def step(form: str, kind: str, payload: Any) -> dict[str, Any]:
    return {"turnID": "1", "type": kind, "payload": payload, "startTime": T.format(1), "format": form}


LEX = [
    {"sessionId": "s", "timestamp": T.format(i), "inputTranscript": q, "messages": [{"content": a}]}
    for i, (q, a) in enumerate(((Q, A), (Q2, A2)))
]
HUMAN, AI = ({"lc": 1, "id": ["x", f"{k}Message"], "kwargs": {"content": t}} for k, t in (("Human", Q), ("AI", A)))
CHAT = [{"role": "user", "content": Q}]
TOLD = {"role": "assistant", "content": A}
PAGES: dict[str, tuple[Any, list[list[tuple[str, str]]]]] = {
    "botpress, newest first": (
        {
            "messages": [
                *(direction("outgoing", A, "1", 2), direction("incoming", Q, "1", 1)),
                *(direction("incoming", Q2, "2", 3), direction("outgoing", A2, "2", 4)),
            ]
        },
        [ONE, TWO],
    ),
    "ada": ({"data": [author("end_user", Q, "1"), author("ai_agent", A, "1")], "meta": {}}, [ONE]),
    "sunshine": (
        {
            "messages": [
                {"received": T.format(1), "author": {"type": "user"}, "content": {"type": "text", "text": Q}},
                {"received": T.format(2), "author": {"type": "user"}, "content": {"type": "image", "mediaUrl": "x"}},
                {"received": T.format(3), "author": {"type": "business"}, "content": {"type": "text", "text": A}},
            ]
        },
        [ONE],
    ),
    "zoho desk": (
        {
            "data": [
                {
                    "ticketId": 1,
                    "direction": way,
                    "content": f"<div>{t}</div>",
                    "visibility": v,
                    "author": {"type": who},
                }
                for way, t, v, who in (
                    ("in", Q, "public", "END_USER"),
                    ("out", A, "public", "AGENT"),
                    ("out", "Bob, see to it.", "private", "AGENT"),
                )
            ]
        },
        [ONE],
    ),
    "dixa": ([{"csid": 1, "direction": d, "text": t, "html": ""} for d, t in (("inbound", Q), ("outbound", A))], [ONE]),
    "easemob": (
        [
            {
                **{"msg_id": t, "timestamp": 1403099033211, "direction": "outgoing", "from": f, "to": to},
                **{"chat_type": "chat", "payload": {"bodies": [{"msg": t, "type": "txt"}], "from": f, "to": to}},
            }
            for f, to, t in (("zw", "kf", Q), ("kf", "zw", A), ("li", "kf", Q2), ("kf", "li", A2))
        ],
        [ONE, TWO],
    ),
    "rasa": (
        {
            "sender_id": "a",
            "events": [
                {"event": "action", "name": "action_listen"},
                *(event("user", Q), event("bot", A), event("user", '/affirm{"a": 1}')),
                *(event("user", Q2), event("bot", A2)),
            ],
        },
        [[*ONE, *TWO]],
    ),
    "voiceflow": (
        [
            step("launch", "launch", {"type": "launch"}),
            step("request", "request", {"type": "text", "payload": Q}),
            step("trace", "debug", {"type": "debug", "payload": {"message": "matched"}}),
            step("trace", "text", {"type": "text", "payload": {"message": A}}),
        ],
        [ONE],
    ),
    "lex": (LEX, [[*ONE, *TWO]]),
    "lex in cloudwatch": ({"events": [{"timestamp": 1, "message": json.dumps(line)} for line in LEX]}, [[*ONE, *TWO]]),
    "dialogflow": ([exchange(Q, A, 1), exchange(Q2, A2, 2)], [[*ONE, *TWO]]),
    "watson": (
        {
            "logs": [
                {
                    **{"session_id": "s", "request": {"input": {"text": Q}}, "request_timestamp": T.format(1)},
                    "response": {"output": {"generic": [{"response_type": "text", "text": A}]}},
                }
            ]
        },
        [ONE],
    ),
    "langsmith": ([{"inputs": {"messages": [[HUMAN]]}, "outputs": {"generations": [[{"message": AI}]]}}], [ONE]),
    "helicone": ([{"request_body": {"messages": CHAT}, "response_body": {"choices": [{"message": TOLD}]}}], [ONE]),
    "posthog": ([{"event": "x", "properties": {"$ai_input": CHAT, "$ai_output_choices": [TOLD]}}], [ONE]),
    "phoenix": (
        [
            {
                "attributes": {
                    "llm": {"input_messages": [{"message": CHAT[0]}], "output_messages": [{"message": TOLD}]},
                    "input": {"value": "..."},
                }
            }
        ],
        [ONE],
    ),
    "opentelemetry": (
        [
            {
                "attributes": {
                    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": Q}]}]),
                    "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"content": A}]}]),
                }
            }
        ],
        [ONE],
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_and_logs(name: str, tmp_path: Path) -> None:
    value, expected = PAGES[name]
    path = tmp_path / "page.json"
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    assert said(path) == expected


ACTIVITIES = [
    {"type": "trace", "from": {"role": 0}, "value": {}},
    {"type": "message", "from": {"role": 1}, "text": Q},
    {"type": "message", "from": {"role": 0}, "text": A},
]
TABLES = {
    "rasa's store": [
        {"id": i, "sender_id": "a", "type_name": e["event"], "data": json.dumps(e)}
        for i, e in enumerate((event("user", Q), {"event": "action", "name": "x"}, event("bot", A)))
    ],
    "copilot": [{"transcriptid": "t", "content": json.dumps({"activities": ACTIVITIES}), "metadata": "{}"}],
    "servicenow": [
        {
            "element_id": "INC1",
            "element": e,
            "value": t,
            "sys_created_by": by,
            "sys_created_on": f"2024-01-01 10:0{i}:00",
        }
        for i, (e, t, by) in enumerate((("comments", Q, "kim"), ("work_notes", "lazy", "it"), ("comments", A, "it")))
    ],
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_whose_cells_hold_it(name: str, tmp_path: Path) -> None:
    rows, out = TABLES[name], io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "rows.csv").write_text(out.getvalue(), encoding="utf-8")
    assert said(tmp_path / "rows.csv") == [ONE]


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    for name, told in (
        ("sunshine", {"messages without text left out of tickets": 1}),
        ("zoho desk", {"internal notes left out of tickets": 1}),
        ("rasa", {"messages without text left out of tickets": 2, "messages of bots taken for the assistant's": 2}),
    ):
        path.write_text(json.dumps(PAGES[name][0], indent=1), encoding="utf-8")
        assert told.items() <= parse_file(path).changed.items()


@pytest.mark.parametrize(
    ("messages", "speakers"),
    [
        (
            [{"user": {"user_id": w, "nickname": n}, "message": t} for w, n, t in (("j", "J", Q), ("d", "Shop", A))],
            "Shop",
        ),
        ([{"sender": w, "content": {"msgtype": "m.text", "body": t}} for w, t in (("@k:x", Q), ("@it:x", A))], "@it:x"),
    ],
)
def test_chats_of_people(messages: list[dict[str, Any]], speakers: str, tmp_path: Path) -> None:
    """Sendbird's and Matrix's."""
    key, room = ("origin_server_ts", {}) if "sender" in messages[0] else ("created_at", {"channel_url": "c"})
    rows = [{**room, **m, key: 1700000000000 + i * 1000} for i, m in enumerate(messages)]
    (tmp_path / "chat.json").write_text(json.dumps({"messages": rows}), encoding="utf-8")
    assert said(tmp_path / "chat.json", speakers=f"*,{speakers}") == [ONE]


def test_a_skype_message_without_sender_has_no_name(tmp_path: Path) -> None:
    rows = [
        {"originalarrivaltime": T.format(i), "messagetype": "RichText", "content": text}
        | ({"from": who} if who else {})
        for i, (who, text) in enumerate((("a", Q), ("b", A), ("", "lost")))
    ]
    (tmp_path / "s.json").write_text(
        json.dumps({"conversations": [{"id": "a", "MessageList": rows}]}), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"the log has: a \(1\), b \(1\), \? \(1\)"):
        parse_file(tmp_path / "s.json")


SENDERS = [
    {"id": i, "ticket_id": 0, "sender_id": 7 + i, "sender": {"role": role}, "content": {"text": text}}
    for i, (role, text) in enumerate((("customer", Q), ("agent", A)))
]
BY_PERSON = [
    {"sender": who, "text": text, "user_id": str(i), "created_at": T.format(i)}
    for i, (who, text) in enumerate((("customer", Q), ("agent", A)))
]
TWO_VISITS = [
    {"sender": who, "text": text, "session_id": visit}
    for visit, pairs in (("a", ONE), ("b", TWO))
    for who, text in pairs
]
TWILIO: dict[str, Any] = {
    "messages": [
        {
            "sid": f"IM{i}",
            "conversation_sid": "CH",
            "author": who,
            "body": text,
            "date_created": T.format(i),
            "index": i,
        }
        for i, (who, text) in enumerate((("kim", Q), ("desk", A)))
    ],
    "meta": {"page": 0},
}
ASKED = [{"session_id": 0, "request": {"prompt": Q}, "response": {"text": A}}]
JSON_OUT = '{"type": "human", "content": "x"}'
OF_EVENTS = [
    {"conversation_id": "1", "event": "message", "sender_id": who, "sender": who, "text": t}
    for who, t in (("customer", Q), ("agent", A))
]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SENDERS, [ONE]),  # a message's sender is no conversation
        ({"messages": BY_PERSON}, [ONE]),
        ({"conversation_id": "c", "messages": TWO_VISITS}, [[*ONE, *TWO]]),
        (TWILIO, [ONE]),  # each has an id of its own
        (ASKED, [ONE]),
        ([{"input": Q, "output": JSON_OUT}], [[("user", Q), ("assistant", JSON_OUT)]]),
        ([{"session_id": "s", "request": Q, "response": JSON_OUT}], [[("user", Q), ("assistant", JSON_OUT)]]),
        (OF_EVENTS, [ONE]),
        ({"definition": "Be kind.", "data": [{"question": Q, "answer": A}]}, [ONE]),
    ],
)
def test_names_of_people_and_texts_of_json_part_no_dialogue(value: Any, expected: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    assert said(tmp_path / "a.json", speakers="kim,desk" if value is TWILIO else "") == expected


def test_several_answers_to_a_request_are_not_joined(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"session_id": "s", "request": Q, "response": [A, A2]}))
    with pytest.raises(ValueError, match="expected scores or ranks beside 2 answers"):
        parse_file(tmp_path / "a.jsonl")


def test_of_several_choices_of_an_api_one_is_kept_and_said(tmp_path: Path) -> None:
    several = {"choices": [{"message": {"role": "assistant", "content": t}} for t in (A, A2)]}
    trace = {"request_body": {"messages": CHAT}, "response_body": several}
    asked = {"custom_id": "1", "body": {"messages": CHAT}}
    batch = [asked, {"custom_id": "1", "response": {"status_code": 200, "body": several}}]
    for lines in ([trace], batch):
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        found = parse_file(tmp_path / "a.jsonl")
        assert [m.text for m in found.records[0].messages][-1] == A
        assert found.changed[ONE_KEPT] == 1


def test_one_id_in_two_files_is_said(tmp_path: Path) -> None:
    """A conversation may go on in the next page's file; or two tables number theirs alike."""
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, text in zip(paths, ((Q, A), (Q2, A2)), strict=True):
        rows = [
            {"session_id": "1", "sender": who, "text": t} for who, t in zip(("customer", "agent"), text, strict=True)
        ]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = parse_file(paths)
    assert len(found.records) == 1
    assert found.changed["conversations whose messages lie in several files joined by their id"] == 1
