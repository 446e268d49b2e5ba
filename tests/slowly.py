"""The command line in forked processes, with optimizer steps and answers that take as long as is asked.

    {"run": ["sft", ...], "seconds": 0.3, "output": PATH} -> pid      stdout to PATH.out, stderr to PATH.err
    {"wait": pid} -> exit code

One process imports torch, and forks for each command; it has no threads that would be missing then.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import torch

from steersman.cli import framework, main


def slow_down(seconds: float) -> None:
    from steersman.engine.backends.local.engine import LocalEngine
    from steersman.train.update import Updater

    step, generate = Updater.step, LocalEngine.generate_parts

    def slow_step(self: Updater, lr_share: float) -> float:
        time.sleep(seconds)
        return step(self, lr_share)

    def slow_generate(self: LocalEngine, *arguments: Any) -> Any:
        time.sleep(seconds)
        yield from generate(self, *arguments)

    Updater.step = slow_step  # type: ignore[method-assign]
    LocalEngine.generate_parts = slow_generate  # type: ignore[method-assign]


def command(arguments: list[str], seconds: float, output: str) -> None:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{output}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["steersman", *arguments]
    slow_down(seconds)
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    import steersman.engine.load
    import steersman.eval.report
    import steersman.eval.run
    import steersman.store
    import steersman.train.ppo
    import steersman.train.preference
    import steersman.train.reward
    import steersman.train.sample
    import steersman.train.sft  # noqa: F401

    assert framework
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit ignored signals
    for signum in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(signum, signal.SIG_DFL)
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            command(asked["run"], asked["seconds"], asked["output"])
