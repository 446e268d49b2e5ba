"""One side of the generation benchmark, in a process of its own: python generate_worker.py SIDE MODEL DTYPE SLOTS.

Reads requests as JSON lines on stdin, {"prompts": [[token ids]], "max_tokens": n}, and answers each on stdout with
{"seconds", "tokens", "peak_mib", "weight_bytes"}. Every side samples at temperature 1 and ends no sequence early, so
all do the same work. The vllm side runs under another Python, so nothing of steersman is imported up here.
"""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness import peak_mib

Prompts = list[list[int]]
Generate = Callable[[Prompts, int], int]
"""(prompts, tokens to generate for each) -> tokens generated."""


def steersman(folder: str, dtype: str, slots: int, streamed: bool = False) -> tuple[Generate, int]:
    from steersman.engine.backends.local.engine import LocalEngine
    from steersman.engine.load import load_engine
    from steersman.types import SamplingParams

    # the same prompts come again and again, and no side may go on from what it kept
    engine = load_engine(folder, dtype=dtype, max_slots=slots, reuse="off")
    if not isinstance(engine, LocalEngine):
        raise SystemExit(f"{folder}: the local engine does not compute this model")

    def generate(prompts: Prompts, max_tokens: int) -> int:
        params = SamplingParams(max_tokens=max_tokens, temperature=1.0, seed=1, ignore_end=True)
        if streamed:
            with ThreadPoolExecutor(len(prompts)) as pool:
                answers = [last for *_, last in pool.map(lambda ids: list(engine.stream(ids, params)), prompts)]
        else:
            answers = [completion for group in engine.generate(prompts, params) for completion in group]
        return sum(len(answer.token_ids) for answer in answers)

    return generate, engine.decoder.weights.nbytes


def streams(folder: str, dtype: str, slots: int) -> tuple[Generate, int]:
    """As a server's readers would: a thread for each sequence, which takes its text as it comes."""
    return steersman(folder, dtype, slots, streamed=True)


def transformers(folder: str, dtype: str, slots: int) -> tuple[Generate, int]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from steersman.weights.folders import set_pad_token

    tokenizer = AutoTokenizer.from_pretrained(folder)
    set_pad_token(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    model.generation_config.eos_token_id = None
    pad = tokenizer.pad_token_id
    torch.manual_seed(1)
    tensors = dict(model.named_parameters())
    if not model.config.tie_word_embeddings:
        tensors.pop("model.embed_tokens.weight")  # looked up, not read through

    def generate(prompts: Prompts, max_tokens: int) -> int:
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                pad_token_id=pad,
            )
        return out.shape[0] * (out.shape[1] - longest)

    return generate, sum(p.numel() * p.element_size() for p in tensors.values())


def continuous(folder: str, dtype: str, slots: int) -> tuple[Generate, int]:
    """transformers' own continuous batching; its manager is made for each call, as generate_batch does."""
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

    # by default its cache takes 60 % of all memory; this is as much as llama.cpp gets
    room = ContinuousBatchingConfig(page_size=256, num_blocks=3 * slots, max_batch_tokens=2048)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    tensors = dict(model.named_parameters())
    if not model.config.tie_word_embeddings:
        tensors.pop("model.embed_tokens.weight")
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def generate(prompts: Prompts, max_tokens: int) -> int:
        config = GenerationConfig(max_new_tokens=max_tokens, eos_token_id=None, pad_token_id=0, **sampling)
        out = model.generate_batch(
            prompts, generation_config=config, continuous_batching_config=copy.copy(room), warmup=False
        )
        return sum(len(answer.generated_tokens) for answer in out.values())

    return generate, sum(p.numel() * p.element_size() for p in tensors.values())


