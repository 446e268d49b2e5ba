"""People's rankings, chats and feedback in one SQL database (SQLite, or PostgreSQL by URL).

    store = Store.open(workspace.store)
    store.add_candidates(round=1, items=candidates)
    task = store.next_task("ann")
    store.add_ranking(task.id, ranks=[2, 1, 1, 4], labeler="ann")

Every method is one short transaction, so several threads and processes may write at the same time. The methods that
return an iterator read page by page and hold no lock in between: writing while iterating is allowed.
Errors are `StoreError`s, which are ValueErrors; `NotFound` is one of them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from sqlalchemy import select

from steersman.parts import Citation, Image, Said
from steersman.store import by_day, chats, copying, desk_labels, erasing, owning, ranking_tasks
from steersman.store import votes as voting
from steersman.store.accounts import Accounts
from steersman.store.audit_log import AuditLog
from steersman.store.chat_records import Chat, ChatMessage
from steersman.store.chats import Reaction, new_id
from steersman.store.credentials import Credentials
from steersman.store.database import Database
from steersman.store.desk import Desk
from steersman.store.desk_labels import Flagged
from steersman.store.duels import Duels
from steersman.store.kept_chats import Shelf
from steersman.store.owned import Owned
from steersman.store.ranking_tasks import RankingSubmission, RankingTask
from steersman.store.refusals import (
    Deleted,
    DiskError,
    NotFound,
    NotLearned,
    NotYours,
    Outdated,
    StoreError,
    Unreachable,
)
from steersman.store.responses import Responses
from steersman.store.said import without_named
from steersman.store.votes import Vote
from steersman.types import Candidates, Completion, Conversation, Feedback, Grade, Ranking

__all__ = [
    "Chat",
    "ChatMessage",
    "Deleted",
    "DiskError",
    "NotFound",
    "NotLearned",
    "NotYours",
    "Outdated",
    "RankingTask",
    "Reaction",
    "Store",
    "StoreError",
    "Unreachable",
    "Vote",
    "new_id",
]


class Store:
    """An open store. Thread-safe. Close it, or use it in a `with` statement."""

    def __init__(self, database: Database, objective: str | None = None) -> None:
        self._db, self.objective = database, objective
        self.accounts, self.credentials, self.audit = Accounts(database), Credentials(database), AuditLog(database)
        self.desk = Desk(database, objective)
        self.shelf, self.duels = Shelf(database), Duels(database)
        self.owned = Owned(database)
        """All that one user owns."""
        self.responses = Responses(database)
        """Of `/v1/responses`."""

    @classmethod
    def open(cls, path_or_url: str | Path, objective: str | None = None) -> Store:
        """Open or create the database and bring its schema up to date.

        New rankings are by `objective` ('': overall), and tasks not yet ranked by it are pending. None: new rankings
        are overall, and rankings by any objective are read.
        ValueError where the folder is missing, the file is not a database, or a newer Steersman wrote it.
        """
        if objective is not None:
            objective = ranking_tasks.clean_objective(objective)
        return cls(Database(path_or_url), objective)

    def close(self) -> None:
        self._db.close()

    def backup(self, target: Path) -> None:
        """Write everything, as it is now, to one SQLite file, while others write. Whole or not at all."""
        target.parent.mkdir(parents=True, exist_ok=True)
        copying.write_copy(self._db, target)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Raises the database's error where it cannot be read."""
        with self._db.read() as session:
            session.execute(select(1))

    # Ranking

    def add_candidates(self, round: int, items: Iterable[Candidates]) -> int:
        """Add ranking tasks; returns how many were new.

        A task that the round already has (same prompt, answers and policy versions) is not added again.
        All are added or, on an error, none.
        """
        values = [ranking_tasks.task_values(ranking_tasks.to_round(round), item) for item in items]
        with self._db.write() as session:
            return ranking_tasks.add_tasks(session, values)

    def next_task(self, labeler: str, round: int | None = None) -> RankingTask | None:
        """The task with the fewest people's rankings that `labeler` has neither ranked nor skipped, or None.

        Asked again without an answer, it is the same task in the same order.
        """
        with self._db.read() as session:
            return ranking_tasks.next_task(session, labeler, round, self.objective)

    def task(self, task_id: str, labeler: str | None = None) -> RankingTask:
        """One task, with the keys that `labeler` sees where one is named. Raises NotFound, and NotYours where the desk
        keeps it for others."""
        with self._db.read() as session:
            if labeler is not None:
                ranking_tasks.check_for(session, task_id, labeler)
            return ranking_tasks.get_task(session, task_id, labeler)

    def tasks(self, round: int | None = None, *, not_ranked_by: str | None = None) -> Iterator[RankingTask]:
        """All tasks in the order in which they were added, without those that `not_ranked_by` has ranked."""
        after = 0
        while True:
            with self._db.read() as session:
                rows = ranking_tasks.task_page(session, round, after, not_ranked_by)
            if not rows:
                return
            after = rows[-1].seq
            yield from ranking_tasks.to_tasks(rows)

    def add_ranking(
        self,
        task_id: str,
        *,
        ranks: Sequence[int] | None = None,
        grades: Sequence[Grade] | None = None,
        all_bad: bool = False,
        labeler: str,
        simulated: bool = False,
        seconds: float | None = None,
        flags: Sequence[Flagged] = (),
    ) -> Ranking:
        """Record `labeler`'s ranking of a task, one rank (1 is best) or grade per answer in stored order.

        With `all_bad`, ranks and grades may be left out; the Ranking then says that every answer is poor.
        A second submission for the same task is kept beside the first; the latest counts. `seconds` is how long the
        labeler looked, `flags` what is wrong with single answers. Raises NotFound, or StoreError where the ranking
        does not fit the task.
        """
        with self._db.write() as session:
            said = RankingSubmission(labeler, ranks, grades, all_bad, simulated, seconds, self.objective or "")
            ranking = ranking_tasks.add_ranking(session, task_id, said)
            desk_labels.add_flags(session, task_id, labeler, flags)
            return ranking

    def skip_task(self, task_id: str, labeler: str, reason: str = "", flags: Sequence[Flagged] = ()) -> None:
        """Do not offer this task to `labeler` again. Raises NotFound."""
        with self._db.write() as session:
            ranking_tasks.add_skip(session, task_id, labeler, reason)
            desk_labels.add_flags(session, task_id, labeler, flags)

    def rankings(
        self, round: int | None = None, simulated: bool | None = None, *, overruled: bool = False
    ) -> Iterator[Ranking]:
        """Each labeler's latest ranking of each task by each objective.

        In the order of tasks, people before judges, then by labeler's name and objective. Where a manager decided,
        that ranking alone, which names those it overrules; with `overruled` these too.
        """
        after = 0
        while True:
            with self._db.read() as session:
                rows = ranking_tasks.task_page(session, round, after, None)
                page = list(ranking_tasks.rankings_of(session, rows, simulated, overruled))
            if not rows:
                return
            after = rows[-1].seq
            yield from page

    def ranking_progress(self, round: int | None = None) -> dict[str, Any]:
        """{tasks, ranked, by_labeler, simulated}: tasks in all, tasks that at least one person ranked,
        {person: tasks}, and tasks that a simulated judge ranked."""
        with self._db.read() as session:
            return ranking_tasks.progress(session, round, self.objective)

    # Chat

    def create_conversation(self, title: str = "", system_prompt: str = "", *, owner: str = "") -> Chat:
        """A new chat of the user `owner`; without a title it takes its first question's."""
        with self._db.write() as session:
            return chats.create(session, title, system_prompt, owner)

    def conversations(self, owners: Collection[str] | None = None) -> list[Chat]:
        """All chats, or those of some users ('': begun without accounts), the last used first."""
        with self._db.read() as session:
            return chats.list_chats(session, owners)

    def check_owner(self, kind: Literal["conversation", "message"], id: str, owners: Collection[str]) -> None:
        """NotFound, in the words for what does not exist, where the chat or message is another's."""
        with self._db.read() as session:
            owning.check_owner(session, kind, id, owners)

    def conversation(self, id: str) -> Chat:
        with self._db.read() as session:
            return chats.get(session, id)

    def delete_conversation(self, id: str) -> list[Image]:
        """Delete a chat with its messages and the feedback on them, for good.

        Returns the images that nothing else in the store names; their files are not the store's (`artifact.media`).
        """
        with self._db.write() as session:
            images = chats.remove(session, id)
        self._db.deleted()
        return images

    def shows(self, path: str, owners: Collection[str], *, tasks: bool) -> bool:
        """Whether a message in a chat of these users, or with `tasks` a ranking task, names the image."""
        with self._db.read() as session:
            return owning.shows(session, path, owners, tasks)

    def without_named(self, images: Iterable[Image]) -> list[Image]:
        """The subset of `images` that no message and no ranking task names."""
        with self._db.read() as session:
            return without_named(session, images)

    def messages(self, conversation_id: str) -> list[ChatMessage]:
        """Every message of a chat's tree in the order of creation, each with the latest feedback on it."""
        with self._db.read() as session:
            return chats.messages(session, conversation_id)

    def message(self, id: str) -> ChatMessage:
        with self._db.read() as session:
            return chats.message(session, id)

    def dialogue(self, conversation_id: str, last_id: str | None) -> Conversation:
        """The turns from the start down to message `last_id`, the system prompt first where there is one.

        An answer that a person edited appears with the person's text."""
        with self._db.read() as session:
            return chats.dialogue(session, conversation_id, last_id)

    def check_parent(self, conversation_id: str, parent_id: str | None) -> None:
        """Raises unless a question may be asked there: after an answer of this chat, or first (None)."""
        with self._db.read() as session:
            chats.check_parent(session, conversation_id, parent_id)

    def add_question(
        self,
        conversation_id: str,
        content: str | Sequence[Said],
        parent_id: str | None = None,
        *,
        known: int | None = None,
    ) -> ChatMessage:
        """A user's message after the answer `parent_id`; a second one after the same answer is an alternative.

        Outdated where the chat has not `known` questions there: it went on elsewhere since the caller looked.
        """
        with self._db.write() as session:
            return chats.add_question(session, conversation_id, content, parent_id, known)

    def add_answer(
        self,
        parent_id: str,
        completion: Completion,
        sampling: Mapping[str, Any] | None = None,
        id: str | None = None,
        citations: Sequence[Citation] = (),
    ) -> ChatMessage:
        """An answer to the question `parent_id`. `id` may be chosen beforehand with `new_id`.

        Where `keep_part` has stored a part of it, that becomes the whole."""
        with self._db.write() as session:
            return chats.add_answer(session, parent_id, completion, sampling or {}, id, citations)

    def keep_part(
        self, id: str, parent_id: str, text: str, policy_version: str, sampling: Mapping[str, Any] | None = None
    ) -> None:
        """Store the text so far of the answer `id` to the question `parent_id`, so that it survives a crash."""
        with self._db.write() as session:
            chats.keep_part(session, id, parent_id, text, policy_version, sampling or {})

    def add_feedback(
        self, message_id: str, kind: Reaction, *, edited: str | None = None, comment: str = "", user: str = ""
    ) -> ChatMessage:
        """Record a like, a dislike, an edit (with the better text) or a wish for another answer.

        "clear" takes a like or dislike back, "withdraw" an edit. Returns the answer with the feedback that now holds.
        """
        with self._db.write() as session:
            return chats.add_feedback(session, message_id, kind, edited, comment, user)

    def records(self, *, by: str | None = None, ids: Collection[str] = (), chat: str | None = None) -> list[str]:
        """Ids of all feedback and rankings, those that no longer count included; or of a person's, of these ids'
        (records, answers or ranking tasks), or of a chat's."""
        with self._db.read() as session:
            return erasing.records(session, by, ids, chat)

    def standing(self, records: Collection[str]) -> list[str]:
        """Those of the records that count: neither taken back nor replaced by what the same person said later."""
        with self._db.read() as session:
            return erasing.standing(session, records)

    def erase(self, records: Collection[str]) -> int:
        """Delete feedback and rankings for good, with what the same person said before of the same, which would hold
        again; returns how many rows. Unknown ids are no error."""
        with self._db.write() as session:
            gone = erasing.erase(session, records)
        self._db.deleted()
        return gone

    def feedback(self, kinds: Collection[str] | None = None) -> Iterator[Feedback]:
        """Valid feedback in order: per user and answer the last like or dislike, the last edit, and every regeneration.
        `answer` is the text that the feedback is about, `prompt` the dialogue with present edits; see
        `store.standing`. After the chats' comes what the labeling desk collected as edits, flags and votes."""
        wanted = chats.check_kinds(kinds)
        after: int | None = 0
        while after is not None:
            with self._db.read() as session:
                page, after = chats.feedback_page(session, wanted, after)
            yield from page
        yield from self.desk.feedback(wanted)

    def said_by_day(self, days: int, east: int = 0) -> list[dict[str, Any]]:
        """Feedback and rankings counted by day; see `by_day`."""
        with self._db.read() as session:
            return by_day.said_by_day(session, days, east)

    def chats_counted(self, days: int) -> tuple[int, int]:
        """All chats, and those written in within the last days."""
        with self._db.read() as session:
            return by_day.chats_counted(session, days)

    def votes(self, since: dt.datetime) -> list[Vote]:
        """One vote for each chat begun since then in which an answer was judged, in the order of judging."""
        with self._db.read() as session:
            return voting.votes(session, since)
