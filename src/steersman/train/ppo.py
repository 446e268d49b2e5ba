"""PPO, RLOO and GRPO: improve the policy against the reward model, under a KL price to the reference.

    prompts -> collect answers -> score (old and reference logprobs, values, rewards) -> advantages
    -> epochs of policy_loss and value_loss -> push the weights to the engine -> evaluate -> keep

`learn` below is the algorithm, from top to bottom. The reference is the SFT model, the critic starts as the reward
model. RLOO and GRPO (`advantage.method`) are the same loop without a critic: several answers to each prompt are
compared with one another instead. The result is the policy with the largest gain over the SFT model on held-out
prompts among those evaluated whose KL stayed under the ceiling, or the SFT model (`train/judgement.py`).

Why so: decisions 20, 26, 59 and 95 in docs/LOG.md.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from steersman.config import ModelConfig, PpoConfig
from steersman.distributed import parallel
from steersman.engine.loaded import engine_of
from steersman.engine.protocol import Engine
from steersman.engine.serving import Serving
from steersman.families.outputs import context_of
from steersman.progress import activity, note
from steersman.rl.experience import Experience
from steersman.text.length import Fitted, fit_prompts
from steersman.text.template import Template
from steersman.train.actors import Actors
from steersman.train.average import drawn_back, held
from steersman.train.cautions import cautions
from steersman.train.collect import beside_the_engine, collect
from steersman.train.ensemble import member_folders
from steersman.train.iteration import Iteration
from steersman.train.judgement import KEPT_SFT, SFT, gain_over, is_kept, length_only, outcome, told_level, validator_of
from steersman.train.log import read_metrics
from steersman.train.minibatches import Minibatch
from steersman.train.monitors import Monitors, check_start, starting_point
from steersman.train.order import without_end
from steersman.train.ppo_state import State
from steersman.train.ppo_update import lr_share, policy_learns, pretraining_rows, steps_of, terms_of, update
from steersman.train.scores import HeldOut, Scored, choose, evaluate, experience_of, figures_of, packed, score
from steersman.train.scoring import check_rewards
from steersman.train.session import Origin, Session, opened
from steersman.train.shared_base import share_base
from steersman.types import Conversation
from steersman.weights.folders import load_template, read_config
from steersman.weights.lora import named_weights, settle

KL_TOLERANCE = 1.25
"""The last policy is drawn back where its held-out KL is so many times the target, or on where it is as much below."""
DRAWN = 3
"""Most times that it is drawn: KL grows about as the square of the way, and is measured on few answers."""
FURTHEST = 1.6
"""Most of the way from the SFT model to the last policy that it is drawn on: further was not tried."""


@dataclass(frozen=True)
class Material:
    """PPO's inputs."""

    sft: Path
    """Folder of the SFT model, where the policy starts."""
    reward: Path
    """Folder of the reward model, or of an ensemble's first member."""
    prompts: Sequence[Conversation]
    held_out: Sequence[Conversation]
    """Prompts that choose the checkpoint."""
    demonstrations: Sequence[Conversation] = ()
    """Used by PPO-ptx only."""


def run(
    *,
    material: Material,
    output: Path,
    config: PpoConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
    stage: str = "ppo",
) -> dict[str, Any]:
    """Optimise the SFT model against the reward model into `output`; returns the manifest's metrics. Resumes by itself.

    Raises ValueError for settings and data that cannot go together.
    """
    origin = Origin(stage, output, config, model_config, seed, inputs)
    check(config, material)
    template = load_template(material.sft, model_config)
    fitted, held_out, material = fit(template, material, config, model_config)
    sft, rewards = material.sft, [material.reward, *member_folders(material.reward)]
    check_rewards(config, len(rewards), [*material.prompts, *material.held_out])
    validator, unjudged = validator_of(material.reward, config)
    doubts = [*filter(None, [unjudged, length_only(material.reward, config)])]
    for doubt in doubts:
        note(doubt)
    rewards += [validator] if validator else []
    sizes = [len(template.prompt_ids(prompt)) for prompt in (*material.prompts, *material.held_out)]
    shared = config.adapters.lora_rank > 0 and share_base(sft, rewards)

    def load() -> Actors:
        return Actors.load(sft, material.reward, config, model_config, seed)

    with opened(origin, sft, sizes, load, reward_models=len(rewards), shared_base=shared) as session:
        state = State.begin(session.model, config)
        state.resume(session.folder)
        alarms = learn(session, state, material)
        save(session, sft)
        steps = state.iteration * steps_of(config)
        judge = "validator" if validator else "reward"
        report = {
            **fitted.counts(),
            "best": state.best,
            **outcome(state.best, state.tried, config, judge),
            "iterations": state.iteration,
            "stopped": state.stopped,
            "start": state.start,
            "warnings": alarms,
            "episodes_per_second": session.mean_speed(3),
            "kl": {"target": config.kl.target, "last": last_kl(session.path)},
            "cautions": [*doubts, *cautions(steps, session.path), *fitted.cautions("ppo")],
        }
        report["cautions"] += held_out.cautions("ppo")
        if not policy_learns(config, config.iterations - 1):
            report["cautions"] += [
                "the policy learned in no iteration: ppo.critic_warmup_iterations is not below their number"
            ]
        kept = [KEPT_SFT] if report["kept"] == SFT else []
        notes = [*kept, *([state.stopped] if state.stopped else []), *alarms.values()]
        return session.finish(report, tuple(dict.fromkeys(notes)))


