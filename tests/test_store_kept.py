"""Accounts in backups of either database; and what a kill amid `store restore` or `store migrate` leaves."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steersman.store import Store, migrating, upkeep
from steersman.store.database import Database
from steersman.store.roles import Role
from test_store_migrations import content, left_by

KILLS = 20


def team_in(url: str | Path) -> tuple[str, str]:
    """(a session's token, a key's secret)"""
    with Store.open(url) as store:
        ada = store.accounts.add("ada", Role.ADMIN)
        store.accounts.set_password(ada.id, "$argon2id$hash")
        store.accounts.invite(Role.LABELER, by=ada.id)
        store.credentials.spent(ada.id, 7)
        store.audit.add(ada.id, "signed in", address="203.0.113.5")
        store.create_conversation("我的", owner=ada.id)
        return store.credentials.begin(ada.id, 1), store.credentials.add_key(ada.id, "p", ["chat"])[1]


def check_team(url: str | Path, session: str, key: str) -> None:
    with Store.open(url) as store:
        ada = store.accounts.named("ADA")
        assert store.accounts.password("ada") == (ada.id, "$argon2id$hash")
        for shown in (store.credentials.session(session), store.credentials.key(key)):
            assert shown is not None
            assert (shown.user, shown.tokens_today) == (ada, 7)
        assert len(store.accounts.invitations()) == len(store.audit.page()) == 1
        assert [chat.title for chat in store.conversations([ada.id])] == ["我的"]
        store.accounts.add("ben", Role.CHATTER)  # numbers go on after those that were brought
        store.audit.add(ada.id, "user added")
    assert upkeep.check(url).problems == ()


def test_accounts_go_from_either_database_into_either(store_url: str, tmp_path: Path, postgresql: Any) -> None:
    session, key = team_in(store_url)
    file = tmp_path / "copy.db"
    rows = upkeep.backup(store_url if "://" in store_url else Path(store_url), file)
    assert (rows["users"], rows["sessions"], rows["api_keys"], rows["audit"]) == (1, 1, 1, 1)
    assert "ada" not in file.read_bytes()[:100].decode("latin-1")
    check_team(store_url, session, key)
    with postgresql.database() as empty:
        for target in (str(tmp_path / "other.db"), empty):
            restored, before = upkeep.restore(target, file, None)
            assert (restored["users"], before) == (1, None)
            check_team(target, session, key)
            with pytest.raises(ValueError, match=r"holds .*2 users.*expected an empty one, or --replace"):
                upkeep.restore(target, file, None)
            kept = tmp_path / f"before-{len(target)}.db"
            assert upkeep.restore(target, file, kept)[1] == kept
            check_team(target, session, key)


def killed(act: Callable[[], object], after: float) -> bool:
    """Whether a process of its own was killed before it had done it."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    time.sleep(after)  # the moment of the kill
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
    return os.WIFSIGNALED(status)


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_kill_amid_a_restore_leaves_the_store_whole(tmp_path: Path) -> None:
    place, file = tmp_path / "store.db", tmp_path / "copy.db"
    titles = {}
    for target, title in ((file, "new"), (place, "old")):
        with Store.open(target) as store:
            for n in range(150):
                chat = store.create_conversation(f"{title} {n}")
                store.add_question(chat.id, title * 20)
            titles[title] = sorted(chat.title for chat in store.conversations())
    before = (upkeep.new_backup(tmp_path / f"at-{n}") for n in range(10**6))
    long = seconds(lambda: upkeep.restore(place, file, next(before)))
    lots, cut = random.Random(7), 0
    for n in range(KILLS):
        source, other = (file, "new") if n % 2 else (next((tmp_path / "at-0").rglob("*.db")), "old")
        kept = next(before)
        cut += killed(lambda source=source, kept=kept: upkeep.restore(place, source, kept), lots.uniform(0, long * 1.1))  # type: ignore[misc]
        with Store.open(place) as store:
            now = sorted(chat.title for chat in store.conversations())
        assert now in titles.values(), f"kill {n}: neither what was there nor {other}"
        assert upkeep.check(place).problems == ()
        if kept.exists():
            with Store.open(kept) as store:
                assert sorted(chat.title for chat in store.conversations()) in titles.values()
    assert cut, "no kill came amid the work"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_kill_amid_a_migration_leaves_the_store_whole(tmp_path: Path) -> None:
    first = migrating.steps()[0].version
    rows: dict[str, Any] = {}

    def fresh(n: int) -> Path:
        place = tmp_path / str(n) / "store.db"
        place.parent.mkdir()
        rows[str(n)] = left_by(str(place), first)
        return place

    place = fresh(0)
    long = seconds(lambda: upkeep.migrate(place, tmp_path))
    lots, cut, states = random.Random(7), 0, set()
    for n in range(1, KILLS + 1):
        place = fresh(n)
        cut += killed(lambda place=place: upkeep.migrate(place, place.parent), lots.uniform(0, long))  # type: ignore[misc]
        with contextlib.closing(Database(place, migrate=False)) as database:
            found = database.missing()[0]
            with database.engine.connect() as connection:
                there = content(connection)
        states.add(found)
        assert found in (first, migrating.head()), "half of the steps"
        for table, before in rows[str(n)].items():
            assert [{name: row[name] for name in before[0]} for row in there[table]] == before
        upkeep.migrate(place, place.parent)
        assert upkeep.check(place).schema == migrating.head()
    assert cut
    assert first in states, "no kill came before the end"
