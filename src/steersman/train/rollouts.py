"""One round of PPO as data: answers packed into rows, scored by the four models.

`Actors` are the models, `Rollouts` the rows; `score` and `experience_of` make what `steersman.train.ppo` learns from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman import stopping
from steersman.compute.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.config import ModelConfig, PpoConfig
from steersman.distributed import parallel
from steersman.engine.backends.local.engine import LocalEngine
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.protocol import Engine
from steersman.families.heads import reweigh
from steersman.families.outputs import (
    frozen_layers,
    response_logprobs,
    response_values,
    shard,
    share_trunk,
    train_last_layers,
)
from steersman.progress import activity
from steersman.rl.experience import Experience, make_experience
from steersman.rl.rewards import apply_eos_trick
from steersman.text.template import Template
from steersman.train.scoring import answer_scores, sources
from steersman.train.shared_base import load_over_one_base
from steersman.types import Completion, Conversation, SamplingParams
from steersman.weights.folders import load_causal, load_scalar, load_tokenizer, pick_device, use_packed_rows
from steersman.weights.lora import quantized


def member_folders(reward: Path) -> list[Path]:
    """Folders of an ensemble's further members, `member-2` and so on, inside that of its first."""
    return sorted(reward.glob("member-*"), key=lambda path: int(path.name.removeprefix("member-")))


@dataclass
class Actors:
    """The models. Policy and critic learn; reference and reward model do not. Without GAE there is no critic."""

    policy: Any
    reference: Any
    reward: Any
    critic: Any
    tokenizer: Any
    template: Template
    trunk: Callable[[Row], Tensor] | None = None
    """Computes the lowest layers once for all four, where they are the same and frozen."""
    trunk_layers: int = 0
    members: Sequence[Any] = ()
    """Further reward models of an ensemble."""

    def below(self, row: Row) -> Tensor | None:
        return self.trunk(row) if self.trunk else None

    @staticmethod
    def load(sft: Path, reward: Path, config: PpoConfig, model_config: ModelConfig, seed: int = 0) -> Actors:
        needs_critic = config.advantage.method == "gae"
        if config.adapters.lora_rank:
            policy, reference, critic, scorers = load_over_one_base(
                sft, [reward, *member_folders(reward)], config, model_config, seed
            )
            learning = [policy, critic] if needs_critic else [policy]
        else:
            device, extra = pick_device(model_config.device), quantized(model_config, 0)
            options = (model_config.dtype, model_config.trust_remote_code)
            policy, reference = (use_packed_rows(load_causal(sft, *options, **extra)).to(device) for _ in range(2))
            start = reward if config.critic.init == "reward" else sft
            critics, scorers = (
                [use_packed_rows(load_scalar(path, *options, **extra)).to(device) for path in paths]
                for paths in ([start] if needs_critic else [], [reward, *member_folders(reward)])
            )
            learning = [policy, *critics]
            if needs_critic and config.critic.init == "sft":
                torch.nn.init.zeros_(learning[1].score.weight)
            for model in learning:
                train_last_layers(model, config.adapters.train_layers)
        critic = learning[1] if needs_critic else None
        for model in [*scorers, *([critic] if needs_critic and config.critic.init == "reward" else [])]:
            reweigh(model.config, config.score.objectives, "ppo.objectives")
        for model in (reference, *scorers):
            model.requires_grad_(False)
        tokenizer = load_tokenizer(sft)
        if load_tokenizer(reward).get_vocab() != tokenizer.get_vocab():
            raise ValueError(
                f"{reward}: its tokenizer differs from that of {sft}; policy and reward model must share one"
            )
        models = [*learning, reference, *scorers]
        shared = share_trunk(models, frozen_layers(policy, config.adapters.train_layers))
        shard(*models)
        first, *members = scorers
        return Actors(
            policy,
            reference,
            first,
            critic,
            tokenizer,
            Template(tokenizer, model_config.thinking, today=False),
            *shared,
            members,
        )


@dataclass(frozen=True)
class Rollouts:
    """Answers of one round, packed: rows grouped into minibatches, and which episodes each row holds.

    Of several processes each has its share of the rows.
    """

    prompts: Sequence[Conversation]
    completions: list[list[Completion]]
    minibatches: list[list[Row]]
    episodes: list[list[list[int]]]
    """Per minibatch and row: numbers of the episodes (answers in prompt order), in the order of the row's branches."""
    below: list[list[Tensor | None]]
    """Per minibatch and row: states of the shared trunk."""
    weights: list[list[float]]
    """Per minibatch and row: 0 for a row that is another process's."""
    tokens: list[int]
    """Per minibatch: tokens of its answers, those in other processes' rows included."""

    @property
    def flat(self) -> list[Completion]:
        return [c for group in self.completions for c in group]


