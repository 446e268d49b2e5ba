"""Every option on every backend and dtype: log-probabilities against transformers in float32 and plain formulas.

Batches lie on both sides of the kernels' limits: few sequences are multiplied in another way than many. What runs
depends on the machine; the answers must not.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny as t
from kernels_off import turn_kernels_off, use_kernels
from steersman.engine.load import load_engine
from steersman.engine.protocol import Refused
from steersman.kernels import building
from steersman.kernels.capabilities import capabilities, decide
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal
from test_engine_adapters import write_adapter

WORDS = ("Where is my order?", "我想退货，可以吗？", "Hi", "The blue kettle that arrived on 6 May has a scratch.")
PROMPTS = [t.conversation(f"{WORDS[i % 4]} {i}" if i > 3 else WORDS[i]) for i in range(32)]
BACKENDS: dict[str, dict[str, Any]] = {
    "local-float32": {"dtype": "float32"},
    "local-bfloat16": {"dtype": "bfloat16"},
    "local-int8": {"dtype": "int8"},
    "local-bfloat16-torch": {"dtype": "bfloat16"},
    "local-int8-torch": {"dtype": "int8"},
    "reference-float32": {"dtype": "float32", "backend": "reference"},
    "reference-bfloat16": {"dtype": "bfloat16", "backend": "reference"},
}
ENUM = {"enum": ["yes", "no"]}
OPTIONS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7},
    "greedy": {"temperature": 0},
    "top_k": {"top_k": 5},
    "top_k-huge": {"top_k": 2**70},
    "top_p": {"top_p": 0.6},
    "min_p": {"min_p": 0.1},
    "repetition_penalty": {"repetition_penalty": 1.3},
    "presence_penalty": {"presence_penalty": 1.5},
    "frequency_penalty": {"frequency_penalty": -0.8},
    "logit_bias": {"logit_bias": {40: 6.0, 41: -100.0}},
    "json_schema": {"json_schema": ENUM},
    "json_object": {"json_schema": {"type": "object"}},
    "regex": {"regex": "[0-9]{3}"},
    "stop": {"stop": ("e", "好")},
    "stop_token_ids": {"stop_token_ids": tuple(range(60, 120))},
    "top_logprobs": {"top_logprobs": 4},
    "n": {"n": 3},
    "ignore_end": {"ignore_end": True, "logit_bias": {2: 4.0}},
    "adapter": {"adapter": "a"},
    "all": {"temperature": 0.8, "top_p": 0.9, "top_k": 40, "presence_penalty": 0.5, "regex": "[a-z ]{4,8}", "n": 2},
}


def quantised(weight: torch.Tensor) -> torch.Tensor:
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round() * scale


def plain_model(folder: Path, dtype: str) -> Any:
    """transformers in float32, with the weights that `dtype` leaves of the folder's."""
    model = load_causal(folder, "float32")
    if dtype == "float32":
        return model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
        if dtype == "int8":
            model.lm_head.weight = torch.nn.Parameter(quantised(model.lm_head.weight))
            for name, module in model.model.named_modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.copy_(quantised(module.weight)), name
    return model


RARE = ("local-int8-torch", "reference-bfloat16")
"""Backends that compute as two others do; by make test-slow."""


