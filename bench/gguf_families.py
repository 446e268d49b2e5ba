"""GGUF files of every decoder that `pretrain` makes, with every scaling of positions, read by llama.cpp itself.

    pip install xllamacpp && python bench/gguf_families.py

Random models of three layers, tied and not, in float32: the largest difference of a token's log-probability between
llama.cpp and transformers after 12, 200 and 480 tokens, and after 890 where the context is extended from 512 to 2,048.
`scaling`: how far transformers' own log-probabilities move there by that scaling, which is what a wrong one would show.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import torch
import xllamacpp
from transformers import AutoModelForCausalLM

from harness import say, table
from steersman.corpus import tokenizer as making
from steersman.families.fresh import decoder_config
from steersman.families.longer import METHODS, lengthen
from steersman.weights.folders import save_model
from steersman.weights.gguf_words import PROBES
from steersman.weights.gguf_write import write_gguf

VOCABULARY = 384
PLACES = (12, 200, 480)
BEYOND = 890
TOP = 300


def model_of(kind: str, tied: bool, theta: float) -> Any:
    """As a new model, moved away from its beginning, where layers are the identity."""
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": 512, "tie_word_embeddings": tied, "theta": theta}
    config = decoder_config(kind, 3, 64, 128, 4, bos_token_id=1, eos_token_id=2, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() < 2 else 0.08))
    return model


def asked(server: Any, ids: list[int]) -> dict[int, float]:
    """Log-probabilities of the likeliest next tokens; none where the likeliest ends the answer."""
    body = {"prompt": ids, "n_predict": 1, "n_probs": TOP, "temperature": 0, "cache_prompt": False}
    request = urllib.request.Request(
        f"{server.listening_address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        told = json.load(answer).get("completion_probabilities") or [{"top_logprobs": []}]
    return {one["id"]: one["logprob"] for one in told[0]["top_logprobs"]}


def served(file: Path) -> Any:
    given = xllamacpp.CommonParams()
    given.model.path, given.n_ctx, given.n_parallel, given.warmup, given.verbosity = str(file), 1024, 1, False, 0
    given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(given)


def compared(model: Any, file: Path, ids: torch.Tensor, places: tuple[int, ...]) -> list[float]:
    with torch.no_grad():
        wanted = model(ids).logits[0].log_softmax(-1)
    server, found = served(file), []
    for place in places:
        at, said = next((n, s) for n in range(place, place + 8) if (s := asked(server, ids[0, :n].tolist())))
        found.append(max(abs(value - float(wanted[at - 1, token])) for token, value in said.items()))
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    ids = torch.randint(5, 300, (1, 900), generator=torch.Generator().manual_seed(2))
    tokenizer, rows = making.train([*PROBES] * 3, making.Wanted(VOCABULARY)), []
    with tempfile.TemporaryDirectory() as scratch:
        for kind, tied, theta in (
            *((k, tied, 1e4) for k in ("qwen3", "llama", "gemma3_text") for tied in (False, True)),
            ("gemma3_text", False, 1e6),
        ):
            for method in ("", *METHODS):
                plain, model = model_of(kind, tied, theta), model_of(kind, tied, theta)
                model = lengthen(model, 2048, method) if method else model
                folder = Path(scratch) / f"{kind}-{tied}-{theta:g}-{method}"
                save_model(model, tokenizer, folder)
                write_gguf(folder, folder.with_suffix(".gguf"), "f32")
                with torch.no_grad():
                    moved = (model(ids).logits - plain(ids).logits)[0, BEYOND].abs().max()
                places = (*PLACES, BEYOND) if method else PLACES
                found = compared(model, folder.with_suffix(".gguf"), ids, places)
                name = f"{kind}{' tied' if tied else ''}{'' if theta == 1e4 else f', base {theta:g}'}"
                rows.append([name, method or "none", *(f"{x:.4f}" for x in found), *[""] * (4 - len(found))])
                rows[-1].append(f"{float(moved):.2f}" if method else "")
                say(" ".join(rows[-1]))
    print(table(["", "positions", *map(str, (*PLACES, BEYOND)), "scaling"], rows))


if __name__ == "__main__":
    main()
