"""The rules by which what people said becomes training data. Pure functions over records of the store.

    record                                  becomes
    dialogue written at the desk            a demonstration
    edit                                    a demonstration, and a preference of the edit over the answer
    ranking or vote                         comparisons
    regeneration, then another liked        a preference of the liked answer over the one it replaced
    like, dislike                           a label of one answer, unless an edit or such a preference says the same
    flag                                    a label 'poor'; a flagged answer is never a target, and one flagged as
                                            private is not learned from at all

A target is a demonstration, a preferred answer or one labelled good. Each record is used by one rule, or dropped with
a reason. Likes and dislikes are learned by KTO (`train/preference.py`) or by the reward model's binary loss.

Why so: decision 67 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from steersman.data.clean import bare
from steersman.data.formats.turns import split_thoughts
from steersman.store.refusals import shows
from steersman.store.standing import corrected
from steersman.types import Conversation, Feedback, Grade, Ranking

EDIT, PREFERENCE, LABEL, RANKING, FLAG = "edit", "regenerate-then-like", "label", "ranking", "flag"
DEMONSTRATION = "demonstration"
SAID_BY_EDIT = "an edit of the same answer says it"
RULES = (DEMONSTRATION, EDIT, PREFERENCE, LABEL, RANKING, FLAG)
PRIVATE = "private"
"""The flag of an answer that holds what nobody may learn, be it as a bad example."""
KIND_RULES = {"edit": EDIT, "regenerate": PREFERENCE, "like": LABEL, "dislike": LABEL, "flag": FLAG}


@dataclass(frozen=True)
class Learned:
    """What one record became. With `why` it is dropped, and nothing was made of it."""

    id: str
    kind: str
    rule: str
    by: str
    created: str
    versions: tuple[str, ...] = ()
    """Policy versions of the answers that it is about."""
    why: str = ""
    demonstrations: tuple[Conversation, ...] = ()
    comparisons: tuple[Ranking, ...] = ()
    """Rankings with at least one pair."""
    labels: tuple[Ranking, ...] = ()
    """Rankings of a single answer."""
    simulated: bool = field(default=False, kw_only=True)
    reason: bool = field(default=False, kw_only=True)
    """Whether the person said why; the words stay in the store."""
    thoughts: bool = field(default=False, kw_only=True)
    """Whether thoughts in an edit were left out."""
    flagged: int = field(default=0, kw_only=True)
    """Flagged answers that were left out of a ranking in which they beat others."""

    def dropped(self, why: str) -> Learned:
        return replace(self, why=why, demonstrations=(), comparisons=(), labels=())


def apply_rules(
    said: Sequence[Feedback], rankings: Iterable[Ranking], versions: Mapping[str, tuple[str, ...]]
) -> list[Learned]:
    """One entry per record, in the order given, feedback first. `versions`: those of a ranking task's answers."""
    context = _Context(said)
    ranked = [_of_ranking(one, versions.get(message_of(one.id), ()), context) for one in rankings]
    return [_of_feedback(one, context) for one in said] + ranked


def of_demonstration(record: str, by: str, created: str, written: Conversation) -> Learned:
    """A dialogue that somebody wrote at the desk."""
    versions = tuple(written.meta.get("suggested_by", ()))
    return Learned(record, DEMONSTRATION, DEMONSTRATION, by, created, versions, demonstrations=(written,))


def of_unflagged(record: str, by: str, created: str) -> Learned:
    """A look for problems that found none: the answer may still be no good one."""
    return Learned(record, "flag", FLAG, by, created).dropped("nothing wrong was found with the answer")


def _asked(prompt: Conversation) -> tuple[tuple[str, str], ...]:
    return tuple((m.role, m.spelled) for m in prompt.messages)


def message_of(record: str) -> str:
    """The answer, or ranking task, that a record is about: its id without the number at the end."""
    return record.rpartition("-")[0]


def record_of(made: str) -> str:
    """The record that a line of training data was made of: edit-RECORD, desk-RECORD, in a mixture SET/edit-RECORD."""
    return re.sub("^(edit|desk)-", "", made.rpartition("/")[2])


def _about(said: Feedback) -> str:
    """The answer that feedback is about; at the desk, where each task has its own copy, what was asked."""
    return said.prompt.id if said.prompt.id.startswith("desk-") else message_of(said.id)


def _number(record: str) -> int:
    return int(record.rpartition("-")[2])


class Flags:
    """Flagged answers: a flag counts for the text wherever it stands under the same question."""

    def __init__(self, said: Iterable[Feedback]) -> None:
        told = [((_asked(f.prompt), f.answer), f.flags) for f in said if f.kind == "flag"]
        self.flagged = {text for text, _ in told}
        # private words are nobody's material, whoever asked for them
        self.private = {text for text, why in told if PRIVATE in why}

    def forbids(self, said: Feedback) -> bool:
        """Whether an edit must not be learned: it is flagged, or what it replaces is private."""
        asked = _asked(said.prompt)
        return (asked, said.edited) in self.flagged or (asked, said.answer) in self.private

    def unflagged(self, ranking: Ranking) -> tuple[Ranking | None, int]:
        """The ranking without flagged answers that beat others or are called good, and how many these are; None where
        an answer is flagged as private, or where nothing is left to compare or to label."""
        asked = _asked(ranking.prompt)
        if any((asked, answer) in self.private for answer in ranking.answers):
            return None, 0
        good = ranking.grades if ranking.grades is not None and not ranking.all_bad else ()
        best = {i for i, _ in ranking.pairs()} | {i for i, grade in enumerate(good) if grade == "good"}
        led = {i for i in best if (asked, ranking.answers[i]) in self.flagged}
        if not led:
            return ranking, 0
        left = [i for i in range(len(ranking.answers)) if i not in led]
        ranks = ranking.ranks and tuple(ranking.ranks[i] for i in left)
        grades = ranking.grades and tuple(ranking.grades[i] for i in left)
        kept = replace(ranking, answers=tuple(ranking.answers[i] for i in left), ranks=ranks, grades=grades)
        return (kept if kept.pairs() or (kept.grades and kept.answers) else None), len(led)


