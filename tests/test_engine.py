"""The local engine against transformers and against the reference engine."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny as t
from steersman.engine.load import load_engine
from steersman.engine.protocol import PromptTooLong
from steersman.engine.sampling import sample
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal

PROMPTS = [
    t.conversation("Where is my order?"),
    t.conversation("我想退货，可以吗？", system="You help."),
    t.conversation("I would like to return the blue kettle, which arrived on 6 May with a scratch."),
    t.conversation("Hi"),
]
GREEDY = SamplingParams(max_tokens=20, temperature=0)


def naive_greedy(model: Any, prompt: tuple[int, ...], end: int, most: int) -> list[int]:
    """No cache, no batch: the whole sequence again for every token."""
    ids = list(prompt)
    for _ in range(most):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids[len(prompt) :]


def test_greedy_equals_transformers_for_each_family(family: Path) -> None:
    engine: Any = load_engine(family, dtype="float32", backend="local")
    model = load_causal(family, "float32")
    end = engine.template.end_of_turn
    answers = engine.generate(PROMPTS, GREEDY)
    for prompt, (completion,) in zip(PROMPTS, answers, strict=True):
        expected = naive_greedy(model, engine.template.prompt_ids(prompt), end, 20)
        assert list(completion.token_ids) == expected


def test_recorded_logprobs_equal_a_prefill(family: Path) -> None:
    """decode == prefill: what was recorded step by step is what one pass over the whole answer says."""
    engine: Any = load_engine(family, dtype="float32")
    model = load_causal(family, "float32")
    params = SamplingParams(max_tokens=16, temperature=0.8, seed=4, n=3)
    for prompt, completions in zip(PROMPTS, engine.generate(PROMPTS, params), strict=True):
        start = engine.template.prompt_ids(prompt)
        for completion in completions:
            logits = model(torch.tensor([start + completion.token_ids])).logits[0] / 0.8
            at = logits.log_softmax(-1)[len(start) - 1 : -1]
            expected = at.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=5e-5, rtol=1e-4)


def test_a_small_engine_gives_the_same_answers_as_a_large_one(tiny: Path) -> None:
    """Who shares the batch, and when a sequence is admitted, does not matter in float32."""
    params = SamplingParams(max_tokens=12, seed=9, n=2)
    wide = load_engine(tiny, dtype="float32", max_slots=64).generate(PROMPTS, params)
    narrow = load_engine(tiny, dtype="float32", max_slots=3).generate(PROMPTS, params)
    assert [[c.token_ids for c in cs] for cs in wide] == [[c.token_ids for c in cs] for cs in narrow]


def test_parts_come_while_others_are_being_answered(tiny: Path) -> None:
    """And hold what one call for all gives. The engine waits with its last steps for the first part to be taken."""
    params = SamplingParams(max_tokens=12, seed=9, n=2)
    whole = load_engine(tiny, dtype="float32", max_slots=2).generate(PROMPTS, params)
    engine: Any = load_engine(tiny, dtype="float32", max_slots=2)
    handed_out, step = threading.Event(), engine.scheduler.step
    steps = itertools.count(1)

    def patient_step() -> None:
        step()
        if next(steps) == 30:  # of some 50: the first part has its answers
            assert handed_out.wait(20), "the first part was kept back"

    engine.scheduler.step = patient_step
    answers = []
    for part in engine.generate_parts([PROMPTS[:1], PROMPTS[1:3], PROMPTS[3:]], params):
        handed_out.set()
        answers += part
    assert [[c.token_ids for c in cs] for cs in answers] == [[c.token_ids for c in cs] for cs in whole]
    assert next(steps) > 30


def test_what_is_answered_is_of_the_call_under_way(tiny: Path) -> None:
    """Counted beside what was answered before, the last call's answers would count twice."""
    engine = load_engine(tiny, dtype="float32")
    engine.generate([[5, 6, 7], [8, 9]], SamplingParams(max_tokens=3))
    assert engine.answered() == 0  # type: ignore[attr-defined]
    parts = engine.generate_parts([[[5, 6, 7]], [[8, 9]]], SamplingParams(max_tokens=3))  # type: ignore[attr-defined]
    next(parts)
    assert engine.answered() >= 1  # type: ignore[attr-defined]
    list(parts)
    assert engine.answered() == 0  # type: ignore[attr-defined]


