"""The whole loop on a tiny model, through the command line: made once, made again only where something changed,
promoted, served, liked, exported, and gone on with after kill -9.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from steersman.artifact.files import file_sha256, write_json
from steersman.artifact.manifest import identity, read_manifest, verify, write_manifest
from steersman.artifact.workspace import Workspace
from steersman.config import Config, to_dict
from steersman.eval import kept
from steersman.rounds import registry
from steersman.store import Store
from verbs import done as invoke

SIZES = {
    "model.dtype": "float32",
    "model.device": "cpu",
    "data.demonstrations": 24,
    "data.ranking_prompts": 24,
    # a random model's answers are equally bad to the judge: errors make preferences to learn
    "rank.error_rate": 0.4,
    "data.ppo_prompts": 12,
    "data.eval_prompts": 6,
    "sft.epochs": 1,
    "sft.lr": 1e-3,
    "sft.train_layers": 0,
    "sft.batch_tokens": 2048,
    "sample.answers": 3,
    "sample.max_tokens": 8,
    "sample.batch_prompts": 4,
    "reward.lr": 1e-3,
    "reward.epochs": 1,
    "reward.holdout_fraction": 0.25,
    "reward.train_layers": 0,
    "ppo.iterations": 3,
    "ppo.prompts_per_iteration": 4,
    "ppo.answers_per_prompt": 2,
    "ppo.max_tokens": 6,
    "ppo.minibatches": 2,
    "ppo.lr": 1e-3,
    "ppo.critic_lr": 1e-3,
    "ppo.kl_ceiling": 1e9,
    "ppo.eval_every": 1,
    "ppo.eval_prompts": 4,
    "ppo.train_layers": 0,
    "eval.max_tokens": 8,
    "eval.bootstrap": 200,
    "serve.max_tokens": 8,
}
STAGES = ("sft", "samples", "rankings", "reward", "ppo", "report")


def sets(**changes: Any) -> list[str]:
    """--set options for SIZES with changes (section__key=value)."""
    values = SIZES | {key.replace("__", "."): value for key, value in changes.items()}
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def inside(root: Path, *args: str, code: int = 0, **options: Any) -> Any:
    return invoke(*args, "-w", str(root), code=code, **options)


def inside_json(root: Path, *args: str, **options: Any) -> Any:
    return json.loads(inside(root, *args, "--json", **options).stdout)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::DeprecationWarning:steersman"}


def steersman(*args: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from steersman.cli import main; main()", *args]
    return subprocess.Popen(command, env=environment(), text=True, **options)


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after init, import and a whole run. Tests work on copies."""
    root = tmp_path_factory.mktemp("loop") / "w"
    invoke("init", str(root), "--base", str(tiny), "--name", "tester", *sets())
    inside(root, "data", "import", "shop")
    result = inside(root, "run", "--simulated")
    assert "no evidence" in result.stdout
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "w", copy_function=shutil.copy2)


def identities(root: Path) -> dict[str, str]:
    space = Workspace.open(root)
    return {stage: identity(read_manifest(space.stage_dir(stage, 1))) for stage in STAGES}


