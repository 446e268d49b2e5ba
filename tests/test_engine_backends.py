"""The backends behind one interface: endpoints, vLLM (its part played by a stand-in), encoder-decoders."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import steersman
import tiny as t
from server_double import FakeEngine, live
from steersman.engine.load import load_engine
from steersman.engine.protocol import Engine, PromptTooLong, Refused
from steersman.server.app import create_app
from steersman.store import Store
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import save_model

PROMPTS = [t.conversation("Where is my order?"), t.conversation("Hi")]


def test_the_public_interface(tiny: Path) -> None:
    engine = steersman.load_engine(tiny, dtype="float32", device="cpu", backend="local")
    params = steersman.SamplingParams(max_tokens=5, temperature=0)
    conversation = steersman.Conversation("c", (steersman.Message("user", "Hi"),))
    ids = engine.template.prompt_ids(conversation)  # type: ignore[attr-defined]
    by_words, by_ids = engine.generate([conversation, ids], params)
    assert by_words[0].token_ids == by_ids[0].token_ids
    assert engine.generate(["Where is"], params)[0][0].text
    *pieces, final = engine.stream("Where is", params)
    assert isinstance(final, steersman.Completion)
    assert "".join(str(p) for p in pieces) == final.text
    with pytest.raises(AttributeError, match="nothing"):
        _ = steersman.nothing
    with pytest.raises(ValueError, match="dtype 'half'"):
        steersman.load_engine(tiny, dtype="half")
    with pytest.raises(ValueError, match="unknown option 'slots'"):
        steersman.load_engine(tiny, slots=3)
    with pytest.raises(ValueError, match="backend 'fast': expected"):
        steersman.load_engine(tiny, backend="fast")


def test_importing_steersman_loads_no_torch() -> None:
    code = "import sys, steersman; steersman.SamplingParams(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[tuple[Engine, FakeEngine]]:
    served = FakeEngine()
    with Store.open(tmp_path / "store.db") as store, live(create_app(served, store, name="S", language="en")) as url:
        yield load_engine("tiny", backend="openai", url=f"{url}/v1"), served


def test_an_endpoint_answers(endpoint: tuple[Engine, FakeEngine]) -> None:
    engine, served = endpoint
    params = SamplingParams(max_tokens=9, n=2, seed=4, top_k=3, stop=("END",), presence_penalty=0.5)
    answers = engine.generate(PROMPTS, params)
    assert [[c.text for c in group] for group in answers] == [["Hello, 世界!\u2028\n"] * 2] * 2
    assert answers[0][0].policy_version == engine.policy_version == "ppo-7"
    seen = {p.last_user: s for p, s in served.seen}
    assert {s.seed for s in seen.values()} == {4, 5}
    mine = seen["Hi"]
    assert (mine.n, mine.top_k, mine.stop, mine.presence_penalty, mine.max_tokens) == (2, 3, ("END",), 0.5, 9)
    *pieces, final = engine.stream(PROMPTS[0], SamplingParams(max_tokens=9))
    assert pieces == list(served.pieces)
    assert isinstance(final, Completion)
    assert final.text == "".join(served.pieces)


def test_an_endpoint_refuses_and_is_left(endpoint: tuple[Engine, FakeEngine]) -> None:
    engine, served = endpoint
    with pytest.raises(Refused, match="context length is 100 tokens"):
        engine.generate([t.conversation("word " * 200)], SamplingParams())
    with pytest.raises(Refused, match="top_logprobs"):
        engine.generate(PROMPTS, SamplingParams(top_logprobs=2))
    with pytest.raises(ValueError, match="cannot replace"):
        engine.load_weights([], "x")
    served.endless = True
    stream = engine.stream(PROMPTS[0], SamplingParams(max_tokens=9))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert served.closed.wait(60)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        load_engine("m", backend="openai", url="http://127.0.0.1:9/v1").generate(PROMPTS, SamplingParams())
    with pytest.raises(ValueError, match="expected the endpoint's url"):
        load_engine("m", backend="openai")


LETTER = t.tokenizer().convert_tokens_to_ids("a")


class _Llm:
    """Says one letter per step; takes vLLM's calls as its 0.11 line names them."""

    def __init__(self, model: str, **options: Any) -> None:
        self.options, self.llm_engine, self.requests = options, self, {}
        self.model_config = types.SimpleNamespace(max_model_len=64)
        self.aborted: list[str] = []

    def add_request(self, name: str, prompt: dict[str, Any], params: Any) -> None:
        self.requests[name] = [prompt["prompt_token_ids"], params, 0]

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names
        for name in names:
            self.requests.pop(name)

    def step(self) -> list[Any]:
        done = []
        for name, entry in list(self.requests.items()):
            entry[2] += 1
            entry_logprob = types.SimpleNamespace(logprob=-0.5, rank=1)
            finished = entry[2] == entry[1].max_tokens
            outputs = [
                types.SimpleNamespace(
                    index=index,
                    text="a" * entry[2],
                    token_ids=[LETTER] * entry[2],
                    logprobs=[{LETTER: entry_logprob}] * entry[2],
                    finish_reason="length" if finished else None,
                )
                for index in range(entry[1].n)
            ]
            if entry[1].output_kind == "final":
                told = [outputs] if finished else []
            else:  # vLLM hands out one answer of several at a time
                told = [[output] for output in outputs]
            done += [types.SimpleNamespace(request_id=name, outputs=each, finished=finished) for each in told]
            if finished:
                self.requests.pop(name)
        return done


