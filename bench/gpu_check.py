"""Everything that only a GPU can show, in one command of at most eight minutes on a bare machine (no download).

    make gpu-check                                        # or: python bench/gpu_check.py --json gpu.json --table gpu.md
    python bench/gpu_check.py --device cpu --quick        # the same code on tiny sizes, to test this script itself

Checks are independent: one that fails hides no other. Models are made at random here. Exit code 0: all that could run
was right; 1: something failed; 2: there is no GPU. Times of day count: what does not fit into --seconds is left out and
named. Shares of peak are of the card's published dense bfloat16 peak, and of large products measured in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("STEERSMAN_MEASURE", "off")  # this machine's cache is none of our business

if importlib.util.find_spec("psutil") is None:  # neither torch nor transformers brings it
    said = (line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    memory = {name: int(size.split()[0]) << 10 for name, size in said}
    free = types.SimpleNamespace(total=memory["MemTotal"], available=memory["MemAvailable"])
    known = {"virtual_memory": lambda: free, "cpu_count": lambda logical=True: os.cpu_count(), "Process": None}
    sys.modules["psutil"] = types.ModuleType("psutil")
    vars(sys.modules["psutil"]).update(known)

import torch

from harness import machine, write_json

PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "H800": 989, "A100": 312, "A800": 312, "B200": 2250, "L40S": 362}
PEAKS |= {"L4": 121, "A10": 125, "RTX 4090": 165, "RTX 3090": 71, "RTX 5090": 210}
"""Dense bfloat16 TFLOP/s by a part of the card's name, as published; the first that fits."""
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "vocab_size": 512}
WIDE = {"vocab_size": 32768, "max_position_embeddings": 8192}
SIZES: dict[str, dict[str, int]] = {
    "tiny": TINY,
    "300M": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16}
    | {"num_key_value_heads": 8, **WIDE},
    "1B": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 20, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, **WIDE},
}
GPU_TESTS = ("tests/test_gpu.py", "tests/test_engine_graphs.py")
AIM = 0.5
"""Share of the published peak that a training step shall reach at 300M and more."""


class Skip(Exception):
    """Why a check cannot run here; no failure."""


class Run:
    """Where checks compute, and the models that they share."""

    def __init__(self, device: str, quick: bool, folder: Path) -> None:
        self.device, self.quick, self.folder = torch.device(device), quick, folder
        self.cuda = self.device.type == "cuda"
        self.products = 0.0

    def model(self, size: str) -> Path:
        from steersman.train.pace import random_model

        folder = self.folder / size
        return folder if folder.is_dir() else random_model(folder, **SIZES[size])

    def sync(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], repeats: int = 5) -> float:
        """The fastest of `repeats`, after two that do not count."""
        best = float("inf")
        for number in range(repeats + 2):
            self.sync()
            began = time.perf_counter()
            work()
            self.sync()
            best = best if number < 2 else min(best, time.perf_counter() - began)
        return best

    def peak(self) -> float:
        """Published TFLOP/s; 0 where unknown."""
        name = torch.cuda.get_device_name() if self.cuda else ""
        return float(next((of for part, of in PEAKS.items() if part in name), 0))


def products(run: Run) -> dict[str, Any]:
    size = 8192 if run.cuda else 256
    a, b = (torch.randn(size, size, device=run.device, dtype=torch.bfloat16) for _ in range(2))
    run.products = 2 * size**3 / run.seconds(lambda: a @ b) / 1e12
    return {"tflops": round(run.products, 3), "published": run.peak()}


def tests(run: Run) -> dict[str, Any]:
    """pytest -m gpu, in a process of its own."""
    if run.quick:
        raise Skip("left out by --quick")
    if importlib.util.find_spec("pytest") is None:
        raise Skip("pytest is not installed")
    root = Path(__file__).parents[1]
    # without our pytest settings, which name a plugin that a bare machine lacks
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-c", os.devnull, "--rootdir", str(root), *GPU_TESTS]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=150, check=False)
    last = (done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1]
    if done.returncode:
        raise AssertionError(f"pytest: {done.stdout[-1500:]}")
    return {"pytest": last}


