"""PPO's update on one minibatch, its learning rate, and the pretraining mix."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from steersman import stopping
from steersman.compute.packing import Row, build_row, fill_rows, to_device
from steersman.config import PpoConfig
from steersman.distributed import parallel
from steersman.families.outputs import response_logprobs, response_values
from steersman.rl.experience import Experience
from steersman.rl.losses import kl_loss, policy_loss, value_loss
from steersman.train.actors import Actors
from steersman.train.iteration import Iteration
from steersman.train.minibatches import Minibatch, PackedRow
from steersman.train.order import without_end
from steersman.train.ppo_state import State
from steersman.train.schedule import Schedule
from steersman.train.sft import to_trees
from steersman.types import Conversation


@dataclass(frozen=True)
class Terms:
    """Settings that all minibatches of one iteration share."""

    config: PpoConfig
    lr_share: float
    """Share of the peak learning rates."""
    learns: bool
    """Whether the policy learns; else the critic alone."""
    kl_coef: float = 0.0
    """Price of `kl_loss`; 0 where the KL is part of the reward."""
    pretraining: Iterator[Row] | None = None
    """PPO-ptx: a row of demonstrations for each step."""


def terms_of(config: PpoConfig, state: State, pretraining: Iterator[Row] | None) -> Terms:
    """The terms of the state's current iteration."""
    price = state.kl.coef if config.kl.paid_in == "loss" else 0.0
    learns = policy_learns(config, state.iteration)
    return Terms(config, lr_share(state.iteration, config), learns, price, pretraining)


def policy_learns(config: PpoConfig, iteration: int) -> bool:
    """Whether the policy learns in this iteration: not in the first ones that only warm up the critic."""
    return iteration >= config.critic.warmup_iterations


def lr_share(iteration: int, config: PpoConfig) -> float:
    """Share of the peak rates: full while only the critic learns, then a line up from a tenth, then `lr_schedule`."""
    rates, warmup = config.optimizer, config.critic.warmup_iterations
    total = config.iterations - warmup
    schedule = Schedule(total, rates.warmup_iterations, rates.final_lr_fraction, rates.lr_schedule, first=0.1)
    return schedule.share(iteration - warmup) if policy_learns(config, iteration) else 1.0


def update(actors: Actors, state: State, minibatch: Minibatch, experience: Experience, terms: Terms) -> None:
    """One optimizer step of policy and critic; its losses are added to the iteration's totals.

    `experience`: the part for the minibatch's answers. If stopped before its step, the totals are unchanged.
    """
    now, config = _now(state), terms.config
    learns, moved = terms.learns and not now.ended, {"policy": 0.0, "critic": 0.0}
    with _as_it_was(now.totals):
        for packed in minibatch.rows:
            parallel.halt()
            if learns:
                moved["policy"] += gather_policy(actors, state, minibatch, packed, experience, terms)
            if state.critic is not None:
                moved["critic"] += gather_critic(actors, state, minibatch, packed, experience, config)
    if now.steps:  # before the first step nothing has moved
        totals = dict(zip(moved, parallel.add(*moved.values()), strict=True))
        computed = {"policy": learns, "critic": state.critic is not None}
        now.moved |= {name: distance for name, distance in totals.items() if computed[name]}
        now.ended = now.ended or (learns and state.rates["policy"].exceeded(totals["policy"]))
    if terms.learns and terms.pretraining is not None:
        ((row, weight),) = parallel.share([next(terms.pretraining)])
        if learns:  # else the next iteration's first step would have its gradient
            logprobs, _ = response_logprobs(actors.policy, row)
            (-weight * config.loss.ptx_coef * logprobs.mean()).backward()  # type: ignore[no-untyped-call]
            state.policy.gather()
    if learns:
        state.policy.step(terms.lr_share * state.rates["policy"].share)
    if state.critic is not None:
        state.critic.step(terms.lr_share * state.rates["critic"].share)
    now.steps += 1


