"""Pretraining beside nanochat's base_train: same corpus, shape, rows, batches and number of tokens, in one run.

    python bench/pretrain.py --nanochat FOLDER --python PYTHON -w WORKSPACE --corpus books --tokenizer books32

nanochat (its repository in FOLDER, its packages in PYTHON's environment) trains a tokenizer of as many entries on the
same training texts. Both models are then measured on the same held-out texts, in bits per byte. On a machine with other
work take --processor: one thread each, timed by processor time. Sides run in turns; ours in float32 and bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import machine, machine_line, own_peak_mib

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanochat", type=Path)
    parser.add_argument("--python", default=sys.executable, help="with nanochat's packages")
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    parser.add_argument("--corpus", default="books")
    parser.add_argument("--tokenizer", default="books32")
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=8192)
    parser.add_argument("--pass-tokens", type=int, default=4096)
    parser.add_argument("--texts", type=int, default=20, help="held-out texts that are measured")
    parser.add_argument("--processor", action="store_true", help="one thread each, timed by processor time")
    parser.add_argument("--sides", default="ours float32,nanochat float32,ours bfloat16,nanochat bfloat16")
    parser.add_argument("-s", "--set", action="append", default=[], help="settings of our side")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def held_out(given: argparse.Namespace) -> list[str]:
    from steersman.artifact.workspace import Workspace
    from steersman.corpus.folder import corpus_of

    corpus = corpus_of(Workspace.open(given.workspace), given.corpus)
    texts = [text for source in corpus.sources for text in corpus.texts(source, "validation")]
    return [text[:8000] for text in texts[: given.texts]]


def ours(given: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """One run in this process."""
    import torch

    from steersman import config_file
    from steersman.artifact.workspace import Workspace
    from steersman.config import ModelConfig, PretrainConfig, ShapeConfig
    from steersman.corpus.folder import corpus_of
    from steersman.corpus.mixed_rows import reading
    from steersman.corpus.mixture import Mixture
    from steersman.train import dial, pretrain
    from steersman.train.bits import bits_per_byte
    from steersman.train.bits import held_out as as_rows
    from steersman.train.session import Origin
    from steersman.train.trajectory import Trajectory
    from steersman.weights.folders import load_causal, load_tokenizer, use_packed_rows

    if given.processor:
        torch.set_num_threads(1)
    clock = time.process_time if given.processor else time.perf_counter
    space = Workspace.open(given.workspace)
    corpus = corpus_of(space, given.corpus)
    section = PretrainConfig(
        tokens=str(given.steps * given.batch),
        batch_tokens=given.batch,
        pass_tokens=given.pass_tokens,
        evals=0,
        samples=0,
        shape=ShapeConfig(depth=given.depth),
    )
    config = config_file.with_overrides(replace(space.config, pretrain=section), given.set)
    tokenizer = load_tokenizer(space.root / "tokenizers" / given.tokenizer)
    documents = corpus.documents(given.tokenizer)
    sizes = dial.sizes(config.pretrain, len(tokenizer))
    recipe = dial.recipe(config.pretrain, sizes)
    rows = reading(documents, Mixture({}), recipe.tokens, config.pretrain.context, 17)
    text = pretrain.Text(tokenizer, rows, {s: corpus.texts(s, "validation") for s in rows.sources})
    took: list[float] = []
    began = [0.0]
    passes, update = pretrain.passes, Trajectory.update

    def timed_passes(*of: Any) -> Any:
        began[0] = clock()
        return passes(*of)

    def timed_update(self: Any, loss: float) -> Any:
        found = update(self, loss)
        took.append(clock() - began[0])
        return found

    pretrain.passes, Trajectory.update = timed_passes, timed_update  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        origin = Origin("pretrain", Path(folder) / "model", config.pretrain, ModelConfig(dtype=dtype), 17, {})
        metrics = pretrain.run(origin, text, recipe, sizes)
        model = use_packed_rows(load_causal(Path(folder) / "model", dtype))
        read = as_rows(held_out(given), tokenizer, 10**9, config.pretrain.context, given.pass_tokens)
        bits = bits_per_byte(model, {"": read})[""]
    warm = min(2, given.steps - 1)
    return {
        "tokens_per_second": [round(recipe.batch_tokens / s) for s in took[warm:]],
        "bpb": bits,
        "parameters": {"total": metrics["parameters"], "matrices": sizes.matrices, "head": sizes.head},
        "peak_mib": own_peak_mib(),
    }


def peer_data(given: argparse.Namespace, folder: Path, entries: int) -> None:
    """The corpus as nanochat reads it, and its tokenizer of it; done once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from steersman.artifact.workspace import Workspace
    from steersman.corpus.folder import corpus_of

    if (folder / "tokenizer" / "token_bytes.pt").is_file():
        return
    corpus = corpus_of(Workspace.open(given.workspace), given.corpus)
    data = folder / "base_data_climbmix"
    data.mkdir(parents=True, exist_ok=True)
    for number, split in enumerate(("train", "validation")):
        texts = [text for source in corpus.sources for text in corpus.texts(source, split)]
        pq.write_table(pa.table({"text": texts}), data / f"shard_{number:05d}.parquet", row_group_size=200)
    limits = [f"--vocab-size={entries}", "--max-chars=10000000"]
    subprocess.run(
        [given.python, "-m", "scripts.tok_train", *limits], cwd=given.nanochat, env=_environment(given), check=True
    )


