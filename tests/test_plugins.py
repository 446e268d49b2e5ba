"""Users' functions: examples of the documents run, a settings file alone runs nothing, errors say what and where."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

import tiny as t
from server_double import FakeEngine
from steersman import plugin_calls, plugins
from steersman.artifact.manifest import read_manifest
from steersman.artifact.workspace import CONFIG_NAME, Workspace
from steersman.cli import framework
from steersman.config import Config, RuleConfig, of_stage, replaced, to_dict
from steersman.config_file import from_dict, with_overrides
from steersman.plugins import Plugin
from steersman.rl.rules import scorer
from steersman.server.app import create_app
from steersman.store import Store
from steersman.train.scoring import check_rewards
from verbs import told as invoke

DOCS = Path(__file__).parent.parent / "docs"
SIZES = [
    *("project.domain=none", "model.dtype=float32", "model.device=cpu", "data.session_hours=0"),
    *("sft.epochs=1", "sft.batch_tokens=400", "sft.row_tokens=200", "sample.answers=2", "sample.max_tokens=4"),
    *(
        "sample.batch_prompts=8",
        "rank.error_rate=1.0",
        "reward.batch_prompts=4",
        "reward.row_tokens=400",
        "eval.max_tokens=2",
    ),
    *("eval.bootstrap=50", "ppo.iterations=1", "ppo.prompts_per_iteration=4", "ppo.minibatches=2", "ppo.max_tokens=3"),
    *("eval.max_tokens=2", "ppo.eval_prompts=2", "ppo.eval_every=1", "ppo.kl_ceiling=1e9"),
]


def examples(language: str) -> dict[str, str]:
    """File name -> the example of the document."""
    text = (DOCS / f"PLUGINS{language}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\w+\.py)(.*?)```", text, re.S)
    return {name: f"#{code}" for name, code in blocks}


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is trusted, admitted and imported is forgotten after each test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(plugins.ALLOW, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setattr(plugins, "_admitted", [])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path_importer_cache.clear()
    scorer.cache_clear()
    importlib.invalidate_caches()


def workspace(root: Path, text: str, **code: str) -> Path:
    Workspace.create(root, Config())
    (root / CONFIG_NAME).write_text(f'[model]\ndevice = "cpu"\n{text}', encoding="utf-8")
    for name, source in code.items():
        (root / f"{name}.py").write_text(source, encoding="utf-8")
    return root


JUDGE = '[project]\njudge = "mine:judge"\n'
RAN = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n\ndef judge(c, a):\n    return 0.5\n"


def test_examples_of_the_docs_run(tiny: Path, tmp_path: Path) -> None:
    """Imported, trained, judged and asked by the four functions, inside a workspace that names them."""
    root = tmp_path / "w"
    files = examples("")
    assert len(files) == 4
    assert files == examples(".zh-CN"), "the same in both languages"
    assert all(len(code.strip().splitlines()) <= 14 for code in files.values())
    settings = [part for setting in SIZES for part in ("-s", setting)]
    invoke("init", str(root), "--base", str(tiny), *settings)
    for name, code in files.items():
        (root / name).write_text(code, encoding="utf-8")
    text = (root / CONFIG_NAME).read_text(encoding="utf-8")
    text = text.replace('judge = ""', 'judge = "shop_rules:judge"')
    text = text.replace("tasks = []", 'tasks = ["sums", "shop_tasks:capitals"]')
    text = text.replace("rules = []", 'rules = [{rule = "python", function = "shop_rewards:polite"}, {rule = "judge"}]')
    (root / CONFIG_NAME).write_text(text, encoding="utf-8")
    at = ("-w", str(root))
    assert "shop_rules:judge" in invoke("status", *at, code=2)["error"]
    assert set(invoke("trust", *at)["trusted"]) == {"shop_rules:judge", "shop_rewards:polite", "shop_tasks:capitals"}

    tickets = tmp_path / "tickets.txt"
    tickets.write_text("\n---\n".join(f"Where is parcel {i}? 在哪里？\n=> On its way, {i}." for i in range(8)), "utf-8")
    told = invoke("data", "import", str(tickets), "--as", "shop_tickets:tickets", *at)
    assert told["datasets"][0]["count"] == 8
    prompts = t.write_jsonl(
        tmp_path / "p.jsonl", [t.conversation(f"Where is {i}?", id=f"p{i}").to_json() for i in range(12)]
    )
    invoke("data", "import", str(prompts), "--kind", "prompts", *at)
    invoke("data", "import", str(prompts), "--kind", "prompts", "--split", "test", "--name", "test", *at)
    assert invoke("run", "--simulated", *at)

    space = Workspace.open(root)
    with Store.open(space.store) as store:
        assert all(ranking.simulated for ranking in store.rankings(1))
    inputs = read_manifest(space.stage_dir("ppo")).inputs
    assert {"rewards shop_rewards:polite", "judges shop_rules:judge"} <= set(inputs)
    line = json.loads((space.stage_dir("ppo") / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert {"rule1_python", "rule2_judge"} <= set(line)
    assert {"judges shop_rules:judge", "tasks shop_tasks:capitals"} <= set(
        read_manifest(space.stage_dir("report")).inputs
    )

    shown = invoke("report", *at)["verdict"]
    assert shown["judge"] == "shop_rules:judge"
    assert set(shown["pairs"][0]["axes"]) == {"on_topic", "short"}
    assert [(task["name"], task["n"]) for task in shown["tasks"]] == [("sums", 40), ("shop_tasks:capitals", 3)]
    assert {"a", "b", "names", "difference", "word", "held"} == set(shown["tasks"][0]["pairs"][0])
    page = (space.stage_dir("report") / "report.html").read_text(encoding="utf-8")
    assert "on_topic" in page
    assert "shop_tasks:capitals" in page

    assert not invoke("eval", *at)["made"]
    with (root / "shop_rules.py").open("a", encoding="utf-8") as file:
        file.write("\n# other\n")
    assert "its code has changed since it was trusted" in invoke("eval", *at, code=2)["error"]
    invoke("trust", *at)
    states = {s["stage"]: s for s in invoke("status", *at)["stages"]}
    assert "judges shop_rules:judge" in states["report"]["changed_inputs"]
    assert "judges shop_rules:judge" in states["ppo"]["changed_inputs"]
    assert states["sft"]["state"] == "ready"


def test_a_settings_file_alone_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = workspace(tmp_path / "w", JUDGE, mine=RAN)
    for verb in ("status", "eval", "run", "serve", "chat"):
        told = CliRunner().invoke(framework.build(), [verb, "-w", str(root)])
        assert told.exit_code == 2
        assert "project.judge = 'mine:judge': a file does not decide what runs" in told.stderr
        assert "steersman trust" in told.stderr
    with pytest.raises(ValueError, match=r"mine\.py"):
        Workspace.open(root)
    invoke("init", "--upgrade", str(root))
    invoke("trust", "-w", str(root))
    assert not (root / "ran").exists(), "to trust is not to run"
    assert Workspace.open(root).config.project.judge == "mine:judge"
    copy = tmp_path / "copy"
    workspace(copy, JUDGE, mine=RAN)
    with pytest.raises(ValueError, match="a file does not decide"):
        Workspace.open(copy)  # trust is for one workspace
    invoke("trust", "--forget", "-w", str(root))
    with pytest.raises(ValueError, match="a file does not decide"):
        Workspace.open(root)
    monkeypatch.setenv(plugins.ALLOW, "1")
    Workspace.open(root)
    assert plugin_calls.judge_of("mine:judge").score(t.conversation("Hi"), "x").overall == 0.5
    assert (root / "ran").exists()


def test_what_a_settings_file_names_in_vain_is_said_with_its_place(tmp_path: Path) -> None:
    root = workspace(tmp_path / "w", '[project]\njudge = "不在:评判"\n')
    with pytest.raises(ValueError, match=r"steersman.toml: project.judge = 不在:评判: no module 不在 found"):
        Workspace.open(root)
    with pytest.raises(ValueError, match="expected module:function"):
        plugins.digest("../mine:judge", "judges", tmp_path)


@pytest.mark.parametrize("change", ["helper.py", "pkg/__init__.py", "mine.py"])
def test_changed_code_is_asked_for_again(change: str, tmp_path: Path) -> None:
    root = workspace(tmp_path / "w", JUDGE, mine="import helper\n\ndef judge(c, a):\n    return 1\n", helper="x = 1\n")
    invoke("trust", "-w", str(root))
    Workspace.open(root)
    (root / change).parent.mkdir(exist_ok=True)
    with (root / change).open("a") as file:
        file.write("y = 2\n")
    with pytest.raises(ValueError, match="its code has changed since it was trusted"):
        Workspace.open(root)


def test_bytecode_links_and_data_of_a_workspace_are_never_imported(tmp_path: Path) -> None:
    """They are not in the hash, so they must not run: a forged .pyc has the time and size of the source."""
    import py_compile

    root = workspace(tmp_path / "w", JUDGE, mine="def judge(c, a):\n    return 0.25\n")
    evil = root / "evil.py"
    evil.write_text("def judge(c, a):\n    return 0.75\n")
    cache = Path(importlib.util.cache_from_source(str(root / "mine.py")))
    py_compile.compile(str(evil), cfile=str(cache), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    evil.unlink()
    (root / "rounds" / "hidden.py").write_text("")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "inner.py").write_text("")
    (root / "linked").symlink_to(outside)
    (tmp_path / "link").symlink_to(root)
    sys.path.insert(0, str(root))  # as `python -m` does in this folder
    invoke("trust", "-w", str(root))
    Workspace.open(tmp_path / "link")
    assert plugin_calls.judge_of("mine:judge").score(t.conversation("Hi"), "x").overall == 0.25
    for module in ("rounds.hidden", "linked.inner"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(module)


def test_code_that_changes_under_a_server_is_named_on_its_page(tmp_path: Path) -> None:
    root = workspace(tmp_path / "w", JUDGE, mine=RAN)
    invoke("trust", "-w", str(root))
    with Store.open(root / "store.db") as store:
        app = create_app(FakeEngine(), store, name="S", language="en", workspace=root)
        client = TestClient(app, base_url="http://127.0.0.1:8000")
        assert client.get("/api/rounds/now").status_code == 200
        (root / "mine.py").write_text(RAN + "\n# changed\n")
        for path in ("/api/rounds", "/api/rounds/now", "/api/rounds/all", "/api/data"):
            answer = client.get(path)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (409, "workspace")
            assert re.search(rf"mine:judge.*changed.*Read {root}/mine.py.*steersman trust -w", error["message"])
        (root / "mine.py").unlink()
        assert f"expected {root}/mine.py" in client.get("/api/rounds/now").json()["error"]["message"]
        (root / "mine.py").write_text(RAN + "\n# changed\n")
        invoke("trust", "-w", str(root))
        assert client.get("/api/rounds/now").status_code == 200  # without a restart


def test_names_that_are_typed_need_no_trust(tmp_path: Path) -> None:
    root = workspace(tmp_path / "w", "", mine=RAN)
    space = Workspace.open(root, ("project.judge=mine:judge",))
    assert plugin_calls.judge_of(space.config.project.judge).score(t.conversation("Hi"), "x").overall == 0.5


def test_entry_points(tmp_path: Path) -> None:
    """Of a package as pip installs it; naming one in a file needs no trust."""
    about = tmp_path / "site" / "shop-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[steersman.tasks]\nstrict = steersman.eval.tasks:sums\n")
    sys.path.append(str(about.parent))
    importlib.invalidate_caches()
    assert len(plugin_calls.task_of("strict", {}).prompts) == 40
    plugins.check_trust(from_dict({"eval": {"tasks": ["strict"]}}, "x"), Path(), "x")
    with pytest.raises(ValueError, match=r"'strikt'.*steersman.tasks \(strict\); expected one of them"):
        plugin_calls.task_of("strikt", {})


def run_of(call: Any) -> Plugin:
    return Plugin("mine:f", call, "")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([1.0], "expected 2 numbers, one per answer, got 1"),
        ([1.0, float("nan")], "expected a number, got 'nan' (example 1, prompt 'b')"),
        ([None, 1.0], "expected a number, got 'None' (example 0, prompt 'a')"),
        (["1", 1.0], "expected a number, got '1' (example 0, prompt 'a')"),
    ],
)
def test_what_a_reward_must_return(returned: Any, said: str) -> None:
    conversations = [t.conversation("Hi", id="a"), t.conversation("你好", id="b")]
    with pytest.raises(ValueError, match=re.escape(f"mine:f: {said}")):
        plugin_calls.rewards(run_of(lambda c, a: returned), conversations, ["x", "y"])
    assert plugin_calls.rewards(run_of(lambda c, a: [len(x) for x in a]), conversations, ["x", "yy"]) == [1.0, 2.0]


def test_errors_name_function_and_example(tmp_path: Path) -> None:
    conversations = [t.conversation("Hi", id="a"), t.conversation("你好", id="b")]

    def fails(c: Any, a: Any) -> Any:
        return [1 / len(x) for x in a]

    with pytest.raises(ValueError, match=r"mine:f: ZeroDivisionError: .* \(example 1, prompt 'b'\)"):
        plugin_calls.rewards(run_of(fails), conversations, ["x", ""])
    judge = plugin_calls.FunctionJudge(run_of(lambda c, a: {"x": 1.0} if a else {"y": 1.0}))
    assert judge.score(conversations[0], "a").axes == {"x": 1.0}
    with pytest.raises(ValueError, match=r"expected scores of \('x',\), got \('y',\) \(prompt 'b'\)"):
        judge.score(conversations[1], "")
    for value, said in ((2, "from 0 to 1, got '2'"), ("?", r"got '\?'"), ({}, "numbers by name, got none")):
        with pytest.raises(ValueError, match=said):
            plugin_calls.FunctionJudge(run_of(lambda c, a, v=value: v)).score(conversations[0], "a")
    with pytest.raises(ValueError, match=r"mine:f: KeyError: 'q' \(.*tickets, after 0 records\)"):
        list(plugin_calls.imported(run_of(lambda path: iter([{}["q"]])), tmp_path / "tickets"))
    leaves = run_of(lambda *given: sys.exit(0))
    for call in (
        lambda: plugin_calls.FunctionJudge(leaves).score(conversations[0], "a"),
        lambda: plugin_calls.rewards(leaves, conversations, ["x", "y"]),
        lambda: list(plugin_calls.imported(leaves, tmp_path)),
        lambda: plugin_calls.FunctionTask(leaves, (conversations[0],), leaves.call).score(0, "a"),
    ):
        with pytest.raises(ValueError, match=r"mine:f: SystemExit: 0 \("):
            call()


def test_awkward_functions(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What they print is no part of a verb's result, and whatever they return is one error that names them."""
    prompt = t.conversation("Hi", id="a")

    def printing(*given: Any) -> Iterator[Any]:
        print("aside")
        yield {"prompt": "Hi"} if isinstance(given[0], Path) else 0.5

    async def waiting(*given: Any) -> float:
        return 0.5

    assert plugin_calls.FunctionJudge(run_of(lambda c, a: print("aside") or 1.0)).score(prompt, "x").axes == {
        "score": 1
    }
    assert plugin_calls.rewards(run_of(printing), [prompt], ["x"]) == [0.5]
    assert list(plugin_calls.imported(run_of(printing), Path("x"))) == [{"prompt": "Hi"}]
    assert capsys.readouterr() == ("", "aside\n" * 3)
    for call in (
        lambda: plugin_calls.FunctionJudge(run_of(waiting)).score(prompt, "x"),
        lambda: plugin_calls.rewards(run_of(waiting), [prompt], ["x"]),
        lambda: list(plugin_calls.imported(run_of(waiting), Path("x"))),
    ):
        with pytest.raises(ValueError, match="mine:f: TypeError: it is async; expected a plain function"):
            call()
    with pytest.raises(ValueError, match=r"mine:f: expected a number, got '10+' \(example 0, prompt 'a'\)"):
        plugin_calls.rewards(run_of(lambda c, a: [10**400]), [prompt], ["x"])
    monkeypatch.setattr(plugin_calls, "load", lambda *_: run_of(lambda: "prompts alone"))
    with pytest.raises(ValueError, match=r"mine:f: ValueError: too many .* \(expected to return \(prompts, score\)\)"):
        plugin_calls.task_of("mine:f", {})