def vllm(folder: str, dtype: str, slots: int) -> tuple[Generate, int]:
    from vllm import LLM, SamplingParams

    # by default it takes nearly all memory and refuses to start beside the other sides
    options = {"max_model_len": 2048, "max_num_seqs": slots, "enable_prefix_caching": False}
    model = LLM(model=folder, dtype=dtype, gpu_memory_utilization=0.25, **options)

    def generate(prompts: Prompts, max_tokens: int) -> int:
        # no seed for each sequence: that makes sampling a loop, and 0.32 fails on a CPU once a prompt comes in chunks
        params = SamplingParams(max_tokens=max_tokens, temperature=1.0, ignore_eos=True)
        given = [{"prompt_token_ids": ids} for ids in prompts]
        return sum(len(o.outputs[0].token_ids) for o in model.generate(given, params, use_tqdm=False))

    weights = sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))
    return generate, weights


def llama(file: str, dtype: str, slots: int) -> tuple[Generate, int]:
    """llama.cpp's server, started here and asked by one thread per sequence; `dtype` is whatever the file holds.

    With more slots than sequences it is slower, so each number of sequences has a server of its own, whose start falls
    into a size's first repeat, which does not count.
    """
    server: subprocess.Popen[bytes] | None = None
    url, serving = "", 0

    def serve(slots: int) -> None:
        nonlocal server, url, serving
        if server is not None:
            server.kill()
            server.wait()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [os.environ["LLAMA_SERVER"], "-m", file, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--parallel", str(slots), "--ctx-size", str(slots * 768), "--no-webui"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url, serving = f"http://127.0.0.1:{port}", slots
        for _ in range(1200):
            if server.poll() is not None:
                raise SystemExit(f"{command[0]}: ended with code {server.returncode}")
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)

    def one(ids: list[int], max_tokens: int) -> int:
        body = {"prompt": ids, "n_predict": max_tokens, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        body |= {"ignore_eos": True, "cache_prompt": False}
        request = urllib.request.Request(
            f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as reply:
            return int(json.load(reply)["tokens_predicted"])

    def generate(prompts: Prompts, max_tokens: int) -> int:
        if len(prompts) != serving:
            serve(len(prompts))
        with ThreadPoolExecutor(len(prompts)) as pool:
            return sum(pool.map(lambda ids: one(ids, max_tokens), prompts))

    return generate, Path(file).stat().st_size


def bandwidth() -> float:
    """GB/s of a large copy over all cores: bytes read plus bytes written, the best of some rounds."""
    import torch

    source = torch.ones(2**27)  # 512 MiB, far beyond any cache
    target = torch.zeros_like(source)
    best = 0.0
    for _ in range(8):
        began = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * source.numel() * 4 / (time.perf_counter() - began) / 1e9)
    return best


def arithmetic(dtype: str) -> float:
    """TFLOP/s of a large matrix product over all cores, the best of some rounds."""
    import torch

    size = 2048
    a, b = (torch.randn(size, size).to(getattr(torch, dtype)) for _ in range(2))
    best, over = 0.0, time.perf_counter() + 5
    for _ in range(8):
        began = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e12)
        if time.perf_counter() > over:  # where the dtype is emulated a product takes seconds
            break
    return best


def main() -> None:
    # libraries print to stdout; what is left of it belongs to the protocol
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if sys.argv[1] == "bounds":
        found = {"copy_gb_per_second": bandwidth()} | {d: arithmetic(d) for d in ("bfloat16", "float32")}
        found["bfloat16"] = max(found["bfloat16"], found["float32"])  # where it is emulated, kernels compute in float32
        print(json.dumps(found), file=replies, flush=True)
        return
    side, model, dtype, slots = sys.argv[1:5]
    sides = {"steersman": steersman, "transformers": transformers, "continuous": continuous}
    sides |= {"streams": streams, "vllm": vllm, "llama": llama}
    generate, weight_bytes = sides[side](model, dtype, int(slots))
    for line in sys.stdin:
        request = json.loads(line)
        began = time.perf_counter()
        tokens = generate(request["prompts"], request["max_tokens"])
        reply = {"seconds": time.perf_counter() - began, "tokens": tokens, "peak_mib": peak_mib()}
        print(json.dumps(reply | {"weight_bytes": weight_bytes}), file=replies, flush=True)


if __name__ == "__main__":
    try:
        main()
    finally:
        # children first, so that a server never outlives its client
        for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
            for pid in path.read_text().split():
                os.kill(int(pid), 15)
