"""Stages in several processes: `--processes N` starts them, as torchrun would; the first alone runs the command line.

    steersman sft --processes 2                                  # one machine
    torchrun --nproc-per-node 2 ... -m steersman sft             # several, with a shared file system

The stages that train are computed by all processes, every other stage by the first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from types import FrameType
from typing import Annotated

import psutil
import typer

from steersman import progress, stopping
from steersman.cli.framework import BUG, fail, say

ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes", metavar="N", min=1, help="Train in N processes on this machine, one per GPU; see also torchrun."
    ),
]


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def spread(processes: int) -> None:
    """Run this command in `processes` processes and exit with their code; returns at once if none are to be started."""
    if processes == 1 or launched():
        return
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    logging.disable(logging.CRITICAL)  # the process that fails says why
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        signals_to_handle="",  # its own handlers give the processes 30 s, and then kill
    )
    passed_on: list[int] = []

    def pass_on(signum: int, _frame: FrameType | None) -> None:
        """Ctrl-C reaches this process alone: the others have sessions of their own. They end when they have saved."""
        passed_on.append(signum)
        children = psutil.Process().children()
        if not children:  # no process was started yet
            raise stopping.Stop(signum)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signum)

    stopping.install(pass_on)
    progress.quiet()  # the first of the processes speaks from here on
    try:
        elastic_launch(config, sys.executable)("-m", "steersman", *sys.argv[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if passed_on and failure.exitcode < 0:  # before the processes had met: nothing was begun
            raise stopping.Stop(passed_on[0]) from None
        if failure.exitcode < 0:
            say(
                f"error: process {rank} of {processes} was ended by {failure.signal_name()}, as happens when memory "
                "runs out; run the same command again to continue"
            )
        raise typer.Exit(failure.exitcode if failure.exitcode > 0 else BUG) from None
    raise typer.Exit


def run(command_line: Callable[[], None]) -> None:
    """One of several processes: the first runs `command_line`, the others help with what it hands out, silently.

    Ends the process.
    """
    first = os.environ["RANK"] == "0"
    # while processes meet there is nothing to save, and waiting in C++ runs no Python handler
    stopping.install(signal.SIG_DFL)
    try:
        with progress.heartbeat("starting the processes") if first else contextlib.nullcontext():
            from steersman.distributed import parallel

            parallel.join(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
        stopping.install()
        if first:
            try:
                command_line()
            except SystemExit as end:
                if end.code:
                    raise
            parallel.dismiss()
        else:
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):
                parallel.work()
        parallel.leave()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(fail(error, False))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # all is done and written; in the interpreter's teardown PyTorch's threads now and then abort a process of several
    os._exit(0)