def test_workspaces_are_opened_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by requests of a page that begins; Python's own list of places breaks where two empty it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for turn in range(5):
            sys.path_importer_cache.update({f"/nowhere/{turn}/{i}": None for i in range(200)})
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(plugins.admit, [tmp_path / f"{turn}-{i}" for i in range(4)]))
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere:judge", "no module nowhere; expected"),
        ("json:nothing", "json has no function nothing"),
        ("json:JSONDecodeError.x", "json has no function JSONDecodeError.x"),
        ("a b:c", "expected module:function, such as"),
        ("../mine:judge", "expected module:function"),
        ("mine:", "expected module:function"),
        ("mine.py:judge", "expected module:function"),
        ("broken:judge", "importing broken ends in SyntaxError"),
        ("needs:judge", "its module imports not_there, which is not installed"),
    ],
)
def test_names_that_lead_nowhere(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def judge(:\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    plugins.admit(tmp_path)
    with pytest.raises(ValueError, match=re.escape(said)):
        plugins.load(name, "judges", "project.judge")


def test_settings_of_functions() -> None:
    with pytest.raises(ValueError, match="rule 'python': expected function"):
        with_overrides(Config(), ['ppo.rules=[{rule = "python"}]'])
    with pytest.raises(ValueError, match="expected a list of names"):
        with_overrides(Config(), ["eval.tasks=sums"])
    config = with_overrides(Config(), ['ppo.rules=[{rule = "judge"}]', "project.judge=json:loads"])
    assert of_stage(config, "grpo").score.rules == [RuleConfig("judge", function="json:loads")]
    assert "function" not in to_dict(with_overrides(Config(), ['ppo.rules=[{rule = "json"}]']))["ppo"]["rules"][0]
    assert "tasks" not in to_dict(Config())["eval"], "an older artifact has no such setting and is not stale"
    assert to_dict(with_overrides(Config(), ['eval.tasks=["sums"]']))["eval"]["tasks"] == ["sums"]
    lost = replaced(config.ppo, rules=[RuleConfig("python", function="nowhere:f")])
    with pytest.raises(ValueError, match=r"ppo.score.rules\[0\] = 'nowhere:f': no module nowhere"):
        check_rewards(lost, 1, [])


def test_a_rule_asks_the_named_judge(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def judge(c, a):\n    return {'x': 1.0, 'y': 0.5}\n")
    plugins.admit(tmp_path)
    rule = RuleConfig("judge", function="mine:judge")
    assert scorer(rule)([t.conversation("Hi")], ["x"]) == [-0.25]


@pytest.mark.parametrize("record", ["a text", None, {"x": {1, 2}}])
def test_bad_records_of_an_importer(record: Any, tmp_path: Path) -> None:
    good = {"question": "Hi", "answer": "Hello"}
    root = workspace(tmp_path / "w", "", mine=f"def read(path):\n    yield {good!r}\n    yield {record!r}\n")
    file = tmp_path / "f.dat"
    file.write_bytes(b"\x00\x01")
    at = ("-w", str(root), "--as", "mine:read")
    assert f"{file}:2: " in invoke("data", "import", str(file), *at, code=2)["error"]
    told = invoke("data", "import", str(file), "--skip-bad", *at)
    assert (told["read"], told["kept"]) == (2, 1)
    made = json.loads(next((root / "data").glob("f*.manifest.json")).read_text(encoding="utf-8"))
    assert made["config"]["importer"] == "mine:read"