def test_vllm_is_asked_in_its_own_words(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ValueError, match=r"pip install 'steersman\[vllm\]'"):
        load_engine(tiny, backend="vllm")
    kinds = types.SimpleNamespace(
        StructuredOutputsParams=types.SimpleNamespace,
        RequestOutputKind=types.SimpleNamespace(CUMULATIVE="cumulative", FINAL_ONLY="final"),
    )
    stand_in = types.SimpleNamespace(LLM=_Llm, SamplingParams=types.SimpleNamespace, sampling_params=kinds)
    monkeypatch.setitem(sys.modules, "vllm", stand_in)
    engine: Any = load_engine(tiny, backend="vllm", max_slots=7, tensor_parallel_size=2)
    assert engine._llm.options["tensor_parallel_size"] == 2
    assert engine._llm.options["max_num_seqs"] == 7
    answers = engine.generate(PROMPTS, SamplingParams(max_tokens=3, n=2, seed=8, regex="a+"))
    assert [[c.text for c in group] for group in answers] == [["aaa", "aaa"]] * 2
    assert answers[0][0].logprobs == (-0.5,) * 3
    stream = engine.stream(PROMPTS[0], SamplingParams(max_tokens=5))
    assert [next(stream), next(stream)] == ["a", "a"]
    stream.close()
    assert len(engine._llm.aborted) == 1
    assert not engine._asked
    with pytest.raises(PromptTooLong):
        engine.generate([t.conversation("word " * 100)], SamplingParams())


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_encoder_decoders_equal_transformers_generate(kind: str, tmp_path: Path) -> None:
    size = len(t.tokenizer())
    ends = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    if kind == "t5":
        config: Any = transformers.T5Config(
            vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, initializer_factor=3.0, **ends
        )
    else:
        sizes = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in (("layers", 2), ("ffn_dim", 64))}
        heads = {
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "init_std": 0.3,
            "max_position_embeddings": 128,
        }
        config = transformers.BartConfig(
            vocab_size=size, d_model=32, bos_token_id=1, forced_eos_token_id=None, **sizes, **heads, **ends
        )
    torch.manual_seed(0)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).eval()
    save_model(model, t.tokenizer(), tmp_path / kind)
    engine = load_engine(tmp_path / kind, dtype="float32")
    for prompt in ("Where is my order?", "我想退货"):
        ids = t.tokenizer()(prompt)["input_ids"]
        theirs = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, num_beams=1)
        expected = theirs[0, 1:].tolist()
        (mine,) = engine.generate([prompt], SamplingParams(max_tokens=12, temperature=0))[0]
        assert list(mine.token_ids) == expected
    *pieces, final = engine.stream("Where is it?", SamplingParams(max_tokens=12, seed=1, min_p=0.1, presence_penalty=1))
    assert isinstance(final, Completion)
    assert "".join(map(str, pieces)) == final.text
