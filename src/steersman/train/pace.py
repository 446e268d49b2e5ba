"""How fast this machine learns and generates, in seconds of measuring: tokens per second of a real model.

    measure(folder, "bfloat16")  ->  {"learn": 640.0, "generate": 380.0}
    compare()                    ->  every way to compute on a small random model, into `steersman.chosen`

Why so: decision 61 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from steersman import chosen, machine
from steersman.compute.packing import Tree, build_row
from steersman.engine.load import load_engine
from steersman.families.outputs import response_logprobs, train_last_layers
from steersman.kernels import capabilities
from steersman.progress import activity
from steersman.train.speed import fastest_product
from steersman.types import Conversation, Message, SamplingParams
from steersman.weights.folders import load_causal, save_model, use_packed_rows

DOCUMENTS, LENGTH = 4, 128
"""Dialogues of the row that is learned, and the tokens of each."""
SEQUENCES, LONGEST = 32, 32
"""Answers generated together, and the tokens of each at most."""
IDLE = 0.25
"""Load per core up to which threads are compared."""
TEXT = "My order has not arrived yet. Could you tell me where it is, please? I ordered a blue kettle on 3 May."


def measure(folder: Path, dtype: str, train_layers: int = 0, longest: int = LONGEST) -> dict[str, float]:
    """Tokens per second that are learned (forward and backward of the last layers) and generated, prompts read too."""
    return {"learn": _learning(folder, dtype, train_layers, 2), "generate": _generating(folder, dtype, 1, longest)}


def _learning(folder: Path, dtype: str, train_layers: int, repeats: int) -> float:
    model = use_packed_rows(load_causal(folder, dtype))
    train_last_layers(model, train_layers)
    size = int(model.config.vocab_size)
    ids = torch.randint(0, size, (DOCUMENTS, LENGTH), generator=torch.Generator().manual_seed(0)).tolist()
    learned = (False,) * (LENGTH // 2) + (True,) * (LENGTH // 2)
    row = build_row([Tree(tuple(of), (), learned) for of in ids])

    def step() -> None:
        model.zero_grad(set_to_none=True)
        logprobs, _ = response_logprobs(model, row, entropy=False)
        logprobs.sum().backward()  # type: ignore[no-untyped-call]

    return DOCUMENTS * LENGTH / _fastest(step, repeats)


def _generating(folder: Path, dtype: str, repeats: int, longest: int) -> float:
    engine: Any = load_engine(folder, dtype=dtype, device="cpu")
    asked = [Conversation(str(i), (Message("user", f"{i}. {TEXT}"),)) for i in range(SEQUENCES)]
    params = SamplingParams(max_tokens=longest, temperature=1.0, seed=1)
    made: list[int] = []

    def answer() -> None:
        made.append(sum(len(c.token_ids) for of in engine.generate(asked, params) for c in of))

    seconds = _fastest(answer, repeats)
    return max(made) / seconds


def _fastest(work: Any, repeats: int) -> float:
    """Seconds of the fastest of `repeats`, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:])


@contextlib.contextmanager
def _kernels(on: bool) -> Iterator[None]:
    """This process with or without kernels."""
    before = os.environ.get(capabilities.SETTING)
    os.environ[capabilities.SETTING] = "off" if not on else "on" if before in (None, "off") else before
    capabilities.capabilities.cache_clear()
    try:
        yield
    finally:
        del os.environ[capabilities.SETTING]
        if before is not None:
            os.environ[capabilities.SETTING] = before
        capabilities.capabilities.cache_clear()


def compare(rounds: int = 1) -> chosen.Choice:
    """Measure every way to compute that this machine has, in turns, and keep what was seen and chosen.

    Where bfloat16 is emulated, PyTorch's products of it are left out: they would take most of the time, to lose.
    """
    left_out = {chosen.KERNELS} if capabilities.decide().off else set()
    if chosen.emulated():
        left_out.add(chosen.PLAIN)
    ways = [way for way in chosen.WAYS if way not in left_out]
    total, idle = rounds * len(ways), _idle()
    paces: dict[str, dict[str, float]] = {way: {} for way in ways}
    with tempfile.TemporaryDirectory() as folder, activity("measuring this machine", total, "way", about=15.0) as shown:
        small = random_model(Path(folder))
        for number in range(rounds):
            for at, way in enumerate(ways):
                dtype, kernels = chosen.WAYS[way]
                with _kernels(kernels):
                    for work, pace in measure(small, dtype, longest=8).items():
                        paces[way][work] = max(pace, paces[way].get(work, 0.0))
                shown.update(number * len(ways) + at + 1)
        threads = _threads() if idle else {}
    return chosen.keep(paces, threads, chosen.MARGIN if idle else chosen.BUSY_MARGIN)


def _idle() -> bool:
    """Whether nothing else computes here: beside other work fewer threads always look faster."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] < IDLE * machine.cores()


def _threads() -> dict[int, float]:
    """Products per second with a thread per core, and with one per thread of the processor, where it has more."""
    now, cores = torch.get_num_threads(), machine.cores()
    found = {}
    try:
        for count in sorted({min(cores, psutil.cpu_count(logical=False) or cores), cores}):
            torch.set_num_threads(count)
            found[count] = fastest_product(torch.float32, torch.device("cpu"), 0.3)
    finally:
        torch.set_num_threads(now)
    return found


def random_model(folder: Path, **sizes: int) -> Path:
    """A random Llama with a byte-level tokenizer; three layers as wide as SmolLM2-135M's, but for `sizes`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from steersman.text.template import CHATML

    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate([*marks, *letters])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=marks[2], pad_token=marks[0])
    tokenizer.add_special_tokens({"additional_special_tokens": marks[1:2]})
    tokenizer.chat_template = CHATML
    usual = {"vocab_size": 8192, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 3}
    usual |= {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 512}
    config = LlamaConfig(**{**usual, **sizes}, tie_word_embeddings=True, eos_token_id=2, pad_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    save_model(model, tokenizer, folder)
    return folder


def of_model(folder: Path, name: str, dtype: str, train_layers: int) -> dict[str, float]:
    """The pace of a real model here, the best of this and earlier measurements."""
    with activity(f"measuring {name} on this machine", about=15.0):
        return chosen.best_pace(f"{name}, {dtype}, {train_layers} layers", measure(folder, dtype, train_layers))
