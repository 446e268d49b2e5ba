"""Prompts of up to 32k tokens through `steersman serve`: time to the first token, memory as planned and as measured,
and how long a stream beside it waits.

    python bench/long_serving.py                                    # SmolLM2, extended to 32,768 by YaRN, untrained
    python bench/long_serving.py --model DIR/space/models/yarn --lengths 16384 32000

Each length is asked for alone, then beside a stream. Seconds are the clock's and, in brackets, the engine's processor
time. Memory is the engine's process: its peak above what it had after a short prompt. Planned for it: a rectangle for
the stream and the prompt, the prompts that have finished (of shorter lengths too), and what a prompt needs meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from harness import machine, machine_line, say, table
from steersman.engine.backends.local.cache import rounded
from steersman.families.longer import lengthen
from steersman.families.outputs import context_of
from steersman.weights.folders import load_causal, load_tokenizer, save_model
from steersman.weights.resolve import resolve

CONTEXT = 32768
SHORT = 64
"""Tokens of a prompt that costs what any first prompt does."""
MIB = 2**20


def extended(model: str, folder: Path) -> Path:
    """The model, or a copy that reads `CONTEXT` tokens."""
    found = resolve(model)
    loaded = load_causal(found, "bfloat16")
    if context_of(loaded.config) >= CONTEXT:
        return found
    save_model(lengthen(loaded, CONTEXT, "yarn"), load_tokenizer(found), folder)
    return folder


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    engine: psutil.Process
    """The process that computes"""
    before: int = 0
    """Its bytes before any long prompt"""
    kept: int = 0
    """Tokens of finished prompts"""
    asked: int = SHORT
    """What prompts begin with"""

    def ask(self, prompt: list[int] | str, tokens: int) -> Iterator[float]:
        """The moments at which pieces of the answer come."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=3600)
        body = {"model": "long", "prompt": prompt, "max_tokens": tokens, "stream": True, "temperature": 0.7, "seed": 1}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            raise SystemExit(f"{reply.status}: {reply.read()[:400]!r}")
        for line in reply:
            if line.startswith(b"data: {"):
                yield time.perf_counter()
        connection.close()

    def seconds(self) -> float:
        spent = self.engine.cpu_times()
        return float(spent.user + spent.system)

    def peak(self) -> int:
        status = Path(f"/proc/{self.engine.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10

    def forget_peak(self) -> None:
        Path(f"/proc/{self.engine.pid}/clear_refs").write_text("5", encoding="utf-8")


def start(model: Path, folder: Path, kv_cache: str) -> tuple[Server, dict[str, Any]]:
    """(a server of its own workspace, what `steersman plan serve` says of it)."""
    verb = [sys.executable, "-m", "steersman"]
    made = [*verb, "init", str(folder), "--name", "long", "--set", "project.domain=none", "--set"]
    subprocess.run([*made, f"model.base={model}"], check=True, stdout=subprocess.DEVNULL)
    setting = ["-w", str(folder), "-s", f"serve.kv_cache={kv_cache}", "--json"]
    plan = json.loads(subprocess.run([*verb, "plan", "serve", *setting], check=True, capture_output=True).stdout)
    process = subprocess.Popen(
        [*verb, "serve", *setting, "--port", "0"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    every = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    server = Server(process, url, max(every, key=lambda one: one.memory_info().rss))
    next(server.ask(prompt(SHORT, 4), 1))
    server.forget_peak()
    server.before = server.engine.memory_info().rss
    return server, plan


@dataclass
class Beside:
    """A stream that is read meanwhile."""

    server: Server
    moments: list[float] = field(default_factory=list)
    over: bool = False

    def read(self) -> None:
        for moment in self.server.ask("Once upon a time", 4000):
            self.moments.append(moment)
            if self.over:
                break

    def longest(self, since: float) -> float:
        times = [t for t in self.moments if t >= since]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def prompt(tokens: int, first: int) -> list[int]:
    return [first + i * 7919 % 1000 for i in range(tokens)]


def measured(server: Server, plan: dict[str, Any], length: int) -> list[str]:
    def first_token(number: int) -> tuple[float, float]:
        began, spent = time.perf_counter(), server.seconds()
        found = next(server.ask(prompt(length, number), 1))
        return found - began, server.seconds() - spent

    server.asked += 2  # no prompt begins as another, or the shorter one would not be kept
    alone = first_token(server.asked)
    beside = Beside(server)
    reader = threading.Thread(target=beside.read)
    reader.start()
    while len(beside.moments) < 20:
        time.sleep(0.05)
    usual, since = beside.longest(0.0), beside.moments[-1]
    together = first_token(server.asked + 1)
    waited = beside.longest(since)
    beside.over = True
    reader.join()
    grown = server.peak() - server.before
    server.kept += 2 * length
    planned = plan["cache"]["token_bytes"] * (2 * rounded(length + 1) + server.kept) + plan["cache"]["working_bytes"]
    return [
        f"{length:,}",
        f"{alone[0]:.1f} ({alone[1]:.1f})",
        f"{together[0]:.1f} ({together[1]:.1f})",
        f"{1e3 * usual:.0f}",
        f"{1e3 * waited:.0f}",
        f"{planned / MIB:.0f}",
        f"{grown / MIB:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 16384, 32000])
    parser.add_argument("--kv-cache", nargs="+", choices=["model", "int8"], default=["model", "int8"])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as made:
        model = extended(options.model, Path(made) / "model")
        for kind in options.kv_cache:
            server, plan = start(model, Path(made) / kind, kind)
            try:
                for length in options.lengths:
                    rows.append([kind, *measured(server, plan, length)])
                    say(str(rows[-1]))
            finally:
                server.process.terminate()
                server.process.wait(60)
    print(machine_line(machine()))
    names = "keys and values,tokens,first token alone s,beside a stream s,stream's longest wait before ms,meanwhile ms"
    print(table([*names.split(","), "MiB planned", "MiB grown"], rows))


if __name__ == "__main__":
    main()
