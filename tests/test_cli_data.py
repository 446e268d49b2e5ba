"""`steersman data`: import, list, export, from the user's side."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from steersman.artifact.manifest import read_manifest
from steersman.artifact.workspace import Workspace
from steersman.cli.data import default_name, parse_split
from steersman.data.dataset import load_conversations, load_rankings
from steersman.store import Store
from steersman.types import Candidates, Completion, Conversation, Message
from verbs import run
from verbs import told as run_json


def dialogue(question: str, answer: str | None = "A") -> dict[str, Any]:
    answered = [] if answer is None else [{"role": "assistant", "content": answer}]
    return {"messages": [{"role": "user", "content": question}, *answered]}


def write(path: Path, *records: Any) -> str:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return str(path)


def test_import_lists_and_is_repeatable(root: Path) -> None:
    file = write(root / "chats.jsonl", dialogue("a"), dialogue("b"), dialogue("b"))
    made = run_json("data", "import", file)
    (info,) = made["datasets"]
    assert (info["name"], info["kind"], info["split"], info["count"]) == ("chats", "demonstrations", "train", 2)
    assert made["dropped"] == {"duplicates": 1}
    assert run_json("data", "import", file)["datasets"] == made["datasets"]
    assert run_json("data", "list")["datasets"] == made["datasets"]
    assert "chats" in run("data", "list").stdout
    write(root / "chats.jsonl", dialogue("c"))
    refused = run("data", "import", file)
    assert refused.exit_code == 2
    assert "--replace" in refused.stderr
    assert run_json("data", "import", file, "--replace")["datasets"][0]["count"] == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "bad.jsonl: the file is empty"),
        (b'{"messages": [\n', "bad.jsonl:1: expected one JSON value"),
        ('{"text": "你"}'.encode("gb18030"), "bad.jsonl:1: expected UTF-8 text, but byte 10 of the file"),
        (json.dumps(dialogue("q", None)).encode(), "bad.jsonl:1: messages[0]: expected a demonstration to end with"),
        (b'{"text": "' + b"x" * 10_000_000 + b'"}', "bad.jsonl:1: expected a line of at most 8 MB"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(root: Path, content: bytes, expected: str) -> None:
    (root / "bad.jsonl").write_bytes(content)
    result = run("data", "import", "bad.jsonl")
    assert result.exit_code == 2
    assert f"error: {expected}" in result.stderr
    assert len(result.stderr.splitlines()) == 2  # 'reading ...' and the error
    assert list((root / "data").iterdir()) == []


def test_skip_bad_keeps_the_rejected_lines_beside(root: Path) -> None:
    file = write(root / "mixed.jsonl", dialogue("a"), "{broken", dialogue("b", None))
    made = run_json("data", "import", file, "--skip-bad")
    assert sum(made["rejected"].values()) == 2
    kept = [json.loads(line) for line in (root / "data" / "mixed.rejected.jsonl").read_text().splitlines()]
    assert [(r["line"], r["raw"]) for r in kept] == [(2, "{broken"), (3, json.dumps(dialogue("b", None)))]
    assert run_json("data", "list")["datasets"][0]["skipped"] == made["rejected"]
    write(root / "mixed.jsonl", dialogue("a"))
    run_json("data", "import", file, "--replace")
    assert not (root / "data" / "mixed.rejected.jsonl").exists()


def test_splits(root: Path) -> None:
    file = write(root / "a.jsonl", *(dialogue(f"question {i}") for i in range(200)))
    infos = run_json("data", "import", file, "--split", "0.8,0.1,0.1", "--name", "x")["datasets"]
    assert [(i["name"], i["split"]) for i in infos] == [
        ("x-train", "train"),
        ("x-validation", "validation"),
        ("x-test", "test"),
    ]
    assert sum(i["count"] for i in infos) == 200
    assert parse_split("test") == {"test": 1.0}
    for bad in ("half", "0.5,0.5", "0.9,0.9,0.1"):
        assert run("data", "import", file, "--split", bad).exit_code == 2


def test_options_reach_the_reader(root: Path) -> None:
    (root / "t.csv").write_bytes("Frage,Antwort\n订单,好\n".encode("gb18030"))
    made = run_json("data", "import", "t.csv", "--map", "question=Frage,answer=Antwort", "--encoding", "auto")
    assert made["datasets"][0]["languages"] == {"zh": 1}
    assert "expected field=COLUMN" in run("data", "import", "t.csv", "--map", "question").stderr
    write(root / "p.jsonl", {"prompt": "Q"})
    made = run_json("data", "import", "p.jsonl", "--purpose", "ppo", "--set", "data.max_line_mb=1")
    assert made["datasets"][0]["purpose"] == "ppo"
    assert "expected one of" in run("data", "import", "p.jsonl", "--kind", "chats").stderr
    assert "no such file" in run("data", "import", "none.jsonl").stderr


def test_objectives_are_read_set_kept_apart_and_written_again(root: Path) -> None:
    pair = {"prompt": "Q", "chosen": "a", "rejected": "b"}
    own = write(root / "own.jsonl", pair, pair | {"objective": "kind"}, pair | {"objective": "overall"})
    info = run_json("data", "import", own)
    assert info["dropped"] == {"duplicates": 1}, "overall is what a ranking without an objective is"
    rankings = load_rankings(root / "data" / "own.jsonl")
    assert [(r.objective, "objective" in r.to_json()) for r in rankings] == [("", False), ("kind", True)]
    assert len({r.id for r in rankings}) == 2
    run_json("data", "import", own, "--objective", "brief", "--name", "whole")
    assert [r.objective for r in load_rankings(root / "data" / "whole.jsonl")] == ["brief"]
    assert run_json("data", "export", "own", "-o", "again.jsonl")["count"] == 2
    assert load_rankings(root / "again.jsonl") == rankings
    assert (
        "--objective brief: expected"
        in run("data", "import", write(root / "d.jsonl", dialogue("Q")), "--objective", "brief").stderr
    )
    bad = run("data", "import", write(root / "bad.jsonl", pair | {"objective": 3}))
    assert (bad.exit_code, "bad.jsonl:1: objective: expected a name" in bad.stderr) == (2, True)


def test_default_names() -> None:
    assert default_name(Path("a/zh chats.v2.jsonl.xz")) == "zh-chats.v2"
    assert default_name(Path("客服.csv")) == "客服"
    with pytest.raises(ValueError, match="expected --name"):
        default_name(Path("--.jsonl"))


def fill(root: Path) -> Workspace:
    """A store with a ranking by a person, one by the judge, and an edited answer."""
    space = Workspace.open(root)
    ask = Conversation("p", (Message("user", "Q"),))
    made = tuple(Completion(text, (), (), "stop", "v1") for text in ("a", "b", "c"))
    with Store.open(space.store) as store:
        store.add_candidates(1, [Candidates(ask, made)])
        (task,) = store.tasks(1)
        store.add_ranking(task.id, ranks=[2, 1, 2], labeler="ann")
        store.add_ranking(task.id, ranks=[1, 2, 3], labeler="simulated", simulated=True)
        chat = store.create_conversation()
        question = store.add_question(chat.id, "How?")
        answer = store.add_answer(question.id, made[0])
        store.add_feedback(answer.id, "edit", edited="So.", user="bob")
        store.add_feedback(answer.id, "like", user="bob")
    return space


def test_export_rankings_makes_the_artifact_and_again_only_when_changed(root: Path) -> None:
    space = fill(root)
    said = run_json("data", "export", "rankings")
    folder = space.stage_dir("rankings", 1)
    manifest = read_manifest(folder)
    assert (
        said["metrics"] == manifest.metrics == {"rankings": 2, "simulated": 1, "labelers": 2, "pairs": 5, "all_bad": 0}
    )
    assert manifest.notes == ("some rankings are simulated by a rule judge, not made by people",)
    rankings = load_rankings(folder / "rankings.jsonl")
    assert [(r.labeler, r.ranks, r.simulated) for r in rankings] == [
        ("ann", (2, 1, 2), False),
        ("simulated", (1, 2, 3), True),
    ]
    run_json("data", "export", "rankings")
    assert read_manifest(folder) == manifest
    with Store.open(space.store) as store:
        (task,) = store.tasks(1)
        store.add_ranking(task.id, ranks=[1, 1, 2], labeler="ann")
    run_json("data", "export", "rankings")
    assert load_rankings(folder / "rankings.jsonl")[0].ranks == (1, 1, 2)


def test_export_other_things_can_be_imported_again(root: Path) -> None:
    fill(root)
    assert run_json("data", "export", "comparisons")["count"] == 5
    again = run_json("data", "import", "exports/comparisons.jsonl")["datasets"][0]
    assert (again["kind"], again["count"]) == ("rankings", 4)  # b over c was said by both, once is kept
    assert run_json("data", "export", "demonstrations", "--output", "e.jsonl") == {
        "what": "demonstrations",
        "path": "e.jsonl",
        "count": 1,
    }
    (edited,) = load_conversations(root / "e.jsonl", "demonstrations")
    assert [m.content for m in edited.messages] == ["How?", "So."]
    assert edited.meta["source"] == "edit"
    lines = run("data", "export", "feedback", "-o", "-").stdout.splitlines()
    assert sorted(json.loads(line)["kind"] for line in lines) == ["edit", "like"]
    run_json("data", "import", "e.jsonl")
    assert run("data", "export", "e", "-o", "-").stdout == (root / "data" / "e.jsonl").read_text(encoding="utf-8")


def test_export_errors(root: Path) -> None:
    for what in ("rankings", "feedback"):
        result = run("data", "export", what)
        assert result.exit_code == 2
        assert "store.db: no such file" in result.stderr
    assert "expected one of rankings, comparisons" in run("data", "export", "nothing").stderr
    fill(root)
    assert "no round 2" in run("data", "export", "rankings", "--round", "2").stderr
    assert run("data", "export", "feedback", "-o", "-", "--json").exit_code == 2


def test_a_file_that_is_there_is_overwritten_only_when_asked(root: Path) -> None:
    fill(root)
    run_json("data", "import", write(root / "chats.jsonl", dialogue("a")))
    own = write(root / "own.jsonl", dialogue("the only copy"))
    for target in (own, "store.db", "steersman.toml", "data/chats.jsonl"):
        before = (root / target).read_bytes()
        result = run("data", "export", "chats", "-o", str(target))
        assert (result.exit_code, (root / target).read_bytes()) == (2, before)
        assert "exists already; expected the name of a new file, or --replace" in result.stderr
    assert "found a folder" in run("data", "export", "chats", "-o", "data").stderr
    assert run("data", "export", "chats", "-o", str(own), "--replace").exit_code == 0
    assert run("data", "export", "chats").exit_code == run("data", "export", "chats").exit_code == 0, "exports/ is ours"
    assert "--round 1: expected rankings" in run("data", "export", "chats", "--round", "1").stderr


def test_a_mixture_with_test_prompts_in_it_is_told(root: Path) -> None:
    run_json("data", "import", write(root / "all.jsonl", *(dialogue(f"What is room {i} for?") for i in range(20))))
    run_json("data", "import", write(root / "exam.jsonl", dialogue("What is room 3 for?")), "--split", "test")
    run_json("data", "import", write(root / "faq.jsonl", dialogue("Where is the door?")))
    run_json("data", "remove", "all", "--yes")
    run_json("data", "import", write(root / "all.jsonl", *(dialogue(f"What is room {i} for?") for i in range(20))))
    assert "1 of 1 test prompts are in the training data" in run("data", "mix", "all", "--into", "m").stderr
    assert "a share from 0.5 to 1" in run("data", "split", "faq", "--near", "2").stderr


def test_cleaning_refuses_an_option_whose_step_is_left_out(root: Path) -> None:
    run_json("data", "import", write(root / "chats.jsonl", dialogue("a")))
    for option, value, step in (("--key", "k", "pii"), ("--mask", "phone", "pii"), ("--min-chars", "9", "length")):
        result = run("data", "clean", "chats", "--steps", "exact", option, value)
        assert result.exit_code == 2
        assert f"{option}: expected the step {step} among --steps" in result.stderr
    assert not (root / "k").exists()
    assert "expected --embed" in run("data", "clean", "chats", "--steps", "contamination", "--similar", "0.5").stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_written_to_and_stays_a_pipe(root: Path) -> None:
    run_json("data", "import", write(root / "chats.jsonl", dialogue("a")))
    os.mkfifo(root / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((root / "pipe").read_bytes()), daemon=True)
    reader.start()
    assert run("data", "export", "chats", "-o", "pipe").exit_code == 0
    reader.join(60)
    assert read == [(root / "data" / "chats.jsonl").read_bytes()]
    assert (root / "pipe").is_fifo()
