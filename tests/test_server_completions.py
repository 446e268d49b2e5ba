"""`/v1/completions` with the official client and a real engine: continuation, echo and log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
import transformers

from server_double import FakeEngine, live
from steersman.engine.load import load_engine
from steersman.eval.suites.endpoint import Endpoint
from steersman.eval.suites.questions import Asking, Question, item_of
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import SamplingParams


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Any:
    return load_engine(tiny, dtype="float32", device="cpu", name="tiny")


@pytest.fixture(scope="module")
def url(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Store.open(tmp_path_factory.mktemp("store") / "store.db") as store:
        with live(create_app(engine, store, name="Shop", language="en")) as address:
            yield f"{address}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as opened:
        yield opened


def wanted(tiny: Path, ids: list[int]) -> list[float]:
    """transformers' own log-probabilities of all tokens but the first."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [float(logs[i - 1, token]) for i, token in enumerate(ids) if i]


def test_echo_gives_the_prompts_own_log_probabilities(client: openai.OpenAI, engine: Any, tiny: Path) -> None:
    text = "Where is my order? 您的包裹明天到。"
    ids = transformers.AutoTokenizer.from_pretrained(tiny)(text)["input_ids"]
    told = client.completions.create(
        model="tiny", prompt=[ids, ids[:5]], max_tokens=1, echo=True, logprobs=1, temperature=0
    )
    assert [choice.index for choice in told.choices] == [0, 1]
    first = told.choices[0]
    assert first.text.startswith(text)
    assert first.logprobs is not None
    logprobs, tops = first.logprobs.token_logprobs, first.logprobs.top_logprobs
    assert logprobs is not None
    assert tops is not None
    assert (
        len(logprobs)
        == len(tops)
        == len(first.logprobs.tokens or ())
        == len(first.logprobs.text_offset or ())
        == len(ids) + 1
    )
    assert logprobs[0] is None
    assert logprobs[1 : len(ids)] == pytest.approx(wanted(tiny, ids), abs=1e-4)
    (sampled,) = engine.generate([ids], SamplingParams(max_tokens=1, temperature=0))[0]
    assert logprobs[-1] == pytest.approx(sampled.logprobs[0], abs=1e-4)
    for value, top in zip(logprobs[1:], tops[1:], strict=True):
        assert top is not None
        assert max(top.values()) >= value, "whether a token is the likeliest can be told"
        assert value in top.values()
    offsets = first.logprobs.text_offset or []
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(text)
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (len(ids) + 5, 2)


