"""Answering a list of prompts into a file, so that it can be interrupted.

Prompts are answered in fixed groups, each from its own seed; a run that goes on drops a half-written group and
makes it again, so the file's content depends on the inputs alone.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from steersman.engine.protocol import Engine, PromptTooLong
from steersman.progress import progress
from steersman.types import Candidates, Conversation, SamplingParams


def answer_prompts(
    load: Callable[[], Engine],
    prompts: Sequence[Conversation],
    path: Path,
    params: SamplingParams,
    *,
    group: int,
    seed: int,
    title: str,
) -> tuple[list[Candidates], int | None]:
    """One `Candidates` line per prompt in `path`, in order; the engine is loaded only if something is missing.

    Returns all of them, and this call's speed in tokens per second (None where nothing was left to do).
    """
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    if len(lines) < len(prompts):
        lines = lines[: len(lines) // group * group]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    done = [Candidates.from_json(json.loads(line), f"{path}:{i}") for i, line in enumerate(lines, 1)]
    if len(done) >= len(prompts):
        return done, None
    engine = load()
    for prompt in prompts[len(done) :]:
        length = engine.count_tokens(prompt)
        if length >= engine.max_context:
            raise PromptTooLong(f"prompt '{prompt.id}': {length} tokens; expected at most {engine.max_context - 1}")
    sampling = {"temperature": params.temperature, "top_p": params.top_p, "max_tokens": params.max_tokens}
    began, tokens = time.monotonic(), 0
    with (
        open(path, "a", encoding="utf-8", newline="\n") as file,
        progress(title, len(prompts), len(done), "prompt") as bar,
    ):
        for start in range(len(done), len(prompts), group):
            now = prompts[start : start + group]
            own = dataclasses.replace(params, seed=seed * 1_000_003 + start)
            for prompt, completions in zip(now, engine.generate(now, own), strict=True):
                record = Candidates(prompt, tuple(completions), {**sampling, "seed": own.seed})
                file.write(json.dumps(record.to_json(), ensure_ascii=False) + "\n")
                done.append(record)
                tokens += sum(len(c.token_ids) for c in completions)
            file.flush()
            bar.update(len(done), tok_s=round(tokens / (time.monotonic() - began)))
    return done, round(tokens / (time.monotonic() - began))
