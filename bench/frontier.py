"""Reward against KL: our PPO and TRL 0.23.1's PPOTrainer on the same reward model, prompts and number of episodes.

    make demo ARGS=--headless
    .venv/bin/python bench/frontier.py demo --trl-ppo-python /venv-ppo/bin/python

WORKSPACE has a finished round: its SFT model is everybody's start and reference, its reward model everybody's reward
(an answer without an end gets `ppo.no_eos_reward` on both sides), its prompts for PPO are learned from. Every side
trains as many layers, samples answers of the same length at the same temperature, and runs at every learning rate and
price of KL of the same grid. One function measures all: answers sampled by our engine to held-out prompts, the reward
model's mean score, and the mean over answers of the sum of log p_policy - log p_sft. A side's frontier is the most
reward that a mixture of its policies, the SFT model among them, has at no more than so much KL: the upper concave hull
of its points (KL is convex, so a mixture costs at most the line between two of them).

Sides: the workspace's own [ppo] settings; TRL's defaults; our loop with TRL's defaults. With several `--seeds` each
side has a frontier a seed; their differences are averaged, and the interval draws seeds as well as prompts. Results are
kept point by point in points.json of --output; the same command goes on where it was, and --report shows what is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness import machine, machine_line, say, table, write_json
from steersman.artifact.workspace import Workspace
from steersman.config import PpoConfig, replaced
from steersman.data.dataset import find, load_conversations
from steersman.engine.load import load_engine
from steersman.eval.figures import COOL, SPARE, WARM
from steersman.families.outputs import branch_scores, response_logprobs, share_trunk
from steersman.rl.rewards import apply_eos_trick
from steersman.text.template import Template
from steersman.train import ppo
from steersman.train.minibatches import pack
from steersman.types import Conversation, SamplingParams
from steersman.weights.folders import load_causal, load_scalar, load_tokenizer, use_packed_rows
from train import call
from train_data import Spec

OURS, THEIR_WAY, TRL = "steersman", "steersman, TRL's settings", "TRL 0.23.1"
TRL_DEFAULTS: dict[str, Any] = {
    "answers_per_prompt": 1,
    "epochs": 4,
    "minibatches": 1,
    "warmup_iterations": 0,
    "critic_warmup_iterations": 0,
    "final_lr_fraction": 0.0,
    "adam_eps": 1e-8,
    "grad_clip": 1e9,
    "value_clip_range": 0.2,
    "value_coef": 0.1,
    "lam": 0.95,
    "group_baseline": False,
    "advantage": "gae",
    "step_kl": 0.0,
}
Point = dict[str, Any]


def in_process(function: Callable[..., Any], **given: Any) -> Any:
    """Called in a process of its own, which gives its memory back."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, **given).result()


