"""The database under the store: migrations, concurrency, files that are no database."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from steersman.store import Store, chats
from steersman.store.database import Database
from steersman.store.migrating import MIGRATIONS
from steersman.store.schema import Base
from steersman.types import Candidates, Completion, Conversation, Message


def candidates(i: int) -> Candidates:
    prompt = Conversation(f"p{i}", (Message("user", f"question {i}"),))
    return Candidates(prompt, tuple(Completion(f"{i}.{j}", (), (), "stop", "v") for j in range(2)))


def test_migrations_make_exactly_the_schema(store_url: str) -> None:
    database = Database(store_url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def as_left_by(path: Path, revision: str) -> None:
    """Take the schema back to what an older version knew."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    database = Database(path)
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    database.close()


@pytest.mark.sqlite("a file is migrated when it is opened")
def test_rankings_of_an_older_version_are_kept_on_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        store.add_candidates(1, [candidates(0)])
        (task,) = store.tasks()
        store.add_ranking(task.id, ranks=[1, 2], labeler="ann")
        kept = list(store.rankings())
    as_left_by(path, "0001")
    with Store.open(path) as store:
        assert list(store.rankings()) == kept
        assert "objective" not in kept[0].to_json()


@pytest.mark.sqlite("URLs of files")
def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        store.add_candidates(1, [candidates(0)])
    with Store.open(str(path)) as store, Store.open(f"sqlite:///{path}") as second:
        assert len(list(store.tasks())) == len(list(second.tasks())) == 1


def test_sqlite_settings(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.db")
    assert database.pragma("journal_mode") == "wal"
    assert database.pragma("foreign_keys") == 1
    assert database.pragma("busy_timeout") == 30_000
    database.close()


def test_a_failed_write_leaves_nothing(store_url: str) -> None:
    with Store.open(store_url) as store:

        def fail() -> None:
            with store._db.write() as session:
                chats.create(session, "half", "")
                session.flush()
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()
        assert store.conversations() == []


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("these are notes, and long enough to be more than a header of a database " * 20)
    with pytest.raises(ValueError, match=r"notes\.db cannot be opened: .*not a database"):
        Store.open(text)
    with pytest.raises(ValueError, match=r"the folder .*missing does not exist"):
        Store.open(tmp_path / "missing" / "store.db")
    with pytest.raises(ValueError, match="a database in memory is lost"):
        Store.open("sqlite://")
    with pytest.raises(ValueError, match="store: Could not parse"):
        Store.open("://")


@pytest.mark.sqlite("a file is migrated when it is opened")
def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match="written by a newer version of Steersman"):
        Store.open(path)


def test_eight_threads_write_at_once(store_url: str) -> None:
    with Store.open(store_url) as store:
        store.add_candidates(1, [candidates(i) for i in range(20)])
        tasks = list(store.tasks())
        conversation = store.create_conversation()
        barrier = threading.Barrier(8)

        def work(worker: int) -> None:
            barrier.wait()
            for i, task in enumerate(tasks):
                store.add_ranking(task.id, ranks=[1, 2], labeler=f"labeler {worker}")
                asked = store.add_question(conversation.id, f"question {worker}.{i}")
                store.add_answer(asked.id, Completion("yes", (), (), "stop", "v"))
                store.next_task(f"labeler {worker}")

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, i) for i in range(8)]:
                done.result()
        assert len(list(store.rankings())) == 160
        assert len(store.messages(conversation.id)) == 320
        assert store.ranking_progress()["by_labeler"] == {f"labeler {i}": 20 for i in range(8)}


def _write_from_a_process(path: str, worker: int) -> None:
    with Store.open(path) as store:
        store.add_candidates(1, [candidates(i) for i in range(10)])
        for task in store.tasks():
            store.add_ranking(task.id, ranks=[2, 1], labeler=f"process {worker}")


def test_processes_create_and_fill_one_store(empty_store_url: str) -> None:
    path = empty_store_url
    start = multiprocessing.get_context("spawn")
    workers = [start.Process(target=_write_from_a_process, args=(path, i)) for i in range(3)]
    for process in workers:
        process.start()
    for process in workers:
        process.join(60)
    assert [process.exitcode for process in workers] == [0, 0, 0]
    with Store.open(path) as store:
        assert len(list(store.tasks())) == 10
        assert len(list(store.rankings())) == 30


@pytest.mark.sqlite("a file is migrated when it is opened")
def test_chats_of_an_older_version_are_kept_word_for_word(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        chat = store.create_conversation(system_prompt="Be kind. 请友善。")
        asked = store.add_question(chat.id, "Where is it? 在哪里？")
        told = store.add_answer(asked.id, Completion("  Here.\n", (1, 2), (-1.0, -1.0), "stop", "v"), {"seed": 1})
        store.add_feedback(told.id, "edit", edited="On its way. 在路上。")
        store.add_feedback(told.id, "like")
        kept = store.messages(chat.id), store.dialogue(chat.id, told.id), list(store.feedback())
    as_left_by(path, "0002")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM messages ORDER BY seq").fetchall()
    with Store.open(path) as store:
        assert (store.messages(chat.id), store.dialogue(chat.id, told.id), list(store.feedback())) == kept
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert [row[:-1] for row in connection.execute("SELECT * FROM messages ORDER BY seq")] == rows
        assert connection.execute("SELECT count(*) FROM messages WHERE parts IS NOT NULL").fetchone() == (0,)
