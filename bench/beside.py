"""Generation beside another process that computes on as many threads at equal priority, against generation alone.

    .venv/bin/python bench/beside.py                      # three minutes on two cores
    .venv/bin/python bench/beside.py --batches 8,32 --repeats 5 --json out.json

Both in one run, in turns; medians, and the median of the ratios within one repeat. A fair share is half the speed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generate import Side, Worker, make_prompts
from harness import machine, machine_line, median, median_ratio, say, shown, table, write_json

BUSY = """
import torch
torch.set_num_threads({threads})
a = torch.randn(1024, 1024)
print(flush=True)
while True:
    a @ a
"""


@contextlib.contextmanager
def busy(threads: int) -> Iterator[None]:
    """Beside a process that multiplies matrices of float32 all the time."""
    process = subprocess.Popen([sys.executable, "-c", BUSY.format(threads=threads)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def measure(worker: Worker, prompts: list[list[int]], new_tokens: int, repeats: int, threads: int) -> dict[str, Any]:
    """Tokens per second alone and beside, one of each per repeat, and medians."""

    def speed() -> float:
        return len(prompts) * new_tokens / float(worker.ask(prompts, new_tokens)["seconds"])

    speed()  # makes buffers of this size
    alone, beside = [], []
    for repeat in range(repeats):
        alone.append(speed())
        with busy(threads):
            beside.append(speed())
        say(f"  {len(prompts)} sequences, repeat {repeat + 1}: alone {alone[-1]:.0f}, beside {beside[-1]:.0f} tokens/s")
    medians = {"alone": median(alone), "beside": median(beside), "share": median_ratio(beside, alone)}
    return medians | {"batch": len(prompts), "repeats": {"alone": alone, "beside": beside}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"type": lambda text: [int(part) for part in text.split(",")], "metavar": "N,N"}
    parser.add_argument("--model", default="smollm2-135m", help="anything that model.base takes")
    parser.add_argument("--side", default="steersman", help="who generates: steersman, streams or transformers")
    parser.add_argument("--batches", default=[1, 8, 32, 128], help="concurrent sequences", **sizes)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    options = parser.parse_args()
    from steersman.weights.resolve import resolve

    folder = resolve(options.model, say=say)
    prompts = make_prompts(folder, max(options.batches), 40)
    threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    worker = Worker(Side(options.side, options.side, str(folder), "bfloat16"), max(options.batches), prompts[0], "")
    try:
        found = [measure(worker, prompts[:n], options.new_tokens, options.repeats, threads) for n in options.batches]
    finally:
        worker.close()
    facts = machine()
    rows = [
        [str(row["batch"]), shown(row["alone"]), shown(row["beside"]), f"{100 * row['share']:.0f} %"] for row in found
    ]
    print(f"{options.model}, {options.side}; {machine_line(facts)}; {threads} threads each\n")
    print(table(["sequences", "alone, tokens/s", "beside, tokens/s", "share"], rows))
    write_json(options.json, {"machine": facts, "side": options.side, "threads": threads, "rows": found})


if __name__ == "__main__":
    main()
