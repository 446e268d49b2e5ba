"""What each thing that people say becomes, and why a record is dropped: one record, one rule."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from steersman.artifact.workspace import Workspace
from steersman.config import Config, RoundConfig
from steersman.data.dataset import write_dataset
from steersman.rounds.feedback_rules import Learned, apply_rules
from steersman.rounds.gather import collect, comparisons, demonstrations, labels, write_gathered
from steersman.store import Store
from steersman.types import Candidates, Completion, Message, Ranking
from tiny import conversation


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store.db")


def ask(store: Store, text: str = "问题?") -> str:
    return store.add_question(store.create_conversation().id, text, None).id


def answer(store: Store, question: str, text: str, version: str = "001/ppo") -> str:
    return store.add_answer(question, Completion(text, (1,), (-0.1,), "stop", version)).id


def told(store: Store) -> dict[str, Learned]:
    """Kind -> what its record became; the last of several."""
    return {one.kind: one for one in apply_rules(list(store.feedback()), store.rankings(), {})}


def test_an_edit_is_a_demonstration_and_a_preference(store: Store) -> None:
    bad = answer(store, ask(store), "不好 ")
    store.add_feedback(bad, "edit", edited=" 更好<|im_end|>\n", user="ann")
    edit = told(store)["edit"]
    (shown,) = edit.demonstrations
    assert [m.content for m in shown.messages] == ["问题?", "更好"]
    (pair,) = edit.comparisons
    assert (pair.answers, pair.pairs(), pair.labeler) == (("更好", "不好 "), ((0, 1),), "ann")
    late = store.add_question(store.message(bad).conversation_id, "还有?", bad).id
    store.add_feedback(answer(store, late, "没有"), "like", user="ann")
    (liked,) = told(store)["like"].labels
    assert [m.content for m in liked.prompt.messages] == ["问题?", "更好", "还有?"], "as what it is learned itself"
    store.add_feedback(bad, "dislike", user="bob")
    assert set(told(store)) == {"dislike", "like"}, "an edit that somebody disliked holds no more"
    assert told(store)["dislike"].labels[0].answers == (" 更好<|im_end|>\n",)


@pytest.mark.parametrize(
    ("said", "edited", "words", "left"),
    [
        ("No.", "<think>Hm.</think>\n\nYes.", "Yes.", True),
        ("No.", "<think></think>Yes.", "Yes.", True),
        ("No.", "Write </think> last.", "Write </think> last.", False),
        ("<think>a</think>No.", "<think>b</think>Yes.", "<think>b</think>Yes.", False),  # thoughts are shown there
    ],
)
def test_thoughts_in_an_edit_are_left_out_of_what_is_learned(
    store: Store, said: str, edited: str, words: str, left: bool
) -> None:
    store.add_feedback(answer(store, ask(store), said), "edit", edited=edited)
    edit = told(store)["edit"]
    assert (edit.demonstrations[0].messages[-1].content, edit.thoughts) == (words, left)
    assert edit.comparisons[0].answers == (words, said)


def test_an_edit_that_adds_thoughts_alone_changes_nothing(store: Store) -> None:
    store.add_feedback(answer(store, ask(store), "No."), "edit", edited="<think>Sure?</think>No.")
    assert told(store)["edit"].why == "the edit leaves the words as they were"


def test_a_regeneration_counts_with_a_later_like_of_the_same_person(store: Store) -> None:
    question = ask(store)
    first, second = answer(store, question, "A"), answer(store, question, "B")
    store.add_feedback(second, "like", user="ann")
    store.add_feedback(first, "regenerate", user="ann")
    assert told(store)["regenerate"].why == "no other answer was liked afterwards"
    third = answer(store, question, "C")
    store.add_feedback(third, "like", user="bob")
    assert told(store)["regenerate"].why == "no other answer was liked afterwards"
    store.add_feedback(third, "like", user="ann")
    (pair,) = told(store)["regenerate"].comparisons
    assert (pair.answers, pair.pairs()) == (("C", "A"), ((0, 1),))
    used = [
        (one.by, one.rule, len(one.labels)) for one in apply_rules(list(store.feedback()), [], {}) if one.kind == "like"
    ]
    assert used == [("ann", "label", 1), ("bob", "label", 1), ("ann", "regenerate-then-like", 0)]


def test_a_flagged_answer_is_never_a_target(store: Store) -> None:
    question = ask(store)
    bad, other = answer(store, question, "poison"), answer(store, question, "fine")
    store.add_feedback(bad, "like", user="ann")
    store.add_feedback(other, "regenerate", user="ann")
    store.add_feedback(bad, "like", user="ann")
    assert told(store)["regenerate"].comparisons
    store.add_feedback(bad, "flag", user="bob")
    found = told(store)
    assert found["regenerate"].why == "the liked answer is flagged and never a target"
    assert found["flag"].labels[0].grades == ("poor",)
    store.add_feedback(other, "edit", edited="poison")
    assert told(store)["edit"].why == "the edit is flagged and never a target"
    later = store.add_question(store.message(bad).conversation_id, "more", bad)
    store.add_feedback(answer(store, later.id, "x"), "edit", edited="y")
    (said,) = [f for f in store.feedback({"edit"}) if f.edited == "y"]
    assert said.prompt.messages[1] == Message("assistant", "poison", learn=False), "nor as an earlier turn"
    # nor where it was ranked above others, nor in another chat of the same question
    for texts, grades in (
        (("poison", "fine", "so"), ["good", "average", "poor"]),
        (("poison", "so"), ["good", "poor"]),
    ):
        made = [Completion(text, (1,), (-0.1,), "stop", "001/ppo") for text in texts]
        store.add_candidates(len(texts), [Candidates(conversation("问题?", id=f"{len(texts)}"), made)])
        task = next(one for one in store.tasks() if len(one.answers) == len(texts))
        store.add_ranking(task.id, grades=grades, labeler="cy")
    store.add_feedback(answer(store, ask(store), "poison"), "like", user="dora")
    every = apply_rules(list(store.feedback()), store.rankings(), {})
    ranked = {len(one.comparisons): one for one in every if one.kind == "ranking"}
    assert [(r.answers, r.grades) for r in ranked[1].comparisons] == [(("fine", "so"), ("average", "poor"))]
    assert (ranked[1].flagged, ranked[0].why) == (1, "the better answers are flagged and never targets")
    (liked,) = (one for one in every if one.by == "dora")
    assert liked.why == "the answer is flagged and never a target"


def test_rankings_and_lone_labels(store: Store) -> None:
    completions = tuple(Completion(text, (1,), (-0.1,), "stop", "v") for text in "abc")
    store.add_candidates(1, [Candidates(conversation(f"Q{i}"), completions) for i in range(2)])
    first, second = store.tasks()
    store.add_ranking(first.id, ranks=[1, 2, 2], labeler="ann")
    store.add_ranking(second.id, ranks=[1, 1, 1], labeler="ann")
    store.add_feedback(answer(store, ask(store), "no"), "dislike", comment="rude", user="ann")
    found = apply_rules(list(store.feedback()), store.rankings(), {first.id: ("v",)})
    assert [(one.kind, one.why, len(one.labels), len(one.comparisons)) for one in found] == [
        ("dislike", "", 1, 0),
        ("ranking", "", 0, 1),
        ("ranking", "all its answers are equal", 0, 0),
    ]
    assert found[0].reason
    assert [one.versions for one in found] == [("001/ppo",), ("v",), ()]


@pytest.fixture
def space(tmp_path: Path, store: Store) -> Workspace:
    """Twelve edits, of two versions and two ages, and imported data."""
    space = Workspace.create(tmp_path, Config())
    for i in range(12):
        bad = answer(store, ask(store, f"Q{i}"), "bad", "001/ppo" if i % 2 else "002/ppo")
        store.add_feedback(bad, "edit", edited=f"good {i}", user="ann")
    shown = [conversation(f"D{i}", "fine") for i in range(40)]
    shown[0] = dataclasses.replace(shown[0], meta={"flags": ["violence"]})
    write_dataset(space.data, "shop", "demonstrations", "train", shown, "test", {})
    return space


def with_round(space: Workspace, **changes: Any) -> Workspace:
    settings = dataclasses.replace(RoundConfig(), **changes)
    return dataclasses.replace(space, config=dataclasses.replace(space.config, round=settings))


def test_what_is_new_is_taken_whole_and_of_the_old_a_share(space: Workspace) -> None:
    found = collect(space, 2, set(), (), ())
    assert (found.new, len(found.used)) == (12 + 39, 12 + 39)
    old = {one.id for one in found.records[:9]} | {"data:shop"}
    part = collect(with_round(space, old_demonstrations=0.5), 2, old, (), ())
    made = part.counts()["made"]
    assert (part.new, made["demonstrations"]["new"]) == (3, 3)
    assert 12 <= made["demonstrations"]["old"] <= 36
    again = collect(with_round(space, old_demonstrations=0.5), 2, old, (), ())
    assert [one.id for one in again.used] == [one.id for one in part.used], "the same draw"
    other = collect(with_round(space, old_demonstrations=0.5), 3, old, (), ())
    assert [one.id for one in other.used] != [one.id for one in part.used], "another one in another round"
    none = collect(with_round(space, old_demonstrations=0.0), 2, old, (), ())
    assert none.counts()["made"]["demonstrations"] == {"new": 3, "old": 0}


def test_filters_count_what_they_drop(space: Workspace, store: Store) -> None:
    one = next(iter(store.feedback())).id
    found = collect(with_round(space, versions=1), 2, set(), {one}, {"002/ppo"})
    rule = found.counts()["rules"]["edit"]
    assert (rule["records"], rule["used"]) == (12, 5)
    assert rule["dropped"] == {"on an answer of none of the last 1 promoted models": 6, "left out by --without": 1}
    assert found.counts()["rules"]["data sets"]["dropped"] == {"flagged, and never a target": 1}
    young = collect(with_round(space, max_age_days=1), 2, set(), (), ())
    assert young.counts()["rules"]["edit"]["used"] == 12
    later = datetime.now(UTC) + timedelta(days=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steersman.rounds.gather.utc_now", lambda: later)
        old = collect(with_round(space, max_age_days=1), 2, set(), (), ())
    assert old.counts()["rules"]["edit"]["dropped"] == {"older than 1 days": 12}


def test_gathered_files_are_read_back(space: Workspace, store: Store) -> None:
    store.add_feedback(answer(store, ask(store, "like me"), "nice"), "like", user="ann")
    found = collect(space, 1, set(), (), ())
    folder = write_gathered(space, found, {})
    assert demonstrations(folder) == [c for one in found.used for c in one.demonstrations]
    assert comparisons(folder) == [r for one in found.used for r in one.comparisons]
    (label,) = labels(folder)
    assert isinstance(label, Ranking)
    assert (label.answers, label.grades) == (("nice",), ("good",))


def test_what_several_people_say_oddly_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disagreement, edits of edits, changed minds, a deleted chat, a clock that goes back, ties, equal answers."""
    space = Workspace.create(tmp_path / "w", Config())
    with Store.open(space.store) as store:

        def say(text: str, *said: tuple[str, str, str | None]) -> str:
            id_ = answer(store, ask(store), text, "001/sft")
            for who, kind, edited in said:
                store.add_feedback(id_, kind, edited=edited, user=who)  # type: ignore[arg-type]
            return id_

        say("Split.", ("ann", "like", None), ("bob", "dislike", None), ("cy", "dislike", None))
        say("Twice.", ("ann", "edit", "One."), ("ann", "edit", "Two."), ("bob", "edit", "Zwei."))
        say("Down.", ("ann", "edit", "Up."), ("ann", "like", None), ("bob", "dislike", None))
        say("Mind.", ("ann", "like", None), ("ann", "dislike", None), ("ann", "clear", None), ("bob", "clear", None))
        say("Back.", ("ann", "edit", "Forth."), ("bob", "withdraw", None), ("ann", "flag", None), ("ann", "flag", None))
        say("", ("ann", "like", None), ("bob", "flag", None), ("cy", "edit", "Not empty."))
        gone = say("Gone.", ("ann", "like", None), ("bob", "edit", "Gone as well."))
        store.delete_conversation(store.message(gone).conversation_id)
        question = ask(store)
        first, again = (answer(store, question, "Same.", "001/sft") for _ in range(2))
        store.add_feedback(first, "regenerate", user="ann")
        store.add_feedback(again, "like", user="ann")
        late = say("Clock.", ("ann", "edit", "Before."))
        monkeypatch.setattr("steersman.store.chats.utc_now", lambda: datetime.now(UTC) - timedelta(days=900))
        store.add_feedback(late, "edit", edited="After.", user="ann")
        for texts in ("aab", "aa", "xyz"):
            completions = [Completion(text, (1,), (-0.1,), "stop", "001/sft") for text in texts]
            store.add_candidates(1, [Candidates(conversation(f"{texts}?"), completions)])
        two_same, same, three = store.tasks()
        for task, ranks, who in (
            (two_same, [1, 2, 3], "ann"),
            (same, [1, 2], "ann"),
            (three, [1, 1, 1], "bob"),
            (three, [3, 2, 1], "ann"),
        ):
            store.add_ranking(task.id, ranks=ranks, labeler=who)
        store.add_ranking(three.id, ranks=[1, 2, 3], labeler="bob")
        stored = store.records()
    found = collect(space, 2, set(), (), ())
    counts = found.counts()
    rules = counts["rules"].values()
    assert all(of["used"] + sum(of["dropped"].values()) == of["records"] for of in rules)
    assert sum(of["records"] for of in rules) + counts["replaced"] == len(stored) == 29
    assert not any(one.id.startswith(gone) for one in found.records)
    why = {(one.kind, one.why) for one in found.records if one.why}
    assert why == {
        ("like", "an edit of the same answer says it"),
        ("flag", "the answer is empty"),
        ("regenerate", "no other answer was liked afterwards"),
        ("ranking", "all its answers are equal"),
    }
    written = {c.messages[-1].text for one in found.used for c in one.demonstrations}
    assert written == {"Two.", "Zwei.", "Not empty.", "After."}, "'Up.' was disliked, 'Forth.' taken back"
    assert counts["disputed"] == 2, "Split. and Up."
    pairs = {(one.by, p.chosen, p.rejected) for one in found.used for r in one.comparisons for p in r.comparisons()}
    ranked = {f"{who} {chosen}{rejected}" for who, chosen, rejected in pairs if rejected in "abxyz"}
    assert ranked == {"ann ab", "ann zy", "ann yx", "ann zx", "bob xy", "bob yz", "bob xz"}
