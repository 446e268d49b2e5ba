"""One record of each public data set's form, in our own words: what it must become."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imported import turns as said
from steersman.data.clean import clean
from steersman.data.formats import desk_messages, forums, session_pages
from steersman.data.importing import parse_file
from steersman.types import Conversation, Feedback, Message, Ranking

U, A, S = "user", "assistant", "system"
TREE = [(U, "Name a tree."), (A, "Oak.")]
Record = dict[str, Any]


def put(folder: Path, *records: Any) -> Path:
    path = folder / "file.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def turns(*pairs: tuple[str, str], who: str = "role", what: str = "content", **names: str) -> list[Record]:
    return [{who: names.get(role, role), what: text} for role, text in pairs]


def in_parts(*pairs: tuple[str, str]) -> list[Record]:
    return [{"role": role, "content": [{"type": "text", "value": text}]} for role, text in pairs]


SHAREGPT = {"who": "from", "what": "value", "user": "human", "assistant": "gpt"}
WITH_SYSTEM = [(S, "Be brief."), *TREE]

DEMONSTRATIONS: dict[str, tuple[Record, list[tuple[str, str]]]] = {
    "alpaca": (
        {"instruction": "Name a tree.", "input": "", "output": "Oak.", "text": "### Name a tree. ### Oak."},
        TREE,
    ),
    "dolly": (
        {
            "instruction": "Which colour?",
            "context": "The cover is green.",
            "response": "Green.",
            "category": "closed_qa",
        },
        [(U, "Which colour?\n\nThe cover is green."), (A, "Green.")],
    ),
    "instruction/input/response": (
        {"instruction": "Translate.", "input": "Baum", "response": "tree"},
        [(U, "Translate.\n\nBaum"), (A, "tree")],
    ),
    "instruction/completion": ({"instruction": "Name a tree.", "completion": "Oak."}, TREE),
    "question/response": ({"question": "Name a tree.", "response": "Oak."}, TREE),
    "question/output": ({"question": "Name a tree.", "output": "Oak."}, TREE),
    "prompt/answer": ({"prompt": "Name a tree.", "answer": "Oak."}, TREE),
    "prompt/output": ({"prompt": "Name a tree.", "output": "Oak."}, TREE),
    "query/answer": ({"query": "Name a tree.", "answer": "Oak."}, TREE),
    "instruction/answers of one": ({"instruction": "Name a tree.", "answers": ["Oak."]}, TREE),
    "user/assistant": ({"user": "Name a tree.", "assistant": "Oak."}, TREE),
    "human/bot": ({"human": "Name a tree.", "bot": "Oak."}, TREE),
    "query/reply": ({"Query": "Name a tree.", "Reply": "Oak."}, TREE),
    "problem/solution": ({"problem": "Name a tree.", "solution": "Oak.", "level": "Level 1"}, TREE),
    "input/label_text": ({"input": "Name a tree.", "label_text": "Oak."}, TREE),
    "cohere generate": ({"prompt": "Name a tree.", "completion": "Oak."}, TREE),
    "palm": ({"text_input": "Name a tree.", "output": "Oak."}, TREE),
    "vertex text": ({"input_text": "Name a tree.", "output_text": "Oak."}, TREE),
    "zhihu-kol": (
        {"INSTRUCTION": "说一种树。", "RESPONSE": "橡树。", "SOURCE": "x"},
        [(U, "说一种树。"), (A, "橡树。")],
    ),
    "firefly": ({"kind": "Couplet", "input": "说一种树。", "target": "橡树。"}, [(U, "说一种树。"), (A, "橡树。")]),
    "chinese names": ({"问题": "说一种树。", "答案": "橡树。"}, [(U, "说一种树。"), (A, "橡树。")]),
    "chinese alpaca": (
        {"指令": "翻译", "输入": "tree", "输出": "树"},
        [(U, "翻译\n\ntree"), (A, "树")],
    ),
    "belle": ({"instruction": "说一种树。\n", "input": "", "output": "橡树。"}, [(U, "说一种树。"), (A, "橡树。")]),
    "belle multi-turn": (
        {"instruction": "Human:你好\nAssistant:您好\nHuman:说一种树。\nAssistant:", "input": "", "output": "橡树。"},
        [(U, "你好"), (A, "您好"), (U, "说一种树。"), (A, "橡树。")],
    ),
    "coig-cqia": (
        {
            "instruction": "说一种树。",
            "input": "",
            "output": "橡树。",
            "task_type": {"major": ["问答"], "minor": ["常识"]},
            "domain": ["自然"],
            "metadata": "暂无元数据信息",
            "answer_from": "human",
            "human_verified": True,
            "copyright": "暂无版权及作者信息",
        },
        [(U, "说一种树。"), (A, "橡树。")],
    ),
    "pclue": (
        {
            "input": "“好”和“坏”意思相同吗？\n答案：",
            "target": "不同",
            "answer_choices": ["相同", "不同"],
            "type": "nli",
        },
        [(U, "“好”和“坏”意思相同吗？\n答案："), (A, "不同")],
    ),
    "openorca": (
        {"id": "flan.1", "system_prompt": "Be brief.", "question": "Name a tree.", "response": "Oak."},
        WITH_SYSTEM,
    ),
    "slimorca": (
        {
            "conversations": [
                {"from": "system", "value": "Be brief.", "weight": None},
                {"from": "human", "value": "Name a tree.", "weight": 0.0},
                {"from": "gpt", "value": "Oak.", "weight": 1.0},
            ]
        },
        WITH_SYSTEM,
    ),
    "openhermes": (
        {
            "custom_instruction": None,
            "topic": None,
            "model_name": None,
            "conversations": turns(*TREE, **SHAREGPT),
            "source": "airoboros2.2",
            "skip_prompt_formatting": False,
            "category": "orca",
            "views": None,
            "system_prompt": None,
            "title": None,
        },
        TREE,
    ),
    "lima": ({"conversations": ["Name a tree.", "Oak."], "source": "stackexchange"}, TREE),
    "ultrachat raw": ({"id": "0", "data": ["Name a tree.", "Oak."]}, TREE),
    "ultrachat 200k": (
        {"prompt": "Name a tree.", "prompt_id": "ab12", "messages": turns(*TREE)},
        TREE,
    ),
    "sharegpt": ({"id": "x_0", "conversations": turns(*TREE, **SHAREGPT)}, TREE),
    "sharegpt with system": ({"system": "Be brief.", "conversations": turns(*TREE, **SHAREGPT)}, WITH_SYSTEM),
    "wildchat": (
        {
            "conversation_hash": "ab",
            "model": "gpt-4",
            "timestamp": "2023",
            "conversation": [t | {"language": "English", "toxic": False, "turn_identifier": 1} for t in turns(*TREE)],
            "turn": 1,
            "language": "English",
            "openai_moderation": [{"categories": {"hate": False}}],
        },
        TREE,
    ),
    "oasst guanaco": (
        {"prompt": "### Human: Name a tree.\n### Assistant:", "completion": "Oak."},
        TREE,
    ),
    "openai chat": ({"messages": turns(*WITH_SYSTEM)}, WITH_SYSTEM),
    "openai system beside": ({"system": "Be brief.", "messages": turns(*TREE)}, WITH_SYSTEM),
    "openai developer": ({"messages": turns(("developer", "Be brief."), *TREE)}, WITH_SYSTEM),
    "openai evals": ({"input": turns((S, "Be brief."), TREE[0]), "ideal": "Oak."}, WITH_SYSTEM),
    "together instruction": ({"prompt": "Name a tree.", "completion": "Oak."}, TREE),
    "anthropic": (
        {"system": [{"type": "text", "text": "Be brief."}], "messages": turns(*TREE)},
        WITH_SYSTEM,
    ),
    "anthropic text": ({"prompt": "\n\nHuman: Name a tree.\n\nAssistant:", "completion": " Oak."}, TREE),
    "a transcript": ({"transcript": "\n\nHuman: Name a tree.\n\nAssistant: Oak.", "rating": 3.0}, TREE),
    "cohere chat": (
        {"messages": turns(*WITH_SYSTEM, system="System", user="User", assistant="Chatbot")},
        WITH_SYSTEM,
    ),
    "gemini": (
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Name a tree."}]},
                {"role": "model", "parts": [{"text": "Oak."}]},
            ],
        },
        WITH_SYSTEM,
    ),
    "vertex chat": (
        {"context": "Be brief.", "messages": turns(*TREE, who="author", assistant="bot")},
        WITH_SYSTEM,
    ),
    "bedrock": (
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "Be brief."}],
            "messages": [{"role": r, "content": [{"text": t}]} for r, t in TREE],
        },
        WITH_SYSTEM,
    ),
    "xtuner": (
        {
            "conversation": [
                {"system": "Be brief.", "input": "Name a tree.", "output": "Oak."},
                {"input": "Another.", "output": "Elm."},
            ]
        },
        [*WITH_SYSTEM, (U, "Another."), (A, "Elm.")],
    ),
    "ms-swift": (
        {"system": "Be brief.", "query": "Another.", "response": "Elm.", "history": [["Name a tree.", "Oak."]]},
        [*WITH_SYSTEM, (U, "Another."), (A, "Elm.")],
    ),
    "llama-factory alpaca": (
        {
            "instruction": "Another.",
            "input": "",
            "output": "Elm.",
            "system": "Be brief.",
            "history": [["Name a tree.", "Oak."]],
        },
        [*WITH_SYSTEM, (U, "Another."), (A, "Elm.")],
    ),
    "axolotl input_output of chat": (
        {"conversations": [t | {"role": t.pop("from")} for t in turns(*TREE, **SHAREGPT)]},
        TREE,
    ),
    "trl conversational prompt and completion": (
        {"prompt": turns(TREE[0]), "completion": turns(TREE[1])},
        TREE,
    ),
    "messages and an answer apart": ({"messages": turns(TREE[0]), "response": "Oak."}, TREE),
    "messages as a string of JSON": ({"messages": json.dumps(turns(*TREE))}, TREE),
    "llama-factory v1": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "value": "Name a tree."}], "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": "Oak."}], "loss_weight": 1.0},
            ]
        },
        TREE,
    ),
    "moss": (
        {
            "conversation_id": 1,
            "meta_instruction": "Be brief.",
            "num_turns": 1,
            "chat": {
                "turn_1": {
                    "Human": "<|Human|>: Name a tree.<eoh>\n",
                    "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
                    "Commands": "<|Commands|>: None<eoc>\n",
                    "Tool Responses": "<|Results|>: None<eor>\n",
                    "MOSS": "<|MOSS|>: Oak.<eom>\n",
                }
            },
        },
        WITH_SYSTEM,
    ),
    "self-instruct": (
        {"id": "s1", "instruction": "Name a tree.", "instances": [{"input": "", "output": "Oak."}]},
        TREE,
    ),
    "oasst tree": (
        {
            "message_tree_id": "t",
            "prompt": {
                "text": "Name a tree.",
                "role": "prompter",
                "replies": [
                    {"text": "Rock.", "role": "assistant", "rank": 1, "replies": []},
                    {"text": "Oak.", "role": "assistant", "rank": 0, "replies": []},
                ],
            },
        },
        TREE,
    ),
    "sgd": (
        {"id": "1", "services": ["Trees"], "turns": [["USER", "Name a tree."], ["SYSTEM", "Oak."]]},
        TREE,
    ),
    "counselling": ({"id": 3, "turns": [["client", "Name a tree."], ["counselor", "Oak."]]}, TREE),
    "mmlu": (
        {"question": "Which is a tree?", "choices": ["rock", "oak"], "answer": 1, "subject": "botany"},
        [(U, "Which is a tree?\nA. rock\nB. oak"), (A, "B")],
    ),
}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_demonstrations(name: str, tmp_path: Path) -> None:
    record, expected = DEMONSTRATIONS[name]
    found = parse_file(put(tmp_path, record))
    kept, dropped = clean(found.records)
    assert (found.kind, [said(r) for r in kept], dropped) == ("demonstrations", [expected], {})


OAK_ROCK = (("Oak", "Rock"), (1, 2))
CHAT = {"chosen": turns(TREE[0], (A, "Oak")), "rejected": turns(TREE[0], (A, "Rock"))}

RANKINGS: dict[str, tuple[Record, tuple[tuple[str, ...], tuple[int, ...]]]] = {
    "hh": (
        {
            "chosen": "\n\nHuman: Name a tree.\n\nAssistant: Oak",
            "rejected": "\n\nHuman: Name a tree.\n\nAssistant: Rock",
        },
        OAK_ROCK,
    ),
    "trl explicit": ({"prompt": "Name a tree.", "chosen": "Oak", "rejected": "Rock"}, OAK_ROCK),
    "trl conversational": (
        {"prompt": turns(TREE[0]), "chosen": turns((A, "Oak")), "rejected": turns((A, "Rock"))},
        OAK_ROCK,
    ),
    "trl implicit": (CHAT, OAK_ROCK),
    "orpo": ({"prompt": "Name a tree.", **CHAT}, OAK_ROCK),
    "ultrafeedback binarized": (
        {
            "prompt": "Name a tree.",
            "prompt_id": "ab",
            **CHAT,
            "messages": CHAT["chosen"],
            "score_chosen": 8.0,
            "score_rejected": 2.0,
        },
        OAK_ROCK,
    ),
    "ultrafeedback": (
        {
            "source": "x",
            "instruction": "Name a tree.",
            "models": ["a", "b"],
            "completions": [
                {"model": "a", "response": "Rock", "overall_score": 3.0, "fine-grained_score": 1.5, "critique": "No."},
                {"model": "b", "response": "Oak", "overall_score": 8.0, "fine-grained_score": 4.5, "critique": "Yes."},
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        },
        (("Rock", "Oak"), (2, 1)),
    ),
    "ultrafeedback annotations": (
        {
            "instruction": "Name a tree.",
            "completions": [
                {"response": "Rock", "annotations": {"honesty": {"Rating": "2"}, "truthfulness": {"Rating": "1"}}},
                {"response": "Oak", "annotations": {"honesty": {"Rating": "5"}, "truthfulness": {"Rating": "N/A"}}},
            ],
        },
        (("Rock", "Oak"), (2, 1)),
    ),
    "responses and scores": (
        {"prompt": "Name a tree.", "responses": ["Rock", "Oak"], "scores": [1.0, 9.0]},
        (("Rock", "Oak"), (2, 1)),
    ),
    "ratings and a tie": (
        {"prompt": "Name a tree.", "answers": ["Oak", "Elm", "Rock"], "ratings": [5, 5, 1]},
        (("Oak", "Elm", "Rock"), (1, 1, 2)),
    ),
    "generations and rating": (
        {"instruction": "Name a tree.", "generations": ["Rock", "Oak"], "rating": [2.0, 5.0]},
        (("Rock", "Oak"), (2, 1)),
    ),
    "ranks": ({"prompt": "Name a tree.", "answers": ["Rock", "Oak"], "rank": [2, 1]}, (("Rock", "Oak"), (2, 1))),
    "prompt and completions as turns": (
        {"prompt": turns(TREE[0]), "completions": [turns((A, "Rock")), turns((A, "Oak"))], "scores": [0.1, 0.9]},
        (("Rock", "Oak"), (2, 1)),
    ),
    "nectar": (
        {
            "prompt": "\n\nHuman: Name a tree.\n\nAssistant: ",
            "answers": [{"answer": "Rock", "model": "a", "rank": 2.0}, {"answer": "Oak", "model": "b", "rank": 1.0}],
            "turns": 1,
            "num_responses": 2,
            "source": ["x"],
            "good_natured": True,
        },
        (("Rock", "Oak"), (2, 1)),
    ),
    "pku-saferlhf": (
        {
            "prompt": "Name a tree.",
            "response_0": "Rock",
            "response_1": "Oak",
            "is_response_0_safe": True,
            "is_response_1_safe": True,
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        (("Rock", "Oak"), (2, 1)),
    ),
    "shp": (
        {
            "post_id": "x",
            "history": "Name a tree.",
            "human_ref_A": "Oak",
            "human_ref_B": "Rock",
            "labels": 1,
            "score_A": 9,
            "score_B": 2,
            "domain": "askscience",
        },
        OAK_ROCK,
    ),
    "shp by its label alone": (
        {"history": "Name a tree.", "human_ref_A": "Rock", "human_ref_B": "Oak", "labels": 0},
        (("Rock", "Oak"), (2, 1)),
    ),
    "helpsteer2 preference": (
        {
            "split": "train",
            "prompt": "Name a tree.",
            "response_1": "Rock",
            "response_2": "Oak",
            "preference_strength": 2,
            "preference_statement": "Response 2 names a tree.",
        },
        (("Rock", "Oak"), (2, 1)),
    ),
    "helpsteer3": (
        {
            "domain": "general",
            "language": "english",
            "context": turns(TREE[0]),
            "response1": "Oak",
            "response2": "Rock",
            "overall_preference": -3,
        },
        OAK_ROCK,
    ),
    "arena": (
        {
            "question_id": "q",
            "model_a": "x",
            "model_b": "y",
            "winner": "model_b",
            "conversation_a": turns(TREE[0], (A, "Rock")),
            "conversation_b": turns(TREE[0], (A, "Oak")),
            "turn": 1,
        },
        (("Rock", "Oak"), (2, 1)),
    ),
    "arena of kaggle": (
        {
            "prompt": "Name a tree.",
            "response_a": "Oak",
            "response_b": "Rock",
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
        OAK_ROCK,
    ),
    "a tie": (
        {"prompt": "Name a tree.", "response_a": "Oak", "response_b": "Elm", "winner": "tie"},
        (("Oak", "Elm"), (1, 1)),
    ),
    "openai preference": (
        {
            "input": {"messages": turns(TREE[0]), "tools": [], "parallel_tool_calls": True},
            "preferred_output": turns((A, "Oak")),
            "non_preferred_output": turns((A, "Rock")),
        },
        OAK_ROCK,
    ),
    "ms-swift": ({"query": "Name a tree.", "response": "Oak", "rejected_response": "Rock"}, OAK_ROCK),
    "ms-swift messages": ({"messages": turns(TREE[0], (A, "Oak")), "rejected_response": "Rock"}, OAK_ROCK),
    "medicalgpt": (
        {
            "system": "",
            "history": [],
            "question": "Name a tree.",
            "response_chosen": "Oak",
            "response_rejected": "Rock",
        },
        OAK_ROCK,
    ),
    "llama-factory v1": (
        {
            "chosen_messages": [
                {"role": r, "content": [{"type": "text", "value": t}]} for r, t in (TREE[0], (A, "Oak"))
            ],
            "rejected_messages": [
                {"role": r, "content": [{"type": "text", "value": t}]} for r, t in (TREE[0], (A, "Rock"))
            ],
        },
        OAK_ROCK,
    ),
    "chosen_response": ({"prompt": "Name a tree.", "chosen_response": "Oak", "rejected_response": "Rock"}, OAK_ROCK),
    "intel orca pairs": ({"system": "", "question": "Name a tree.", "chosen": "Oak", "rejected": "Rock"}, OAK_ROCK),
    "llama-factory sharegpt": (
        {
            "conversations": turns(TREE[0], **SHAREGPT),
            "chosen": {"from": "gpt", "value": "Oak"},
            "rejected": {"from": "gpt", "value": "Rock"},
        },
        OAK_ROCK,
    ),
    "llama-factory alpaca": (
        {"instruction": "Name a tree.", "input": "", "chosen": "Oak", "rejected": "Rock"},
        OAK_ROCK,
    ),
    "llama-factory of old": ({"instruction": "Name a tree.", "input": "", "output": ["Oak", "Rock"]}, OAK_ROCK),
}


@pytest.mark.parametrize("name", RANKINGS)
def test_rankings(name: str, tmp_path: Path) -> None:
    record, (answers, ranks) = RANKINGS[name]
    found = parse_file(put(tmp_path, record))
    kept, dropped = clean(found.records)
    (ranking,) = kept
    assert isinstance(ranking, Ranking)
    assert (found.kind, dropped) == ("rankings", {})
    assert (said(ranking.prompt), ranking.answers, ranking.ranks) == (TREE[:1], answers, ranks)


FEEDBACK: dict[str, tuple[Record, str, str]] = {
    "trl kto": ({"prompt": "Name a tree.", "completion": "Oak.", "label": True}, "Oak.", "like"),
    "trl kto, bad": ({"prompt": "Name a tree.", "completion": "Rock.", "label": False}, "Rock.", "dislike"),
    "trl kto conversational": (
        {"prompt": turns(TREE[0]), "completion": turns((A, "Rock.")), "label": False},
        "Rock.",
        "dislike",
    ),
    "messages and label": ({"messages": turns(TREE[0], (A, "Rock.")), "label": False}, "Rock.", "dislike"),
    "llama-factory alpaca": (
        {"instruction": "Name a tree.", "input": "", "output": "Rock.", "kto_tag": False},
        "Rock.",
        "dislike",
    ),
    "llama-factory sharegpt": ({"conversations": turns(*TREE, **SHAREGPT), "kto_tag": True}, "Oak.", "like"),
    "ms-swift": ({"query": "Name a tree.", "response": "Rock.", "label": 0}, "Rock.", "dislike"),
    "beavertails": (
        {"prompt": "Name a tree.", "response": "Rock.", "category": {"violence": False}, "is_safe": False},
        "Rock.",
        "dislike",
    ),
    "words": ({"question": "Name a tree.", "answer": "Rock.", "feedback": "thumbs_down"}, "Rock.", "dislike"),
    "diasafety": ({"context": "Name a tree.", "response": "Oak.", "label": "Safe"}, "Oak.", "like"),
}


@pytest.mark.parametrize("name", FEEDBACK)
def test_feedback(name: str, tmp_path: Path) -> None:
    record, answer, kind = FEEDBACK[name]
    found = parse_file(put(tmp_path, record))
    (one,) = found.records
    assert isinstance(one, Feedback)
    assert (found.kind, one.kind, one.answer, said(one.prompt)) == ("feedback", kind, answer, TREE[:1])


def test_columns_and_answers_with_a_label_each(tmp_path: Path) -> None:
    columns = {"prompt": ["Q1", "Q2"], "completion": ["a", "b"], "label": [True, False]}
    listed = {"prompt": "Q", "responses": ["a", "b"], "labels": [1, 0]}
    for record in (columns, listed):
        found = parse_file(put(tmp_path, record))
        assert [(r.answer, r.kind) for r in found.records if isinstance(r, Feedback)] == [
            ("a", "like"),
            ("b", "dislike"),
        ]
    with pytest.raises(ValueError, match="steps of one answer"):
        parse_file(put(tmp_path, {"prompt": "Q", "completions": ["a", "b"], "labels": [True, False]}))


def test_helpsteer_answers_become_rankings_by_their_prompt(tmp_path: Path) -> None:
    scores = {"correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 1}
    rows = [("Q", "Rock", 1), ("Q", "Oak", 4), ("alone", "x", 2)]
    found = parse_file(put(tmp_path, *({"prompt": q, "response": a, "helpfulness": h, **scores} for q, a, h in rows)))
    (ranking,) = found.records
    assert isinstance(ranking, Ranking)
    assert (found.kind, ranking.answers, ranking.ranks) == ("rankings", ("Rock", "Oak"), (2, 1))
    assert found.left_out == {"prompts with one scored answer alone": 1}


def test_oasst_rows_and_rankings_of_trees(tmp_path: Path) -> None:
    rows = [
        {"message_id": "c", "parent_id": "a", "text": "Oak.", "role": "assistant", "rank": 0, "lang": "en"},
        {"message_id": "a", "parent_id": None, "text": "Name a tree.", "role": "prompter", "rank": None, "lang": "en"},
        {"message_id": "b", "parent_id": "a", "text": "Rock.", "role": "assistant", "rank": 1, "lang": "en"},
    ]
    path = put(tmp_path, *rows)
    assert [said(r) for r in parse_file(path).records] == [TREE]
    (ranking,) = parse_file(path, "rankings").records
    assert isinstance(ranking, Ranking)
    assert dict(zip(ranking.answers, ranking.ranks or (), strict=True)) == {"Oak.": 1, "Rock.": 2}


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
ASKED = [Message("user", "Weather in Oslo?")]
ENDED = [Message("tool", '{"t": 3}', name="weather"), Message("assistant", "3 degrees.")]


def test_tools_of_sharegpt(tmp_path: Path) -> None:
    record = {
        "conversations": [
            {"from": "human", "value": "Weather in Oslo?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
            {"from": "observation", "value": '{"t": 3}'},
            {"from": "gpt", "value": "3 degrees."},
        ],
        "tools": json.dumps([WEATHER["function"]]),
    }
    (made,) = parse_file(put(tmp_path, record)).records
    assert isinstance(made, Conversation)
    assert list(made.messages) == [*ASKED, Message("assistant", "", tool_calls=(CALL,)), *ENDED]
    assert made.tools == (WEATHER,)


def test_tools_of_openai_anthropic_gemini_and_glaive(tmp_path: Path) -> None:
    called = [{"id": "c1", **CALL}]
    openai = {
        "messages": [
            {"role": "user", "content": "Weather in Oslo?"},
            {"role": "assistant", "content": None, "tool_calls": called},
            {"role": "tool", "tool_call_id": "c1", "content": '{"t": 3}'},
            {"role": "assistant", "content": "3 degrees."},
        ],
        "tools": [WEATHER],
    }
    anthropic = {
        "messages": [
            {"role": "user", "content": "Weather in Oslo?"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": '{"t": 3}'}]},
            {"role": "assistant", "content": [{"type": "text", "text": "3 degrees."}]},
        ]
    }
    for record in (openai, anthropic):
        (made,) = parse_file(put(tmp_path, record)).records
        assert isinstance(made, Conversation)
        assert [m.role for m in made.messages] == [U, A, "tool", A]
        assert made.messages[1].tool_calls == tuple(called)
        assert made.messages[2] == Message("tool", '{"t": 3}', tool_call_id="c1")
    gemini = {
        "contents": [
            {"role": "user", "parts": [{"text": "Weather in Oslo?"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"t": 3}}}]},
            {"role": "model", "parts": [{"text": "3 degrees."}]},
        ]
    }
    glaive = {
        "system": "SYSTEM: You may call functions. Use them if required -\n" + json.dumps(WEATHER["function"]),
        "chat": 'USER: Weather in Oslo?\n\n\nASSISTANT: <functioncall> {"name": "weather", "arguments": '
        '\'{"city": "Oslo"}\'} <|endoftext|>\n\n\nFUNCTION RESPONSE: {"t": 3}\n\n\nASSISTANT: 3 degrees. <|endoftext|>',
    }
    for record in (gemini, glaive):
        (made,) = parse_file(put(tmp_path, record)).records
        assert isinstance(made, Conversation)
        spoken = [m for m in made.messages if m.role != S]
        assert spoken == [*ASKED, Message("assistant", "", tool_calls=(CALL,)), *ENDED]
    assert made.tools == (WEATHER,)
    assert made.messages[0].content == "You may call functions. Use them if required."


def test_thoughts_are_kept_apart(tmp_path: Path) -> None:
    forms: list[Record] = [
        {"messages": turns(TREE[0], (A, "<think>\nSomething tall.\n</think>\n\nOak."))},
        {"messages": turns(TREE[0], (A, "Something tall.\n</think>\n\nOak."))},
        {"messages": [*turns(TREE[0]), {"role": A, "content": "Oak.", "reasoning_content": "Something tall."}]},
        {"question": "Name a tree.", "reasoning": "Something tall.", "answer": "Oak."},
        {
            "messages": [
                *turns(TREE[0]),
                {
                    "role": A,
                    "content": [{"type": "thinking", "thinking": "Something tall."}, {"type": "text", "text": "Oak."}],
                },
            ]
        },
    ]
    for record in forms:
        (made,) = parse_file(put(tmp_path, record)).records
        assert isinstance(made, Conversation)
        assert made.messages[-1] == Message("assistant", "Oak.", thinking="Something tall.")
    found = parse_file(put(tmp_path, {"prompt": "Q", "chosen": "<think>x</think>a", "rejected": "b"}))
    assert found.changed["thoughts of compared answers left out"] == 1


@pytest.mark.parametrize(
    "flag",
    [{"weight": 0}, {"loss": False}, {"train": False}, {"trainable": False}, {"masked": True}, {"loss": "false"}],
)
def test_turns_that_are_not_learned(tmp_path: Path, flag: Record) -> None:
    first = {"role": A, "content": "Five.", **flag}
    record = {"messages": [*turns((U, "2+2?")), first, *turns((U, "Sure?"), (A, "Four."))]}
    (made,) = parse_file(put(tmp_path, record)).records
    assert isinstance(made, Conversation)
    assert [m.learn for m in made.messages] == [True, False, True, True]
    alone = {"messages": [*turns((U, "2+2?")), first]}
    with pytest.raises(ValueError, match="every turn of the assistant is marked as not to be learned"):
        parse_file(put(tmp_path, alone))


def test_images_and_contradicting_systems_are_errors(tmp_path: Path) -> None:
    beside = {"messages": turns((U, "<image>What is it?"), TREE[1]), "images": ["a.png"]}
    with pytest.raises(ValueError, match="images: expected text alone; images and sounds cannot be learned yet"):
        parse_file(put(tmp_path, beside))
    parse_file(put(tmp_path, beside | {"images": []}))
    image = {"messages": [{"role": U, "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, *turns(TREE[1])]}
    with pytest.raises(ValueError, match=r"messages\[0\]\.content\[0\]: expected text; a part of type 'image_url'"):
        parse_file(put(tmp_path, image))
    two = {"system": "Be brief.", "messages": turns((S, "Be long."), *TREE)}
    with pytest.raises(ValueError, match="system: expected one system text, but the first turn says another"):
        parse_file(put(tmp_path, two))
    half = {"messages": [*turns(TREE[0]), {"role": A, "content": "x", "weight": 0.5}]}
    with pytest.raises(ValueError, match=r"messages\[1\]\.weight: expected true or false"):
        parse_file(put(tmp_path, half))


def test_sharegpt_in_the_wild(tmp_path: Path) -> None:
    def form(*pairs: tuple[str, str]) -> Record:
        return {"conversations": [{"from": who, "value": text} for who, text in pairs]}

    records = [
        form(("gpt", "Welcome."), ("Human", "Name a tree."), ("model", "Oak.")),
        form(("User", "Name"), ("User", "a tree."), ("chatgpt", "Oak."), ("human", " "), ("bing", "And elm.")),
        form(("system", "Be"), ("system", "brief."), ("human", "Name a tree."), ("bard", "Oak.")),
        form(("human", "x"), ("gpt", '<div class="markdown prose"><p>Oak.</p></div>')),
        form(("gpt", "Nobody asked.")),
    ]
    found = parse_file(put(tmp_path, *records), skip_bad=True)
    assert [said(r) for r in found.records] == [
        TREE,
        [(U, "Name\n\na tree."), (A, "Oak.\n\nAnd elm.")],
        [(S, "Be\n\nbrief."), *TREE],
    ]
    assert found.changed == {
        "turns of one speaker in a row joined": 3,
        "turns before the first question left out": 1,
        "empty turns left out": 1,
    }
    assert Counter(r.reason.partition(",")[0] for r in found.rejected) == {
        "conversations[1].value: expected text": 1,
        "conversations[0]: expected the user's turn": 1,
    }
    assert found.read == len(records)


def test_strangers_are_named_by_speakers(tmp_path: Path) -> None:
    record = {"turns": [{"agent": "agent_1", "text": "Name a tree."}, {"agent": "agent_2", "text": "Oak."}]}
    path = put(tmp_path, record)
    with pytest.raises(ValueError, match=r"turns\[0\]\.agent: expected one of .*--speakers USER,ASSISTANT"):
        parse_file(path)
    assert said(parse_file(path, speakers="agent_1,agent_2").records[0]) == TREE


@pytest.mark.parametrize(
    ("columns", "tags", "record", "expected"),
    [
        ({"prompt": "content", "response": "summary"}, {}, {"content": "Q", "summary": "A", "more": "x"}, "A"),
        (
            {"messages": "talk", "system": "how"},
            {"role_tag": "wer", "content_tag": "was", "user_tag": "kunde", "assistant_tag": "laden"},
            {"how": "S", "talk": [{"wer": "kunde", "was": "Q"}, {"wer": "laden", "was": "A"}], "more": "x"},
            "A",
        ),
        (
            {"prompt": "ask", "chosen": "plus", "rejected": "minus"},
            {},
            {"ask": "Q", "plus": "A", "minus": "B", "more": 1},
            "A B",
        ),
        (
            {"prompt": "ask", "response": "said", "kto_tag": "ok"},
            {},
            {"ask": "Q", "said": "A", "ok": False, "more": 1},
            "dislike",
        ),
    ],
)
def test_columns_as_llama_factory_declares_them(
    tmp_path: Path, columns: dict[str, str], tags: dict[str, str], record: dict[str, Any], expected: str
) -> None:
    info = {"other": {"file_name": "b.json"}, "mine": {"file_name": "a.json", "columns": columns, "tags": tags}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "a.json").write_text(json.dumps([record]))
    found = parse_file(tmp_path)
    (one,) = found.records
    said = one.messages[-1].text if isinstance(one, Conversation) else " ".join(getattr(one, "answers", ())) or one.kind
    assert said == expected
    assert found.changed["fields 'more', which dataset_info.json does not name, left out"] == 1


def test_one_record_of_an_odd_form_leaves_the_others(tmp_path: Path) -> None:
    good = {"question": "Why?", "answer": "So."}
    odd = {"author": {"id": 1}, "title": "t", "notes": [{"user": 7, "body": "x"}]}
    for name, rows in (("a", [good, odd]), ("b", [good, {"question": "Why 2?", "answer": float("nan")}])):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
        assert len(parse_file(tmp_path / f"{name}.json", skip_bad=True).records) >= 1
    info = {"mine": {"file_name": "c.json", "columns": ["q"]}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8-sig")
    (tmp_path / "c.json").write_text(json.dumps([good]))
    with pytest.raises(ValueError, match="expected columns and tags"):
        parse_file(tmp_path / "c.json")
    tags = {"role_tag": "role", "content_tag": "content"}
    declared = {"mine": {"file_name": "c.json", "columns": {"messages": "m"}, "tags": tags}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(declared))
    said = [{"role": "human", "content": "Why?"}, {"role": "gpt", "content": "So.", "weight": 0}]
    said += [{"role": "human", "content": "And?"}, {"role": "gpt", "content": "Then."}]
    (tmp_path / "c.json").write_text(json.dumps([{"m": said}]))
    (one,) = parse_file(tmp_path / "c.json").records
    assert isinstance(one, Conversation)
    assert [m.learn for m in one.messages if m.role == "assistant"] == [False, True]
    page = {"result": "success", "sessionInfo": {"memberId": 1, "servicerId": 2}, "messageList": [{"senderId": 1}]}
    assert session_pages.as_ticket(page) is not None
    log = {"msgid": 0, "action": "send", "time": 1, "user": "u", "sender": "customer", "text": "Hi", "id": "c"}
    assert (desk_messages.usual(log) or {}).get("body") != ""
    issue = {"created_on": "x", "author": {"id": 1}, "journals": [{"user": {"id": 2}, "notes": "So."}, {"notes": "y"}]}
    made = forums.as_ticket(issue | {"description": "Why?"})
    assert made is not None
    assert [one["side"] for one in made["comments"]] == ["assistant", "system"]