class _Context(Flags):
    """What the other records say: flagged texts, edited answers, and who replaced which answer by a liked one."""

    def __init__(self, said: Sequence[Feedback]) -> None:
        super().__init__(said)
        self.edited = {(_about(f), text) for f in said if f.kind == "edit" for text in (f.answer, f.edited)}
        self.preferred: dict[str, Feedback] = {}
        """Regeneration's id -> the like of another answer to the same question."""
        likes = defaultdict(list)
        for like in (f for f in said if f.kind == "like"):
            likes[like.prompt.id].append(like)
        for one in (f for f in said if f.kind == "regenerate"):
            first = next((like for like in likes[one.prompt.id] if _replaces(like, one)), None)
            self.preferred |= {one.id: first} if first else {}
        self.spent = {like.id for like in self.preferred.values()}


def _replaces(like: Feedback, replaced: Feedback) -> bool:
    """Whether the like is of another answer to the question, by the same person, after this answer was given up."""
    same = (like.prompt.id, like.user) == (replaced.prompt.id, replaced.user)
    later = _number(like.id) > _number(replaced.id)
    return same and later and message_of(like.id) != message_of(replaced.id) and like.answer != replaced.answer


def _of_feedback(said: Feedback, context: _Context) -> Learned:
    rule, reason = KIND_RULES[said.kind], bool(said.comment)
    plain = Learned(said.id, said.kind, rule, said.user, said.created, (said.policy_version,), reason=reason)
    if (_asked(said.prompt), said.answer) in context.private:
        return plain.dropped("the answer is flagged as private")
    if said.kind == "edit":
        return _of_edit(said, plain, context)
    if said.kind == "regenerate":
        return _of_regeneration(said, plain, context)
    if said.kind == "flag":
        return replace(plain, labels=(_single(said, "poor"),)) if said.answer else plain.dropped("the answer is empty")
    if said.id in context.spent:
        return replace(plain, rule=PREFERENCE)
    if (_about(said), said.answer) in context.edited:
        return plain.dropped(SAID_BY_EDIT)
    if not said.answer:
        return plain.dropped("the answer is empty")
    if said.kind == "like" and (_asked(said.prompt), said.answer) in context.flagged:
        return plain.dropped("the answer is flagged and never a target")
    return replace(plain, labels=(_single(said, "good" if said.kind == "like" else "poor"),))


def _single(said: Feedback, grade: Grade) -> Ranking:
    return Ranking(said.id, said.prompt, (said.answer,), None, (grade,), labeler=said.user, created=said.created)


def _of_edit(said: Feedback, plain: Learned, context: _Context) -> Learned:
    written, left = corrected(said.edited or "", said.answer)
    plain = replace(plain, thoughts=left)
    if not shows(split_thoughts(written)[1]):
        return plain.dropped("the edit is empty")
    if written == bare(said.answer, Counter()):
        return plain.dropped("the edit leaves the words as they were")
    if (_asked(said.prompt), said.edited) in context.flagged:
        return plain.dropped("the edit is flagged and never a target")
    meta = {"source": "edit", "policy_version": said.policy_version}
    shown = replace(said.prompt.with_answer(written), id=f"edit-{said.id}", meta=meta)
    both = (written, said.answer)
    pair = Ranking(said.id, said.prompt, both, None, ("good", "poor"), labeler=said.user, created=said.created)
    return replace(plain, demonstrations=(shown,), comparisons=(pair,) if said.answer else ())


def _of_regeneration(said: Feedback, plain: Learned, context: _Context) -> Learned:
    like = context.preferred.get(said.id)
    if like is None:
        return plain.dropped("no other answer was liked afterwards")
    if (_asked(like.prompt), like.answer) in context.flagged:
        return plain.dropped("the liked answer is flagged and never a target")
    if not (like.answer and said.answer):
        return plain.dropped("the answer is empty")
    pair = Ranking(said.id, said.prompt, (like.answer, said.answer), (1, 2), labeler=said.user, created=like.created)
    return replace(plain, comparisons=(pair,))


def _of_ranking(ranking: Ranking, versions: tuple[str, ...], context: _Context) -> Learned:
    by, created = ranking.labeler, ranking.created
    plain = Learned(ranking.id, "ranking", RANKING, by, created, versions, simulated=ranking.simulated)
    if not ranking.pairs():
        return plain.dropped("all its answers are equal")
    kept, led = context.unflagged(ranking)
    if kept is None and not led:
        return plain.dropped("an answer is flagged as private")
    if kept is None or not kept.pairs():
        return plain.dropped("the better answers are flagged and never targets")
    return replace(plain, comparisons=(kept,), flagged=led)
