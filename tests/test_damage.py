"""Damaged settings, manifests and lists, and hostile text: every command names the file, or works.

On 0da96d2, 7 of 71 such files ended in "this is a fault of steersman", `serve.temperature = nan` was taken, and
`data list` swallowed parts of names in brackets.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny as t
from steersman import config_file, terminal
from steersman.artifact.files import write_json
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest, write_manifest
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli.framework import build
from steersman.data.dataset import read_info
from steersman.store import Store

runner = CliRunner()
APP = build()
DEEP = 30_000
JSON_TEXTS = {
    "empty": "",
    "cut": '{"stage": "sft", "crea',
    "null": "null",
    "list": "[]",
    "number": "1e999",
    "deep": "[" * DEEP + "]" * DEEP,
    "deep-object": '{"a":' * DEEP + "1" + "}" * DEEP,
    "huge-integer": '{"round": ' + "9" * 5000 + "}",
    "nan": "NaN",
    "two": "{}{}",
}
ODD: dict[str, Any] = {
    "null": None,
    "text": "x",
    "number": -1,
    "huge": 10**30,
    "float": 1.5,
    "list": [1],
    "object": {"a": {"b": None}},
    "true": True,
    "nan": float("nan"),
    "outside": {"../../../etc/passwd": "0" * 64, "/etc/passwd": "0" * 64},
}


def json_variants(good: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(what is wrong, text): the whole file, each field missing, each field of another type, one too many."""
    yield from JSON_TEXTS.items()
    for key in good:
        yield f"without {key}", json.dumps({k: v for k, v in good.items() if k != key})
        for what, value in ODD.items():
            yield f"{key} is {what}", json.dumps({**good, key: value})
    yield "more", json.dumps({**good, "more": 1})


