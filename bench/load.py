"""Many streams at once: what the server gives of its engine's speed, when first words come, and what fails.

    .venv/bin/python bench/load.py                              # 200 streams, five minutes on two cores
    .venv/bin/python bench/load.py --streams 50 --workers 2 --repeats 3 --json out.json
    .venv/bin/python bench/load.py --without-process            # the engine inside the web process

Both sides answer the same chats with the same options, in turns: the bare engine by one call of `generate` in a
process of its own, the server by streams that are all opened at once, read by one process that parses no more than it
must. `share` is the median, over repeats, of the ratio of their tokens per second; `work` is how much processor time
the server's processes take for a token beside the bare engine's, which other work on the machine hardly changes. First
words are timed from the moment at which all streams are begun; `late` is how long the web process kept its event loop
at most (it says so at /metrics).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from harness import machine, machine_line, median, median_ratio, say, table, write_json

THINGS = ("the sea", "a long train journey", "how bread is made", "a lighthouse keeper", "rain in a city", "the moon")


def chats(count: int) -> list[str]:
    """Prompts that a small model answers at length."""
    return [f"Write a long story about {THINGS[i % len(THINGS)]}, number {i}, with many details." for i in range(count)]


@dataclass
class Stream:
    """One answer as its reader saw it; times are seconds since all were begun."""

    first: float = 0.0
    end: float = 0.0
    tokens: int = 0
    gaps: list[float] = field(default_factory=list)
    error: str = ""


async def read(url: str, body: dict[str, Any], began: float) -> Stream:
    place, seen, last = urlsplit(url), Stream(), 0.0
    data = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    try:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(head.encode() + data)
        status = await reader.readline()
        if b" 200 " not in status:
            seen.error = status.decode().strip()
        async for line in reader:
            now = time.perf_counter() - began
            if b'"content":"' in line and b'"content":""' not in line:
                seen.first = seen.first or now
                if last:
                    seen.gaps.append(now - last)
                last = now
            elif b'"error"' in line:
                seen.error = seen.error or line.decode()[:200]
            elif found := re.search(rb'"completion_tokens":\s*(\d+)', line):
                seen.tokens = int(found[1])
        writer.close()
        seen.end = time.perf_counter() - began
        seen.error = seen.error or ("" if seen.tokens else "no usage came")
    except OSError as error:
        seen.error = repr(error)
    return seen


async def served(url: str, model: str, count: int, tokens: int) -> list[Stream]:
    def body(i: int, prompt: str) -> dict[str, Any]:
        sampling = {"max_tokens": tokens, "temperature": 0.7, "seed": i}
        asked = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True}
        return asked | sampling | {"stream_options": {"include_usage": True}}

    began = time.perf_counter()
    return await asyncio.gather(*(read(url, body(i, prompt), began) for i, prompt in enumerate(chats(count))))


def bare(model: str, slots: int) -> None:
    """The bare engine's process: answers each line {"count", "tokens"} with {"seconds", "tokens"}."""
    from steersman.engine.load import load_engine
    from steersman.types import Conversation, Message, SamplingParams

    engine = load_engine(model, max_slots=slots)
    for line in sys.stdin:
        asked = json.loads(line)
        prompts = [Conversation("", (Message("user", text),)) for text in chats(asked["count"])]
        began = time.perf_counter()
        answers = engine.generate(prompts, SamplingParams(max_tokens=asked["tokens"], temperature=0.7))
        tokens = sum(len(group[0].token_ids) for group in answers)
        print(json.dumps({"seconds": time.perf_counter() - began, "tokens": tokens}), flush=True)


