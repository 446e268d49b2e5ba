"""Memory within a container's limits, and code that must not need Linux."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from steersman import machine
from steersman.engine.backends.local.cache import default_budget

WITHOUT_POSIX = """
import asyncio, multiprocessing, os, signal, subprocess, sys  # which choose by themselves what they import
import sysconfig, filelock, psutil, typer, uvicorn
sysconfig.get_config_vars()
for module in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[module] = None
for module, names in (
    (os, ("fchmod", "fork", "getuid", "sched_getaffinity", "sysconf")),
    (signal, ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1")),
):
    for name in names:
        delattr(module, name)
sys.platform = "win32"
from pathlib import Path
from steersman import locks, machine, stopping
from steersman.artifact import files
from steersman.cli import framework
from steersman.server import listening
stopping.install()
listening._allow_files(100)
assert machine.cores() and machine.free_memory()
folder = Path(sys.argv[1])
with locks.making(folder / "stage"), locks.using(folder / "other"), files.atomic_write(folder / "file") as file:
    file.write("text")
print(framework.BROKEN_PIPE)
"""


def test_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "none")
    whole, free = psutil.virtual_memory().total, machine.free_memory()
    assert machine.total_memory() == whole >= free > 0
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.total_memory() == whole
    (tmp_path / "memory.max").write_text(f"{300 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{200 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {50 << 20}\nactive_file 2\n")
    assert machine.total_memory() == 300 << 20
    assert machine.free_memory() == 150 << 20, "cached files can be dropped"
    import torch

    assert default_budget(torch.device("cpu")) == int(0.4 * (300 << 20))
    (tmp_path / "memory.current").write_text(f"{400 << 20}\n")
    assert machine.free_memory() == 0


def test_what_windows_lacks_is_not_needed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_POSIX, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "141\n", done.stderr
