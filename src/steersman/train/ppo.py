"""PPO, RLOO and GRPO: improve the policy against the reward model, under a KL price to the reference.

    prompts -> engine.generate -> score (old and reference logprobs, values, rewards) -> experience
    -> epochs of policy_loss and value_loss -> weights pushed to the engine with a version -> log, evaluate, save

The reference is the SFT model, the critic starts as the reward model. RLOO and GRPO (`ppo.advantage`) are the same
loop without a critic: several answers to each prompt are compared with one another instead. The result is the policy
with the best held-out reward among those evaluated whose KL stayed under the ceiling.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steersman.config import ModelConfig, PpoConfig, to_dict
from steersman.engine.load import engine_of
from steersman.models import parallel
from steersman.models.decoder import response_logprobs, response_values
from steersman.models.layers import use_checkpointing
from steersman.models.load import load_tokenizer, read_config, save_model
from steersman.models.lora import named_weights, save_trained
from steersman.models.packing import Row, build_row, fill_rows, to_device
from steersman.models.stage_folder import StageFolder
from steersman.progress import progress
from steersman.rl.experience import Experience
from steersman.rl.losses import kl_loss, policy_loss, value_loss
from steersman.rl.rewards import KlController, apply_eos_trick, episode_kl
from steersman.rl.rules import repetition
from steersman.text.template import Template
from steersman.train.average import Average
from steersman.train.log import MetricsLog, read_metrics
from steersman.train.midround import Round
from steersman.train.monitors import Monitors, check_start, starting_point
from steersman.train.plan import check_memory, lengths_of
from steersman.train.rollouts import Actors, Rollouts, evaluate, generate, member_folders, pack, score
from steersman.train.scoring import check_rewards
from steersman.train.update import Updater, keep_freed_memory
from steersman.types import Conversation, SamplingParams
from steersman.workspace import POLICIES


def prompt_order(count: int, seed: int) -> Iterator[int]:
    """Prompt numbers without end: every epoch a new shuffle."""
    epoch = 0
    while True:
        order = list(range(count))
        random.Random(f"{seed}/ppo/{epoch}").shuffle(order)
        yield from order
        epoch += 1


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
            (answers,) = parallel.add(sum(w * len(mine) for w, mine in zip(weights, numbers, strict=True)))
            for row, mine, below, weight in zip(rows, numbers, states, weights, strict=True):
                mask = experience.mask[mine]
                old, advantages, values, returns = (
                    x[mine][mask].to(row.ids.device)
                    for x in (experience.old_logprobs, experience.advantages, experience.values, experience.returns)
                )
                if train_policy:
                    bonus = config.entropy_coef > 0
                    logprobs, entropy = response_logprobs(actors.policy, row, config.temperature, below, bonus)
                    losses, clipped = policy_loss(logprobs, old, advantages, config.clip_range)
                    if kl_in_loss:
                        reference = experience.ref_logprobs[mine][mask].to(row.ids.device)
                        losses = losses + kl_in_loss * kl_loss(logprobs, reference)
                    if config.advantage == "grpo":  # every answer weighs the same, however long (equation 3)
                        lengths = mask.sum(dim=1, keepdim=True).expand_as(mask)[mask].to(row.ids.device)
                        losses = losses * (tokens / (answers * lengths))
                    loss = losses.sum() / tokens - config.entropy_coef * entropy.sum() / tokens
                    (weight * loss).backward()  # type: ignore[no-untyped-call]
                    policy.gather()
                    totals["policy_loss"] += weight * float(losses.detach().sum()) / tokens
                    totals["clip_fraction"] += weight * float(clipped.sum()) / tokens
                    if now.steps == 0:
                        error = float((logprobs.detach() - old).exp().sub(1).abs().max())
                        totals["ratio_error_first"] = max(totals["ratio_error_first"], error)
                if critic is not None:
                    predicted = response_values(actors.critic, row, below)
                    losses = value_loss(predicted, values, returns, config.value_clip_range)
                    (weight * config.value_coef * losses.sum() / tokens).backward()  # type: ignore[no-untyped-call]
                    critic.gather()
                    totals["value_loss"] += weight * float(losses.detach().sum()) / tokens
            if train_policy:
                if pretraining is not None:
                    ((row, weight),) = parallel.share([next(pretraining)])
                    (-weight * config.ptx_coef * response_logprobs(actors.policy, row)[0].mean()).backward()  # type: ignore[no-untyped-call]
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
    iteration -= config.critic_warmup_iterations
    if iteration < 0:
        return 1.0
    if iteration < config.warmup_iterations:
        return 0.1 + 0.9 * iteration / config.warmup_iterations
    rest = config.iterations - config.critic_warmup_iterations - config.warmup_iterations
    progress = (iteration - config.warmup_iterations) / max(1, rest)
    if config.lr_schedule == "constant":
        return 1.0
    if config.lr_schedule == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return 1 - (1 - config.final_lr_fraction) * progress


def pretraining_rows(
    actors: Actors, demonstrations: Sequence[Conversation], config: PpoConfig, seed: int, skip: int
) -> Iterator[Row]:
    """One row of demonstrations per optimizer step, for PPO-ptx."""
    from steersman.train.sft import to_trees

    trees, _ = to_trees(actors.template, demonstrations, config.row_tokens, "skip")
    groups = fill_rows([t.size for t in trees], config.row_tokens)
    for number, group in enumerate(prompt_order(len(groups), seed + 1)):
        if number >= skip:
            yield to_device(build_row([trees[i] for i in groups[group]]), actors.policy.device)


def run(
    *,
    sft: Path,
    reward: Path,
    prompts: Sequence[Conversation],
    held_out: Sequence[Conversation],
    demonstrations: Sequence[Conversation],
    output: Path,
    config: PpoConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
    stage: str = "policy",
) -> dict[str, Any]:
    """Optimise the SFT model against the reward model into `output`; returns the manifest's metrics. Resumes by itself.

    `held_out` prompts choose the checkpoint; `demonstrations` are needed for PPO-ptx alone.
    """
    keep_freed_memory()
    if not prompts or not held_out:
        raise ValueError(f"PPO needs prompts and held-out prompts; got {len(prompts)} and {len(held_out)}")
    if config.ptx_coef and not demonstrations:
        raise ValueError("ppo.ptx_coef > 0 needs demonstrations, and there are none")
    if (config.group_baseline or config.advantage != "gae") and config.answers_per_prompt < 2:
        what = "group_baseline" if config.group_baseline else f"advantage = {config.advantage}"
        raise ValueError(f"ppo.{what} compares a prompt's answers: expected ppo.answers_per_prompt of 2 or more")
    if config.advantage != "gae" and config.critic_warmup_iterations:
        raise ValueError(
            f"ppo.advantage = {config.advantage} has no critic: expected ppo.critic_warmup_iterations of 0"
        )
    held_out = held_out[: config.eval_prompts]
    lengths = prompt_lengths(sft, [*prompts, *held_out], model_config)
    scorers = 1 + len(member_folders(reward))
    check_memory(sft, config, lengths_of(lengths), model_config, reward_models=scorers)
    actors = Actors.load(sft, reward, config, model_config, seed)
    check_rewards(config, 1 + len(actors.members), [*prompts, *held_out])
    if config.checkpointing:
        use_checkpointing(actors.policy)
        if actors.critic is not None:
            use_checkpointing(actors.critic)
    folder = StageFolder(
        output,
        stage,
        {**to_dict(config), "seed": seed, **model_config.recorded},
        inputs,
        config.save_seconds,
        config.keep_checkpoints,
    )
    options: dict[str, Any] = {"weight_decay": 0.0, "grad_clip": config.grad_clip, "eps": config.adam_eps}
    policy = Updater(actors.policy, lr=config.lr, **options)
    critic = Updater(actors.critic, lr=config.critic_lr, **options) if actors.critic else None
    controller = KlController(config.kl_coef, config.kl_target, config.kl_horizon, config.kl_error_clip)
    average = Average(policy, config.ema_decay) if config.ema_decay else None
    best: dict[str, float] = {}
    start: dict[str, float] = {}
    begun: Round | None = None
    stopped, iteration = "", 0
    if (point := folder.load()) is not None:
        policy.restore(point[0], "policy.")
        if critic is not None:
            critic.restore(point[0], "critic.")
        if average:
            average.restore(point[0])
        iteration, controller.coef = point[1]["iteration"], point[1]["kl_coef"]
        begun = Round.from_point(point[0], point[1]["round"]) if "round" in point[1] else None
        if begun and not parallel.is_first():
            begun.totals = Round({}).totals  # they are summed over the processes
        best = folder.load_best()[1]
        start = point[1]["start"]
    engine = engine_of(actors.policy, actors.tokenizer, name="policy", version=str(iteration))
    order = prompt_order(len(prompts), seed)
    for _ in range(iteration * config.prompts_per_iteration):
        next(order)
    pretraining = None
    if config.ptx_coef:
        size = -(-config.prompts_per_iteration // config.minibatches)
        per_round = config.epochs * -(-config.prompts_per_iteration // size)  # as `pack` cuts them
        taken = max(0, iteration - config.critic_warmup_iterations) * per_round  # warm-up rounds take none
        if begun and iteration >= config.critic_warmup_iterations:
            taken += begun.steps
        pretraining = pretraining_rows(actors, demonstrations, config, seed, taken)
    episodes, began = 0, time.monotonic()

    def push() -> None:
        named = named_weights(actors.policy, trained_only=True)
        engine.load_weights(((name, parallel.whole(tensor)) for name, tensor in named), str(iteration))

    def consider() -> dict[str, float]:
        """Evaluate the policy (or the average of its weights) as it is; keep it if it is the best so far."""
        with average.applied(push) if average else contextlib.nullcontext():
            return evaluate_and_keep()

    def evaluate_and_keep() -> dict[str, float]:
        result = evaluate(actors, engine, held_out, config, seed)
        if result["eval_kl"] <= config.kl_ceiling and result["eval_reward"] > best.get("eval_reward", float("-inf")):
            best.clear()
            best.update(result, iteration=iteration)
            weights = parallel.whole_state(actors.policy, policy.names)
            if parallel.is_first():
                folder.save_best(weights, best)
        return result

    def keep(now: Round | None) -> None:
        """A resume point, if it is time for one: in the round `now` (where a process is alone), or between two."""
        if (now is None or parallel.size() == 1) and folder.save_is_due:
            tensors = policy.state("policy.") | (critic.state("critic.") if critic else {})
            tensors |= average.state() if average else {}
            state: dict[str, Any] = {"iteration": iteration, "kl_coef": controller.coef, "start": start}
            if now:
                more, state["round"] = now.to_point()
                tensors |= more
            folder.save(tensors, state)

    log = MetricsLog(folder.path, "iteration", iteration)
    monitors = Monitors(config, read_metrics(folder.path))
    with progress(POLICIES.get(stage, stage).lower(), config.iterations, start=iteration, unit="iteration") as bar, log:
        while iteration < config.iterations and not stopped:
            now = begun or Round(consider() if iteration % config.eval_every == 0 else {})
            begun = None
            chosen = [prompts[next(order)] for _ in range(config.prompts_per_iteration)]
            together = config.rollout_prompts or len(chosen)
            for first in range(len(now.answers), len(chosen), together):
                params = SamplingParams(
                    max_tokens=config.max_tokens,
                    temperature=config.temperature,
                    n=config.answers_per_prompt,
                    seed=seed * 1_000_003 + iteration + (first << 32),
                )
                now.answers += generate(engine, chosen[first : first + together], params)
                keep(now)
            device = actors.policy.device
            packing = (config.minibatches, config.row_tokens, device, actors.below)
            rollouts = pack(actors.template, chosen, now.answers, *packing)
            if now.experience is None:
                now.experience, now.measured = score(actors, rollouts, config, controller.coef)
            kl = float(now.experience.kl.mean())
            train_policy = iteration >= config.critic_warmup_iterations
            share = lr_share(iteration, config)
            in_loss = controller.coef if config.kl_in == "loss" else 0.0
            learning = (policy, critic, config, share, train_policy, pretraining, in_loss)
            losses = update(actors, rollouts, now.experience, *learning, now, keep)
            if iteration in (0, config.critic_warmup_iterations):  # the policy is untouched until its first update
                ratio_error = losses["ratio_error_first"] if train_policy else None
                start |= starting_point(now.experience, now.measured["engine_logprob_error"], ratio_error)
                check_start(start, model_config.dtype)
            metrics: dict[str, Any] = {
                **summary(now.experience, rollouts, config),
                **now.measured,
                **losses,
                "kl_coef": controller.coef,
                **now.evaluation,
                "samples": [
                    {"prompt": p.last_user, "answer": a[0].text}
                    for p, a in zip(chosen[:2], now.answers[:2], strict=True)
                ],
            }
            controller.update(kl, len(rollouts.flat))
            if kl > config.kl_ceiling:
                stopped = (
                    f"stopped at iteration {iteration}: KL {kl:.1f} nats passed the ceiling of {config.kl_ceiling:g}"
                )
                bar.note(stopped)
            episodes += len(rollouts.flat)
            iteration += 1
            if average:
                average.update()
            push()
            row = log.write(iteration - 1, metrics, {"episodes_per_second": episodes / (time.monotonic() - began)})
            for alarm in monitors.look(row):
                bar.note(f"warning: {alarm}")
                if config.monitors == "stop":
                    stopped = stopped or f"stopped at iteration {iteration - 1}: {alarm}"
            bar.update(iteration, reward=metrics["reward"], kl=kl, length=metrics["length"])
            if iteration < config.iterations and not stopped:
                keep(None)
        log.write(iteration, consider())
    weights = folder.load_best()[0] if parallel.is_first() else {}
    if config.lora_rank:
        actors.policy.load_state_dict(weights, strict=False)
        save_trained(actors.policy, actors.tokenizer, folder.path, sft)
    else:
        save_model(actors.policy, actors.tokenizer, folder.path, parallel.whole_state(actors.policy) | weights)
    metrics = {
        "best": best,
        "iterations": iteration,
        "stopped": stopped,
        "start": start,
        "warnings": monitors.alarms,
        "episodes_per_second": round(episodes / max(1e-9, time.monotonic() - began), 3) if episodes else None,
    }
    folder.finish(metrics, tuple(dict.fromkeys([*([stopped] if stopped else []), *monitors.alarms.values()])))
    return metrics


def prompt_lengths(sft: Path, prompts: Sequence[Conversation], model_config: ModelConfig) -> list[int]:
    """Tokens of each. Raises ValueError naming a prompt that leaves no room for an answer, before hours are spent."""
    context = int(read_config(sft, model_config.trust_remote_code).max_position_embeddings)
    template = Template(load_tokenizer(sft))
    lengths = []
    for prompt in prompts:
        lengths.append(len(template.prompt_ids(prompt)))
        if lengths[-1] >= context:
            raise ValueError(
                f"prompt '{prompt.id}': {lengths[-1]} tokens; expected at most {context - 1}, the model's context"
            )
    return lengths


def summary(experience: Experience, rollouts: Rollouts, config: PpoConfig) -> dict[str, float]:
    """A round in numbers: mean reward (EOS trick applied), KL, length, share without EOS, the critic's fit."""
    rewards = apply_eos_trick(experience.scores, experience.ended, config.no_eos_reward)
    kl = episode_kl(experience.old_logprobs, experience.ref_logprobs, experience.mask)
    return {
        "reward": float(rewards.mean()),
        "score": float(experience.scores.mean()),
        "kl": float(kl.mean()),
        "length": float(experience.mask.sum(dim=1).float().mean()),
        "no_eos": 1 - float(experience.ended.float().mean()),
        "repetition": sum(repetition(c.token_ids) for c in rollouts.flat) / len(rollouts.flat),
        **({"explained_variance": experience.explained_variance} if config.advantage == "gae" else {}),
    }
