"""Answering a list of prompts into a file, so that it can be interrupted.

Prompts are answered in fixed groups, each from its own seed. Beside the file lie hashes of its content up to each
group's end; a run that goes on keeps the groups that agree with them and makes the rest again, so the file's content
depends on the inputs alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from steersman.artifact.files import atomic_write, naming
from steersman.engine.protocol import Engine, PromptTooLong
from steersman.progress import note, progress
from steersman.types import Candidates, Conversation, SamplingParams


def _finished(path: Path, sums: Path, group: int) -> tuple[bytes, list[str]]:
    """(content of `path` up to the end of the leading groups whose hashes agree, these hashes)."""
    if not (path.is_file() and sums.is_file()):
        return b"", []
    lines = io.BytesIO(path.read_bytes()).readlines()  # at \n alone
    marks = sums.read_text(encoding="utf-8").split("\n")[:-1]
    total = hashlib.sha256()
    for done, mark in enumerate(marks):
        total.update(b"".join(lines[done * group : (done + 1) * group]))
        if total.hexdigest() != mark:
            note(f"{path}: damaged after line {done * group}; what follows is answered again")
            marks = marks[:done]
            break
    return b"".join(lines[: len(marks) * group]), marks


def _so_far(engine: Engine, before: int) -> int:
    """Prompts answered, including those of the current group where the engine counts them."""
    count = getattr(engine, "answered", None)
    return before + (count() if count is not None else 0)


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

    Returns all candidates, and this call's speed in tokens per second (None where nothing was left to do).
    """
    sums = path.with_name(f".{path.name}.sha256")
    kept, marks = _finished(path, sums, group)
    done = [Candidates.from_json(json.loads(line), f"{path}:{i}") for i, line in enumerate(io.BytesIO(kept), 1)]
    if len(done) >= len(prompts):
        return done, None
    for file, content in ((path, kept), (sums, "".join(f"{mark}\n" for mark in marks).encode())):
        with atomic_write(file, "wb", words=True) as out:
            out.write(content)
    total = hashlib.sha256(kept)
    engine = load()
    for prompt in prompts[len(done) :]:
        length = engine.count_tokens(prompt)
        if length >= engine.max_context:
            raise PromptTooLong(f"prompt '{prompt.id}': {length} tokens; expected at most {engine.max_context - 1}")
    sampling = {"temperature": params.temperature, "top_p": params.top_p, "max_tokens": params.max_tokens}
    began, tokens = time.monotonic(), 0
    shown = progress(title, len(prompts), len(done), "prompt")
    with naming(path), open(path, "ab") as answers, open(sums, "a", encoding="utf-8") as hashes, shown as bar:
        for start in range(len(done), len(prompts), group):
            now = prompts[start : start + group]
            own = dataclasses.replace(params, seed=seed * 1_000_003 + start)
            bar.probe = partial(_so_far, engine, len(done))
            answered = engine.generate(now, own)
            bar.probe = None
            for prompt, completions in zip(now, answered, strict=True):
                record = Candidates(prompt, tuple(completions), {**sampling, "seed": own.seed})
                line = json.dumps(record.to_json(), ensure_ascii=False).encode() + b"\n"
                answers.write(line)
                total.update(line)
                done.append(record)
                tokens += sum(len(c.token_ids) for c in completions)
            answers.flush()
            hashes.write(f"{total.hexdigest()}\n")
            hashes.flush()
            bar.update(len(done), tok_s=round(tokens / (time.monotonic() - began)))
    return done, round(tokens / (time.monotonic() - began))
