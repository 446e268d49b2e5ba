"""What a person owns: exported, counted and deleted, on each database; and what no round has learned is not lost
without a word."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from server_double import FakeEngine, live
from steersman.artifact.manifest import identity, read_manifest, verify, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config import AccountsConfig
from steersman.rounds.export import RANKINGS_FILE
from steersman.rounds.feedback_rules import apply_rules
from steersman.rounds.gather import COUNTS, GATHERED, INDEX, Material, read_lines, write_gathered
from steersman.rounds.leaving import leave, look
from steersman.rounds.provenance import deleted, rounds_of
from steersman.server.app import create_app
from steersman.server.team import Team
from steersman.store import NotFound, Store, StoreError, new_id
from steersman.store.desk import Asker, NewTask, Submission
from steersman.store.owned import NAMING
from steersman.store.responses import StoredResponse
from steersman.store.roles import Role
from steersman.store.schema import Base
from steersman.types import Candidates, Completion, Conversation, Message

HERE = "http://127.0.0.1:8000"
SECRET = "the person's own words 我的话"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with Store.open(store_url) as opened:
        yield opened


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    assert CliRunner().invoke(build(), ["init", str(root), "--set", "project.domain=none"]).exit_code == 0
    return root


def live_of(store: Store) -> dict[str, Any]:
    """Ben, who has one or more of everything, and ada, an admin, of whose chat he said something too."""
    ada, ben = store.accounts.add("ada", Role.ADMIN), store.accounts.add("ben", Role.LABELER)
    said = []
    for owner in (ben, ada):
        chat = store.create_conversation(SECRET, owner=owner.id)
        question = store.add_question(chat.id, SECRET)
        answer = store.add_answer(question.id, Completion("An answer", (1,), (0.0,), "stop", "v"))
        store.add_feedback(answer.id, "like", user=ben.id)
        store.shelf.share(chat.id, answer.id)
        said.append((chat.id, answer.id))
    store.add_feedback(said[0][1], "dislike", user=ben.id)  # takes the like's place
    store.add_feedback(said[0][1], "edit", edited=SECRET, user=ben.id)
    prompt = Conversation("p", (Message("user", "Hi"),))
    answers = tuple(Completion(text, (), (), "stop", "v") for text in "ab")
    store.add_candidates(1, [Candidates(prompt, answers, {})])
    (task,) = store.tasks()
    store.add_ranking(task.id, ranks=[1, 2], labeler=ben.id)
    store.add_ranking(task.id, ranks=[2, 1], labeler=ada.id)
    store.skip_task(task.id, ben.id, SECRET)
    store.desk.add([NewTask("vote", {"messages": [{"role": "user", "content": "Q"}], "answer": "A"})] * 2)
    votes = [store.desk.take(Asker(ben.id), "vote") for _ in range(1)]
    assert votes[0] is not None
    store.desk.submit(votes[0].id, Submission(ben.id, value={"vote": "good"}, seconds=1))
    store.responses.add(StoredResponse("resp_1", ben.id, None, {"output": SECRET}, []))
    store.credentials.begin(ben.id, 1)
    _, key = store.credentials.add_key(ben.id, "program", ["chat"])
    store.credentials.spent(ben.id, 7)
    store.accounts.invite(Role.CHATTER, by=ben.id)
    store.accounts.invite(Role.CHATTER, by=ada.id, user_id=ben.id)
    store.audit.add(ben.id, "signed in", how="password", address="203.0.113.5")
    store.audit.add(ada.id, "role changed", ben.id, before="chatter", after="labeler")
    store.audit.add(ada.id, "key revoked", "sk-1", of=ben.id)
    return {"ada": ada, "ben": ben, "chat": said[0][0], "answer": said[0][1], "others": said[1], "key": key}


def test_every_column_that_names_a_person_is_known() -> None:
    naming = {"owner", "user", "labeler", "user_id", "who"}
    found = {(t.name, c.name) for t in Base.metadata.sorted_tables for c in t.columns if c.name in naming}
    assert {(column.class_.__tablename__, column.key) for column in NAMING.values()} == found
    by = {(t.name, c.name) for t in Base.metadata.sorted_tables for c in t.columns if c.name.endswith("by")}
    assert by == {("invitations", "invited_by")}


def test_export(store: Store, tmp_path: Path) -> None:
    known = live_of(store)
    counts = store.owned.export(known["ben"].id, tmp_path / "ben.zip")
    with zipfile.ZipFile(tmp_path / "ben.zip") as file:
        told = json.loads(file.read("everything.json"))
    assert told["account"]["name"] == "ben"
    assert {name: len(rows) for name, rows in told.items() if rows and name != "account"} == counts
    assert counts["chats"] == counts["responses"] == counts["rankings"] == 1
    assert counts["feedback"] == 4
    assert counts["messages"] == 2
    assert counts["labels"] == 3  # a ranking and a skipped task are labels too
    text = json.dumps(told, ensure_ascii=False)
    assert SECRET in text
    assert known["key"] not in text
    assert not any(word in text for word in ("digest", '"password":'))
    assert known["others"][0] not in text  # the chat of another


def test_an_export_does_not_name_the_models_of_an_open_pair(store: Store, tmp_path: Path) -> None:
    ben = store.accounts.add("ben", Role.CHATTER).id
    question = store.add_question(store.create_conversation("", owner=ben).id, "Hi")
    ids = (new_id(), new_id())
    store.duels.begin(question.id, ids, ("the-left", "the-right"))
    for id_, model in zip(ids, ("the-left", "the-right"), strict=True):
        sampling = {"blind": True, "adapter": model}
        store.add_answer(question.id, Completion("An answer", (1,), (0.0,), "stop", model), sampling, id_)

    def told() -> str:
        store.owned.export(ben, tmp_path / "ben.zip")
        with zipfile.ZipFile(tmp_path / "ben.zip") as file:
            return file.read("everything.json").decode()

    assert "An answer" in told()
    assert not re.search("the-(left|right)", told())
    store.duels.vote(question.id, "left", labeler=ben, round=1)
    assert len(re.findall("the-(left|right)", told())) == 6


def test_deletion(store: Store, tmp_path: Path) -> None:
    known = live_of(store)
    ben = known["ben"]
    counts, images = store.owned.delete(ben.id)
    assert counts["feedback"] == 4
    assert images == []
    with pytest.raises(NotFound):
        store.accounts.named("ben")
    assert store.credentials.key(known["key"]) is None
    assert [chat.id for chat in store.conversations()] == [known["others"][0]]
    assert list(store.feedback()) == []
    assert [ranking.labeler for ranking in store.rankings()] == [known["ada"].id]
    assert store.responses.get("resp_1", ben.id) is None
    assert [one.invited_by for one in store.accounts.invitations()] == [""]
    # no table names him any more, and the log has all its lines
    with store._db.read() as session:
        rows = [
            str(value)
            for table in Base.metadata.sorted_tables
            for row in session.execute(table.select())
            for value in row
        ]
    assert not any(ben.id in value for value in rows)
    if store._db.path is not None:  # nor do SQLite's files, while the server runs
        assert store._db.pragma("secure_delete") == 1
        kept = b"".join(file.read_bytes() for file in store._db.path.parent.glob("*"))
        assert (kept.count(ben.id.encode()), kept.count(SECRET.encode())) == (0, 2)  # a chat of ada's, and its question
    log = store.audit.page()
    assert [entry.action for entry in log] == ["key revoked", "role changed", "signed in"]
    assert log[2].who.startswith("deleted-")
    assert log[2].who == log[1].about == log[0].details["of"]
    assert "address" not in log[2].details
    with pytest.raises(StoreError, match="one admin to remain"):
        store.owned.delete(known["ada"].id)
    assert store.accounts.named("ada") == known["ada"]


def test_what_waited_for_a_person_is_handed_back_and_said(store: Store, workspace: Path) -> None:
    """Assignments went without a word, and of a manager's decision the tasks stayed closed with nothing decided."""
    ada, ben = store.accounts.add("ada", Role.ADMIN), store.accounts.add("ben", Role.MANAGER)
    asked = [{"role": "user", "content": "Q"}]
    alone, both, decided = (NewTask("vote", {"messages": asked, "answer": name}) for name in "abc")
    ids, _ = store.desk.add(
        [alone, both, decided, NewTask("vote", {"messages": asked, "answer": "d"}, {"vote": "good"})]
    )
    store.desk.assign(ids[:1], [ben.id])
    store.desk.assign(ids[1:2], [ben.id, ada.id])
    store.desk.submit(ids[2], Submission(ben.id, value={"vote": "bad"}, adjudicated=True))
    held = store.desk.take(Asker(ben.id), "vote")
    assert held is not None
    store.desk.keep_draft(held.id, ben.id, {"vote": "good"})
    admin = signed_in(store, app_of(store, workspace), ada.id)
    told = admin.get(f"/api/people/{ben.id}/owned").json()
    assert (told["handed_back"], told["reopened"], told["held"]["drafts"], told["held"]["leases"]) == (1, 1, 1, 1)
    left = admin.delete(f"/api/people/{ben.id}", params={"feedback": "delete"}).json()
    assert (left["handed_back"], left["reopened"]) == (1, 1)
    tasks = {one.id: one for one in store.desk.overview()}
    assert [tasks[id_].assigned for id_ in ids[:2]] == [(), (ada.id,)]
    assert not tasks[ids[2]].closed
    assert tasks[ids[3]].gold
    (entry,) = (entry for entry in store.audit.page() if entry.action == "user deleted")
    noted = {name: entry.details[name] for name in ("handed_back", "reopened", "assignments", "drafts", "labels")}
    assert noted == {"handed_back": 1, "reopened": 1, "assignments": 2, "drafts": 1, "labels": 1}


