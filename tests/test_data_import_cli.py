"""`data import` of several files, folders and archives; `data show` and `data remove`; nothing half-written."""

# ruff: noqa: E501

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from steersman.cli import data as verbs
from steersman.data import dataset
from steersman.data.split import split_key, split_records
from steersman.types import Conversation, Message
from verbs import run
from verbs import told as run_json


def lines(*pairs: tuple[str, str]) -> str:
    return "".join(json.dumps({"prompt": q, "response": a}) + "\n" for q, a in pairs)


def fill(folder: Path) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.jsonl").write_text(lines(("a", "1")))
    (folder / "deep" / "b.csv").write_text("question;answer\nb;2\n")
    (folder / "deep" / "er" / "faq.md").write_text("## What is c?\n3\n\n## What is d?\n4\n")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / ".hidden" / "x.jsonl").write_text("{bad")
    return folder


def test_folders_with_what_each_file_gave(root: Path) -> None:
    result = run("data", "import", str(fill(root / "exports")))
    assert result.exit_code == 0, result.stderr
    assert "a.jsonl 1, deep/b.csv 1, deep/er/faq.md 2" in result.stderr
    assert "1 files of other kinds are not read, such as photo.png" in result.stderr
    info = run_json("data", "list")["datasets"][0]
    assert (info["name"], info["count"]) == ("exports", 4)
    assert {Path(name).name: n for name, n in info["config"]["files"].items()} == {
        "a.jsonl": 1,
        "b.csv": 1,
        "faq.md": 2,
    }
    (root / "exports" / "a.jsonl").write_text("{bad\n")
    assert "a.jsonl:1: expected one JSON value" in run("data", "import", "exports", "--replace").stderr
    (root / "nothing").mkdir()
    assert "nothing: expected files to read" in run("data", "import", "nothing").stderr


def test_several_files_at_once(root: Path) -> None:
    (root / "a.jsonl").write_text(lines(("a", "1"), ("b", "2")))
    (root / "b.csv").write_text("question,answer\nc,3\nd\n")
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        archive.writestr("in/d.jsonl", lines(("e", "5")))
    sources = ("a.jsonl", "b.csv", "c.zip")
    refused = run("data", "import", *sources)
    assert (refused.exit_code, "error: b.csv:3: expected 2 columns" in refused.stderr) == (2, True)
    made = run_json("data", "import", *sources, "--skip-bad", "--name", "all")
    (info,) = made["datasets"]
    assert (info["count"], info["source"], made["read"], made["kept"]) == (4, "a.jsonl, b.csv, c.zip", 5, 4)
    assert info["config"]["files"] == {"a.jsonl": 2, "b.csv": 2, "c.zip!in/d.jsonl": 1}
    (rejected,) = [json.loads(line) for line in (root / "data" / "all.rejected.jsonl").read_text().split("\n") if line]
    assert (rejected["file"], rejected["line"]) == ("b.csv", 3)
    assert run_json("data", "import", *sources, "--skip-bad", "--name", "all")["datasets"] == made["datasets"]


def test_what_was_guessed_is_shown(root: Path) -> None:
    (root / "t.csv").write_bytes(
        "ticket_id;customer_message;agent_reply\n1;Wie groß ist es für Äpfel?;Größe L.\n2;Wo ist der Müller?;Über Köln.\n".encode(
            "cp1252"
        )
    )
    result = run("data", "import", "t.csv")
    assert "taken for: answer = agent_reply, question = customer_message" in result.stdout.replace(
        "question = customer_message, answer = agent_reply", "answer = agent_reply, question = customer_message"
    )
    assert "t.csv is read as cp1252 (it is no UTF-8): 1;Wie groß ist es" in result.stderr
    assert run_json("data", "list")["datasets"][0]["config"]["encodings"] == {"t.csv": "cp1252"}
    other = run_json("data", "import", "t.csv", "--replace", "--map", "user=agent_reply,assistant=customer_message")
    assert other["fields"] == {"question": "agent_reply", "answer": "customer_message"}
    assert run_json("data", "list")["datasets"][0]["config"]["fields"] == other["fields"]


