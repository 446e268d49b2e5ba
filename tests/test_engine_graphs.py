"""Captured decode steps. On a CPU a tape stands in for CUDA graphs: it keeps operators and the tensors they were called
with, and calls them again. Like a graph it knows nothing of Python values or tensors that came later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import tiny as t
from steersman.engine.backends.local import graphs
from steersman.engine.backends.local import scheduler as scheduling
from steersman.engine.backends.local.cache import bucket
from steersman.engine.backends.local.graphs import Graphs
from steersman.engine.load import load_engine
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal
from test_engine_adapters import greedy, write_adapter

READ_BACK = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not READ_BACK & set(func.tags), f"{func} waits for the device, or its result's shape depends on data"
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def play(self) -> None:
        made: dict[int, Any] = {}

        def now(x: Any) -> Any:
            return made.get(id(x), x)

        for func, args, kwargs, out in self.calls:
            again = func(*tree_map(now, args), **tree_map(now, kwargs))
            made.update(zip(map(id, tree_leaves(out)), tree_leaves(again), strict=True))


class Tapes:
    """Counts what is recorded and played."""

    def __init__(self) -> None:
        self.made = self.recorded = self.played = 0

    def __call__(self, device: torch.device) -> graphs.Record:
        self.made += 1
        return self.record

    def record(self, step: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        with Tape() as tape:
            step()

        def play() -> None:
            self.played += 1
            tape.play()

        return play


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tapes]:
    """Engines that are loaded meanwhile record their steps."""
    made = Tapes()
    monkeypatch.setattr(Graphs, "of", staticmethod(lambda decoder: Graphs(decoder, made)))
    return made


def said(answers: list[list[Completion]]) -> list[tuple[int, ...]]:
    return [answer.token_ids for (answer,) in answers]


PROMPTS = [t.conversation("order " * words) for words in (1, 9, 3, 55, 2, 14, 5)]


def test_sizes_are_few_and_never_too_small() -> None:
    assert [bucket(n) for n in range(1, 14)] == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16]
    for unit in (1, 128):
        sizes = {n: bucket(n, unit) for n in range(1, 3000)}
        assert all(n <= size < 1.5 * (n + unit) for n, size in sizes.items())
        assert all(bucket(size, unit) == size for size in sizes.values())


def test_recorded_steps_say_what_transformers_says(family: Path, tapes: Tapes) -> None:
    """Sequences leave and join, rows are padded (5 to 6), lengths pass from one size to the next."""
    model = load_causal(family, "float32")
    engine: Any = load_engine(family, dtype="float32", max_slots=5)
    assert engine.kernel == "graphs"
    answers = engine.generate(PROMPTS, SamplingParams(max_tokens=12, temperature=0))
    for prompt, (answer,) in zip(PROMPTS, answers, strict=True):
        expected = greedy(model, engine.template.prompt_ids(prompt), 12)
        assert list(answer.token_ids) == expected[: len(answer.token_ids)]
        assert len(answer.token_ids) == 12 or answer.finish_reason == "stop"
    sizes = {key[:2] for key in engine.decoder.graphs._recorded}
    assert {rows for rows, _ in sizes} & {6}
    assert {tokens for _, tokens in sizes} == {128, 256}
    assert tapes.recorded < tapes.played


def test_pauses_change_nothing(tiny: Path, tapes: Tapes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for some 800 tokens."""
    monkeypatch.setattr(scheduling, "AHEAD", 8)
    params = SamplingParams(max_tokens=110, seed=5, ignore_end=True)
    plain: Any = load_engine(tiny, dtype="float32", native=False)
    expected = said(plain.generate(PROMPTS, params))
    assert not tapes.played
    engine: Any = load_engine(tiny, dtype="float32")
    cache = engine.decoder.cache
    cache.budget = 800 * cache.token_bytes
    paused = []
    pause = engine.scheduler._pause
    monkeypatch.setattr(engine.scheduler, "_pause", lambda: (paused.append(1), pause()))
    assert said(engine.generate(PROMPTS, params)) == expected
    assert paused


