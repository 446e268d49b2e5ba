"""The labeling desk's store: whose task is next, leases, drafts, labels, decisions, gold, what a round learns of it."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steersman.artifact.workspace import Workspace
from steersman.cli.desk_verbs import status_text
from steersman.config import Config
from steersman.rounds.desk_import import Defaults, import_rows, people, read_rows
from steersman.rounds.desk_team import assigned, differing, team
from steersman.rounds.export import edited, reliability_of
from steersman.rounds.gather import collect, comparisons, demonstrations, labels, write_gathered
from steersman.store import NotYours, Outdated, Store, StoreError
from steersman.store.desk import Asker, NewTask, Submission
from steersman.store.roles import Role
from steersman.store.schema import utc_now
from steersman.types import Candidates, Completion, Conversation, Message

ANN, BOB = Asker("ann"), Asker("bob")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


def asks(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def flag_tasks(store: Store, n: int, **more: Any) -> list[str]:
    content = [{"messages": asks(f"问题 {i}?"), "answer": f"answer {i}", "policy_version": "001/sft"} for i in range(n)]
    return store.desk.add([NewTask("flag", one, **more) for one in content])[0]


def candidates(i: int, k: int = 3) -> Candidates:
    prompt = Conversation(f"p{i}", (Message("user", f"Where is parcel {i}?"),))
    return Candidates(prompt, tuple(Completion(f"answer {i}.{j}", (), (), "stop", "sft") for j in range(k)))


def flagged(store: Store, task: str, labeler: str, *flags: str, **more: Any) -> None:
    store.desk.submit(task, Submission(labeler, value={"flags": list(flags)}, **more))


def test_two_people_are_never_handed_one_place(store: Store) -> None:
    flag_tasks(store, 40)
    given: list[str] = []

    def work(name: str) -> None:
        while (task := store.desk.take(Asker(name), "flag")) is not None:
            given.append(task.id)
            flagged(store, task.id, name)

    threads = [threading.Thread(target=work, args=(f"labeler {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(Counter(given).values()) == {1: 40}


def test_overlap_gives_each_task_to_so_many(store: Store) -> None:
    flag_tasks(store, 3)
    people = [Asker(name, overlap=2) for name in ("ann", "bob", "cem")]
    said: Counter[str] = Counter()
    for _ in range(3):
        for who in people:
            if (task := store.desk.take(who, "flag")) is not None:
                said[task.id] += 1
                flagged(store, task.id, who.labeler)
    assert set(said.values()) == {2}
    assert store.desk.take(people[2], "flag") is None
    assert store.desk.progress(2)["flag"] == {"tasks": 3, "done": 3, "labels": 6}


def test_a_lease_ends_by_itself_and_work_is_not_lost(store: Store) -> None:
    (task,) = flag_tasks(store, 1)
    begun = utc_now()
    at = {m: Asker("ann", now=begun + dt.timedelta(minutes=m)) for m in (0, 10, 20, 30)}
    assert store.desk.take(at[0], "flag") is not None
    assert store.desk.take(at[0], "flag").id == task, "asked again, it is the same"
    assert store.desk.take(Asker("bob", now=begun + dt.timedelta(minutes=14)), "flag") is None
    store.desk.keep_draft(task, "ann", {"flags": ["wrong"]})
    store.desk.renew(task, at[10])
    assert store.desk.take(Asker("bob", now=begun + dt.timedelta(minutes=20)), "flag") is None, "renewed at 10"
    with pytest.raises(NotYours):
        store.desk.task(task, "bob")
    with pytest.raises(NotYours):
        flagged(store, task, "bob")
    assert store.desk.take(Asker("bob", now=begun + dt.timedelta(minutes=26)), "flag") is not None
    with pytest.raises(Outdated, match="went to somebody else"):
        store.desk.renew(task, at[30])
    assert store.desk.task(task, "ann").draft == {"flags": ["wrong"]}
    assert [draft[0] for draft in store.desk.drafts("ann")] == [task]
    flagged(store, task, "ann", "wrong")
    assert store.desk.drafts("ann") == []
    store.desk.release(task, "bob")
    assert store.desk.take(BOB, "flag") is None, "ann has labeled it"
    other = flag_tasks(store, 2)[-1]  # taken while the clock is a year ahead
    assert store.desk.take(Asker("ann", now=begun + dt.timedelta(days=365)), "flag") is not None
    assert store.desk.take(Asker("bob", now=begun), "flag").id == other, "nobody waits for a year"


def test_a_later_label_replaces_and_nothing_is_overwritten(store: Store) -> None:
    (task,) = flag_tasks(store, 1)
    store.desk.take(ANN, "flag")
    flagged(store, task, "ann", "wrong", comment="the date")
    flagged(store, task, "ann", "private", "harmful")
    (label,) = store.desk.labels(labeler="ann")
    assert label.value == {"flags": ["harmful", "private"]}
    assert store.desk.task(task, "ann").mine == label
    assert [one.task for one, _ in store.desk.history("ann")[0]] == [task]
    (said,) = store.feedback()
    assert (said.kind, said.flags, said.user, said.policy_version) == ("flag", ("harmful", "private"), "ann", "001/sft")
    assert len(store.records()) == 2, "both are kept"
    assert store.erase([label.id]) == 2, "forgotten with what it replaced"
    assert list(store.feedback()) == []


def test_assigned_tasks_are_for_the_assigned(store: Store) -> None:
    first, second = flag_tasks(store, 2)
    assert store.desk.assign([second], ["bob"]) == 1
    assert store.desk.take(BOB, "flag").id == second, "what is assigned comes first"
    assert store.desk.take(ANN, "flag").id == first
    flagged(store, first, "ann")
    assert store.desk.take(ANN, "flag") is None
    store.add_candidates(1, [candidates(0)])
    (ranking,) = store.tasks()
    store.desk.assign([ranking.id], ["bob"])
    assert (store.next_task("ann"), store.next_task("bob").id) == (None, ranking.id), "the ranking page obeys too"


def test_names_in_rows_are_people_with_accounts(store: Store) -> None:
    """A name that is nobody's account kept the task from everybody."""
    id_ = store.accounts.add("Lea", Role.LABELER).id
    rows = [("1", {"prompt": "Q", "answer": "A", "kind": "vote", "assign": "Lea"})]
    rows += [("2", {"prompt": "Q", "answers": ["A", "B"], "assign": [id_]})]
    import_rows(store, iter(rows), Defaults())
    assert {one.assigned for one in store.desk.overview()} == {(id_,)}
    assert people(store, ["Lea", id_]) == (id_, id_)
    with pytest.raises(ValueError, match="3: nobody here is called Leo; expected people with an account"):
        import_rows(store, iter([("3", {"prompt": "Q2", "assign": "Leo"})]), Defaults())


