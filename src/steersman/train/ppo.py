"""PPO, RLOO and GRPO: improve the policy against the reward model, under a KL price to the reference.

    prompts -> engine.generate -> score (old and reference logprobs, values, rewards) -> experience
    -> epochs of policy_loss and value_loss -> weights pushed to the engine with a version -> log, evaluate, save

The reference is the SFT model, the critic starts as the reward model. RLOO and GRPO (`ppo.advantage`) are the same
loop without a critic: several answers to each prompt are compared with one another instead. The result is the policy
with the best held-out reward among those evaluated whose KL stayed under the ceiling.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from steersman import stopping
from steersman.artifact.stage_folder import StageFolder
from steersman.config import ModelConfig, PpoConfig, to_dict
from steersman.distributed import parallel
from steersman.engine.load import engine_of
from steersman.families.outputs import context_of, use_checkpointing
from steersman.progress import activity, progress
from steersman.rl.experience import Experience
from steersman.rl.rewards import KlController, apply_eos_trick, episode_kl
from steersman.rl.rules import repetition
from steersman.text.length import fit_prompts
from steersman.train.average import Average
from steersman.train.budget import check_memory, lengths_of
from steersman.train.cautions import cautions
from steersman.train.log import MetricsLog, read_metrics
from steersman.train.midround import Round
from steersman.train.monitors import Monitors, check_start, starting_point
from steersman.train.ppo_update import lr_share, pretraining_rows, prompt_order, update
from steersman.train.rollouts import (
    Actors,
    Rollouts,
    Scored,
    beside_the_engine,
    evaluate,
    experience_of,
    generate,
    join,
    member_folders,
    pack,
    score,
    upcoming,
)
from steersman.train.scoring import check_rewards
from steersman.train.shared_base import share_base
from steersman.train.update import Updater, keep_freed_memory
from steersman.types import Conversation, SamplingParams
from steersman.weights.folders import load_template, read_config, save_model
from steersman.weights.lora import merged, named_weights, settle


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
    stage: str = "ppo",
) -> dict[str, Any]:
    """Optimise the SFT model against the reward model into `output`; returns the manifest's metrics. Resumes by itself.

    `held_out` prompts choose the checkpoint; `demonstrations` are needed for PPO-ptx alone.
    """
    keep_freed_memory()
    context = context_of(read_config(sft, model_config.trust_remote_code))
    template = load_template(sft, model_config)
    check(config, prompts, held_out, demonstrations)
    fitted = fit_prompts(template, prompts, context, config.rows.long)
    chosen = fit_prompts(template, held_out, context, config.rows.long, "held-out prompt")
    prompts, held_out = fitted.records, chosen.records[: config.selection.eval_prompts]
    lengths = [len(template.prompt_ids(prompt)) for prompt in (*prompts, *held_out)]
    rewards = [reward, *member_folders(reward)]
    shared = config.adapters.lora_rank > 0 and share_base(sft, rewards)
    models = {"reward_models": len(rewards), "shared_base": shared}
    check_memory(sft, config, lengths_of(lengths), model_config, **models)
    actors = Actors.load(sft, reward, config, model_config, seed)
    check_rewards(config, len(rewards), [*prompts, *held_out])
    recorded = {**to_dict(config), "seed": seed, **model_config.recorded}
    folder = StageFolder(output, stage, recorded, inputs, config.resume.save_seconds, config.resume.keep_checkpoints)
    here = Run(actors, folder, config, prompts, held_out, demonstrations, seed)
    episodes, began = 0, time.monotonic()
    log = MetricsLog(folder.path, "iteration", here.iteration)
    monitors = Monitors(config, read_metrics(folder.path))
    with folder.resumable(here.point):
        with progress(stage, config.iterations, start=here.iteration, unit="iteration") as bar, log:
            while here.iteration < config.iterations and not here.stopped:
                metrics = here.round()
                check_start(here.start, model_config.dtype)
                if here.stopped:
                    bar.note(here.stopped)
                episodes += config.rollouts.prompts_per_iteration * config.rollouts.answers_per_prompt
                speed = {"episodes_per_second": episodes / (time.monotonic() - began)}
                row = log.write(here.iteration - 1, metrics, speed)
                for alarm in monitors.look(row):
                    bar.note(f"warning: {alarm}")
                    if config.monitors.action == "stop":
                        here.stopped = here.stopped or f"stopped at iteration {here.iteration - 1}: {alarm}"
                bar.update(here.iteration, **{name: metrics[name] for name in ("reward", "kl", "length")})
                if here.iteration < config.iterations and not here.stopped:
                    here.keep(None)
            log.write(here.iteration, here.consider())
        weights = folder.load_best()[0] if parallel.is_first() else {}
        if config.adapters.lora_rank:
            actors.policy.load_state_dict(parallel.gather(weights)[0], strict=False)
            settle(actors.policy, folder.path, sft)
            save_model(merged(actors.policy), actors.tokenizer, folder.path)
        else:
            save_model(actors.policy, actors.tokenizer, folder.path, parallel.whole_state(actors.policy) | weights)
        metrics = {
            **fitted.counts(),
            "best": here.best,
            "iterations": here.iteration,
            "stopped": here.stopped,
            "start": here.start,
            "warnings": monitors.alarms,
            "episodes_per_second": round(episodes / max(1e-9, time.monotonic() - began), 3) if episodes else None,
        }
        steps = here.iteration * config.epochs * config.minibatches
        metrics["cautions"] = [*cautions(steps, folder.path), *fitted.cautions("ppo"), *chosen.cautions("ppo")]
        folder.finish(
            metrics, tuple(dict.fromkeys([*([here.stopped] if here.stopped else []), *monitors.alarms.values()]))
        )
    return metrics


class Run:
    """A run under way: what lasts from one round to the next, and where it stands."""

    def __init__(
        self,
        actors: Actors,
        folder: StageFolder,
        config: PpoConfig,
        prompts: Sequence[Conversation],
        held_out: Sequence[Conversation],
        demonstrations: Sequence[Conversation],
        seed: int,
    ) -> None:
        """Begins at the folder's newest resume point, where it has one."""
        self.actors, self.folder, self.config, self.seed = actors, folder, config, seed
        self.prompts, self.held_out = prompts, held_out
        if config.rows.checkpointing:
            use_checkpointing(actors.policy)
            if actors.critic is not None:
                use_checkpointing(actors.critic)
        options: dict[str, Any] = {
            "weight_decay": 0.0,
            "grad_clip": config.optimizer.grad_clip,
            "eps": config.optimizer.adam_eps,
        }
        self.policy = Updater(actors.policy, lr=config.optimizer.lr, **options)
        self.critic = Updater(actors.critic, lr=config.optimizer.critic_lr, **options) if actors.critic else None
        self.controller = KlController(config.kl.coef, config.kl.target, config.kl.horizon, config.kl.error_clip)
        self.average = Average(self.policy, config.optimizer.ema_decay) if config.optimizer.ema_decay else None
        self.iteration = 0
        self.stopped = ""
        """Why the run ends before its last round."""
        self.best: dict[str, float] = {}
        self.start: dict[str, float] = {}
        self._begun: Round | None = None
        self._now: Round | None = None
        """The round under way, between its evaluation and its last step."""
        self._resume()
        self.engine = engine_of(
            actors.policy,
            actors.tokenizer,
            name="policy",
            version=str(self.iteration),
            thinking=actors.template.thinking,
            today=False,
        )
        self._order = prompt_order(len(prompts), seed)
        for _ in range(self.iteration * config.rollouts.prompts_per_iteration):
            next(self._order)
        self._pretraining = (
            pretraining_rows(actors, demonstrations, config, seed, self._pretraining_steps())
            if config.loss.ptx_coef
            else None
        )

    def _resume(self) -> None:
        point = self.folder.load()
        if point is None:
            return
        tensors, state = point
        self.policy.restore(tensors, "policy.")
        if self.critic is not None:
            self.critic.restore(tensors, "critic.")
        if self.average:
            self.average.restore(tensors)
        self.iteration, self.controller.coef, self.start = state["iteration"], state["kl_coef"], state["start"]
        self.stopped = state.get("stopped", "")
        self._begun = Round.from_point(tensors, state["round"]) if "round" in state else None
        if self._begun and not parallel.is_first():
            self._begun.totals = Round({}).totals  # they are summed over the processes
        self.best = self.folder.load_best()[1]

    def _pretraining_steps(self) -> int:
        """Optimizer steps that took a row of demonstrations so far."""
        config = self.config
        size = -(-config.rollouts.prompts_per_iteration // config.minibatches)
        per_round = config.epochs * -(-config.rollouts.prompts_per_iteration // size)  # as `pack` cuts them
        taken = max(0, self.iteration - config.critic.warmup_iterations) * per_round  # warm-up rounds take none
        return taken + (self._begun.steps if self._begun and self._trains_policy else 0)

    @property
    def _trains_policy(self) -> bool:
        return self.iteration >= self.config.critic.warmup_iterations

    def _push(self) -> None:
        """The policy's weights as they are, to the engine."""
        named = named_weights(self.actors.policy, trained_only=True)
        self.engine.load_weights(((name, parallel.whole(tensor)) for name, tensor in named), str(self.iteration))

    def consider(self) -> dict[str, float]:
        """Evaluate the policy (or the average of its weights) as it is; keep it if it is the best so far."""
        with self.average.applied(self._push) if self.average else contextlib.nullcontext():
            result = evaluate(self.actors, self.engine, self.held_out, self.config, self.seed)
            bounded = result["eval_kl"] <= self.config.kl.ceiling
            if bounded and result["eval_reward"] > self.best.get("eval_reward", float("-inf")):
                self.best = {**result, "iteration": self.iteration}
                weights = parallel.whole_state(self.actors.policy, self.policy.names)
                if parallel.is_first():
                    self.folder.save_best(weights, self.best)
            return result

    def keep(self, now: Round | None) -> None:
        """A resume point, if it is time for one: in the round `now` (where a process is alone), or between two."""
        if (now is None or parallel.size() == 1) and self.folder.save_is_due and (point := self.point()):
            self.folder.save(*point)

    def point(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, state) to go on from; None before the SFT model is evaluated, when there is nothing to lose."""
        if not self.best:
            return None
        tensors = self.policy.state("policy.") | (self.critic.state("critic.") if self.critic else {})
        tensors |= self.average.state() if self.average else {}
        state: dict[str, Any] = {"iteration": self.iteration, "kl_coef": self.controller.coef, "start": self.start}
        state |= {"stopped": self.stopped} if self.stopped else {}
        if self._now:
            more, state["round"] = self._now.to_point()
            tensors |= more
        return tensors, state

    def _answer(self, chosen: Sequence[Conversation], size: int, now: Round) -> Iterator[None]:
        """The answers that are missing in the round `now`: stops whenever some have come, with `overlap` those of a
        minibatch (`size` prompts) while the others are being sampled.
        """
        config = self.config
        together = config.rollouts.rollout_prompts or len(chosen)
        yield
        for first in range(len(now.answers), len(chosen), together):
            params = SamplingParams(
                max_tokens=config.rollouts.max_tokens,
                temperature=config.rollouts.temperature,
                n=config.rollouts.answers_per_prompt,
                seed=self.seed * 1_000_003 + self.iteration + (first << 32),
            )
            end = min(first + together, len(chosen))
            cuts = [first, *(i for i in range(first + 1, end) if config.rollouts.overlap and i % size == 0), end]
            parts = generate(self.engine, [chosen[i:j] for i, j in itertools.pairwise(cuts)], params)
            while True:
                try:
                    with activity("answers", end - first, "prompt") as shown:
                        shown.probe = getattr(self.engine, "answered", None)
                        answers = upcoming(parts)
                except stopping.Stop:
                    del now.answers[first:]  # a group has one seed: it is answered as a whole
                    raise
                if answers is None:
                    break
                now.answers += answers
                yield
            self.keep(now)

    def _collect(self, chosen: Sequence[Conversation], now: Round) -> Rollouts:
        """The round's answers as rows, and the experience made of them."""
        config, actors = self.config, self.actors
        size = -(-len(chosen) // config.minibatches)
        packed: list[Rollouts] = []
        scored: list[Scored] = []
        for _ in self._answer(chosen, size, now):
            with beside_the_engine(actors.policy.device) if config.rollouts.overlap else contextlib.nullcontext():
                for first in range(len(packed) * size, len(now.answers), size):
                    mine = slice(first, first + size)
                    if len(now.answers[mine]) < len(chosen[mine]):
                        break
                    given = (
                        chosen[mine],
                        now.answers[mine],
                        1,
                        config.rows.row_tokens,
                        actors.policy.device,
                        actors.below,
                    )
                    packed.append(pack(actors.template, *given))
                    if now.experience is None:
                        with activity("scoring"):
                            scored.append(score(actors, packed[-1], config))
        rollouts = join(packed)
        if now.experience is None:
            now.experience, now.measured = experience_of(rollouts.flat, scored, config, self.controller.coef)
        return rollouts

    def round(self) -> dict[str, Any]:
        """Answer, score and learn once, or what is left of that; returns the round's metrics."""
        config, actors = self.config, self.actors
        now = self._begun or Round(self.consider() if self.iteration % config.selection.eval_every == 0 else {})
        self._begun, self._now = None, now
        chosen = [self.prompts[next(self._order)] for _ in range(config.rollouts.prompts_per_iteration)]
        rollouts = self._collect(chosen, now)
        assert now.experience is not None
        kl, kl_coef = float(now.experience.kl.mean()), self.controller.coef
        with activity("learning"):
            losses = update(
                actors,
                rollouts,
                now.experience,
                self.policy,
                self.critic,
                config,
                lr_share(self.iteration, config),
                self._trains_policy,
                self._pretraining,
                kl_coef if config.kl.paid_in == "loss" else 0.0,
                now,
                self.keep,
            )
        if self.iteration in (0, config.critic.warmup_iterations):  # the policy is untouched until its first update
            ratio_error = losses["ratio_error_first"] if self._trains_policy else None
            self.start |= starting_point(now.experience, now.measured["engine_logprob_error"], ratio_error)
        self.controller.update(kl, len(rollouts.flat))
        if kl > config.kl.ceiling:
            self.stopped = (
                f"stopped at iteration {self.iteration}: KL {kl:.1f} nats passed the ceiling of {config.kl.ceiling:g}"
            )
        self.iteration, self._now = self.iteration + 1, None
        if self.average:
            self.average.update()
        self._push()
        return {
            **summary(now.experience, rollouts, config),
            **now.measured,
            **losses,
            "kl_coef": kl_coef,
            **now.evaluation,
            "samples": [
                {"prompt": p.last_user, "answer": a[0].text} for p, a in zip(chosen[:2], now.answers[:2], strict=True)
            ],
        }


def check(
    config: PpoConfig,
    prompts: Sequence[Conversation],
    held_out: Sequence[Conversation],
    demonstrations: Sequence[Conversation],
) -> None:
    """Raises ValueError for settings and data that cannot go together."""
    if not prompts or not held_out:
        raise ValueError(f"PPO needs prompts and held-out prompts; got {len(prompts)} and {len(held_out)}")
    if config.loss.ptx_coef and not demonstrations:
        raise ValueError("ppo.ptx_coef > 0 needs demonstrations, and there are none")
    if (config.advantage.group_baseline or config.advantage.method != "gae") and config.rollouts.answers_per_prompt < 2:
        what = "group_baseline" if config.advantage.group_baseline else f"advantage = {config.advantage.method}"
        raise ValueError(f"ppo.{what} compares a prompt's answers: expected ppo.answers_per_prompt of 2 or more")
    if config.advantage.method != "gae" and config.critic.warmup_iterations:
        raise ValueError(
            f"ppo.advantage = {config.advantage.method} has no critic: expected ppo.critic_warmup_iterations of 0"
        )


def summary(experience: Experience, rollouts: Rollouts, config: PpoConfig) -> dict[str, float]:
    """A round in numbers: mean reward (EOS trick applied), KL, length, share without EOS, the critic's fit."""
    rewards = apply_eos_trick(experience.scores, experience.ended, config.score.no_eos_reward)
    kl = episode_kl(experience.old_logprobs, experience.ref_logprobs, experience.mask)
    return {
        "reward": float(rewards.mean()),
        "score": float(experience.scores.mean()),
        "kl": float(kl.mean()),
        "length": float(experience.mask.sum(dim=1).float().mean()),
        "no_eos": 1 - float(experience.ended.float().mean()),
        "repetition": sum(repetition(c.token_ids) for c in rollouts.flat) / len(rollouts.flat),
        **(
            {"explained_variance": experience.explained_variance, "value_loss_before": experience.value_loss}
            if config.advantage.method == "gae"
            else {}
        ),
    }
