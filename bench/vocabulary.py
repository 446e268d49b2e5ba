"""Bits per byte and bytes per token of models on the same held-out texts of a corpus, whatever their tokenizers.

    python bench/vocabulary.py WORKSPACE CORPUS MODEL [MODEL ...] --texts 12 --characters 1500 --steps 24 --learn lctt

A model is a name of the workspace, a folder or any base. Texts are the beginnings of each source's held-out documents.
With --steps each model is measured again after so many steps of AdamW on 1,024 tokens of the sources --learn: its
embedding and last four layers learn, which fits in a small machine's memory beside others' work.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from steersman.artifact.workspace import Workspace
from steersman.corpus.folder import corpus_of
from steersman.rounds.inputs import resolved
from steersman.train.bits import HeldOut, bits_per_byte, held_out, ids_of
from steersman.weights.folders import load_causal, load_tokenizer, use_packed_rows


def learn(model: Any, tokenizer: Any, texts: Iterator[str], steps: int, lr: float) -> None:
    """In rows of 256 tokens, four a step."""
    stream = itertools.chain.from_iterable([*ids_of(tokenizer, text), tokenizer.eos_token_id] for text in texts)
    model.requires_grad_(False)
    for part in (model.get_input_embeddings(), *model.model.layers[-4:]):
        part.requires_grad_(True)
    chosen = [p for p in model.parameters() if p.requires_grad]
    masters = [p.detach().float() for p in chosen]
    adam = torch.optim.AdamW(masters, lr, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(steps):
        for _ in range(4):
            ids = torch.tensor([list(itertools.islice(stream, 256))])
            (model(input_ids=ids, labels=ids).loss / 4).backward()
        for group in adam.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 4) * (1 - step / steps)
        for master, own in zip(masters, chosen, strict=True):
            master.grad, own.grad = own.grad.float(), None
        adam.step()
        for master, own in zip(masters, chosen, strict=True):
            own.data.copy_(master)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("workspace", type=Path)
    options.add_argument("corpus")
    options.add_argument("models", nargs="+")
    options.add_argument("--texts", type=int, default=12)
    options.add_argument("--characters", type=int, default=1500)
    options.add_argument("--dtype", default="bfloat16")
    options.add_argument("--steps", type=int, default=0)
    options.add_argument("--learn", default="")
    options.add_argument("--lr", type=float, default=3e-4)
    given = options.parse_args()
    space = Workspace.open(given.workspace)
    corpus = corpus_of(space, given.corpus)
    some = {
        source: [t[: given.characters] for t in itertools.islice(corpus.texts(source, "validation"), given.texts)]
        for source in corpus.sources
    }
    for name in given.models:
        folder = resolved(space.named(name))
        tokenizer = load_tokenizer(folder)
        model = load_causal(folder, given.dtype)
        rows = {source: held_out(texts, tokenizer, 1 << 40, 512, 2048) for source, texts in some.items()}
        print(name, "bytes a token:", {s: round(of.bytes / of.tokens, 3) for s, of in rows.items()})
        print(name, "bits per byte:", _bits(model, rows), flush=True)
        if given.steps:
            texts = (t for source in given.learn.split(",") for t in corpus.texts(source, "train"))
            learn(model, tokenizer, texts, given.steps, given.lr)
            print(name, f"after {given.steps} steps:", _bits(model, rows), flush=True)


def _bits(model: Any, rows: dict[str, HeldOut]) -> dict[str, float]:
    found = bits_per_byte(use_packed_rows(model), rows)
    model.set_attn_implementation("sdpa")  # as `learn` needs it
    return {source: round(bits, 4) for source, bits in found.items()}


if __name__ == "__main__":
    main()
