"""What a team lead sees of the desk: agreement by kind of task, each labeler's speed, accuracy and drift, and the tasks
on which labelers differ. Pure functions over the store's labels.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.rounds.between_people import Judged, Measured, agreement, pairwise, places
from steersman.stats import wilson
from steersman.store import Store
from steersman.store.desk_labels import DeskLabel
from steersman.store.desk_tasks import BAD_PROMPT, LABEL, SKIP
from steersman.store.desk_values import FLAG, RANKING, VOTE
from steersman.store.roles import Role
from steersman.types import GRADES

KINDS_JUDGED = (RANKING, VOTE, FLAG)
"""Kinds whose labels are the same or not; two good dialogues differ."""
BLOCKS = 8
"""Parts, in time, that a labeler's work is seen in."""
LEAST = 20
"""Labels below which nothing is said of drift."""


def judged_of(label: DeskLabel) -> Judged | None:
    """A label as something to compare; None where it is no judgement."""
    if label.said == SKIP or label.kind not in KINDS_JUDGED:
        return None
    value = label.value or {}
    if label.kind != RANKING:
        words = [BAD_PROMPT] if label.said == BAD_PROMPT else value.get("flags", [value.get("vote", "")])
        return Judged(label.labeler, label.task, word=" ".join(words) or "none")
    order = order_of(value)
    return Judged(label.labeler, label.task, tuple(places(order))) if order else None


def order_of(value: Mapping[str, Any]) -> list[int] | None:
    """A rank for each answer; None where a label only says that all are bad."""
    if value.get("ranks") is not None:
        return list(value["ranks"])
    return None if value.get("grades") is None else [GRADES.index(g) for g in value["grades"]]


@dataclass(frozen=True)
class LabelerSeen:
    """One labeler's work."""

    name: str
    labels: int
    skipped: int
    bad_prompts: int
    seconds: float | None
    """Median of a label."""
    last: str
    gold: int
    """Items with a known answer that they labeled, and how many they got right, with the 95 % interval of the share."""
    right: int
    low: float | None
    high: float | None
    blocks: tuple[dict[str, Any], ...]
    """In the order of time: {from, labels, seconds, agreed, compared}."""
    drift: str
    """'' or what changed: slower, faster, less_agreement, more_agreement."""
    guidelines: str = ""
    """When they read the present version; '' if not."""


