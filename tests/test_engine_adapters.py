"""LoRA adapters of the local engine against peft's own model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny as t
from steersman.engine.load import load_engine
from steersman.types import Completion, SamplingParams
from steersman.weights.folders import load_causal

PROMPTS = [t.conversation("Where is my order?"), t.conversation("Hi")]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_adapter(base: Path, folder: Path, seed: int, **options: Any) -> Any:
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=TARGETS, init_lora_weights=False, **options)
    model = peft.get_peft_model(load_causal(base, "float32"), config)
    model.save_pretrained(str(folder))
    return model.eval()


def greedy(model: Any, ids: tuple[int, ...], most: int) -> list[int]:
    grown = list(ids)
    for _ in range(most):
        with torch.no_grad():
            grown.append(int(model(torch.tensor([grown])).logits[0, -1].argmax()))
    return grown[len(ids) :]


def test_adapters_equal_peft_and_the_base_stays(family: Path, tmp_path: Path) -> None:
    models = {name: write_adapter(family, tmp_path / name, seed) for seed, name in enumerate(("a", "b"))}
    engine: Any = load_engine(family, dtype="float32")
    params = SamplingParams(max_tokens=8, temperature=0, ignore_end=True)
    before = engine.generate(PROMPTS, params)
    weights = engine.decoder.weights.nbytes
    for name in models:
        engine.load_adapter(name, tmp_path / name)
    assert engine.decoder.weights.nbytes == weights
    for name, model in models.items():
        answers = engine.generate(PROMPTS, SamplingParams(max_tokens=8, temperature=0, ignore_end=True, adapter=name))
        for prompt, (answer,) in zip(PROMPTS, answers, strict=True):
            assert list(answer.token_ids) == greedy(model, engine.template.prompt_ids(prompt), 8)
    assert [a[0].token_ids for a in engine.generate(PROMPTS, params)] == [a[0].token_ids for a in before]


def test_streams_of_different_adapters_wait_for_each_other(tiny: Path, tmp_path: Path) -> None:
    write_adapter(tiny, tmp_path / "a", 1)
    engine: Any = load_engine(tiny, dtype="float32")
    engine.load_adapter("a", tmp_path / "a")
    every = [SamplingParams(max_tokens=9, seed=i, adapter=a) for i, a in enumerate((None, "a", None, "a"))]
    alone = [list(engine.stream(PROMPTS[0], p))[-1] for p in every]
    streams, got = [engine.stream(PROMPTS[0], p) for p in every], {}
    while len(got) < 4:
        for i, stream in enumerate(streams):
            if i not in got and isinstance(item := next(stream), Completion):
                got[i] = item
    assert [got[i] for i in range(4)] == alone


def test_what_is_no_plain_adapter_is_refused(tiny: Path, tmp_path: Path) -> None:
    engine: Any = load_engine(tiny, dtype="float32")
    with pytest.raises(ValueError, match="no such file; expected a folder that peft wrote"):
        engine.load_adapter("a", tmp_path)
    write_adapter(tiny, tmp_path / "dora", 1, use_dora=True)
    with pytest.raises(ValueError, match="use_dora is not supported"):
        engine.load_adapter("a", tmp_path / "dora")
    write_adapter(tiny, tmp_path / "a", 1)
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"r": 5}))
    with pytest.raises(ValueError, match="the shapes are not this model's"):
        engine.load_adapter("a", tmp_path / "a")
    with pytest.raises(ValueError, match=r"sampling.adapter: expected one of those loaded \(none is loaded\), got 'x'"):
        engine.generate(PROMPTS, SamplingParams(adapter="x"))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "IA3": ({"peft_type": "IA3"}, "peft_type 'IA3' is not supported; expected LORA"),
    "prompt": ({"peft_type": "PROMPT_TUNING", "r": None}, "peft_type 'PROMPT_TUNING'"),
    "PiSSA": ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changed the base"),
    "OLoRA": ({"init_lora_weights": "olora"}, "init_lora_weights 'olora' changed the base"),
    "activated": ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens is not supported"),
    "repeated": ({"layer_replication": [[0, 2]]}, "layer_replication is not supported"),
    "new": ({"of_tomorrow": {"x": 1}}, "of_tomorrow is not supported"),
    "ranks": ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is not supported"),
    "r": ({"r": "4"}, "r: expected a whole number of at least 1, got '4'"),
    "alpha": ({"lora_alpha": None}, "lora_alpha: expected a number, got None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_adapter_says_of_itself_is_heeded_or_refused(name: str, tiny: Path, tmp_path: Path) -> None:
    """A PiSSA adapter beside the published base, or one that acts behind some tokens alone, would answer wrongly."""
    change, expected = REFUSED[name]
    write_adapter(tiny, tmp_path / "a", 1)
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    engine: Any = load_engine(tiny, dtype="float32")
    with pytest.raises(ValueError, match=expected):
        engine.load_adapter("a", tmp_path / "a")


def test_tensors_that_are_no_plain_adapter_are_refused(tiny: Path, tmp_path: Path) -> None:
    write_adapter(tiny, tmp_path / "a", 1)
    engine: Any = load_engine(tiny, dtype="float32")
    file = tmp_path / "a" / "adapter_model.safetensors"
    whole, raw = load_file(file), file.read_bytes()
    first = next(name for name in whole if name.endswith("lora_A.weight"))
    for tensors, expected in (
        ({k: x for k, x in whole.items() if k != first}, "lora_A is missing"),
        (whole | {first: whole[first] * float("nan")}, "not finite"),
        (whole | {first: whole[first][:, :5].contiguous()}, "the shapes are not this model's"),
        (
            whole | {"base_model.model.lm_head.weight": torch.ones(3)},
            "unknown weight 'base_model.model.lm_head.weight'",
        ),
        (whole | {first.replace("lora_A.weight", "lora_magnitude_vector"): torch.ones(3)}, "unknown weight"),
    ):
        save_file(tensors, file)
        with pytest.raises(ValueError, match=expected):
            engine.load_adapter("a", tmp_path / "a")
    file.write_bytes(raw[:100])
    with pytest.raises(ValueError, match="damaged or truncated"):
        engine.load_adapter("a", tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text("[")
    with pytest.raises(ValueError, match=r"adapter_config\.json: not valid JSON"):
        engine.load_adapter("a", tmp_path / "a")


def test_a_rank_stabilised_adapter_equals_peft(tiny: Path, tmp_path: Path) -> None:
    model = write_adapter(tiny, tmp_path / "a", 3, use_rslora=True)
    engine: Any = load_engine(tiny, dtype="float32")
    engine.load_adapter("a", tmp_path / "a")
    params = SamplingParams(max_tokens=8, temperature=0, ignore_end=True, adapter="a")
    (answer,) = engine.generate(PROMPTS[:1], params)[0]
    assert list(answer.token_ids) == greedy(model, engine.template.prompt_ids(PROMPTS[0]), 8)