def test_padding_spares_the_prompt_that_comes_in_chunks(tiny: Path, tapes: Tapes) -> None:
    """Five streams are computed in six rows, and the sixth slot is where a long prompt is prefilled meanwhile."""
    params = SamplingParams(max_tokens=60, seed=5, ignore_end=True)
    long = PROMPTS[3]
    plain: Any = load_engine(tiny, dtype="float32", native=False)
    expected = said(plain.generate([long], params))
    engine: Any = load_engine(tiny, dtype="float32")
    engine.scheduler.chunk_tokens = 16
    streams = [engine.stream(PROMPTS[0], params) for _ in range(5)]
    for stream in streams:
        next(stream)
    assert said(engine.generate([long], params)) == expected
    assert any(rows == 6 for rows, *_ in engine.decoder.graphs._recorded)
    for stream in streams:
        *_, last = stream
        assert last.token_ids == said(plain.generate([PROMPTS[0]], params))[0]


def test_new_weights_and_adapters_need_no_new_engine(tiny: Path, tapes: Tapes, tmp_path: Path) -> None:
    params = SamplingParams(max_tokens=8, temperature=0, ignore_end=True)
    engine: Any = load_engine(tiny, dtype="float32")
    before = engine.generate(PROMPTS[:3], params)
    recorded, tensors = tapes.recorded, [m.weight.data_ptr() for m in engine.decoder.weights.qkv]
    other = t.make_model(tmp_path / "other", seed=7)
    engine.load_weights(load_causal(other, "float32").state_dict().items(), "b")
    after = engine.generate(PROMPTS[:3], params)
    assert tapes.recorded == recorded
    assert tensors == [m.weight.data_ptr() for m in engine.decoder.weights.qkv]
    assert said(after) != said(before)
    expected: Any = load_engine(other, dtype="float32", native=False, version="b")
    assert said(after) == said(expected.generate(PROMPTS[:3], params))
    write_adapter(other, tmp_path / "a", 1)
    for e in (engine, expected):
        e.load_adapter("a", tmp_path / "a")
    adapted = SamplingParams(max_tokens=8, temperature=0, ignore_end=True, adapter="a")
    mine, theirs = (said(e.generate(PROMPTS[:3], adapted)) for e in (engine, expected))
    assert mine == theirs != said(after)


def test_graphs_are_bounded_and_follow_the_cache(tiny: Path, tapes: Tapes, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SamplingParams(max_tokens=30, seed=5)
    expected = load_engine(tiny, dtype="float32", native=False).generate(PROMPTS, params)
    monkeypatch.setattr(graphs, "MOST", 2)
    monkeypatch.setattr(graphs, "LARGEST", 3)
    engine: Any = load_engine(tiny, dtype="float32")
    rows: list[int] = []
    step = engine.decoder.step
    monkeypatch.setattr(engine.decoder, "step", lambda ids, *rest: (rows.append(len(ids)), step(ids, *rest))[1])
    assert said(engine.generate(PROMPTS, params)) == said(expected)
    assert max(rows) == len(PROMPTS), "more than fit into a captured step run as they are"
    for n in (1, 2, 3):
        assert said(engine.generate(PROMPTS[:n], params)) == said(expected[:n])
    assert len(engine.decoder.graphs) == 2 < tapes.recorded
    made = tapes.made
    engine.decoder.reserve(4, engine.decoder.cache.capacity + 1)
    assert len(engine.decoder.graphs) == 0
    assert tapes.made == made + 1
    assert said(engine.generate(PROMPTS, params)) == said(expected)


def test_what_cannot_be_captured_runs_all_the_same(tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def refuse(step: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    params = SamplingParams(max_tokens=8, seed=5)
    expected = load_engine(tiny, dtype="float32").generate(PROMPTS, params)
    monkeypatch.setattr(Graphs, "of", staticmethod(lambda decoder: Graphs(decoder, lambda device: refuse)))
    engine: Any = load_engine(tiny, dtype="float32")
    assert said(engine.generate(PROMPTS, params)) == said(expected)
    assert engine.kernel == "torch"
    assert "one by one: operation not permitted" in caplog.text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU: CUDA graphs exist nowhere else")
def test_cuda_graphs_say_what_single_operators_say(family: Path) -> None:
    params = SamplingParams(max_tokens=40, temperature=0, ignore_end=True)
    eager: Any = load_engine(family, dtype="float32", device="cuda", native=False)
    engine: Any = load_engine(family, dtype="float32", device="cuda")
    expected = eager.generate(PROMPTS, params)
    for _ in range(2):  # captured, then replayed alone
        answers = engine.generate(PROMPTS, params)
        assert said(answers) == said(expected)
        for (mine,), (theirs,) in zip(answers, expected, strict=True):
            torch.testing.assert_close(mine.logprobs, theirs.logprobs, atol=1e-3, rtol=1e-3)
    assert engine.kernel == "graphs"
    assert len(engine.decoder.graphs) > 1