def gather_policy(
    actors: Actors, state: State, minibatch: Minibatch, packed: PackedRow, experience: Experience, terms: Terms
) -> float:
    """Gradients of the policy's loss on one row; returns the row's share of the KL of the policy that sampled to the
    present one, in nats per answer of the minibatch.
    """
    config, row, tokens, now = terms.config, packed.row, minibatch.tokens, _now(state)
    mask = experience.mask[packed.episodes]
    old, advantages = of_row(experience.old_logprobs, packed, mask), of_row(experience.advantages, packed, mask)
    bonus = config.loss.entropy_coef > 0
    logprobs, entropy = response_logprobs(actors.policy, row, config.rollouts.temperature, bonus)
    losses, clipped = policy_loss(logprobs, old, advantages, config.loss.clip_range)
    if terms.kl_coef:
        losses = losses + terms.kl_coef * kl_loss(logprobs, of_row(experience.ref_logprobs, packed, mask))
    if config.advantage.method == "grpo":  # every answer weighs the same, however long (equation 3)
        lengths = mask.sum(dim=1, keepdim=True).expand_as(mask)[mask].to(row.ids.device)
        losses = losses * (tokens / (float(len(minibatch.answers)) * lengths))
    loss = losses.sum() / tokens - config.loss.entropy_coef * entropy.sum() / tokens
    (packed.weight * loss).backward()  # type: ignore[no-untyped-call]
    state.policy.gather()
    now.totals["policy_loss"] += packed.weight * float(losses.detach().sum()) / tokens
    now.totals["clip_fraction"] += packed.weight * float(clipped.sum()) / tokens
    if now.steps == 0:
        error = float((logprobs.detach() - old).exp().sub(1).abs().max())
        now.totals["ratio_error_first"] = max(now.totals["ratio_error_first"], error)
    return packed.weight * float(kl_loss(old, logprobs.detach()).sum()) / len(minibatch.answers)


def gather_critic(
    actors: Actors, state: State, minibatch: Minibatch, packed: PackedRow, experience: Experience, config: PpoConfig
) -> float:
    """Gradients of the critic's loss on one row; returns the row's share of the mean squared distance of its values
    from those at sampling, in variances of the returns.
    """
    assert state.critic is not None
    tokens, mask = minibatch.tokens, experience.mask[packed.episodes]
    values, returns = of_row(experience.values, packed, mask), of_row(experience.returns, packed, mask)
    predicted = response_values(actors.critic, packed.row)
    losses = value_loss(predicted, values, returns, config.critic.value_clip_range)
    (packed.weight * config.critic.value_coef * losses.sum() / tokens).backward()  # type: ignore[no-untyped-call]
    state.critic.gather()
    _now(state).totals["value_loss"] += packed.weight * float(losses.detach().sum()) / tokens
    variance = max(float(experience.returns[experience.mask].var(unbiased=False)), 1e-12)
    return packed.weight * float((predicted.detach() - values).square().sum()) / tokens / variance


def of_row(x: Tensor, packed: PackedRow, mask: Tensor) -> Tensor:
    """Select from the minibatch's x [E, T] the real tokens [N] of this row's answers, on the row's device."""
    return x[packed.episodes][mask].to(packed.row.ids.device)


def _now(state: State) -> Iteration:
    assert state.now is not None
    return state.now


@contextlib.contextmanager
def _as_it_was(totals: dict[str, float]) -> Iterator[None]:
    """Restore the totals if the minibatch is stopped before its step."""
    before = dict(totals)
    try:
        yield
    except stopping.Stop:
        totals.update(before)
        raise


def pretraining_rows(
    actors: Actors, demonstrations: Sequence[Conversation], state: State, config: PpoConfig, seed: int
) -> Iterator[Row] | None:
    """PPO-ptx: a row of demonstrations for each optimizer step that the policy has not taken yet; None without it."""
    if not config.loss.ptx_coef:
        return None
    trees, _ = to_trees(actors.template, demonstrations, config.rows.row_tokens, "skip")
    groups = fill_rows([t.size for t in trees], config.rows.row_tokens)
    order = itertools.islice(without_end(len(groups), f"{seed + 1}/ppo"), policy_steps(config, state), None)
    return (to_device(build_row([trees[i] for i in groups[n]]), actors.policy.device) for n in order)


def steps_of(config: PpoConfig) -> int:
    """Optimizer steps of an iteration: fewer than epochs times minibatches where the prompts do not suffice."""
    prompts = config.rollouts.prompts_per_iteration
    size = -(-prompts // config.minibatches)
    return config.epochs * -(-prompts // size)


def policy_steps(config: PpoConfig, state: State) -> int:
    """Optimizer steps that the policy has taken so far."""
    taken = max(0, state.iteration - config.critic.warmup_iterations) * steps_of(config)
    return taken + (state.now.steps if state.now and policy_learns(config, state.iteration) else 0)
