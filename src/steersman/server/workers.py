"""Several web processes in front of one socket, one store and one engine's process.

The parent listens, keeps the engine's process and the workers alive, and passes signals on. A worker is the same
command, told by its environment that it is one and by its standard input where socket and engine are; when the parent
dies, that input ends and the worker with it. Each accepts from the same socket, so that what a dying worker has not
accepted is another's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from steersman.engine.apart.client import Link
from steersman.engine.apart.process import Kept, started
from steersman.server.buckets import shared
from steersman.server.started import VARIABLE
from steersman.server.started import started as since
from steersman.stopping import Stop

WORKER = "STEERSMAN_WORKER"
"""The environment variable with a worker's number."""
END_SECONDS = 10.0
"""Seconds that a worker has to end beyond those for its answers, before it is killed."""
START_SECONDS = 120.0


@dataclass(frozen=True)
class Worker:
    """What a worker is told by its parent."""

    number: int
    sock: socket.socket
    link: Link | None
    """To the engine's process; None where each worker has an engine of its own."""
    counts: int
    """A descriptor of the table in which all count requests (`buckets.Buckets`)."""


def this_worker() -> Worker | None:
    """What this process was told, if it is a worker: to be asked once. It is told to end when its parent dies."""
    number = os.environ.pop(WORKER, None)
    if number is None:
        return None
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    engine = told["engine"]
    link = Link(engine["address"], bytes.fromhex(engine["key"])) if engine else None

    def until_the_parent_dies() -> None:
        with contextlib.suppress(ValueError, OSError):
            sys.stdin.read()
        if link is not None:
            link.close()  # the engine's process ends too, and nobody starts it again
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=until_the_parent_dies, name="parent", daemon=True).start()
    return Worker(int(number), socket.socket(fileno=told["socket"]), link, told["counts"])


def run(
    number: int, sock: socket.socket, engine: Mapping[str, str], drain: float, on_ready: Callable[[], None]
) -> None:
    """Keep `number` workers alive until Ctrl-C or SIGTERM. `on_ready` is called when the first one answers.

    SIGINT ends them also where a shell's `&` had it ignored, as it ends a server of one process.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    workers: list[Kept] = []
    counts = shared()
    signum = int(signal.SIGTERM)
    try:
        for i in range(number):
            workers.append(Kept(f"web worker {i}", _starter(i, sock, counts, engine)))
        _first_answer(sock)
        on_ready()
        threading.Event().wait()
    except KeyboardInterrupt as stop:
        signum = stop.signum if isinstance(stop, Stop) else signal.SIGINT
    finally:
        _stop(workers, drain, signum)
        os.close(counts)


def _stop(workers: list[Kept], drain: float, signum: int) -> None:
    ends = [threading.Thread(target=worker.stop, args=(drain + END_SECONDS, signum)) for worker in workers]
    for end in ends:
        end.start()
    for end in ends:
        end.join()


def _command() -> list[str]:
    return [sys.executable, "-m", "steersman", *sys.argv[1:]]


def _starter(
    number: int, sock: socket.socket, counts: int, engine: Mapping[str, str]
) -> Callable[[], subprocess.Popen[Any]]:
    told = {"socket": sock.fileno(), "counts": counts, "engine": dict(engine)}

    def start() -> subprocess.Popen[Any]:
        environment = {**os.environ, WORKER: str(number), VARIABLE: since()}
        return started(_command(), told, stdout=subprocess.DEVNULL, env=environment, pass_fds=[sock.fileno(), counts])

    return start


def _first_answer(sock: socket.socket) -> None:
    """Until a worker answers, whatever it says."""
    from steersman.server.listening import url_of

    with contextlib.suppress(OSError, HTTPException):  # a refusal is an answer, TLS's too
        urllib.request.urlopen(f"{url_of(sock)}/healthz", timeout=START_SECONDS).close()