def footprint(root: Path) -> dict[str, tuple[int, int]]:
    """(inode, time of change) of every file of rounds/ and data/: whatever was written again differs."""
    files = [p for part in ("rounds", "data") for p in (root / part).rglob("*") if p.is_file() and p.suffix != ".lock"]
    return {str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


def states(root: Path, *args: str) -> dict[str, dict[str, Any]]:
    return {stage["stage"]: stage for stage in inside_json(root, "status", *args)["stages"]}


def remade(before: dict[str, str], root: Path) -> set[str]:
    return {stage for stage, value in identities(root).items() if value != before[stage]}


# the loop


@pytest.mark.slow
def test_a_trial_of_the_same_seed_is_the_loop_itself(root: Path) -> None:
    """Everything follows from the seed: the workspace's seed gives its verdict to the byte."""
    before, seed = footprint(root), Workspace.open(root).config.project.seed
    said = inside_json(root, "trial", "--seeds", str(seed))
    assert (said["n_seeds"], said["rankings"]) == (1, "simulated")
    verdict = Path("report") / "verdict.json"
    mine = root / "trials" / "001" / f"{seed:03d}"
    assert (mine / verdict).read_bytes() == (root / "rounds" / "001" / verdict).read_bytes()
    assert footprint(root) == before
    assert not [*mine.rglob("*.safetensors")]


def test_every_artifact_is_whole_and_says_what_it_was_made_from(made: Path) -> None:
    space = Workspace.open(made)
    manifests = {stage: verify(space.stage_dir(stage)) for stage in STAGES}
    sources = {stage: {name for name in m.inputs if not name.startswith("data:")} for stage, m in manifests.items()}
    assert sources == {
        "sft": {"base"},
        "samples": {"sft"},
        "rankings": {"store", "samples"},
        "reward": {"sft", "rankings"},
        "ppo": {"sft", "reward"},
        "report": {"base", "sft", "ppo", "reward"},
    }
    for stage, manifest in manifests.items():
        for name, value in manifest.inputs.items():
            if name in manifests:
                assert value == identity(manifests[name]), f"{stage} was made from this {name}"
    assert manifests["reward"].metrics["simulated"] == 24
    assert any("simulated" in note for note in manifests["reward"].notes)
    assert not list(space.root.rglob("*.partial"))
    assert not list(space.root.rglob("*.stale"))
    assert not list(space.root.rglob("*.tmp"))
    assert not list(space.root.rglob(".resume-*"))
    status = inside_json(made, "status")
    assert {stage["state"] for stage in status["stages"]} == {"ready"}
    assert status["next"] == "steersman promote"
    assert status["rankings"] == {"tasks": 24, "ranked": 0, "by_labeler": {}, "simulated": 24}


def test_nothing_is_made_twice(root: Path) -> None:
    before = footprint(root)
    result = inside(root, "run", "--simulated")
    for stage, verb in (("sft", "sft"), ("samples", "sample"), ("reward", "reward"), ("ppo", "ppo")):
        assert inside_json(root, verb)["made"] is False, stage
    assert inside_json(root, "eval")["made"] is False
    inside(root, "data", "import", "shop")
    inside(root, "data", "export", "rankings")
    assert footprint(root) == before
    assert "making it again" not in result.stderr
    assert inside_json(root, "rank", "--simulated")["ranked"] == 0


def test_a_changed_setting_remakes_only_what_depends_on_it(root: Path) -> None:
    before = identities(root)
    inside(root, "run", "--simulated", "-s", "ppo.save_seconds=1", "-s", "serve.port=9000")
    assert remade(before, root) == set(), "settings that change no result"
    changed = ["-s", "ppo.lr=2e-3"]
    assert states(root, *changed)["ppo"]["changed_settings"] == ["ppo.lr"]
    inside(root, "run", "--simulated", *changed)
    assert remade(before, root) == {"ppo", "report"}
    between = footprint(root)
    inside(root, "run", "--simulated", *changed)
    assert footprint(root) == between
    assert states(root, *changed)["ppo"]["changed_settings"] == []
    for stage in STAGES:
        verify(Workspace.open(root).stage_dir(stage))


def test_new_rankings_make_stale_what_was_learned_from_the_old(root: Path) -> None:
    before = identities(root)
    said = inside_json(root, "rank", "--labeler", "ann", "--limit", "2", input="1>2>3\n3>2>1\n")
    assert (said["ranked"], said["progress"]["by_labeler"]) == (2, {"ann": 2})
    found = states(root)
    assert (found["rankings"]["state"], found["rankings"]["changed_inputs"]) == ("stale", ["store"])
    assert inside_json(root, "status")["next"] == "steersman reward"
    inside(root, "data", "export", "rankings")
    found = states(root)
    assert {name: (s["state"], s["changed_inputs"]) for name, s in found.items()} == {
        "sft": ("ready", []),
        "samples": ("ready", []),
        "rankings": ("ready", []),
        "reward": ("stale", ["rankings"]),
        "ppo": ("ready", []),
        "report": ("ready", []),
    }
    assert inside_json(root, "status")["next"] == "steersman reward"
    inside(root, "run", "--simulated")
    assert remade(before, root) == {"rankings", "reward", "ppo", "report"}
    metrics = read_manifest(Workspace.open(root).stage_dir("reward")).metrics
    assert (metrics["human"], metrics["simulated"]) == (2, 24)
    assert {stage["state"] for stage in states(root).values()} == {"ready"}


def test_a_damaged_artifact_is_found_before_it_is_used(root: Path) -> None:
    weights = Workspace.open(root).stage_dir("sft") / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    for verb in (["ppo"], ["eval"]):
        line = inside(root, *verb, code=2).stderr.splitlines()[-1]
        assert line.startswith(f"error: {weights}: its content differs from its manifest")
    inside(root, "sft")  # the command that makes it puts what is damaged aside
    assert list(weights.parents[1].glob("sft.damaged*"))
    inside(root, "ppo")


# what people see


def say_of_policy(root: Path, word: str) -> None:
    """Alter the report's word on the policy, as if the evaluation had ended that way."""
    folder = Workspace.open(root).stage_dir("report")
    verdict = json.loads((folder / "verdict.json").read_text())
    for pair in verdict["pairs"]:
        if {pair["a"], pair["b"]} == {"ppo", "sft"}:
            pair["word"] = word if pair["a"] == "ppo" else {"worse": "better", "better": "worse"}[word]
    old = read_manifest(folder)
    write_json(folder / "verdict.json", verdict)
    write_manifest(folder, "report", old.config, old.inputs, old.metrics)


def test_promote_gate_rollback_and_chat(root: Path) -> None:
    assert inside_json(root, "promote", "--stage", "sft", "--anyway")["promoted"]["stage"] == "sft"
    say_of_policy(root, "worse")
    assert "ppo is worse than sft" in inside(root, "promote", code=2).stderr
    assert Workspace.open(root).history()[-1]["stage"] == "sft"
    assert inside_json(root, "promote", "--force")["forced_against"]
    assert inside_json(root, "chat", "-m", "Where is it?")["policy_version"] == "001/ppo"
    assert inside_json(root, "rollback")["current"]["stage"] == "sft"
    assert inside_json(root, "chat", "-m", "Where is it?")["policy_version"] == "001/sft"
    say_of_policy(root, "better")
    assert inside_json(root, "promote", "--anyway")["forced_against"] is None
    assert inside_json(root, "status")["next"] == "steersman serve"
    greedy = [inside(root, "chat", "-m", "Where is it?", "--temperature", "0").stdout for _ in range(2)]
    assert greedy[0] == greedy[1] != ""
    dialogue = inside(root, "chat", "--temperature", "0", input="Where is it?\n\nAnd now?\n")
    assert dialogue.stdout.startswith(f"> {greedy[0]}")
    assert "(new dialogue)" in dialogue.stderr


def test_report_and_exports(root: Path) -> None:
    space = Workspace.open(root)
    shown = inside_json(root, "report")
    assert shown["path"] == str(space.stage_dir("report"))
    assert {(p["a"], p["b"]) for p in shown["verdict"]["pairs"]} >= {("ppo", "sft"), ("sft", "base")}
    page = space.stage_dir("report") / "report.html"
    content = page.read_bytes()
    page.unlink()
    inside(root, "report")
    assert page.read_bytes() == content, "drawn again from what was measured"

    measured = page.with_name("models.json")
    present = measured.read_bytes()
    old = json.loads(present)
    old["curves"] = {of["stage"]: of["rows"] for of in old["curves"]}  # as earlier versions wrote them
    assert len(old["curves"]) == 3
    measured.write_text(json.dumps(old))
    page.unlink()
    drawn = kept.draw(page.parent, space.config, registry.maker_of).read_bytes()
    measured.write_bytes(present)
    assert drawn == content

    assert inside_json(root, "data", "export", "rankings")["count"] == 24
    compared = inside_json(root, "data", "export", "comparisons")
    lines = [json.loads(line) for line in Path(compared["path"]).read_text().splitlines()]
    with Store.open(space.store) as store:
        expected = [c for r in store.rankings(1) for c in r.comparisons()]
    assert [(line["chosen"], line["rejected"]) for line in lines] == [(c.chosen, c.rejected) for c in expected]
    assert lines[0]["prompt"][-1]["role"] == "user"
    again = inside(root, "data", "export", "comparisons", "-o", "-")
    assert again.stdout.splitlines() == [json.dumps(line, ensure_ascii=False) for line in lines]


def get(url: str, body: Any = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_serve_and_what_a_like_leaves_behind(root: Path) -> None:
    from openai import OpenAI

    inside(root, "promote", "--anyway")
    process = steersman("serve", "-w", str(root), "--port", "0", "--json", stdout=-1, stderr=-1)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        status, page = get(f"{url}/")
        assert status == 200
        assert "<!doctype html>" in page.lower()
        assert get(f"{url}/rank")[0] == 200
        status, report = get(f"{url}/report")
        assert (status, "tester" in report) == (200, True)
        config = json.loads(get(f"{url}/api/config")[1])
        assert (config["model"], config["policy_version"], config["report"]) == ("tester", "001/ppo", True)

        with OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=30) as client:
            assert [m.id for m in client.models.list()] == ["tester", "001/ppo", "001/sft", "base"]
            asked: Any = {
                "model": "tester",
                "messages": [{"role": "user", "content": "Where is it?"}],
                "temperature": 0,
            }
            whole = client.chat.completions.create(**asked)
            with client.chat.completions.create(**asked, stream=True) as pieces:
                streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
        assert whole.choices[0].message.content == streamed
        assert whole.usage is not None
        assert 1 <= whole.usage.completion_tokens <= SIZES["serve.max_tokens"]
        assert whole.system_fingerprint == "001/ppo"

        task = json.loads(get(f"{url}/api/rank/next?labeler=ann")[1])["task"]
        ranks = {answer["key"]: i for i, answer in enumerate(task["answers"], 1)}
        assert get(f"{url}/api/rank/{task['id']}", {"labeler": "ann", "ranks": ranks})[0] == 200

        chat = json.loads(get(f"{url}/api/conversations", {})[1])
        answer = get(f"{url}/api/conversations/{chat['id']}/messages", {"content": "Where is my parcel?"})[1]
        done = [json.loads(e.removeprefix("data: ")) for e in answer.split("\n\n") if e.startswith("data: ")][-1]
        assert done["type"] == "done"
        message = done["message"]
        assert get(f"{url}/api/messages/{message['id']}/feedback", {"kind": "like"})[0] == 200
        edit = {"kind": "edit", "edited": "It arrives on 6 May."}
        assert get(f"{url}/api/messages/{message['id']}/feedback", edit)[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()

    path = inside_json(root, "data", "export", "feedback")["path"]
    records = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert [r["kind"] for r in records] == ["like", "edit"]
    for record in records:
        assert record["prompt"]["messages"][-1] == {"role": "user", "content": "Where is my parcel?"}
        assert record["policy_version"] == "001/ppo"
    assert [r["answer"] for r in records] == ["It arrives on 6 May.", message["content"]], "a like is of what stands"
    demonstrations = inside_json(root, "data", "export", "demonstrations")
    assert demonstrations["count"] == 1
    assert states(root)["rankings"]["state"] == "stale", "ann has ranked on the page"

    assert inside_json(root, "next") == {"round": 2, "edits": 1}
    inside(root, "run", "--simulated")
    second = {stage: verify(Workspace.open(root).stage_dir(stage, 2)) for stage in STAGES}
    assert "data:edits-002" in second["sft"].inputs
    assert second["reward"].inputs["001/rankings"] == identities(root)["rankings"]


# without a workspace


def test_the_stages_alone(tiny: Path, made: Path, tmp_path: Path) -> None:
    data, out = made / "data", tmp_path / "out"

    def alone(verb: str, model: str, file: Path, name: str, *more: str) -> Any:
        paths = ["--model", model, "--data", str(file), "--output", str(out / name), "--json"]
        shown = json.loads(invoke(verb, *paths, *more, *sets()).stdout)
        assert (shown["path"], shown["made"]) == (str(out / name), True)
        verify(out / name)
        return shown

    alone("sft", str(tiny), data / "shop-demonstrations-train.jsonl", "sft")
    alone("sample", str(out / "sft"), data / "shop-prompts-rank-train.jsonl", "samples")
    rankings = Workspace.open(made).stage_dir("rankings") / "rankings.jsonl"
    more = ["--demonstrations", str(data / "shop-demonstrations-validation.jsonl")]
    assert alone("reward", str(out / "sft"), rankings, "reward", *more)["metrics"]["normalised_on"] == 6
    more = ["--reward", str(out / "reward"), "--held-out", str(data / "shop-prompts-validation.jsonl")]
    alone("ppo", str(out / "sft"), data / "shop-prompts-ppo-train.jsonl", "ppo", *more)
    more = ["--model", f"ppo={out / 'ppo'}", "--reward", str(out / "reward")]
    shown = alone("eval", f"sft={out / 'sft'}", data / "shop-prompts-test.jsonl", "report", *more)
    assert [m["name"] for m in shown["verdict"]["models"]] == ["sft", "ppo"]
    assert (out / "report" / "report.html").is_file()
    made = sorted(p.name for p in out.iterdir() if p.suffix != ".lock")
    assert made == ["ppo", "report", "reward", "samples", "sft"]


# the demo


def demo_args(root: Path, tiny: Path) -> list[str]:
    changes = sets(model__base=str(tiny), sft__epochs=3, sft__save_seconds=0, ppo__save_seconds=0, ppo__iterations=5)
    return ["demo", str(root), "--headless", *changes]


@pytest.fixture(scope="module")
def demo(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that nobody interrupted."""
    root = tmp_path_factory.mktemp("demo") / "d"
    assert "no evidence" in invoke(*demo_args(root, tiny)).stdout
    return root


def test_demo_goes_on_where_it_was(demo: Path, tiny: Path) -> None:
    assert {stage["state"] for stage in states(demo).values()} == {"ready"}
    assert [entry["stage"] for entry in Workspace.open(demo).history()] == ["sft"], "no evidence that PPO helped"
    before = footprint(demo)
    for again in (demo_args(demo, tiny), ["demo", str(demo), "--headless"]):
        assert "going on in" in invoke(*again).stderr
        assert footprint(demo) == before
    assert len(Workspace.open(demo).history()) == 1
    answer = inside(demo, "chat", "-m", "Where is it?")
    assert answer.exit_code == 0


MOMENTS = {
    "sft": ".resume-*.safetensors",
    "samples": "candidates.jsonl",
    "ppo": ".resume-*.safetensors",
}
"""Stage -> the file in its working folder at whose appearance the demo is killed."""


@pytest.mark.slow
def test_demo_after_kill_minus_nine(demo: Path, tiny: Path, tmp_path: Path) -> None:
    """Killed at three moments, the same command each time, and the same bits as the uninterrupted run."""
    root = tmp_path / "d"
    for stage, name in MOMENTS.items():
        process = steersman(*demo_args(root, tiny), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        partial = root / "rounds" / "001" / f"{stage}.partial"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):  # an older resume point that is just being removed
                if any(path.stat().st_size > 0 for path in partial.glob(name)):
                    break
            time.sleep(0.001)
        running = process.poll() is None
        process.kill()
        process.wait()
        assert running, f"ended with exit code {process.returncode} before {partial / name} was seen"
        assert not (root / "rounds" / "001" / stage).exists()
    process = steersman(*demo_args(root, tiny), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    for name in ("sft/model.safetensors", "reward/model.safetensors", "ppo/model.safetensors"):
        mine, theirs = (folder / "rounds" / "001" / name for folder in (root, demo))
        assert file_sha256(mine) == file_sha256(theirs), name
    for name in ("samples/candidates.jsonl", "ppo/metrics.jsonl", "report/verdict.json"):
        mine, theirs = (folder / "rounds" / "001" / name for folder in (root, demo))
        assert mine.read_bytes() == theirs.read_bytes(), name
    assert identities(root)["sft"] == identities(demo)["sft"]
    assert [entry["stage"] for entry in Workspace.open(root).history()] == ["sft"]
    assert not list((root / "rounds").rglob("*.partial"))


def test_the_sizes_name_real_settings() -> None:
    config = Config()
    for key in SIZES:
        section, _, name = key.partition(".")
        assert name in to_dict(getattr(config, section)), key
