"""Ranking in the store: tasks, blind order, validation, versions, progress."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steersman.store import NotFound, Store, StoreError
from steersman.types import Candidates, Completion, Conversation, Message


def candidates(i: int, k: int = 4, version: str = "sft-1") -> Candidates:
    prompt = Conversation(f"p{i}", (Message("user", f"问题 {i}: where is my parcel?"),), {"order": i})
    answers = tuple(Completion(f"answer {i}.{j}", (1, 2), (-0.1, -0.2), "stop", version) for j in range(k))
    return Candidates(prompt, answers, {"temperature": 1.0, "n": k})


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


def test_candidates_are_added_once_per_round_and_policy(store: Store) -> None:
    assert store.add_candidates(1, [candidates(0), candidates(1), candidates(0)]) == 2
    assert store.add_candidates(1, iter([candidates(1), candidates(2)])) == 1
    assert store.add_candidates(1, [candidates(0, version="sft-2")]) == 1
    assert store.add_candidates(2, [candidates(0)]) == 1
    tasks = list(store.tasks(1))
    assert [t.prompt.id for t in tasks] == ["p0", "p1", "p2", "p0"]
    assert tasks[0].prompt == candidates(0).prompt
    assert tasks[0].answers == tuple(f"answer 0.{j}" for j in range(4))
    assert tasks[0].policy_versions == ("sft-1",) * 4
    assert tasks[0].finish_reasons == ("stop",) * 4
    assert tasks[0].keys == ()


def test_each_objective_is_ranked_by_itself(store_url: str) -> None:
    path = store_url
    with Store.open(path, "helpful") as helpful, Store.open(path, "overall") as overall, Store.open(path) as every:
        helpful.add_candidates(1, [candidates(0, k=2)])
        (task,) = every.tasks()
        helpful.add_ranking(task.id, ranks=[2, 1], labeler="ann")
        assert helpful.next_task("ann") is every.next_task("ann") is None
        assert overall.next_task("ann") is not None, "on the whole it was not ranked yet"
        assert (helpful.ranking_progress()["ranked"], overall.ranking_progress()["ranked"]) == (1, 0)
        overall.add_ranking(task.id, ranks=[1, 2], labeler="ann")
        helpful.add_ranking(task.id, ranks=[1, 1], labeler="ann")
        assert [(r.objective, r.ranks) for r in every.rankings()] == [("", (1, 2)), ("helpful", (1, 1))]
        assert every.ranking_progress()["by_labeler"] == {"ann": 1}
    with pytest.raises(StoreError, match="objective: "):
        Store.open(path, "x" * 101)


def test_a_bad_item_adds_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match=r"'p1'.*at least 2 answers, got 1"):
        store.add_candidates(1, [candidates(0), candidates(1, k=1)])
    answered = Candidates(candidates(0).prompt.with_answer("x"), candidates(0).completions)
    with pytest.raises(StoreError, match="ends with the user"):
        store.add_candidates(1, [answered])
    with pytest.raises(StoreError, match=r"round: expected an integer of at least 1, got 0"):
        store.add_candidates(0, [candidates(0)])
    assert list(store.tasks()) == []
    assert store.next_task("ann") is None


def test_presentation_is_random_between_labelers_and_stable_for_one(store: Store) -> None:
    store.add_candidates(1, [candidates(i) for i in range(12)])
    orders = set()
    for task in store.tasks(1):
        ann, again, bob = (store.task(task.id, name) for name in ("ann", "ann", "bob"))
        assert ann.presented == again.presented
        assert set(ann.keys).isdisjoint(bob.keys)
        assert sorted(text for _, text in ann.presented) == sorted(task.answers)
        assert [task.answers[i] for i in ann.order] == [text for _, text in ann.presented]
        assert all(key not in ann.answers[i] for i, key in enumerate(ann.keys))
        orders.update({ann.order, bob.order})
    assert len(orders) > 8  # of 24 possible; a fixed order would give 1


def test_next_task_takes_the_least_ranked_and_never_repeats(store: Store) -> None:
    store.add_candidates(1, [candidates(i) for i in range(3)])
    store.add_candidates(2, [candidates(9)])
    first = store.next_task("ann", 1)
    assert first is not None
    assert store.next_task("ann", 1) == first, "a reload shows the same task"
    store.add_ranking(first.id, ranks=[1, 2, 3, 4], labeler="ann")
    for _ in range(2):
        task = store.next_task("bob", 1)
        assert task is not None
        assert task.id != first.id, "two tasks have no ranking yet"
        store.add_ranking(task.id, ranks=[1, 1, 1, 1], labeler="bob")
    last = store.next_task("bob", 1)
    assert last is not None
    assert last.id == first.id
    store.skip_task(last.id, "bob", "unclear")
    assert store.next_task("bob", 1) is None
    other_round = store.next_task("bob")
    assert other_round is not None
    assert other_round.round == 2


def test_simulated_rankings_do_not_hide_tasks_from_people(store: Store) -> None:
    store.add_candidates(1, [candidates(i) for i in range(4)])
    for task in list(store.tasks(1))[:2]:
        store.add_ranking(task.id, ranks=[1, 2, 3, 4], labeler="judge", simulated=True)
    seen = set()
    while (task := store.next_task("ann", 1)) is not None:
        seen.add(task.id)
        store.add_ranking(task.id, grades=["good", "poor", "poor", "average"], labeler="ann")
    assert len(seen) == 4


def test_people_who_start_together_spread_over_the_tasks(store: Store) -> None:
    store.add_candidates(1, [candidates(i) for i in range(50)])
    tasks = [store.next_task(f"labeler {i}", 1) for i in range(10)]
    assert len({t.id for t in tasks if t}) >= 7


def test_the_latest_submission_counts_and_the_order_is_deterministic(store: Store) -> None:
    store.add_candidates(1, [candidates(0), candidates(1)])
    one, two = store.tasks(1)
    store.add_ranking(two.id, ranks=[4, 3, 2, 1], labeler="bob", seconds=3.5)
    store.add_ranking(one.id, ranks=[1, 1, 2, 2], labeler="zoe")
    store.add_ranking(one.id, ranks=[3, 1, 2, 4], labeler="judge", simulated=True)
    store.add_ranking(one.id, ranks=[1, 2, 3, 4], labeler="ann")
    kept = store.add_ranking(one.id, grades=["poor", "poor", "good", "average"], labeler="ann", all_bad=True)
    found = list(store.rankings())
    assert [(r.prompt.id, r.labeler) for r in found] == [("p0", "ann"), ("p0", "zoe"), ("p0", "judge"), ("p1", "bob")]
    assert found[0] == kept
    assert (found[0].ranks, found[0].grades, found[0].all_bad) == (None, ("poor", "poor", "good", "average"), True)
    assert found[1].ranks == (1, 1, 2, 2)
    assert found[0].created.endswith("Z")
    assert [r.labeler for r in store.rankings(simulated=True)] == ["judge"]
    assert [r.labeler for r in store.rankings(1, simulated=False)] == ["ann", "zoe", "bob"]
    assert list(store.rankings(2)) == []
    assert store.ranking_progress(1) == {
        "tasks": 2,
        "ranked": 2,
        "by_labeler": {"ann": 1, "bob": 1, "zoe": 1},
        "simulated": 1,
    }


def test_all_bad_alone_says_every_answer_is_poor(store: Store) -> None:
    store.add_candidates(1, [candidates(0, k=3)])
    ranking = store.add_ranking(next(store.tasks()).id, all_bad=True, labeler="ann")
    assert ranking.grades == ("poor",) * 3
    assert ranking.pairs() == ()
    assert list(store.rankings()) == [ranking]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "ranks, grades or all_bad"),
        ({"ranks": [1, 2, 3, 4], "grades": ["good"] * 4}, "got both"),
        ({"ranks": [1, 2, 3]}, "ranks: expected 4 integers"),
        ({"ranks": [0, 1, 2, 3]}, "ranks: expected 4 integers"),
        ({"ranks": [1, 2, 3, 5]}, "ranks: expected 4 integers"),
        ({"ranks": [1, 2, 3, True]}, "ranks: expected 4 integers"),
        ({"ranks": [1, 2, 3, 2.5]}, "ranks: expected 4 integers"),
        ({"grades": ["good", "bad", "poor", "poor"]}, "grades: expected 4 of good"),
        ({"ranks": [1, 2, 3, 4], "labeler": "  "}, "labeler: expected some text"),
        ({"ranks": [1, 2, 3, 4], "labeler": "x" * 101}, "at most 100 characters"),
        ({"ranks": [1, 2, 3, 4], "labeler": "a\x00"}, "NUL"),
        ({"ranks": [1, 2, 3, 4], "labeler": "\ud800"}, "surrogate"),
        ({"ranks": [1, 2, 3, 4], "seconds": -1}, "seconds: expected"),
        ({"ranks": [1, 2, 3, 4], "seconds": float("nan")}, "seconds: expected"),
    ],
)
def test_a_ranking_that_does_not_fit_is_refused(store: Store, given: dict[str, object], message: str) -> None:
    store.add_candidates(1, [candidates(0)])
    task = next(store.tasks())
    with pytest.raises(StoreError, match=message):
        store.add_ranking(task.id, **({"labeler": "ann"} | given))  # type: ignore[arg-type]
    assert list(store.rankings()) == []


def test_unknown_tasks(store: Store) -> None:
    for call in (
        lambda: store.add_ranking("nope", ranks=[1, 2], labeler="ann"),
        lambda: store.skip_task("nope", "ann"),
        lambda: store.task("nope"),
    ):
        with pytest.raises(NotFound, match="no ranking task 'nope'"):
            call()


def test_iterating_over_pages_while_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.store.ranking_tasks._PAGE", 3)
    assert store.add_candidates(1, [candidates(i, k=2) for i in range(10)]) == 10
    for task in store.tasks(1):
        store.add_ranking(task.id, ranks=[1, 2], labeler="judge", simulated=True)
    assert [r.prompt.id for r in store.rankings(1)] == [f"p{i}" for i in range(10)]
    assert list(store.tasks(1, not_ranked_by="judge")) == []
