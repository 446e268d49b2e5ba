"""Evaluation: the same held-out prompts to every model, judged, compared, written as a verdict and a report.

    prompts -> one answer per model -> judge's scores, reward, KL to the SFT model -> verdict.json and report.html

What was measured is kept (`answers/NAME.jsonl`, `models.json`), so that a report can be drawn again without a model.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from steersman.artifact.files import atomic_write, write_json
from steersman.artifact.stage_folder import StageFolder
from steersman.compute.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.config import Config, ModelConfig, to_dict
from steersman.engine.answering import answer_prompts
from steersman.engine.load import load_engine
from steersman.eval.best_of import best_answers, best_of_kl
from steersman.eval.judges import Judge, judge_of_all
from steersman.eval.kept import MODELS, PROMPTS, VERDICT, About, compared, draw
from steersman.eval.maker import UNKNOWN, Evaluated
from steersman.eval.suites.task_scores import task_scores
from steersman.eval.tasks import tasks_of
from steersman.eval.verdict import BEST_OF, Caution, ModelAnswers, Verdict
from steersman.families.heads import reweigh, weighted, weights_of
from steersman.families.outputs import branch_heads, context_of, layer_count, response_logprobs, share_trunk
from steersman.progress import activity
from steersman.text.length import fit_prompts
from steersman.text.template import Template
from steersman.types import Completion, Conversation, SamplingParams
from steersman.weights.folders import load_causal, load_scalar, load_template, pick_device, read_config, use_packed_rows

ROW_TOKENS = 2048
T = TypeVar("T")


@torch.no_grad()
def _per_answer(
    compute: Callable[[Row], torch.Tensor],
    template: Template,
    prompts: Sequence[Conversation],
    answers: Sequence[Sequence[Completion]],
    device: torch.device,
) -> list[list[Any]]:
    """Run `compute` over packed rows that hold a prompt once for all models; one result (its first axis) per answer.

    `answers`: per model, one per prompt; the results are nested likewise.
    """
    trees = [
        Tree(template.prompt_ids(prompt), tuple(a.token_ids or (template.end_of_turn,) for a in given))
        for prompt, given in zip(prompts, zip(*answers, strict=True), strict=True)
    ]
    out: list[list[Any]] = [[None] * len(trees) for _ in answers]
    groups = fill_rows([t.size for t in trees], ROW_TOKENS)
    with activity("measuring the answers", len(groups), "row") as shown:
        for done, group in enumerate(groups, 1):
            row = to_device(build_row([trees[i] for i in group]), device)
            values = iter(compute(row).tolist())
            for i in group:
                for numbers in out:
                    numbers[i] = next(values)
            shown.update(done)
    return out


def alike(
    answers: Sequence[Sequence[Completion]], measured: Sequence[Sequence[T]], known: dict[tuple[Any, ...], T]
) -> list[list[T]]:
    """The same answer to the same prompt has one score: that of the first.

    Computed in another row, its last digits differ, and an answer would win or lose against itself.
    """

    def key(i: int, answer: Completion) -> tuple[Any, ...]:
        return i, answer.text, tuple(answer.token_ids), answer.finish_reason

    return [
        [known.setdefault(key(i, answer), score) for i, (answer, score) in enumerate(zip(given, scores, strict=True))]
        for given, scores in zip(answers, measured, strict=True)
    ]


def rewards(
    model: Path,
    prompts: Sequence[Conversation],
    answers: Sequence[Sequence[Completion]],
    model_config: ModelConfig,
    weights: Mapping[str, float] | None = None,
) -> tuple[list[list[float]], list[list[dict[str, float]]]]:
    """The reward model's score of every answer, one list per set of answers; and the scores by objective, if any.

    `weights`: other weights of the objectives than those that the reward model was trained with.
    """
    device = pick_device(model_config.device)
    scorer = use_packed_rows(load_scalar(model, model_config.dtype, model_config.trust_remote_code)).to(device)
    reweigh(scorer.config, weights or {}, "ppo.objectives")
    names = list(weights_of(scorer.config))

    def compute(row: Row) -> torch.Tensor:
        heads = branch_heads(scorer, row)
        return torch.cat([weighted(heads, scorer.config)[:, None], heads], dim=1)

    measured = alike(answers, _per_answer(compute, load_template(model, model_config), prompts, answers, device), {})
    scores = [[score for score, *_ in given] for given in measured]
    return scores, [[dict(zip(names, heads, strict=False)) for _, *heads in given] for given in measured]


def answer_kl(
    model: Path,
    reference: Path,
    prompts: Sequence[Conversation],
    answers: Sequence[Completion],
    model_config: ModelConfig,
    temperature: float,
) -> list[float]:
    """log p_model - log p_reference in nats of each of the model's answers, at `temperature`: estimates of its KL."""
    device = pick_device(model_config.device)
    options = (model_config.dtype, model_config.trust_remote_code)
    pair = [use_packed_rows(load_causal(folder, *options)).to(device) for folder in (model, reference)]
    trunk = share_trunk(pair, layer_count(pair[0]))

    def compute(row: Row) -> torch.Tensor:
        row = trunk(row) if trunk else row
        own, other = (response_logprobs(m, row, temperature, entropy=False)[0] for m in pair)
        return torch.zeros(len(row.branch_ends), device=device).index_add_(0, row.target_branch, own - other)

    return _per_answer(
        compute,
        load_template(model, model_config),
        prompts,
        [answers],
        device,
    )[0]


