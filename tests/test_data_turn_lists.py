"""Exports and public sets that no form names: turns by their shape, tables with a flag for who spoke, plain text."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.data.importing import Imported, parse_file
from steersman.types import Feedback

Q, A, Q2, A2 = "Where is my parcel?", "It left on Monday.", "And the second one?", "That left on Tuesday."
FOUR = [("user", Q), ("assistant", A), ("user", Q2), ("assistant", A2)]


def read(tmp_path: Path, name: str, text: str | bytes, **options: Any) -> Imported:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return parse_file(path, **options)


def turns(who: str, what: str, user: Any = "user", assistant: Any = "agent") -> list[dict[str, Any]]:
    return [{who: user if i % 2 == 0 else assistant, what: text} for i, (_, text) in enumerate(FOUR)]


BOTH = [{"turn_id": i, "user_utterance": q, "system_utterance": a} for i, (q, a) in enumerate(((Q, A), (Q2, A2)))]
PAIRS = [
    ["agent", "Hello!"],
    ["customer", Q],
    ["action", "Looked it up."],
    ["agent", A],
    ["customer", Q2],
    ["agent", A2],
]
SMALL = [{"speaker": w, "text": t.lower(), "targets": []} for w, t in PAIRS]
COQA = {
    "questions": [{"input_text": q, "turn_id": 1} for q in (Q, Q2)],
    "answers": [{"input_text": a} for a in (A, A2)],
}
FORMS: dict[str, Any] = {
    "texts that take turns, under a name of a dialogue": [{"dialog_id": "1", "content": [t for _, t in FOUR]}],
    "lists of texts": [[t for _, t in FOUR]],
    "each turn with both sides": [{"dialogue_id": "1", "dialogue": BOTH}],
    "columns": [{"dialogue_turns": {"speaker": ["病人", "医生"] * 2, "utterance": [t for _, t in FOUR]}}],
    "an object of records": {"7": {"messages": turns("role", "content", "usr", "sys"), "type": "x"}},
    "pairs, an action and a copy in small letters": {"train": [{"convo_id": 1, "original": PAIRS, "delexed": SMALL}]},
    "wizards": [{"id": "c", "turns": turns("author", "text", "user", "wizard"), "labels": {"a": 1}}],
    "numbered speakers": [{"dialog": turns("speaker", "text", "1_Apprentice", "0_Wizard")}],
    "types of actors": {"1": {"title": "T", "utterances": turns("actor_type", "utterance", "User", "Agent")}},
    "inside an answer of an interface": {
        "RequestId": "x",
        "Data": {"Dialogue": turns("role", "words", "客户", "客服")},
    },
    "entries without a conversation": {"entries": turns("role", "text", "CUSTOMER", "AGENT")},
    "a flag in turns": [{"log": turns("is_customer", "text", True, False)}],
    "history of texts": [{"history": [Q, A, Q2], "response": A2}],
    "questions about a story": {"data": [{"id": "s", "story": "A parcel left.", **COQA}]},
}


@pytest.mark.parametrize("name", FORMS)
def test_turns_are_known_by_their_shape(tmp_path: Path, name: str) -> None:
    found = said(read(tmp_path, "a.json", json.dumps(FORMS[name], ensure_ascii=False)))
    assert [[t for t in one if t[0] != "system"] for one in found] == [FOUR]


def test_two_dialogues_in_one_record_are_asked_about(tmp_path: Path) -> None:
    other = [{"role": r, "text": t} for r, t in (("user", "我要退货"), ("agent", "请填写申请单"))]
    record = {"first_call": turns("role", "text"), "second_call": other}
    with pytest.raises(
        ValueError, match=r"two lists of turns, 'first_call' and 'second_call'.*--map messages=first_call"
    ):
        read(tmp_path, "a.jsonl", json.dumps(record) + "\n")


JDDC = "session_id\tuser_id\twaiter_send\tcontent\n" + "".join(
    f"s1\tU1\t{int(role == 'assistant')}\t{text}\n" for role, text in FOUR
)
TWEETS = "tweet_id,author_id,inbound,text,in_response_to_tweet_id\n" + "".join(
    f"{i},{role},{role == 'user'},{'@desk ' if i else ''}{text} &amp; so on,{i - 1 if i else ''}\n"
    for i, (role, text) in enumerate(FOUR)
)
WECHAT = {
    "msg_list": [
        {
            "msgid": "0",
            "origin": 4,
            "msgtype": "event",
            "send_time": 1615478580,
            "event": {"event_type": "enter_session"},
        },
        *(
            {"msgid": str(i), "open_kfid": "k", "external_userid": "u", "send_time": 1615478581 + i, "msgtype": "text"}
            | {"origin": 3 if role == "user" else 5, "text": {"content": text}}
            for i, (role, text) in enumerate(FOUR, 1)
        ),
    ]
}
ACCOUNT = {
    "recordlist": [
        {
            "openid": "o",
            "opercode": 2003 if role == "user" else 2002,
            "text": text,
            "time": 1400563710 + i,
            "worker": "w",
        }
        for i, (role, text) in enumerate(FOUR)
    ]
}
VTT = "WEBVTT\n\n" + "".join(
    f"{i}\n00:00:0{i}.000 --> 00:00:0{i}.900\n<v {'Customer' if role == 'user' else 'Agent Smith'}>{text}</v>\n\n"
    for i, (role, text) in enumerate(FOUR)
)
CALLED = "id=1\nhttps://firm.example/1\nDialogue\n" + "".join(
    f"{'病人' if role == 'user' else '医生'}：\n{text}\n" for role, text in FOUR
)
PYTHON = f"{{'question': {Q!r}, 'answer': \"{A}\"}}\n{{'question': {Q2!r}, 'answer': {A2!r}}}\n"
FILES: dict[str, tuple[str, str | bytes]] = {
    "a column for who sent": ("chat.txt", JDDC),
    "replies": ("twcs.csv", TWEETS.replace(" &amp; so on", "")),
    "WeChat's customer service": ("kf.json", json.dumps(WECHAT)),
    "an official account": ("mp.json", json.dumps(ACCOUNT)),
    "subtitles": ("call.vtt", VTT),
    "speakers called by their roles": ("log.txt", CALLED.encode("gb18030")),
    "one line a dialogue": ("dialogues.txt", " __eou__ ".join(t for _, t in FOUR) + " __eou__\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_are_read_without_options(tmp_path: Path, name: str) -> None:
    file, text = FILES[name]
    assert said(read(tmp_path, file, text, encoding="auto")) == [FOUR]


def test_replies_lose_names_and_entities_which_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path, "twcs.csv", TWEETS + "9,u,True,@desk Help!,8\n10,d,False,@u Gladly.,9\n")
    assert said(found)[0][0] == ("user", f"{Q} & so on")
    assert found.changed["names before a reply (@name) left out"] == 5
    assert found.changed["replies to a message that is not there, which begin a dialogue"] == 1
    assert said(found)[1] == [("user", "Help!"), ("assistant", "Gladly.")]


def test_python_objects_and_words_apart_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, "qa.json", PYTHON)
    assert said(found) == [FOUR[:2], FOUR[2:]]
    assert found.changed["objects in Python's form, with single quotes, read as JSON"] == 2
    spaced = json.dumps([["火锅 我 在 重庆 吃 了", "我 的 嘴巴 可能 要 烂掉 ！"]], ensure_ascii=False)
    found = read(tmp_path, "lccc.json", spaced)
    assert said(found) == [[("user", "火锅我在重庆吃了"), ("assistant", "我的嘴巴可能要烂掉！")]]
    assert found.changed["dialogues whose Chinese words stood apart: spaces between them taken out"] == 1
    kept = json.dumps([["iPhone 15 和 iPhone 14 有什么区别呀", "您好 这款有货 请放心"]], ensure_ascii=False)
    assert said(read(tmp_path, "kept.json", kept))[0][1][1] == "您好 这款有货 请放心"


def test_a_line_of_many_spaces_takes_no_longer_than_another(tmp_path: Path) -> None:
    """Two hundred thousand took more than ten minutes: at each was looked for what follows all of them."""
    before = time.process_time()
    found = read(tmp_path, "a.txt", f"User: {Q}{' ' * 200_000}z\nAssistant: {A}\n")
    assert said(found)[0][1] == ("assistant", A)
    assert time.process_time() - before < 5


def test_lines_with_right_and_wrong_answers_are_feedback(tmp_path: Path) -> None:
    rows = f"1\t{Q}\t{A}\n0\t{Q}\t{A2}\n"
    found = read(tmp_path, "train.txt", rows)
    assert [(r.kind, r.answer) for r in found.records if isinstance(r, Feedback)] == [("like", A), ("dislike", A2)]
    assert said(read(tmp_path, "again.txt", rows, kind="demonstrations")) == [FOUR[:2]]


@pytest.mark.parametrize(
    "value",
    [
        {"data": [{"title": "T", "paragraphs": [{"context": "C c.", "qas": [{"question": Q, "answers": []}]}]}]},
        {"name": "n", "examples": [{"input": Q, "target_scores": {"a": 1, "b": 0}}]},
        [[["男：你好"], [{"question": Q, "choice": ["a", "b"], "answer": "a"}], "1"]],
    ],
)
def test_tests_are_sent_to_the_verb_that_builds_them(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="`steersman tasks build` reads these"):
        read(tmp_path, "a.json", json.dumps(value))
