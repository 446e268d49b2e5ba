"""What one request may do to the others: nothing. Limits at the door, recovery, cancellation, memory."""

from __future__ import annotations

import gc
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

import tiny as t
from server_double import live
from steersman.engine.backends.local.cache import Cache
from steersman.engine.load import load_engine
from steersman.engine.protocol import PromptTooLong, Refused
from steersman.engine.sequence import Answer
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import Completion, SamplingParams

PROMPT = t.conversation("Where is my order?")
SHORT = SamplingParams(max_tokens=8, seed=1, ignore_end=True)


@pytest.fixture(params=["local-float32", "local-bfloat16", "reference-float32"])
def engine(request: pytest.FixtureRequest, tiny: Path) -> Any:
    backend, dtype = request.param.split("-")
    return load_engine(tiny, backend=backend, dtype=dtype)


@pytest.mark.usefixtures("with_and_without_kernels")
def test_what_the_engine_cannot_take_is_refused_at_the_door(engine: Any) -> None:
    expected = engine.generate([PROMPT], SHORT)
    for prompt, named in (([], "at least one token"), ([5, 350], "got 350"), ([-1], "got -1"), ([2**70], "token ids")):
        with pytest.raises(Refused, match=named):
            engine.generate([prompt], SHORT)
        with pytest.raises(Refused, match=named):
            engine.answers(prompt, SHORT)
    with pytest.raises(PromptTooLong):
        engine.generate([[5] * 512], SHORT)
    for options, named in (
        ({"logit_bias": {350: 1.0}}, "logit_bias: expected token ids"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias: expected token ids"),
        ({"logit_bias": {2**80: 1.0}}, "logit_bias: expected token ids"),
        ({"stop_token_ids": (10**9,)}, "stop_token_ids: expected token ids"),
        ({"adapter": "none"}, "adapter"),
    ):
        with pytest.raises(Refused, match=named):
            engine.stream(PROMPT, SamplingParams(max_tokens=4, **options))  # type: ignore[arg-type]
    for options in ({"top_k": 2**63}, {"temperature": 1e-300}, {"max_tokens": 2**70}, {"top_logprobs": 100}):
        params = SamplingParams(**{"max_tokens": 4, "seed": 2} | options)  # type: ignore[arg-type]
        assert isinstance(list(engine.stream(PROMPT, params))[-1], Completion)
    assert engine.generate([PROMPT], SHORT) == expected


def test_numbers_that_make_no_sense_are_named() -> None:
    for name, value in (
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("repetition_penalty", 1e-300),
        ("repetition_penalty", float("inf")),
        ("stop", tuple(str(i) for i in range(100))),
        ("stop", ("a" * 5000,)),
        ("logit_bias", {1: float("nan")}),
    ):
        with pytest.raises(ValueError, match=f"sampling.{name}: expected"):
            SamplingParams(**{name: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_after_a_step_that_failed_in_mid_work_the_next_request_is_answered(
    tiny: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = load_engine(tiny, dtype=dtype, reuse="off")
    expected = engine.generate([PROMPT] * 3, SHORT)
    zeros, count = Cache._zeros, iter(range(10**6))

    def failing(self: Any, *asked: Any) -> Any:
        if next(count) == 3:  # some layers have their new cache, others not
            raise MemoryError("of this machine")
        return zeros(self, *asked)

    with monkeypatch.context() as patch:
        patch.setattr(Cache, "_zeros", failing)
        with pytest.raises(MemoryError):
            engine.generate([t.conversation("order " * 60)] * 9, SHORT)
    assert engine.generate([PROMPT] * 3, SHORT) == expected


def test_logits_that_are_no_numbers_end_their_answer(tiny: Path) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    answer = Answer((1,), SHORT, 8, __import__("random").Random(), engine._prompts.growing())
    with pytest.raises(FloatingPointError, match="not numbers"):
        answer.take(3, float("nan"), ())
    engine.decoder.weights.final_norm.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        engine.generate([PROMPT], SHORT)
    assert not engine.scheduler.busy


def test_an_adapter_that_is_taken_away_meanwhile_ends_its_requests_alone(tiny: Path) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    engine.scheduler.adapters["a"] = None  # never reached
    stream = engine.stream(PROMPT, SamplingParams(max_tokens=4, adapter="a"))
    engine.unload_adapter("a")
    with pytest.raises(Refused, match="unloaded meanwhile"):
        next(stream)
    assert engine.generate([PROMPT], SHORT)[0][0].token_ids


@pytest.mark.usefixtures("with_and_without_kernels")
def test_several_answers_end_soon_once_cancelled(engine: Any) -> None:
    cancelled = threading.Event()
    params = SamplingParams(max_tokens=400, n=3, seed=1, ignore_end=True)
    answers, done = engine.answers(PROMPT, params, cancelled), {}
    next(answers)
    cancelled.set()
    done = {number: item for number, item in answers if isinstance(item, Completion)}
    assert sorted(done) == [0, 1, 2]
    assert {item.finish_reason for item in done.values()} == {"cancelled"}
    assert all(len(item.token_ids) < 400 for item in done.values())


@pytest.mark.usefixtures("with_and_without_kernels")
def test_nothing_is_left_of_hundreds_of_requests(tiny: Path) -> None:
    pytest.importorskip("llguidance")
    engine: Any = load_engine(tiny, dtype="bfloat16", max_slots=8)
    kinds = ({}, {"regex": "[a-z]{2,9}"}, {"n": 3, "stop": ("e",)}, {"json_schema": {"type": "object"}})
    for i in range(300):
        answers = engine.answers(PROMPT, SamplingParams(max_tokens=6, seed=i, **kinds[i % 4]))  # type: ignore[arg-type]
        if i % 3:
            list(answers)
        else:
            next(answers)
            answers.close()
    del answers
    engine._driver.cancel(())
    gc.collect()
    left = [type(x).__name__ for x in gc.get_objects() if type(x).__name__ in ("Answer", "Request", "Grammar")]
    assert len(left) < 10, left
    assert not engine.scheduler.busy
    assert not engine._driver._waiters


def test_abandoned_calls_for_several_answers_lock_nobody_out(tiny: Path, tmp_path: Path) -> None:
    """32 that leave: the next question is answered at once."""
    engine: Any = load_engine(tiny, dtype="float32")
    body = {"model": engine.model_name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 450, "n": 16}
    end = engine.template.end_of_turn
    with Store.open(tmp_path / "store.db") as store, live(create_app(engine, store, name="S", language="en")) as url:
        where = f"{url}/v1/chat/completions"
        left = 0
        for _ in range(32):
            try:  # one of the later ones may be refused at once, before the place of an earlier one is free
                httpx.post(where, json=body | {"logit_bias": {str(end): -100}}, timeout=httpx.Timeout(60, read=0.05))
            except httpx.ReadTimeout:
                left += 1
        assert left >= 16
        deadline = time.monotonic() + 60
        while (reply := httpx.post(where, json=body | {"n": 1, "max_tokens": 3}, timeout=30)).status_code == 429:
            assert time.monotonic() < deadline
        assert reply.status_code == 200
        with engine._driver.between_steps():
            assert len(engine.scheduler.active) == 0


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused_is_a_400_before_any_stream(tiny: Path, tmp_path: Path, stream: bool) -> None:
    pytest.importorskip("llguidance")
    engine: Any = load_engine(tiny)
    body = {"model": engine.model_name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    schema = {"type": "array", "uniqueItems": True}
    unsupported = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with Store.open(tmp_path / "store.db") as store, live(create_app(engine, store, name="S", language="en")) as url:
        for extra, param in (
            ({"response_format": unsupported}, "response_format"),
            ({"regex": "(a"}, "regex"),
            ({"logit_bias": {"350": 1}}, "logit_bias"),
            ({"adapter": "none"}, "adapter"),
        ):
            reply = httpx.post(f"{url}/v1/chat/completions", json=body | extra | {"stream": stream}, timeout=30)
            assert reply.status_code == 400, reply.text
            assert json.loads(reply.text)["error"]["param"] == param
        texts = []
        for streamed in (stream, not stream):
            asked = body | {"n": 3, "seed": 7, "stream": streamed, "max_tokens": 12, "presence_penalty": 1.0}
            reply = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=30)
            said = [""] * 3
            lines = reply.text.split("\n") if streamed else [f"data: {reply.text}"]
            for line in lines:
                if line.startswith("data: {"):
                    for choice in json.loads(line[6:])["choices"]:
                        said[choice["index"]] += (
                            choice.get("delta", choice.get("message"))["content"] or ""
                            if ("content" in choice.get("delta", choice.get("message")))
                            else ""
                        )
            texts.append(said)
        assert texts[0] == texts[1]
        assert len(set(texts[0])) > 1
