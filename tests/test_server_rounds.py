"""What managers ask of rounds over HTTP: verdicts, the gate, promotions beforehand, reports, data sets, uploads."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from round_space import allow_judges, answered
from server_double import FakeEngine
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.rounds import all_rounds, jobs, uploads
from steersman.rounds.all_rounds import unsaid
from steersman.rounds.other_process import ask
from steersman.server.app import create_app
from steersman.store import Store, by_day


@pytest.fixture
def root(two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    allow_judges(monkeypatch)
    return shutil.copytree(two_rounds, tmp_path / "w", copy_function=shutil.copy2)


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    report = root / "rounds/002/report/report.html"
    with Store.open(root / "store.db") as store:
        app = create_app(FakeEngine(), store, name="S", language="en", workspace=root, report=lambda: report)
        with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
            yield opened


def get(client: TestClient, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_rounds_with_verdict_and_gate(client: TestClient, root: Path) -> None:
    second, first = get(client, "/api/rounds/all")["rounds"]
    assert (first["round"], first["served"], first["promoted"], first["verdict"]) == (1, "sft", ["sft"], None)
    assert (second["models"], second["served"], second["report"]) == (["sft", "kto"], "", True)
    verdict = json.loads((root / "rounds/002/report/verdict.json").read_text())
    pair = next(p for p in verdict["pairs"] if (p["a"], p["b"]) == ("kto", "served"))
    assert second["verdict"]["word"] == pair["word"], "the comparison that was decided on, not the report's headline"
    whole = get(client, "/api/rounds/2/stages")
    checks = whole["conditions"]["checks"]
    assert {check["kind"] for check in checks} == {"verdict", "prompts", "axis"}
    assert whole["decision"]["promoted"] is all(check["held"] for check in checks)
    stages = {stage["stage"]: stage for stage in whole["stages"]}
    assert stages["kto"]["state"] == "ready"
    assert stages["kto"]["settings"]["lr"] == 1e-3
    assert (stages["reward"]["state"], stages["reward"]["makes"], stages["rankings"]["people"]) == (
        "missing",
        True,
        True,
    )
    get(client, "/api/rounds/7/stages", 404)
    (root / "rounds/002/decision.json").write_text("{")
    assert "decision.json" in get(client, "/api/rounds/all")["rounds"][0]["damage"], "one round's damage hides no other"


def test_worse_parts_are_axes_and_intents_wholly_below_0() -> None:
    def interval(low: float | None, high: float | None) -> dict[str, Any]:
        return {"value": -0.1, "low": low, "high": high}

    pair = {
        "axes": {"intent": interval(-0.2, -0.01), "fitness": interval(-0.2, 0.0), "unknown": interval(None, None)},
        "by_intent": [{"intent": "refund", "difference": interval(-0.4, -0.1)}],
    }
    assert all_rounds.worse_parts(pair) == ["intent", "refund"]


def test_a_promotion_says_beforehand_what_it_changes(client: TestClient) -> None:
    told = get(client, "/api/rounds/promotion?round=2&stage=kto")
    assert (told["now"]["stage"], told["next"]["stage"], told["chats"], told["changed"]) == ("sft", "kto", 6, True)
    assert told["needs"] in ("anyway", "force")
    assert told["doubt"] or told["refusal"]
    body = {"round": 2, "stage": "kto", told["needs"]: True}
    get(client, "/api/rounds/rollback", 409)
    assert client.post("/api/rounds/promote", json={"round": 2, "stage": "kto"}).status_code == 409
    assert client.post("/api/rounds/promote", json=body).json()["changed"]
    assert get(client, "/api/rounds/promotion?round=2&stage=kto")["changed"] is False
    back = get(client, "/api/rounds/rollback")
    assert (back["now"]["stage"], back["next"]["stage"]) == ("kto", "sft")
    assert client.post("/api/rounds/rollback").json()["current"]["stage"] == "sft"
    get(client, "/api/rounds/promotion?round=1&stage=ppo", 404)


def test_the_mark_changes_with_what_happens(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = get(client, "/api/rounds/now")
    assert get(client, "/api/rounds/now") == before
    (root / "rounds/002/ppo.partial").mkdir()
    after = get(client, "/api/rounds/now")
    assert after["mark"] != before["mark"]
    assert after["started"] == before["started"]
    os.utime(root / CONFIG_NAME, ns=(0, 0))
    settings = get(client, "/api/rounds/now")["mark"]
    assert settings not in (before["mark"], after["mark"])
    (root / "rounds/002/ppo.partial").rmdir()
    before = get(client, "/api/rounds/now")
    (root / "rounds/002/ppo.partial").mkdir()
    is_dir = Path.is_dir

    def gone(path: Path) -> bool:  # the stage has ended since its folder was seen
        found = is_dir(path)
        if path.name == "ppo.partial" and found:
            path.rmdir()
        return found

    monkeypatch.setattr(Path, "is_dir", gone)
    assert get(client, "/api/rounds/now")["mark"] == before["mark"]


def test_feedback_by_day_in_the_reader_s_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(root / "store.db") as store:
        days = store.said_by_day(2)  # the workspace may have been made before midnight
        assert [sum(day[kind] for day in days) for kind in ("like", "dislike", "edit")] == [2, 4, 3]
        assert len(days) == 2
        late = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).replace(hour=23, minute=30)
        monkeypatch.setattr(by_day, "utc_now", lambda: late)
        monkeypatch.setattr("steersman.store.chats.utc_now", lambda: late)
        store.add_feedback(answered(store, "And?", "No."), "like", user="bob")
        here, there = store.said_by_day(1), store.said_by_day(1, east=60)
        assert (here[0]["like"], here[0]["day"]) == (1, late.date().isoformat())
        assert (there[0]["like"], there[0]["day"]) == (1, (late + dt.timedelta(hours=1)).date().isoformat())
        assert store.chats_counted(7) == (7, 7)


def test_a_job_s_log_and_what_may_be_started(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def spawn(command: list[str], place: Path) -> Any:
        commands.append(command)
        Path(f"{place}.log").write_text("\x1b[31mloading\x1b[0m  step 1/2\nnot whole")
        Path(f"{place}.out").write_text('{"error": "error: no such thing", "exit_code": 2}')
        process = subprocess.Popen(["true"])
        process.wait()
        return process

    monkeypatch.setattr(jobs, "_spawn", spawn)
    for body in ({"first": 1, "second": 9}, {"first": 1, "second": 1}):
        assert client.post("/api/rounds/compare", json=body).status_code in (400, 404)
    job = client.post("/api/rounds/compare", json={"first": 1, "second": 2}).json()
    assert commands[0][3:6] == ["compare", "1", "2"]
    assert (job["state"], job["error"]) == ("failed", "error: no such thing")
    assert get(client, f"/api/rounds/jobs/{job['number']}/log") == {"lines": ["loading  step 1/2"]}
    get(client, "/api/rounds/jobs/9/log", 404)
    for verb in ("import", "compare"):
        assert client.post("/api/rounds/jobs", json={"stage": verb}).status_code == 400
    get(client, "/api/rounds/plan?stage=nonsense", 400)


def test_reports_in_the_reader_s_language(client: TestClient, root: Path) -> None:
    assert '<html lang="en">' in client.get("/report").text
    chinese = client.get("/report?lang=zh").text
    assert '<html lang="zh-CN">' in chinese
    assert "通俗地说" in chinese
    assert (root / "rounds/002/report/report.zh.html").is_file(), "drawn once"
    assert client.get("/reports/2", headers={"Accept-Language": "zh-TW,en;q=0.5"}).text == chinese
    assert "sandbox" in client.get("/reports/2").headers["content-security-policy"]
    assert client.get("/reports/1").status_code == 404
    assert client.get("/reports/1/2").status_code == 404
    assert client.get("/datasets/nothing/report").status_code == 404
    with pytest.raises(ValueError, match="expected one of"):
        ask(Workspace.open(root), "report", "--language", "xx")
    (root / "steersman.toml").write_text("no such key", encoding="utf-8")
    refused = client.get("/reports/2", headers={"Accept": "text/html", "Accept-Language": "zh"})
    assert (refused.status_code, "<h1>无法显示</h1>" in refused.text) == (409, True), "a page, as a person opened one"


def test_data_sets_are_looked_at(client: TestClient) -> None:
    sets = {one["name"]: one for one in get(client, "/api/data")["sets"]}
    assert (sets["chats"]["kind"], sets["chats"]["count"], sets["tests"]["split"]) == ("demonstrations", 4, "test")
    first = get(client, "/api/data/chats/records?count=2")
    assert [one["number"] for one in first["records"]] == [1, 2]
    assert first["records"][1]["turns"][0] == {"role": "user", "text": "我的包裹呢？"}
    assert (first["next"], "001/sft" in first["users"]) == (3, True)
    found = get(client, "/api/data/chats/records?containing=PAKET")
    assert [one["number"] for one in found["records"]] == [4]
    get(client, "/api/data/..%2Fsecret/records", 404)
    get(client, "/api/data/chats/dropped", 404)


def piece(data: bytes, offset: int = 0) -> dict[str, Any]:
    return {"offset": offset, "data": base64.b64encode(data).decode()}


def test_a_file_comes_in_pieces(client: TestClient, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "问题,回答\n" + "".join(f"Where is {i}?,Soon {i}.\n" for i in range(9))
    whole = text.encode()
    for name in ("../x.csv", ".hidden", "a/b.csv", "a\\b.csv", "upload.json", "x" * 201, "x\u202elnosj.exe"):
        assert client.post("/api/data/uploads", json={"name": name, "size": 1}).status_code == 400, name
    assert client.post("/api/data/uploads", json={"name": "a.csv", "size": uploads.LARGEST + 1}).status_code == 400
    at = (
        "/api/data/uploads/"
        + client.post("/api/data/uploads", json={"name": "faq.csv", "size": len(whole)}).json()["id"]
    )
    assert client.post(f"{at}/import", json={}).status_code == 409, "bytes are missing"
    assert client.post(at, json={"offset": 0, "data": "%"}).status_code == 400
    assert client.post(at, json=piece(whole[:20])).json() == {"received": 20}
    assert client.post(at, json=piece(whole[:20])).json() == {"received": 20}, "sent twice"
    wrong = client.post(at, json=piece(whole[30:], 30))
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "misplaced")
    assert client.post(at, json=piece(whole[20:] + b"more", 20)).status_code == 400
    assert client.post(at, json=piece(whole[20:], 20)).json() == {"received": len(whole)}
    (file,) = (root / "uploads").glob("*/faq.csv")
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o077 == 0
    assert client.post(f"{at}/import", json={"name": "-x"}).status_code == 400
    commands = []

    def spawn(command: list[str], place: Path) -> Any:
        commands.append(command)
        Path(f"{place}.log").touch()
        Path(f"{place}.out").write_text("{}")
        process = subprocess.Popen(["true"])
        process.wait()
        return process

    monkeypatch.setattr(jobs, "_spawn", spawn)
    how = {"split": "test", "kind": "demonstrations", "name": "faq", "skip_bad": True}
    assert client.post(f"{at}/import", json=how).json()["stage"] == "import"
    options = ["--split", "test", "--kind", "demonstrations", "--name", "faq", "--skip-bad"]
    assert commands[0][3:] == ["data", "import", str(file), *options, "-w", str(root), "--json"]
    get(client, "/api/data")
    assert not file.exists(), "imported, and deleted"
    assert client.post(at, json=piece(b"x")).status_code == 404


def test_uploads_that_nobody_goes_on_with_are_dropped(root: Path) -> None:
    space = Workspace.open(root)
    made = [uploads.begin(space, f"{i}.csv", 5) for i in range(uploads.MOST)]
    with pytest.raises(ValueError, match="wait until one is done"):
        uploads.begin(space, "more.csv", 5)
    old = time.time() - uploads.KEPT_SECONDS - 1
    os.utime(uploads.path_of(space, made[0]), (old, old))
    uploads.begin(space, "more.csv", 5)
    with pytest.raises(uploads.NoUpload):
        uploads.add(space, made[0].id, 0, b"x")
    uploads.drop(space, made[1].id)
    assert made[1].id not in [one.id for one in uploads.uploads(space)]


def test_samples_of_a_run(client: TestClient, root: Path) -> None:
    path = root / "rounds/002/ppo.partial/metrics.jsonl"
    path.parent.mkdir()
    rows = [{"iteration": i, "kl": 0.1, "samples": [{"prompt": "问", "answer": f"答 {i}"}]} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"iteration": 3, "samples": "bad"}\n{"half')
    found = get(client, "/api/training/samples?run=rounds/002/ppo.partial")
    assert (found["axis"], [row["at"] for row in found["rows"]]) == ("iteration", [2, 1, 0])
    assert found["rows"][0]["samples"] == [{"prompt": "问", "answer": "答 2"}]
    assert get(client, "/api/training/samples?run=../secret")["rows"] == []


def test_settings_are_described_and_changed(client: TestClient, root: Path) -> None:
    file = root / "steersman.toml"
    file.write_text(file.read_text().replace("\ncoef = 0.05\n", "\ncoef = 0.02  # as agreed\n", 1))
    told = {one["name"]: one for one in client.get("/api/rounds/settings/ppo").json()["settings"]}
    assert (told["kl.coef"]["value"], told["kl.coef"]["plain"], told["kl.coef"]["low"]) == (0.02, True, 0)
    assert told["kl.coef"]["default"] == 0.05
    for values, said in (
        ({"kl.coef": -1}, "ppo.kl.coef: expected at least 0, got -1.0"),
        ({"kl.coef": True}, "ppo.kl.coef: expected float, got True"),
        ({"nosuch": 1}, "ppo.nosuch: no such setting"),
        ({"judge": "os:system"}, "no such setting"),
    ):
        before = file.read_bytes()
        answer = client.put("/api/rounds/settings/ppo", json={"values": values})
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]
        assert file.read_bytes() == before
    texts = [name for name, one in told.items() if not one["plain"]]
    answer = client.put("/api/rounds/settings/ppo", json={"values": {texts[0]: "os:system"}})
    assert "can be changed in steersman.toml alone" in answer.json()["error"]["message"]
    assert client.put("/api/rounds/settings/ppo", json={"values": {"kl.coef": 0.5}}).status_code == 200
    assert "coef = 0.5  # as agreed" in file.read_text()
    assert client.get("/api/rounds/settings/store").status_code == 404
    assert client.put("/api/rounds/settings/serve", json={"values": {"port": 1}}).status_code == 400


def test_what_a_stage_tells_is_not_noted_again() -> None:
    told = "held-out accuracy 70.0 %\nnote: 440 rankings are simulated by a rule judge, not made by people"
    notes = ("440 of 440 rankings are simulated by a rule judge, not made by people", "erased since")
    assert unsaid(notes, told) == ["erased since"]
    assert unsaid(notes, "") == list(notes)
