"""Over-optimisation: a proxy reward rises while the gold reward behind it falls (Gao et al. 2022).

    .venv/bin/python bench/overoptimisation.py WORKSPACE                    # best-of-N, gold = the shop's rule judge
    .venv/bin/python bench/overoptimisation.py WORKSPACE --gold out/gold --gold-prompts 800     # gold = a reward model
    .venv/bin/python bench/overoptimisation.py WORKSPACE --ppo out/policy   # and a PPO run's own curve

WORKSPACE has a finished round: its SFT model answers N times per prompt, its reward model (the proxy) picks among n of
them, and gold scores what was picked. KL of best-of-n is log n - (n-1)/n nats, no model needed. A PPO run shows the
same where it logged gold without optimising it:

    steersman ppo -s 'ppo.rules=[{rule = "judge", weight = 0}]' -s ppo.kl_coef=0 -s ppo.kl_ceiling=200

A gold reward model is learned from rankings that the proxy never saw: with --gold-prompts the SFT model answers so many
of the prompts for PPO, which nobody ranked, the rule judge ranks without errors, and the folder --gold is made. One
from elsewhere does too: `steersman reward --model WORKSPACE/rounds/001/sft --data MORE.jsonl --output out/gold`. The
picture has both rewards against d, the square root of the KL, in standard deviations of the SFT model's own answers.
Gao's curves are fitted to gold: d (alpha - beta d) for best-of-N, d (alpha - beta log d) for PPO.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness import machine, machine_line, say, table, write_json
from steersman.artifact.workspace import Workspace
from steersman.config import ModelConfig
from steersman.data.dataset import find, load_conversations
from steersman.engine.answering import answer_prompts
from steersman.engine.load import load_engine
from steersman.eval.figures import COOL, WARM, Panel, Series, curves
from steersman.eval.judges import Judge, judge_of, simulated_ranking
from steersman.eval.run import rewards
from steersman.train import reward
from steersman.train.log import read_metrics
from steersman.types import Candidates, Conversation, Ranking, SamplingParams

Curve = list[tuple[float, float]]


def best_of(proxy: np.ndarray, gold: np.ndarray, n: int) -> tuple[float, float]:
    """Expected (proxy, gold) of the answer that the proxy likes best among n drawn from each prompt's N, unbiased.

    proxy, gold [P, N]: the answer of rank i (from 1, worst first) is the best of n in C(i-1, n-1) of C(N, n) draws.
    """
    total = proxy.shape[1]
    chance = np.array([math.comb(i, n - 1) for i in range(total)]) / math.comb(total, n)
    order = np.argsort(proxy, axis=1, kind="stable")
    picked = [np.take_along_axis(x, order, axis=1) @ chance for x in (proxy, gold)]
    return float(picked[0].mean()), float(picked[1].mean())


def fit(curve: Curve, ppo: bool) -> tuple[float, float]:
    """(alpha, beta) of Gao's curve by least squares; `curve` is (d, reward above d = 0)."""
    d, reward = np.array([p for p in curve if p[0] > 0]).T
    design = np.stack([d, -d * (np.log(d) if ppo else d)], axis=1)
    alpha, beta = np.linalg.lstsq(design, reward, rcond=None)[0]
    return float(alpha), float(beta)


def peak(alpha: float, beta: float, ppo: bool) -> float:
    """d where Gao's curve is highest; infinite where it only rises."""
    if beta <= 0:
        return math.inf
    return math.exp(alpha / beta - 1) if ppo else max(0.0, alpha / (2 * beta))


def prompts_of(space: Workspace, *where: str) -> list[Conversation]:
    limit = space.config.data.max_line_mb
    return [c for path in find(space, "prompts", *where) for c in load_conversations(path, "prompts", limit)]


def score(records: Sequence[Candidates], model: Path, settings: ModelConfig) -> np.ndarray:
    """[P, N] a reward model's scores."""
    answers = [list(column) for column in zip(*(r.completions for r in records), strict=True)]
    return np.array(rewards(model, [r.prompt for r in records], answers, settings)[0]).T


def make_gold(space: Workspace, prompts: Sequence[Conversation], folder: Path) -> None:
    """A reward model from answers of the SFT model to `prompts`, ranked by the rule judge without errors."""
    judge, settings, seed = the_judge(space), space.config.sample, space.config.project.seed
    answered, _ = answer_prompts(
        lambda: load_engine(space.stage_dir("sft"), version="sft", **space.config.model.loading),
        prompts,
        folder.with_suffix(".answers.jsonl"),
        SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, n=settings.answers),
        group=settings.batch_prompts,
        seed=seed + 1,
        title="answers for gold",
    )
    rankings = []
    for i, record in enumerate(answered):
        texts = tuple(c.text for c in record.completions)
        ranks, _ = simulated_ranking(record.prompt, texts, judge, random.Random(i), 0.0, space.config.rank.tie_margin)
        rankings.append(Ranking(f"gold-{i}", record.prompt, texts, ranks, simulated=True))
    metrics = reward.run(
        base=space.stage_dir("sft"),
        rankings=rankings,
        demonstrations=[],
        output=folder,
        config=space.config.reward,
        model_config=space.config.model,
        seed=seed + 1,
        inputs={},
    )
    say(f"gold: held-out accuracy {metrics['accuracy']['value']:.3f} on {metrics['n_pairs']} pairs")