class Bare:
    def __init__(self, model: str, slots: int) -> None:
        command = [sys.executable, __file__, "--bare", "--model", model, "--streams", str(slots)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def speed(self, count: int, tokens: int) -> tuple[float, float]:
        """Tokens a second, and processor seconds of a token."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        before = processor_seconds(self.process.pid)
        self.process.stdin.write(json.dumps({"count": count, "tokens": tokens}) + "\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        worked = processor_seconds(self.process.pid) - before
        return said["tokens"] / said["seconds"], worked / said["tokens"]


def processor_seconds(pid: int) -> float:
    """Of a process and those that it started."""
    whole = psutil.Process(pid)
    times = [process.cpu_times() for process in (whole, *whole.children(recursive=True))]
    return sum(time.user + time.system for time in times)


@contextlib.contextmanager
def server(model: str, folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """A workspace's server; gives its URL and its process."""
    verb = [sys.executable, "-m", "steersman"]
    made = [*verb, "init", str(folder / "load"), "--name", "load", "--set", "project.domain=none", "--set"]
    subprocess.run([*made, f"model.base={model}"], check=True, stdout=subprocess.DEVNULL)
    command = [*verb, "serve", "-w", str(folder / "load"), "--port", "0", "--json", "--workers", str(options.workers)]
    command += ["-s", "model.dtype=bfloat16"]  # as the bare engine: what `auto` means depends on what was measured here
    command += ["-s", f"serve.engine_process={'false' if options.without_process else 'true'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"], process.pid
    finally:
        process.terminate()
        process.wait(60)


def late(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        found = re.search(r"^steersman_event_loop_late_seconds (\S+)", answer.read().decode(), re.M)
    return float(found[1]) if found else float("nan")


def summary(streams: list[Stream]) -> dict[str, Any]:
    good = [s for s in streams if not s.error]
    first = sorted(s.first for s in good)
    gaps = sorted(gap for s in good for gap in s.gaps)
    figures: dict[str, Any] = {"errors": [s.error for s in streams if s.error][:5], "failed": len(streams) - len(good)}
    if good:
        wall = max(s.end for s in good)
        figures |= {"speed": sum(s.tokens for s in good) / wall, "tokens": sum(s.tokens for s in good)}
        figures |= {"first_least": first[0], "first_median": median(first), "first_most": first[-1]}
        figures |= {"spread": first[-1] / first[0], "slowest_to_median": first[-1] / median(first)}
        figures |= {"gap_median": median(gaps) if gaps else 0.0, "gap_most": gaps[-1] if gaps else 0.0}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--without-process", action="store_true", help="the engine inside the web process")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if options.bare:
        bare(options.model, options.streams)
        return
    from steersman.weights.resolve import resolve

    model, count, tokens = str(resolve(options.model, say=say)), options.streams, options.tokens
    alone, rows = Bare(model, count), []
    with tempfile.TemporaryDirectory() as folder, server(model, Path(folder), options) as (url, pid):
        asyncio.run(served(url, "load", 4, 4))
        alone.speed(4, 4)
        for repeat in range(options.repeats):
            (speed, work), before = alone.speed(count, tokens), processor_seconds(pid)
            row = summary(asyncio.run(served(url, "load", count, tokens))) | {"bare": speed, "late": late(url)}
            row["work"] = (processor_seconds(pid) - before) / row.get("tokens", 1) / work
            rows.append(row)
            say(f"  repeat {repeat + 1}: " + ", ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float)))
            if row["failed"]:
                say(f"  {row['failed']} of {count} failed: {row['errors']}")
    alone.process.kill()
    facts = machine()
    share = median_ratio([r["speed"] for r in rows], [r["bare"] for r in rows])
    print(f"{count} streams of {tokens} tokens, {options.workers} web process(es); {machine_line(facts)}\n")
    shown = [
        "speed",
        "bare",
        "work",
        "first_least",
        "first_median",
        "first_most",
        "slowest_to_median",
        "gap_median",
        "late",
    ]
    print(
        table(
            ["repeat", *shown, "failed"],
            [[str(i + 1), *(f"{r[name]:.3g}" for name in shown), str(r["failed"])] for i, r in enumerate(rows)],
        )
    )
    work = median([row["work"] for row in rows])
    print(f"\nshare of the bare engine's speed: {100 * share:.0f} %; processor time per token: {work:.2f} times its")
    write_json(options.json, {"machine": facts, "share": share, "rows": rows, "options": vars(options) | {"json": ""}})


if __name__ == "__main__":
    main()
