"""Evaluation: the same held-out prompts to every model, judged, compared, written as a verdict and a report.

Answers of each model are kept (`answers/NAME.jsonl`), in fixed groups with their own seeds, so that an interrupted
run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from steersman.config import EvalConfig, ModelConfig
from steersman.engine.load import load_engine
from steersman.eval.judges import Judge
from steersman.eval.verdict import ModelAnswers
from steersman.models.decoder import branch_scores, response_logprobs
from steersman.models.load import load_causal, load_scalar, load_tokenizer, pick_device, use_packed_rows
from steersman.models.packing import Tree, build_row, fill_rows, to_device
from steersman.progress import progress
from steersman.text.template import Template
from steersman.types import Completion, Conversation, SamplingParams


def answer(
    name: str,
    model: Path,
    prompts: Sequence[Conversation],
    folder: Path,
    config: EvalConfig,
    model_config: ModelConfig,
    seed: int,
) -> list[Completion]:
    """One answer per prompt, continuing `folder`/NAME.jsonl where it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    lines = lines[: len(lines) // config.batch_prompts * config.batch_prompts] if len(lines) < len(prompts) else lines
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    done = [Completion.from_json(json.loads(line)["completion"]) for line in lines]
    if len(done) >= len(prompts):
        return done
    engine = load_engine(
        model,
        dtype=model_config.dtype,
        device=model_config.device,
        version=name,
        trust_remote_code=model_config.trust_remote_code,
    )
    with (
        open(path, "a", encoding="utf-8", newline="\n") as file,
        progress(f"eval {name}", len(prompts), len(done), "prompt") as bar,
    ):
        for start in range(len(done), len(prompts), config.batch_prompts):
            group = prompts[start : start + config.batch_prompts]
            params = SamplingParams(
                max_tokens=config.max_tokens, temperature=config.temperature, seed=seed * 1_000_003 + start
            )
            for prompt, completions in zip(group, engine.generate(group, params), strict=True):
                record = {"prompt": prompt.id, "completion": completions[0].to_json()}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                done.append(completions[0])
            file.flush()
            bar.update(len(done))
    return done


@torch.no_grad()
def _per_answer(
    compute: Callable[[Any], torch.Tensor],
    template: Template,
    prompts: Sequence[Conversation],
    answers: Sequence[Completion],
    device: torch.device,
) -> list[float]:
    """One number per answer from packed rows of prompt and answer."""
    trees = [
        Tree(template.prompt_ids(p), (a.token_ids or (template.end_of_turn,),))
        for p, a in zip(prompts, answers, strict=True)
    ]
    out = [0.0] * len(trees)
    for group in fill_rows([t.size for t in trees], 1024):
        row = to_device(build_row([trees[i] for i in group]), device)
        for i, value in zip(group, compute(row).tolist(), strict=True):
            out[i] = value
    return out


def rewards(
    model: Path, prompts: Sequence[Conversation], answers: Sequence[Sequence[Completion]], model_config: ModelConfig
) -> list[list[float]]:
    """The reward model's score of every answer, per model."""
    device = pick_device(model_config.device)
    scorer = use_packed_rows(load_scalar(model, model_config.dtype, model_config.trust_remote_code)).to(device)
    template = Template(load_tokenizer(model))
    return [_per_answer(lambda row: branch_scores(scorer, row), template, prompts, a, device) for a in answers]


def kl_to_reference(
    model: Path,
    reference: Path,
    prompts: Sequence[Conversation],
    answers: Sequence[Completion],
    model_config: ModelConfig,
    temperature: float,
) -> list[float]:
    """log p_model(answer) - log p_reference(answer) in nats, both at `temperature`, of answers that the model sampled."""
    device = pick_device(model_config.device)
    template = Template(load_tokenizer(model))

    def logprob_of(folder: Path) -> list[float]:
        loaded = use_packed_rows(load_causal(folder, model_config.dtype, model_config.trust_remote_code)).to(device)

        def compute(row: Any) -> torch.Tensor:
            logprobs, _ = response_logprobs(loaded, row, temperature)
            sums = torch.zeros(len(row.branch_ends), device=logprobs.device)
            return sums.index_add_(0, row.target_branch, logprobs)

        return _per_answer(compute, template, prompts, answers, device)

    ours, theirs = logprob_of(model), logprob_of(reference)
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def collect(
    *,
    models: Mapping[str, tuple[str, Path]],
    prompts: Sequence[Conversation],
    folder: Path,
    reward: Path | None,
    judge: Judge | None,
    config: EvalConfig,
    model_config: ModelConfig,
    seed: int,
) -> list[ModelAnswers]:
    """Answers of each model (name -> (label, folder)), with judge scores, rewards and KL to 'sft' where they can be had."""
    given = {
        name: answer(name, path, prompts, folder, config, model_config, seed) for name, (_, path) in models.items()
    }
    scored: list[list[float]] | list[None] = [None] * len(given)
    if reward is not None:
        scored = rewards(reward, prompts, list(given.values()), model_config)
    out = []
    for (name, completions), reward_scores in zip(given.items(), scored, strict=True):
        label, path = models[name]
        kl = None
        if "sft" in models and name not in ("base", "sft"):
            temperature = config.temperature or 1.0
            kl = kl_to_reference(path, models["sft"][1], prompts, completions, model_config, temperature)
        out.append(
            ModelAnswers(
                name=name,
                label=label,
                answers=[c.text for c in completions],
                tokens=[len(c.token_ids) for c in completions],
                finish=[c.finish_reason for c in completions],
                scores=[judge.score(p, c.text) for p, c in zip(prompts, completions, strict=True)] if judge else None,
                reward=reward_scores,
                kl=kl,
            )
        )
    return out