def the_judge(space: Workspace) -> Judge:
    judge = judge_of(space.config.project)
    if judge is None:
        raise SystemExit("this workspace has no rule judge; expected --gold FOLDER of a reward model")
    return judge


def ppo_curves(folder: Path, deviations: tuple[float, float]) -> tuple[Curve, Curve]:
    """(proxy, gold) of a PPO run without other rules against sqrt(KL), above the first round's, in `deviations`."""
    rows = [r for r in read_metrics(folder) if "score" in r]
    name = next((key for key in rows[0] if key.endswith("_judge")), None)
    if name is None:
        raise SystemExit(f"{folder}: no gold reward in its metrics; run PPO with a 'judge' rule of weight 0")
    d = [math.sqrt(max(0.0, r["kl"])) for r in rows]
    columns = (("score", deviations[0]), (name, deviations[1]))
    proxy, gold = ([(x, (r[key] - rows[0][key]) / by) for x, r in zip(d, rows, strict=True)] for key, by in columns)
    return proxy, gold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--gold", type=Path, help="a reward model's folder; default: the domain's rule judge")
    parser.add_argument(
        "--gold-prompts", type=int, default=0, help="make --gold from so many prompts if it is not there"
    )
    parser.add_argument("--ppo", type=Path, help="a policy's folder, the rule judge logged in it")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("overoptimisation"))
    options = parser.parse_args()
    if options.gold and options.ppo:
        parser.error("a PPO run logs the rule judge: expected --gold or --ppo, not both")
    space = Workspace.open(options.workspace)
    options.output.mkdir(parents=True, exist_ok=True)
    prompts = prompts_of(space, "test")[: options.prompts]
    sft, proxy_folder, settings = space.stage_dir("sft"), space.stage_dir("reward"), space.config.model
    records, _ = answer_prompts(
        lambda: load_engine(sft, version="sft", **settings.loading),
        prompts,
        options.output / "answers.jsonl",
        SamplingParams(max_tokens=space.config.ppo.rollouts.max_tokens, temperature=1.0, n=options.answers),
        group=4,
        seed=space.config.project.seed,
        title="answers",
    )
    proxy = score(records, proxy_folder, settings)
    if options.gold:
        if options.gold_prompts and not options.gold.is_dir():
            make_gold(space, prompts_of(space, "train", "ppo")[: options.gold_prompts], options.gold)
        gold, name = score(records, options.gold, settings), str(options.gold)
    else:
        judge = the_judge(space)
        name = judge.name
        gold = np.array([[judge.score(r.prompt, c.text).overall for c in r.completions] for r in records])
    deviations = (float(proxy.std()), float(gold.std()))
    picks = [2**i for i in range(int(math.log2(options.answers)) + 1)]
    found = [best_of(proxy, gold, n) for n in picks]
    d = [math.sqrt(math.log(n) - (n - 1) / n) for n in picks]
    lines: dict[str, tuple[Curve, Curve]] = {
        "best of N": tuple(  # type: ignore[dict-item]
            [(x, (row[i] - found[0][i]) / deviations[i]) for x, row in zip(d, found, strict=True)] for i in (0, 1)
        )
    }
    if options.ppo:
        lines["PPO"] = ppo_curves(options.ppo, deviations)
    result: dict[str, object] = {"machine": machine(), "gold": name, "deviations": deviations}
    panels = []
    for method, (by_proxy, by_gold) in lines.items():
        alpha, beta = fit(by_gold, method == "PPO")
        top = peak(alpha, beta, method == "PPO")
        shape = "log d" if method == "PPO" else "d"
        say(f"{method}: gold = d ({alpha:.3f} - {beta:.3f} {shape}), highest at d {top:.2f}")
        result[method] = {"proxy": by_proxy, "gold": by_gold, "alpha": alpha, "beta": beta, "peak": top}
        series = (
            Series("proxy", tuple(by_proxy), COOL, dots=method == "PPO"),
            Series("gold", tuple(by_gold), WARM, dots=method == "PPO"),
        )
        panels.append(Panel(method, "sqrt of KL (nats)", "reward, deviations of SFT", series))
    (options.output / "curve.svg").write_text(str(curves("overoptimisation", "proxy and gold reward", panels)))
    rows = [
        [str(n), f"{x * x:.2f}", f"{p:.3f}", f"{g:.3f}"]
        for n, x, (_, p), (_, g) in zip(picks, d, *lines["best of N"], strict=True)
    ]
    print(machine_line(machine()))
    print(table(("n", "KL (nats)", "proxy", f"gold ({name})"), rows))
    write_json(options.output / "curve.json", result)


if __name__ == "__main__":
    main()
