"""A store of every earlier version becomes one of this version with all that is in it, and a copy is made before."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Boolean, Connection, DateTime, Table, insert, select
from typer.testing import CliRunner

from steersman.cli.framework import build
from steersman.store import Store, Unreachable, copying, migrating, upkeep
from steersman.store.database import Database
from steersman.types import Completion

VERSIONS = [step.version for step in migrating.steps()]
AT = dt.datetime(2026, 1, 31, 9, 30, 0, 125000)


def value(column: Any, row: int, table: Table) -> Any:
    """Something that the column can hold; what refers to another row refers to that of the same number."""
    of = next(iter(column.foreign_keys), None)
    if of is not None and of.column.table is table:
        return None
    kind = column.type
    if isinstance(kind, DateTime):
        return AT.replace(tzinfo=dt.UTC if kind.timezone else None)
    if isinstance(kind, Boolean):
        return bool(row % 2)
    if type(kind).__name__ in ("JSON", "JSONB"):
        return ["词", {"n": row}]
    if kind.python_type in (int, float):
        return kind.python_type(row)
    return str(row) if getattr(kind, "length", None) and kind.length < 12 else f"{row} 词 'x'"[: kind.length or 99]


def fill(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    for table in copying.tables(connection):
        for row in (1, 2):
            connection.execute(insert(table), {c.name: value(c, row, table) for c in table.columns})
    return content(connection)


def content(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    return {
        t.name: [dict(row) for row in connection.execute(select(t).order_by(*t.primary_key.columns)).mappings()]
        for t in copying.tables(connection)
    }


def left_by(url: str, version: str) -> dict[str, list[dict[str, Any]]]:
    """A database as the version left it, with two rows in every table."""
    with contextlib.closing(Database(url, migrate=False)) as database:
        with database.writer.begin() as connection:
            migrating.upgrade(connection, version)
            return fill(connection)


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_every_version_are_kept(empty_store_url: str, tmp_path: Path, version: str) -> None:
    before = left_by(empty_store_url, version)
    assert all(len(rows) == 2 for rows in before.values())
    tried = upkeep.migrate(empty_store_url, tmp_path, keep=False)
    assert (tried.before, tried.after, tried.backup) == (version, VERSIONS[-1], None)
    with contextlib.closing(Database(empty_store_url, migrate=False)) as database:
        assert database.missing()[0] == version, "a dry run changes nothing"
    made = upkeep.migrate(empty_store_url, tmp_path)
    assert [step.version for step in made.steps] == VERSIONS[VERSIONS.index(version) + 1 :]
    with contextlib.closing(Database(empty_store_url)) as database, database.engine.connect() as connection:
        after = content(connection)
        assert migrating.version(connection) == VERSIONS[-1]
    for table, rows in before.items():
        assert [{name: row[name] for name in rows[0]} for row in after[table]] == rows
    if version == VERSIONS[-1]:
        assert made.backup is None
        return
    assert made.backup
    with contextlib.closing(Database(made.backup, migrate=False)) as copy, copy.engine.connect() as connection:
        assert migrating.version(connection) == version
        assert {name: len(rows) for name, rows in content(connection).items()} == dict.fromkeys(before, 2)


def test_a_file_is_copied_before_it_is_migrated_by_opening(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left_by(str(tmp_path / "store.db"), "0002")
    Store.open(tmp_path / "store.db").close()
    kept = tmp_path / "store.schema-0002.db"
    assert kept.stat().st_mode & 0o077 == 0
    assert f"as it was before: {kept}" in capsys.readouterr().err


def test_a_server_of_the_version_before_is_not_taken_by_surprise(postgresql: Any) -> None:
    with postgresql.database("template0") as url:
        left_by(url, "0002")
        with pytest.raises(ValueError, match=r"its schema is 0002.*steersman store migrate"):
            Store.open(url)


def test_a_database_of_bytes_is_refused(postgresql: Any) -> None:
    """Where no language is set up, Debian makes clusters of encoding SQL_ASCII."""
    with postgresql.database("template0 ENCODING 'SQL_ASCII'") as url:
        with pytest.raises(ValueError, match=r"keeps texts as SQL_ASCII; expected UTF8, as createdb --encoding UTF8"):
            Store.open(url)


def test_a_server_that_was_restarted_is_connected_to_anew(postgresql: Any) -> None:
    with postgresql.database() as url, Store.open(url) as store:
        kept = store.create_conversation("before")
        postgresql.stop("immediate")
        with pytest.raises(Unreachable, match="cannot be reached"):
            store.create_conversation("meanwhile")
        postgresql.start()
        store.create_conversation("after")
        assert [chat.title for chat in store.conversations()] == ["after", kept.title]


def said(url: str | Path) -> Any:
    with Store.open(url) as store:
        return [(chat, store.messages(chat.id)) for chat in store.conversations()], list(store.feedback())


def test_a_backup_is_the_same_from_either_database_and_fills_either(store_url: str, tmp_path: Path) -> None:
    with Store.open(store_url) as store:
        chat = store.create_conversation(system_prompt="客气一点。")
        asked = store.add_question(chat.id, "Where is it? 在哪里？")
        told = store.add_answer(asked.id, Completion("Here.", (1,), (-1.0,), "stop", "v"), {"seed": 1, "词": None})
        store.add_feedback(told.id, "edit", edited="在路上。")
    before = said(store_url)
    rows = upkeep.backup(store_url, tmp_path / "copy.db")
    assert (rows["conversations"], rows["messages"], rows["feedback"]) == (1, 2, 1)
    assert said(tmp_path / "copy.db") == before
    with pytest.raises(ValueError, match=r"holds 1 conversations, 2 messages.*--replace"):
        upkeep.restore(store_url, tmp_path / "copy.db", None)
    with Store.open(store_url) as store:
        store.create_conversation("later")
        _, kept = upkeep.restore(store_url, tmp_path / "copy.db", tmp_path / "before.db")
        assert said(store_url) == before
        assert kept
        assert len(said(kept)[0]) == 2
        store.add_question(chat.id, "And now?", told.id)  # numbers go on after those that were brought
        assert len(store.messages(chat.id)) == 3
    assert upkeep.check(store_url).problems == ()


def test_verbs(tmp_path: Path) -> None:
    def run(*args: str) -> Any:
        return CliRunner().invoke(build(), [*args, "-w", str(tmp_path / "w")])

    assert CliRunner().invoke(build(), ["init", str(tmp_path / "w")]).exit_code == 0
    assert "no such file" in run("store", "backup").stderr
    left_by(str(tmp_path / "w" / "store.db"), "0001")
    tried = run("store", "migrate", "--dry-run")
    assert "schema 0001 would be" in tried.output
    checked = run("store", "check")
    assert (checked.exit_code, "expected" in checked.output) == (1, True)
    assert "as it was before" in run("store", "migrate").output
    assert run("store", "backup", str(tmp_path / "copy.db")).exit_code == 0


def test_a_killed_test_run_leaves_no_server(postgresql: Any) -> None:
    code = "import postgres\nwith postgres.running() as one:\n    print(one.folder, flush=True)\n    input()"
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | paths
    ) as run:
        assert run.stdout is not None
        folder = Path(run.stdout.readline().strip())
        server = psutil.Process(int((folder / "data/postmaster.pid").read_text().split()[0]))
        run.kill()
    server.wait(timeout=30)
    end = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
