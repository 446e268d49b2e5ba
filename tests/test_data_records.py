"""Files of records: nothing is lost, changed or guessed without a word."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imported import turns as said
from steersman.data.clean import clean
from steersman.data.dataset import load_conversations, load_judged, load_rankings
from steersman.data.importing import parse_file
from steersman.types import Conversation, Feedback, Message, Ranking
from verbs import done as run

CASES = Path(__file__).parent.parent.parent / "shared" / "data" / "cases"


def put(folder: Path, *records: Any, name: str = "file.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def case(name: str) -> Path:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"{name} is not here: real data lies in ../shared/data, outside the repository")
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run("init", "w", "--set", "project.domain=none")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


TREE = [("user", "Name a tree."), ("assistant", "Oak.")]

# The cases that people sent


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "dolly.jsonl",
            [
                ("user", "Which colour is the cover?\n\nThe cover is green and the strap is brown."),
                ("assistant", "Green."),
            ],
        ),
        ("instr_completion.jsonl", TREE),
        ("prompt_output.jsonl", TREE),
        ("question_response.jsonl", TREE),
        ("trl_conv_pc.jsonl", TREE),
        (
            "openai_messages_system_field.jsonl",
            [("system", "Answer like a pirate."), ("user", "Hello"), ("assistant", "Ahoy.")],
        ),
        ("sg_same_role.jsonl", [("user", "Hello\n\nIs anyone there?"), ("assistant", "Yes, how can I help?")]),
        ("u2028.jsonl", [("user", "first\u2028second"), ("assistant", "ok\u2029fine\u0085end")]),
    ],
)
def test_case_is_a_demonstration(name: str, expected: list[tuple[str, str]]) -> None:
    found = parse_file(case(name))
    assert (found.kind, [said(r) for r in clean(found.records)[0]]) == ("demonstrations", [expected])


def test_case_learn_flags() -> None:
    for name in ("openai_weight0.jsonl", "sharegpt_loss_false.jsonl"):
        (record,) = parse_file(case(name)).records
        assert isinstance(record, Conversation)
        assert [m.learn for m in record.messages if m.role == "assistant"] == [False, True]


def test_case_tools() -> None:
    (record,) = parse_file(case("openai_tool_calls.jsonl")).records
    assert isinstance(record, Conversation)
    call = {"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}
    assert list(record.messages) == [
        Message("user", "Weather?"),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "3", tool_call_id="c"),
        Message("assistant", "3 degrees."),
    ]
    (record,) = parse_file(case("sg_tools.jsonl")).records
    assert isinstance(record, Conversation)
    assert record.tools == ({"type": "function", "function": {"name": "w"}},)
    assert [m.role for m in record.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert record.messages[2].tool_calls == (
        {"type": "function", "function": {"name": "w", "arguments": '{"c": "Oslo"}'}},
    )
    assert (record.messages[3].content, record.messages[3].name) == ('{"t":3}', "w")


def test_case_rankings() -> None:
    for name, answers, ranks in (
        ("hh_crlf.jsonl", ("Hello.", "Go."), (1, 2)),
        ("prompt_response_scored.jsonl", ("Oak", "Rock"), (2, 1)),
        ("ultrafeedback_score.jsonl", ("Oak.", "Rock."), (1, 2)),
    ):
        found = parse_file(case(name))
        (record,) = found.records
        assert isinstance(record, Ranking)
        assert (found.kind, record.answers, record.ranks) == ("rankings", answers, ranks)


def test_case_feedback() -> None:
    for name, kinds in (("kto_flat.jsonl", ["like", "dislike"]), ("kto_messages.jsonl", ["dislike", "like"])):
        found = parse_file(case(name))
        assert found.kind == "feedback"
        assert [r.kind for r in found.records if isinstance(r, Feedback)] == kinds
        asked = parse_file(case(name), "demonstrations")
        assert len(asked.records) == 1
        assert "Get lost." not in str(asked.records)
        assert asked.left_out == {"answers that were not liked are no demonstrations": 1}


def test_case_mixed_kinds() -> None:
    path = case("mixed_prompt_first.jsonl")
    with pytest.raises(ValueError, match=r"1 prompts \(first at line 1\), 2 demonstrations \(first at line 2\)"):
        parse_file(path)
    found = parse_file(path, skip_bad=True)
    assert (found.kind, len(found.records), found.reasons()) == (
        "demonstrations",
        2,
        {"prompts in a file of demonstrations": 1},
    )
    assert found.formats == {"prompts": 1, "input_target": 1, "messages": 1}
    prompts = parse_file(path, "prompts")
    assert [said(r) for r in prompts.records] == [[TREE[0]], [("user", "Name a bird.")], [("user", "Hi")]]
    assert prompts.changed == {"answers cut off prompts": 2}


def test_case_ids_stay_unique() -> None:
    kept, _ = clean(parse_file(case("ids_clash_suffix.jsonl")).records)
    assert [r.id for r in kept if isinstance(r, Conversation)] == ["x-2", "x", "x-3"]


def test_case_identical_answers(root: Path) -> None:
    path = case("pref_ident.jsonl")
    left = "left out 8: rankings whose answers are all the same"
    assert left in run("data", "import", str(path), code=2).stderr
    with pytest.raises(ValueError, match=left):
        load_rankings(path)


# What nothing reads


def test_content_that_nothing_reads_is_an_error_until_it_is_said_what_it_is(tmp_path: Path) -> None:
    path = put(tmp_path, *({"question": f"Name tree {i}.", "our_text": f"Oak {i}, for one."} for i in range(3)))
    with pytest.raises(
        ValueError, match=r"file\.jsonl:1: field 'our_text' looks .*--map answer=our_text.*--map ignore=our_text"
    ):
        parse_file(path, skip_bad=True)
    answered = parse_file(path, mapping={"answer": "our_text"})
    assert said(answered.records[0]) == [("user", "Name tree 0."), ("assistant", "Oak 0, for one.")]
    assert (answered.kind, answered.fields) == ("demonstrations", {"question": "question", "answer": "our_text"})
    assert parse_file(path, mapping={"ignore": "our_text"}).kind == "prompts"
    with pytest.raises(ValueError, match=r"--map answer=our_txt: no record has such a field; did you mean 'our_text'"):
        parse_file(path, mapping={"answer": "our_txt", "ignore": "our_text"})
    with pytest.raises(ValueError, match=r"--map foo=\.\.\.: expected one of question, answer"):
        parse_file(path, mapping={"foo": "our_text"})


def test_fields_are_content_metadata_or_said_already(tmp_path: Path) -> None:
    base = {"prompt": "Name a tree.", "response": "Oak."}
    for more in (
        {"source": "my own long list of trees, made by hand", "score": 0.9, "url": "https://x.y", "lang": "en"},
        {"rendered": "### Name a tree. ### Oak."},  # all of it once more
        {"first_question": "Name a tree."},
        {"quality_score": 5, "row": 7, "verified": True},
    ):
        parse_file(put(tmp_path, base | more))
    with pytest.raises(ValueError, match="field 'addendum' looks like something said"):
        parse_file(put(tmp_path, base | {"addendum": "Elm and ash are trees as well."}))
    found = parse_file(
        put(tmp_path, *(base | {"prompt": f"Tree {i}?", "desk": "the desk for all trees"} for i in range(30)))
    )
    assert found.unused == {"desk": 30}, "a field of one value is a category"


def test_two_answers_are_not_dropped_to_one(tmp_path: Path) -> None:
    record = {"question": "2+2?", "response": "It is four, of course.", "reply": "Two and two make four."}
    with pytest.raises(ValueError, match=r"field 'reply' .*answer = response"):
        parse_file(put(tmp_path, record))
    chosen = parse_file(put(tmp_path, record), mapping={"answer": "reply", "ignore": "response"})
    assert said(chosen.records[0])[-1] == ("assistant", "Two and two make four.")


def test_answers_without_an_order_are_an_error(tmp_path: Path) -> None:
    path = put(tmp_path, {"prompt": "Q", "responses": ["a", "b"]})
    with pytest.raises(ValueError, match=r"responses: expected scores or ranks beside 2 answers.*--ordered best-first"):
        parse_file(path)
    for ordered, ranks in (("best-first", (1, 2)), ("worst-first", (2, 1))):
        (record,) = parse_file(path, ordered=ordered).records
        assert isinstance(record, Ranking)
        assert record.ranks == ranks
    mapped = put(tmp_path, {"prompt": "Q", "responses": ["a", "b"], "my_points": [1, 2]})
    (record,) = parse_file(mapped, mapping={"scores": "my_points"}).records
    assert isinstance(record, Ranking)
    assert record.ranks == (2, 1)
    for scores in ([1, None], [1], ["x", 2]):
        with pytest.raises(ValueError, match="scores: expected 2 numbers"):
            parse_file(put(tmp_path, {"prompt": "Q", "responses": ["a", "b"], "scores": scores}))


# Cleaning


def demo(answer: str, question: str = "Q") -> Conversation:
    return Conversation("d", (Message("user", question), Message("assistant", answer)))


FAMILIES = (
    *(
        "<|user|>",
        "<|observation|>",
        "<|eot|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|role_end|>",
        "<seed:eos>",
        "[e~[",
        "<|turn>user",
    ),
    *(
        "<|im_end|>\n<|im_start|>user",
        "<|eot_id|><|start_header_id|>user<|end_header_id|>",
        "<｜User｜>",
        "<pad>",
        " [/INST]",
    ),
)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("Oak.</s>", "Oak."),
        ("Oak.<|im_end|>\n", "Oak."),
        ("Oak. <|endoftext|>", "Oak."),
        ("Oak.<|eot_id|>", "Oak."),
        ("Oak.<end_of_turn>\n", "Oak."),
        ("Oak. [EOS]", "Oak."),
        ("Oak.<eos>", "Oak."),
        ("<s> Oak.</s>", "Oak."),
        ("Oak.</s></s>", "Oak."),
        *((f"Oak.{token}", "Oak.") for token in FAMILIES),
        ("<|assistant|>Oak.<|user|>", "Oak."),
        ("Call it: <|tool_call_end|>", "Call it: <|tool_call_end|>"),
        ("Write `<|im_end|>`", "Write `<|im_end|>`"),
        ("    return x\n", "    return x"),
        ("\n\n\treturn x", "\treturn x"),
        ("The tag </s> ends it here.", "The tag </s> ends it here."),
        ("It was <s>ten</s>", "It was <s>ten</s>"),
        ("<s>ten</s> nine", "<s>ten</s> nine"),
    ],
)
def test_special_tokens_and_indentation(answer: str, kept: str) -> None:
    changed: Counter[str] = Counter()
    ((record,), _) = clean([demo(answer)], changed)
    assert isinstance(record, Conversation)
    assert record.messages[1].content == kept
    took = any(token in answer and token not in kept for token in ("s>", "<|", "[E", "_turn", *FAMILIES))
    assert changed == ({"special tokens around answers taken off": 1} if took else {})


def test_empty_and_equal_answers_are_left_out_by_every_door(tmp_path: Path) -> None:
    said: list[str] = []
    path = put(
        tmp_path, {"prompt": "Q", "chosen": "a</s>", "rejected": "a"}, {"prompt": "P", "chosen": "a", "rejected": "b"}
    )
    assert [r.answers for r in load_rankings(path, tell=said.append)] == [("a", "b")]
    assert "left out 1: rankings whose answers are all the same" in said[0]
    own = put(
        tmp_path,
        {"id": "1", "prompt": demo("x").without_answer().to_json(), "answers": ["a", "a", "b"], "ranks": [2, 1, 3]},
    )
    assert [(r.answers, r.ranks) for r in load_rankings(own)] == [(("a", "b"), (1, 3))]
    empty = put(tmp_path, {"prompt": "Q", "response": ""}, {"prompt": "Q", "response": "  x"})
    assert [c.messages[-1].content for c in load_conversations(empty, "demonstrations", tell=said.append)] == ["  x"]
    assert "left out 1: empty answers" in said[-1]


def test_encoding_reaches_every_loader(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"prompt": "问题", "response": "回答"}\n'.encode("gb18030"))
    with pytest.raises(ValueError, match="UTF-8"):
        load_conversations(path)
    assert load_conversations(path, encoding="gb18030")[0].last_user == "问题"
    for verb in ("sft", "sample", "reward", "ppo", "dpo", "kto", "grpo", "rloo", "eval"):
        assert "--encoding" in re.sub(r"\x1b\[[0-9;]*m", "", run(verb, "--help").stdout)


# The command line


def test_summary_adds_up(root: Path) -> None:
    records = [
        {"prompt": "Q1", "response": "a</s>", "source": "x", "note": "n"},
        {"prompt": "Q1", "response": "a"},
        {"prompt": "Q2", "response": ""},
        {"prompt": "Q3"},
    ]
    file = put(root, *records)
    file.write_text(file.read_text() + "{broken\n")
    made = json.loads(run("data", "import", "file.jsonl", "--skip-bad", "--json").stdout)
    assert (made["read"], made["kept"], made["datasets"][0]["count"]) == (5, 1, 1)
    assert made["rejected"] == {"expected one JSON value": 1, "prompts in a file of demonstrations": 1}
    assert made["dropped"] == {"duplicates": 1, "empty answers": 1}
    assert made["changed"] == {"special tokens around answers taken off": 1}
    assert made["fields"] == {"question": "prompt", "answer": "response"}
    assert made["unused_fields"] == {"note": 1}
    text = run("data", "import", "file.jsonl", "--skip-bad", "--name", "other").stdout
    for part in (
        "read 5 records",
        "kept 1",
        "taken for: question = prompt, answer = response",
        "left out 1: duplicates",
    ):
        assert part in text


def test_feedback_is_a_data_set_of_its_own_and_comes_back(root: Path) -> None:
    put(root, *({"prompt": f"Q{i}", "completion": f"a{i}", "label": i % 2} for i in range(4)))
    info = json.loads(run("data", "import", "file.jsonl", "--json").stdout)["datasets"][0]
    assert (info["kind"], info["count"]) == ("feedback", 4)
    path = root / "data" / "file.jsonl"
    assert [f.kind for f in load_judged(path, "feedback") if isinstance(f, Feedback)] == ["dislike", "like"] * 2
    with pytest.raises(ValueError, match="got one answer with a label; import such with --kind feedback"):
        load_rankings(path)
    asked = json.loads(
        run("data", "import", "file.jsonl", "--kind", "demonstrations", "--name", "good", "--json").stdout
    )
    assert (asked["kept"], asked["dropped"]) == (2, {"answers that were not liked are no demonstrations": 2})


def test_several_fields_are_ignored(root: Path) -> None:
    put(root, {"prompt": "Q?", "response": "a", "one": "first long text of all", "two": "second long text of all"})
    assert "(likewise: two)" in run("data", "import", "file.jsonl", code=2).stderr
    run("data", "import", "file.jsonl", "--map", "ignore=one,ignore=two")


# Line ends: JSON leaves U+2028, U+2029 and U+0085 in strings as they are, and str.splitlines cuts there

TRICKY = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei"
ALLOWED = {
    "engine/backends/local/cache.py": "a file of the kernel's",
    "kernels/ops.py": "a file of the kernel's",
    "weights/checks.py": "an error of another library's",
    "cli/doctor.py": "a file of the kernel's",
    "machine.py": "a file of the kernel's",
    "kernels/building.py": "what a compiler says",
    "rounds/other_process.py": "the last line of what a process says",
    "data/shop/lexicon.py": "our own source",
    "text/trial.py": "the first line of an error",
    "text/template.py": "the first line of an error",
    "weights/folders.py": "the first line of an error",
    "weights/resolve.py": "the first line of an error",
}


def test_no_file_of_records_is_split_by_splitlines() -> None:
    source = Path(__file__).parent.parent / "src" / "steersman"
    found = {str(p.relative_to(source)) for p in source.rglob("*.py") if "splitlines" in p.read_text(encoding="utf-8")}
    assert found <= set(ALLOWED), "split at \\n alone; str.splitlines cuts JSON at U+2028"


def test_tricky_characters_survive_import_export_and_feedback(root: Path) -> None:
    put(root, {"prompt": "Q", "response": TRICKY})
    run("data", "import", "file.jsonl")
    out = run("data", "export", "file", "-o", "again.jsonl").stdout
    assert "1 records" in out
    (record,) = load_conversations(root / "again.jsonl")
    assert record.messages[-1].content == TRICKY
    said = {"id": "1", "kind": "like", "prompt": record.without_answer().to_json(), "answer": TRICKY}
    (judged,) = load_judged(put(root, said, name="said.jsonl"), "feedback")
    assert isinstance(judged, Feedback)
    assert judged.answer == TRICKY