def test_what_waits_for_nobody_is_shown_and_given_to_others(store: Store) -> None:
    """Tasks of a name from before there were accounts stayed with it for ever, and nobody was told."""
    first, second, third, done = flag_tasks(store, 4)
    store.desk.assign([first, done], ["old ann"])
    store.desk.take(Asker("old ann"), "flag")
    store.desk.take(Asker("old ann"), "flag")
    flagged(store, first, "old ann")
    store.desk.assign([second, third], ["bob", "old ann"])
    assert assigned(store) == [
        {"name": "bob", "tasks": 2, "missing": False},
        {"name": "old ann", "tasks": 3, "missing": False},
    ], "without accounts everybody may come"
    lea, max_ = (store.accounts.add(name, Role.LABELER).id for name in ("Lea", "Max"))
    store.accounts.add("Cid", Role.ADMIN)
    store.desk.assign([second], ["old ann", lea])
    store.desk.assign([third], [max_])
    store.accounts.set_disabled(max_, True)
    told = {one["name"]: (one["tasks"], one["missing"]) for one in assigned(store)}
    assert told == {"old ann": (2, True), max_: (1, True), lea: (1, False)}
    assert [one["missing"] for one in assigned(store)] == [True, True, False]
    assert team(store).assigned == tuple(assigned(store))
    text = status_text(team(store), store.desk.progress(1), store.accounts.names())
    assert "2 tasks wait for old ann, who cannot label here: steersman desk assign all --of 'old ann'" in text
    assert "1 tasks wait for Max" in text
    assert store.desk.hand_over("old ann", []) == 2
    assert store.desk.hand_over(max_, [lea]) == 1
    whose = {one.id: one.assigned for one in store.desk.overview()}
    assert whose == {first: ("old ann",), second: (lea,), third: (lea,), done: ()}
    assert store.desk.hand_over("old ann", []) == 0