@dataclass(frozen=True)
class Team:
    labelers: tuple[LabelerSeen, ...]
    agreement: Mapping[str, Measured]
    """By kind of task, between people."""
    pairs: tuple[dict[str, Any], ...]
    """{kind, a, b, judge, value, low, high, units}: kappa of two people, or of a person and a judge."""
    undecided: int
    assigned: tuple[dict[str, Any], ...]
    """{name, tasks, missing}: whom tasks wait for, and whether nobody of that name can label here any more."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def team(store: Store, read: Mapping[str, str] | None = None) -> Team:
    """`read`: who has read the present guidelines, and when."""
    every = [one for one in store.desk.labels() if not one.adjudicated]
    gold = store.desk.gold()
    people = [one for one in every if one.task not in gold]
    judged = {kind: [j for one in people if one.kind == kind and (j := judged_of(one))] for kind in KINDS_JUDGED}
    alphas = {kind: agreement(found, ordinal=kind == RANKING) for kind, found in judged.items() if found}
    pairs = [_pair(kind, *of) for kind, found in judged.items() for of in pairwise(found)]
    pairs += _with_judges(store, judged[RANKING])
    majority = _majority([j for found in judged.values() for j in found])
    by: defaultdict[str, list[DeskLabel]] = defaultdict(list)
    for one in every:
        by[one.labeler].append(one)
    seen = tuple(_seen(name, by[name], gold, majority, (read or {}).get(name, "")) for name in sorted(by))
    return Team(seen, alphas, tuple(pairs), len(differing(store)), tuple(assigned(store)))


def assigned(store: Store) -> list[dict[str, Any]]:
    """Who has tasks to themselves that they have not done; those whom nobody can be first.

    Without accounts a person is the name they type. With accounts a name from before them is nobody's, and neither is
    an account that was disabled or may not label.
    """
    users = store.accounts.users()
    able = {user.id for user in users if not user.disabled and user.role >= Role.LABELER}
    found = [
        {"name": name, "tasks": len(ids), "missing": bool(users) and name not in able}
        for name, ids in store.desk.assigned().items()
    ]
    return sorted(found, key=lambda one: (not one["missing"], one["name"]))


def _pair(kind: str, a: str, b: str, found: Measured, judge: bool = False) -> dict[str, Any]:
    return {"kind": kind, "a": a, "b": b, "judge": judge, **asdict(found)}


def _with_judges(store: Store, people: Sequence[Judged]) -> list[dict[str, Any]]:
    """People against each judge: the rule judge that simulates rankings, and reward models whose scores are kept."""
    judges = [
        Judged(r.labeler, r.id.rpartition("-")[0], tuple(places(r.order))) for r in store.rankings(simulated=True)
    ]
    for task, (by, values) in store.desk.scores().items():
        order = [sum(other > mine for other in values) + 1 for mine in values]
        judges.append(Judged(by, task, tuple(places(order))))
    names, out = {one.labeler for one in judges}, []
    for judge in sorted(names):
        mine = [one for one in judges if one.labeler == judge]
        for person in sorted({one.labeler for one in people} - names):
            for a, b, found in pairwise([*mine, *(one for one in people if one.labeler == person)]):
                out.append(_pair(RANKING, person, judge if judge in (a, b) else b, found, judge=True))
    return out


def _majority(judged: Iterable[Judged]) -> dict[tuple[str, int], dict[str, object]]:
    """(task, part) -> {labeler: word}, where at least two said something."""
    said: defaultdict[tuple[str, int], dict[str, object]] = defaultdict(dict)
    for one in judged:
        for i, word in enumerate(one.words):
            said[one.task, i][one.labeler] = word
    return {part: words for part, words in said.items() if len(words) > 1}


def _agreed(label: DeskLabel, said: Mapping[tuple[str, int], Mapping[str, object]]) -> tuple[int, int]:
    """(with how many words of others this label agrees, of how many)."""
    mine = judged_of(label)
    same = compared = 0
    for i, word in enumerate(mine.words if mine else ()):
        others = [w for name, w in said.get((label.task, i), {}).items() if name != label.labeler]
        same, compared = same + sum(w == word for w in others), compared + len(others)
    return same, compared


def is_right(label: DeskLabel, gold: Mapping[str, Any]) -> bool:
    """Whether a label says what is known. Of a ranking: every pair that is known to differ stands in that order."""
    if label.said != LABEL or label.value is None:
        return False
    if label.kind != RANKING:
        return all(label.value.get(key) == known for key, known in gold.items())
    mine, known = order_of(label.value), order_of(gold)
    if mine is None or known is None:
        return False
    k = range(len(known))
    return all(mine[i] < mine[j] for i in k for j in k if known[i] < known[j])


def _seen(
    name: str,
    labels: Sequence[DeskLabel],
    gold: Mapping[str, Mapping[str, Any]],
    said: Mapping[tuple[str, int], Mapping[str, object]],
    read: str,
) -> LabelerSeen:
    done = [one for one in labels if one.said != SKIP]
    golden = [one for one in done if one.task in gold]
    right = sum(is_right(one, gold[one.task]) for one in golden)
    low, high = wilson(right, len(golden)) if golden else (None, None)
    size = max(1, -(-len(done) // BLOCKS))
    blocks = tuple(_block(done[i : i + size], said) for i in range(0, len(done), size))
    times = [one.seconds for one in done if one.seconds is not None]
    return LabelerSeen(
        name,
        len(done),
        len(labels) - len(done),
        sum(one.said == BAD_PROMPT for one in done),
        statistics.median(times) if times else None,
        labels[-1].created,
        len(golden),
        right,
        low,
        high,
        blocks,
        _drift(done, said),
        read,
    )


def _block(labels: Sequence[DeskLabel], said: Mapping[tuple[str, int], Mapping[str, object]]) -> dict[str, Any]:
    times = [one.seconds for one in labels if one.seconds is not None]
    agreed = [_agreed(one, said) for one in labels]
    return {
        "from": labels[0].created,
        "labels": len(labels),
        "seconds": statistics.median(times) if times else None,
        "agreed": sum(same for same, _ in agreed),
        "compared": sum(of for _, of in agreed),
    }


def _drift(labels: Sequence[DeskLabel], said: Mapping[tuple[str, int], Mapping[str, object]]) -> str:
    """The last quarter of a labeler's work against what came before: agreement that left its interval, else a pace that
    changed by more than half."""
    cut = len(labels) - len(labels) // 4
    if len(labels) < LEAST:
        return ""
    before, now = _block(labels[:cut], said), _block(labels[cut:], said)
    if before["compared"] and now["compared"]:
        low, high = wilson(now["agreed"], now["compared"])
        usual = before["agreed"] / before["compared"]
        if not low <= usual <= high:
            return "less_agreement" if high < usual else "more_agreement"
    if before["seconds"] and now["seconds"]:
        ratio = now["seconds"] / before["seconds"]
        return "slower" if ratio > 1.5 else "faster" if ratio < 2 / 3 else ""
    return ""


@dataclass(frozen=True)
class Difference:
    """A task on which people differ: how strongly (0 to 1), and their labels."""

    task: str
    kind: str
    strength: float
    labels: tuple[DeskLabel, ...]


def differing(store: Store) -> list[Difference]:
    """Tasks that at least two people labeled differently and nobody has decided, the strongest difference first.

    Of a ranking: some pair of answers is in opposite order. One who called the prompt bad differs from who did not.
    """
    gold = store.desk.gold()
    by: defaultdict[str, list[DeskLabel]] = defaultdict(list)
    decided = set()
    for one in store.desk.labels():
        if one.adjudicated:
            decided.add(one.task)
        elif one.said != SKIP and one.task not in gold:
            by[one.task].append(one)
    found = []
    for task, labels in by.items():
        strength = 0.0 if task in decided or len(labels) < 2 else _strength(labels)
        if strength > 0:
            found.append(Difference(task, labels[0].kind, strength, tuple(labels)))
    return sorted(found, key=lambda one: (-one.strength, one.task))


def _strength(labels: Sequence[DeskLabel]) -> float:
    """The share of comparisons between two people that contradict each other."""
    if len({one.said for one in labels}) > 1:
        return 1.0
    judged = [j for one in labels if (j := judged_of(one))]
    against = compared = 0
    for i, one in enumerate(judged):
        for other in judged[i + 1 :]:
            for a, b in zip(one.words, other.words, strict=True):
                opposite = a != b if not one.places else 0 not in (a, b) and a != b
                against, compared = against + opposite, compared + 1
    return against / compared if compared else 0.0
