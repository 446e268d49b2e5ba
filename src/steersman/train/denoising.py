"""Pretraining of encoder-decoders (span corruption, denoising, prefix LM) and encoders (masked words).

Each row of the corpus gets one objective, drawn by the shares at that step of the run; held-out rows get each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steersman.compute.packing import Row, Tree, build_row, to_device
from steersman.compute.vocabulary import token_logprobs
from steersman.config import PretrainConfig
from steersman.config.pretraining import DECODERS, ENCODERS
from steersman.corpus import objectives
from steersman.corpus.mixed_rows import Reading
from steersman.corpus.tokenizing import ends_of
from steersman.distributed import parallel
from steersman.families.outputs import response_logprobs
from steersman.progress import activity, note
from steersman.train.bits import ids_of
from steersman.train.dial import Recipe

OF_KIND = {
    "t5": ("span", "denoise", "prefix"),
    "bart": ("span", "denoise", "prefix"),
    "bert": ("mask",),
    "modernbert": ("mask",),
}
"""Architecture -> the objectives that it can learn, the usual one first; of all others: causal."""


def objectives_of(config: PretrainConfig) -> tuple[dict[str, float], dict[str, float]]:
    """Shares of the objectives at the beginning and at the end. ValueError where the architecture has no such one."""
    known = OF_KIND.get(config.shape.kind, ("causal",))
    first = objectives.shares_of(config.objectives or known[0], known)
    return first, objectives.shares_of(
        config.last_objectives, known, "last_objectives"
    ) if config.last_objectives else first


@dataclass(frozen=True)
class MaskedRows:
    """Rows for an encoder: ids [B, L]; `places` [N]: indices into the flattened ids of the masked tokens; `targets`
    [N]: those tokens."""

    ids: Tensor
    places: Tensor
    targets: Tensor


def masked_logprobs(model: Any, rows: MaskedRows) -> Tensor:
    """[N] float32, nats: log p of each masked token; the head is computed at their places alone."""
    ids = rows.ids.to(model.device)
    states = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    states, targets = states.flatten(0, 1)[rows.places.to(ids.device)], rows.targets.to(ids.device)
    if hasattr(model, "cls"):
        head = model.cls.predictions
        return token_logprobs(head.transform(states), head.decoder.weight, targets, bias=head.decoder.bias)[0]
    return token_logprobs(model.head(states), model.decoder.weight, targets, bias=model.decoder.bias)[0]


class Asking:
    """Makes the objectives of training rows, and measures the loss on held-out rows."""

    key = "eval_loss"

    def __init__(self, model: Any, tokenizer: Any, config: PretrainConfig, seed: int) -> None:
        self.model, self.tokenizer, self.config, self.seed = model, tokenizer, config, seed
        self.first, self.last = objectives_of(config)
        self.masks = config.shape.kind in ENCODERS
        self.words = objectives.Words(tokenizer) if self.masks else None
        self.ask = None if self.masks else objectives.asker(tokenizer)
        self.held: Any = np.zeros((0, config.context), np.int64)
        self.entries = len(tokenizer)

    def hold_out(self, texts: Mapping[str, Iterable[str]], shares: Mapping[str, float]) -> None:
        """Keep `eval_tokens` of held-out text as rows, of each source by its share. ValueError where there is not one
        row."""
        rows, length = [], self.config.context
        ends = ends_of(self.tokenizer)
        for source, share in shares.items():
            wanted = max(1, round(self.config.eval_tokens * share / length)) * length
            ids: list[int] = []
            for text in texts[source]:
                ids += [*ends.before, *ids_of(self.tokenizer, text), *ends.after]
                if len(ids) >= wanted:
                    break
            if len(ids) < length:
                note(
                    f"pretrain: source {source} has less held-out text than a row of {length} tokens: none of its loss"
                )
            rows += [ids[at : at + length] for at in range(0, min(len(ids), wanted) - length + 1, length)]
        if not rows:
            raise ValueError(
                f"held-out text: expected at least {length} tokens; build the corpus with more --validation"
            )
        self.held = np.array(rows)

    def passes(self, reading: Reading, config: PretrainConfig, recipe: Recipe, batch: int) -> list[Any]:
        """The forward passes of optimizer step `batch`: rows with their objectives, at most `pass_tokens` each."""
        count = recipe.batch_tokens // config.context
        tokens, _ = reading.lines(batch * count, count)
        done = min(1.0, batch / recipe.steps)
        draws = [np.random.default_rng((self.seed, batch * count + i, 2)) for i in range(count)]
        named = [objectives.pick(self.first, self.last, done, draw) for draw in draws]
        return self._passes(tokens, named, draws)

    def _passes(self, tokens: Any, named: list[str], draws: list[np.random.Generator]) -> list[Any]:
        most = max(1, self.config.pass_tokens // self.config.context)
        starts = range(0, len(tokens), most)
        parts = [(tokens[i : i + most], named[i : i + most], draws[i : i + most]) for i in starts]
        return [self._masked(rows, some) if self.masks else self._asked(rows, of, some) for rows, of, some in parts]

    def _asked(self, rows: Any, named: list[str], draws: list[np.random.Generator]) -> Row:
        assert self.ask is not None
        asked = [self.ask(name, row.tolist(), draw) for row, name, draw in zip(rows, named, draws, strict=True)]
        return build_row([Tree(tuple(one.source), (tuple(one.target),)) for one in asked])

    def _masked(self, rows: Any, draws: list[np.random.Generator]) -> MaskedRows:
        assert self.words is not None
        mask, keep = self.tokenizer.mask_token_id, set(self.tokenizer.all_special_ids)
        found = [
            objectives.mask_words(row, self.words(row), mask, self.entries, keep, draw)
            for row, draw in zip(rows, draws, strict=True)
        ]
        places = np.concatenate([one.places + i * rows.shape[1] for i, one in enumerate(found)])
        ids, targets = np.stack([one.tokens for one in found]), np.concatenate([one.targets for one in found])
        return MaskedRows(*map(torch.from_numpy, (ids, places, targets)))

    @torch.no_grad()
    def quick(self) -> dict[str, Any]:
        """Held-out loss, nats per target token: of each objective, and their mean by the last shares."""
        found = {}
        names = sorted({*self.first, *self.last})
        with activity("held-out loss", len(names), "objective") as shown:
            for done, name in enumerate(names, 1):
                draws = [np.random.default_rng((self.seed, i, 3)) for i in range(len(self.held))]
                nats = count = 0.0
                for one, weight in parallel.share(self._passes(self.held, [name] * len(self.held), draws)):
                    parallel.halt()
                    logprobs = outputs(self.model, one)
                    nats, count = nats - weight * float(logprobs.double().sum()), count + weight * len(logprobs)
                found[name] = sum(parallel.add(nats)) / max(1, sum(parallel.add(count)))
                shown.update(done)
        mean = sum(self.last.get(name, 0.0) * loss for name, loss in found.items())
        by_name = {f"{self.key}_{name}": loss for name, loss in found.items() if len(found) > 1}
        return {self.key: mean, **by_name}

    def __call__(self) -> dict[str, Any]:
        return self.quick()


def outputs(model: Any, one: Any) -> Tensor:
    """[N] float32, nats: log p of the target tokens of a pass that `Asking.passes` made."""
    if isinstance(one, MaskedRows):
        found: Tensor = parallel.call(model, masked_logprobs, model, one)
        return found
    return response_logprobs(model, to_device(one, model.device), entropy=False)[0]


def is_causal(config: PretrainConfig) -> bool:
    return config.shape.kind in DECODERS
