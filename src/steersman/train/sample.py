"""Sampling: several answers per prompt, with log-probabilities and policy version, for people to rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.artifact.names import CANDIDATES
from steersman.artifact.stage_folder import StageFolder
from steersman.config import ModelConfig, SampleConfig, to_dict
from steersman.engine.answering import answer_prompts
from steersman.engine.load import load_engine
from steersman.families.outputs import context_of
from steersman.text.length import fit_prompts
from steersman.types import Conversation, SamplingParams
from steersman.weights.folders import load_template, read_config


def run(
    *,
    model: Path,
    version: str,
    prompts: Sequence[Conversation],
    output: Path,
    config: SampleConfig,
    model_config: ModelConfig,
    seed: int,
    inputs: Mapping[str, str],
) -> dict[str, Any]:
    """Write `output`/candidates.jsonl, one `Candidates` per line; returns the manifest's metrics. Resumes by itself."""
    if not prompts:
        raise ValueError("no prompts to answer")
    context = context_of(read_config(model, model_config.trust_remote_code))
    fitted = fit_prompts(load_template(model, model_config), prompts, context, config.long)
    prompts = fitted.records
    folder = StageFolder(output, "samples", {**to_dict(config), "seed": seed, **model_config.recorded}, inputs)
    params = SamplingParams(
        max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p, n=config.answers
    )
    _, speed = answer_prompts(
        lambda: load_engine(model, version=version, **model_config.loading),
        prompts,
        folder.path / CANDIDATES,
        params,
        group=config.batch_prompts,
        seed=seed,
        title="sample",
    )
    metrics = {
        "prompts": len(prompts),
        "answers": config.answers,
        "policy_version": version,
        "tokens_per_second": speed,
        **fitted.counts(),
        "cautions": fitted.cautions("sample"),
    }
    folder.finish(metrics)
    return metrics
