"""Keys and values in int8: against a plain loop, and by every kind of kernel against PyTorch over the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import tiny as t
from families import FAMILIES, make_folder
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import build
from steersman.cli.serve_endpoint import endpoint_engine
from steersman.config import Config, ServeConfig
from steersman.engine.backends.local.cache import quantised, token_bytes
from steersman.engine.backends.local.forward import Decoder
from steersman.engine.load import load_engine
from steersman.engine.protocol import DoesNotFit
from steersman.engine.room import Room
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
    with engine._driver.between_steps():  # what has ended is kept by then
        assert len(engine.prefixes)
        engine.scheduler.prefixes.clear()
        engine.decoder.cache.clear()
        engine.decoder.cache.budget = 6 * 64 * engine.decoder.cache.token_bytes
    assert [c.token_ids for (c,) in engine.generate([LONG, *SHORT], params)] == expected


def test_what_a_server_holds_is_planned(tiny: Path) -> None:
    """The plan's bytes are those that the cache takes, and what it says fits is answered, one token more refused."""
    engine: Any = load_engine(tiny, cache_int8=True, cache_mib=1, max_slots=4)
    config = engine.decoder.shape
    assert token_bytes(config, torch.bfloat16, True) / token_bytes(config, torch.bfloat16) == (16 + 4) / 32
    engine.decoder.cache.budget = 3 * 64 * engine.room.token
    room = engine.room
    assert (room.longest, room.whole, room.to_json()["full_slots_tokens"]) == (192, 0, 48)
    assert "the whole context (512 tokens) does not fit, one of 192 does" in str(room)
    params = SamplingParams(max_tokens=32, temperature=0, ignore_end=True)
    ((answer,),) = engine.generate([[5] * 160], params)
    assert len(answer.token_ids) == 32
    cache = engine.decoder.cache
    assert sum(x.nbytes for part in cache.parts.values() for x in part) == 192 * room.token == cache.budget
    with pytest.raises(DoesNotFit, match="Expected a shorter prompt"):
        engine.generate([[5] * 161], params)
    assert str(Room(1024, 2**30, 4096, 8)).endswith("at most 1.0 GiB: 8 dialogues of 4,096 tokens at a time")


def test_the_plan_of_a_server(tiny: Path) -> None:
    def planned(*arguments: str) -> Any:
        said = CliRunner().invoke(
            build(), ["plan", "serve", "--model", str(tiny), "-s", "model.device=cpu", *arguments]
        )
        assert said.exit_code == 0, said.output
        return said.stdout

    assert 'with serve.kv_cache = "int8": keys and values' in planned()
    usual, int8 = (json.loads(planned("--json", *more)) for more in ((), ("-s", "serve.kv_cache=int8")))
    engine: Any = load_engine(tiny)
    assert usual["cache"]["token_bytes"] == engine.room.token
    assert usual["cache"]["working_bytes"] == engine.room.working > 0
    assert usual["weights_bytes"] == sum(x.nbytes for x in load_causal(tiny, "bfloat16").parameters())
    assert int8["cache"]["token_bytes"] / usual["cache"]["token_bytes"] == 20 / 32
    weights = load_engine(tiny, dtype="int8").decoder.weights  # type: ignore[attr-defined]
    said = json.loads(planned("--json", "-s", "serve.dtype=int8"))["weights_bytes"]
    assert said == pytest.approx(weights.embed.nbytes + weights.nbytes, rel=0.05)
    arguments = ["plan", "serve", "--model", str(tiny), "-s", "serve.dtype=int4"]
    assert CliRunner().invoke(build(), arguments).exit_code == 2


def test_int8_is_refused_where_it_is_not_computed(tmp_path: Path) -> None:
    folder = make_folder(next(f for f in FAMILIES if f.name == "SmolLM3"), t.tokenizer(), tmp_path / "m")
    with pytest.raises(ValueError, match=r"serve\.kv_cache 'int8': expected a model that the local backend computes"):
        load_engine(folder, cache_int8=True)
    with pytest.raises(ValueError, match=r"serve\.kv_cache 'int8': the endpoint keeps its own"):
        load_engine("theirs", backend="openai", url="http://127.0.0.1:9/v1", cache_int8=True)
    with pytest.raises(ValueError, match=r"serve\.kv_cache 'int8': an encoder keeps no keys and values"):
        load_engine(folder, backend="headed", cache_int8=True)


def test_a_server_of_an_endpoint_does_not_ignore_int8(tmp_path: Path) -> None:
    asked = ServeConfig(endpoint="http://127.0.0.1:9/v1", endpoint_model="theirs", kv_cache="int8")
    space = Workspace(tmp_path, Config(serve=asked))
    with pytest.raises(ValueError, match=r"serve\.kv_cache 'int8': the endpoint keeps its own"):
        endpoint_engine(space, None)
