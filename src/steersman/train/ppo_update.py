"""What PPO learns from one round: the inner epochs over it, their learning rate, and the pretraining mix."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Sequence

import torch

from steersman import stopping
from steersman.compute.packing import Row, build_row, fill_rows, to_device
from steersman.config import PpoConfig
from steersman.distributed import parallel
from steersman.families.outputs import response_logprobs, response_values
from steersman.rl.experience import Experience
from steersman.rl.losses import kl_loss, policy_loss, value_loss
from steersman.train.midround import Round
from steersman.train.rollouts import Actors, Rollouts
from steersman.train.update import Updater
from steersman.types import Conversation


def prompt_order(count: int, seed: int) -> Iterator[int]:
    """Prompt numbers without end: every epoch a new shuffle."""
    epoch = 0
    while True:
        order = list(range(count))
        random.Random(f"{seed}/ppo/{epoch}").shuffle(order)
        yield from order
        epoch += 1


@contextlib.contextmanager
def _as_it_was(totals: dict[str, float]) -> Iterator[None]:
    """A minibatch that is stopped before its step has added nothing."""
    before = dict(totals)
    try:
        yield
    except stopping.Stop:
        totals.update(before)
        raise


def update(
    actors: Actors,
    rollouts: Rollouts,
    experience: Experience,
    policy: Updater,
    critic: Updater | None,
    config: PpoConfig,
    share: float,
    train_policy: bool,
    pretraining: Iterator[Row] | None,
    kl_in_loss: float = 0.0,
    now: Round | None = None,
    keep: Callable[[Round], None] = lambda _: None,
) -> dict[str, float]:
    """What is left of the inner epochs over the round `now`; `keep` after each step. Returns means over all steps.

    `kl_in_loss` is the price of `kl_loss`.
    """
    now = now or Round({})
    totals = now.totals
    for epoch in range(config.epochs):
        minibatches = zip(
            rollouts.minibatches, rollouts.episodes, rollouts.below, rollouts.weights, rollouts.tokens, strict=True
        )
        begin = epoch * len(rollouts.minibatches)
        for number, (rows, numbers, states, weights, tokens) in enumerate(minibatches, begin):
            if number < now.steps:
                continue
            with _as_it_was(totals):
                (answers,) = parallel.add(sum(w * len(mine) for w, mine in zip(weights, numbers, strict=True)))
                for row, mine, below, weight in zip(rows, numbers, states, weights, strict=True):
                    parallel.halt()
                    mask = experience.mask[mine]
                    old, advantages, values, returns = (
                        x[mine][mask].to(row.ids.device)
                        for x in (experience.old_logprobs, experience.advantages, experience.values, experience.returns)
                    )
                    if train_policy:
                        bonus = config.loss.entropy_coef > 0
                        logprobs, entropy = response_logprobs(
                            actors.policy, row, config.rollouts.temperature, below, bonus
                        )
                        losses, clipped = policy_loss(logprobs, old, advantages, config.loss.clip_range)
                        if kl_in_loss:
                            reference = experience.ref_logprobs[mine][mask].to(row.ids.device)
                            losses = losses + kl_in_loss * kl_loss(logprobs, reference)
                        if config.advantage.method == "grpo":  # every answer weighs the same, however long (equation 3)
                            lengths = mask.sum(dim=1, keepdim=True).expand_as(mask)[mask].to(row.ids.device)
                            losses = losses * (tokens / (answers * lengths))
                        loss = losses.sum() / tokens - config.loss.entropy_coef * entropy.sum() / tokens
                        (weight * loss).backward()  # type: ignore[no-untyped-call]
                        policy.gather()
                        totals["policy_loss"] += weight * float(losses.detach().sum()) / tokens
                        totals["clip_fraction"] += weight * float(clipped.sum()) / tokens
                        if now.steps == 0:
                            error = float((logprobs.detach() - old).exp().sub(1).abs().max())
                            totals["ratio_error_first"] = max(totals["ratio_error_first"], error)
                    if critic is not None:
                        predicted = response_values(actors.critic, row, below)
                        losses = value_loss(predicted, values, returns, config.critic.value_clip_range)
                        (weight * config.critic.value_coef * losses.sum() / tokens).backward()  # type: ignore[no-untyped-call]
                        critic.gather()
                        totals["value_loss"] += weight * float(losses.detach().sum()) / tokens
            if train_policy:
                if pretraining is not None:
                    ((row, weight),) = parallel.share([next(pretraining)])
                    (-weight * config.loss.ptx_coef * response_logprobs(actors.policy, row)[0].mean()).backward()  # type: ignore[no-untyped-call]
                    policy.gather()
                policy.step(share)
            if critic is not None:
                critic.step(share)
            now.steps += 1
            keep(now)
    first = parallel.merge(torch.tensor(totals.pop("ratio_error_first"), dtype=torch.float64))
    if critic is None:
        del totals["value_loss"]
    sums = parallel.add(*totals.values())
    return {k: v / now.steps for k, v in zip(totals, sums, strict=True)} | {"ratio_error_first": float(first)}


def lr_share(iteration: int, config: PpoConfig) -> float:
    """Share of the peak rates: full while only the critic learns, then a line up from a tenth, then `lr_schedule`."""
    iteration -= config.critic.warmup_iterations
    if iteration < 0:
        return 1.0
    if iteration < config.optimizer.warmup_iterations:
        return 0.1 + 0.9 * iteration / config.optimizer.warmup_iterations
    rest = config.iterations - config.critic.warmup_iterations - config.optimizer.warmup_iterations
    progress = (iteration - config.optimizer.warmup_iterations) / max(1, rest)
    if config.optimizer.lr_schedule == "constant":
        return 1.0
    if config.optimizer.lr_schedule == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return 1 - (1 - config.optimizer.final_lr_fraction) * progress


def pretraining_rows(
    actors: Actors, demonstrations: Sequence[Conversation], config: PpoConfig, seed: int, skip: int
) -> Iterator[Row]:
    """One row of demonstrations per optimizer step, for PPO-ptx."""
    from steersman.train.sft import to_trees

    trees, _ = to_trees(actors.template, demonstrations, config.rows.row_tokens, "skip")
    groups = fill_rows([t.size for t in trees], config.rows.row_tokens)
    for number, group in enumerate(prompt_order(len(groups), seed + 1)):
        if number >= skip:
            yield to_device(build_row([trees[i] for i in groups[group]]), actors.policy.device)