def last_kl(folder: Path) -> float | None:
    """Mean KL of the last iteration's answers, in nats, from the log."""
    return next((row["kl"] for row in reversed(read_metrics(folder)) if "kl" in row), None)


def learn(session: Session[PpoConfig, Actors], state: State, material: Material) -> dict[str, str]:
    """Do the iterations that remain after `state`; returns the monitors' warnings."""
    config, actors, seed = session.origin.config, session.model, session.origin.seed
    count, device = config.rollouts.prompts_per_iteration, actors.policy.device
    engine = engine_for(actors, state.iteration)
    order = itertools.islice(without_end(len(material.prompts), f"{seed}/ppo"), state.iteration * count, None)
    pretraining = pretraining_rows(actors, material.demonstrations, state, config, seed)
    session.begin(state.point, config.iterations, state.iteration, unit="iteration")
    monitors = Monitors(config, read_metrics(session.path))
    keep = functools.partial(keep_amid, session, state)
    actors.rescale(state.scales, config)

    state.now = state.now or evaluate_and_keep(session, state, engine, material.held_out)
    while (now := state.now) is not None:
        prompts = [material.prompts[next(order)] for _ in range(count)]
        minibatches: list[Minibatch] = []
        scored: list[Scored] = []

        # collect answers, and score them: with `overlap` while others are being sampled
        for mine in collect(engine, prompts, now.answers, session.origin, state.iteration, keep):
            with beside_the_engine(device, config.rollouts.overlap):
                minibatches.append(packed(actors, prompts[mine], now.answers[mine], config))
                if now.experience is None:
                    scored.append(score(actors, minibatches[-1], config))

        # advantages
        if now.experience is None:
            now.experience, now.measured = experience_of(minibatches, scored, config, state.kl.coef)
            if 0 < config.rollouts.learned_per_prompt < config.rollouts.answers_per_prompt:
                minibatches = choose(actors, now, minibatches, config)
        parts = now.experience.split([len(minibatch.answers) for minibatch in minibatches])

        # epochs
        terms = terms_of(config, state, pretraining)
        with activity("learning"):
            for minibatch, experience in (list(zip(minibatches, parts, strict=True)) * config.epochs)[now.steps :]:
                update(actors, state, minibatch, experience, terms)
                keep()
        metrics = summary(now, minibatches, state, config)
        conclude(state, now.experience, metrics, config)

        # push
        push(actors, engine, state.iteration)
        tell(session, state, metrics, monitors)

        # evaluate, keep
        state.now = evaluate_and_keep(session, state, engine, material.held_out)
        if state.now:
            session.keep(state.point)
    return monitors.alarms


def push(actors: Actors, engine: Engine, version: int) -> None:
    """Give the engine the policy's current weights."""
    named = named_weights(actors.policy, trained_only=True)
    engine.load_weights(((name, parallel.whole(tensor)) for name, tensor in named), str(version))


def evaluate_and_keep(
    session: Session[PpoConfig, Actors], state: State, engine: Engine, held_out: Sequence[Conversation]
) -> Iteration | None:
    """Evaluate the policy (or the average of its weights) when that is due, and keep it if it is the best so far.

    Where the run is over and the policy's KL is off the target, the policy is drawn along its line from the SFT model
    until it is not, and evaluated there too. Returns the next iteration, None where the run is over.
    """
    config, actors = session.origin.config, session.model
    over = bool(state.stopped) or state.iteration >= config.iterations
    if not over and state.iteration % config.selection.eval_every:
        return Iteration({})
    weights = state.average.weights if state.average else None
    found = look(session, state, engine, held_out, weights)
    for _ in range(DRAWN) if over else ():
        share = next_share(found, config, judged_apart=actors.validator is not None)
        if share is None:
            break
        drawn = drawn_back(actors, state.policy, weights or state.policy.masters, share)
        found |= look(session, state, engine, held_out, drawn, share)
    if over:
        session.write(state.iteration, found)
    return None if over else Iteration(found)