@dataclass
class _Answered:
    """The models' answers and their rewards, in the same order."""

    models: dict[str, Evaluated]
    answers: dict[str, list[Completion]]
    rewards: list[list[float] | None]
    objectives: list[list[dict[str, float]]]


def _answer(
    model: tuple[str, Path], prompts: Sequence[Conversation], path: Path, config: Config, best_of: int = 0
) -> list[list[Completion]]:
    """The answers of `model` (version, folder), written to `path`: one list, or `best_of` lists."""
    settings, (version, folder) = config.eval, model
    records, _ = answer_prompts(
        lambda: load_engine(folder, version=version, **config.model.loading),
        prompts,
        path,
        SamplingParams(max_tokens=settings.max_tokens, temperature=settings.temperature, n=best_of or 1),
        group=settings.batch_prompts,
        seed=config.project.seed + bool(best_of),  # not the same answers as the SFT model's own
        title=f"eval best of {best_of}" if best_of else f"eval {version}",
    )
    return [list(answers) for answers in zip(*(r.completions for r in records), strict=True)]


def _scored(
    answered: _Answered, several: list[list[Completion]], prompts: Sequence[Conversation], reward: Path, config: Config
) -> _Answered:
    """Add rewards; the best of `several` answers to each prompt becomes an additional model."""
    sets = [*answered.answers.values(), *several]
    measured, objectives = rewards(reward, prompts, sets, config.model, config.ppo.score.objectives)
    count = len(answered.answers)
    out = _Answered(dict(answered.models), dict(answered.answers), [*measured[:count]], objectives)
    if several:
        by_objective, _ = best_answers(objectives[count:], measured[count:])
        out.objectives = [*objectives[:count], by_objective]
        out.answers[BEST_OF], chosen = best_answers(several, measured[count:])
        out.rewards.append(chosen)
        out.models[BEST_OF] = Evaluated(f"Best of {config.eval.best_of}", out.models["sft"].folder)
    return out


def collect(
    *,
    models: Mapping[str, Evaluated],
    prompts: Sequence[Conversation],
    folder: Path,
    reward: Path | None,
    judge: Judge | None,
    config: Config,
) -> list[ModelAnswers]:
    """Each model's answers (and best-of-N) with scores, rewards and KL to 'sft', as far as available."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {
        name: _answer((name, model.folder), prompts, folder / f"{name}.jsonl", config)[0]
        for name, model in models.items()
    }
    answered, several = _Answered(dict(models), given, [None] * len(given), []), []
    if config.eval.best_of:
        assert reward is not None
        sft = ("sft", models["sft"].folder)
        several = _answer(sft, prompts, folder / f"{BEST_OF}.jsonl", config, config.eval.best_of)
    if reward is not None:
        answered = _scored(answered, several, prompts, reward, config)
    out = []
    for order, (name, answers) in enumerate(answered.answers.items()):
        model, kl = answered.models[name], None
        if name == BEST_OF:
            kl = [best_of_kl(config.eval.best_of)] * len(answers)
        elif "sft" in models and "sft" in model.maker.against:
            at = config.eval.temperature or 1.0
            kl = answer_kl(model.folder, models["sft"].folder, prompts, answers, config.model, at)
        objectives = answered.objectives
        out.append(
            ModelAnswers(
                name=name,
                label=model.label,
                answers=[a.text for a in answers],
                tokens=[len(a.token_ids) for a in answers],
                finish=[a.finish_reason for a in answers],
                scores=[judge.score(p, a.text) for p, a in zip(prompts, answers, strict=True)] if judge else None,
                reward=answered.rewards[order],
                objectives=objectives[order] if objectives and objectives[order][0] else None,
                kl=kl,
                kl_bound=name == BEST_OF,
                maker=model.maker,
            )
        )
    return out


def fit_all(
    prompts: Sequence[Conversation], models: Sequence[Path], config: Config
) -> tuple[list[Conversation], list[Caution]]:
    """The prompts that leave room for an answer in every model's context, by the rule `eval.long`, and a caution."""
    kept, counts = list(prompts), Counter[str]()
    for path in dict.fromkeys(models):
        context = context_of(read_config(path, config.model.trust_remote_code))
        fitted = fit_prompts(
            load_template(path, config.model),
            kept,
            context,
            config.eval.long,
        )
        kept = fitted.records
        counts.update(skipped=fitted.skipped, cut=fitted.cut)
    return kept, [Caution("long", dict(counts))] if any(counts.values()) else []