def pack(
    template: Template,
    prompts: Sequence[Conversation],
    completions: list[list[Completion]],
    minibatches: int,
    row_tokens: int,
    device: torch.device,
    trunk: Callable[[Row], Tensor | None] = lambda _: None,
) -> Rollouts:
    """One tree per prompt; consecutive prompts form minibatches.

    The same rows serve scoring and every epoch, so the first ratio is 1 exactly.
    """
    trees = [
        Tree(template.prompt_ids(p), tuple(c.token_ids for c in cs)) for p, cs in zip(prompts, completions, strict=True)
    ]
    first = [0]
    for tree in trees:
        first.append(first[-1] + len(tree.branches))
    rows: list[list[Row]] = []
    episodes: list[list[list[int]]] = []
    weights: list[list[float]] = []
    tokens: list[int] = []
    size = -(-len(trees) // minibatches)
    for start in range(0, len(trees), size):
        mine = range(start, min(start + size, len(trees)))
        shared = parallel.share(fill_rows([trees[i].size for i in mine], row_tokens))
        groups = [group for group, _ in shared]
        rows.append([to_device(build_row([trees[mine[i]] for i in group]), device) for group in groups])
        episodes.append([[e for i in group for e in range(first[mine[i]], first[mine[i] + 1])] for group in groups])
        weights.append([weight for _, weight in shared])
        tokens.append(sum(len(branch) for i in mine for branch in trees[i].branches))
    below = [[trunk(row) for row in group] for group in rows]
    return Rollouts(prompts, completions, rows, episodes, below, weights, tokens)


def join(parts: Sequence[Rollouts]) -> Rollouts:
    """Parts of one round, in the order of their prompts, as one."""
    episodes: list[list[list[int]]] = []
    before = 0
    for part in parts:
        episodes += [[[before + e for e in row] for row in rows] for rows in part.episodes]
        before += len(part.flat)
    lists = (
        [x for part in parts for x in getattr(part, name)]
        for name in ("prompts", "completions", "minibatches", "below", "weights", "tokens")
    )
    prompts, completions, minibatches, below, weights, tokens = lists
    return Rollouts(prompts, completions, minibatches, episodes, below, weights, tokens)


def generate(
    engine: Engine, parts: Sequence[Sequence[Conversation]], params: SamplingParams
) -> Iterator[list[list[Completion]]]:
    """As `LocalEngine.generate_parts`; of several processes each generates a block of the answers, and all yield all of
    them at once.
    """
    assert isinstance(engine, LocalEngine | ReferenceEngine)  # as `engine_of` makes it
    if parallel.size() == 1:
        yield from engine.generate_parts(parts, params)
        return
    prompts = [p for part in parts for p in part]
    size = -(-len(prompts) // parallel.size())
    first = parallel.rank() * size
    mine: list[list[Completion]] | None = []
    try:
        with stopping.deferred(False):
            assert isinstance(engine, LocalEngine)
            mine = engine.generate(prompts[first : first + size], params, first) if first < len(prompts) else []
    except stopping.Stop:
        mine = None  # the others hear of it before anybody goes on
    shares = parallel.gather(mine)
    parallel.halt()
    yield [answers for part in shares for answers in part or ()]


def upcoming(parts: Iterator[list[list[Completion]]]) -> list[list[Completion]] | None:
    """The next of `generate`'s, or None. A signal ends the waiting at once, where this process is alone."""
    with stopping.deferred(parallel.size() > 1):
        return next(parts, None)


@contextlib.contextmanager
def beside_the_engine(device: torch.device) -> Iterator[None]:
    """What is computed here runs on a GPU beside the engine's steps, not between them."""
    if device.type != "cuda":
        yield
        return
    stream, usual = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(usual)
    with torch.cuda.stream(stream):
        yield
    usual.wait_stream(stream)


def per_branch(row: Row, flat: Tensor) -> list[Tensor]:
    """Split a value per target [N] into one tensor per branch."""
    counts = torch.bincount(row.target_branch, minlength=len(row.branch_ends))
    return list(torch.split(flat, counts.tolist()))


@dataclass(frozen=True)
class Scored:
    """What the models say of some answers, in their order."""

    old: Sequence[Tensor]
    """Log-probabilities [t] of each answer under the policy that sampled it"""
    ref: Sequence[Tensor]
    values: Sequence[Tensor]
    scores: Tensor
    """[E]"""
    entropy: float
    """Sum over tokens"""
    figures: dict[str, float]
    """Means over answers"""


@torch.no_grad()
def score(actors: Actors, rollouts: Rollouts, config: PpoConfig) -> Scored:
    """Run the four models over the rows."""
    lengths = [len(c.token_ids) for c in rollouts.flat]
    old = [torch.full((length,), -torch.inf) for length in lengths]
    ref, values = list(old), list(old)
    scores, figures = answer_scores(sources(actors, config), rollouts)
    entropy = 0.0
    for rows, numbers, states, weights in zip(
        rollouts.minibatches, rollouts.episodes, rollouts.below, rollouts.weights, strict=True
    ):
        for row, mine, below, weight in zip(rows, numbers, states, weights, strict=True):
            parallel.halt()
            logprobs, row_entropy = response_logprobs(actors.policy, row, config.rollouts.temperature, below)
            reference, _ = response_logprobs(actors.reference, row, config.rollouts.temperature, below, entropy=False)
            state = response_values(actors.critic, row, below) if actors.critic else torch.zeros_like(logprobs)
            entropy += weight * float(row_entropy.sum())
            for kept, flat in ((old, logprobs), (ref, reference), (values, state)):
                for number, part in zip(mine, per_branch(row, flat), strict=True):
                    kept[number] = part.cpu()
    old, ref, values = (list(torch.split(parallel.merge(torch.cat(parts)), lengths)) for parts in (old, ref, values))
    (entropy,) = parallel.add(entropy)
    return Scored(old, ref, values, scores, entropy, figures)


def experience_of(
    answers: Sequence[Completion], parts: Sequence[Scored], config: PpoConfig, kl_coef: float
) -> tuple[Experience, dict[str, float]]:
    """The round's experience from its parts' scores, and what only scoring could measure."""
    old, ref, values = ([x for part in parts for x in getattr(part, name)] for name in ("old", "ref", "values"))
    experience = make_experience(
        old_logprobs=old,
        ref_logprobs=ref,
        values=values,
        scores=torch.cat([part.scores for part in parts]),
        ended=torch.tensor([c.finish_reason == "stop" for c in answers]),
        kl_coef=kl_coef if config.kl.paid_in == "reward" else 0.0,
        no_eos_reward=config.score.no_eos_reward,
        gamma=config.advantage.gamma,
        lam=config.advantage.lam,
        whiten_rewards=config.advantage.whiten_rewards,
        whiten_advantages=config.advantage.whiten_advantages,
        group=config.rollouts.answers_per_prompt
        if config.advantage.group_baseline or config.advantage.method != "gae"
        else 0,
        advantage=config.advantage.method,
    )
    sampled, tokens = torch.cat([torch.tensor(c.logprobs) for c in answers]), torch.cat(old)
    figures = {
        name: sum(part.figures[name] * len(part.scores) for part in parts) / len(answers) for name in parts[0].figures
    }
    measured = {
        "entropy": sum(part.entropy for part in parts) / len(tokens),
        "engine_logprob_error": float((sampled - tokens).abs().mean()),
    }
    return experience, measured | figures


@torch.no_grad()
def evaluate(
    actors: Actors, engine: Engine, prompts: Sequence[Conversation], config: PpoConfig, seed: int
) -> dict[str, float]:
    """Held-out reward (EOS trick applied), KL per answer and share without EOS, from one sampled answer per prompt;
    of a reward model with objectives each one's mean score too.
    """
    params = SamplingParams(max_tokens=config.rollouts.max_tokens, temperature=config.rollouts.temperature, seed=seed)
    with activity("held-out answers", len(prompts), "prompt") as shown:
        shown.probe = getattr(engine, "answered", None)
        answers = upcoming(generate(engine, [prompts], params)) or []
    device = actors.policy.device
    rollouts = pack(actors.template, prompts, answers, 1, config.rows.row_tokens, device, actors.below)
    scores, figures = answer_scores(sources(actors, config), rollouts)
    kl = torch.full((len(prompts),), -torch.inf)
    for row, mine, below in zip(rollouts.minibatches[0], rollouts.episodes[0], rollouts.below[0], strict=True):
        parallel.halt()
        own, reference = (
            response_logprobs(model, row, config.rollouts.temperature, below, entropy=False)[0]
            for model in (actors.policy, actors.reference)
        )
        difference = own - reference
        kl[mine] = torch.stack([part.sum() for part in per_branch(row, difference)]).cpu()
    ended = torch.tensor([c.finish_reason == "stop" for c in rollouts.flat])
    rewards = apply_eos_trick(scores, ended, config.score.no_eos_reward)
    return {
        "eval_reward": float(rewards.mean()),
        "eval_kl": float(parallel.merge(kl).mean()),
        "eval_no_eos": 1 - float(ended.float().mean()),
        **{f"eval_{name}": mean for name, mean in figures.items() if name.startswith("objective_")},
    }
