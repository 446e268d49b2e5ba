"""Stages started, watched and cancelled from other processes: by the API, by the command line, after a restart."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

import tiny as t
from commands import Command, forking
from server_double import FakeEngine
from steersman import locks
from steersman.artifact.manifest import POINTS, verify
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.config_file import from_dict
from steersman.data.dataset import write_dataset
from steersman.rounds import jobs
from steersman.server.app import create_app
from steersman.store import Store

runner = CliRunner()


@pytest.fixture(scope="module")
def slowly() -> Iterator[subprocess.Popen[str]]:
    with forking() as process:
        yield process


@pytest.fixture
def space(tiny: Path, tmp_path: Path) -> Workspace:
    model = {"base": str(tiny), "device": "cpu", "dtype": "float32", "memory_check": False}
    space = Workspace.create(
        tmp_path / "w", from_dict({"model": model, "sft": {"batch_tokens": 64, "epochs": 6}}, "test")
    )
    texts = ["On its way.", "It arrives on 6 May.", "You can send it back.", "Please wait."] * 2
    records = [t.conversation(f"Where is order {i}?", text, id=f"d{i}") for i, text in enumerate(texts)]
    write_dataset(space.data, "chats", "demonstrations", "train", records, "test", {})
    return space


@pytest.fixture
def quick(slowly: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are forked from a process that has torch already, the first with slow steps."""
    seconds = iter([0.15])

    def fork(command: list[str], place: Path) -> Command:
        Path(f"{place}.log").symlink_to(f"{place}.err")
        return Command(slowly, place, next(seconds, 0.0), *command[3:])

    monkeypatch.setattr(jobs, "_spawn", fork)


@pytest.fixture
def client(space: Workspace) -> Iterator[TestClient]:
    with Store.open(space.store) as store:
        app = create_app(FakeEngine(), store, name="Shop", language="en", workspace=space.root)
        with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as opened:
            yield opened


def until(look: Callable[[], Any], good: Callable[[Any], bool], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_start_watch_cancel_and_go_on(client: TestClient, space: Workspace, quick: None) -> None:
    began = client.post("/api/rounds/jobs", json={"stage": "sft"})
    assert began.status_code == 201, began.text
    assert (began.json()["number"], began.json()["stage"], began.json()["round"]) == (1, "sft", 1)

    def look(number: int = 1) -> Any:
        return client.get(f"/api/rounds/jobs/{number}").json()

    busy = client.post("/api/rounds/jobs", json={"stage": "sample"})
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "busy")
    assert "job 1 (sft) is running" in busy.json()["error"]["message"]
    running = until(look, lambda job: job["metrics"].get("step", 0) >= 1 and job["progress"]["total"])
    assert running["state"] == "running"
    assert running["progress"]["unit"] == "step"
    assert running["progress"]["total"] > running["metrics"]["step"]
    made = client.get("/api/rounds").json()
    assert [job["state"] for job in made["jobs"]] == ["running"]
    assert {s["stage"]: s["state"] for s in made["stages"]}["sft"] == "partial"
    assert client.delete("/api/rounds/jobs/1").json()["state"] in ("stopping", "cancelled")
    ended = until(look, lambda job: job["state"] == "cancelled")
    assert ended["exit_code"] == 143
    assert "a resume point is saved in" in ended["error"]
    assert ended["resume"].startswith("step ")
    assert list(space.stage_dir("sft").with_name("sft.partial").glob(POINTS))
    assert client.delete("/api/rounds/jobs/1").json()["state"] == "cancelled", "once more does nothing"
    assert client.post("/api/rounds/jobs", json={"stage": "sft"}).json()["number"] == 2
    done = until(lambda: look(2), lambda job: job["state"] not in ("running", "stopping"))
    assert (done["state"], done["error"], done["exit_code"]) == ("done", None, 0), done
    assert done["result"]["made"] is True
    assert "going on at step" in (space.root / "jobs/002.log").read_text()
    verify(space.stage_dir("sft"))
    assert [job["state"] for job in client.get("/api/rounds/jobs").json()] == ["cancelled", "done"]


