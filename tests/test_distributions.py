"""What is shipped: the wheels and sdists of both distributions, and a server that answers without torch."""

from __future__ import annotations

import email
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from starlette.testclient import TestClient
from typer.testing import CliRunner

import tiny as t
from server_double import FakeEngine, events, live
from steersman import installed
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build as build_cli
from steersman.cli.serve_endpoint import only_model
from steersman.cli.talk import load
from steersman.installed import LEFT_OUT, SERVER, WHOLE
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import SamplingParams
from without_torch import environment

ROOT = Path(__file__).parent.parent
MOST = 4_000_000
"""Bytes of a wheel; it had 1.9 million when this was written."""


@pytest.fixture(scope="module")
def build() -> ModuleType:
    found = installed.version("setuptools")
    if found is None or Version(found) < Version("77"):
        pytest.skip(f"setuptools {found} builds nothing of this; pip install -U setuptools")
    spec = importlib.util.spec_from_file_location("build", ROOT / "deploy" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheels(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("dist")
    return {name: build.build(name, out, ("wheel",))[0] for name in (WHOLE, SERVER)}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(file.read(name))


def required(wheel: Path, extra: str = "") -> set[str]:
    found = (Requirement(text) for text in metadata(wheel).get_all("Requires-Dist", []))
    without = {"extra": ""}
    if not extra:
        return {r.name for r in found if r.marker is None or r.marker.evaluate(without)}
    return {
        r.name for r in found if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate(without)
    }


@pytest.mark.parametrize("name", [WHOLE, SERVER])
def test_a_wheel_holds_every_file_and_is_small(wheels: dict[str, Path], name: str) -> None:
    """The page, templates, C sources, migrations and data too; nothing beside the package."""
    with zipfile.ZipFile(wheels[name]) as file:
        held = {n for n in file.namelist() if ".dist-info/" not in n}
    source = ROOT / "src"
    there = {p for p in (source / "steersman").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert held == {p.relative_to(source).as_posix() for p in there}
    assert wheels[name].stat().st_size < MOST


def test_what_the_server_leaves_out_is_an_extra_of_it(wheels: dict[str, Path]) -> None:
    whole, server = required(wheels[WHOLE]), required(wheels[SERVER])
    assert whole - server == set(LEFT_OUT) == required(wheels[SERVER], "local")
    assert server < whole
    assert (metadata(wheels[WHOLE])["Name"], metadata(wheels[SERVER])["Name"]) == (WHOLE, SERVER)
    assert {*metadata(wheels[SERVER]).get_all("Provides-Extra", [])} >= {"local", "postgres", "oidc"}
    for wheel in wheels.values():
        told = metadata(wheel)
        assert told["Description-Content-Type"] == "text/markdown"
        assert told["License-Expression"] == "Apache-2.0"
        assert "Programming Language :: Python :: 3.13" in told.get_all("Classifier", [])


def test_the_sdist_holds_what_the_wheel_does_and_the_sources_of_the_page(
    build: ModuleType, wheels: dict[str, Path], tmp_path: Path
) -> None:
    (sdist,) = build.build(SERVER, tmp_path, ("sdist",))
    with tarfile.open(sdist) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    with zipfile.ZipFile(wheels[SERVER]) as wheel:
        missing = {f"src/{n}" for n in wheel.namelist() if ".dist-info/" not in n} - held
    assert not missing
    assert held >= {"web/package-lock.json", "web/src/main.ts", "LICENSE", "README.md", "constraints.txt"}


@pytest.mark.slow
def test_the_sdist_makes_the_same_wheel(build: ModuleType, wheels: dict[str, Path], tmp_path: Path) -> None:
    (sdist,) = build.build(SERVER, tmp_path, ("sdist",))
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    tree = tmp_path / sdist.name.removesuffix(".tar.gz")
    code = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tree, env=alone, check=True, capture_output=True)
    with zipfile.ZipFile(tmp_path / wheels[SERVER].name) as made, zipfile.ZipFile(wheels[SERVER]) as wanted:
        assert {n: made.read(n) for n in made.namelist()} == {n: wanted.read(n) for n in wanted.namelist()}


def test_links_of_the_readme_lead_to_the_repository(build: ModuleType) -> None:
    there = "https://git.example.com/a/b"
    said = build.absolute("[a](docs/A.md#x) ![i](docs/i.png) [o](https://o.example) [h](#here)", there)
    assert (
        said
        == f"[a]({there}/blob/main/docs/A.md#x) ![i]({there}/raw/main/docs/i.png) [o](https://o.example) [h](#here)"
    )
    readme = build.absolute((ROOT / "README.md").read_text(encoding="utf-8"), there)
    assert not re.findall(r"\]\((?!https?:|#|mailto:)[^)]*\)", readme)


def test_what_lacks_is_told_with_what_to_type(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert installed.lacking(error) == "this needs torch, which is not installed; expected: pip install steersman"
    assert installed.lacking(ModuleNotFoundError("", name="torch.ibex")) is None  # a fault, not a choice
    assert installed.lacking(ModuleNotFoundError("", name="ibex")) is None
    assert installed.lacking(ValueError()) is None
    monkeypatch.setattr(installed, "distribution", lambda: SERVER)
    told = installed.lacking(error)
    assert told is not None
    assert "pip install 'steersman-server[local]'" in told
    assert installed.command("postgres") == "pip install 'steersman-server[postgres]'"

    app = create_app(FakeEngine(), Store.open(tmp_path / "store.db"), name="S", language="en", max_tokens=20)

    def needs_torch() -> None:
        raise error

    app.add_api_route("/api/needs-torch", needs_torch)
    answer = TestClient(app, base_url="http://127.0.0.1").get("/api/needs-torch")
    assert (answer.status_code, answer.json()["error"]["message"]) == (501, told)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[tuple[FakeEngine, str]]:
    """Another Steersman."""
    engine = FakeEngine(max_context=10_000)
    app = create_app(engine, Store.open(tmp_path / "other.db"), name="S", language="en", max_tokens=20)
    with live(app) as url:
        yield engine, url


def test_a_server_without_torch_answers_from_an_endpoint(endpoint: tuple[FakeEngine, str], tmp_path: Path) -> None:
    engine, there = endpoint
    without, space = environment(tmp_path / "site"), tmp_path / "w"

    def steersman(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "steersman", *words]
        return subprocess.run(command, env=without, capture_output=True, text=True, timeout=120, check=False)

    assert steersman("init", str(space), "--name", "desk", "--set", "project.domain=none").returncode == 0
    done = steersman("sft", "-w", str(space))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: this needs torch, which is not installed; expected: pip ")
    serve = ["serve", "-w", str(space), "--port", "0", "--json", "--endpoint", f"{there}/v1"]
    command = [sys.executable, "-m", "steersman", *serve, "--set", "serve.endpoint_model=tiny"]
    server = subprocess.Popen(command, env=without, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        with httpx.Client(base_url=json.loads(server.stdout.readline())["url"], timeout=60) as client:
            assert "<script" in client.get("/").text
            assert client.get("/readyz").json() == {"status": "ok", "model": "tiny"}
            assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["desk", "tiny"]
            chat = client.post("/api/conversations", json={}).json()["id"]
            said = client.post(f"/api/conversations/{chat}/messages", json={"content": "Grüße 你好", "parent_id": None})
            last: dict[str, Any] = events(said.text)[-1]
            assert last["message"]["content"] == "".join(engine.pieces)
            assert engine.seen[-1][0].messages[-1].text == "Grüße 你好"
            for path in ("/api/rank/next?labeler=ann", "/api/rounds", "/api/data"):
                assert client.get(path).status_code in (200, 204), path
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.communicate()


def test_the_one_model_of_an_endpoint_needs_no_name(endpoint: tuple[FakeEngine, str], tmp_path: Path) -> None:
    engine, there = endpoint
    with pytest.raises(ValueError, match=r"endpoint_model: expected the name of one of 2 models of .*: tiny, ppo-7$"):
        only_model(f"{there}/v1", "")
    engine.policy_version = engine.model_name
    assert only_model(f"{there}/v1", "") == "tiny"
    with pytest.raises(ValueError, match=r"/v1/models: .*expected a list of models"):
        only_model("http://127.0.0.1:9/v1", "secret")
    space = Workspace.open(_space(tmp_path), (f"serve.endpoint={there}/v1",))
    answers = load(space, "", "").generate([t.conversation("Hi")], SamplingParams(max_tokens=9))
    assert answers[0][0].text == "".join(engine.pieces)


def _space(folder: Path) -> Path:
    assert CliRunner().invoke(build_cli(), ["init", str(folder / "w"), "--set", "project.domain=none"]).exit_code == 0
    return folder / "w"


@pytest.mark.slow
@pytest.mark.parametrize("name", [SERVER, WHOLE])
def test_a_wheel_works_in_a_fresh_environment(wheels: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Installed by pip outside the tree: help, a workspace, the page; torch only with the whole one."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "v")], check=True)
    run = {"cwd": tmp_path, "env": {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "text": True}
    bin = tmp_path / "v" / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(bin / "python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run([*pip, str(wheels[name])], capture_output=True, **run)  # type: ignore[call-overload]
    if done.returncode and "No matching distribution" not in done.stderr and "Retrying" in done.stderr:
        pytest.skip("no index of packages can be reached")
    assert done.returncode == 0, done.stderr

    def steersman(*words: str) -> Any:
        return subprocess.run([str(bin / "steersman"), *words], capture_output=True, timeout=200, **run)  # type: ignore[call-overload]

    assert "demo" in steersman("--help").stdout
    assert steersman("init", "w", "--set", "project.domain=none").returncode == 0
    assert steersman("status", "-w", "w").returncode == 0
    tried = steersman("plan", "-w", "w", "--set", "model.base=nowhere")
    assert ("this needs torch, which steersman-server leaves out" in tried.stderr) == (name == SERVER), tried.stderr
    serve = ["serve", "-w", "w", "--port", "0", "--json", "--endpoint", "http://127.0.0.1:9/v1"]
    command = [str(bin / "steersman"), *serve, "--set", "serve.endpoint_model=m"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, **run)  # type: ignore[call-overload]
    try:
        url = json.loads(server.stdout.readline())["url"]
        assert "<script" in httpx.get(url).text
    finally:
        server.kill()
        server.communicate()