def test_the_manifest_says_what_was_changed_and_older_ones_are_read(root: Path) -> None:
    rows = "Ticket_ID,Sender_Type,Text\n1,customer,Is it open?\n1,agent,Yes: 9 to 5.\n1,customer,Thanks\n"
    (root / "t.csv").write_text(rows + "2,customer,Do you ship?\n2,agent,We do.\n", encoding="utf-8")
    printed = run_json("data", "import", "t.csv")["changed"]
    info = dataset.read_info(root / "data" / "t.jsonl")
    assert info.changed == {what: n for what, n in printed.items() if n}
    assert info.changed["last turns of the user cut off"] == 1
    assert "changed, 1 times: last turns of the user cut off" in run("data", "report", "t").stdout
    assert "last turns of the user cut off" in (root / "data" / "t.report.html").read_text("utf-8")
    path = dataset.manifest_path(info.path)
    old = {key: value for key, value in json.loads(path.read_text("utf-8")).items() if key != "changed"}
    path.write_text(json.dumps(old), encoding="utf-8")
    assert dataset.read_info(info.path).changed == {}
    path.write_text(json.dumps(old | {"changed": {"x": -1}}), encoding="utf-8")
    with pytest.raises(ValueError, match="counts of records"):
        dataset.read_info(info.path)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("shop", ["--skip-bad", "--split", "test"], "--split, --skip-bad: expected no such option with 'shop'"),
        ("a.jsonl", ["--ordered", "best-first"], "--ordered: expected rankings, of which it says something; these are"),
        ("a.jsonl", ["--purpose", "ppo"], "--purpose: expected prompts"),
        ("a.jsonl", ["--sheet", "Tab"], "--sheet: expected a workbook, found none"),
    ],
)
def test_options_that_cannot_apply_are_refused(root: Path, source: str, options: list[str], said: str) -> None:
    (root / "a.jsonl").write_text(lines(("a", "1")))
    result = run("data", "import", source, *options)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not run_json("data", "list")["datasets"]


def test_a_file_read_twice_or_otherwise_than_it_looks_is_told(root: Path) -> None:
    (root / "a.csv").write_text("question;answer\nWo ist das Ü?;Im Ö.\n", encoding="utf-8")
    first = run("data", "import", "a.csv")
    assert (first.exit_code, "caution" in first.stderr) == (0, False)
    again = run("data", "import", "a.csv", "--name", "b")
    assert "caution: b is of the same file as a: what both hold counts twice" in again.stderr
    other = run("data", "import", "a.csv", "--name", "c", "--encoding", "cp1252")
    assert "caution: a.csv looks like UTF-8 and is read as cp1252, as --encoding asks" in other.stderr


def test_show(root: Path) -> None:
    (root / "a.jsonl").write_text(lines(*((f"question {i}", f"answer {i}") for i in range(5))))
    run("data", "import", "a.jsonl")
    text = run("data", "show", "a", "-n", "2").stdout
    assert "a: 5 demonstrations (train)" in text
    assert "user: question 1\n   assistant: answer 1" in text
    assert "question 2" not in text
    assert "... 3 more" in text
    shown = run_json("data", "show", "a")
    assert (shown["dataset"]["count"], len(shown["records"])) == (5, 3)
    (root / "r.jsonl").write_text('{"prompt": "Q", "chosen": "good", "rejected": "bad"}\n')
    run("data", "import", "r.jsonl")
    assert "answer (1): good\n   answer (2): bad" in run("data", "show", "r").stdout
    missing = run("data", "show", "b")
    assert (missing.exit_code, "b: no such data set; expected one of a, r" in missing.stderr) == (2, True)