def test_what_cannot_be_started(client: TestClient, space: Workspace) -> None:
    def refused(body: Any, status: int = 400) -> str:
        answer = client.post("/api/rounds/jobs", json=body)
        assert answer.status_code == status, answer.text
        return str(answer.json()["error"]["message"])

    assert "stage 'sfft': expected one of sft, sample" in refused({"stage": "sfft"})
    assert "people make the rankings: steersman rank" in refused({"stage": "rank"})
    assert "stage" in refused({})
    assert "sets" in refused({"stage": "sft", "sets": ["model.trust_remote_code=true"]})
    assert client.get("/api/rounds/jobs/7").status_code == 404
    assert client.delete("/api/rounds/jobs/7").status_code == 404
    assert client.get("/api/rounds/jobs/x").status_code == 400
    with locks.making(space.stage_dir("sft")):
        message = refused({"stage": "sft"}, 409)
    assert "sft is being made by process" in message
    assert not (space.root / "jobs/001.json").exists()
    elsewhere = client.post("/api/rounds/jobs", json={"stage": "sft"}, headers={"Origin": "http://evil.example"})
    assert elsewhere.status_code == 403


def test_promotion_goes_through_the_gate(client: TestClient, space: Workspace) -> None:
    from test_rounds import artifact

    answer = client.post("/api/rounds/promote", json={})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stage")
    inputs = {stage: artifact(space, stage) for stage in ("sft", "ppo")}

    def judged(word: str) -> None:
        verdict = json.dumps({"pairs": [{"a": "ppo", "b": "sft", "word": word, "n": 200}]})
        artifact(space, "report", inputs, verdict_json=verdict)

    for word, option in (("worse", "force"), ("no evidence", "anyway")):
        judged(word)
        answer = client.post("/api/rounds/promote", json={"stage": "ppo"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_promoted")
        assert answer.json()["error"]["param"] == option
    assert client.post("/api/rounds/rollback").status_code == 409
    judged("better")
    done = client.post("/api/rounds/promote", json={"stage": "policy"}).json()
    assert (done["changed"], done["promoted"]["stage"], done["serving"]) == (True, "ppo", "ppo-7")
    assert client.post("/api/rounds/promote", json={}).json()["changed"] is False
    pairs = [{"a": a, "b": b, "word": "better", "n": 200} for a, b in (("ppo", "sft"), ("sft", "base"))]
    artifact(space, "report", inputs, verdict_json=json.dumps({"pairs": pairs}))
    error = client.post("/api/rounds/promote", json={"stage": "sft"}).json()["error"]
    assert (error["param"], "sft is worse than ppo, which is served now" in error["message"]) == ("anyway", True)
    assert client.post("/api/rounds/promote", json={"stage": "sft", "anyway": True}).json()["changed"]
    assert client.post("/api/rounds/rollback").json()["current"]["stage"] == "ppo"
    assert client.get("/api/rounds").json()["current"]["stage"] == "ppo"


def test_a_server_without_a_workspace(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        app = create_app(FakeEngine(), store, name="Shop", language="en", key="secret")
        with TestClient(app, base_url="http://127.0.0.1:8000") as client:
            assert client.get("/api/rounds").status_code == 401
            keyed = {"Authorization": "Bearer secret"}
            assert client.get("/api/rounds", headers=keyed).status_code == 404
            assert client.post("/api/rounds/jobs", json={"stage": "sft"}, headers=keyed).status_code == 404


# what a process came to


def recorded(space: Workspace, pid: int, said: str = "", **more: Any) -> jobs.Job:
    """A job whose process is `pid`, which ended with `said`."""
    started = jobs._started(pid)
    record = jobs.Record(1, "sft", 1, ["x"], pid, started, jobs.socket.gethostname(), "now")
    folder = space.root / "jobs"
    folder.mkdir(exist_ok=True)
    (folder / "001.json").write_text(json.dumps(dataclasses.asdict(record) | more))
    (folder / "001.out").write_text(said)
    return jobs.job(space, 1)


def test_the_end_is_told_as_it_was(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (space.stage_dir("sft")).mkdir(parents=True)
    (space.stage_dir("sft") / "metrics.jsonl").write_text('{"step": 9}\n')
    running = recorded(space, child.pid)
    assert (running.state, running.metrics) == ("running", {}), "what was made before is not its own"
    with pytest.raises(jobs.Busy, match="job 1"):
        jobs.start(space, "sft")
    assert recorded(space, child.pid, process_started=1.0).state == "killed", "another process has its number now"
    assert recorded(space, child.pid, host="other").state == "elsewhere"
    with pytest.raises(ValueError, match="runs on other"):
        jobs.cancel(space, 1)
    recorded(space, child.pid)
    assert jobs.cancel(space, 1).record.cancelled
    assert child.wait(10) == -signal.SIGTERM
    assert jobs.job(space, 1).state == "cancelled"
    ended = {"pid": child.pid}
    assert recorded(space, **ended).state == "killed"
    assert recorded(space, **ended, said='{"stage": "sft", "made": true}').metrics == {"step": 9}
    assert recorded(space, **ended, said='{"error": "interrupted", "exit_code": 143}').state == "cancelled"
    failed = recorded(space, **ended, said='{"error": "error: no data", "exit_code": 2}')
    assert (failed.state, failed.to_json()["error"], failed.to_json()["exit_code"]) == ("failed", "error: no data", 2)
    assert recorded(space, **ended, said='{"error": "error: no data"}').state == "killed"
    look = jobs._alive
    with monkeypatch.context() as patch:
        out = space.root / "jobs/001.out"
        patch.setattr(jobs, "_alive", lambda record: (out.write_text('{"stage": "sft"}'), look(record))[1])
        assert recorded(space, **ended).state == "done", "it ended while it was looked at"


def test_a_damaged_record_hinders_no_other_job(client: TestClient, space: Workspace, quick: None) -> None:
    recorded(space, os.getpid())
    place = space.root / "jobs/001.json"
    (space.root / "jobs/².json").touch()
    good = json.loads(place.read_text())
    fields = {"pid": -4}, {"pid": "y"}, {"round": "x"}, {"round": 0}, {"stage": "nosuch"}, {"number": 2}, {"more": 1}
    for damage in ("garbage", "", "[]", "{}", *(json.dumps(good | field) for field in fields)):
        place.write_text(damage)
        (told,) = client.get("/api/rounds").json()["jobs"]
        assert (told["number"], told["state"], told["exit_code"]) == (1, "damaged", None), damage
        assert f"{place}: not a job: " in told["error"]
        assert client.delete("/api/rounds/jobs/1").json() == told
    assert jobs.start(space, "sft").record.number == 2
    jobs.cancel(space, 2)


def test_progress_is_read_from_the_log(space: Workspace) -> None:
    recorded(space, os.getpid())
    log = space.root / "jobs/001.log"
    log.write_text("sft: starting\nsft  step 4/41  loss 2.31  ETA 1m20s\na remark\nsft  step 5/4")
    found = jobs.job(space, 1).progress
    assert found == {
        "line": "a remark",
        "unit": "step",
        "done": 4,
        "total": 41,
        "eta": "1m20s",
    }
    log.write_text("sft  step 0/41  held-out loss  row 3/4  ETA 2s\n")
    assert jobs.job(space, 1).progress["eta"] is None, "the time to go of what is done inside the step"
    log.write_text("sft  step 1/41  ETA 3m02s  held-out loss  row 3/4  ETA 2s\n")
    assert jobs.job(space, 1).progress["eta"] == "3m02s"


def test_the_command_line_starts_and_tells_of_a_failure(tmp_path: Path) -> None:
    """In a real process, which has nothing to learn from."""
    space = Workspace.create(tmp_path / "w", from_dict({"model": {"base": str(tmp_path)}}, "test"))

    def told(*args: str, code: int = 0) -> Any:
        result = runner.invoke(build(), ["jobs", *args, "-w", str(space.root), "--json"])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)

    assert told("list") == {"jobs": []}
    assert told("start", "sft", "-s", "sft.epochs=2")["state"] in ("running", "failed")
    ended = told("watch", "1", code=2)
    assert ended["state"] == "failed"
    assert "no demonstrations; expected some" in ended["error"]
    assert [job["state"] for job in told("list")["jobs"]] == ["failed"]
    assert told("cancel", "1")["state"] == "failed"
    shown = runner.invoke(build(), ["jobs", "list", "-w", str(space.root)]).stdout
    assert shown.startswith("1  sft  round 1  failed  error: ")
    assert runner.invoke(build(), ["jobs", "watch", "3", "-w", str(space.root)]).exit_code == 2