def test_a_decision_that_is_erased_opens_its_task(store: Store) -> None:
    (id_,), _ = store.desk.add([NewTask("vote", {"messages": [{"role": "user", "content": "Q"}], "answer": "a"})])
    label = store.desk.submit(id_, Submission("mia", value={"vote": "bad"}, adjudicated=True))
    assert store.desk.overview()[0].closed
    assert store.erase([label.id]) == 1
    assert not store.desk.overview()[0].closed


def learned(root: Path, *records: str) -> None:
    """Round 1 has learned these."""
    folder = root / "rounds/001" / GATHERED
    folder.mkdir(parents=True)
    rows = [{"id": id_, "rule": "label", "by": "ben", "used": True} for id_ in records]
    (folder / INDEX).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manifest = write_manifest(folder, GATHERED, {}, {}, {}, ())
    model = root / "rounds/001/kto"
    model.mkdir()
    write_manifest(model, "kto", {}, {GATHERED: identity(manifest)})


def app_of(store: Store, root: Path) -> Any:
    team = Team(store, AccountsConfig())
    return create_app(FakeEngine(), store, name="S", language="en", team=team, workspace=root)


def signed_in(store: Store, app: Any, id_: str) -> TestClient:
    client = TestClient(app, base_url=HERE, headers={"x-steersman": "1"})
    client.cookies.set("steersman_8000", store.credentials.begin(id_, 1), domain="127.0.0.1")
    return client


