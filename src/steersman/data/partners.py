"""Which writers of many conversations are the team: those who take part in most of them, where nothing else tells.

Why so: decision 120 in docs/LOG.md.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from steersman.data.formats.mapped_rows import NOBODY
from steersman.data.formats.turns import ROLES
from steersman.data.shelves import database
from steersman.data.speakers import ANYBODY, Speakers, name_key

CHATS = 8
"""Conversations of two sides that are needed."""
TIMES = 3
"""Everybody of the team takes part in so many times as many conversations as any customer."""
ALONE = 0.75
"""Share of the conversations in which one customer alone takes part."""
TEAM = 64
"""People of a team, at most."""
SHOWN = 6
TAKEN = "conversations whose sides were taken from who takes part in several (--speakers says others)"
LOST = "messages that name no writer left out"


@dataclass(frozen=True, slots=True)
class Team:
    """The team's names with the number of conversations of each, of how many in all, and the most of any customer."""

    names: dict[str, int]
    chats: int
    others: int

    @property
    def speakers(self) -> Speakers:
        return Speakers(frozenset((ANYBODY,)), frozenset(map(name_key, self.names)))

    def told(self) -> str:
        listed = ", ".join(f"{name} ({n})" for name, n in [*self.names.items()][:SHOWN])
        more = f" and {len(self.names) - SHOWN} more" if len(self.names) > SHOWN else ""
        return (
            f"{listed}{more} took part in several of {self.chats} conversations and everybody else in {self.others} at "
            "most: read as the team, and the others as customers; otherwise --speakers"
        )


class _Took:
    """Who took part in which conversation, on disk."""

    def __init__(self, pairs: Iterable[tuple[int | str, str]]) -> None:
        self._base = database(self)
        self._base.execute("CREATE TABLE took (chat, name, PRIMARY KEY (chat, name)) WITHOUT ROWID")
        self._base.executemany("INSERT OR IGNORE INTO took VALUES (?, ?)", pairs)
        self._base.execute("DELETE FROM took WHERE chat IN (SELECT chat FROM took GROUP BY chat HAVING count(*) = 1)")

    def count(self) -> int:
        return int(self._base.execute("SELECT count(DISTINCT chat) FROM took").fetchone()[0])

    def most(self) -> list[tuple[str, int]]:
        found = self._base.execute(
            "SELECT name, count(*) AS n FROM took GROUP BY name ORDER BY n DESC, name LIMIT ?", (TEAM + 1,)
        )
        return [(str(name), int(n)) for name, n in found]

    def apart(self, names: list[str]) -> tuple[int, int]:
        """(conversations without any of `names`, conversations in which one other alone takes part)."""
        marks = ",".join("?" * len(names))
        counts = f"SELECT sum(name IN ({marks})) AS team, count(*) AS every FROM took GROUP BY chat"
        found = self._base.execute(f"SELECT sum(team = 0), sum(every - team = 1) FROM ({counts})", names).fetchone()
        return int(found[0]), int(found[1])


def team_of(pairs: Iterable[tuple[int | str, str]]) -> Team | None:
    """The team among (conversation, writer); None where the conversations do not tell.

    They tell where somebody of the team takes part in each, in most one other person does, and each of the team takes
    part in `TIMES` as many as any other.
    """
    took = _Took(pairs)
    chats, most = took.count(), took.most()
    if chats < CHATS:
        return None
    for size in range(1, len(most)):
        least, next_one = most[size - 1][1], most[size][1]
        if least < TIMES * next_one:
            continue
        without, alone = took.apart([name for name, _ in most[:size]])
        if not without:
            return Team(dict(most[:size]), chats, next_one) if alone >= ALONE * chats else None
    return None


def settle(base: sqlite3.Connection, notes: Counter[str], named: bool) -> None:
    """Give the gathered rows of a message each (`said`) a side, where none of them has one and `team_of` tells.

    `named`: the user says who is who.
    """
    roles = base.execute("SELECT DISTINCT role FROM said")
    if named or any(role.casefold() in ROLES or role.startswith("by ") for (role,) in roles):
        return
    people = base.execute("SELECT grp, role FROM said WHERE role != ?", (NOBODY,))
    if (team := team_of(people)) is None:
        return
    left = base.execute("DELETE FROM said WHERE role = ?", (NOBODY,)).rowcount
    marks = ",".join("?" * len(team.names))
    base.execute(f"UPDATE said SET role = iif(role IN ({marks}), 'assistant', 'user')", [*team.names])
    notes[LOST] += left
    notes[f"{TAKEN}: {team.told()}"] += team.chats