def test_remove(root: Path) -> None:
    (root / "a.jsonl").write_text(lines(("a", "1")) + "{bad\n")
    run("data", "import", "a.jsonl", "--skip-bad")
    refused = run("data", "remove", "a")
    assert (refused.exit_code, "a: expected --yes to delete 1 demonstrations" in refused.stderr) == (2, True)
    sft = root / "rounds" / "001" / "sft"
    sft.mkdir(parents=True)
    from steersman.artifact.manifest import write_manifest

    write_manifest(sft, "sft", {}, {"data:a": "x"})
    removed = run_json("data", "remove", "a", "--yes")
    assert removed == {"removed": "a", "count": 1, "used_by": ["001/sft"]}
    assert [p.name for p in (root / "data").iterdir() if not p.name.startswith(".")] == []
    assert run_json("data", "list")["datasets"] == []


@pytest.mark.parametrize("name", ["a.rejected", "a.manifest", "a.jsonl"])
def test_reserved_endings(root: Path, name: str) -> None:
    (root / "a.jsonl").write_text(lines(("a", "1")))
    result = run("data", "import", "a.jsonl", "--name", name)
    assert (result.exit_code, "expected a name that does not end in" in result.stderr) == (2, True)


def test_importing_never_deletes_another_data_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.jsonl").write_text(lines(("a", "1")))
    monkeypatch.setattr(dataset, "RESERVED", ())  # a workspace of an older version
    assert run("data", "import", "a.jsonl", "--name", "a.rejected").exit_code == 0
    assert run("data", "import", "a.jsonl").exit_code == 0
    assert [info["name"] for info in run_json("data", "list")["datasets"]] == ["a", "a.rejected"]
    assert run("data", "remove", "a", "--yes").exit_code == 0
    assert [info["name"] for info in run_json("data", "list")["datasets"]] == ["a.rejected"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device", "data/a-test.jsonl")])
def test_an_interrupted_import_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (root / "a.jsonl").write_text(lines(*((f"question {i}", "x") for i in range(100))))
    write = dataset.write_dataset

    def fails(folder: Path, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "a-test":
            raise error
        return write(folder, name, *args, **kwargs)

    monkeypatch.setattr(dataset, "write_dataset", fails)
    result = run("data", "import", "a.jsonl", "--split", "auto")
    assert result.exit_code in (2, 130)
    assert [p.name for p in (root / "data").iterdir() if not p.name.startswith(".")] == []
    if isinstance(error, OSError):
        assert "a-test.jsonl: no space left" in result.stderr


def demo(question: str) -> Conversation:
    return Conversation("", (Message("user", question), Message("assistant", "A")))


@pytest.mark.parametrize("count", [20, 25, 40, 100])
def test_auto_gives_every_split_some(count: int) -> None:
    for start in range(0, 1000, 100):
        parts = split_records([demo(f"q{start + i}") for i in range(count)], verbs.AUTO, verbs.LEAST)
        assert min(map(len, parts.values())) >= 3
        assert len(parts["train"]) >= count / 2
        assert sum(map(len, parts.values())) == count


def test_auto_keeps_what_satisfies_it_and_leaks_nothing() -> None:
    many = [demo(f"q{i}") for i in range(400)]
    assert split_records(many, verbs.AUTO, verbs.LEAST) == split_records(many, verbs.AUTO)
    few = [demo(f"q{i % 12}") for i in range(60)]
    parts = split_records(few, verbs.AUTO, verbs.LEAST)
    keys = [{split_key(r) for r in part} for part in parts.values()]
    assert sum(map(len, keys)) == 12
    assert all(keys)
    same = split_records([demo("q")] * 30, verbs.AUTO, verbs.LEAST)
    assert sorted(map(len, same.values())) == [0, 0, 30]
    grown = [split_records(many[:n], verbs.AUTO, verbs.LEAST) for n in (30, 31)]
    moved = [r for name in verbs.AUTO for r in grown[0][name] if r not in grown[1][name]]
    assert len(moved) <= 1


def test_auto_from_the_command_line(root: Path) -> None:
    (root / "a.jsonl").write_text(lines(*((f"question {i}", "x") for i in range(20))))
    infos = run_json("data", "import", "a.jsonl", "--split", "auto")["datasets"]
    assert {i["split"]: i["count"] >= 3 for i in infos} == {"train": True, "validation": True, "test": True}
