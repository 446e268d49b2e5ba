"""The plain peer: transformers' models in padded batches, float32 weights, bfloat16 autocast, torch's AdamW.

What one writes in an afternoon without packing: the losses are steersman's own pure functions, so that the three
loops differ from the stages in how they compute, not in what.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from steersman.rl.experience import Episodes, Experience, make_experience
from steersman.rl.losses import kwise_loss, policy_loss, value_loss


def load(folder: str, scalar: bool = False) -> Any:
    kind, extra = (AutoModelForSequenceClassification, {"num_labels": 1}) if scalar else (AutoModelForCausalLM, {})
    model = kind.from_pretrained(folder, dtype=torch.float32, **extra)
    model.config.use_cache = False
    return model.train()


def adamw(models: Sequence[Any], lr: float) -> torch.optim.Optimizer:
    parameters = [p for model in models for p in model.parameters()]
    return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)


def autocast() -> Any:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def padded(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> Tensor:
    longest = max(map(len, rows))
    fill = [[value] * (longest - len(row)) for row in rows]
    return torch.tensor([[*f, *row] if left else [*row, *f] for f, row in zip(fill, rows, strict=True)])


def step(optimizer: torch.optim.Optimizer, models: Sequence[Any]) -> None:
    for model in models:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def sft_step(model: Any, optimizer: torch.optim.Optimizer, batch: Sequence[Any], pad: int) -> float:
    """`batch`: trees without branches. Mean loss over the tokens to learn."""
    ids = padded([t.trunk for t in batch], pad)
    mask = padded([[1] * t.size for t in batch], 0)
    labels = padded([[i if own else -100 for i, own in zip(t.trunk, t.learn, strict=True)] for t in batch], -100)
    with autocast():
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    step(optimizer, [model])
    return float(loss.detach())


def reward_step(model: Any, optimizer: torch.optim.Optimizer, batch: Sequence[Any], pad: int) -> float:
    """`batch`: ranked trees. Every answer is a sequence of its own with its prompt; all pairs share one loss."""
    rows = [(*b.tree.trunk, *branch) for b in batch for branch in b.tree.branches]
    model.config.pad_token_id = pad
    with autocast():
        scores = model(input_ids=padded(rows, pad), attention_mask=padded([[1] * len(r) for r in rows], 0)).logits
    parts = scores.float()[:, 0].split([len(b.tree.branches) for b in batch])
    loss = torch.stack([kwise_loss(s, b.pairs) for s, b in zip(parts, batch, strict=True)]).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    step(optimizer, [model])
    return float(loss.detach())


class Ppo:
    """Four padded models and one optimizer over two of them."""

    def __init__(self, folder: str, reward: str, tokenizer: Any, lr: float) -> None:
        self.policy, self.reward = load(folder), load(reward, scalar=True).to(torch.bfloat16).eval()
        self.critic = load(reward, scalar=True)
        self.reference = copy.deepcopy(self.policy).to(torch.bfloat16).eval()
        for frozen in (self.reference, self.reward):
            frozen.requires_grad_(False)
        self.pad, self.end = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.optimizer = adamw([self.policy, self.critic], lr)

    @torch.no_grad()
    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> tuple[Tensor, Tensor, int]:
        """(ids [E, P + R], attention mask, P): prompts padded at the left, answers at the right."""
        ids, mask = padded(prompts, self.pad, left=True), padded([[1] * len(p) for p in prompts], 0, left=True)
        with autocast():
            out = self.policy.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_tokens,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                use_cache=True,
                pad_token_id=self.pad,
                eos_token_id=self.end,
            )
        answers = out[:, ids.shape[1] :]
        real = (answers == self.end).cumsum(1) - (answers == self.end).long() == 0
        return out, torch.cat([mask, real.long()], 1), ids.shape[1]

    def logprobs(self, model: Any, ids: Tensor, mask: Tensor, start: int) -> Tensor:
        """[E, R] of the answers' tokens."""
        with autocast():
            logits = model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask)).logits
        logits = logits[:, start - 1 : -1].float()
        return logits.gather(2, ids[:, start:, None])[..., 0] - logits.logsumexp(-1)

    def states(self, model: Any, ids: Tensor, mask: Tensor) -> Tensor:
        """[E, P + R]: a scalar model's output at every token."""
        with autocast():
            hidden = model.model(input_ids=ids, attention_mask=mask, position_ids=_positions(mask)).last_hidden_state
            return model.score(hidden)[..., 0].float()

    @torch.no_grad()
    def collect(self, ids: Tensor, mask: Tensor, start: int, config: Any) -> Experience:
        lengths = mask[:, start:].sum(1).tolist()
        episodes = range(len(lengths))
        old, reference = (self.logprobs(m, ids, mask, start) for m in (self.policy, self.reference))
        values = self.states(self.critic, ids, mask)[:, start - 1 : -1]
        last = torch.tensor([start + n - 1 for n in lengths])
        scores = self.states(self.reward, ids, mask)[torch.arange(len(last)), last]
        return make_experience(
            Episodes(
                old_logprobs=[old[i, : lengths[i]] for i in episodes],
                ref_logprobs=[reference[i, : lengths[i]] for i in episodes],
                values=[values[i, : lengths[i]] for i in episodes],
                scores=scores,
                ended=ids[torch.arange(len(last)), last] == self.end,
            ),
            config.advantage,
            answers=1,
            kl_coef=config.kl.coef,
            no_eos_reward=config.score.no_eos_reward,
        )

    def round(self, prompts: Sequence[Sequence[int]], config: Any, seed: int) -> dict[str, float]:
        """One rollout and its updates."""
        ids, mask, start = self.generate(prompts, config.rollouts.max_tokens)
        found = self.collect(ids, mask, start, config)
        width = found.mask.shape[1]
        ids, mask = ids[:, : start + width], mask[:, : start + width]
        order = list(range(len(prompts)))
        size = -(-len(order) // config.minibatches)
        for epoch in range(config.epochs):
            random.Random(f"{seed}/{epoch}").shuffle(order)
            for at in range(0, len(order), size):
                mine = order[at : at + size]
                real = found.mask[mine]
                new = self.logprobs(self.policy, ids[mine], mask[mine], start)[real]
                losses, _ = policy_loss(new, found.old_logprobs[mine][real], found.advantages[mine][real], 0.2)
                predicted = self.states(self.critic, ids[mine], mask[mine])[:, start - 1 : -1][real]
                errors = value_loss(
                    predicted, found.values[mine][real], found.returns[mine][real], config.critic.value_clip_range
                )
                (losses.mean() + config.critic.value_coef * errors.mean()).backward()
                step(self.optimizer, [self.policy, self.critic])
        return {"tokens": float(found.mask.sum()), "kl": float(found.kl.mean())}


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)
