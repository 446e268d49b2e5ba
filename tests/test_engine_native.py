"""The native decode step against PyTorch in float32, and what does not depend on the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny as t
from kernels_off import use_kernels
from steersman.engine.backends.local import compiled
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.backends.local.matrix import Int8
from steersman.engine.load import load_engine
from steersman.kernels import ops as kernels
from steersman.kernels.capabilities import Capabilities, capabilities
from steersman.types import SamplingParams
from steersman.weights.folders import load_causal

needs_native = pytest.mark.skipif(capabilities().library is None, reason="no C compiler here")
CPU = torch.device("cpu")


def logits_of(model: Any, dtype: torch.dtype, n: int, *, int8: bool, with_native: bool) -> torch.Tensor:
    """float32 [4, n, vocab]: random prompts of mixed lengths, and three decode steps after them."""
    decoder = Decoder(model.config, dtype, CPU, int8=int8, native=with_native)
    decoder.load(model.state_dict().items())
    assert (decoder.native is not None) == with_native
    generator = torch.Generator().manual_seed(n)
    ids = torch.randint(3, 300, (n, 20), generator=generator)
    lengths = torch.randint(5, 21, (n,), generator=generator)
    decoder.reserve(n, 64)
    first = decoder.prefill([row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)], 0, [0] * n)
    steps = [decoder.decode(ids[:, step].contiguous(), lengths + step).float() for step in range(3)]
    return torch.stack([first.float(), *steps])


@needs_native
@pytest.mark.parametrize("int8", [False, True])
def test_each_family_equals_float32_as_nearly_as_torch_does(
    family: Path, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_causal(family, "bfloat16")
    exact = load_causal(family, "float32")
    exact.load_state_dict({name: tensor.float() for name, tensor in small.state_dict().items()})
    for n in (1, 3, 17, 70):
        expected = logits_of(exact, torch.float32, n, int8=int8, with_native=False)
        mine = logits_of(small, torch.bfloat16, n, int8=int8, with_native=True)
        with monkeypatch.context() as patch:
            use_kernels(patch, Capabilities("none", off="turned off"))
            plain = logits_of(small, torch.bfloat16, n, int8=int8, with_native=False)
        for step in (slice(0, 1), slice(1, 4)):
            error, theirs = ((x - expected)[step].square().mean().sqrt() for x in (mine, plain))
            assert error < 1.2 * theirs + 1e-3, "no further from float32 than PyTorch's bfloat16"


@needs_native
def test_native_sampling_follows_the_distribution(tiny: Path) -> None:
    """Frequencies of evenly spread draws against the probabilities; ruled-out tokens are never drawn."""
    model = load_causal(tiny, "bfloat16")
    step = Decoder(model.config, torch.bfloat16, CPU).native
    assert step is not None
    torch.manual_seed(0)
    vocabulary, n = 3000, 20_000
    logits = torch.randn(vocabulary) * 3
    logits[[0, 1, 2999]] = float("-inf")
    uniform = (torch.arange(n) + 0.5) / n
    for temperature in (1.0, 0.6):
        rows = logits.repeat(n, 1)
        ids, logprobs = step.sample(rows, torch.full((n,), temperature), uniform)
        expected = (logits / temperature).log_softmax(-1)
        torch.testing.assert_close(logprobs, expected[ids], atol=2e-5, rtol=1e-5)
        got = torch.bincount(ids, minlength=vocabulary) / n
        assert (got - expected.exp()).abs().max() < 2 / n
    edges = torch.tensor([0.0, 1 - 2**-24])
    ids, _ = step.sample(logits.repeat(2, 1), torch.ones(2), edges)
    assert ids.tolist() == [2, 2998]
    ids, logprobs = step.sample(logits[None], torch.zeros(1), torch.zeros(1))
    assert int(ids) == int(logits.argmax())
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).amax()[None])


@pytest.mark.parametrize("head_dim", [16, 48, 256])
def test_heads_of_any_size_by_each_kind_of_product(
    head_dim: int, products: Capabilities, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert products.library is not None
    config = t.config("llama")
    config.update({"hidden_size": 96, "intermediate_size": 160, "head_dim": head_dim, "num_attention_heads": 6})
    config.update({"num_key_value_heads": 2, "vocab_size": 347})
    torch.manual_seed(0)
    small: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    exact: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    exact.load_state_dict({name: tensor.float() for name, tensor in small.state_dict().items()})
    for n in (1, 7, 40, 128):
        expected = logits_of(exact, torch.float32, n, int8=False, with_native=False)
        mine = logits_of(small, torch.bfloat16, n, int8=False, with_native=True)
        with monkeypatch.context() as patch:
            use_kernels(patch, Capabilities("none", off="turned off"))
            plain = logits_of(small, torch.bfloat16, n, int8=False, with_native=False)
        error, theirs = ((x - expected)[1:].square().mean().sqrt() for x in (mine, plain))
        # of one row alone chance decides more: 1.26 at one seed of eight
        assert error < (1.2 if n > 1 else 1.5) * theirs, "no further from float32 than PyTorch's bfloat16"


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("packed", [True, False])
def test_logits_do_not_depend_on_the_batch_within_one_kind_of_product(
    tiny: Path, products: Capabilities, int8: bool, packed: bool
) -> None:
    model = load_causal(tiny, "bfloat16")
    decoder = Decoder(model.config, torch.bfloat16, CPU, int8=int8)
    native = decoder.native
    assert native is not None
    assert native._at_once == 128
    assert (native._packed_from == 1) == (products.tiles and not int8), "bfloat16 in tiles has one kind anyway"
    native._packed_from = int(packed)
    decoder.load(model.state_dict().items())
    ids = torch.randint(3, 300, (70, 9), generator=torch.Generator().manual_seed(1))
    decoder.reserve(70, 64)
    decoder.prefill(ids.tolist(), 0, [0] * 70)
    many = decoder.decode(ids[:, 0].contiguous(), torch.full((70,), 9))
    for n in (1, 2, 7, 8, 9, 16, 17, 20, 33, 47, 64):
        few = decoder.decode(ids[:n, 0].contiguous(), torch.full((n,), 9))
        assert torch.equal(few, many[:n])


@needs_native
@pytest.mark.parametrize("n", [3, 40])
def test_logits_do_not_depend_on_the_threads(tiny: Path, n: int) -> None:
    """More of them than cores, so that some sleep where they wait for one another."""
    model = load_causal(tiny, "bfloat16")
    decoder = Decoder(model.config, torch.bfloat16, CPU)
    assert decoder.native is not None
    decoder.load(model.state_dict().items())
    decoder.reserve(n, 64)
    ids = torch.randint(3, 300, (n, 9), generator=torch.Generator().manual_seed(1))
    decoder.prefill(ids.tolist(), 0, [0] * n)
    expected = decoder.decode(ids[:, 0].contiguous(), torch.full((n,), 9))
    for threads in (2, 5):
        decoder.native._threads = decoder.native.sharing.threads = threads
        decoder.native.point()
        for _ in range(20):
            assert torch.equal(decoder.decode(ids[:, 0].contiguous(), torch.full((n,), 9)), expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_of_openmp_do_not_look_for_long_unless_told(given: dict[str, str], expected: str) -> None:
    left = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import os, steersman; print(os.environ.get('GOMP_SPINCOUNT'))"
    said = subprocess.run([sys.executable, "-c", code], env=left | given, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == expected


@pytest.mark.usefixtures("products")
def test_independent_answers_are_the_same_to_the_bit_whoever_shares_the_batch(tiny: Path) -> None:
    prompts = [t.conversation(f"order {i} " * (1 + i % 5)) for i in range(20)]
    params = SamplingParams(max_tokens=30, seed=3)
    engine: Any = load_engine(tiny, independent=True, reuse="off")
    alone = [list(engine.stream(p, params))[-1] for p in prompts]
    streams = [engine.stream(p, params) for p in prompts]
    together: list[Any] = [None] * len(prompts)
    while not all(together):
        for i, stream in enumerate(streams):
            if together[i] is None and not isinstance(item := next(stream), str):
                together[i] = item
    assert together == alone


@needs_native
def test_step_and_sampling_in_one_call_are_those_of_two(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [t.conversation(f"order {i} " * (1 + i % 5)) for i in range(7)]
    params = SamplingParams(max_tokens=20, seed=3, temperature=0.8)
    calls = []
    advance = compiled.NativeStep.advance
    monkeypatch.setattr(compiled.NativeStep, "advance", lambda *a: (calls.append(1), advance(*a))[1])
    together = load_engine(tiny).generate(prompts, params)
    made = len(calls)
    monkeypatch.setattr(Decoder, "native_for", lambda self, n: None)
    monkeypatch.setattr(Decoder, "decode", lambda self, ids, at: self.native.decode(ids, at))
    assert load_engine(tiny).generate(prompts, params) == together
    assert made == len(calls) > 10


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_torch_computes_the_steps(tiny: Path) -> None:
    engine: Any = load_engine(tiny)
    assert engine.kernel == "torch"
    assert engine.generate(["Hi"], SamplingParams(max_tokens=3, seed=1))[0][0].token_ids


def test_int8_rows_are_within_half_a_step(tiny: Path) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(48, 64), torch.randn(5, 64)
    matrix = Int8(48, 64, torch.float32, CPU)
    matrix.assign(0, weight[:16])
    matrix.assign(16, weight[16:])
    restored = matrix.values.float() * matrix.scales[:, None]
    assert ((restored - weight).abs() <= weight.abs().amax(1, keepdim=True) / 254 + 1e-6).all()
    torch.testing.assert_close(matrix.linear(x), x @ restored.T, atol=1e-4, rtol=1e-4)
    engine: Any = load_engine(tiny, dtype="int8")
    before = engine.generate(["Hi"], SamplingParams(max_tokens=8, temperature=0))[0][0].token_ids
    other = t.make_model(tiny.parent / "other-int8", "llama", seed=5)
    engine.load_weights(load_causal(other, "bfloat16").state_dict().items(), "b")
    expected = load_engine(other, dtype="int8").generate(["Hi"], SamplingParams(max_tokens=8, temperature=0))
    assert (
        engine.generate(["Hi"], SamplingParams(max_tokens=8, temperature=0))[0][0].token_ids == expected[0][0].token_ids
    )
    assert expected[0][0].token_ids != before


@pytest.mark.usefixtures("tiles")
def test_prefill_by_kernels_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    config = t.config("llama")
    config.update({"hidden_size": 128, "head_dim": 32})
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    decoder = Decoder(config, torch.bfloat16, CPU)
    decoder.load(model.state_dict().items())
    assert kernels.multiplies(decoder.weights.embed)
    decoder.reserve(4, 128)
    prompts = [list(range(3, 3 + n)) for n in (2, 33, 100, 64)]
    together = decoder.prefill(prompts, 0, [0] * 4)
    for prompt, logits in zip(prompts, together, strict=True):
        assert torch.equal(decoder.prefill([prompt], 0, [0])[0], logits)


def test_more_sequences_than_the_step_takes_at_a_time_go_in_groups(tiny: Path) -> None:
    """Each group has slots of its own: the words are those of an engine that runs few at a time."""
    prompts = [t.conversation(f"Where is order {i}? {'x ' * (i % 7)}") for i in range(150)]
    params = SamplingParams(max_tokens=12, temperature=0, ignore_end=True)
    many: Any = load_engine(tiny, dtype="bfloat16", max_slots=150)
    few: Any = load_engine(tiny, dtype="bfloat16", max_slots=75)
    if many.kernel != "native":
        pytest.skip("no native step on this machine")
    sizes: list[int] = []
    step = many.decoder.native._step

    def seen(first: int, n: int, *rest: Any) -> None:
        sizes.append(n)
        step(first, n, *rest)

    many.decoder.native._step = seen
    answers, expected = many.generate(prompts, params), few.generate(prompts, params)
    assert 75 in sizes, "of 150"
    assert [c.token_ids for (c,) in answers] == [c.token_ids for (c,) in expected]
