"""What deploy/ describes, started: the wheels under the unit's own command and environment, and compose.yaml as it is.

Nothing is downloaded: a venv gets the wheel alone, and finds the other packages in this environment.
"""

from __future__ import annotations

import configparser
import contextlib
import http.server
import json
import os
import shlex
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from steersman.installed import SERVER, WHOLE

DEPLOY = Path(__file__).parent.parent / "deploy"
sys.path.append(str(DEPLOY))
from build import build  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="a unit and its signals")]
PATIENCE = 120
PATHS = ("/opt/steersman", "/var/lib/steersman", "/etc/steersman/env")
PASSWORD = "correct horse battery"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What systemd gives a service that names none."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


class Unit:
    """steersman.service as systemd would start it, with its places below `root` and another port."""

    def __init__(self, root: Path, name: str, variables: dict[str, str]) -> None:
        self.name, self.root, self.port = name, root, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        venv, home, env = places = (root / "opt", root / "var", root / "env")
        text = (DEPLOY / "steersman.service").read_text(encoding="utf-8").replace("--port 8000", f"--port {self.port}")
        for there, here in zip(PATHS, places, strict=True):
            text = text.replace(there, str(here))
        read = configparser.ConfigParser(strict=False, interpolation=None)
        read.optionxform = str  # type: ignore[assignment, method-assign]
        read.read_string(text)
        self.service = read["Service"]
        env.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), encoding="utf-8")
        home.mkdir(mode=int(self.service["StateDirectoryMode"], 8))
        self.program, *self.words = shlex.split(self.service["ExecStart"])
        self.install(venv)
        self.process: subprocess.Popen[bytes] | None = None

    def install(self, venv: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        (wheel,) = build(self.name, self.root / "wheels", ("wheel",))
        pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
        subprocess.run(pip, check=True)
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)}))
        (packages / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        given = (word.split("=", 1) for word in shlex.split(self.service["Environment"]))
        lines = (self.root / "env").read_text(encoding="utf-8").splitlines()
        return {"PATH": SYSTEM_PATH, **dict(given), **dict(line.split("=", 1) for line in lines)}

    def verb(self, *words: str, cwd: Path) -> str:
        command = [self.program, *words]
        done = subprocess.run(command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, *self.words],
                cwd=self.service["WorkingDirectory"],
                env=self.environment,
                umask=int(self.service["UMask"], 8),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not up(self.url):
            assert self.process.poll() is None, (self.root / "log").read_text()
            assert time.monotonic() < deadline, (self.root / "log").read_text()
            time.sleep(0.1)

    def end(self) -> None:
        """Whatever is left of it, as KillMode=mixed ends it."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Unit]]:
    made: list[Unit] = []

    def make(name: str, **variables: str) -> Unit:
        made.append(Unit(tmp_path_factory.mktemp(name), name, variables))
        return made[-1]

    yield make
    for unit in made:
        unit.end()


@contextlib.contextmanager
def signed_in(url: str, link: str, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=PATIENCE, headers={"X-Steersman": "1"}) as client:
        token = link.rpartition("=")[2]
        answer = client.post("/api/invitation/accept", json={"token": token, "name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        yield client


def key_of(client: httpx.Client) -> str:
    made = client.post("/api/me/keys", json={"name": "k", "scopes": ["chat"], "expires": None})
    assert made.status_code in (200, 201), made.text
    return str(made.json()["secret"])


def asked(client: httpx.Client, text: str) -> str:
    """A new chat with one question; its id, once the answer is stored."""
    chat = client.post("/api/conversations", json={}).json()["id"]
    answer = client.post(f"/api/conversations/{chat}/messages", json={"content": text})
    assert '"done"' in answer.text, answer.text
    return str(chat)


def streamed_to_its_end(unit: Unit, key: str) -> tuple[int, str]:
    """SIGTERM at the first words of an answer: how many pieces came after it, and how the answer ended."""
    assert unit.process is not None
    body = {"model": "Ulm", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 200}
    body |= {"logit_bias": {}, "temperature": 1.0, "seed": 3}
    after, end, told = 0, "", False
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.stream("POST", f"{unit.url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE) as got:
        assert got.status_code == 200, got.read()
        for line in got.iter_lines():
            if not line.startswith("data: {"):
                continue
            (choice,) = json.loads(line.removeprefix("data: "))["choices"] or [{}]
            end = choice.get("finish_reason") or end
            if told:
                after += 1
            elif choice.get("delta", {}).get("content"):
                unit.process.send_signal(signal.SIGTERM)
                told = True
    return after, end


def lived_through(unit: Unit, link: str) -> str:
    """Accounts, an answer over HTTP, a graceful stop amid a stream, `kill -9`; returns a key of the API."""
    with signed_in(unit.url, link, "ann") as ann:
        key = key_of(ann)
        chats = {asked(ann, "Where is my bicycle?")}
        assert unit.process is not None
        after, end = streamed_to_its_end(unit, key)
        assert after > 0, "the answer was over before it was told to stop"
        assert end in ("stop", "length"), "the answer was cut"
        assert unit.process.wait(float(unit.service["TimeoutStopSec"])) == 0
        unit.start()
        chats.add(asked(ann, "还有一个问题：什么时候能修好？"))
        os.kill(unit.process.pid, signal.SIGKILL)
        unit.process.wait()
        unit.start()
        assert {chat["id"] for chat in ann.get("/api/conversations").json()} == chats
        texts = [ann.get(f"/api/conversations/{chat}").json()["messages"] for chat in chats]
        assert all([m["role"] for m in messages] == ["user", "assistant"] for messages in texts)
    return key


def test_the_wheels_live_under_the_unit(units: Callable[..., Unit], tiny: Path) -> None:
    """The whole package, with a model of the workspace; then the server alone, answered by the first."""
    whole = units(WHOLE)
    home = whole.root / "var"
    whole.verb(
        "init", "workspace", "--name", "Ulm", "--set", "project.domain=none", "--set", f"model.base={tiny}", cwd=home
    )
    link = json.loads(whole.verb("users", "add", "ann", "--role", "admin", "--json", cwd=home / "workspace"))["link"]
    whole.start()
    key = lived_through(whole, link)

    thin = units(
        SERVER, STEERSMAN_ENDPOINT=f"{whole.url}/v1", STEERSMAN_ENDPOINT_KEY=key, STEERSMAN_ENDPOINT_MODEL="Ulm"
    )
    there = thin.root / "var"
    thin.verb("init", "workspace", "--name", "Ulm", "--set", "project.domain=none", cwd=there)
    link = json.loads(thin.verb("users", "add", "ann", "--role", "admin", "--json", cwd=there / "workspace"))["link"]
    thin.start()
    lived_through(thin, link)


ENGINES = ("docker", "podman")
IMAGES = ("docker.io/library/python:3.13-slim-trixie", "docker.io/library/postgres:17-alpine")


def composer() -> list[str]:
    """The command that reads compose.yaml here; skips the test where there is none, with the reason."""
    reasons = []
    for engine in filter(shutil.which, ENGINES):
        for command in (
            [engine, "info"],
            [engine, "compose", "version"],
            *([engine, "image", "inspect", i] for i in IMAGES),
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
            if done.returncode:
                words = (done.stderr or done.stdout).strip().splitlines() or ["failed"]
                reasons.append(f"{' '.join(command)}: {words[-1]}")
                break
        else:
            return [engine, "compose"]
    pytest.skip("; ".join(reasons) or f"none of {', '.join(ENGINES)} is installed")


class Answers(http.server.BaseHTTPRequestHandler):
    """An endpoint with one model that always says the same, for the container."""

    def _send(self, kind: str, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self._send("application/json", json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}))

    def do_POST(self) -> None:
        asked_for = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "finish_reason": "stop"}
        head = {"id": "c", "created": 0, "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        if asked_for.get("stream"):
            chunk = head | {"object": "chat.completion.chunk", "choices": [choice | {"delta": message}]}
            self._send("text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
        else:
            whole = head | {"object": "chat.completion", "choices": [choice | {"message": message}]}
            self._send("application/json", json.dumps(whole))

    def log_message(self, *_: object) -> None:
        pass


def test_compose_as_it_is(tmp_path: Path) -> None:
    compose = composer()
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Answers) as endpoint:
        threading.Thread(target=endpoint.serve_forever, daemon=True).start()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 8000)) == 0:
                pytest.skip("something listens on port 8000, which compose.yaml wants")
        tree = tmp_path / "tree"
        for part in ("src", "web", "deploy"):
            shutil.copytree(
                DEPLOY.parent / part, tree / part, ignore=shutil.ignore_patterns("node_modules", "__pycache__")
            )
        for part in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt"):
            shutil.copyfile(DEPLOY.parent / part, tree / part)
        given = {"POSTGRES_PASSWORD": PASSWORD.replace(" ", "-"), "STEERSMAN_HOST": "chat.example.com"}
        given |= {"STEERSMAN_ENDPOINT": f"http://172.30.8.1:{endpoint.server_port}/v1", "STEERSMAN_NAME": "Ulm"}
        (tree / "deploy/.env").write_text("".join(f"{k}={v}\n" for k, v in given.items()), encoding="utf-8")

        def run(*words: str) -> str:
            command = [*compose, "-p", "steersman-test", "-f", str(tree / "deploy/compose.yaml"), *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def back() -> None:
            deadline = time.monotonic() + PATIENCE
            while not up("http://127.0.0.1:8000"):
                assert time.monotonic() < deadline, run("logs")
                time.sleep(0.5)

        try:
            told = run("run", "--build", "--rm", "steersman", "users", "add", "ann", "--role", "admin", "--json")
            run("up", "-d")
            back()
            with signed_in("http://127.0.0.1:8000", json.loads(told)["link"], "ann") as ann:
                chat = asked(ann, "Where is my bicycle?")
                container = run("ps", "-q", "steersman").strip()
                pid = subprocess.check_output([compose[0], "inspect", "-f", "{{.State.Pid}}", container], text=True)
                os.kill(int(pid), signal.SIGKILL)
                back()
                assert [one["id"] for one in ann.get("/api/conversations").json()] == [chat]
        finally:
            run("down", "-v", "--timeout", "40")
