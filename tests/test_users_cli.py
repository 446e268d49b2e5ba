"""`steersman users`: each verb, and what it says where it cannot."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from steersman.cli.framework import build
from steersman.store import Store
from steersman.store.roles import Role
from steersman.types import Completion


@pytest.fixture
def run(tmp_path: Path) -> Any:
    root = tmp_path / "w"
    made = ["init", str(root), "--set", "project.domain=none", "--set", "accounts.public_url=https://chat.example/a"]
    assert CliRunner().invoke(build(), made).exit_code == 0

    def run(*args: str, code: int = 0) -> Any:
        done = CliRunner().invoke(build(), ["users", *args, "-w", str(root), *(["--json"] if code == 0 else [])])
        assert done.exit_code == code, done.output + done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    run.store = lambda: Store.open(root / "store.db")  # type: ignore[attr-defined]
    return run


def token_of(told: dict[str, Any]) -> str:
    place, _, token = told["link"].partition("#invitation=")
    assert place == "https://chat.example/a/login"
    return str(token)


def test_from_nobody_to_a_team(run: Any) -> None:
    assert run("list") == {"users": []}
    ada = run("add", "ada", "--role", "admin")
    assert (ada["role"], ada["joined"], ada["disabled"]) == ("admin", False, False)
    with run.store() as store:
        assert store.accounts.accept(token_of(ada), "", "hash").name == "ada"
    ben = run("add", " Ben 本 ")
    assert (ben["name"], ben["role"]) == ("Ben 本", "chatter")
    assert run("role", "BEN 本", "--role", "manager")["role"] == "manager"
    assert run("disable", "ben 本")["disabled"] is True
    assert run("disable", "ben 本", "--enable")["disabled"] is False
    anybody = run("invite", "--role", "labeler")
    with run.store() as store:
        assert store.accounts.accept(token_of(anybody), "lea", "hash").role is Role.LABELER
        store.credentials.begin(store.accounts.named("lea").id, 1)
        store.credentials.add_key(store.accounts.named("lea").id, "program", ["label"])
    again = run("reset", "lea")
    assert (again["keys_revoked"], again["keys_left"]) == (0, 1)
    again = run("reset", "lea", "--keys")
    assert (again["keys_revoked"], again["keys_left"]) == (1, 0)
    with run.store() as store:
        assert store.accounts.password("lea") is None
        store.accounts.accept(token_of(again), "", "another")
        key, secret = store.credentials.add_key(store.accounts.named("lea").id, "program", ["label"])
    assert [(one["prefix"], one["name"]) for one in run("keys", "lea")["keys"]] == [(key.prefix, "program")]
    assert run("keys", "lea", "--revoke", key.prefix) == {"keys": []}
    with run.store() as store:
        assert store.credentials.key(secret) is None
        actions = [entry.action for entry in store.audit.page()]
    assert actions[::-1] == [
        *("user added", "user added", "role changed", "user disabled", "user enabled"),
        *("invited", "password reset", "password reset", "key revoked"),
    ]
    shown = [(user["name"], user["role"], user["joined"]) for user in run("list")["users"]]
    assert shown == [("ada", "admin", True), ("Ben 本", "manager", False), ("lea", "labeler", True)]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["add", "ada"], "there is a user 'ada' already"),
        (["add", "ＡＤＡ"], "there is a user 'ＡＤＡ' already"),
        (["add", "x", "--role", "boss"], "role: expected one of chatter, labeler, manager, admin, got 'boss'"),
        (["add", " "], "name: expected some text"),
        (["add", "a\nb"], "name: expected printable characters on one line"),
        (["add", "x" * 101], "name: expected at most 100 characters"),
        (["add", "a\x1b[2Jb"], "name: expected printable"),
        (["role", "nobody", "--role", "admin"], "no user 'nobody'; steersman users list"),
        (["role", "ada", "--role", "chatter"], "expected one admin to remain"),
        (["disable", "ada"], "expected one admin to remain"),
        (["disable", "nobody"], "no user 'nobody'"),
        (["reset", "nobody"], "no user 'nobody'"),
        (["invite", "--role", "boss"], "role: expected one of"),
        (["keys", "nobody"], "no user 'nobody'"),
        (["keys", "ada", "--revoke", "sk-00000000"], "ada has no key that begins with 'sk-00000000'"),
        (["export", "nobody"], "no user 'nobody'"),
        (["delete", "nobody", "--yes"], "no user 'nobody'"),
        (["delete", "ada", "--yes"], "expected one admin to remain"),
        (["list", "x"], "unexpected extra argument"),
        (["add"], "Missing argument"),
    ],
)
def test_errors(run: Any, args: list[str], told: str) -> None:
    run("add", "ada", "--role", "admin")
    said = run(*args, code=2)
    assert told in said
    assert "Traceback" not in said
    assert "\x1b" not in said


def test_export_and_delete(run: Any, tmp_path: Path) -> None:
    run("add", "ada", "--role", "admin")
    run("add", "ben/../x")
    with run.store() as store:
        ben = store.accounts.named("ben/../x").id
        chat = store.create_conversation("mine", owner=ben)
        answer = store.add_answer(store.add_question(chat.id, "q").id, Completion("a", (1,), (0.0,), "stop", "v"))
        store.add_feedback(answer.id, "like", user=ben)
    made = run("export", "ben/../x")
    assert Path(made["file"]) == tmp_path / "w/exports/ben_x.zip"
    assert (made["held"]["chats"], made["held"]["feedback"]) == (1, 1)
    with zipfile.ZipFile(made["file"]) as file:
        assert json.loads(file.read("everything.json"))["chats"][0]["title"] == "mine"
    assert Path(made["file"]).stat().st_mode & 0o077 == 0
    assert "exists already" in run("export", "ben/../x", code=2)
    asked = run("delete", "ben/../x", code=2)
    assert "1 chats" in asked
    assert "1 piece of feedback that no round has learned" in asked
    assert "expected --yes" in asked
    gone = run("delete", "ben/../x", "--yes")
    assert (gone["not_learned"], gone["held"]["messages"]) == (1, 2)
    assert [user["name"] for user in run("list")["users"]] == ["ada"]
