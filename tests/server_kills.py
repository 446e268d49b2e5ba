"""The server's processes killed with SIGKILL at random moments: `python tests/server_kills.py [KILLS] [WORKERS]`.

Clients create chats, rename them and ask questions all the time; what was answered with 200 is written down. At each
moment one process (the parent, a web worker or the engine's) is killed; then the server must answer again (started
again where the parent was killed), and everything that was acknowledged must be in the store. Prints one JSON object.
"""

from __future__ import annotations

import collections
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from steersman.store import NotFound, Store
from tiny import make_model

CLIENTS = 4
PATIENCE = 90.0


def request(url: str, body: Any = None, method: str = "") -> Any:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method or None)
    with urllib.request.urlopen(asked, timeout=30) as response:
        return response.read().decode()


class Server:
    """`steersman serve` on one port, started again by whoever finds it dead."""

    def __init__(self, root: Path, workers: int) -> None:
        self.root, self.workers = root, workers
        self.url = self.start("0")

    def start(self, port: str) -> str:
        command = [sys.executable, "-m", "steersman", "serve", "-w", str(self.root), "--port", port, "--json"]
        self.process = subprocess.Popen(
            [*command, "--workers", str(self.workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        return str(json.loads(self.process.stdout.readline())["url"])

    def processes(self) -> dict[str, list[psutil.Process]]:
        parent = psutil.Process(self.process.pid)
        found: dict[str, list[psutil.Process]] = {"parent": [parent], "engine": [], "worker": []}
        for child in parent.children():
            found["engine" if "apart.host" in " ".join(child.cmdline()) else "worker"].append(child)
        return found

    def kill_one(self, rng: random.Random) -> str:
        try:
            there = self.processes()
        except psutil.NoSuchProcess:
            return "none"
        name = rng.choice([name for name, those in there.items() if those])
        rng.choice(there[name]).kill()
        if name == "parent":
            self.process.communicate()
            everybody = [p for those in there.values() for p in those]
            _, alive = psutil.wait_procs(everybody, PATIENCE)
            assert not alive, f"left behind: {alive}"
            self.start(self.url.rsplit(":", 1)[1])
        return name

    def answers(self) -> None:
        """Until a question is answered, by the engine too."""
        deadline = time.monotonic() + PATIENCE
        body = {"model": "kills", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        while True:
            try:
                request(f"{self.url}/v1/chat/completions", body)
                return
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < deadline, "the server did not come back"
                time.sleep(0.1)


class Client(threading.Thread):
    """Writes what it can, and notes what was acknowledged."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(daemon=True)
        self.server, self.number, self.over = server, number, threading.Event()
        self.titles: dict[str, str] = {}
        self.questions: dict[str, str] = {}
        self.answers: dict[str, str] = {}
        self.failed: collections.Counter[str] = collections.Counter()

    def run(self) -> None:
        count = 0
        while not self.over.is_set():
            count += 1
            try:
                self.write(f"{self.number}-{count}")
            except urllib.error.HTTPError as error:
                self.failed[f"status {error.code}"] += 1
                if error.code not in (429, 503):
                    self.failed[error.read().decode()[:200]] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failed[type(error).__name__] += 1
                time.sleep(0.05)

    def write(self, name: str) -> None:
        url = self.server.url
        chat = json.loads(request(f"{url}/api/conversations", {}))["id"]
        self.titles[chat] = ""
        try:
            request(f"{url}/api/conversations/{chat}", {"title": name}, "PATCH")
            self.titles[chat] = name
        except (OSError, http.client.HTTPException):
            del self.titles[chat]  # whether it was renamed, nobody said
            raise
        broken: Exception | None = None
        try:
            streamed = request(f"{url}/api/conversations/{chat}/messages", {"content": f"Question {name}"})
        except http.client.IncompleteRead as error:  # what came of it was said all the same
            streamed, broken = error.partial.decode("utf-8", "ignore").rpartition("\n\n")[0], error
        for line in streamed.splitlines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if event.get("type") == "start":
                self.questions[event["user"]["id"]] = f"Question {name}"
            elif event.get("type") == "done" and event["message"]:
                self.answers[event["message"]["id"]] = event["message"]["content"]
        if broken is not None:
            raise broken


def lost(store: Store, clients: list[Client]) -> list[str]:
    """What was acknowledged and is not there."""
    titles = {chat.id: chat.title for chat in store.conversations()}
    found = [id_ for c in clients for id_, title in list(c.titles.items()) if title and titles.get(id_) != title]
    for client in clients:
        for known in (client.questions, client.answers):
            for id_, text in list(known.items()):
                try:
                    kept = store.message(id_).content == text
                except NotFound:
                    kept = False
                found += [] if kept else [id_]
    return found


def main(kills: int, workers: int) -> dict[str, Any]:
    rng, killed = random.Random(14), collections.Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "kills"
        model = make_model(Path(name) / "model")
        made = ["init", str(root), "--set", "project.domain=none", "--set", f"model.base={model}"]
        made += ["--set", "serve.max_tokens=40", "--name", "kills"]
        subprocess.run([sys.executable, "-m", "steersman", *made], check=True, stdout=subprocess.DEVNULL)
        server = Server(root, workers)
        clients = [Client(server, i) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        missing: list[str] = []
        try:
            for _ in range(kills):
                time.sleep(rng.uniform(0.0, 2.0))
                killed[server.kill_one(rng)] += 1
                server.answers()
            for client in clients:
                client.over.set()
            for client in clients:
                client.join(60)
            with Store.open(root / "store.db") as store:
                missing = lost(store, clients)
        finally:
            server.process.terminate()
            server.process.communicate(timeout=60)
        written = {n: sum(len(getattr(c, n)) for c in clients) for n in ("titles", "questions", "answers")}
        failed = sum((c.failed for c in clients), collections.Counter[str]())
    return {"killed": dict(killed), "acknowledged": written, "lost": missing, "failed requests": dict(failed)}


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    print(json.dumps(main(*map(int, [*sys.argv[1:], *("50", "2")[len(sys.argv) - 1 :]]))), flush=True)