def _environment(given: argparse.Namespace, **more: str) -> dict[str, str]:
    folder = given.workspace.resolve() / f"nanochat-{given.corpus}-{given.tokenizer}"
    threads = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"} if given.processor else {}
    known = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    return {
        **known,
        "NANOCHAT_BASE_DIR": str(folder),
        "WANDB_MODE": "disabled",
        "PYTHONPATH": str(HERE),
        **threads,
        **more,
    }


def peer(given: argparse.Namespace, dtype: str) -> dict[str, Any]:
    from steersman.artifact.workspace import Workspace
    from steersman.weights.folders import load_tokenizer

    entries = len(load_tokenizer(Workspace.open(given.workspace).root / "tokenizers" / given.tokenizer))
    peer_data(given, Path(_environment(given)["NANOCHAT_BASE_DIR"]), entries)
    wanted = {
        "depth": given.depth,
        "head-dim": 64,
        "window-pattern": "L",
        "max-seq-len": 512,
        "device-batch-size": min(16, given.batch // 512),
        "total-batch-size": given.batch,
        "num-iterations": given.steps,
        "warmup-steps": min(40, max(1, given.steps // 20)),
        "eval-every": -1,
        "core-metric-every": -1,
        "sample-every": -1,
    }
    spec = {
        "arguments": [f"--{name}={value}" for name, value in wanted.items()],
        "texts": held_out(given),
        "context": 512,
        "threads": 1 if given.processor else os.cpu_count(),
        "processor": given.processor,
        "warmup": min(2, given.steps - 1),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(spec, file)
        file.flush()
        command = [given.python, str(HERE / "pretrain_nanochat.py"), file.name]
        done = subprocess.run(
            command,
            cwd=given.nanochat,
            env=_environment(given, NANOCHAT_DTYPE=dtype),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    given = arguments()
    if given.side:
        who, dtype = given.side.split()
        print(json.dumps(ours(given, dtype) if who == "ours" else peer(given, dtype)))
        return
    results: dict[str, dict[str, Any]] = {}
    print(f"{machine_line(machine())}; {given.steps} steps of {given.batch} tokens, depth {given.depth}", flush=True)
    for side in given.sides.split(","):
        one = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        done = subprocess.run(one, stdout=subprocess.PIPE, text=True, check=True)
        results[side] = json.loads(done.stdout.strip().splitlines()[-1])
        r = results[side]
        speed = statistics.median(r["tokens_per_second"])
        unit = "tokens per processor second" if given.processor else "tokens/s"
        print(f"{side}: {speed:.0f} {unit}, {r['bpb']:.4f} bits per byte, peak {r['peak_mib']:.0f} MiB", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "given": vars(given), "results": results}, default=str))


if __name__ == "__main__":
    main()
