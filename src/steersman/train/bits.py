"""Bits per byte: what a model needs to write down held-out text, whatever its tokenizer.

The nats of all tokens of the texts (not of those that end them), over the bytes of the texts in UTF-8 and ln 2. A text
longer than a row is read in pieces, each behind the last token of the one before. All begin as shards let documents
begin: with the tokenizer's beginning of text, where it has one (without it Gemma reads badly), else after an end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from steersman.compute.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.corpus.tokenizing import beginning
from steersman.distributed import parallel
from steersman.families.known import family_of
from steersman.families.outputs import response_logprobs
from steersman.progress import activity

CHARACTERS = 8_000
"""Of a text are read, from its beginning, so that one book is not all; of long rows as many as fill one."""
LONGEST_TOKEN = 4
"""Characters of a token, on average, at most."""
DOCUMENTS = 2_000
"""Texts of a source are looked at, at most."""


@dataclass(frozen=True)
class HeldOut:
    """Texts of one source as rows, to be predicted."""

    rows: list[Row]
    bytes: int
    tokens: int
    beginnings: list[tuple[int, ...]]
    """First tokens of texts, for samples."""


def held_out(texts: Iterable[str], tokenizer: Any, tokens: int, context: int, pass_tokens: int) -> HeldOut:
    """About `tokens` tokens of the first texts, in rows of at most `context`.

    ValueError where the source has none held out.
    """
    trees: list[Tree] = []
    beginnings = []
    size = count = 0
    begin = beginning(tokenizer)
    for text in itertools.islice(texts, DOCUMENTS):
        text = text[: max(CHARACTERS, LONGEST_TOKEN * context)]
        ids = ids_of(tokenizer, text)
        beginnings.append((*begin, *ids[:16]))
        size += len(text.encode())
        count += len(ids)
        step = context - 1 - len(begin)
        for start in range(0, len(ids), step):
            before = (*begin, ids[start - 1]) if start else begin or (tokenizer.eos_token_id,)
            read = ids[start : start + step]
            trees.append(Tree((*before, *read), learn=(*[False] * len(before), *[True] * len(read))))
        if count >= tokens:
            break
    groups = fill_rows([tree.size for tree in trees], pass_tokens)
    return HeldOut([build_row([trees[i] for i in group]) for group in groups], size, count, beginnings)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """As shards hold a document: marks that stand in the text are text."""
    found: list[int] = tokenizer(text, add_special_tokens=False, verbose=False, split_special_tokens=True).input_ids
    return found


@torch.no_grad()
def bits_per_byte(model: Any, sources: Mapping[str, HeldOut]) -> dict[str, float]:
    """By source, and '' of all together."""
    nats: dict[str, float] = {}
    with activity("bits per byte", sum(len(s.rows) for s in sources.values()), "row") as shown:
        done = 0
        for name, source in sources.items():
            total = 0.0
            for row, weight in parallel.share(source.rows):
                parallel.halt()
                logprobs, _ = response_logprobs(model, to_device(row, model.device), entropy=False)
                total -= weight * float(logprobs.double().sum())
                done += 1
                shown.update(done)
            nats[name] = sum(parallel.add(total))
    found = {name: nats[name] / (math.log(2) * source.bytes) for name, source in sources.items()}
    return {"": sum(nats.values()) / (math.log(2) * sum(s.bytes for s in sources.values())), **found}


@torch.no_grad()
def samples(model: Any, tokenizer: Any, beginnings: Sequence[Sequence[int]], length: int) -> list[dict[str, str]]:
    """The likeliest next tokens of each beginning, one after the other."""
    texts = [list(ids) for ids in beginnings]
    open_ = set(range(len(texts)))
    with activity("samples", length, "token") as shown:
        for done in range(length if texts else 0):
            parallel.halt()
            row = to_device(build_row([Tree(tuple(ids)) for ids in texts]), model.device)
            ends = torch.tensor([len(ids) for ids in texts]).cumsum(0) - 1
            chosen = _next(model, row, ends).tolist()
            for i in sorted(open_):
                texts[i].append(int(chosen[i]))
                if chosen[i] == tokenizer.eos_token_id:
                    open_.discard(i)
            shown.update(done + 1)
            if not open_:
                break
    pairs = zip(beginnings, texts, strict=True)
    return [{"prompt": tokenizer.decode(b), "text": tokenizer.decode(t[len(b) :])} for b, t in pairs]


def _next(model: Any, row: Row, ends: torch.Tensor) -> torch.Tensor:
    """The likeliest token behind each place."""
    states = family_of(model).target_states(model, replace(row, predictors=ends.to(row.ids.device)))
    found: torch.Tensor = model.get_output_embeddings()(states).argmax(-1)
    return found
