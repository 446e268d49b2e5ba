"""PPO, RLOO, GRPO and DPO find the known optimum of a small KL-regularised problem.

Maximising E[r] - beta * KL(pi || ref) over distributions has the closed-form solution pi* ~ ref * exp(r / beta), with
value beta * log Z. Here every answer can be listed (at most two tokens of a small vocabulary), so the optimum is
exact, and the loop under test is the stage's own: rollouts, scoring, experience, update.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
import transformers

from steersman.compute.packing import Tree, build_row
from steersman.config import PpoConfig, replaced
from steersman.families.known import family_of
from steersman.families.outputs import branch_scores, init_score_head, response_logprobs
from steersman.rl.preference_losses import dpo_loss
from steersman.rl.rewards import apply_eos_trick
from steersman.train.actors import Actors
from steersman.train.iteration import Iteration
from steersman.train.minibatches import pack
from steersman.train.ppo_state import State
from steersman.train.ppo_update import Terms, update
from steersman.train.preference import answer_logprobs
from steersman.train.scores import experience_of, score
from steersman.train.update import Updater
from steersman.types import Completion, Conversation, Message
from steersman.weights.folders import use_packed_rows

VOCAB, END = 8, 2
PROMPT = (5, 6, 7)
CONFIG = replaced(
    PpoConfig(),
    prompts_per_iteration=1,
    answers_per_prompt=128,
    max_tokens=2,
    epochs=2,
    minibatches=1,
    lr=3e-3,
    critic_lr=5e-3,
    kl_coef=0.3,
    value_coef=1.0,
    value_clip_range=0.0,
    no_eos_reward=-0.5,
    whiten_advantages=False,
    lam=1.0,
    adam_eps=1e-8,
)


class FixedPrompt:
    """The template's one method that rollouts need."""

    def prompt_ids(self, _: Conversation) -> tuple[int, ...]:
        return PROMPT


ENDS = {"vocab_size": VOCAB, "pad_token_id": 0, "eos_token_id": END, "bos_token_id": 1, "num_labels": 1}
LLAMA = transformers.LlamaConfig(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    initializer_range=0.15,
    tie_word_embeddings=False,
    **ENDS,
)
T5 = transformers.T5Config(
    d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2, decoder_start_token_id=0, dropout_rate=0.0, **ENDS
)


def model(scalar: bool, seed: int, config: Any = LLAMA) -> Any:
    torch.manual_seed(seed)
    family = family_of(config)
    kind = family.scalar_class(config) if scalar else family.causal_class(config)
    return use_packed_rows(kind._from_config(copy.deepcopy(config), dtype=torch.float32))


def all_answers() -> list[tuple[int, ...]]:
    """Every answer that sampling can give: the end at once, or any token and then any token."""
    return [(END,), *((a, b) for a, b in product(range(VOCAB), repeat=2) if a != END)]