def test_the_page_for_rankings_keeps_tasks_of_others(store: Store) -> None:
    """Whoever knew a task's id could rank or skip it there, whoever it was given to."""
    rows = [{"prompt": "Q", "answers": ["A", "B"], "assign": "bob"}]
    rows += [{"prompt": "F", "answers": ["A", "B"]}]
    import_rows(store, ((str(i), row) for i, row in enumerate(rows)), Defaults())
    given, free = (one.id for one in store.desk.overview())
    with pytest.raises(NotYours, match="not in your hands"):
        store.task(given, "ann")
    assert store.task(given, "bob").keys
    assert store.task(free, "ann").keys
    assert store.task(given).id == given


def test_gold_is_mixed_in_and_never_trained_on(store: Store) -> None:
    flag_tasks(store, 14)
    content = {"messages": asks("Gold?"), "answer": "You are stupid."}
    store.desk.add([NewTask("flag", content, gold={"flags": ["harmful"]})])
    (gold,) = store.desk.gold()
    order = []
    while (task := store.desk.take(ANN, "flag")) is not None:
        order.append(task.id)
        flagged(store, task.id, "ann", "harmful")
    assert order.index(gold) == 2, "not the first"
    assert len(order) == 15
    assert gold not in {f.id.rpartition("-")[0] for f in store.feedback()}
    (ann,) = team(store).labelers
    assert (ann.labels, ann.gold, ann.right) == (15, 1, 1)
    store.desk.add_ranking(1, candidates(1), gold={"ranks": [1, 2, 3]})
    assert list(store.tasks()) == []
    assert store.next_task("ann") is None


def test_rankings_on_the_desk_are_rankings(store: Store) -> None:
    store.add_candidates(1, [candidates(0)])
    task = store.desk.take(ANN, "ranking")
    hash_ = store.desk.guidelines("# Be kind\n")
    said = {"ranks": [2, 1, 2], "all_bad": False}
    store.desk.submit(task.id, Submission("ann", value=said, guidelines=hash_, comment="B is polite", seconds=7.5))
    (ranking,) = store.rankings()
    assert (ranking.ranks, ranking.labeler, ranking.overrules) == ((2, 1, 2), "ann", ())
    (label,) = store.desk.labels()
    assert (label.id, label.guidelines, label.comment, label.seconds) == (ranking.id, hash_, "B is polite", 7.5)
    assert store.next_task("ann") is None, "the ranking page knows of it"
    store.add_ranking(task.id, ranks=[1, 2, 3], labeler="bob")
    assert [one.labeler for one in store.desk.labels()] == ["ann", "bob"], "and the desk of the ranking page's"
    with pytest.raises(StoreError, match="known version"):
        store.desk.submit(task.id, Submission("ann", value=said, guidelines="no such"))