def next_share(found: Mapping[str, float], config: PpoConfig, judged_apart: bool) -> float | None:
    """The share of the way from the SFT model at which the last policy's KL is to be looked for next; None: no more.

    `found`: where it was evaluated last. `judged_apart`: whether a model that PPO did not follow chooses; else what
    lies beyond the policy could be taken for the reward's own errors.
    """
    share, kl, aim = found.get("share", 1.0), found["eval_kl"], config.kl.target
    on = config.kl.draw_on and judged_apart and 1 <= share < FURTHEST and 0 < kl < aim / KL_TOLERANCE
    return min(FURTHEST, share * math.sqrt(aim / kl)) if on or beyond(kl, config) else None


def beyond(kl: float, config: PpoConfig) -> bool:
    """Whether a held-out KL is so far above the target that such a policy is drawn back, not kept."""
    return config.kl.draw_back and config.kl.target > 0 and kl > KL_TOLERANCE * config.kl.target


def look(
    session: Session[PpoConfig, Actors],
    state: State,
    engine: Engine,
    held_out: Sequence[Conversation],
    weights: list[Tensor] | None,
    share: float = 1.0,
) -> dict[str, float]:
    """Evaluate the policy, or other weights of it, and keep it if it is the best so far.

    `share`: of the way from the SFT model, where the weights are drawn back.
    """
    config, actors = session.origin.config, session.model
    there = held(state.policy, weights, lambda: push(actors, engine, state.iteration)) if weights else nullcontext()
    with there:
        found = compare(state, evaluate(actors, engine, held_out, config, session.origin.seed, not state.best), config)
        found |= {"share": share} if share != 1.0 else {}
        if is_kept(found, state.best, config) and not beyond(found["eval_kl"], config):
            state.best = {**found, "iteration": state.iteration}
            tensors = parallel.whole_state(actors.policy, state.policy.names)
            if parallel.is_first():
                session.folder.save_best(tensors, state.best)
    return found


def compare(state: State, measured: HeldOut, config: PpoConfig) -> dict[str, float]:
    """The evaluation's figures, with the gain over the SFT model, whose answers are those of the first evaluation."""
    if not state.first:
        if not state.best:  # else the run began before gains were measured, and has none
            state.first, state.scales = measured.judged, measured.scales
        return measured.figures
    gain = gain_over(state.first, measured.judged, told_level(config))
    found = {**measured.figures, "eval_gain": gain.value, "eval_gain_low": gain.low}
    if found["eval_kl"] <= config.kl.ceiling and gain.value > state.tried.get("eval_gain", float("-inf")):
        state.tried = {**found, "iteration": state.iteration}
    return found


def keep_amid(session: Session[PpoConfig, Actors], state: State) -> None:
    """Save a resume point within an iteration, if it is due: only in a lone process, which holds all of it."""
    if parallel.size() == 1:
        session.keep(state.point)


def summary(now: Iteration, minibatches: Sequence[Minibatch], state: State, config: PpoConfig) -> dict[str, Any]:
    """An iteration as a line of the log: figures of all its answers, losses, evaluation, samples."""
    assert now.experience is not None
    prompts = [prompt for minibatch in minibatches for prompt in minibatch.prompts]
    return {
        **figures_of(now.experience, now.answers, config),
        **now.measured,
        **now.losses(critic=state.critic is not None),
        "kl_coef": state.kl.coef,
        **{f"{name}_moved": distance for name, distance in now.moved.items()},
        **{f"{name}_rate_share": trust.share for name, trust in state.rates.items() if trust.wanted},
        **now.evaluation,
        "samples": [
            {"prompt": p.last_user, "answer": a[0].text} for p, a in zip(prompts[:2], now.answers[:2], strict=True)
        ],
    }