def run(
    *,
    models: Mapping[str, Evaluated],
    prompts: Sequence[Conversation],
    output: Path,
    reward: Path | None,
    config: Config,
    inputs: Mapping[str, str],
    about: About,
) -> Verdict:
    """Evaluate `models` (by name, weakest first) into the folder `output`. Resumes by itself.

    Raises ValueError where neither a judge nor a reward model can score.
    """
    if not prompts:
        raise ValueError("no test prompts to evaluate on")
    folders = [model.folder for model in models.values()]
    prompts, too_long = fit_all(prompts[: config.eval.prompts or None], folders, config)
    about = dataclasses.replace(about, cautions=(*about.cautions, *too_long))
    recorded = {**to_dict(config.eval), "seed": config.project.seed, **config.model.recorded}
    judge, tasks = _judge_of(prompts, config, reward, "sft" in models), tasks_of(config.eval.tasks, about.root)
    folder = StageFolder(output, "report", recorded, inputs)
    measured = collect(
        models=models, prompts=prompts, folder=folder.path / "answers", reward=reward, judge=judge, config=config
    )
    name = judge.name if judge else ""
    scored = task_scores(tasks, models, folder.path / "answers", config)
    with activity("comparing the models"):
        result = compared(measured, prompts, config, name, about, scored)
    write_json(folder.path / VERDICT, result.to_json(), words=True)
    kept = {
        "models": [{k: v for k, v in dataclasses.asdict(m).items() if k != "maker"} for m in measured],
        "facts": dict(about.facts),
        "curves": [{"stage": stage, "rows": rows} for stage, rows in about.curves.items()],
        "searches": list(about.searches),
        "reward_report": about.reward_report,
        "judge": name,
        "simulated_rankings": about.simulated_rankings,
        "cautions": [dataclasses.asdict(c) for c in about.cautions],
    }
    kept |= {"tasks": [dataclasses.asdict(of) for of in scored]} if scored else {}
    write_json(folder.path / MODELS, kept, words=True)
    with atomic_write(folder.path / PROMPTS) as file:
        file.writelines(json.dumps(p.to_json(), ensure_ascii=False) + "\n" for p in prompts)
    with activity("drawing the report"):
        draw(folder.path, config, lambda name: models[name].maker if name in models else UNKNOWN)
    long = {f"{how}_long": n for caution in too_long for how, n in caution.values.items() if n}
    folder.finish({"headline": result.headline.word if result.headline else "", "prompts": len(prompts), **long})
    return result


def _judge_of(prompts: Sequence[Conversation], config: Config, reward: Path | None, has_sft: bool) -> Judge | None:
    """The judge of these prompts. Raises ValueError where nothing can score, or best-of-N lacks a model."""
    judge = judge_of_all(prompts, config.project)
    if config.eval.best_of and (reward is None or not has_sft):
        raise ValueError("eval.best_of needs a model named sft and a reward model; make them, or set it to 0")
    if judge is None and reward is None:
        raise ValueError(
            "nobody can judge the answers: the test prompts are of no domain with rules "
            f"(project.domain = '{config.project.domain}') and there is no reward model; learn one from rankings "
            "(steersman reward), or name one with --reward"
        )
    return judge