def attention(run: Run) -> dict[str, Any]:
    """Rows with branches against float64 on the CPU, with gradients; memory of a long row."""
    from steersman.compute.attention import attend, flashes
    from steersman.compute.packing import Tree, build_row, to_device

    row = build_row([Tree(tuple(range(70)), (tuple(range(20)), tuple(range(33)))), Tree(tuple(range(90)))])
    there, worst = to_device(row, run.device), 0.0
    for window in (None, 16):
        g = torch.Generator().manual_seed(0)
        wide = [torch.randn(len(row.ids), heads, 64, generator=g, dtype=torch.float64) for heads in (8, 2, 2)]
        results = []
        for of, dtype, device in ((row, torch.float64, "cpu"), (there, torch.bfloat16, run.device)):
            qkv = [x.to(device, dtype).requires_grad_() for x in wide]
            out = attend(*qkv, of, 0.125, window)
            grads = torch.autograd.grad(out.square().sum(), qkv)
            results.append([x.detach().double().cpu() for x in (out, *grads)])
        for mine, exact in zip(results[1], results[0], strict=True):
            worst = max(worst, float((mine - exact).norm() / exact.norm()))
    assert worst < 0.02, f"relative error {worst:.4f}; expected bfloat16's rounding, below 0.02"
    told: dict[str, Any] = {"relative_error": round(worst, 5)}
    if run.cuda:
        q = torch.randn(16384, 8, 64, device=run.device, dtype=torch.bfloat16)
        long = to_device(build_row([Tree((1,) * 16384)]), run.device)
        assert flashes(q), "flash attention does not take bfloat16 here"
        attend(q, q[:, :2], q[:, :2], long, 0.125, None)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        attend(q, q[:, :2], q[:, :2], long, 0.125, None)
        told["mib_16k"] = (torch.cuda.max_memory_allocated() - before) >> 20
        assert told["mib_16k"] < 512, f"{told['mib_16k']} MiB for 16,384 tokens: a matrix of scores was kept"
    return told


def graphs(run: Run) -> dict[str, Any]:
    """Captured decode steps say what single operators say, and faster."""
    if not run.cuda:
        raise Skip("CUDA graphs exist on NVIDIA GPUs alone")
    from steersman.engine.load import load_engine
    from steersman.types import SamplingParams

    texts, paces, asked = {}, {}, _asked(4)
    for name, native in (("single operators", False), ("graphs", True)):
        engine: Any = load_engine(run.model("300M"), dtype="float32", device="cuda", native=native)
        params = SamplingParams(max_tokens=32, temperature=0, ignore_end=True)
        texts[name] = [c.token_ids for of in engine.generate(asked, params) for c in of]
        paces[name] = round(4 * 32 / run.seconds(lambda engine=engine, p=params: engine.generate(asked, p), 2))
        if name == "graphs":
            assert engine.kernel == "graphs", f"decoded by {engine.kernel}"
        del engine
    same = sum(a == b for a, b in zip(*texts.values(), strict=True))
    assert same >= 3, f"{same} of 4 greedy answers are the same"
    return {"same_answers": f"{same} of 4", **{f"tokens_per_second, {k}": v for k, v in paces.items()}}


def _asked(count: int) -> list[Any]:
    from steersman.types import Conversation, Message

    return [Conversation(str(i), (Message("user", f"Question {i}: where is my order?"),)) for i in range(count)]