def test_a_managers_decision_counts_in_place_of_the_labels(store: Store) -> None:
    store.add_candidates(1, [candidates(0), candidates(1)])
    for who, ranks in (("ann", [1, 2, 3]), ("bob", [3, 2, 1])):
        for task in list(store.tasks()):
            store.add_ranking(task.id, ranks=ranks if task.prompt.id == "p0" else [1, 2, 3], labeler=who)
    (apart,) = differing(store)
    assert apart.strength == 1.0
    store.desk.submit(apart.task, Submission("lead", value={"ranks": [1, 1, 2]}, adjudicated=True))
    assert differing(store) == []
    (decided, *others) = store.rankings()
    assert (decided.labeler, decided.ranks) == ("lead", (1, 1, 2))
    assert sorted(decided.overrules) == sorted(one.id for one in apart.labels)
    assert decided == type(decided).from_json(json.loads(json.dumps(decided.to_json())))
    assert [(r.labeler, r.overrules) for r in others] == [("ann", ()), ("bob", ())]
    assert len(list(store.rankings(overruled=True))) == 5
    assert {one.name for one in reliability_of(store).labelers} == {"ann", "bob", "lead"}
    store.add_ranking(apart.task, ranks=[1, 2, 3], labeler="lead")
    assert next(iter(store.rankings())).ranks == (1, 1, 2), "what the manager says as a labeler is no decision"
    store.desk.submit(apart.task, Submission("lead", "bad_prompt", adjudicated=True))
    assert [r.labeler for r in store.rankings()] == ["ann", "bob"], "a bad prompt teaches nothing"


def test_the_least_sure_come_first(store: Store) -> None:
    store.add_candidates(1, [candidates(i) for i in range(3)])
    first, second, third = store.tasks()
    assert store.desk.score({second.id: (0.1, [3.0, 0.0, -3.0]), third.id: (0.6, [0.1, 0.0, 0.1])}, "round 1") == 2
    order = []
    while (task := store.desk.take(ANN, "ranking")) is not None:
        order.append(task.id)
        store.desk.submit(task.id, Submission("ann", "skip"))
    assert order == [third.id, second.id, first.id]
    assert store.ranking_progress()["ranked"] == 0