def conclude(state: State, experience: Experience, metrics: Mapping[str, Any], config: PpoConfig) -> None:
    """End the iteration: record start errors, adapt the KL coefficient, check the KL ceiling, update the average."""
    done, kl, now = state.iteration, metrics["kl"], state.now
    assert now is not None
    if done in (0, config.critic.warmup_iterations):  # the policy is untouched until its first update
        ratio_error = metrics["ratio_error_first"] if policy_learns(config, done) else None
        state.start |= starting_point(experience, metrics["engine_logprob_error"], ratio_error)
    episodes = config.rollouts.prompts_per_iteration * config.rollouts.answers_per_prompt
    state.kl.update(kl, episodes, rising=done < config.kl.rise * config.iterations)
    for name, trust in state.rates.items():
        trust.settle(now.moved.get(name), lr_share(done, config))
    if kl > config.kl.ceiling:
        state.stopped = f"stopped at iteration {done}: KL {kl:.1f} nats passed the ceiling of {config.kl.ceiling:g}"
    state.iteration, state.now = done + 1, None
    if state.average:
        state.average.update()


def tell(session: Session[PpoConfig, Actors], state: State, metrics: dict[str, Any], monitors: Monitors) -> None:
    """Log the iteration and print new warnings. Raises ValueError where the first iteration's numbers are wrong."""
    config, done = session.origin.config, state.iteration - 1
    check_start(state.start, session.origin.model.dtype)
    if state.stopped:
        session.bar.note(state.stopped)
    speed = session.speed(config.rollouts.prompts_per_iteration * config.rollouts.answers_per_prompt)
    row = session.write(done, metrics, {"episodes_per_second": speed})
    for alarm in monitors.look(row):
        session.bar.note(f"warning: {alarm}")
        if config.monitors.action == "stop":
            state.stopped = state.stopped or f"stopped at iteration {done}: {alarm}"
    session.bar.update(state.iteration, **{name: metrics[name] for name in ("reward", "kl", "length")})


def save(session: Session[PpoConfig, Actors], sft: Path) -> None:
    """Write the best weights as a model folder."""
    actors = session.model
    weights = session.folder.load_best()[0] if parallel.is_first() else {}
    if session.origin.config.adapters.lora_rank:
        actors.policy.load_state_dict(parallel.gather(weights)[0], strict=False)
        settle(actors.policy, session.path, sft)
        session.save(actors.policy, actors.tokenizer)
    else:
        session.save(actors.policy, actors.tokenizer, parallel.whole_state(actors.policy) | weights)


def engine_for(actors: Actors, iteration: int) -> Engine:
    """An engine with the policy's weights, with `thinking` as in the policy's template."""
    return engine_of(
        actors.policy,
        actors.tokenizer,
        Serving("policy", str(iteration), thinking=actors.template.thinking, today=False),
    )


def fit(
    template: Template, material: Material, config: PpoConfig, model_config: ModelConfig
) -> tuple[Fitted[Conversation], Fitted[Conversation], Material]:
    """(prompts, held-out prompts, `material` reduced to the prompts that fit into the model's context)."""
    long = config.rows.long
    context = context_of(read_config(material.sft, model_config.trust_remote_code))
    prompts = fit_prompts(template, material.prompts, context, long)
    held_out = fit_prompts(template, material.held_out, context, long, "held-out prompt")
    chosen = held_out.records[: config.selection.eval_prompts]
    return prompts, held_out, replace(material, prompts=prompts.records, held_out=chosen)


def check(config: PpoConfig, material: Material) -> None:
    """Raises ValueError for settings and data that cannot go together."""
    advantage, answers = config.advantage, config.rollouts.answers_per_prompt
    if not material.prompts or not material.held_out:
        raise ValueError(
            f"PPO needs prompts and held-out prompts; got {len(material.prompts)} and {len(material.held_out)}"
        )
    if config.loss.ptx_coef and not material.demonstrations:
        raise ValueError("ppo.ptx_coef > 0 needs demonstrations, and there are none")
    if (advantage.group_baseline or advantage.method != "gae") and answers < 2:
        what = "group_baseline" if advantage.group_baseline else f"advantage = {advantage.method}"
        raise ValueError(f"ppo.{what} compares a prompt's answers: expected ppo.answers_per_prompt of 2 or more")
    learned = config.rollouts.learned_per_prompt
    if learned and not min(2, answers) <= learned <= answers:  # of one there is no variance: it would be the worst
        raise ValueError(
            f"ppo.rollouts.learned_per_prompt = {learned}: expected 2 to {answers} (answers_per_prompt), or 0 for all"
        )
    if advantage.method != "gae" and config.critic.warmup_iterations:
        raise ValueError(
            f"ppo.advantage = {advantage.method} has no critic: expected ppo.critic_warmup_iterations of 0"
        )
    if (config.optimizer.step_kl or config.critic.step) and steps_of(config) < 2:
        raise ValueError(
            "ppo.step_kl and ppo.critic_step measure an iteration's first steps before its last: expected ppo.epochs "
            "times ppo.minibatches of 2 or more, and a prompt for each minibatch"
        )
