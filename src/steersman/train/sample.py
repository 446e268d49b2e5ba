"""Sampling: several answers per prompt, with log-probabilities and policy version, for people to rank.

Prompts are answered in fixed groups, each from its own seed, so an interrupted run goes on with the same answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.config import ModelConfig, SampleConfig, to_dict
from steersman.engine.load import load_engine
from steersman.progress import progress
from steersman.train.resume import StageFolder
from steersman.types import Candidates, Conversation, SamplingParams

FILE = "candidates.jsonl"


def whole_lines(path: Path) -> list[str]:
    """Complete lines of a JSON-lines file that may have been cut short by a kill."""
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []


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
    """Write `output`/candidates.jsonl (one `Candidates` per line); returns the manifest's metrics."""
    if not prompts:
        raise ValueError("no prompts to answer")
    folder = StageFolder(output, "samples", {**to_dict(config), "seed": seed, "dtype": model_config.dtype}, inputs)
    path = folder.path / FILE
    done = whole_lines(path)
    done = done[: len(done) // config.batch_prompts * config.batch_prompts]
    path.write_text("".join(f"{line}\n" for line in done), encoding="utf-8")
    engine = load_engine(
        model,
        dtype=model_config.dtype,
        device=model_config.device,
        version=version,
        max_slots=max(64, config.answers),
        trust_remote_code=model_config.trust_remote_code,
    )
    began, tokens = time.monotonic(), 0
    with (
        open(path, "a", encoding="utf-8", newline="\n") as file,
        progress("sample", len(prompts), len(done), "prompt") as bar,
    ):
        for start in range(len(done), len(prompts), config.batch_prompts):
            group = prompts[start : start + config.batch_prompts]
            params = SamplingParams(
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                n=config.answers,
                seed=seed * 1_000_003 + start,
            )
            for prompt, completions in zip(group, engine.generate(group, params), strict=True):
                sampling = {
                    "temperature": config.temperature,
                    "top_p": config.top_p,
                    "max_tokens": config.max_tokens,
                    "seed": params.seed,
                }
                record = Candidates(prompt, tuple(completions), sampling)
                file.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
                tokens += sum(len(c.token_ids) for c in completions)
            file.flush()
            bar.update(start + len(group), tok_s=round(tokens / (time.monotonic() - began)))
    metrics = {
        "prompts": len(prompts),
        "answers": config.answers,
        "policy_version": version,
        "tokens_per_second": round(tokens / max(1e-9, time.monotonic() - began)) if tokens else None,
    }
    folder.finish(metrics)
    return metrics
