"""Texts as vectors by a model itself: the mean of its last hidden states over a text's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steersman import progress
from steersman.data.resemble import Vectors

LONGEST = 256
"""Tokens of a text that are looked at."""
BATCH = 16


def hidden_means(
    model: Any, tokenizer: Any, texts: Sequence[str], tick: Callable[[int], None] = lambda done: None
) -> Vectors:
    """One row a text: the mean of its last hidden states, as it is. `model`: a transformers model."""
    if not texts:
        return np.zeros((0, 1), dtype=np.float32)
    out = []
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            ids = [
                tokenizer.encode(texts[i] or " ", add_special_tokens=False)[:LONGEST] or [0]
                for i in order[start : start + BATCH]
            ]
            longest = max(map(len, ids))
            padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=model.device)
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids], device=model.device)
            states = model(input_ids=padded, attention_mask=mask, output_hidden_states=True).hidden_states[-1].float()
            weights = mask[..., None].float()
            out.append(((states * weights).sum(1) / weights.sum(1)).cpu().numpy())
            tick(start + len(ids))
    rows = np.empty((len(texts), out[0].shape[1]), dtype=np.float32)
    rows[order] = np.concatenate(out)
    return rows


def hidden_vectors(model: Any, tokenizer: Any, texts: Sequence[str]) -> Vectors:
    """One row of unit length a text; the product of two rows is their likeness.

    Hidden states of all texts point largely the same way, which would make any two alike: the mean of these texts is
    taken off. So what is to be compared must be given at once.
    """
    with progress.progress("embeddings", len(texts), unit="text") as shown:
        rows = hidden_means(model, tokenizer, texts, shown.update)
    return unit(rows - rows.mean(axis=0)) if texts else rows


def unit(rows: Vectors) -> Vectors:
    """The rows at length 1, those of length 0 as they are."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    np.divide(rows, norms, out=rows, where=norms > 0)
    return rows


def embedder(
    folder: Path, dtype: str, device: str, trust: bool = False, centred: bool = True
) -> Callable[[Sequence[str]], Vectors]:
    """`texts -> vectors` by the model in a folder; not `centred`: means as they are, for who gives texts in parts.

    A model that was trained to give vectors (`steersman encoder`, sentence-transformers) gives its own, of length 1.
    """
    if (folder / "modules.json").is_file():
        return _trained(folder, dtype, device, trust)
    from steersman.weights.folders import load_causal, load_tokenizer, pick_device

    tokenizer = load_tokenizer(folder, "auto")
    model = load_causal(folder, dtype, trust).to(pick_device(device)).eval()
    return lambda texts: (hidden_vectors if centred else hidden_means)(model, tokenizer, texts)


def _trained(folder: Path, dtype: str, device: str, trust: bool) -> Callable[[Sequence[str]], Vectors]:
    from steersman.engine.backends.labelling import VectorEngine, headed_engine

    engine = headed_engine(folder, dtype, device, trust, folder.name, folder.name)
    if not isinstance(engine, VectorEngine):
        raise ValueError(f"{folder}: gives labels, not vectors; expected a model of embeddings")
    found = engine

    def vectors(texts: Sequence[str]) -> Vectors:
        with progress.activity("embeddings"):
            return np.array(found.vectors(texts), dtype=np.float32).reshape(len(texts), -1)

    return vectors