def test_text_is_continued_and_can_be_asked_alone(client: openai.OpenAI, engine: Any) -> None:
    told = client.completions.create(model="tiny", prompt="Where is", max_tokens=5, temperature=0, n=2, best_of=2)
    assert told.object == "text_completion"
    assert told.id.startswith("cmpl-")
    ((one, _),) = engine.generate(["Where is"], SamplingParams(max_tokens=5, temperature=0, n=2))
    assert [choice.text for choice in told.choices] == [one.text] * 2
    assert told.choices[0].logprobs is None
    alone = client.completions.create(model="tiny", prompt="Where is", max_tokens=0, echo=True, logprobs=0)
    assert alone.choices[0].text == "Where is"
    assert alone.choices[0].logprobs is not None
    assert alone.choices[0].logprobs.top_logprobs == [None] * len(alone.choices[0].logprobs.tokens or ())
    assert alone.usage is not None
    assert alone.usage.completion_tokens == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"best_of": 3}, "does not support"),
        ({"best_of": 3, "n": 2}, "does not support"),
        ({"extra_body": {"suffix": "x"}}, "does not support"),
        ({"extra_body": {"stream_options": {"other": True}}}, "stream_options"),
        ({"extra_body": {"sufix": "x"}}, "not known here"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": ["a"] * 33}, "prompt: expected a length of at most 32"),  # was said of prompt[0] and integers
        ({"prompt": ["a", 1]}, r"prompt\[1\]: expected a string, got a number"),
        ({"prompt": [400]}, "token ids from 0 to"),
        ({"prompt": "order " * 700}, "maximum context|expected 1 to"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_what_is_refused(client: openai.OpenAI, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"model": "tiny", "prompt": "Hi", "max_tokens": 2, **changes}
    with pytest.raises(openai.BadRequestError, match=message):
        client.completions.create(**arguments)


def test_an_engine_without_scores_refuses_echo(tmp_path: Path) -> None:
    class Plain(FakeEngine):
        prompt_logprobs = None  # type: ignore[assignment]

    with Store.open(tmp_path / "store.db") as store:
        with live(create_app(Plain(), store, name="S", language="en")) as address:
            with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
                with pytest.raises(openai.BadRequestError, match="no log-probabilities of prompts"):
                    client.completions.create(model="tiny", prompt="Hi there", echo=True, logprobs=1)
                answer = client.completions.create(model="tiny", prompt="Hi there")
                assert answer.choices[0].text.startswith("Hello")


def test_bench_chooses_behind_an_endpoint_as_in_a_folder(url: str, tiny: Path) -> None:
    from steersman.config import ModelConfig
    from steersman.eval.suites.asking import Folder

    question = Question(
        "q", "Is the kettle blue? 蓝色吗？", choices=("yes it is", "no", "您好"), gold=1, lettered=False
    )
    item = item_of(question, Asking(style="text"))
    (behind,) = Endpoint("tiny", url, "tiny").choose([item])
    (here,) = Folder("tiny", tiny, ModelConfig(dtype="float32", device="cpu")).choose([item])
    assert behind == pytest.approx(here, abs=1e-4)
    with pytest.raises(ValueError, match="style=text"):
        Endpoint("tiny", url, "tiny").choose([item_of(question, Asking())])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_beside_running_answers(family: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunk by chunk in every family; a stream that runs meanwhile writes what it writes alone."""
    from steersman.engine.backends.local import prompt_scores

    monkeypatch.setattr(prompt_scores, "CHUNK", 16)
    monkeypatch.setattr(prompt_scores, "ROWS", 5)
    engine: Any = load_engine(family, dtype=dtype, device="cpu", backend="local")
    reference: Any = load_engine(family, dtype=dtype, device="cpu", backend="reference")
    text = "Where is my order? Your parcel was shipped on 3 May. 您的包裹预计明天送达，请耐心等待。"
    params = SamplingParams(max_tokens=24, temperature=0, ignore_end=True)
    alone = engine.generate([text], params)[0][0]
    stream = engine.answers(text, params)
    begun = next(stream)
    found, asked = engine.prompt_logprobs(text, 2), reference.prompt_logprobs(text, 2)
    assert found.token_ids == asked.token_ids
    assert len(found.logprobs) == len(found.token_ids) - 1 == len(found.top_logprobs)
    close = 1e-4 if dtype == "float32" else 0.35
    assert found.logprobs == pytest.approx(asked.logprobs, abs=close)
    assert [top[0][1] for top in found.top_logprobs] == pytest.approx(
        [top[0][1] for top in asked.top_logprobs], abs=close
    )
    assert all(a >= b - 1e-6 for top, b in zip(found.top_logprobs, found.logprobs, strict=True) for a in [top[0][1]])
    rest = [begun, *stream]
    assert rest[-1][1].token_ids == alone.token_ids
    assert math.isfinite(sum(found.logprobs))


def streamed(client: openai.OpenAI, **asked: Any) -> tuple[dict[int, str], dict[int, Any], list[Any]]:
    """(text of each choice, its last chunk's choice, chunks without choices)."""
    texts: dict[int, str] = {}
    ends: dict[int, Any] = {}
    rest = []
    for chunk in client.completions.create(model="tiny", stream=True, temperature=0, **asked):
        assert chunk.object == "text_completion"
        for choice in chunk.choices:
            assert choice.index not in ends
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.finish_reason:
                ends[choice.index] = choice
        if not chunk.choices:
            rest.append(chunk)
    return texts, ends, rest


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("prompt", ["Where is my order? 包裹", ["Hi", "Where is"], [[5, 6, 7], [8, 9]]])
def test_a_stream_says_what_the_whole_says(client: openai.OpenAI, prompt: Any, echo: bool) -> None:
    asked: dict[str, Any] = {"prompt": prompt, "max_tokens": 6, "n": 2, "logprobs": 1, "echo": echo}
    whole = client.completions.create(model="tiny", temperature=0, **asked)
    texts, ends, rest = streamed(client, **asked, stream_options={"include_usage": True})
    assert [texts[choice.index] for choice in whole.choices] == [choice.text for choice in whole.choices]
    assert [ends[i].finish_reason for i in sorted(ends)] == [choice.finish_reason for choice in whole.choices]
    assert [ends[i].logprobs for i in sorted(ends)] == [choice.logprobs for choice in whole.choices]
    assert [chunk.usage for chunk in rest] == [whole.usage]


def test_a_stream_without_usage_and_of_the_prompt_alone(client: openai.OpenAI) -> None:
    texts, ends, rest = streamed(client, prompt="Where is", max_tokens=0, echo=True, logprobs=0)
    assert (texts, ends[0].finish_reason, rest) == ({0: "Where is"}, "length", [])
    assert ends[0].logprobs.token_logprobs[0] is None


def test_a_stream_that_cannot_begin_is_an_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        streamed(client, prompt=["Hi", "word " * 4000])