@pytest.fixture(scope="module", params=[pytest.param(b, marks=pytest.mark.slow if b in RARE else ()) for b in BACKENDS])
def made(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param.endswith("-torch"):
            turn_kernels_off(patch)
        return request.param, serve(request.param, tiny, tmp_path_factory)


@pytest.fixture
def served(made: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """(engine, what computes the same plainly by adapter, how far they may be apart); "-torch": without kernels, which
    are off in these tests alone."""
    if made[0].endswith("-torch"):
        turn_kernels_off(monkeypatch)
    return made[1]


def serve(name: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    options = BACKENDS[name]
    engine: Any = load_engine(tiny, reuse="off", **{"backend": "local"} | options)
    folder = tmp_path_factory.mktemp("adapter")
    adapted = write_adapter(tiny, folder, 1).merge_and_unload()
    models = {None: plain_model(tiny, options["dtype"])}
    if hasattr(engine, "load_adapter"):
        engine.load_adapter("a", folder)
        models["a"] = adapted
    return engine, models, 1e-3 if options["dtype"] == "float32" else 0.25


def masks(engine: Any, params: SamplingParams, ids: Sequence[int], vocabulary: int) -> list[torch.Tensor | None]:
    """Per token which ones were possible: by a regular expression plainly, by a schema as llguidance says it."""
    if params.json_schema is not None:
        grammar, each = engine._grammars.of(params), []
        for token in ids:
            each.append(grammar.allowed(vocabulary, torch.device("cpu")))
            grammar.accept(token)
        return each
    if params.regex is None:
        return [None] * len(ids)
    letters, least, most = (rb"[0-9]", 3, 3) if "0-9" in params.regex else (rb"[a-z ]", 4, 8)
    pieces, before, each = [engine.token_bytes(i) for i in range(vocabulary)], b"", []
    for token in ids:
        begins = re.compile(letters + b"{1,%d}" % max(1, most - len(before)))
        allowed = torch.tensor([bool(begins.fullmatch(piece)) and len(before) < most for piece in pieces])
        allowed[2] = least <= len(before)
        each.append(allowed)
        before += pieces[token]
    return each


def rows_of(
    engine: Any, model: Any, prompt: tuple[int, ...], answer: Completion, params: SamplingParams
) -> list[torch.Tensor]:
    """Per token the scores [vocab] before top-k, top-p and min-p."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer.token_ids]])).logits[0, len(prompt) - 1 : -1].float()
    rows = []
    for step, (row, allowed) in enumerate(
        zip(logits, masks(engine, params, answer.token_ids, logits.shape[1]), strict=True)
    ):
        before = answer.token_ids[:step]
        for token in {*prompt, *before}:
            row[token] *= params.repetition_penalty if row[token] < 0 else 1 / params.repetition_penalty
        for token in before:
            row[token] -= params.frequency_penalty
        for token in set(before):
            row[token] -= params.presence_penalty
        for token, bias in params.logit_bias.items():
            row[token] += bias
        rows.append((row if allowed is None else row.masked_fill(~allowed, -torch.inf)) / (params.temperature or 1))
    return rows


def bounds(row: torch.Tensor, token: int, params: SamplingParams, slack: float) -> tuple[float, float]:
    """Between what the token's log-probability lies where those at the edge of what is kept may be in or out."""
    values = []
    for sign in (-1, 1):
        p = row.softmax(-1)
        order = p.argsort(descending=True)
        keep = p >= params.min_p * (1 + sign * slack) * p.max()
        if params.top_p < 1:
            before = p[order].cumsum(0) - p[order]
            keep[order] &= before < params.top_p + sign * slack * 0.2
        if params.top_k:
            keep[order[params.top_k :]] = False
        keep[token] = True
        values.append(float(row[token] - row[keep].logsumexp(-1)))
    return min(values), max(values)


def check(
    engine: Any, model: Any, prompt: tuple[int, ...], answer: Completion, params: SamplingParams, far: float
) -> None:
    rows = rows_of(engine, model, prompt, answer, params)
    for step, (row, token, logprob) in enumerate(zip(rows, answer.token_ids, answer.logprobs, strict=True)):
        low, high = bounds(row, token, params, far)
        assert low - far <= logprob <= high + far, (step, low, logprob, high)
        rank = int((row > row[token] + far / (params.temperature or 1)).sum())
        assert rank < (1 if params.temperature == 0 else params.top_k or len(row))
        if params.top_logprobs:
            values = row.log_softmax(-1).topk(params.top_logprobs).values
            mine = torch.tensor([p for _, p in answer.top_logprobs[step]])
            torch.testing.assert_close(mine, values, atol=far, rtol=0)


def check_text(engine: Any, answer: Completion, params: SamplingParams) -> None:
    text, ids = answer.text, answer.token_ids
    assert not text.endswith("\ufffd")
    if params.json_schema == ENUM and answer.finish_reason == "stop":
        assert json.loads(text) in ("yes", "no")
    if params.json_schema == {"type": "object"}:
        assert text.startswith("{")
    if params.regex == "[0-9]{3}":
        assert (re.fullmatch(params.regex, text) is not None) == (answer.finish_reason == "stop")
    if params.stop:
        assert not any(stop in text for stop in params.stop)
    if params.stop_token_ids:
        assert not set(ids[:-1]) & set(params.stop_token_ids)
        assert answer.finish_reason == "length" or ids[-1] in {2, *params.stop_token_ids}
    if params.ignore_end:
        assert len(ids) == params.max_tokens
    assert 41 not in ids or 41 not in params.logit_bias


@pytest.mark.parametrize("option", list(OPTIONS))
def test_options_against_plain_formulas(served: Any, option: str) -> None:
    engine, models, far = served
    sizes = (2,) if not hasattr(engine, "scheduler") else (1, 9) if engine.decoder.native is None else (1, 8, 9, 32)
    params = SamplingParams(max_tokens=7, seed=11, **OPTIONS[option])
    if params.json_schema is not None or params.regex is not None:
        pytest.importorskip("llguidance")
    if params.adapter not in models:
        with pytest.raises(Refused, match="adapter"):
            engine.generate(PROMPTS[:1], params)
        return
    for size in sizes:
        prompts = PROMPTS[:size]
        groups = engine.generate(prompts, params)
        assert [len(group) for group in groups] == [params.n] * size
        for group in groups:
            for answer in group:
                check_text(engine, answer, params)
        for place in {0, size - 1}:
            ids = engine._prompts.ids(prompts[place])
            check(engine, models[params.adapter], ids, groups[place][-1], params, far)
        if params.n > 1:
            assert len({answer.token_ids for answer in groups[0]}) > 1, "several answers are several samples"
        if size in (1, 2):
            assert engine.generate(prompts, params) == groups, "the same seed, the same answers"


def read_all(engine: Any, prompt: Any, params: SamplingParams) -> list[Completion]:
    """What `answers` gives, its pieces checked against the whole."""
    texts, done = [""] * params.n, {}
    for number, item in engine.answers(prompt, params):
        if isinstance(item, str):
            assert number not in done
            texts[number] += item
        else:
            done[number] = item
    answers = [done[number] for number in range(params.n)]
    assert [answer.text for answer in answers] == texts
    return answers


def test_several_answers_streamed_are_those_of_one_call(served: Any) -> None:
    engine, _, _ = served
    for options in ({}, {"top_p": 0.9, "stop": ("e",)}, {"presence_penalty": 0.5, "temperature": 1.4}):
        params = SamplingParams(max_tokens=12, seed=4, n=3, **options)  # type: ignore[arg-type]
        (together,) = engine.generate(PROMPTS[:1], params)
        for _ in range(2):  # what was asked before does not matter
            assert read_all(engine, PROMPTS[0], params) == together
        single = list(engine.stream(PROMPTS[0], params))[-1]
        if engine.__class__.__name__ == "ReferenceEngine" or engine.decoder.dtype == torch.float32:
            assert single.token_ids == together[0].token_ids, "the first of several is the one"


def together(engine: Any, every: Sequence[SamplingParams]) -> dict[int, Completion | Exception]:
    """Streams that share batches: what each ends with."""
    streams = {i: engine.stream(PROMPTS[i], params) for i, params in enumerate(every)}
    got: dict[int, Completion | Exception] = {}
    while len(got) < len(streams):
        for i, stream in streams.items():
            if i not in got:
                try:
                    item = next(stream)
                except Exception as error:
                    got[i] = error
                else:
                    if isinstance(item, Completion):
                        got[i] = item
    return got


MIXED = [
    SamplingParams(max_tokens=20, seed=i, ignore_end=True, **options)  # type: ignore[arg-type]
    for i, options in enumerate(
        ({}, {"top_p": 0.8}, {"repetition_penalty": 1.4}, {"temperature": 0}, {"logit_bias": {40: 2.0}}, {"top_k": 9})
    )
]


@pytest.mark.parametrize("name", [name for name in BACKENDS if name.startswith("local")])
@pytest.mark.parametrize("where", ["mask", "bias", "text", "token"])
def test_one_bad_request_among_good_ones_ends_alone(
    name: str, where: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one sequence in a step, the others say what they say beside a good one."""
    engine: Any = load_engine(tiny, independent=True, reuse="off", **BACKENDS[name])
    marked = SamplingParams(max_tokens=20, seed=77, ignore_end=True, logit_bias={7: 0.0}, stop=("§",))
    good = together(engine, [*MIXED, marked])
    assert all(isinstance(item, Completion) for item in good.values())
    fault = RuntimeError("of this one")

    def fail(self: Any, *_: Any) -> Any:
        raise fault

    request = engine._request

    def spoil(prompt: Any, call: Any, *rest: Any, **more: Any) -> Any:
        made = request(prompt, call, *rest, **more)
        if call.params.seed == 77:
            answer = made.answers[0]
            if where == "mask":
                answer.grammar = type("Broken", (), {"allowed": fail})()
            elif where == "bias":
                answer.params = dataclasses.replace(answer.params, logit_bias={10**9: 1.0})
            elif where == "text":
                answer.growing = type("Broken", (), {"grow": fail})()
            else:
                answer.grammar = type(
                    "Broken", (), {"allowed": lambda _, n, __: torch.ones(n).bool(), "accept": fail}
                )()
        return made

    monkeypatch.setattr(engine, "_request", spoil)
    bad = together(engine, [*MIXED, marked])
    assert isinstance(bad.pop(6), IndexError if where == "bias" else RuntimeError)
    if engine.decoder.native is not None:
        assert bad == {i: item for i, item in good.items() if i != 6}
    elif engine.decoder.dtype == torch.float32:  # its last digits depend on who shares the batch
        assert [bad[i].token_ids for i in range(6)] == [good[i].token_ids for i in range(6)]  # type: ignore[union-attr]
    assert all(isinstance(item, Completion) and len(item.token_ids) == 20 for item in bad.values())
    assert not engine.scheduler.busy
    with pytest.raises((RuntimeError, IndexError)):
        engine.generate(PROMPTS[:3], marked)
    deadline = time.monotonic() + 60  # the caller may be told before the step in which its answers failed is over
    while engine.scheduler.busy and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not engine.scheduler.busy, "the call's other answers are not gone on with"


@pytest.mark.skipif(capabilities().library is None, reason="no C compiler here")
@pytest.mark.parametrize("flag", ["-mno-avx512bf16", "-mno-amx-bf16"])
def test_the_kernels_other_paths(tiny: Path, flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors without bfloat16 products, and without matrix tiles."""
    monkeypatch.setattr(building, "FLAGS", [*building.FLAGS, flag])
    found = decide()
    assert not found.off
    use_kernels(monkeypatch, found)
    engine: Any = load_engine(tiny, reuse="off")
    assert engine.kernel == "native"
    model = plain_model(tiny, "bfloat16")
    for size in (1, 4, 9):
        for option in ("temperature", "repetition_penalty", "regex"):
            params = SamplingParams(max_tokens=7, seed=3, **OPTIONS[option])
            for prompt, (answer,) in zip(PROMPTS[:size], engine.generate(PROMPTS[:size], params), strict=True):
                check(engine, model, engine._prompts.ids(prompt), answer, params, 0.25)
