"""Exports of help desks and assistants, tables with a message a row, and forms of public data sets that were misread.

Each is one record (or a few) in our own words with what it must become: (question, answer) turns, or answers by rank.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imported import said
from steersman.data.formats.exports import body_of
from steersman.data.importing import Imported, parse_file
from steersman.types import Conversation, Ranking

Q, GOOD, BAD = "How do I reset it?", "Hold the button at the back.", "I do not know, ask somebody else."
ASKED = [("user", Q), ("assistant", GOOD)]


def u(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def a(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def read(folder: Path, *records: Any, name: str = "file.json", **options: Any) -> Imported:
    path = folder / name
    if isinstance(records[0], str):
        path.write_text(records[0], encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return parse_file(path, **options)


def node(name: str, parent: str | None, role: str, text: str, recipient: str = "all") -> dict[str, Any]:
    message = {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, "recipient": recipient}
    return {"id": name, "parent": parent, "message": message, "children": []}


CHATGPT = {
    "title": "Reset",
    "current_node": "d",
    "mapping": {
        "root": {"id": "root", "parent": None, "message": None, "children": ["s"]},
        "s": node("s", "root", "system", ""),
        "a": node("a", "s", "user", Q),
        "b": node("b", "a", "assistant", "An answer that was made anew."),
        "c": node("c", "a", "assistant", "search('button')", "browser"),
        "d": node("d", "c", "assistant", GOOD),
    },
}
COMMENTS = [
    {"author_id": 11, "body": Q, "public": True},
    {"author_id": 22, "body": GOOD, "public": True},
    {"author_id": 22, "body": "internal: the customer is angry", "public": False},
    {"author_id": 33, "body": "I am only in copy here", "public": True},
]
PARTS = [
    {"part_type": "comment", "body": f"<p>{GOOD}</p>", "author": {"type": "admin"}},
    {"part_type": "assignment", "body": None, "author": {"type": "bot"}},
    {"part_type": "note", "body": "<p>internal: angry</p>", "author": {"type": "admin"}},
]
EVENTS = [{"text": Q, "author_id": "c"}, {"text": GOOD, "author_id": "a"}, {"text": "joined", "author_id": "x"}]
EXPORTS: dict[str, Any] = {
    "chatgpt": [CHATGPT],
    "claude": [{"uuid": "1", "chat_messages": [{"sender": "human", "text": Q}, {"sender": "assistant", "text": GOOD}]}],
    "open webui": [{"id": "1", "title": "Reset", "chat": {"models": ["m"], "messages": [u(Q), a(GOOD)]}}],
    "zendesk": {
        **{"id": 1, "subject": "Reset", "description": Q, "requester_id": 11, "assignee_id": 22},
        **{"collaborator_ids": [33], "comments": COMMENTS},
    },
    "intercom": {
        "conversations": [
            {
                "id": "1",
                "source": {"body": f"<p>{Q}</p>", "author": {"type": "user"}},
                "conversation_parts": {"conversation_parts": PARTS},
            }
        ]
    },
    "freshdesk": {
        "id": 1,
        "description_text": Q,
        "description": f"<div>{Q}</div>",
        "conversations": [
            {"body_text": GOOD, "incoming": False, "private": False},
            {"body_text": "internal: angry", "incoming": False, "private": True},
            {"body_text": "Thanks.", "incoming": True, "private": False},
        ],
    },
    "gorgias": {"id": 1, "messages": [{"from_agent": False, "body_text": Q}, {"from_agent": True, "body_text": GOOD}]},
    "livechat": {
        "chats": [
            {"users": [{"id": "c", "type": "customer"}, {"id": "a", "type": "agent"}], "thread": {"events": EVENTS}}
        ]
    },
    "crisp": {"messages": [{"from": "user", "content": Q}, {"from": "operator", "content": GOOD}]},
    "hubspot": {"messages": [{"direction": "INCOMING", "text": Q}, {"direction": "OUTGOING", "text": GOOD}]},
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, json.dumps(EXPORTS[name], indent=1))
    assert said(found) == [ASKED]
    left = sum(n for what, n in found.changed.items() if "left out" in what or "cut off" in what)
    assert left == {"chatgpt": 2, "zendesk": 2, "intercom": 2, "freshdesk": 2, "livechat": 1}.get(name, 0)


ROWS = {
    "csv": f"conversation_id,sender,message\nc1,customer,{Q}\nc2,customer,Refund?\nc1,agent,{GOOD}\nc2,agent,Yes.\n",
    "chinese": f"会话ID,角色,内容\nc1,用户,{Q}\nc2,用户,Refund?\nc1,客服,{GOOD}\nc2,客服,Yes.\n",
    "inbound": f"ticket_id,inbound,body\n1,true,{Q}\n1,false,{GOOD}\n2,true,Refund?\n2,false,Yes.\n2,true,Thanks\n",
    "speakers": f"chat_id,author,text\n1,Jo,{Q}\n1,Ann,{GOOD}\n2,Jo,Refund?\n2,Bob,Yes.\n",
}


@pytest.mark.parametrize("name", ROWS)
def test_a_message_a_row(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, ROWS[name], name="file.csv", speakers="Jo,Ann|Bob")
    assert said(found) == [ASKED, [("user", "Refund?"), ("assistant", "Yes.")]]


def test_a_message_without_its_dialogue_is_no_text(tmp_path: Path) -> None:
    rows = "tweet_id,author_id,inbound,text\n1,7,True,My phone does not work\n2,8,False,Please write to us\n"
    with pytest.raises(ValueError, match="got one message"):
        read(tmp_path, rows, name="file.csv")
    assert len(read(tmp_path, rows, name="file.csv", kind="texts").records) == 2


HEADINGS = {"Zeit,Ihre Frage,Unsere Antwort": True, "Timestamp,What is your question?,Our reply": True}
HEADINGS |= {"时间戳记,您的问题,客服的回答": True, "Time,First question,Second question": False, "a,b,Answer": False}


@pytest.mark.parametrize("names", HEADINGS)
def test_headings_of_forms_are_guessed_and_shown(tmp_path: Path, names: str) -> None:
    told: list[str] = []
    if not HEADINGS[names]:
        with pytest.raises(ValueError, match="--map question=COLUMN"):
            read(tmp_path, f"{names}\n1,{Q},{GOOD}\n", name="file.csv", tell=told.append)
        return
    assert said(read(tmp_path, f"{names}\n1,{Q},{GOOD}\n", name="file.csv", tell=told.append)) == [ASKED]
    assert any(f"column '{names.split(',')[1]}' is read as the question" in text for text in told)


DIALOGUES: dict[str, dict[str, Any]] = {
    "guanaco": {"text": f"### Human: {Q}### Assistant: {GOOD}"},
    "huatuo": {"data": [f"问：{Q}", f"答：{GOOD}"]},
    "refgpt": {"dialogue": f"<user>: {Q} <assistant>: {GOOD}"},
    "moss-002": {"plain_text": f"[Human]: {Q}<eoh> [MOSS]: {GOOD}<eoa> ", "num_turns": 1},
    "langsmith": {"inputs": {"question": Q}, "outputs": {"answer": GOOD}},
    "p3": {"inputs_pretokenized": Q, "targets_pretokenized": GOOD, "inputs": [1], "targets": [2]},
    "flan": {"inputs": Q, "targets": GOOD},
    "ultrainteract": {"trajectory": [{"from": "user", "value": Q}, {"from": "assistant", "value": GOOD}]},
    "r1 distilled": {"input": Q, "content": GOOD, "reasoning_content": "The button, I think."},
    "magpie": {
        "conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": GOOD}],
        "intent": "The user wants to reset the thing.",
        "quality_explanation": "The question is clear enough to be answered.",
    },
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogues(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, DIALOGUES[name], DIALOGUES[name])
    assert (found.kind, said(found)) == ("demonstrations", [ASKED, ASKED])


BOTH: dict[str, dict[str, Any]] = {
    "ultrafeedback binarized": {
        **{"prompt": Q, "chosen": [u(Q), a(GOOD)], "rejected": [u(Q), a(BAD)], "messages": [u(Q), a(GOOD)]},
        **{"score_chosen": 8.0, "score_rejected": 4.0},
    },
    "arena 55k": {
        **{"prompt": json.dumps([Q]), "response_a": json.dumps([BAD]), "response_b": json.dumps([GOOD])},
        **{"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0},
    },
    "arena 140k": {
        **{"conversation_a": [u(Q), a(GOOD)], "conversation_b": [u(Q), a(BAD)], "winner": "model_a"},
        "full_conversation": [{"user": u(Q), "model_side_a": a(GOOD), "model_side_b": a(BAD)}],
    },
    "cvalues": {"prompt": Q, "pos_resp": GOOD, "neg_resp": BAD, "neg_type": "风险回复"},
    "stack exchange paired": {"question": Q, "response_j": GOOD, "response_k": BAD},
    "stack exchange scored": {"question": Q, "answers": [{"text": BAD, "pm_score": 1}, {"text": GOOD, "pm_score": 4}]},
    "eli5": {"title": Q, "selftext": "", "document": "", "answers": {"text": [BAD, GOOD], "score": [2, 9]}},
    "webgpt": {
        **{"question": {"id": "q", "full_text": Q}, "answer_0": BAD, "score_0": -0.5, "answer_1": GOOD},
        **{"score_1": 0.5, "quotes_0": {"extract": ["Routers have a button at the back of them."]}},
    },
    "openai summaries": {"info": {"id": "t", "post": Q}, "summaries": [{"text": BAD}, {"text": GOOD}], "choice": 1},
    "rated after their names": {
        **{"prompt": Q, "response_1": BAD, "response_2": GOOD, "response_1_rating": 1, "response_2_rating": 5}
    },
    "votes": {"question": Q, "answers": [{"text": BAD, "votes": 1}, {"text": GOOD, "votes": 9}]},
    "openrlhf": {"context_messages": [u(Q)], "chosen": GOOD, "rejected": BAD},
    "prompt on one line": {"prompt": f"Human: {Q} Assistant:", "chosen": GOOD, "rejected": BAD},
    "argilla": {
        **{"system": "", "input": Q, "chosen": GOOD, "rejected": BAD, "generations": [GOOD, BAD], "rating": [9, 2]},
        **{"rationale": "The first one is far better than the other.", "raw_labelling_response": "9 2 as I see it now"},
    },
    "magpie pairs": {
        **{"instruction": Q, "chosen": [u(Q), a(GOOD)], "rejected": [u(Q), a(BAD)]},
        "responses": [GOOD, BAD, "A third answer that was left aside."],
    },
}


@pytest.mark.parametrize("name", BOTH)
def test_comparisons(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, BOTH[name])
    (ranking,) = found.records
    assert isinstance(ranking, Ranking)
    assert [(m.role, m.content) for m in ranking.prompt.messages] == ASKED[:1]
    assert [text for _, text in sorted(zip(ranking.order, ranking.answers, strict=True))] == [GOOD, BAD]


def test_answers_that_are_calls(tmp_path: Path) -> None:
    call, tool = {"name": "weather", "arguments": {"city": "Paris"}}, {"name": "weather", "parameters": {}}
    record = {"query": "Weather in Paris?", "answers": json.dumps([call]), "tools": json.dumps([tool])}
    (dialogue,) = read(tmp_path, record).records
    assert isinstance(dialogue, Conversation)
    assert dialogue.messages[-1].content == ""
    assert dialogue.messages[-1].tool_calls[0]["function"] == {"name": "weather", "arguments": '{"city": "Paris"}'}


def test_what_looks_like_a_data_set_inside_one_record_is_none(tmp_path: Path) -> None:
    for record in ({"segments": [{"label": True, "text": f"{GOOD}</s>"}]}, {"id": 1, "notes": [{"text": GOOD}]}):
        with pytest.raises(ValueError, match="no known format"):
            read(tmp_path, record)


def test_a_label_in_words_and_arena_lists_with_nulls_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="field 'label' looks like something said"):
        read(tmp_path, {"prompt": Q, "label": GOOD})
    sides = {"response_a": json.dumps([BAD, None]), "response_b": json.dumps([GOOD, GOOD]), "winner": "model_a"}
    with pytest.raises(ValueError, match="no nulls"):
        read(tmp_path, {"prompt": json.dumps([Q, Q])} | sides)


def test_scores_of_single_answers_and_rendered_texts_are_said(tmp_path: Path) -> None:
    told: list[str] = []
    read(tmp_path, *({"prompt": Q, "response": GOOD, "rating": n} for n in (5, 1)), tell=told.append)
    assert any(t.startswith("caution: 'rating' scores 2 single answers from 1 to 5 and is not used") for t in told)
    found = read(tmp_path, {"text": f"<|im_start|>user\n{Q}<|im_end|>"})
    assert found.changed == {"texts with marks of a chat template: learned as they stand": 1}
    assert "left out" not in str(dict(found.left_out))


def test_fields_that_are_ignored_play_no_role(tmp_path: Path) -> None:
    record = {"problem": Q, "generations": [GOOD, BAD], "messages": [u(Q), a(GOOD)]}
    with pytest.raises(ValueError, match="expected scores or ranks"):
        read(tmp_path, record)
    assert said(read(tmp_path, record, mapping={"ignore": "generations"})) == [ASKED]


MESSENGER = {  # language: (stamp, picture, edited, deleted)
    "fr": ("14/08/2023 à 09:1{n} - ", "<Médias omis>", "<Ce message a été modifié>", "Ce message a été supprimé"),
    "es": (
        "14/8/23, 9:1{n} a.\xa0m. - ",
        "<Multimedia omitido>",
        "<Se editó este mensaje.>",
        "Se eliminó este mensaje.",
    ),
    "pt": ("14/08/2023 09:1{n} - ", "<Mídia oculta>", "<Mensagem editada>", "Mensagem apagada"),
    "it": ("[14/08/23, 09:1{n}:32] ", "\u200eimmagine omessa", "", "\u200eQuesto messaggio è stato eliminato."),
    "ja": (
        "2023/08/14 9:1{n} - ",
        "<メディアなし>",
        "<このメッセージは編集されました>",
        "このメッセージは削除されました",
    ),
    "feishu": ("8月14日 09:1{n} ", "[图片]", "", "[图片]"),
}


@pytest.mark.parametrize("language", MESSENGER)
def test_what_messengers_write_in_other_languages(tmp_path: Path, language: str) -> None:
    stamp, media, edited, deleted = MESSENGER[language]
    words = ["Jo: One?", f"Jo: {media}", f"Shop: Two. {edited}", "Mary: her secret", f"Jo: {deleted}", "Jo: Three?"]
    log = "".join(f"{stamp.format(n=n)}{text}\n" for n, text in enumerate([*words, "Shop: Four."]))
    found = read(tmp_path, log, name="log.txt", speakers="Jo,Shop")
    assert said(found) == [[("user", "One?"), ("assistant", "Two.")], [("user", "Three?"), ("assistant", "Four.")]]


def test_numbers_of_headings_are_no_part_of_the_question(tmp_path: Path) -> None:
    page = "# FAQ\n\n## 一、怎么退货？\n\n七天内申请。\n\n## 二、多久发货？\n\n48小时内。\n"
    assert said(read(tmp_path, page, name="faq.md"))[0][0] == ("user", "怎么退货？")
    page = "# FAQ\n\n## 1.5 litres or more?\n\nMore.\n\n## How many?\n\nTwo.\n"
    assert said(read(tmp_path, page, name="faq.md"))[0][0] == ("user", "1.5 litres or more?")


CHAT = [
    ("system", "Chat started"),
    ("customer", "Where is my parcel?"),
    ("system", "Ann joined the chat"),
    ("agent", "It arrives tomorrow."),
    ("system", "Chat ended by agent"),
]


@pytest.mark.parametrize("key", ["sender", "sender_type", "author"])
def test_what_a_system_tells_in_a_chat_is_counted_and_no_turn(tmp_path: Path, key: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"id": "1", "messages": [{key: who, "text": text} for who, text in CHAT]}))
    found = parse_file(path)
    assert [(m.role, m.text) for m in found.records[0].messages] == [  # type: ignore[union-attr]
        ("user", "Where is my parcel?"),
        ("assistant", "It arrives tomorrow."),
    ]
    assert found.changed["messages of others (in copy, systems) left out of tickets"] == 3
    path.write_text(json.dumps({"messages": [{key: who, "text": "a"} for who in ("user", "system")]}))
    assert [m.role for m in parse_file(path).records[0].messages] == ["user", "assistant"]  # type: ignore[union-attr]


def test_a_history_of_tickets_is_no_dialogue(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    tickets = [{"id": 3, "subject": "Late", "description": "My parcel is late", "requester_id": 5}]
    path.write_text(json.dumps({"question": "And now?", "answer": "Wait.", "history": tickets}))
    found = parse_file(path)
    assert [m.text for m in found.records[0].messages] == ["And now?", "Wait."]  # type: ignore[union-attr]
    assert found.changed == {"'history' that lists tickets or events instead of turns: not used": 1}
    own = {"id": 7, "requester_id": 5, "subject": "Broken", "description": "My lamp is broken."}
    path.write_text(json.dumps({**own, "history": tickets}))
    assert [m.text for m in parse_file(path, "prompts").records[0].messages] == ["My lamp is broken."]  # type: ignore[union-attr]


def test_a_body_is_no_other_fields_html() -> None:
    automatic = "<div>Automatic: your request was received</div>"
    assert body_of({"text": "On its way.", "message": automatic}) == "On its way."
    quoted = "<div>On its way.<blockquote>Where is it?</blockquote></div>"
    assert body_of({"text": "On its way. Where is it?", "html_body": quoted}) == "On its way.\n> Where is it?"
    assert body_of({"text": "?", "message": automatic}) == "?"
