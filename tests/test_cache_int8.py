"""Keys and values in int8: against a plain loop, and by every kind of kernel against PyTorch over the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny as t
from steersman.engine.backends.local.cache import quantised, token_bytes
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.load import load_engine
from steersman.families.shape import shape_of
from steersman.kernels.capabilities import Capabilities
from steersman.types import SamplingParams
from steersman.weights.folders import load_causal

CPU = torch.device("cpu")
LONG = t.conversation("Where is the blue kettle that I ordered on 3 May? " * 6)
SHORT = [t.conversation("Hi"), t.conversation("Where is my order?"), t.conversation("我想退货")]


def test_rows_are_rounded_to_127ths_of_their_largest() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, 16) * torch.tensor([1e-3, 1.0, 40.0])[:, None, None]
    x[1, 1] = 0
    values, scales = quantised(x)
    for row, got, scale in zip(x.view(-1, 16).tolist(), values.view(-1, 16).tolist(), scales.view(-1), strict=True):
        most = max(map(abs, row))
        assert float(scale) == pytest.approx(most / 127)
        assert got == [round(number * 127 / most) if most else 0 for number in row]


def decoded(model: Any, dtype: torch.dtype, int8: bool, native: bool) -> tuple[torch.Tensor, Decoder]:
    """(logits [5, 3, vocabulary] of a prefill, a second chunk and three decode steps; the decoder)."""
    decoder = Decoder(model.config, dtype, CPU, cache_int8=int8, native=native)
    assert (decoder.native is not None) == native
    decoder.load(model.state_dict().items())
    ids = torch.randint(3, 300, (3, 60), generator=torch.Generator().manual_seed(1))
    starts = torch.tensor([8, 40, 24])
    decoder.reserve(3, 64)
    first = decoder.prefill([row[:start] for row, start in zip(ids.tolist(), starts, strict=True)], 0, [0] * 3)
    second = decoder.prefill([row[s : s + 9] for row, s in zip(ids.tolist(), starts, strict=True)], 0, starts.tolist())
    steps = [decoder.decode(ids[:, 50 + i].contiguous(), starts + 9 + i).float() for i in range(3)]
    return torch.stack([first.float(), second.float(), *steps]), decoder


def test_each_family_by_each_kind_of_kernel(family: Path, products: Capabilities) -> None:
    """As near to float32 over int8 as PyTorch's bfloat16 is; what is kept are the same numbers, but for rounding."""
    small, exact = load_causal(family, "bfloat16"), load_causal(family, "float32")
    exact.load_state_dict({name: tensor.float() for name, tensor in small.state_dict().items()})
    expected, plain = decoded(exact, torch.float32, True, native=False)
    theirs, _ = decoded(small, torch.bfloat16, True, native=False)
    got, kernels = decoded(small, torch.bfloat16, True, native=True)
    error, usual = (float((x - expected).square().mean().sqrt()) for x in (got, theirs))
    assert error < 1.2 * usual + 1e-3
    for name in ("keys", "values"):
        mine, theirs = (of.cache.parts[name][0][0, :, :20].int() for of in (kernels, plain))
        assert float((mine - theirs).abs().float().mean()) < 1, name


def test_answers_do_not_depend_on_who_shares_chunks_and_prefixes(tiny: Path) -> None:
    params = SamplingParams(max_tokens=24, temperature=0)
    alone: Any = load_engine(tiny, dtype="float32", cache_int8=True, reuse="off", max_slots=1)
    expected = [c.token_ids for (c,) in alone.generate([LONG, *SHORT], params)]
    engine: Any = load_engine(tiny, dtype="float32", cache_int8=True, reuse="all")
    engine.scheduler.prefill_tokens = engine.scheduler.chunk_tokens = 16
    for _ in range(2):
        assert [c.token_ids for (c,) in engine.generate([LONG, *SHORT], params)] == expected
    assert len(engine.prefixes)
    engine.scheduler.prefixes.clear()
    engine.decoder.cache.clear()
    engine.decoder.cache.budget = 6 * 64 * engine.decoder.cache.token_bytes
    assert [c.token_ids for (c,) in engine.generate([LONG, *SHORT], params)] == expected


def test_about_half_the_memory() -> None:
    config = t.config("llama")
    config.head_dim = 64
    shape = shape_of(config)
    assert token_bytes(shape, torch.bfloat16, True) / token_bytes(shape, torch.bfloat16) == 68 / 128
