"""Sampling parameters of the local engine, against transformers' own processors and plain computations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import tiny as t
from steersman.engine.adjust import adjust
from steersman.engine.load import load_engine
from steersman.engine.sampling import sample
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal

PROMPT = t.conversation("Where is my order?")


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Any:
    return load_engine(tiny, dtype="float32")


def test_restrictions_equal_transformers_warpers() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 200) * 3
    settings = [(0.7, 5, 1.0, 0.0), (1.0, 0, 0.6, 0.0), (1.3, 0, 1.0, 0.1), (0.9, 20, 0.8, 0.05), (1.0, 1, 1.0, 0.0)]
    for temperature, top_k, top_p, min_p in settings:
        expected = TemperatureLogitsWarper(temperature)(None, logits.clone()) if temperature != 1 else logits.clone()
        # each restriction looks at the whole distribution, so that their order does not matter
        kept = [expected]
        if top_k:
            kept.append(TopKLogitsWarper(top_k)(None, expected))
        if top_p < 1:
            kept.append(TopPLogitsWarper(top_p)(None, expected))
        if min_p:
            kept.append(MinPLogitsWarper(min_p)(None, expected))
        expected = torch.stack(kept).amin(0)
        n = len(logits)
        _, _, (scores, _) = sample(
            logits,
            torch.full((n,), temperature),
            torch.full((n,), top_k),
            torch.full((n,), top_p),
            torch.rand(n),
            torch.full((n,), min_p),
        )
        torch.testing.assert_close(scores, expected)


def test_penalties_and_bias() -> None:
    torch.manual_seed(1)
    row = torch.randn(50)
    prompt, answer = (3, 4, 5), [4, 7, 7, 9]
    mine = row.clone()
    adjust(mine, SamplingParams(repetition_penalty=1.3), prompt, answer)
    seen = torch.tensor([[*prompt, *answer]])
    torch.testing.assert_close(mine, RepetitionPenaltyLogitsProcessor(1.3)(seen, row[None].clone())[0])
    mine = row.clone()
    params = SamplingParams(presence_penalty=0.5, frequency_penalty=-0.25, logit_bias={9: 2.0, 11: -100.0})
    adjust(mine, params, prompt, answer)
    expected = row.clone()
    for token in (4, 7, 9):
        expected[token] -= 0.5
    for token in answer:
        expected[token] += 0.25
    expected[9] += 2
    expected[11] -= 100
    torch.testing.assert_close(mine, expected)


def test_greedy_with_penalties_equals_transformers_generate(tiny: Path, engine: Any) -> None:
    model = load_causal(tiny, "float32")
    params = SamplingParams(max_tokens=30, temperature=0, repetition_penalty=1.4)
    (answer,) = engine.generate([PROMPT], params)[0]
    ids = engine.template.prompt_ids(PROMPT)
    theirs = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=30,
        do_sample=False,
        repetition_penalty=1.4,
        use_cache=True,
        eos_token_id=engine.template.end_of_turn,
        pad_token_id=0,
    )
    assert list(answer.token_ids) == theirs[0, len(ids) :].tolist()


def test_a_biased_token_is_said_and_a_banned_one_is_not(engine: Any) -> None:
    token = engine.template.content("order")[0]
    always = SamplingParams(max_tokens=5, seed=1, logit_bias={token: 100.0})
    assert set(engine.generate([PROMPT], always)[0][0].token_ids) == {token}
    with pytest.raises(ValueError, match=r"sampling.logit_bias: expected token ids from 0 to"):
        engine.generate([PROMPT], SamplingParams(logit_bias={10**6: 1.0}))


def test_one_requests_parameters_do_not_reach_its_neighbours(engine: Any) -> None:
    """Streams with different parameters share batches; each says what it says alone."""
    every = [
        SamplingParams(max_tokens=12, seed=1),
        SamplingParams(max_tokens=12, seed=2, repetition_penalty=1.5, top_k=9),
        SamplingParams(max_tokens=12, temperature=0, logit_bias={40: 3.0}),
        SamplingParams(max_tokens=12, seed=4, min_p=0.2, presence_penalty=1.0),
    ]
    alone = [list(engine.stream(PROMPT, p))[-1].token_ids for p in every]
    streams = [engine.stream(PROMPT, p) for p in every]
    together: dict[int, Completion] = {}
    while len(together) < len(streams):
        for i, stream in enumerate(streams):
            if i not in together and isinstance(item := next(stream), Completion):
                together[i] = item
    assert [together[i].token_ids for i in range(len(every))] == alone


def test_top_logprobs_are_the_distribution(tiny: Path, engine: Any) -> None:
    model = load_causal(tiny, "float32")
    params = SamplingParams(max_tokens=6, seed=3, temperature=0.8, top_logprobs=4)
    (answer,) = engine.generate([PROMPT], params)[0]
    start = engine.template.prompt_ids(PROMPT)
    logits = model(torch.tensor([start + answer.token_ids])).logits[0] / 0.8
    expected = logits.log_softmax(-1)[len(start) - 1 : -1].topk(4)
    assert len(answer.top_logprobs) == len(answer.token_ids)
    for mine, values, tokens in zip(answer.top_logprobs, expected.values, expected.indices, strict=True):
        assert [token for token, _ in mine] == tokens.tolist()
        torch.testing.assert_close(torch.tensor([p for _, p in mine]), values, atol=5e-5, rtol=1e-4)


def test_stop_tokens_end_the_answer_and_are_cut_from_its_text(engine: Any) -> None:
    free = engine.generate([PROMPT], SamplingParams(max_tokens=20, seed=3))[0][0]
    stop = free.token_ids[4]
    first = free.token_ids.index(stop)
    cut = engine.generate([PROMPT], SamplingParams(max_tokens=20, seed=3, stop_token_ids=(stop,)))[0][0]
    assert cut.finish_reason == "stop"
    assert cut.token_ids == free.token_ids[: first + 1]
    assert cut.text == engine.template.decode(free.token_ids[:first]).rstrip("\ufffd")


def test_ignore_end_goes_on(engine: Any) -> None:
    end = engine.template.end_of_turn
    params = SamplingParams(max_tokens=7, seed=1, logit_bias={end: 100.0})
    assert len(engine.generate([PROMPT], params)[0][0].token_ids) == 1
    on = SamplingParams(max_tokens=7, seed=1, logit_bias={end: 100.0}, ignore_end=True)
    assert engine.generate([PROMPT], on)[0][0].token_ids == (end,) * 7


def test_wrong_parameters_are_named() -> None:
    for name, value in (
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("presence_penalty", 3.0),
        ("frequency_penalty", -3.0),
        ("logit_bias", {1: 200.0}),
        ("top_logprobs", -1),
        ("stop", "text"),
    ):
        with pytest.raises(ValueError, match=f"sampling.{name}: expected"):
            SamplingParams(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="either 'regex' or 'json_schema'"):
        SamplingParams(regex="a", json_schema={})


SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "integer"}, "late": {"type": "boolean"}},
    "required": ["order", "late"],
    "additionalProperties": False,
}


def test_answers_follow_a_schema_and_an_expression(engine: Any) -> None:
    pytest.importorskip("llguidance")
    for seed in range(3):
        params = SamplingParams(max_tokens=200, seed=seed, temperature=2.0, regex=r"[A-C]{2}-[0-9]{4}")
        answer = engine.generate([PROMPT], params)[0][0]
        assert re.fullmatch(r"[A-C]{2}-[0-9]{4}", answer.text)
        assert answer.finish_reason == "stop"
    found = 0
    for seed in range(6):
        answer = engine.generate([PROMPT], SamplingParams(max_tokens=120, seed=seed, json_schema=SCHEMA))[0][0]
        if answer.finish_reason == "stop":
            found += 1
            value = json.loads(answer.text)
            assert sorted(value) == ["late", "order"]
            assert isinstance(value["order"], int)
    assert found
    with pytest.raises(ValueError, match=r"sampling\.regex"):
        engine.generate([PROMPT], SamplingParams(regex="(unclosed"))


def test_without_the_library_a_schema_is_refused_with_a_hint(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ValueError, match=r"pip install 'steersman\[grammar\]'"):
        engine.generate([PROMPT], SamplingParams(regex="a"))
