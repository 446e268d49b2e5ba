"""For bench/same.py: a commit's sources and command line, and what is done with them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from same_scenes import SIZES, Scene

ROOT = Path(__file__).resolve().parents[1]


class Tree:
    """A commit's sources, and its command line."""

    def __init__(self, commit: str | None, temporary: Path) -> None:
        self.name, self.source = commit or "the working tree", ROOT
        self.logs = Path(tempfile.mkdtemp(prefix="logs-", dir=temporary))
        self.numbers = itertools.count()
        if commit is not None:
            self.source = Path(tempfile.mkdtemp(prefix="tree-", dir=temporary))
            packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit, "src"], check=True, capture_output=True)
            subprocess.run(["tar", "-x", "-C", str(self.source)], input=packed.stdout, check=True)
        # its own sources first; behind them what only an older commit needs, such as `pip install --target DIR` wrote
        places = os.pathsep.join([str(self.source / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("same_worker.py")), str(self.source)]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment)

    def ask(self, question: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, folder: Path, *words: str, kernels: str = "on", typed: str = "") -> tuple[int, Path]:
        """(process, path of what it says without .out and .err)."""
        log = self.logs / str(next(self.numbers))
        Path(f"{log}.in").write_text(typed, encoding="utf-8")
        asked = {"run": words, "folder": str(folder), "kernels": kernels, "log": str(log)}
        return self.ask(asked), log

    def run(self, folder: Path, line: str, *words: str, **options: Any) -> str:
        pid, log = self.start(folder, *line.split(), *words, **options)
        if (code := self.ask({"wait": pid})) != 0:
            raise SystemExit(
                f"{self.name}: steersman {line}: exit code {code}\n{Path(f'{log}.err').read_text('utf-8')}"
            )
        return Path(f"{log}.out").read_text("utf-8")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def post(url: str, body: Any = None) -> str:
    """What is answered; a GET where there is no body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(response.read().decode())


@contextlib.contextmanager
def serving(tree: Tree, space: Path, kernels: str = "on") -> Iterator[str]:
    """The address of `steersman serve`."""
    pid, log = tree.start(space, "serve", "--port", "0", "--json", kernels=kernels)
    out, deadline = Path(f"{log}.out"), time.monotonic() + 120
    while not (out.is_file() and out.read_text("utf-8").endswith("\n")):
        if time.monotonic() > deadline:
            raise SystemExit(f"{tree.name}: steersman serve says no address: {Path(f'{log}.err').read_text('utf-8')}")
        time.sleep(0.05)
    try:
        said = json.loads(out.read_text("utf-8"))
        if "url" not in said:
            raise SystemExit(f"{tree.name}: steersman serve: {said.get('error', said)}")
        yield said["url"]
    finally:
        os.kill(pid, signal.SIGINT)
        tree.ask({"wait": pid})


def complete(url: str) -> Any:
    model = json.loads(post(f"{url}/v1/models"))["data"][0]["id"]
    asked = [{"role": "user", "content": "Where is my order?"}]
    body = {"model": model, "messages": asked, "temperature": 0, "max_tokens": 8, "logprobs": True}
    return json.loads(post(f"{url}/v1/chat/completions", body))["choices"]


def talk(tree: Tree, space: Path, kernels: str = "on") -> None:
    """Chats, an edited answer, a like and a dislike in the store; what was answered in served/."""
    answered = []
    with serving(tree, space, kernels) as url:
        for kind in ("edit", "like", "dislike"):
            chat = json.loads(post(f"{url}/api/conversations", {}))["id"]
            said = post(f"{url}/api/conversations/{chat}/messages", {"content": f"Where is my {kind}?"})
            last = [line for line in said.splitlines() if line.startswith("data: ")][-1]
            answer = json.loads(last.removeprefix("data: "))["message"]
            answered.append(answer["content"])
            feedback = {"kind": kind} | ({"edited": "It arrives on 6 May."} if kind == "edit" else {})
            post(f"{url}/api/messages/{answer['id']}/feedback", feedback)
        answered.append(complete(url))
    (space / "served").mkdir()
    (space / "served/answers.json").write_text(json.dumps(answered), encoding="utf-8")


def import_objectives(tree: Tree, space: Path) -> None:
    """Sixteen prompts, two answers each, one better by `brief` and the other by `kind`."""
    for name, answers in (("brief", ("No.", "On its way, thank you.")), ("kind", ("On its way, thank you.", "No."))):
        pair = dict(zip(("chosen", "rejected"), answers, strict=True))
        lines = [json.dumps({"prompt": f"Is it open on day {i}?"} | pair) + "\n" for i in range(16)]
        (space / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        tree.run(space, f"data import {name}.jsonl --kind rankings --objective {name}")


def settings(old: Tree, temporary: Path, scene: Scene) -> str:
    """steersman.toml as the older commit writes it."""
    place = Path(tempfile.mkdtemp(dir=temporary)) / "w"
    pairs = [word for setting in f"{SIZES} {scene.settings}".split() for word in ("-s", setting)]
    old.run(temporary, "init", str(place), "--base", str(temporary / scene.family), *pairs)
    return (place / "steersman.toml").read_text("utf-8")


def run_scene(tree: Tree, space: Path, toml: str, commands: Iterable[str], kernels: str = "on") -> None:
    if not space.exists():
        space.mkdir(parents=True)
        (space / "steersman.toml").write_text(toml, encoding="utf-8")
        tree.run(space, "data import shop", kernels=kernels)
    base = tomllib.loads(toml)["model"]["base"]
    for line in commands:
        if line == "TALK":
            talk(tree, space, kernels)
        elif line == "OBJECTIVES":
            import_objectives(tree, space)
        else:
            tree.run(space, line.replace("BASE", base), kernels=kernels, typed="1>2>3\n3>2>1\n")
