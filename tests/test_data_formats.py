"""Public formats -> ours, record by record and file by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imported import turns as said
from steersman.data.formats import detect, from_steersman, parse, to_line
from steersman.data.importing import parse_file
from steersman.types import Conversation, Message, Ranking

REAL = Path(__file__).parent.parent.parent / "shared" / "data"


DIALOGUE = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Bye!")]


@pytest.mark.parametrize(
    ("name", "record", "expected"),
    [
        ("messages", {"messages": [{"role": r, "content": c} for r, c in DIALOGUE]}, DIALOGUE),
        (
            "messages",
            {
                "messages": [
                    {"role": "developer", "content": "Be kind."},
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    {"role": "assistant", "content": "Hello"},
                ]
            },
            [("system", "Be kind."), *DIALOGUE[:2]],
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "human" if r == "user" else "gpt", "value": c} for r, c in DIALOGUE]},
            DIALOGUE,
        ),
        ("alpaca", {"instruction": "Add", "input": "1 2", "output": "3"}, [("user", "Add\n\n1 2"), ("assistant", "3")]),
        (
            "alpaca",
            {"instruction": "Bye", "input": "", "output": "Bye!", "history": [["Hi", "Hello"]]},
            DIALOGUE,
        ),
        ("input_target", {"input": "假设", "target": "是", "type": "nli"}, [("user", "假设"), ("assistant", "是")]),
        (
            "input_target",
            {"input": "用户：你好\n小元：您好\n用户：天气：晴？\n小元：", "target": "是"},
            [("user", "你好"), ("assistant", "您好"), ("user", "天气：晴？"), ("assistant", "是")],
        ),
        ("input_target", {"question": "Q", "answer": "A"}, [("user", "Q"), ("assistant", "A")]),
        ("input_target", {"prompt": "Q", "response": "A"}, [("user", "Q"), ("assistant", "A")]),
        ("prompts", {"prompt": "Q", "source": "x"}, [("user", "Q")]),
        ("prompts", {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye\n\nAssistant:"}, DIALOGUE[:3]),
    ],
)
def test_dialogues(name: str, record: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert detect(record) == name
    assert said(parse(name, record)) == expected


HH = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye\n\nAssistant:"


@pytest.mark.parametrize(
    ("name", "record", "prompt", "answers"),
    [
        ("hh", {"chosen": f"{HH} Bye!", "rejected": f"{HH} No"}, DIALOGUE[:3], ("Bye!", "No")),
        ("hh", {"prompt": HH, "chosen": " Bye!", "rejected": "No"}, DIALOGUE[:3], ("Bye!", "No")),
        ("comparisons", {"prompt": "Q", "chosen": "good", "rejected": "bad"}, [("user", "Q")], ("good", "bad")),
        (
            "comparisons",
            {
                "conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}],
                "chosen": {"from": "gpt", "value": "good"},
                "rejected": {"from": "gpt", "value": "bad"},
            },
            [("system", "S"), ("user", "Q")],
            ("good", "bad"),
        ),
        (
            "comparisons",
            {
                "prompt": "Q",
                "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}],
                "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}],
            },
            [("user", "Q")],
            ("good", "bad"),
        ),
        (
            "rankings",
            {"instruction": "Q", "input": "", "output": ["a", "b", "c"], "history": []},
            [("user", "Q")],
            ("a", "b", "c"),
        ),
    ],
)
def test_rankings(name: str, record: dict[str, Any], prompt: list[tuple[str, str]], answers: tuple[str, ...]) -> None:
    assert detect(record) == name
    parsed = parse(name, record)
    assert isinstance(parsed, Ranking)
    assert said(parsed.prompt) == prompt
    assert parsed.answers == answers
    assert parsed.ranks == tuple(range(1, len(answers) + 1))


def test_ranks_given_are_kept() -> None:
    parsed = parse("rankings", {"prompt": "Q", "answers": ["a", "b"], "ranks": [2, 1]})
    assert isinstance(parsed, Ranking)
    assert parsed.ranks == (2, 1)
    with pytest.raises(ValueError, match="ranks: expected 2 integers"):
        parse("rankings", {"prompt": "Q", "answers": ["a", "b"], "ranks": [1]})


@pytest.mark.parametrize(
    ("name", "record", "expected"),
    [
        ("messages", {"messages": []}, r"messages: expected a non-empty list"),
        ("messages", {"messages": [{"role": "zed", "content": "x"}]}, r"messages\[0\]\.role: expected one of user"),
        ("messages", {"messages": [{"role": "user", "content": 5}]}, r"messages\[0\]\.content: expected a string"),
        ("messages", {"messages": [{"role": "assistant", "content": "x"}]}, r"messages\[0\]: expected the user's turn"),
        ("messages", {"messages": [{"role": "system", "content": "x"}]}, r"messages: expected a user turn after"),
        ("sharegpt", {"conversations": [{"from": "ann", "value": "x"}]}, r"conversations\[0\]\.from: expected one of"),
        ("sharegpt", {"conversations": ["x", 3]}, r"conversations\[0\]: expected an object"),
        ("alpaca", {"instruction": "x", "output": 3}, r"output: expected a string, got 3"),
        ("alpaca", {"instruction": "x", "output": "y", "history": ["z"]}, r"history\[0\]: expected a pair"),
        ("input_target", {"input": "x"}, r"response: expected a string, got no such field \(fields: input\)"),
        ("comparisons", {"prompt": "Q", "chosen": "a"}, r"rejected: expected a string or an assistant's turn"),
        (
            "comparisons",
            {
                "prompt": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
                "chosen": "a",
                "rejected": "b",
            },
            r"prompt: expected a dialogue that ends with the user",
        ),
        (
            "hh",
            {"chosen": "Hi", "rejected": "Ho"},
            r"chosen: expected a prompt: a field for it, or dialogues that begin",
        ),
        (
            "hh",
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"},
            r"rejected: expected the same",
        ),
        ("rankings", {"prompt": "Q", "answers": ["a"]}, r"answers: expected a list of at least two"),
        ("prompts", {"prompt": 3}, r"prompt: expected a string, got 3"),
        ("text", {"text": None}, r"text: expected a string, got None"),
        ("messages", [1], r"record: expected a JSON object, got \[1\]"),
    ],
)
def test_bad_record_names_the_field(name: str, record: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(name, record)


def test_unknown_format_lists_fields_and_formats() -> None:
    with pytest.raises(ValueError, match=r"these fields: foo, bar; name one with --format: messages, steersman"):
        detect({"foo": 1, "bar": 2})


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
meta = st.dictionaries(st.text("abc", min_size=1), texts | st.integers() | st.lists(st.booleans()), max_size=3)


@st.composite
def conversations(draw: st.DrawFn, prompt: bool | None = None) -> Conversation:
    ends_with_user = draw(st.booleans()) if prompt is None else prompt
    count = 2 * draw(st.integers(1, 3)) - (1 if ends_with_user else 0)
    turns = tuple(Message("user" if i % 2 == 0 else "assistant", draw(texts)) for i in range(count))
    system = (Message("system", draw(texts)),) if draw(st.booleans()) else ()
    return Conversation(draw(texts), system + turns, draw(meta))


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    answers = tuple(draw(st.lists(texts, min_size=2, max_size=5)))
    k = len(answers)
    ranks = tuple(draw(st.lists(st.integers(1, k), min_size=k, max_size=k)))
    grades = tuple(draw(st.lists(st.sampled_from(("good", "average", "poor")), min_size=k, max_size=k)))
    by_rank = draw(st.booleans())
    said = (ranks, None) if by_rank else (None, grades)
    return Ranking(
        draw(texts), draw(conversations(True)), answers, *said, draw(st.booleans()), draw(texts), draw(st.booleans())
    )


@given(conversations() | rankings())
@settings(deadline=None)
def test_our_json_comes_back_equal(record: Conversation | Ranking) -> None:
    line = to_line(record)
    assert "\n" not in line
    value = json.loads(line)
    assert from_steersman(value) == record
    if isinstance(record, Ranking):
        assert detect(value) == "steersman"


# Files


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


GOOD = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
UNANSWERED = {"id": "d7", "messages": [*GOOD["messages"], {"role": "user", "content": "And?"}]}


def test_dialogue_that_ends_with_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, UNANSWERED)
    with pytest.raises(
        ValueError, match=r"a\.jsonl:2: messages\[2\]: .* got dialogue 'd7', which ends with the user.*--trim-last-user"
    ):
        parse_file(path)
    skipped = parse_file(path, skip_bad=True)
    assert len(skipped.records) == 1
    assert [r.line for r in skipped.rejected] == [2]
    assert skipped.reasons() == {"messages[]: expected a demonstration to end with the assistant": 1}
    trimmed = parse_file(path, trim_last_user=True)
    assert said(trimmed.records[1]) == [("user", "Q"), ("assistant", "A")]
    prompts = parse_file(path, "prompts")
    assert [said(p)[-1] for p in prompts.records] == [("user", "Q"), ("user", "And?")]


def test_a_user_turn_alone_cannot_be_trimmed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"messages": [{"role": "user", "content": "Q"}]})
    with pytest.raises(ValueError, match="ends with the user"):
        parse_file(path, trim_last_user=True)


def test_kinds_out_of_rankings(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "Q", "answers": ["b", "a"], "ranks": [2, 1]})
    assert parse_file(path).kind == "rankings"
    assert said(parse_file(path, "demonstrations").records[0]) == [("user", "Q"), ("assistant", "a")]
    assert said(parse_file(path, "prompts").records[0]) == [("user", "Q")]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: text: expected a record with a field 'text'"):
        parse_file(path, "texts")
    dialogue = write(tmp_path / "b.jsonl", GOOD)
    with pytest.raises(ValueError, match=r"b\.jsonl:1: answers: expected several answers"):
        parse_file(dialogue, "rankings")


def test_skip_bad_covers_broken_lines_and_needs_one_good(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{broken\n" + json.dumps(GOOD).encode() + b"\n\xff\n")
    found = parse_file(path, skip_bad=True)
    assert (len(found.records), [r.line for r in found.rejected]) == (1, [1, 3])
    path.write_text("{broken\n")
    with pytest.raises(ValueError, match=r"expected at least one good record, found none; the first bad one is line 1"):
        parse_file(path, skip_bad=True)


def test_max_records(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD, GOOD, UNANSWERED)
    assert len(parse_file(path, max_records=2).records) == 2


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('Worum,Dann,Nr\n"Wo ist\nmeine Ware?",Unterwegs.,7\n', encoding="utf-8-sig")
    with pytest.raises(ValueError, match=r"a\.csv:1: expected a column 'question' among Worum, Dann, Nr"):
        parse_file(path)
    with pytest.raises(ValueError, match=r"a\.csv:1: expected a column 'Woru', .* did you mean 'Worum'"):
        parse_file(path, mapping={"question": "Woru"})
    mapping = {"question": "Worum", "answer": "Dann", "id": "Nr"}
    record = parse_file(path, mapping=mapping).records[0]
    assert said(record) == [("user", "Wo ist\nmeine Ware?"), ("assistant", "Unterwegs.")]
    assert isinstance(record, Conversation)
    assert record.id == "7"
    with pytest.raises(ValueError, match=r"--map foo=\.\.\.: expected one of question, answer"):
        parse_file(path, mapping={"foo": "Nr"})


def test_csv_in_gb18030_and_short_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("question,answer\n订单在哪？,在路上\n坏行\n".encode("gb18030"))
    with pytest.raises(ValueError, match=r"a\.csv:2: expected UTF-8 text, but byte 16"):
        parse_file(path)
    with pytest.raises(ValueError, match=r"a\.csv:3: expected 2 columns as in the first row, got 1"):
        parse_file(path, encoding="auto")
    assert said(parse_file(path, encoding="auto", skip_bad=True).records[0])[0] == ("user", "订单在哪？")


def test_chatlog(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    lines = [
        "[10:01] Ann: Hi",
        "Ann: where is it?",
        "Bob：Here.",
        "  On its way.",
        "----",
        "Ann: Thanks: a lot",
        "Bob: Sure",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match="expected --format chatlog"):
        parse_file(path)
    with pytest.raises(ValueError, match="expected two names"):
        parse_file(path, format="chatlog")
    records = parse_file(path, format="chatlog", speakers="Ann,Bob").records
    assert said(records[0]) == [("user", "Hi\nwhere is it?"), ("assistant", "Here.\nOn its way.")]
    assert said(records[1]) == [("user", "Thanks: a lot"), ("assistant", "Sure")]
    with pytest.raises(ValueError, match=r"log\.txt:1: expected 'Eve: \.\.\.'"):
        parse_file(path, format="chatlog", speakers="Eve,Mel")


@pytest.mark.parametrize(
    ("file", "format", "kind", "bad"),
    [
        ("sft/en_lima_1k", "alpaca", "demonstrations", 0),
        ("sft/zh_sharegpt_1k", "sharegpt", "demonstrations", 7),
        ("pref/en_hh_harmless_train1800", "hh", "rankings", 0),
        ("pref/zh_oasst_rank_775", "rankings", "rankings", 0),
        ("pref/en_dpo_demo_300", "comparisons", "rankings", 0),
        ("pref/zh_medicalgpt_dpo_500", "comparisons", "rankings", 0),
        ("eval/pclue_train9_sample_705", "input_target", "demonstrations", 0),
        ("ppo_prompts/zh_awesome_role_prompts", "prompts", "prompts", 0),
        ("pretrain/zh_docs", "text", "texts", 0),
    ],
)
def test_real_files(file: str, format: str, kind: str, bad: int) -> None:
    path = REAL / f"{file}.jsonl.xz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not here: real data lies in ../shared/data, outside the repository")
    found = parse_file(path, skip_bad=True)
    assert (found.format, found.kind, len(found.rejected)) == (format, kind, bad)


FIRST = "用户：你好\n小元：您好，请讲。\n用户：订单呢？\n小元：已发货。"
SECOND = "用户：写一首诗\n题目：春天\n小元：春眠不觉晓，\n处处闻啼鸟。"
CHATYUAN = [
    [("user", "你好"), ("assistant", "您好，请讲。"), ("user", "订单呢？"), ("assistant", "已发货。")],
    [("user", "写一首诗\n题目：春天"), ("assistant", "春眠不觉晓，\n处处闻啼鸟。")],
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", f"\n\n{FIRST}\n\n{SECOND}\n"),
        ("wide.txt", FIRST.replace("\n用户", "\n\n用户") + f"\n\n\n{SECOND}\n"),
        ("escaped.txt", "\n".join(text.replace("\n", "\\n") for text in (FIRST, SECOND))),
        ("list.json", json.dumps([FIRST, SECOND])),
        (
            "pairs.json",
            json.dumps(
                [
                    {"input": f"{asked}小元：".replace("\n", "\\n"), "target": said.replace("\n", "\\n")}
                    for asked, _, said in (text.rpartition("小元：") for text in (FIRST, SECOND))
                ]
            ),
        ),
    ],
)
def test_files_of_chatyuans_dialogues(name: str, text: str, tmp_path: Path) -> None:
    """Texts were refused, a list of dialogues was one, and an answer kept the \\n that its prompt did not."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    parsed = parse_file(tmp_path / name, "demonstrations")
    assert [said(record) for record in parsed.records] == CHATYUAN


def test_a_line_that_cannot_be_read_costs_its_own_dialogue_alone(tmp_path: Path) -> None:
    path = tmp_path / "chats.txt"
    path.write_bytes("\n\n".join([FIRST, f"{SECOND}#", FIRST]).encode().replace(b"#", b"\xff"))
    with pytest.raises(ValueError, match=r"chats.txt:6: line 9: .*0xff"):
        parse_file(path)
    found = parse_file(path, skip_bad=True)
    assert [said(record) for record in found.records] == [CHATYUAN[0], CHATYUAN[0]]
    assert [r.line for r in found.rejected] == [6]
