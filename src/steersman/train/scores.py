"""PPO's models run over sampled answers, the experience made from their outputs, and the held-out evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.config import PpoConfig
from steersman.distributed import parallel
from steersman.engine.protocol import Engine
from steersman.families.heads import weights_of
from steersman.families.outputs import response_logprobs, response_values
from steersman.progress import activity
from steersman.rl.advantages import most_varied
from steersman.rl.experience import Episodes, Experience, make_experience
from steersman.rl.rewards import apply_eos_trick
from steersman.rl.rules import repetition
from steersman.train.actors import Actors
from steersman.train.collect import generate, upcoming
from steersman.train.iteration import Iteration
from steersman.train.judgement import slope
from steersman.train.minibatches import Minibatch, pack
from steersman.train.scoring import answer_scores, judged_scores, models_of, sources, validator
from steersman.types import Completion, Conversation, SamplingParams


@dataclass(frozen=True)
class Scored:
    """The models' outputs for a minibatch's answers, in the answers' order."""

    old: Sequence[Tensor]
    """Log-probabilities [t] of each answer under the policy that sampled it"""
    ref: Sequence[Tensor]
    values: Sequence[Tensor]
    scores: Tensor
    """[E] score of each answer, before the EOS trick"""
    entropy: float
    """Sum over tokens"""
    figures: dict[str, float]
    """Means over answers"""


def packed(
    actors: Actors, prompts: Sequence[Conversation], completions: Sequence[Sequence[Completion]], config: PpoConfig
) -> Minibatch:
    """The prompts and their answers as rows for these models."""
    rows = config.rows.row_tokens, actors.policy.device
    with activity("frozen layers"):
        return pack(actors.template, prompts, completions, *rows, actors.trunk, actors.still)


@torch.no_grad()
def score(actors: Actors, minibatch: Minibatch, config: PpoConfig) -> Scored:
    """Run all models over the rows."""
    with activity("scoring"):
        return _score(actors, minibatch, config)


def _score(actors: Actors, minibatch: Minibatch, config: PpoConfig) -> Scored:
    lengths = [len(c.token_ids) for c in minibatch.answers]
    old = [torch.full((length,), -torch.inf) for length in lengths]
    ref, values = list(old), list(old)
    scores, figures = answer_scores(sources(actors, config), minibatch)
    entropy, temperature = 0.0, config.rollouts.temperature
    for packed in minibatch.rows:
        parallel.halt()
        logprobs, row_entropy = response_logprobs(actors.policy, packed.row, temperature)
        reference, _ = response_logprobs(actors.reference, packed.still, temperature, entropy=False)
        state = response_values(actors.critic, packed.row) if actors.critic else torch.zeros_like(logprobs)
        entropy += packed.weight * float(row_entropy.sum())
        for kept, flat in ((old, logprobs), (ref, reference), (values, state)):
            for number, part in zip(packed.episodes, packed.per_answer(flat), strict=True):
                kept[number] = part.cpu()
    old, ref, values = (list(torch.split(parallel.merge(torch.cat(parts)), lengths)) for parts in (old, ref, values))
    (entropy,) = parallel.add(entropy)
    return Scored(old, ref, values, scores, entropy, figures)


def experience_of(
    minibatches: Sequence[Minibatch], parts: Sequence[Scored], config: PpoConfig, kl_coef: float
) -> tuple[Experience, dict[str, float]]:
    """The iteration's experience from its minibatches' scores, and figures that only the scoring pass can measure."""
    answers = [answer for minibatch in minibatches for answer in minibatch.answers]
    episodes = Episodes(
        old_logprobs=[x for part in parts for x in part.old],
        ref_logprobs=[x for part in parts for x in part.ref],
        values=[x for part in parts for x in part.values],
        scores=torch.cat([part.scores for part in parts]),
        ended=torch.tensor([c.finish_reason == "stop" for c in answers]),
    )
    experience = make_experience(
        episodes,
        config.advantage,
        answers=config.rollouts.answers_per_prompt,
        kl_coef=kl_coef if config.kl.paid_in == "reward" else 0.0,
        no_eos_reward=config.score.no_eos_reward,
    )
    sampled, tokens = torch.cat([torch.tensor(c.logprobs) for c in answers]), torch.cat(list(episodes.old_logprobs))
    figures = {
        name: sum(part.figures[name] * len(part.scores) for part in parts) / len(answers) for name in parts[0].figures
    }
    measured = {
        "entropy": sum(part.entropy for part in parts) / len(tokens),
        "engine_logprob_error": float((sampled - tokens).abs().mean()),
    }
    return experience, measured | figures


def figures_of(experience: Experience, answers: Sequence[Sequence[Completion]], config: PpoConfig) -> dict[str, float]:
    """Mean reward (EOS trick applied), score, KL, length, share without EOS, repetition; how good the critic is."""
    rewards = apply_eos_trick(experience.scores, experience.ended, config.score.no_eos_reward)
    repeated = [repetition(answer.token_ids) for group in answers for answer in group]
    critic = {"explained_variance": experience.explained_variance, "value_loss_before": experience.value_loss}
    return {
        "reward": float(rewards.mean()),
        "score": float(experience.scores.mean()),
        "kl": float(experience.kl.mean()),
        "length": float(experience.mask.sum(dim=1).float().mean()),
        "no_eos": 1 - float(experience.ended.float().mean()),
        "repetition": sum(repeated) / len(repeated),
        **(critic if config.advantage.method == "gae" else {}),
    }