def training(size: str, adapters: bool = False) -> Callable[[Run], dict[str, Any]]:
    """A step of SFT: tokens per second, share of peak, peak memory beside what `steersman plan` predicts."""

    def check(run: Run) -> dict[str, Any]:
        from steersman.compute.packing import Tree, build_row
        from steersman.config import ModelConfig, SftConfig, replaced
        from steersman.train import sft
        from steersman.train.budget import Lengths, setting_of, shape_in
        from steersman.train.memory import predict
        from steersman.train.session import Origin, trainable
        from steersman.train.speed import operations
        from steersman.train.update import Updater
        from steersman.weights.folders import load_causal

        if adapters and (not run.cuda or importlib.util.find_spec("bitsandbytes") is None):
            raise Skip("needs CUDA and bitsandbytes (pip install bitsandbytes)")
        folder, (documents, length) = run.model(size), (8, 1024) if run.cuda else (2, 64)
        tokens = documents * length
        config = replaced(SftConfig(), row_tokens=tokens, batch_tokens=tokens, lora_rank=16 if adapters else 0)
        model_config = ModelConfig(device=run.device.type, quantize="4bit" if adapters else "none")
        setting = setting_of(config, Lengths(tokens, length, documents), model_config)
        planned, shape = sum(predict(shape_in(folder), setting).values()), shape_in(folder)
        if run.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            if planned > torch.cuda.mem_get_info()[0]:
                raise Skip(f"{planned >> 20} MiB are planned, {torch.cuda.mem_get_info()[0] >> 20} are free")
        model = trainable(load_causal, folder, Origin("sft", run.folder / "out", config, model_config, 0, {}), 0)
        updater = Updater(model, lr=1e-4, weight_decay=0.0, grad_clip=1.0)
        ids = torch.randint(3, 250, (documents, length), generator=torch.Generator().manual_seed(0)).tolist()
        learned = (False,) * (length // 2) + (True,) * (length // 2)
        row, losses = build_row([Tree(tuple(of), (), learned) for of in ids]), []

        def step() -> None:
            losses.append(sft.learn(model, updater, [row]))
            updater.step(1.0)

        seconds = run.seconds(step, 4)
        assert losses[-1] < losses[0], f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
        rate = operations(shape, setting, config, length) * tokens / seconds / 1e12
        told = {"tokens_per_second": round(tokens / seconds), "tflops": round(rate, 3), "loss": [losses[0], losses[-1]]}
        told["share_of_products"] = round(rate / run.products, 3) if run.products else None
        if run.cuda:
            used = torch.cuda.max_memory_allocated()
            told |= {"gib": round(used / 2**30, 2), "gib_planned": round(planned / 2**30, 2)}
            told["share_of_peak"] = round(rate / run.peak(), 3) if run.peak() else None
            told["aim"] = AIM
            if not adapters:  # bitsandbytes' weights are not in the plan
                assert 0.67 < used / planned < 1.5, f"{used >> 20} MiB used, {planned >> 20} planned"
        return told

    return check


def generation(run: Run) -> dict[str, Any]:
    """Tokens per second beside transformers' generate, of the same random model."""
    from transformers import AutoModelForCausalLM

    from steersman.engine.load import load_engine
    from steersman.types import SamplingParams

    folder, longest = run.model("300M" if run.cuda else "tiny"), 64 if run.cuda else 8
    engine: Any = load_engine(folder, dtype="bfloat16", device=run.device.type)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(run.device).eval()
    told: dict[str, Any] = {}
    params = SamplingParams(max_tokens=longest, temperature=1.0, ignore_end=True, seed=1)
    options = {"do_sample": True, "max_new_tokens": longest, "min_new_tokens": longest, "pad_token_id": 0}
    for count in (1, 8, 32, 128) if run.cuda else (1, 4):
        asked = _asked(count)
        ours = count * longest / run.seconds(lambda asked=asked: engine.generate(asked, params), 2)
        ids = torch.randint(3, 250, (count, engine.count_tokens(asked[0])), device=run.device)
        with torch.no_grad():
            other = (
                count
                * longest
                / run.seconds(lambda ids=ids: theirs.generate(ids, attention_mask=torch.ones_like(ids), **options), 1)
            )
        told[f"{count} sequences"] = {"steersman": round(ours), "transformers": round(other)}
    return told


def _step(run: Run) -> dict[str, Any]:
    return training("300M" if run.cuda else "tiny")(run)


def one_process(run: Run) -> dict[str, Any]:
    """NCCL (gloo on a CPU) with a world of one: a reduction, and steps as they are handed out to all processes.

    Nothing is split where there is one.
    """
    import torch.distributed as dist

    from steersman.distributed import parallel

    small = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29581", "RANK": "0", "WORLD_SIZE": "1"}
    before = {name: os.environ.get(name) for name in small}
    os.environ.update(small)
    try:
        parallel.join(0, 1)
        x = torch.ones(4, device=run.device)
        dist.all_reduce(x)
        assert x.tolist() == [1.0] * 4
        told = parallel.everywhere(_step, run=run)
        return {"backend": "nccl" if run.cuda else "gloo", "tokens_per_second": told["tokens_per_second"]}
    finally:
        with contextlib.suppress(Exception):
            parallel.leave()
            parallel._store = None
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def checks(run: Run) -> dict[str, Callable[[Run], dict[str, Any]]]:
    sizes = ("300M", "1B") if run.cuda and not run.quick else ("tiny",)
    trained = {f"training, {size}": training(size) for size in sizes}
    lora = {"quantised LoRA": training(sizes[0], adapters=True)}
    usual = {"products": products, "attention": attention, "graphs": graphs, **trained, "generation": generation}
    return {**usual, "one process": one_process, **lora, "tests": tests}


def table(result: dict[str, Any]) -> str:
    """The result for docs/benchmarks/."""
    facts = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    lines = [f"`{result['command']}`, {result['date']}, {result['device']} ({facts}):", "", "| check | state | found |"]
    lines.append("|---|---|---|")
    for of in result["checks"]:
        parts = [f"{k} {json.dumps(v) if isinstance(v, dict | list) else v}" for k, v in of.get("found", {}).items()]
        found = of.get("why") or "; ".join(parts)
        lines.append(f"| {of['name']} | {of['state']} | {' '.join(found.split())[:400].replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def attempt(name: str, check: Callable[[Run], dict[str, Any]], run: Run) -> dict[str, Any]:
    began, out = time.monotonic(), {"name": name, "state": "ok"}
    try:
        out["found"] = check(run)
    except Skip as reason:
        out |= {"state": "left out", "why": str(reason)}
    except Exception as error:
        traceback.print_exc()
        out |= {"state": "failed", "why": f"{type(error).__name__}: {error}"}
    if run.cuda:
        with contextlib.suppress(Exception):
            torch.cuda.empty_cache()
    return out | {"seconds": round(time.monotonic() - began, 1)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options.add_argument("--quick", action="store_true", help="tiny sizes")
    options.add_argument("--only", default="", help="names of checks, separated by semicolons")
    options.add_argument("--fail", default="", help="a check that shall fail, to try this script")
    options.add_argument("--seconds", type=float, default=450.0)
    options.add_argument("--json", type=Path, default=Path("gpu-check.json"))
    options.add_argument("--table", type=Path, default=Path("gpu-check.md"))
    given = options.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print(
            f"no GPU: torch {torch.__version__} sees none here; --device cpu --quick tries the script", file=sys.stderr
        )
        return 2
    began, done = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(given.device, given.quick or given.device == "cpu", Path(folder))
        wanted = [name for name in given.only.split(";") if name]
        for name, check in checks(run).items():
            if wanted and name not in wanted:
                continue
            if time.monotonic() - began > given.seconds:
                done.append(
                    {"name": name, "state": "left out", "why": f"{given.seconds:.0f} s were over", "seconds": 0.0}
                )
            else:
                print(f"{name} ...", file=sys.stderr, flush=True)
                done.append(attempt(name, _failing if name == given.fail else check, run))
            print(json.dumps(done[-1], ensure_ascii=False), flush=True)
    device = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    command = "make gpu-check" if given.device == "cuda" else "python bench/gpu_check.py --device cpu --quick"
    result = {"command": command, "date": time.strftime("%Y-%m-%d"), "device": device, "machine": machine()}
    result |= {"seconds": round(time.monotonic() - began, 1), "checks": done}
    write_json(given.json, result)
    given.table.write_text(table(result), encoding="utf-8")
    print(table(result))
    return 1 if any(of["state"] == "failed" for of in done) else 0


def _failing(_run: Run) -> dict[str, Any]:
    raise AssertionError("as asked for by --fail")


if __name__ == "__main__":
    sys.exit(main())