def test_a_chat_with_feedback_that_nothing_has_learned(store: Store, workspace: Path) -> None:
    known = live_of(store)
    client = signed_in(store, app_of(store, workspace), known["ben"].id)
    place = f"/api/conversations/{known['chat']}"
    refused = client.delete(place)
    told = refused.json()["error"]
    assert (refused.status_code, told["code"], told["records"]) == (409, "feedback_not_learned", 2)
    assert client.get(place).status_code == 200
    # a round learns one of the two: the dislike
    learned(workspace, store.standing(store.records(chat=known["chat"]))[0])
    assert client.delete(place).json()["error"]["records"] == 1
    assert client.delete(place, params={"feedback": "all"}).status_code == 400
    assert client.delete(place, params={"feedback": "delete"}).status_code == 200
    assert client.get(place).status_code == 404
    empty = client.post("/api/conversations", json={}).json()["id"]
    assert client.delete(f"/api/conversations/{empty}").status_code == 200
    # what was taken back is no loss
    chat = store.create_conversation(owner=known["ben"].id)
    answer = store.add_answer(store.add_question(chat.id, "q").id, Completion("a", (1,), (0.0,), "stop", "v"))
    store.add_feedback(answer.id, "like", user=known["ben"].id)
    store.add_feedback(answer.id, "clear", user=known["ben"].id)
    assert client.delete(f"/api/conversations/{chat.id}").status_code == 200