def test_the_desk_tells_who_wrote_a_turn(store: Store) -> None:
    store.desk.add([NewTask("demonstration", {"messages": asks("我的包裹在哪里？")})])
    task = store.desk.take(ANN, "demonstration")
    store.desk.suggested(task.id, "ann", "明天到。", "001/ppo")
    turns = [("user", "我的包裹在哪里？"), ("assistant", "明天到。"), ("user", "谢谢"), ("assistant", "不客气！")]
    said = [{"role": role, "content": text} for role, text in turns]
    store.desk.submit(task.id, Submission("ann", value={"messages": said}))
    (written,) = store.desk.demonstrations()
    assert [(m.role, m.text) for m in written.dialogue.messages] == turns
    assert written.dialogue.meta["origins"] == ["suggested", "written"]
    assert written.dialogue.meta["suggested_by"] == ["001/ppo"]
    said[1] |= {"content": "明天上午到。", "origin": "suggested"}
    store.desk.submit(task.id, Submission("ann", value={"messages": said}))
    assert next(store.desk.demonstrations()).dialogue.meta["origins"] == ["changed", "written"]
    with pytest.raises(StoreError, match="from the user to the assistant"):
        store.desk.submit(task.id, Submission("ann", value={"messages": said[:3]}))


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_bulk_import(store: Store, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tasks.{ending}"
    if ending == "jsonl":
        rows = [
            {"prompt": "Where is my\u2028parcel?", "assign": ["ann"], "colour": "red"},
            {"brief": "扮演一位灯坏了的顾客。", "overlap": 2},
            {"prompt": "Q", "answer": "A"},
            {"prompt": "Q", "answer": "A", "kind": "vote", "gold": {"vote": "bad"}},
            {"prompt": "Q", "answers": ["A", "B"], "gold": {"ranks": [1, 2]}},
        ]
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        path.write_text(
            "\ufeffprompt,brief,answer,answers,kind,gold,assign,overlap,colour\n"
            '"Where is my\nparcel?",,,,,,ann,,red\n,扮演一位灯坏了的顾客。,,,,,,2,\nQ,,A,,,,,,\n'
            'Q,,A,,vote,"{""vote"": ""bad""}",,,\nQ,,,A|B,,"{""ranks"": [1, 2]}",,,\n',
            encoding="utf-8",
        )
    found = import_rows(store, read_rows(path), Defaults())
    assert found.new == {"demonstration": 2, "edit": 1, "vote": 1, "ranking": 1}
    assert (found.known, found.ignored) == (0, {"colour": 1})
    assert import_rows(store, read_rows(path), Defaults()).known == 5
    assert sorted(one.needed for one in store.desk.overview("demonstration")) == [0, 2]
    assert store.desk.waiting(BOB)["demonstration"] == {"tasks": 2, "waiting": 1}
    assert store.desk.waiting(ANN)["demonstration"] == {"tasks": 2, "waiting": 2}


def test_an_import_with_a_fault_adds_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    for fault, told in (
        ({"prompt": "Q", "kind": "song"}, "line 2: kind: expected one of"),
        ({"answers": ["A", "B"]}, "line 2: messages: expected a list of 1 to"),
        ({"prompt": "Q", "answers": ["A"]}, "line 2: answers: expected a list of at least 2"),
        ({"prompt": "Q", "answer": "A", "gold": {"vote": "bad"}}, "line 2: gold: expected it for a ranking"),
        ({"prompt": "Q", "answers": ["A", "B"], "gold": {"ranks": [1]}}, "gold.ranks: expected 2"),
        ({"prompt": "Q", "overlap": "two"}, "overlap: expected a number"),
        ({"prompt": "Q\0"}, "NUL"),
        ([1], "expected an object"),
    ):
        path.write_text(json.dumps({"prompt": "good"}) + "\n" + json.dumps(fault), encoding="utf-8")
        with pytest.raises(ValueError, match=told):
            import_rows(store, read_rows(path), Defaults())
    assert store.desk.overview() == []


def test_a_round_learns_what_the_desk_collected(tmp_path: Path) -> None:
    space = Workspace.create(tmp_path / "w", Config())
    with Store.open(space.store) as store:
        about = {"messages": asks("Can I return it?"), "answer": "No.", "policy_version": "001/sft"}
        leaked = {"messages": asks("Who lives there?"), "answer": "Ann, 5 Hill Road."}
        tasks = [NewTask("demonstration", {"messages": asks("Hello?")}), NewTask("edit", about), NewTask("vote", about)]
        tasks += [NewTask("flag", leaked), NewTask("vote", leaked), NewTask("flag", about)]
        said: list[dict[str, Any]] = [
            {"messages": [*asks("Hello?"), {"role": "assistant", "content": "How can I help?"}]},
            {"text": "Yes, within 30 days."},
            {"vote": "bad"},
            {"flags": ["private"]},
            {"vote": "good"},
            {"flags": []},
        ]
        for task, value in zip(tasks, said, strict=True):
            ((id_,), _) = store.desk.add([task])
            assert store.desk.take(ANN, task.kind).id == id_
            store.desk.submit(id_, Submission("ann", value=value))
        store.add_candidates(1, [candidates(0)])
        (ranking,) = store.tasks()
        store.add_ranking(ranking.id, ranks=[1, 2, 3], labeler="ann")
    material = collect(space, 2, set(), (), ())
    why = {(one.rule, one.why) for one in material.records}
    assert why == {
        ("demonstration", ""),
        ("edit", ""),
        ("label", "an edit of the same answer says it"),
        ("flag", "the answer is flagged as private"),
        ("label", "the answer is flagged as private"),
        ("flag", "nothing wrong was found with the answer"),
        ("ranking", ""),
    }
    assert material.replaced == 0, "nobody took anything back"
    folder = write_gathered(space, material, {})
    shown = {c.id.partition("-")[0]: c for c in demonstrations(folder)}
    assert [m.text for m in shown["desk"].messages] == ["Hello?", "How can I help?"]
    assert [m.text for m in shown["edit"].messages] == ["Can I return it?", "Yes, within 30 days."]
    pairs = {next(r.answers[w] for w, _ in r.pairs()): r for r in comparisons(folder)}
    assert pairs["Yes, within 30 days."].answers[1] == "No."
    assert "answer 0.0" in pairs
    assert labels(folder) == []
    assert {c.id for c in edited(space)} == {shown["desk"].id, shown["edit"].id}, "and so does a round opened by hand"
