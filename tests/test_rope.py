"""Positions beyond the length that a model was trained at: rotary scalings as published, against transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny as t
from steersman.engine.load import load_engine
from steersman.families.rope import rotations, switch_of
from steersman.families.shape import shape_of
from steersman.types import SamplingParams
from steersman.weights.folders import load_causal, save_model

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2.5-7B-Instruct, YaRN": (
        "qwen2",
        {
            "hidden_size": 4096,
            "max_position_embeddings": 32768,
            "rope_theta": 1e6,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
    ),
    "Qwen3-8B, YaRN": (
        "qwen3",
        {
            "hidden_size": 4096,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "rope_theta": 1e6,
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
    ),
    "Yarn-Llama-2-7b-64k": (
        "llama",
        {
            "hidden_size": 4096,
            "max_position_embeddings": 65536,
            "rope_scaling": {"type": "yarn", "factor": 16.0, "original_max_position_embeddings": 4096},
        },
    ),
    "as DeepSeek V3": (
        "llama",
        {
            "hidden_size": 2048,
            "max_position_embeddings": 163840,
            "rope_scaling": {
                "type": "yarn",
                "factor": 40,
                "beta_fast": 32,
                "beta_slow": 1,
                "mscale": 1.0,
                "mscale_all_dim": 0.7,
                "original_max_position_embeddings": 4096,
            },
        },
    ),
    "as gpt-oss": (
        "llama",
        {
            "hidden_size": 2048,
            "max_position_embeddings": 131072,
            "rope_theta": 150000,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            },
        },
    ),
    "Llama 3.1": (
        "llama",
        {
            "hidden_size": 4096,
            "max_position_embeddings": 131072,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
    ),
    "DeepSeek Coder, linear": (
        "llama",
        {
            "hidden_size": 2048,
            "max_position_embeddings": 16384,
            "rope_theta": 100000,
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
    ),
    "SOLAR-0, dynamic NTK": ("llama", {"hidden_size": 4096, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
    "MiniCPM 4, LongRoPE": (
        "llama",
        {
            "hidden_size": 2048,
            "max_position_embeddings": 131072,
            "rope_scaling": {
                "rope_type": "longrope",
                "short_factor": [1.0 + 0.05 * i for i in range(32)],
                "long_factor": [1.0 + 0.1 * i * i for i in range(32)],
                "original_max_position_embeddings": 32768,
            },
        },
    ),
    "Yi 34B 200K": ("llama", {"hidden_size": 4096, "max_position_embeddings": 200000, "rope_theta": 5e6}),
}
LENGTHS = {"Qwen2.5-7B-Instruct, YaRN": 131072, "Qwen3-8B, YaRN": 131072}
"""Where the context is not the one that the config states."""
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "yarn": ("llama", {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32}),
    "yarn of Qwen": ("qwen3", {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64}),
    "yarn with mscale": (
        "qwen2",
        {
            "rope_type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 32,
            "beta_fast": 16,
            "mscale": 1.0,
            "mscale_all_dim": 0.5,
            "truncate": False,
        },
    ),
    "dynamic": ("llama", {"rope_type": "dynamic", "factor": 2.0}),
    "longrope": (
        "llama",
        {
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1, 1.3, 1.5, 2.0, 2.5, 3.0, 3.5],
            "long_factor": [1.0, 1.5, 2.5, 4.0, 8.0, 12.0, 14.0, 16.0],
            "original_max_position_embeddings": 128,
        },
    ),
}
WORDS = "Where is the blue kettle that I ordered on 3 May? 您的包裹预计明天送达，请耐心等待。" * 8
PROMPTS = [WORDS[:40], WORDS[:95], WORDS[:240]]
"""Some 30, 120 and 300 tokens: within the original length, up to it and beyond, far beyond."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_frequencies_of_published_configs(name: str) -> None:
    family, sizes = PUBLISHED[name]
    theirs = transformers.AutoConfig.for_model(family, num_attention_heads=32, **sizes)
    shape = shape_of(theirs)
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(theirs)
    assert shape.context == LENGTHS.get(name, theirs.max_position_embeddings)
    rows = torch.zeros(1)
    for position in (0, 5, shape.switch, shape.context - 1) if "dynamic" not in name else (0, 5, shape.context - 1):
        cos, sin = rotary(rows, torch.tensor([[position]]))
        inverse, size = rotations(shape.rope_scalings[0], shape.head_dim, position >= shape.switch)
        angles = position * torch.cat([inverse, inverse])
        torch.testing.assert_close(angles.cos() * size, cos[0, 0])
        torch.testing.assert_close(angles.sin() * size, sin[0, 0])


def scaled_model(name: str, folder: Path) -> Path:
    family, rope = SMALL[name]
    config = t.config(family)
    config.rope_parameters = {"rope_theta": 10000.0} | rope
    config.standardize_rope_params()
    torch.manual_seed(0)
    save_model(transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32), t.tokenizer(), folder)
    return folder