def in_place_of_a_file(path: Path) -> Iterator[str]:
    """What else may be there; left there while the caller looks."""
    path.write_bytes(os.urandom(64))
    yield "bytes"
    path.write_bytes("{}".encode("utf-16"))
    yield "utf-16"
    path.unlink()
    path.mkdir()
    yield "a folder"
    path.rmdir()
    path.symlink_to(path.name)
    yield "a loop"
    path.unlink()
    path.symlink_to("nowhere")
    yield "a link to nowhere"
    path.unlink()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with data, an SFT artifact, samples, a report, a promotion and a store."""
    root = tmp_path_factory.mktemp("damage") / "w"
    base = t.make_model(root.parent / "base")
    result = runner.invoke(APP, ["init", str(root), "--base", str(base), "--set", "project.domain=none"])
    assert result.exit_code == 0, result.stderr
    demos = [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": f"A{i}"}]} for i in (1, 2)
    ]
    file = t.write_jsonl(root.parent / "chats[final].jsonl", demos)
    assert runner.invoke(APP, ["data", "import", str(file), "--name", "chats", "-w", str(root)]).exit_code == 0
    space = Workspace.open(root)
    for stage in ("sft", "samples", "report"):
        folder = space.stage_dir(stage, 1)
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
        write_manifest(folder, stage, {"epochs": 1}, {"base": "0"}, {"eval_loss": 1.0})
    space.promote("sft", 1)
    with Store.open(space.store):
        pass
    return root


def told(root: Path, *verb: str) -> str:
    """Run a verb: it works, or it ends in exit code 2 with one line. Returns stderr and stdout."""
    result = runner.invoke(APP, [*verb, "-w", str(root)])
    said = result.stderr + result.stdout
    assert result.exit_code in (0, 2), f"{verb}: {result.exit_code}\n{said[-3000:]}\n{result.exception!r}"
    assert "Traceback" not in said
    assert "fault of steersman" not in said
    return said


VERBS = (("status",), ("data", "list"), ("promote", "--stage", "sft"), ("rollback",), ("report",), ("next",))


def read(root: Path, name: str) -> None:
    """Read the file as the commands do: it is whole, or a ValueError names it."""
    path, space = root / name, Workspace.open(root)
    try:
        if name == "current.json":
            space.history()
        elif name.startswith("data/"):
            read_info(path.with_name("chats.jsonl"))
        else:
            read_manifest(path.parent)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017


def everywhere(root: Path, path: Path, verbs: tuple[tuple[str, ...], ...] = VERBS) -> None:
    for verb in verbs:
        before = path.read_bytes() if path.is_file() else None
        told(root, *verb)
        if before is not None and not path.exists():
            path.write_bytes(before)  # put aside: damaged again for the next
        for aside in path.parent.glob(f"{path.name}.damaged-*"):
            shutil.rmtree(aside) if aside.is_dir() and not aside.is_symlink() else aside.unlink()
        if verb == ("next",):
            for more in (root / "rounds").glob("00[2-9]"):
                shutil.rmtree(more)


@pytest.mark.parametrize(
    "name",
    [
        "rounds/001/sft/manifest.json",
        "rounds/001/report/manifest.json",
        "data/chats.manifest.json",
        "current.json",
    ],
)
@pytest.mark.parametrize("at_once", [2, pytest.param(len(VERBS), marks=pytest.mark.slow)])
def test_damaged_json_is_named_or_does_no_harm(name: str, at_once: int, whole: Path, tmp_path: Path) -> None:
    """`at_once`: verbs that each damage is shown to, in turns."""
    root = tmp_path / "w"
    shutil.copytree(whole, root, symlinks=True)
    path = root / name
    good = path.read_bytes()
    for what, text in json_variants(json.loads(good)):
        path.write_text(text)
        read(root, name)
        if what.endswith(("is object", "is outside")):
            told(root, "status")
    turns = itertools.cycle(VERBS)
    for text in JSON_TEXTS.values():
        path.write_text(text)
        everywhere(root, path, tuple(itertools.islice(turns, at_once)))
    path.write_bytes(good)
    for _ in in_place_of_a_file(path):
        told(root, "status")
        told(root, "data", "list")


def test_damaged_promotions_are_named(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    entry = json.loads((root / "current.json").read_text())["promoted"][0]
    for key in entry:
        for value in list(ODD.values())[::3]:
            (root / "current.json").write_text(json.dumps({"promoted": [{**entry, key: value}]}))
            told(root, "status")
            told(root, "rollback")
    for path in ("../../etc", "/etc", "", "a\0b", "x" * 5000):
        (root / "current.json").write_text(json.dumps({"promoted": [{**entry, "path": path}, entry]}))
        said = told(root, "rollback")
        assert "current.json" in said or path.startswith("x")


def toml_variants() -> Iterator[str]:
    good = "[serve]\ntemperature = 0.5\n"
    yield from (
        "",
        "[",
        "[serve",
        "serve = 1",
        "[[serve]]",
        "serve = []",
        good[:-5],
        "[nothing]\na = 1",
        "\0",
        "[serve]\nx = 1",
    )
    yield "a = " + "[" * DEEP + "]" * DEEP
    yield "[serve]\nport = " + "9" * 5000
    odd = (
        "nan",
        "inf",
        "-inf",
        "-1.0",
        "1e308",
        '"x"',
        "true",
        "[1]",
        "{a = 1}",
        "1979-05-27",
        str(10**30),
        "-" + "9" * 400,
    )
    for key in (
        "serve.temperature",
        "serve.port",
        "sft.lr",
        "sft.epochs",
        "project.name",
        "ppo.rules",
        "reward.objectives",
    ):
        section, name = key.split(".")
        yield from (f"[{section}]\n{name} = {value}\n" for value in odd)
    yield '[[ppo.rules]]\nrule = "length"\nat_most = ' + str(10**30)
    yield "[reward]\nobjectives = {a = nan}"


def test_damaged_settings_are_named(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    for text in toml_variants():
        (root / CONFIG_NAME).write_text(text)
        said = told(root, "status")
        assert "error:" not in said or CONFIG_NAME in said, text[:80]
    for _ in in_place_of_a_file(root / CONFIG_NAME):
        told(root, "status")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", str(10**400)])
def test_no_number_is_not_a_number(value: str) -> None:
    with pytest.raises(ValueError, match=r"serve.temperature: expected"):
        config_file.with_overrides(config_file.from_dict({}, "x"), [f"serve.temperature={value}"])


@pytest.mark.usefixtures("with_and_without_kernels")
def test_a_damaged_artifact_is_put_aside_and_made_again(whole: Path, tmp_path: Path) -> None:
    """On 0da96d2 the command that the error names ended in the same error."""
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    shutil.rmtree(root / "rounds" / "001")
    settings = ["-s", "sft.epochs=1", "-s", "model.device=cpu", "-s", "model.memory_check=false"]
    told(root, "sft", *settings)
    folder = root / "rounds" / "001" / "sft"
    good = read_manifest(folder).files
    for number, damage in enumerate(("model.safetensors", "config.json", MANIFEST_NAME), 1):
        (folder / damage).write_bytes((folder / damage).read_bytes()[:-9])
        said = told(root, "sft", *settings)
        assert f"{folder / damage}:" in said
        assert f"sft.damaged-{number}; making it again" in said
        assert read_manifest(folder).files == good
    (folder / "model.safetensors").write_bytes(b"")
    assert "to make it again: steersman sft" in told(root, "reward", *settings)
    said = json.loads(told(root, "status", "--json").splitlines()[-1])
    assert said["stages"][0]["put_aside"] == ["sft.damaged-1", "sft.damaged-2", "sft.damaged-3"]
    (root / "data" / "chats.manifest.json").write_text("{")
    assert "--replace" in told(root, "sft", *settings)
    file = root.parent / "again.jsonl"
    shutil.copy(root / "data" / "chats.jsonl", file)
    assert "--replace" in told(root, "data", "import", str(file), "--name", "chats")
    assert "error" not in told(root, "data", "import", str(file), "--name", "chats", "--replace")
    assert (root / "data" / "chats.manifest.json.damaged-1").is_file()
    told(root, "sft", *settings)
    assert read_manifest(folder).files == good


HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x1b[0m \u202egnp.exe [bold]x[/bold] chats[final] \x9b31m"


@pytest.mark.usefixtures("with_and_without_kernels")
def test_nothing_from_data_acts_on_the_terminal(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    assert "chats[final].jsonl" in told(root, "data", "list")
    manifest = root / "data" / "chats.manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "source": HOSTILE, "languages": {HOSTILE: 2}}))
    folder = root / "rounds" / "001" / "sft"
    raw = json.loads((folder / MANIFEST_NAME).read_text())
    write_json(folder / MANIFEST_NAME, {**raw, "notes": [HOSTILE], "metrics": {HOSTILE: 1, "x": 2.0}})
    for verb in (("status",), ("data", "list"), ("status", "--json"), ("data", "list", "--json"), ("sft",)):
        said = told(root, *verb)
        assert terminal.safe(said) == said, verb
    assert "[bold]x[/bold] chats[final]" in told(root, "data", "list")


def test_text_is_made_safe_and_json_stays_what_it_was() -> None:
    assert terminal.safe("a\tb\r\nc\x1b[2J\u202e\u2028 你好 👩‍💻 é") == "a\tb\nc\\x1b[2J\\u202e\\u2028 你好 👩‍💻 é"
    value = {"a": HOSTILE, "b": [1.5, "\u2028", "é"]}
    assert json.loads(terminal.dumps(value)) == value
    assert terminal.safe(terminal.dumps(value)) == terminal.dumps(value)
    assert json.loads(terminal.dumps({"a": float("nan"), "b": [float("inf"), 1]})) == {"a": None, "b": [None, 1]}


def test_no_nan_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": (float("-inf"), 2)})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 2]}


def test_a_settings_file_alone_runs_no_code_of_a_model(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be somebody else's: who runs the command allows it, by --set or the environment."""
    root = tmp_path / "w"
    shutil.copytree(whole, root)
    (root / CONFIG_NAME).write_text('[project]\ndomain = "none"\n[model]\ntrust_remote_code = true\n')
    said = told(root, "status")
    assert f"{root / CONFIG_NAME}: model.trust_remote_code" in said
    assert config_file.TRUST in said
    monkeypatch.setenv(config_file.TRUST, "1")
    assert "error" not in told(root, "status")
    assert Workspace.open(root).config.model.trust_remote_code
    monkeypatch.delenv(config_file.TRUST)
    (root / CONFIG_NAME).write_text('[project]\ndomain = "none"\n')
    assert Workspace.open(root, ("model.trust_remote_code=true",)).config.model.trust_remote_code
    with pytest.raises(ValueError, match=r"made/steersman.toml: model.trust_remote_code"):
        Workspace.create(root / "made", Workspace.open(root, ("model.trust_remote_code=true",)).config)
    assert not (root / "made").exists()