def test_by_an_admin_and_by_oneself(store: Store, workspace: Path) -> None:
    known = live_of(store)
    ada, ben = known["ada"].id, known["ben"].id
    records = store.owned.records(ben)
    learned(workspace, *store.standing(records)[:2])
    (workspace / "backups").mkdir()
    (workspace / "backups/old.db").write_text("")
    app = app_of(store, workspace)
    admin, himself = signed_in(store, app, ada), signed_in(store, app, ben)
    told = admin.get(f"/api/people/{ben}/owned").json()
    assert told["held"]["chats"] == 1
    assert (told["rounds"], told["unseen"]) == ([1], ["backups/old.db"])
    assert told["not_learned"] == len(store.standing(records)) - 2 > 0
    assert himself.get("/api/me/owned").json() == told
    assert SECRET not in json.dumps(told)
    answer = admin.get(f"/api/people/{ben}/export")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        assert SECRET in file.read("everything.json").decode()
    assert himself.get("/api/me/export").status_code == 200
    refused = admin.delete(f"/api/people/{ben}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "feedback_not_learned")
    assert admin.delete(f"/api/people/{ada}").status_code == 400
    assert himself.post("/api/me/leave", json={}).json()["error"]["code"] == "feedback_not_learned"
    left = himself.post("/api/me/leave", json={"feedback": "delete"})
    assert left.status_code == 200
    assert left.json()["rounds"] == [1]
    assert himself.get("/api/me/owned").status_code == 401
    assert admin.get(f"/api/people/{ben}/owned").status_code == 404
    # rounds still say that they learned it, of nobody
    shown = CliRunner().invoke(build(), ["lineage", store_record(workspace), "-w", str(workspace), "--json"])
    assert json.loads(shown.stdout)["learned_by"][0]["round"] == 1
    assert ben not in (workspace / "rounds/001" / GATHERED / INDEX).read_text()
    last = signed_in(store, app, ada).post("/api/me/leave", json={"feedback": "delete"})
    assert last.status_code == 400
    assert store.accounts.user(ada)


def test_a_person_who_is_deleted_while_an_answer_is_written(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    ada, ben = store.accounts.add("ada", Role.ADMIN), store.accounts.add("ben", Role.CHATTER)
    engine = FakeEngine(endless=True)
    app = create_app(engine, store, name="S", language="en", team=Team(store, AccountsConfig()))
    with live(app) as url, httpx.Client(base_url=url, timeout=60, headers={"x-steersman": "1"}) as client:

        def by(id_: str) -> dict[str, str]:
            return {"cookie": f"steersman_{client.base_url.port}={store.credentials.begin(id_, 1)}"}

        his, hers = by(ben.id), by(ada.id)
        chat = client.post("/api/conversations", json={}, headers=his).json()["id"]
        asked = client.stream("POST", f"/api/conversations/{chat}/messages", json={"content": SECRET}, headers=his)
        with asked as answer:
            lines = answer.iter_lines()
            assert any("delta" in line for line in lines)
            deleted = client.delete(f"/api/people/{ben.id}", headers=hers)
            assert deleted.status_code == 200, deleted.text
            rest = "".join(lines)  # ends, though the engine would go on for ever
        assert '"type":"done"' in rest.replace(" ", "")
        assert engine.closed.wait(60)
        assert client.get(f"/api/conversations/{chat}", headers=his).status_code == 401
        assert client.get("/api/people", headers=hers).json()["people"][0]["name"] == "ada"
    assert [user.name for user in store.accounts.users()] == ["ada"]
    with pytest.raises(NotFound):
        store.messages(chat)
    assert SECRET not in caplog.text
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def every_row(store: Store) -> dict[str, list[list[str]]]:
    with store._db.read() as session:
        tables = Base.metadata.sorted_tables
        return {one.name: [[str(value) for value in row] for row in session.execute(one.select())] for one in tables}


def test_another_web_process_that_still_knows_a_deleted_person(store: Store, tmp_path: Path) -> None:
    """What it let in within those seconds would be words that nobody owns, and that nobody could delete."""
    known = live_of(store)
    ben = known["ben"].id
    app = create_app(
        FakeEngine(), store, name="S", language="en", team=Team(store, AccountsConfig()), workspace=tmp_path
    )
    himself = signed_in(store, app, ben)
    store.desk.add([NewTask("vote", {"messages": [{"role": "user", "content": "Another"}], "answer": "A"})])
    task = himself.post("/api/desk/next", json={"kind": "vote"}).json()["task"]["id"]
    (ranking,) = (one.id for one in store.tasks())
    keys = store.task(ranking, ben).keys
    store.owned.delete(ben)
    before = every_row(store)
    asked = {"model": "tiny", "input": SECRET}
    for method, path, body in (
        ("POST", "/api/conversations", {"title": SECRET}),
        ("POST", f"/api/rank/{ranking}", {"labeler": "x", "ranks": dict(zip(keys, (1, 2), strict=True))}),
        ("POST", f"/api/rank/{ranking}", {"labeler": "x", "skip": True, "reason": SECRET}),
        ("POST", "/api/desk/next", {"kind": "vote"}),
        ("PUT", f"/api/desk/tasks/{task}/draft", {"value": {"text": SECRET}}),
        ("POST", f"/api/desk/tasks/{task}/label", {"value": {"vote": "good"}, "comment": SECRET}),
        ("POST", "/api/me/keys", {"name": SECRET, "scopes": ["chat"]}),
        ("POST", "/v1/responses", asked),
        ("POST", "/v1/responses", asked | {"stream": True}),
        ("DELETE", "/api/session", None),
    ):
        answer = himself.request(method, path, json=body)
        assert answer.status_code in (401, 403, 404) or path in ("/api/session", "/v1/responses"), (path, answer.text)
        assert answer.status_code < 500, (path, answer.text)
    after = every_row(store)
    assert {name for name in after if after[name] != before[name]} <= {"audit"}
    assert ben not in json.dumps(after)


def store_record(root: Path) -> str:
    first = (root / "rounds/001" / GATHERED / INDEX).read_text().split("\n")[0]
    return str(json.loads(first)["id"])


def test_leaving_takes_the_password(store: Store, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from steersman.server import passwords

    monkeypatch.setattr(passwords, "verify", lambda stored, given: (given == "right password", ""))
    ada, eve = store.accounts.add("ada", Role.ADMIN), store.accounts.add("eve", Role.CHATTER)
    store.accounts.set_password(eve.id, "hash")
    client = signed_in(store, app_of(store, workspace), eve.id)
    assert client.post("/api/me/leave", json={"password": "wrong"}).status_code == 401
    assert client.post("/api/me/leave", json={"password": "right password"}).status_code == 200
    assert [user.id for user in store.accounts.users()] == [ada.id]


def test_what_a_round_gathered_is_learned_only_where_something_was_made_of_it(store: Store, workspace: Path) -> None:
    """Deleted while a round runs, before and after a stage; the counts were of what was gone."""
    space, people = (
        Workspace.open(workspace),
        [store.accounts.add(name, Role.CHATTER).id for name in ("ann", "ben", "cid")],
    )
    records = []
    for who in people:
        question = store.add_question(store.create_conversation("c", owner=who).id, f"Where? {who}")
        answer = store.add_answer(question.id, Completion("No.", (1,), (0.0,), "stop", "v")).id
        store.add_feedback(answer, "dislike", user=who)
        store.add_feedback(answer, "edit", edited=f"There, {who}.", user=who)
        records.append([f.id for f in store.feedback() if f.user == who])
    said = list(store.feedback())
    material = Material(tuple(apply_rules(said, [], {})), frozenset(f.id for f in said), {})
    gathered = write_gathered(space, material, {})
    before = json.loads((gathered / COUNTS).read_text())
    assert leave(space, store, people[0], anyway=True).not_learned == 2
    verify(gathered)
    counts = json.loads((gathered / COUNTS).read_text())
    assert (before["new"], counts["new"]) == (3, 2)
    assert counts["rules"]["edit"] == {"records": 3, "used": 2, "dropped": {"deleted before it was learned": 1}}
    assert counts["made"]["demonstrations"] == counts["made"]["comparisons"] == {"new": 2, "old": 0}
    assert len(read_lines(gathered / "demonstrations.jsonl")) == 2
    assert [one["learned"] for one in rounds_of(space, records[0][0])] == [False]
    folder = space.stage_dir("sft")
    folder.mkdir(parents=True)
    write_manifest(folder, "sft", {}, {GATHERED: identity(read_manifest(gathered))})
    entry = space.promote("sft", 1)
    left = leave(space, store, people[1], anyway=False)  # the dislike too: an edit says it
    assert (left.not_learned, left.rounds, left.models) == (0, (1,), (entry["path"],))
    verify(gathered)
    assert json.loads((gathered / COUNTS).read_text()) == counts
    assert [one["learned"] for one in rounds_of(space, records[1][1])] == [True]
    assert deleted(space, entry) == 1
    assert people[1] not in (gathered / INDEX).read_text()


def test_who_learned_in_a_round_by_hand_is_said_after_its_files_lost_the_records(store: Store, workspace: Path) -> None:
    """Its rounds were read from the files when the records were gone: a ranking that a reward model had learned was
    one that nothing had learned."""
    known = live_of(store)
    space = Workspace.open(workspace)
    folder = space.stage_dir("rankings", 1)
    folder.mkdir(parents=True)
    rows = [json.dumps({"id": one.id, "labeler": one.labeler}) for one in store.rankings()]
    (folder / RANKINGS_FILE).write_text("\n".join(rows) + "\n")
    write_manifest(folder, "rankings", {}, {"store": "0"})
    before = look(space, store, known["ben"].id)
    left = leave(space, store, known["ben"].id, anyway=True)
    assert (left.rounds, left.not_learned) == (before.rounds, before.not_learned)
    assert (left.rounds, left.files) == ((1,), ("rounds/001/rankings/rankings.jsonl",))
    (ranking,) = (row["id"] for row in map(json.loads, rows) if row["labeler"] == known["ben"].id)
    (found,) = rounds_of(space, ranking)
    assert (found["round"], found["learned"], found["records"][0]["by"]) == (1, True, "")
    verify(space.stage_dir("rankings", 1))
    told = CliRunner().invoke(build(), ["lineage", ranking, "-w", str(workspace)]).stdout
    assert f"{ranking}  ranking  used; deleted since" in told
