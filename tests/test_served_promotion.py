"""Promotion and rollback while answers are being written, by two web processes and the engine's: none is dropped."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from round_space import allow_judges

FIRST, SECOND = "001/sft", "002/kto"


@pytest.mark.slow
def test_streams_outlive_promotions_and_say_whose_they_are(
    two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_judges(monkeypatch)
    root = shutil.copytree(two_rounds, tmp_path / "w", copy_function=shutil.copy2)
    command = [sys.executable, "-m", "steersman", "serve", "-w", str(root), "--port", "0", "--json", "--workers", "2"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        _promoted_amid_streams(json.loads(server.stdout.readline())["url"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(120) == 0
    finally:
        server.kill()
        server.communicate()


def _promoted_amid_streams(url: str) -> None:
    over, told = threading.Event(), list[tuple[float, set[str], str]]()
    """When each stream began, the versions that its chunks name, and how it ended."""

    said = [{"role": "user", "content": "Where is my order?"}]
    body: dict[str, Any] = {"model": _models(url)[0], "messages": said, "stream": True}
    body |= {"max_tokens": 60, "temperature": 2}

    def ask(seed: int) -> None:
        began, versions, end = time.monotonic(), set[str](), ""
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body | {"seed": seed}, timeout=120) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    chunk = json.loads(line.removeprefix("data: "))
                    versions.add(chunk["system_fingerprint"])
                    end = next((c["finish_reason"] for c in chunk["choices"] if c["finish_reason"]), end)
        told.append((began, versions, end))

    def one(number: int) -> None:
        for turn in itertools.count():
            if over.is_set():
                return
            ask(1000 * number + turn)

    with ThreadPoolExecutor(20) as pool:
        asking = [pool.submit(one, number) for number in range(20)]
        try:
            for path, wanted, version in (
                ("promote", {"round": 2, "stage": "kto", "force": True}, SECOND),
                ("rollback", None, FIRST),
            ):
                answer = httpx.post(f"{url}/api/rounds/{path}", json=wanted, headers={"X-Steersman": "1"}, timeout=120)
                assert answer.status_code == 200, answer.text
                at = time.monotonic()
                while not _all_by(version, told, at):
                    assert time.monotonic() < at + 240, f"{version} is not served by both web processes"
                    time.sleep(0.1)
        finally:
            over.set()
        for each in asking:
            each.result()
    assert len(told) > 40
    assert {end for _, _, end in told} <= {"stop", "length"}
    assert all(len(versions) == 1 for _, versions, _ in told), "an answer keeps the model that began it"


def _all_by(version: str, told: list[tuple[float, set[str], str]], since: float) -> bool:
    """Whether the last of the streams that began since then are all by that version: enough of them for two processes,
    both kept busy, to have had some."""
    last = [versions for began, versions, _ in sorted(told, key=lambda one: one[0]) if began > since][-60:]
    return len(last) == 60 and all(versions == {version} for versions in last)


def _models(url: str) -> list[str]:
    """The assistant's name, the served version and others, by a connection of its own."""
    return [str(model["id"]) for model in httpx.get(f"{url}/v1/models", timeout=120).json()["data"]]