def logprobs(model: Any, whole: list[int], count: int) -> torch.Tensor:
    """[count, vocabulary] of the last tokens, each from a pass over what is before it: lengths decide rotations."""
    with torch.no_grad():
        each = [
            model(torch.tensor([whole[:end]]), use_cache=False).logits[0, -1]
            for end in range(len(whole) - count, len(whole))
        ]
    return torch.stack(each).log_softmax(-1)


@pytest.mark.parametrize("name", SMALL)
def test_answers_beyond_the_original_length(name: str, tmp_path: Path) -> None:
    """Token for token what transformers says in float32; chunks, shared prefixes and a batch included."""
    folder = scaled_model(name, tmp_path)
    engine: Any = load_engine(folder, dtype="float32", backend="local", reuse="all")
    engine.scheduler.prefill_tokens = engine.scheduler.chunk_tokens = 64
    model = load_causal(folder, "float32")
    params = SamplingParams(max_tokens=12, temperature=0, ignore_end=True)
    for _ in range(2):
        for prompt, (answer,) in zip(PROMPTS, engine.generate(PROMPTS, params), strict=True):
            whole = [*engine._prompts.ids(prompt), *answer.token_ids]
            expected = logprobs(model, whole, 12)
            assert expected.argmax(-1).tolist() == list(answer.token_ids)
            torch.testing.assert_close(torch.tensor(answer.logprobs), expected.amax(-1), atol=1e-4, rtol=1e-4)
    scores = engine.prompt_logprobs(PROMPTS[-1])
    with torch.no_grad():
        plain = model(torch.tensor([scores.token_ids])).logits[0, :-1].log_softmax(-1)
    expected = plain.gather(1, torch.tensor(scores.token_ids[1:])[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(scores.logprobs), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("name", ["yarn", "longrope"])
def test_bfloat16_says_nearly_the_same(name: str, tmp_path: Path) -> None:
    folder = scaled_model(name, tmp_path)
    engine: Any = load_engine(folder, backend="local")
    model = load_causal(folder, "float32")
    params = SamplingParams(max_tokens=12, temperature=0, ignore_end=True)
    for prompt, (answer,) in zip(PROMPTS, engine.generate(PROMPTS, params), strict=True):
        expected = logprobs(model, [*engine._prompts.ids(prompt), *answer.token_ids], 12)
        of = expected.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        assert float((torch.tensor(answer.logprobs) - of).abs().mean()) < 0.05


def test_what_is_no_scaling_is_refused() -> None:
    def refused(match: str, **rope: Any) -> None:
        config = t.config("llama")
        config.rope_parameters = {"rope_theta": 10000.0} | rope
        with pytest.raises(ValueError, match=match):
            shape_of(config)

    refused("rope type 'proportional' is not one of", rope_type="proportional", factor=2.0)
    refused(r"factor: expected a number above 0, got '4'", rope_type="yarn", factor="4")
    refused(r"factor: expected a number above 0, got None", rope_type="linear")
    refused(r"mscale: expected a number above 0, got '1'", rope_type="yarn", factor=4.0, mscale="1", mscale_all_dim=1)
    refused(r"long_factor: expected 8 numbers", rope_type="longrope", short_factor=[1.0] * 8, long_factor=[1.0] * 4)
    refused("over a part of each head", rope_type="yarn", factor=2.0, partial_rotary_factor=0.5)
    assert switch_of([{"rope_type": "default"}]) == 0


def test_where_positions_are_scaled_the_context_that_is_taken_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old configs keep the length before the scaling: a model of 16k was taken for one of 4k without a word."""
    monkeypatch.setitem(SMALL, "linear", ("llama", {"rope_type": "linear", "factor": 4.0}))
    model = load_causal(scaled_model("linear", tmp_path), "float32")
    assert (
        f"scaled by 4, and its context is taken to be the {shape_of(model.config).context} tokens"
        in capfd.readouterr().err
    )
    model.config.max_sequence_length = 16384
    assert shape_of(model.config).context == 16384


def test_transformers_answers_change_over_to_the_long_factors_as_a_whole(tmp_path: Path) -> None:
    """What was kept of the tokens before had turned by the short ones (Phi-3.5, Phi-4-mini)."""
    folder = scaled_model("longrope", tmp_path)
    model = load_causal(folder, "float32")
    engine = load_engine(folder, dtype="float32", backend="reference")
    ids = [3 + 7 * i % 200 for i in range(125)]
    ((answer,),) = engine.generate([ids], SamplingParams(max_tokens=10, temperature=0, ignore_end=True))
    expected = logprobs(model, [*ids, *answer.token_ids], 10)
    torch.testing.assert_close(torch.tensor(answer.logprobs), expected.amax(-1), atol=1e-4, rtol=1e-4)