def test_reference_engine_agrees(tiny: Path) -> None:
    params = SamplingParams(max_tokens=12, temperature=0.9, top_k=20, top_p=0.9, seed=2, n=2)
    local = load_engine(tiny, dtype="float32", backend="local").generate(PROMPTS, params)
    reference = load_engine(tiny, dtype="float32", backend="reference").generate(PROMPTS, params)
    assert [[c.token_ids for c in cs] for cs in local] == [[c.token_ids for c in cs] for cs in reference]


def test_stream_says_what_generate_says_and_cancels(tiny: Path) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    pieces = list(engine.stream(PROMPTS[0], GREEDY))
    final = pieces.pop()
    assert isinstance(final, Completion)
    assert final.text.startswith("".join(pieces)[:-1])
    assert final.token_ids == engine.generate(PROMPTS[:1], GREEDY)[0][0].token_ids
    stream = engine.stream(PROMPTS[0], SamplingParams(max_tokens=400, temperature=5.0, seed=1))
    next(stream)
    stream.close()
    assert not engine.scheduler.active, "a cancelled stream frees its slot at once"
    assert not engine.scheduler.waiting


def test_stop_strings_end_and_are_cut(tiny: Path) -> None:
    engine = load_engine(tiny, dtype="float32")
    whole = engine.generate(PROMPTS[:1], SamplingParams(max_tokens=20, seed=3))[0][0].text
    stop = whole[4:6]
    params = SamplingParams(max_tokens=20, seed=3, stop=(stop,))
    cut = engine.generate(PROMPTS[:1], params)[0][0]
    assert (cut.finish_reason, cut.stopped) == ("stop", stop)
    assert cut.text == whole[: whole.index(stop)].rstrip("\ufffd"), (
        "bytes at the end that are no character are left out"
    )
    streamed = [p for p in engine.stream(PROMPTS[0], params) if isinstance(p, str)]
    assert stop not in "".join(streamed)


def test_weights_are_replaced_in_place_and_stamped(tiny: Path, tmp_path: Path) -> None:
    other = t.make_model(tmp_path / "other", "llama", seed=1)
    engine = load_engine(tiny, dtype="float32", version="a")
    before = engine.generate(PROMPTS[:1], GREEDY)[0][0]
    engine.load_weights(load_causal(other, "float32").state_dict().items(), "b")
    after = engine.generate(PROMPTS[:1], GREEDY)[0][0]
    expected = load_engine(other, dtype="float32").generate(PROMPTS[:1], GREEDY)[0][0]
    assert (before.policy_version, after.policy_version) == ("a", "b")
    assert after.token_ids == expected.token_ids != before.token_ids
    with pytest.raises(ValueError, match="unknown weight"):
        engine.load_weights([("model.layers.0.nonsense.weight", torch.zeros(1))], "c")


def test_a_prompt_beyond_the_context_is_refused(tiny: Path) -> None:
    engine = load_engine(tiny, dtype="float32")
    with pytest.raises(PromptTooLong, match=r"'long'.*expected 1 to 511"):
        engine.generate([t.conversation("order " * 600, id="long")], GREEDY)
    nearly = engine.generate([t.conversation("a b " * 110)], SamplingParams(max_tokens=500, seed=1))
    assert len(nearly[0][0].token_ids) <= 500


def test_sampling_follows_the_distribution() -> None:
    """Frequencies of 20,000 draws against the probabilities, with and without top-k and top-p."""
    logits = torch.tensor([0.5, 2.0, -1.0, 1.0, 0.0])
    n = 20_000
    uniform = (torch.arange(n) + 0.5) / n
    for temperature, top_k, top_p in ((1.0, 0, 1.0), (0.5, 0, 1.0), (1.0, 2, 1.0), (1.0, 0, 0.7)):
        p = (logits / temperature).softmax(-1)
        order = p.argsort(descending=True)
        keep = order[: top_k or None]
        before = p[order].cumsum(0) - p[order]
        keep = keep[before[: len(keep)] < top_p]
        expected = torch.zeros(5)
        expected[keep] = p[keep] / p[keep].sum()
        rows = logits.repeat(n, 1)
        ids, logprobs, _ = sample(
            rows, torch.full((n,), temperature), torch.full((n,), top_k), torch.full((n,), top_p), uniform
        )
        got = torch.bincount(ids, minlength=5) / n
        torch.testing.assert_close(got, expected, atol=2e-3, rtol=0)
        torch.testing.assert_close(logprobs, expected[ids].log(), atol=1e-5, rtol=1e-5)
    ids, logprobs, _ = sample(logits[None], torch.zeros(1), torch.zeros(1).long(), torch.ones(1), torch.tensor([0.9]))
    assert int(ids) == 1
    assert abs(float(logprobs) - float(logits.log_softmax(-1)[1])) < 1e-6