@torch.no_grad()
def choose(actors: Actors, now: Iteration, minibatches: Sequence[Minibatch], config: PpoConfig) -> list[Minibatch]:
    """Keep `learned_per_prompt` of each prompt's answers, those whose rewards differ most; figures are those of all.

    Returns the minibatches of what is kept. Their rows are others and round otherwise, so the models run over them once
    more, for the first ratio to be 1 exactly; advantages stay those among all answers.
    """
    assert now.experience is not None
    answers, kept = config.rollouts.answers_per_prompt, config.rollouts.learned_per_prompt
    now.measured |= figures_of(now.experience, now.answers, config)
    rewards = apply_eos_trick(now.experience.scores, now.experience.ended, config.score.no_eos_reward)
    chosen = most_varied(rewards, answers, kept)
    experience = now.experience.chosen(chosen)
    flat = [answer for group in now.answers for answer in group]
    now.answers = [[flat[i] for i in group] for group in chosen.view(-1, kept).tolist()]
    rest = iter(now.answers)
    learned = [packed(actors, m.prompts, [next(rest) for _ in m.prompts], config) for m in minibatches]
    scored = [score(actors, minibatch, config) for minibatch in learned]

    def laid(parts: Sequence[Tensor]) -> Tensor:
        out = torch.zeros_like(experience.old_logprobs)
        out[experience.mask] = torch.cat(list(parts))
        return out

    now.experience = dataclasses.replace(
        experience,
        old_logprobs=laid([x for part in scored for x in part.old]),
        ref_logprobs=laid([x for part in scored for x in part.ref]),
        values=laid([x for part in scored for x in part.values]),
    )
    return learned


@dataclass(frozen=True)
class HeldOut:
    """What an evaluation measured."""

    figures: dict[str, float]
    judged: list[float]
    """The judge's reward of each prompt, the mean over its answers, EOS trick applied; less what length alone brings"""
    scales: dict[str, list[float]]
    """Mean and deviation by which scores have been moved and divided since; "length": the price of a token"""


def measured_scales(actors: Actors, minibatch: Minibatch, config: PpoConfig) -> dict[str, list[float]]:
    """(mean, deviation) of the reward models' combined score and of the validator's, over answers that ended.

    {} where nothing is to be normalised.
    """
    if not config.score.normalise or weights_of(actors.reward.config) or not config.score.reward_weight:
        return {}
    ended = torch.tensor([c.finish_reason == "stop" for c in minibatch.answers])
    models = {"reward": models_of(actors, config)}
    models |= {"validator": validator(actors, config)} if actors.validator is not None else {}
    out = {}
    for name, source in models.items():
        scores = source(minibatch)[0] / config.score.reward_weight
        scores = scores[ended] if int(ended.sum()) > 1 else scores
        deviation = float(scores.std(unbiased=False))
        out[name] = [float(scores.mean()), deviation if deviation > 1e-6 else 1.0]
    return out


def divergence(actors: Actors, minibatch: Minibatch, temperature: float) -> Tensor:
    """[E] log p_policy - log p_reference in nats of each answer: estimates of the policy's KL."""
    kl = torch.full((len(minibatch.answers),), -torch.inf)
    for packed in minibatch.rows:
        parallel.halt()
        own, _ = response_logprobs(actors.policy, packed.row, temperature, entropy=False)
        reference, _ = response_logprobs(actors.reference, packed.still, temperature, entropy=False)
        kl[packed.episodes] = torch.stack([part.sum() for part in packed.per_answer(own - reference)]).cpu()
    return kl


@torch.no_grad()
def evaluate(
    actors: Actors, engine: Engine, prompts: Sequence[Conversation], config: PpoConfig, seed: int, first: bool = False
) -> HeldOut:
    """Held-out reward (EOS trick applied), KL per answer and share without EOS, from `eval_answers` sampled answers per
    prompt; with named objectives each objective's mean score too. The `first` evaluation sets the scale of the scores.
    """
    sampling, n = config.rollouts, config.selection.eval_answers
    params = SamplingParams(max_tokens=sampling.max_tokens, temperature=sampling.temperature, n=n, seed=seed)
    with activity("held-out answers", len(prompts), "prompt") as shown:
        shown.probe = getattr(engine, "answered", None)
        answers = upcoming(generate(engine, [prompts], params)) or []
    minibatch = packed(actors, prompts, answers, config)
    judge = validator(actors, config) if actors.validator is not None else None
    with activity("scoring"):
        scales = measured_scales(actors, minibatch, config) if first else {}
        actors.rescale(scales, config)
        scores, judged, figures = judged_scores(sources(actors, config), judge, minibatch)
        # the first policy is the reference itself
        kl = torch.zeros(len(minibatch.answers)) if first else divergence(actors, minibatch, sampling.temperature)
    ended = torch.tensor([c.finish_reason == "stop" for c in minibatch.answers])
    lengths = torch.tensor([float(len(c.token_ids)) for c in minibatch.answers])
    if first and actors.equal_length and int(ended.sum()) > 1:
        actors.length_price = slope(judged[ended], lengths[ended])
        scales |= {"length": [actors.length_price]}
    reward, raw = (apply_eos_trick(x, ended, config.score.no_eos_reward) for x in (scores, judged))
    judged = raw - actors.length_price * lengths
    measured = {
        "eval_reward": float(reward.mean()),
        **({"eval_validator": float(raw.mean())} if judge else {}),
        "eval_length": float(lengths.mean()),
        "eval_kl": float(parallel.merge(kl).mean()),
        "eval_no_eos": 1 - float(ended.float().mean()),
        **{f"eval_{name}": mean for name, mean in figures.items() if name.startswith("objective_")},
    }
    return HeldOut(measured, judged.view(len(prompts), n).mean(dim=1).tolist(), scales)