def ours(options: argparse.Namespace, space: Workspace, side: str, price: float, lr: float) -> PpoConfig:
    base = space.config.ppo
    own = (
        TRL_DEFAULTS | {"critic_lr": lr}
        if side == THEIR_WAY
        else {"critic_lr": lr * base.optimizer.critic_lr / base.optimizer.lr}
    )
    config = replaced(
        base,
        lr=lr,
        kl_coef=price,
        kl_target=0.0,
        iterations=options.rounds,
        max_tokens=options.max_tokens,
        rules=[],
        normalise=False,
        kl_ceiling=1e9,
        eval_every=options.rounds,
        **own,
    )
    return replaced(config, prompts_per_iteration=options.episodes // config.rollouts.answers_per_prompt)


def train_ours(
    space: Workspace, prompts: Sequence[Conversation], config: PpoConfig, folder: Path, seed: int
) -> dict[str, Any]:
    metrics = in_process(
        ppo.run,
        material=ppo.Material(
            space.stage_dir("sft"), space.stage_dir("reward"), prompts, prompts[: config.selection.eval_prompts]
        ),
        output=folder,
        config=config,
        model_config=space.config.model,
        seed=seed,
        inputs={},
    )
    return {"kept_round": metrics["best"]["iteration"]}


def train_trl(
    space: Workspace, prompts: Sequence[Conversation], config: PpoConfig, folder: Path, seed: int, python: str
) -> dict[str, Any]:
    """`config` is of our loop at TRL's settings."""
    sft, data, path = space.stage_dir("sft"), folder.with_suffix(".data.json"), folder.with_suffix(".spec.json")
    tokenizer = load_tokenizer(sft)
    template = Template(tokenizer)
    taken = [prompts[i % len(prompts)] for i in range(config.iterations * config.rollouts.prompts_per_iteration)]
    rows = [{"input_ids": template.prompt_ids(p)} for p in taken]
    batch = config.rollouts.prompts_per_iteration
    data.write_text(
        json.dumps({"rows": rows, "batch": batch, "pad": tokenizer.pad_token_id, "eos": template.end_of_turn})
    )
    spec = Spec(
        task="ppo",
        model=str(sft),
        reward=str(space.stage_dir("reward")),
        warmup=0,
        steps=config.iterations,
        train_layers=config.adapters.train_layers,
        batch_tokens=0,
        batch_prompts=0,
        answers=1,
        episodes=batch,
        max_tokens=config.rollouts.max_tokens,
        epochs=config.epochs,
        minibatches=config.minibatches,
        lr=config.optimizer.lr,
        seed=seed,
        output=str(folder),
        no_eos_reward=config.score.no_eos_reward,
        # a batch of 16 at once, so that it fits into a laptop's memory
        peer={
            "kl_coef": config.kl.coef,
            "temperature": config.rollouts.temperature,
            "lr_scheduler_type": "linear",
            "adam_beta2": 0.999,
            "per_device_train_batch_size": min(16, batch),
            "gradient_accumulation_steps": batch // min(16, batch),
            "local_rollout_forward_batch_size": min(16, batch),
        },
    )
    path.write_text(json.dumps(dataclasses.asdict(spec)))
    result = call([python, str(Path(__file__).with_name("train_trl.py")), str(data), str(path)])
    for file in [*sft.glob("tokenizer*"), *sft.glob("chat_template*")]:
        shutil.copy(file, folder)
    return {"log": result["log"]}


@torch.no_grad()
def measure(
    policy: Path, space: Workspace, prompts: Sequence[Conversation], answers: int, max_tokens: int
) -> dict[str, list[float]]:
    """Per prompt, means over `answers` sampled ones: reward (EOS trick applied), nats of KL, tokens, share unended."""
    config, settings = space.config.ppo, space.config.model
    params = SamplingParams(max_tokens=max_tokens, temperature=config.rollouts.temperature, n=answers, seed=1)
    given = load_engine(policy, version="policy", **settings.loading).generate(prompts, params)
    folders = (policy, space.stage_dir("sft"), space.stage_dir("reward"))
    loaders = (load_causal, load_causal, load_scalar)
    models = [use_packed_rows(load(f, settings.dtype)) for f, load in zip(folders, loaders, strict=True)]
    own, reference, reward = models
    trunk = share_trunk(models, len(own.model.layers))
    template = Template(load_tokenizer(folders[1]))
    batch = pack(template, prompts, given, 2048, torch.device("cpu"), trunk)
    scores, kl = torch.zeros(len(batch.answers)), torch.zeros(len(batch.answers))
    for packed in batch.rows:
        row, mine = packed.row, packed.episodes
        scores[mine] = branch_scores(reward, row)
        ours, sft = (response_logprobs(m, row, config.rollouts.temperature, False)[0] for m in (own, reference))
        kl[mine] = torch.zeros(len(mine)).index_add_(0, row.target_branch, ours - sft)
    unended = torch.tensor([a.finish_reason != "stop" for a in batch.answers])
    found = {
        "reward": apply_eos_trick(scores, ~unended, config.score.no_eos_reward),
        "kl": kl,
        "tokens": torch.tensor([len(a.token_ids) for a in batch.answers]),
        "unended": unended,
    }
    return {name: x.double().view(-1, answers).mean(dim=1).tolist() for name, x in found.items()}


def means(points: Sequence[Point], name: str, chosen: np.ndarray) -> np.ndarray:
    """[..., points] means over prompts; `chosen` [..., P'] are numbers of prompts."""
    return np.stack([np.array(p[name])[chosen].mean(axis=-1) for p in points], axis=-1)


def bounds(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def frontier(kl: np.ndarray, reward: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Reward at the KLs `at` (rising) on the upper concave hull of the points, never falling with KL."""
    hull: list[tuple[float, float]] = []
    for x, y in sorted(zip(np.maximum(kl, 0.0).tolist(), reward.tolist(), strict=True)):
        if hull and x == hull[-1][0]:
            hull.pop()  # the lower of two at one place
        while len(hull) > 1:
            (a, b), (c, d) = hull[-2:]
            if (d - b) * (x - a) > (y - b) * (c - a):
                break
            hull.pop()
        hull.append((x, y))
    return np.maximum.accumulate(np.interp(at, *zip(*hull, strict=True)))


def difference(pairs: Sequence[tuple[list[Point], list[Point]]], draws: np.ndarray) -> dict[str, Any]:
    """Mean, over seeds and the KLs that both sides reach with each, of the first frontier minus the second.

    `pairs`: both sides' points by seed, each list begins with the SFT model, at KL 0. `draws` [B, P]: prompts; row 0 is
    the sample itself, the others are taken with as many seeds, drawn with replacement.
    """
    kl = [[means(points, "kl", draws) for points in pair] for pair in pairs]
    reward = [[means(points, "reward", draws) for points in pair] for pair in pairs]
    grid = np.linspace(0, min(float(k[0].max()) for both in kl for k in both), 101)
    gaps = np.array(
        [
            [
                frontier(k[0][b], r[0][b], grid) - frontier(k[1][b], r[1][b], grid)
                for k, r in zip(kl, reward, strict=True)
            ]
            for b in range(len(draws))
        ]
    )  # [B, seeds, grid]
    chosen = np.random.default_rng(1).integers(len(pairs), size=(len(draws), len(pairs)))
    chosen[0] = np.arange(len(pairs))
    whole = np.take_along_axis(gaps, chosen[:, :, None], axis=1).mean(axis=1)
    at = {f"{grid[i]:.2f}": (float(whole[0, i]), *bounds(whole[1:, i])) for i in (25, 50, 75, 100)}
    mean = (float(whole[0].mean()), *bounds(whole[1:].mean(axis=1)))
    return {"up_to": float(grid[-1]), "mean": mean, "at": at, "by_seed": gaps[0].mean(axis=1).tolist()}


def plot(path: Path, sides: dict[str, list[Point]], draws: np.ndarray) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    tints = {OURS: WARM, THEIR_WAY: SPARE[1], TRL: COOL}
    for side, points in sides.items():
        kl, reward = (means(points, name, draws) for name in ("kl", "reward"))
        errors = []
        for values in (kl, reward):
            low, high = np.percentile(values[1:], (2.5, 97.5), axis=0)
            errors.append(np.maximum([values[0] - low, high - values[0]], 0))
        grid = np.linspace(0, kl[0].max(), 200)
        axes.plot(grid, frontier(kl[0], reward[0], grid), color=tints[side], linewidth=1.4, label=side)
        axes.errorbar(
            kl[0],
            reward[0],
            xerr=errors[0],
            yerr=errors[1],
            fmt="o",
            capsize=2,
            linewidth=0.8,
            markersize=4,
            color=tints[side],
        )
        for i, point in enumerate(points[1:], 1):
            text = f"{point['price']:g}, {point['lr']:g}, {point['seed']}"
            axes.annotate(
                text, (kl[0][i], reward[0][i]), (4, 5), textcoords="offset points", fontsize=7, color=tints[side]
            )
    axes.set(
        xlabel="KL to the SFT model, nats per answer",
        ylabel="reward, same reward model",
        title="points: price of KL, learning rate, seed",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--trl-ppo-python", default="", help="Python of an environment with trl 0.23.1; none: no TRL")
    parser.add_argument("--sides", nargs="+", default=[OURS, TRL, THEIR_WAY], choices=[OURS, TRL, THEIR_WAY])
    parser.add_argument("--prices", nargs="+", type=float, default=[0.05, 0.1, 0.3], help="KL coefficients")
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4, 3e-4], help="learning rates tried")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=32, help="answers per round")
    parser.add_argument("--max-tokens", type=int, default=56, help="most tokens per answer")
    parser.add_argument("--prompt-tokens", type=int, default=85, help="longer ones are not trained on")
    parser.add_argument("--prompts", type=int, default=128, help="held-out prompts")
    parser.add_argument("--answers", type=int, default=3, help="answers measured per held-out prompt")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--report", action="store_true", help="train nothing more, show what is measured")
    parser.add_argument("--output", type=Path, default=Path("frontier"))
    return parser.parse_args()


class Points:
    """What is measured so far, on disk after every point."""

    def __init__(self, options: argparse.Namespace, space: Workspace) -> None:
        self.options, self.space = options, space
        self.path = options.output / "points.json"
        names = ("rounds", "episodes", "max_tokens", "prompt_tokens", "prompts", "answers")
        settings = {name: getattr(options, name) for name in names} | {"workspace": str(options.workspace)}
        self.found: dict[str, Any] = {"machine": machine(), "settings": settings, "points": {}}
        if self.path.is_file():
            self.found = json.loads(self.path.read_text())
            if self.found["settings"] != settings:
                raise SystemExit(f"{self.path}: made with {self.found['settings']}; expected these or another --output")
        template = Template(load_tokenizer(space.stage_dir("sft")))
        prompts, held = (
            [c for path in find(space, "prompts", *where) for c in load_conversations(path, "prompts")]
            for where in (("train", "ppo"), ("validation",))
        )
        self.training = [c for c in prompts if len(template.prompt_ids(c)) <= options.prompt_tokens]
        self.held = held[: options.prompts]
        say(f"{len(self.training)} prompts to learn from, {len(self.held)} held out")

    def get(self, side: str, price: float | None, lr: float | None, seed: int = 0) -> Point:
        """The point, trained and measured if it is missing; without a price the SFT model itself."""
        key = "sft" if price is None or lr is None else f"{side}, price {price:g}, rate {lr:g}, seed {seed}"
        if key not in self.found["points"]:
            say(f"{key} ...")
            with tempfile.TemporaryDirectory(prefix="steersman-frontier-") as name:
                folder, more = Path(name) / "policy", {}
                if price is None or lr is None:
                    folder = self.space.stage_dir("sft")
                elif side == TRL:
                    config = ours(self.options, self.space, THEIR_WAY, price, lr)
                    more = train_trl(self.space, self.training, config, folder, seed, self.options.trl_ppo_python)
                else:
                    config = ours(self.options, self.space, side, price, lr)
                    more = train_ours(self.space, self.training, config, folder, seed)
                given = {"answers": self.options.answers, "max_tokens": self.options.max_tokens}
                measured = in_process(measure, policy=folder, space=self.space, prompts=self.held, **given)
            self.found["points"][key] = {"side": side, "price": price, "lr": lr, "seed": seed, **more, **measured}
            write_json(self.path, self.found)
        point: Point = self.found["points"][key]
        say(f"{key}: reward {np.mean(point['reward']):.3f} at {np.mean(point['kl']):.2f} nats")
        if point.get("kept_round") == 0:
            say("  the stage kept its start: the last policy was rewarded less")
        return point


def main() -> None:
    options = parse()
    space = Workspace.open(options.workspace)
    options.output.mkdir(parents=True, exist_ok=True)
    points = Points(options, space)
    sft = points.get("SFT", None, None)
    if not options.report:
        for seed, lr, price, side in product(options.seeds, options.rates, options.prices, options.sides):
            if side != TRL or options.trl_ppo_python:
                points.get(side, price, lr, seed)
    measured = list(points.found["points"].values())
    found = {side: [sft, *(p for p in measured if p["side"] == side)] for side in options.sides}
    found = {side: its for side, its in found.items() if len(its) > 1}
    everything = np.arange(len(sft["kl"]))
    draws = np.random.default_rng(0).choice(everything, (options.resamples + 1, len(everything)))
    draws[0] = everything
    rows = []
    for p in measured:
        values = [means([p], name, draws)[:, 0] for name in ("kl", "reward")]
        shown = [f"{v[0]:.2f} [{low:.2f}, {high:.2f}]" for v in values for low, high in [bounds(v[1:])]]
        tokens, unended = (float(np.mean(p[name])) for name in ("tokens", "unended"))
        named = ["-" if x is None else f"{x:g}" for x in (p["price"], p["lr"], p["seed"] or None)]
        rows.append([p["side"], *named, *shown, f"{tokens:.1f}", f"{100 * unended:.0f} %"])
    head = ["side", "KL price", "rate", "seed", "KL, nats", "reward", "tokens per answer", "unended"]
    print(f"{machine_line(points.found['machine'])}\n\n{table(head, rows)}\n")
    compared = {}
    for side in found:
        if side == TRL or TRL not in found:
            continue
        seeds = [{p["seed"] for p in found[which][1:]} for which in (side, TRL)]
        by_seed = [
            ([sft, *(p for p in found[side] if p["seed"] == s)], [sft, *(p for p in found[TRL] if p["seed"] == s)])
            for s in sorted(seeds[0] & seeds[1])
        ]
        if not by_seed:
            continue
        compared[side] = gap = difference(by_seed, draws)
        mean, low, high = gap["mean"]
        verdict = "higher" if low > 0 else "lower" if high < 0 else "no evidence of a difference"
        each = "; ".join(f"{v:+.3f} [{a:+.3f}, {b:+.3f}] at {at}" for at, (v, a, b) in gap["at"].items())
        print(
            f"{side} minus TRL at equal KL, mean over 0 to {gap['up_to']:.1f} nats: {mean:+.3f} [{low:+.3f}, "
            f"{high:+.3f}]: {verdict}\n  {each}\n  by seed: {', '.join(f'{v:+.3f}' for v in gap['by_seed'])}"
        )
    plot(options.output / "frontier.png", found, draws)
    write_json(options.output / "frontier.json", compared)


if __name__ == "__main__":
    main()
