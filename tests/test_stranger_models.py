"""Decoders that nobody here chose: what keeps no keys, counts positions by itself, or has no scalar class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import RobertaConfig, RobertaForCausalLM

import tiny as t
from families import Family, greedy, make_folder
from steersman.compute.packing import build_row
from steersman.engine.backends.reference import ReferenceEngine
from steersman.engine.load import load_engine
from steersman.families.outputs import branch_scores, init_score_head, response_logprobs
from steersman.types import SamplingParams
from steersman.weights.checks import check_quantised
from steersman.weights.folders import load_causal, load_scalar, read_tokenizer, use_packed_rows
from test_families import expected
from test_models import trees

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
STATES = {"state_size": 16, "n_groups": 1, "chunk_size": 16, "conv_kernel": 4, "time_step_rank": 4}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "rotary_dim": 4}
MAMBA = {
    "attn_layer_indices": [1],
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
}
STRANGERS = (
    Family("Bamba", "bamba", "chatml", MAMBA),
    Family("Mamba", "mamba", "chatml", STATES),
    Family("Mamba 2", "mamba2", "chatml", STATES | {"num_heads": 8, "head_dim": 8, "expand": 2}),
    Family("RecurrentGemma", "recurrent_gemma", "chatml", {"num_hidden_layers": 3, "lru_width": 32}),
    Family("GPT", "openai-gpt", "chatml", GPT),
    Family("CodeGen", "codegen", "chatml", GPT),
)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, id=f.name, marks=pytest.mark.slow if f.name in ("Mamba", "RecurrentGemma") else ())
        for f in STRANGERS
    ],
)
def test_decoders_without_keys_positions_or_scalar_classes(family: Family, tmp_path: Path) -> None:
    """Bamba answered wrongly from the second token on; the others ended in an AttributeError or had no reward model."""
    folder = make_folder(family, t.tokenizer(), tmp_path / "m")
    ids = tuple(t.tokenizer()("Where is my order? 您好")["input_ids"])
    params = SamplingParams(max_tokens=8, temperature=0, ignore_end=True)
    (answer,) = load_engine(folder, dtype="float32").generate([ids], params)[0]
    assert list(answer.token_ids) == greedy(folder, ids, 8)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    forest = trees()
    model = use_packed_rows(load_causal(folder, "float32"))
    torch.testing.assert_close(response_logprobs(model, build_row(forest), 0.7)[0], expected(plain, forest, 0.7))
    reward = use_packed_rows(load_scalar(folder, "float32"))
    init_score_head(reward, 5)
    states = [
        plain.base_model(torch.tensor([x.trunk + b])).last_hidden_state[0, -1] for x in forest for b in x.branches
    ]
    theirs = torch.stack(states) @ reward.score.weight[0]
    torch.testing.assert_close(branch_scores(reward, build_row(forest)), theirs, atol=5e-5, rtol=1e-4)


def test_what_has_no_gradients_or_no_score_is_refused_by_name(tmp_path: Path) -> None:
    rwkv = Family("RWKV", "rwkv", "chatml", {"attention_hidden_size": 32, "context_length": 512})
    model = load_causal(make_folder(rwkv, t.tokenizer(), tmp_path / "rwkv"), "float32")
    with pytest.raises(ValueError, match="'rwkv' is served and not trained"):
        use_packed_rows(model)
    ctrl = make_folder(Family("CTRL", "ctrl", "chatml", GPT | {"dff": 48}), t.tokenizer(), tmp_path / "ctrl")
    with pytest.raises(ValueError, match="'ctrl' is no reward model or critic"):
        load_scalar(ctrl, "float32")


def test_a_dtype_that_a_models_code_does_not_compute_is_refused(tmp_path: Path) -> None:
    """Falcon-Mamba reads the weights of its linear layers by itself: the first request ended in a RuntimeError."""
    folder = make_folder(Family("FalconMamba", "falcon_mamba", "chatml", STATES), t.tokenizer(), tmp_path / "m")
    with pytest.raises(ValueError, match=r"'falcon_mamba' does not compute in int8 .*expected another dtype"):
        load_engine(folder, dtype="int8")
    assert load_engine(folder).generate([[5, 6]], SamplingParams(max_tokens=1))[0][0].token_ids


def test_ends_that_the_model_names_end_answers_here_too(tiny: Path, tmp_path: Path) -> None:
    """Llama 3 and Qwen name several in generation_config.json; what is not applied is said."""
    folder = Path(shutil.copytree(tiny, tmp_path / "m"))
    ids = t.tokenizer()("Where is my order?")["input_ids"]
    third = greedy(folder, ids, 3)[2]
    settings = {
        "eos_token_id": [2, third, 10**6],
        "repetition_penalty": 1.05,
        "do_sample": True,
        "top_k": 20,
        "top_p": 1.0,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    own = {"do_sample": False, "repetition_penalty": 1.0, "max_new_tokens": 8, "top_k": None}
    theirs = plain.generate(torch.tensor([ids]), **own)[0, len(ids) :].tolist()
    assert theirs[-1] == third
    for backend in ("local", "reference"):
        said: list[str] = []
        engine = load_engine(folder, dtype="float32", backend=backend, say=said.append)
        (answer,) = engine.generate([ids], SamplingParams(max_tokens=8, temperature=0))[0]
        assert (list(answer.token_ids), answer.finish_reason) == (theirs, "stop")
        assert "its own generation settings (repetition_penalty 1.05, top_k 20) are not applied" in said[0]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": "x"}))
    with pytest.raises(ValueError, match=r"generation_config\.json: eos_token_id: expected ids of tokens, got 'x'"):
        load_engine(folder, dtype="float32")


def test_a_cap_on_gemma_3s_logits_is_computed(tmp_path: Path) -> None:
    """The local engine would leave it out, so the reference engine answers."""
    sizes = {
        "final_logit_softcapping": 3.0,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    folder = make_folder(Family("capped", "gemma3_text", "chatml", sizes), t.tokenizer(), tmp_path / "m")
    said: list[str] = []
    engine: Any = load_engine(folder, dtype="float32", say=said.append)
    assert "since it has final_logit_softcapping = 3.0" in said[-1]
    ids = t.tokenizer()("Where is my order?")["input_ids"]
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        log_p = plain(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    theirs = log_p.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(engine.prompt_logprobs(ids).logprobs), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pattern", [0, None, "LG"])
def test_exaones_pattern_of_layers_is_read(pattern: Any, tmp_path: Path) -> None:
    """0 is what transformers itself writes where no layer has a window (EXAONE 4.0 1.2B); the 32B's is a text."""
    window = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
    window = window if pattern == "LG" else {"sliding_window": None, "layer_types": ["full_attention"] * 2}
    folder = make_folder(Family("EXAONE", "exaone4", "chatml", window), t.tokenizer(), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window_pattern": pattern}))
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    forest = trees()
    ours = use_packed_rows(load_causal(folder, "float32"))
    torch.testing.assert_close(
        response_logprobs(ours, build_row(forest), 0.7)[0], expected(plain, forest, 0.7), atol=3e-5, rtol=1e-5
    )


def test_numbers_that_stand_for_others_are_not_taken_for_weights(tiny: Path, tmp_path: Path) -> None:
    """Eight bits without a scale, an unknown quantisation: transformers reads both as if they were weights."""
    folder = Path(shutil.copytree(tiny, tmp_path / "m"))
    tensors = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    for kind in (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"load_in_8bit": True},
        {"quant_method": "awq"},
    ):
        check_quantised({"quantization_config": kind}, folder / "config.json")
    for kind in ({"quant_method": "modelopt"}, {"quant_method": 3}, {"quant_method": []}):
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": kind}))
        with pytest.raises(ValueError, match=r"quantization_config\.quant_method: .* is not known to transformers"):
            load_causal(folder)
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    with pytest.raises(ValueError, match="GPTQ"):
        load_causal(folder)
    (folder / "config.json").write_text(json.dumps(config))
    name = "model.layers.0.mlp.up_proj.weight"
    for kind in (torch.int8, torch.uint8, torch.int32):
        changed = tensors | {name: (tensors[name] * 50).to(kind)}
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=rf"{name}: whole numbers \(.*no quantization_config says"):
            load_causal(folder)
    mixed = {
        key: x.to((torch.float16, torch.float64, torch.bfloat16)[i % 3]) for i, (key, x) in enumerate(tensors.items())
    }
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    for key, x in load_causal(folder, "float32").state_dict().items():
        if key in mixed:
            assert torch.equal(x, mixed[key].float()), key


def test_models_that_count_places_from_another_number_are_left_to_it(tiny: Path) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    tokenizer = read_tokenizer(tiny)
    config = RobertaConfig(vocab_size=len(tokenizer), is_decoder=True, max_position_embeddings=64, **shape)
    engine = ReferenceEngine(RobertaForCausalLM(config).eval(), tokenizer, model_name="r", version="1")
    assert not engine._places
