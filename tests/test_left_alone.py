"""Small faults of reading: files that are no text, records that somebody edited, names of teams, numbers in logs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tiny
from steersman.cli.framework import build
from steersman.data.clean import tongue_of
from steersman.data.contamination import overlap
from steersman.data.dataset import write_dataset
from steersman.data.dividing import divided
from steersman.data.importing import parse_file
from steersman.data.reading import Reading
from steersman.data.speakers import role_called
from steersman.text.bases import take_beside
from steersman.weights.folders import load_tokenizer


def done(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(), list(words))
    return result.exit_code, result.output


def test_a_workspace_without_a_domain_is_not_told_to_import_the_shop(tmp_path: Path) -> None:
    code, out = done("init", str(tmp_path / "w"), "-s", "project.domain=none")
    assert code == 0
    assert "steersman data import FILE" in out
    assert "shop" not in out
    assert done("data", "list", "-w", str(tmp_path / "w")) == (
        0,
        "no data yet; import some with: steersman data import FILE\n",
    )
    code, out = done("init", str(tmp_path / "v"))
    assert "  steersman data import shop  " in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("null", "expected a record, got None"),
        ('{"id": "1", "messages": [{"a": 1}]}', "conversation.messages[0].role: expected one of"),
    ],
)
def test_a_line_that_somebody_edited_is_named(tmp_path: Path, line: str, said: str) -> None:
    space = tmp_path / "w"
    done("init", str(space))
    chats = tiny.write_jsonl(
        tmp_path / "a.jsonl", [{"prompt": f"Where is parcel {i}?", "response": "There."} for i in (1, 2)]
    )
    assert done("data", "import", str(chats), "-w", str(space))[0] == 0
    file = space / "data/a.jsonl"
    file.write_text(line + "\n" + file.read_text())
    code, out = done("data", "show", "a", "-w", str(space))
    assert code == 2
    assert f"{file}:1: {said}" in out


def test_bytes_are_no_text_of_some_encoding(tmp_path: Path) -> None:

    path = tmp_path / "a.txt"
    path.write_bytes(random.Random(1).randbytes(3000))
    with pytest.raises(ValueError, match=r"a.txt: this is no text: \d+ of 3000 bytes looked at are control characters"):
        parse_file(path, reading=Reading(encoding="auto"))


@pytest.mark.parametrize(
    "name", ["Human Resources", "Customer Service", "Client Success Team", "客户服务部", "客户经理小王"]
)
def test_a_team_is_not_those_whom_it_is_called_after(name: str) -> None:
    assert role_called(name) == "assistant"
    assert [role_called(n) for n in ("Customer Ann", "客户小王", "Human 3", "Ann Service")] == ["user"] * 3 + [""]


def test_a_number_that_somebody_says_does_not_part_a_dialogue(tmp_path: Path) -> None:
    talk = "Customer: My number is\n{}\nAgent: Thanks, it left on Monday.\n"
    path = tmp_path / "log.txt"
    for text, dialogues, counted in (
        (talk.format("ticket 12345"), 1, 0),
        (f"ticket 1\n{talk.format('so')}ticket 2\n{talk.format('so')}", 2, 2),
    ):
        path.write_text(text)
        found = parse_file(path, format="chatlog", reading=Reading(tell=lambda line: None))
        assert len(found.records) == dialogues
        assert found.changed.get("lines that number a dialogue left out: it begins there", 0) == counted


def test_the_template_of_an_older_folder_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny.make_model(tmp_path / "m")
    template = "{% for m in messages %}{{ m['role'] + '|' + m['content'] + '<|im_end|>' }}{% endfor %}"
    for name in ("chat_template.jinja", "chat_template.json"):
        (folder / name).unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert load_tokenizer(folder).chat_template != template
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load_tokenizer(folder).chat_template == template
    capsys.readouterr()
    (other := tmp_path / "other.jinja").write_text("{{ messages }}")
    (same := tmp_path / "same.jinja").write_text(template)
    assert (
        load_tokenizer(folder, str(same)).chat_template == load_tokenizer(folder, str(other)).chat_template == template
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"model.template = '{other}' is not used")
    (folder / "chat_template.json").write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON object with 'chat_template', a text"):
        take_beside(load_tokenizer(tiny.make_model(tmp_path / "n")), folder)


def test_german_is_not_called_english() -> None:
    assert tongue_of("Wo ist mein Paket?") == "de"
    assert (tongue_of("Where is my parcel?"), tongue_of("我的包裹呢？"), tongue_of("123")) == ("en", "zh", "other")


def test_a_split_holds_nothing_out_that_the_check_of_test_prompts_finds_in_training(tmp_path: Path) -> None:
    """A question inside a longer one is no near repeat by the share of words in common, but is what was learned."""
    words = [f"w{i}x{j}" for i in range(60) for j in range(14)]
    asked = [" ".join(words[14 * i : 14 * i + 14]) for i in range(60)]
    longer = [f"{q} " + " ".join(f"z{i}y{j}" for j in range(9)) for i, q in enumerate(asked)]
    talks = [tiny.conversation(q, "Yes.", id=f"c{i}") for i, q in enumerate(asked + longer)]
    info = write_dataset(tmp_path, "chats", "demonstrations", "train", talks, "test", {})
    of = divided(info, {"train": 0.8, "validation": 0.1, "test": 0.1}, 0, 0.75, tmp_path)
    parts = {name: [t for t, code in zip(talks, of.splits, strict=True) if code == name] for name in ("train", "test")}
    assert parts["test"]
    assert not overlap(parts["test"], parts["train"]).found
    assert (of.joined > 0, of.near) == (True, 0)