@torch.no_grad()
def exact(policy: Any, answers: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """[answers] log-probabilities of whole answers."""
    row = build_row([Tree(PROMPT, tuple(answers))])
    logprobs, _ = response_logprobs(policy, row)
    return torch.zeros(len(answers)).index_add_(0, row.target_branch, logprobs).double()


RLOO = replaced(CONFIG, advantage="rloo")
GRPO = replaced(CONFIG, advantage="grpo", kl_in="loss")


@dataclasses.dataclass(frozen=True)
class Found:
    """Values are of E[r] - beta * KL, distances KL(policy || optimum) in nats."""

    best: float
    before: float
    after: float
    distance_before: float
    distance_after: float

    @property
    def closed(self) -> float:
        """Share of the gap between the start and the optimum."""
        return (self.after - self.before) / (self.best - self.before)


def optimise(config: PpoConfig, seed: int, kind: Any = LLAMA) -> Found:
    policy, reference = model(False, seed, kind), model(False, seed, kind)
    reward, critic = model(True, seed + 50, kind), None
    init_score_head(reward, seed)
    if config.advantage.method == "gae":
        critic = model(True, seed + 90, kind)
        init_score_head(critic, seed + 1)
    with torch.no_grad():
        reward.score.weight.mul_(2.0)
    actors = Actors(policy, reference, reward, critic, None, FixedPrompt())  # type: ignore[arg-type]
    answers = all_answers()
    start = exact(policy, answers)
    assert float(start.exp().sum()) == pytest.approx(1, abs=1e-5), "the list is complete"
    with torch.no_grad():
        raw = branch_scores(reward, build_row([Tree(PROMPT, tuple(answers))]))
    ended = torch.tensor([a[-1] == END for a in answers])
    r = apply_eos_trick(raw, ended, config.score.no_eos_reward).double()
    beta = config.kl.coef
    best = float(beta * (start + r / beta).logsumexp(0))
    optimum = (start + r / beta).log_softmax(0)

    def objective() -> tuple[float, float]:
        now = exact(policy, answers)
        p = now.exp()
        return float((p * (r - beta * (now - start))).sum()), float((p * (now - optimum)).sum())

    before, distance_before = objective()
    state = State.begin(actors, config)
    in_loss = beta if config.kl.paid_in == "loss" else 0.0
    generator = torch.Generator().manual_seed(seed)
    prompt = Conversation("p", (Message("user", "x"),))
    iterations = 80
    for i in range(iterations):
        probabilities = exact(policy, answers).exp()
        drawn = torch.multinomial(probabilities, config.rollouts.answers_per_prompt, True, generator=generator).tolist()
        completions = [
            Completion("", answers[j], (0.0,) * len(answers[j]), "stop" if ended[j] else "length", str(i))
            for j in drawn
        ]
        minibatch = pack(actors.template, [prompt], [completions], 4096, torch.device("cpu"))
        experience, _ = experience_of([minibatch], [score(actors, minibatch, config)], config, beta)
        state.now = Iteration({})
        for _ in range(config.epochs):
            update(actors, state, minibatch, experience, Terms(config, 1 - i / iterations, i >= 5, in_loss))
    after, distance_after = objective()
    return Found(best, before, after, distance_before, distance_after)


@pytest.mark.parametrize(
    ("config", "seed", "kind"),
    [
        pytest.param(CONFIG, 0, LLAMA, id="ppo-0"),
        pytest.param(CONFIG, 1, LLAMA, id="ppo-1", marks=pytest.mark.slow),
        pytest.param(CONFIG, 2, LLAMA, id="ppo-2", marks=pytest.mark.slow),
        pytest.param(RLOO, 0, LLAMA, id="rloo"),
        pytest.param(GRPO, 0, LLAMA, id="grpo"),
        pytest.param(CONFIG, 3, T5, id="encoder-decoder", marks=pytest.mark.slow),
    ],
)
def test_the_loop_reaches_the_closed_form_optimum(config: PpoConfig, seed: int, kind: Any) -> None:
    """GRPO divides rewards by their deviation, so its optimum is that of a KL price divided by it: a direction."""
    found = optimise(config, seed, kind)
    assert found.best - found.before > 0.15, "a task with something to gain"
    assert found.after <= found.best + 1e-6, "nothing beats the optimum"
    exactly = config is not GRPO
    assert found.closed > (0.9 if exactly else 0.6), f"only {found.closed:.2f} of the gap closed"
    assert found.distance_after < (0.1 if exactly else 0.5) * found.distance_before + 0.05


@pytest.mark.parametrize(
    "kind",
    [pytest.param(LLAMA, id="decoder"), pytest.param(T5, id="encoder-decoder", marks=pytest.mark.slow)],
)
def test_dpo_reaches_the_closed_form_optimum(kind: Any) -> None:
    """Preferences drawn from Bradley and Terry's model of r lead to ref * exp(r / beta), without r being seen."""
    beta, generator = 0.5, torch.Generator().manual_seed(0)
    policy = model(False, 0, kind)
    answers = all_answers()
    start = exact(policy, answers)
    r = torch.randn(len(answers), generator=generator).double()
    optimum = (start + r / beta).log_softmax(0)
    before = float((optimum.exp() * (optimum - start)).sum())
    updater = Updater(policy, lr=3e-3, weight_decay=0.0, grad_clip=1.0)
    trees, reference = [Tree(PROMPT, tuple(answers))], start.float()
    steps = 250
    for step in range(steps):
        i, j = torch.randint(len(answers), (2, 256), generator=generator)
        first = torch.rand(256, generator=generator) < torch.sigmoid(r[i] - r[j])
        pairs = [(a, b) if f else (b, a) for a, b, f in zip(i.tolist(), j.tolist(), first.tolist(), strict=True)]
        dpo_loss(answer_logprobs(policy, trees, [0], False)[0] - reference, pairs, beta).backward()
        updater.gather()
        updater.step(1 - step / steps)
    after = float((optimum.exp() * (optimum - exact(policy, answers))).sum())
    assert after < 0.1 * before, f"KL(optimum || policy) {before:.3f} -> {after:.3f} nats"


def main() -> None:
    """`python tests/test_ppo_optimum.py [SEEDS]`: how near the optimum the loop comes, over seeds (problem and run)."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    print("| method | seeds | start below optimum: least, mean, most | end: least, mean, most | KL to it: mean, most |")
    print("|---|---|---|---|---|", flush=True)
    for name, config in (("PPO", CONFIG), ("RLOO", RLOO), ("GRPO", GRPO)):
        found = [optimise(config, seed) for seed in range(seeds)]
        starts, ends = [f.best - f.before for f in found], [f.best - f.after for f in found]
        spread = (f"{min(x):.3f}, {sum(x) / seeds:.3f}, {max(x):.3f}" for x in (starts, ends))
        apart = [f.distance_after for f in found]
        cells = (name, str(seeds), *spread, f"{sum(apart) / seeds:.3f}, {max(apart):.3f} nats")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
