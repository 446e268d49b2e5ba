"""Files of tasks in the forms that public sets have: what is asked, what is right, which choice an answer is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman.cli.framework import build as cli
from steersman.data.formats import detect
from steersman.data.reading import Reading
from steersman.data.sources import scan_all
from steersman.data.task_kinds import kinds
from steersman.data.task_records import Counts, Question, Taking, questions
from tiny import write_jsonl


def read(path: Path, kind: str = "", **fields: str) -> tuple[list[Question], Counts]:
    counts = Counts()
    chosen = kinds(None)[kind] if kind else None
    records = scan_all([path], Reading(encoding="auto"))
    return list(questions(records, chosen, Taking(fields), counts)), counts


CQIA = {
    **{"instruction": "咖啡也可以叫豆浆？", "input": "", "output": "不\n", "domain": ["通用"]},
    **{"task_type": {"major": ["问答"], "minor": ["逻辑"]}},
}
P3 = {"inputs": [3], "inputs_pretokenized": "Yes?", "targets": [6], "targets_pretokenized": "\nno"}
BELLE = {"instruction": "翻译成中文。", "input": "I learn.", "output": "我学习。"}
ARC = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}


@pytest.mark.parametrize(
    ("record", "prompt", "answers", "kind"),
    [
        ({"kind": "NLI", "input": "前提：甲\n关系？", "target": "中立"}, "前提：甲\n关系？", ("中立",), "NLI"),
        ({"inputs": "Good morning, in French?", "targets": "Bonjour", "task_name": "wmt"}, None, ("Bonjour",), "wmt"),
        (P3, "Yes?", ("no",), ""),
        (CQIA, "咖啡也可以叫豆浆？", ("不",), "问答"),
        (BELLE, "翻译成中文。\nI learn.", ("我学习。",), ""),
        ({"input": "Is it?", "target_scores": {"yes": 1, "no": 0}}, "Is it?", ("yes",), ""),
        ({"input": "Is it?", "target": "yes", "target_scores": {"yes": None, "no": 1}}, "Is it?", ("yes",), ""),
        ({"input": "own", "target": "t", "examples": [{"input": "shot", "output": "s"}]}, "own", ("t",), ""),
        ({"inputs": "hi", "targets": "hi hi", "definition": "Say it twice."}, "Say it twice.\nhi", ("hi hi",), ""),
    ],
)
def test_ready_prompts(record: dict[str, Any], prompt: str | None, answers: Any, kind: str, tmp_path: Path) -> None:
    (q,), counts = read(write_jsonl(tmp_path / "a.jsonl", [record]))
    assert (q.ready, q.answers, q.kind) == (prompt or record["inputs"], answers, kind)
    assert not counts.left_out


def test_fields_of_ready_prompts_may_be_said(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [{"题": {"问": "一加一？", "答": "二"}, "选": ["一", "二"], "类": "算"}])
    (q,), _ = read(path, input="题.问", target="题.答", choices="选", type="类")
    assert (q.ready, q.answers, q.choices, q.kind) == ("一加一？", ("二",), ("一", "二"), "算")
    runner = CliRunner()
    assert runner.invoke(cli(), ["init", str(tmp_path / "w")]).exit_code == 0
    given = ["tasks", "build", str(path), "--into", "x", "--field", "text=问", "-w", str(tmp_path / "w")]
    result = runner.invoke(cli(), given)
    assert "expected one of input, target, instruction, choices, type" in " ".join(result.output.split())


def test_a_task_of_supernaturalinstructions_keeps_its_definition(tmp_path: Path) -> None:
    """Without it no instance says what is asked."""
    task = {
        "Categories": ["Logic"],
        "Definition": ["Do what is said."],
        "Positive Examples": [{"input": "a", "output": "b", "explanation": "c"}],
        "Instances": [{"id": "t-1", "input": "say hi twice", "output": ["hi hi", "hi, hi"]}],
    }
    path = tmp_path / "task1.json"
    path.write_text(json.dumps(task, indent=1))
    told: list[str] = []
    counts = Counts()
    records = scan_all([path], Reading(encoding="auto", tell=told.append))
    (q,) = questions(records, None, Taking(), counts)
    assert q.ready == "Do what is said.\nsay hi twice"
    assert q.answers == ("hi hi", "hi, hi")
    assert "1 of 'Instances', each with the object's Definition as its instruction" in told[0]
    (record,) = scan_all([path], Reading(encoding="auto"))
    assert detect(record.value) == "alpaca", "two right outputs were taken for ranked answers"
    assert record.value["output"] == "hi hi"


def test_bigbench_and_squad_and_c3(tmp_path: Path) -> None:
    examples = [{"input": f"is {i} odd?", "target": "yes" if i % 2 else "no"} for i in range(3)]
    (tmp_path / "b.json").write_text(json.dumps({"name": "odd", "keywords": ["a"], "examples": examples}))
    assert [q.answers for q in read(tmp_path / "b.json")[0]] == [("no",), ("yes",), ("no",)]
    asked = {"question": "谁开发的？", "id": "1", "answers": [{"text": "光荣", "answer_start": 0}]}
    squad = {"version": "v1.0", "data": [{"paragraphs": [{"context": "光荣开发的游戏。", "qas": [asked, asked]}]}]}
    (tmp_path / "s.json").write_text(json.dumps(squad, ensure_ascii=False))
    found, _ = read(tmp_path / "s.json", "reading")
    assert [(q.values["context"], q.answers) for q in found] == [("光荣开发的游戏。", ("光荣",))] * 2
    assert len({q.id for q in found}) == 2
    of_hub = {"question": "谁？", "context": "光荣开发的。", "answers": {"text": ["光荣"], "answer_start": [0]}}
    assert read(write_jsonl(tmp_path / "h.jsonl", [of_hub]), "reading")[0][0].answers == ("光荣",)
    films = {"question": "她喜欢？", "choice": ["恐怖片", "喜剧片"], "answer": "喜剧片"}
    (tmp_path / "c.json").write_text(json.dumps([[["男：去吗？", "女：我喜欢喜剧片。"], [films], "1-1"]] * 2))
    found, _ = read(tmp_path / "c.json", "reading_choice", candidates="choice")
    assert found[0].values["context"] == "男：去吗？\n女：我喜欢喜剧片。"
    assert found[0].answers == ("喜剧片",)


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ({"question": "q", "A": "x", "B": "y", "C": "z", "answer": "B"}, {}),
        ({"question": "q", "choices": ["x", "y"], "answer": "(b)"}, {"candidates": "choices"}),
        (ARC, {"answer": "answerKey", "candidates": "choices"}),
        (
            {"question": "q", "choices": {"text": ["2", "y"], "label": ["1", "2"]}, "answerKey": "2"},
            {"answer": "answerKey", "candidates": "choices"},
        ),
        ({"question": "q", "A": 0, "B": "y", "answer": "B"}, {}),
        ({"question": "q", "option1": "x", "option2": "y", "answer": "2"}, {}),
        ({"question": "q", "option1": 0, "option2": "y", "answer": "2"}, {}),
        ({"question": "q", "answerA": "x", "answerB": "y", "label": "B"}, {"answer": "label"}),
        ({"question": "q", "candidates": ["B", "y", "A"], "answer": "y"}, {}),
    ],
)
def test_choices(record: dict[str, Any], fields: dict[str, str], tmp_path: Path) -> None:
    (q,), counts = read(write_jsonl(tmp_path / "a.jsonl", [record]), "choice", **fields)
    assert q.answers == ("y",)
    assert not counts.left_out


def test_numbers_that_do_not_show_how_the_file_counts_are_said(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}", "candidates": ["x", "y", "z"], "answer": "1"} for i in range(2)]
    found, counts = read(write_jsonl(tmp_path / "a.jsonl", rows), "choice")
    assert [q.answers for q in found] == [("y",)] * 2
    assert counts.changed == {"answers are numbers, taken to count from 0, which none of them shows": 2}


def test_each_file_counts_in_its_own_way(tmp_path: Path) -> None:
    """Beside one that counts from 0, one that counts from 1 was taken for the choice after the right one."""
    files, counts = [], Counts()
    for name, numbers in (("a", (0, 1, 2)), ("b", (1, 2, 3)), ("c", (2, 2, 1))):
        rows = [{"question": f"{name}{n}", "candidates": ["x", "y", "z"], "answer": str(n)} for n in numbers]
        files.append(write_jsonl(tmp_path / f"{name}.jsonl", rows))
    found = questions(scan_all(files, Reading(encoding="auto")), kinds(None)["choice"], Taking(), counts)
    assert "".join(q.answers[0] for q in found) == "xyz" + "xyz" + "yyx", (
        "the last shows nothing, and does as the second"
    )
    assert counts.changed == {"answers are numbers, taken to count from 1": 6}


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_answers_count_as_the_file_does(first: int, tmp_path: Path) -> None:
    """From 1 they were taken for the choice after the right one."""
    rows = [
        {"question": f"q{i}", "candidates": ["x", "y", "z"], "answer": str(n + first)} for i, n in enumerate((1, 0, 2))
    ]
    found, counts = read(write_jsonl(tmp_path / "a.jsonl", rows), "choice")
    assert [q.answers[0] for q in found] == ["y", "x", "z"]
    assert [q.values["question"] for q in found] == ["q0", "q1", "q2"]
    assert sum(counts.changed.values()) == 3 * first
    rows += [{**rows[0], "answer": str(3 - 3 * first)}]
    if first:
        with pytest.raises(ValueError, match=r"number 0 where an earlier one counts from 1"):
            read(write_jsonl(tmp_path / "b.jsonl", rows), "choice")
    else:
        found, counts = read(write_jsonl(tmp_path / "b.jsonl", rows), "choice")
        assert counts.left_out == {"the answer is none of the record's choices": 1}
