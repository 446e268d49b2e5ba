"""For bench/same.py: runs `python -m steersman` for each line on stdin in a fork, which spares the import of torch.

{"run": [...], "folder": PATH, "kernels": "on", "log": PATH} -> pid     LOG.in is stdin; LOG.out, LOG.err are written
{"wait": pid} -> exit code

No module of Steersman is named here. PYTHONPATH says which sources are run; they must lie in the folder given.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import sys
from typing import Any

import torch

IMPORTED = """
torch._dynamo torch.distributed.tensor transformers.modeling_utils transformers.generation.utils safetensors.torch
transformers.models.llama.modeling_llama transformers.models.gemma3.modeling_gemma3 matplotlib.pyplot sqlalchemy alembic
transformers.models.qwen3.modeling_qwen3 typer rich fastapi uvicorn pydantic jinja2 tokenizers
"""
"""Once, for all commands; none of them starts a thread that would be missing in a fork."""


def command(asked: dict[str, Any]) -> None:
    os.environ["STEERSMAN_KERNELS"] = asked["kernels"]
    os.chdir(asked["folder"])
    for name, number in (("in", 0), ("out", 1), ("err", 2)):
        os.dup2(os.open(f"{asked['log']}.{name}", os.O_RDWR | os.O_CREAT), number)
    sys.argv = ["steersman", *asked["run"]]
    code = 1
    try:
        runpy.run_module("steersman", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    for name in IMPORTED.split():
        importlib.import_module(name)
    found = importlib.util.find_spec("steersman")
    if found is None or not str(found.origin).startswith(sys.argv[1]):
        sys.exit(f"expected sources in {sys.argv[1]}, found {found}")
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            command(asked)
