"""Models as people bring them: GGUF files, SentencePiece and tiktoken tokenizers, added tokens, shards."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import sentencepiece
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from gguf import quants
from safetensors.torch import load_file

import test_train as stages
import tiny as t
from families import FAMILIES, random_model
from kernels_off import each_way
from steersman.engine.load import load_engine
from steersman.families.rope import rotations
from steersman.text.template import CHATML, Template
from steersman.types import SamplingParams
from steersman.weights import folders as loading
from steersman.weights.folders import load_causal, load_scalar, load_tokenizer, save_model
from steersman.weights.gguf import completed
from steersman.weights.resolve import resolve

TURNS = t.conversation("Where is my order?", "Your parcel is on its way.", "You help. 您好")
GREEDY = SamplingParams(max_tokens=4, temperature=0, ignore_end=True)


# tokens and rows of the embedding


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    config = t.config("llama")
    config.tie_word_embeddings = request.param
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    save_model(model, t.tokenizer(), tmp_path / "m")
    return tmp_path / "m"


def test_added_tokens_get_rows(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said and counted, the same in every load, trained, saved, and loaded by transformers alone."""
    rows = len(t.tokenizer())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|tool|>", "<|end|>"]})
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "<|end|>")
    tokenizer.eos_token = "<|end|>"
    tokenizer.save_pretrained(folder)
    one, two = load_causal(folder, "float32"), load_causal(folder, "float32")
    assert (
        f"2 tokens were added to its tokenizer (<|tool|>, <|end|>); the embedding grows from {rows} to {rows + 2}"
        in (capsys.readouterr().err)
    )
    weight, head = one.get_input_embeddings().weight, one.get_output_embeddings().weight
    assert weight.shape[0] == head.shape[0] == one.config.vocab_size == rows + 2
    assert (weight is head) == one.config.tie_word_embeddings
    torch.testing.assert_close(weight[rows], weight[:rows].mean(0))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert load_scalar(folder).get_input_embeddings().weight.shape[0] == rows + 2
    assert load_engine(folder, dtype="float32").generate([TURNS.without_answer()], GREEDY)[0][0].token_ids
    stages.run_sft(folder, tmp_path / "sft")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "sft")
    assert plain.get_input_embeddings().weight.shape[0] == rows + 2
    assert not torch.equal(plain.get_input_embeddings().weight[rows + 1], weight[rows + 1].to(plain.dtype))


def test_another_models_tokenizer_is_an_error_with_both_sizes(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    rows = len(t.tokenizer())
    tokenizer["model"]["vocab"]["zq"] = rows
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    for load in (load_causal, load_scalar, load_engine):
        with pytest.raises(ValueError, match=rf"tokenizer has {rows + 1} tokens and its embedding {rows} rows"):
            load(folder)
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 900_000_000, "content": "<far>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=r"tokenizer"):
        load_causal(folder)


def test_large_models_are_saved_in_shards(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "SHARD", "50KB")
    stages.run_sft(folder, tmp_path / "sft")
    assert len(list((tmp_path / "sft").glob("*.safetensors"))) > 1
    assert (tmp_path / "sft" / "model.safetensors.index.json").is_file()
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "sft", dtype=torch.float32)
    ours = load_causal(tmp_path / "sft", "float32")
    for name, weight in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight)
    stages.run_reward(tmp_path / "sft", tmp_path / "reward")


# tokenizers


def trained_elsewhere(folder: Path, tmp_path: Path) -> None:
    """Load, train, save; transformers alone reads the same tokens off what was saved."""
    tokenizer = load_tokenizer(folder)
    stages.run_sft(folder, tmp_path / "sft", row_tokens=512)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "sft")
    for text in ("Where is my order?", "您好，请问 42 😀", "  two  spaces\n"):
        assert again(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert text.strip() in again.decode(again(text)["input_ids"], skip_special_tokens=True)
    messages = [{"role": m.role, "content": m.content} for m in TURNS.without_answer().messages]
    theirs = again.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert list(Template(load_tokenizer(tmp_path / "sft")).prompt_ids(TURNS.without_answer())) == theirs
    assert load_engine(tmp_path / "sft").generate([TURNS.without_answer()], GREEDY)[0][0].token_ids


def model_of(vocabulary: int, folder: Path) -> None:
    config = t.config("llama")
    config.vocab_size, config.max_position_embeddings = vocabulary, 1024
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_tokenizer(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "text").write_text("\n".join(t.CORPUS * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        hard_vocab_limit=False,
        model_type=kind,
        byte_fallback=True,
        user_defined_symbols=["<|im_start|>", "<|im_end|>"],
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"legacy": False, "chat_template": CHATML}))
    model_of(400, folder)
    trained_elsewhere(folder, tmp_path)


@pytest.mark.usefixtures("with_and_without_kernels")
def test_a_tiktoken_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    ranks = [bytes([i]) for i in range(256)] + [b"er", b"in", b" o", b" is", "您".encode()[:2], b" orde"]
    lines = [base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(ranks)]
    (folder / "tokenizer.model").write_bytes(b"".join(lines))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": CHATML}
    extra = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | extra))
    model_of(320, folder)
    trained_elsewhere(folder, tmp_path)


# GGUF

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
SIZES = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64}


def quantised(x: np.ndarray[Any, Any], kind: Kind, rng: Any) -> np.ndarray[Any, Any]:
    """Blocks of a kind; those that the gguf package only reads are made of random bytes with small scales."""
    try:
        return np.asarray(quants.quantize(x, kind))
    except NotImplementedError:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (x.shape[0], x.shape[1] // block, size), dtype=np.uint8)
        scale = np.float16(1e-3).tobytes()
        places = {Kind.Q6_K: (208,), Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2)}[kind]
        for at in places:
            raw[:, :, at : at + 2] = np.frombuffer(scale, np.uint8)
        return raw.reshape(x.shape[0], -1)


def write_gguf(
    path: Path,
    family: str,
    kind: Kind,
    factors: np.ndarray[Any, Any] | None = None,
    more: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, torch.Tensor]:
    """A tiny model in a GGUF file as llama.cpp's converter writes it; its weights by transformers' names."""
    chosen = next(f for f in FAMILIES if f.model_type == family)
    chosen = type(chosen)(chosen.name, family, "", {**chosen.sizes, **SIZES, **(more or {})})
    model = random_model(chosen, len(t.tokenizer()))
    config, rng = model.config, np.random.default_rng(0)
    architecture = family.removesuffix("_text")
    out = gguf.GGUFWriter(path, architecture)
    out.add_context_length(512)
    out.add_block_count(config.num_hidden_layers)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_key_length(64)
    out.add_rope_dimension_count(64)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(10000.0)
    for name, value in fields.items():
        kind_of = gguf.GGUFValueType.FLOAT32 if isinstance(value, float) else gguf.GGUFValueType.STRING
        out.add_key_value(f"{architecture}.{name.replace('__', '.')}", value, kind_of)
    tokens = sorted(t.tokenizer().get_vocab().items(), key=lambda item: item[1])
    core = json.loads(t.tokenizer().backend_tokenizer.to_str())
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("default")
    out.add_token_list([name for name, _ in tokens])
    out.add_token_types([3 if i < 3 else 1 for i in range(len(tokens))])
    out.add_token_merges([" ".join(pair) for pair in core["model"]["merges"]])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_pad_token_id(0)
    out.add_chat_template(CHATML)
    weights = {}
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        layer, _, rest = name.removeprefix("model.layers.").partition(".")
        stem, _, end = (rest if name.startswith("model.layers.") else name).rpartition(".")
        own = NAMES.get(stem) or NAMES[f"{stem}"]
        own = f"blk.{layer}.{own}" if name.startswith("model.layers.") else own
        x = parameter.numpy().astype(np.float32)
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):  # as llama.cpp turns them
            heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
            x = x.reshape(heads, 2, x.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(x.shape)
        if x.ndim == 1:
            out.add_tensor(f"{own}.{end}", x)
            weights[name] = parameter
            continue
        raw = quantised(x, kind, rng)
        out.add_tensor(f"{own}.{end}", raw, raw_dtype=kind)
        back = np.asarray(quants.dequantize(raw, kind)).reshape(x.shape)
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            back = back.reshape(heads, x.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(x.shape)
        weights[name] = torch.from_numpy(np.ascontiguousarray(back))
    if factors is not None:
        out.add_tensor("rope_freqs.weight", factors)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return weights


KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q4_K", "Q5_K", "Q6_K")


@pytest.mark.parametrize(
    ("family", "kind"), [*(("llama", k) for k in KINDS), ("qwen2", "Q4_0"), ("qwen3", "Q8_0"), ("qwen2", "Q6_K")]
)
def test_a_gguf_is_the_model_that_was_written(
    family: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights to the bit of bfloat16, the head's size, template and tokens; and it answers."""
    weights = write_gguf(tmp_path / "m.gguf", family, Kind[kind])
    folder = resolve(str(tmp_path / "m.gguf"), cache=tmp_path / "cache")
    model = load_causal(folder)
    assert model.config.head_dim == 64 if family != "qwen2" else True
    for name, weight in weights.items():
        assert torch.equal(model.state_dict()[name], weight.bfloat16()), name
    tokenizer = load_tokenizer(folder)
    text = "Where is my order? 您好"
    assert tokenizer(text)["input_ids"] == t.tokenizer()(text)["input_ids"]
    assert tokenizer.eos_token_id == 2
    assert Template(tokenizer).prompt_ids(TURNS.without_answer()) == Template(t.tokenizer()).prompt_ids(
        TURNS.without_answer()
    )
    for _ in each_way(monkeypatch):
        assert load_engine(folder).generate([TURNS.without_answer()], GREEDY)[0][0].token_ids


def test_biases_of_a_gguf_are_kept(tmp_path: Path) -> None:
    """Granite Code's, of which the file has no setting."""
    more = {"attention_bias": True, "mlp_bias": True}
    weights = write_gguf(tmp_path / "m.gguf", "llama", Kind.F32, more=more)
    model = load_causal(resolve(str(tmp_path / "m.gguf"), cache=tmp_path / "cache"))
    biases = [name for name in weights if name.endswith(".bias")]
    assert len(biases) == 7 * model.config.num_hidden_layers
    for name in biases:
        assert torch.equal(model.state_dict()[name], weights[name].bfloat16()), name


def test_an_encoder_decoder_in_a_gguf_is_refused(tmp_path: Path) -> None:
    out = gguf.GGUFWriter(tmp_path / "m.gguf", "t5")
    out.add_context_length(512)
    out.add_block_count(1)
    out.add_embedding_length(32)
    out.add_feed_forward_length(32)
    out.add_head_count(2)
    out.add_key_length(16)
    out.add_token_list(["<pad>", "</s>", "<unk>"])
    out.add_tensor("token_embd.weight", np.zeros((3, 32), np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    with pytest.raises(ValueError, match=r"an encoder-decoder; expected its Hugging Face folder"):
        resolve(str(tmp_path / "m.gguf"), cache=tmp_path / "cache")


def test_scaled_positions_of_a_gguf_are_kept_or_refused(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}
    write_gguf(tmp_path / "a.gguf", "llama", Kind.F16, **fields)
    model = load_causal(resolve(str(tmp_path / "a.gguf"), cache=tmp_path / "cache"))
    assert (model.config.rope_parameters["rope_type"], model.config.rope_parameters["factor"]) == ("linear", 4.0)
    write_gguf(tmp_path / "b.gguf", "llama", Kind.F16, rope__scaling__type="other")
    with pytest.raises(ValueError, match=r"rope\.scaling\.type: 'other'"):
        resolve(str(tmp_path / "b.gguf"), cache=tmp_path / "cache")


def test_a_gguf_of_gemma_3_scales_what_is_seen_whole_alone(tmp_path: Path) -> None:
    out = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma3")
    out.add_key_length(16)
    out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    out.add_rope_scaling_factor(8.0)
    out.add_tensor("token_embd.weight", np.zeros((3, 32), np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    rope = completed(tmp_path / "m.gguf", transformers.Gemma3TextConfig(num_hidden_layers=6)).rope_parameters
    assert rope["full_attention"] == {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}
    assert rope["sliding_attention"] == {"rope_type": "default", "rope_theta": 10000.0}


def test_llama_3s_positions_stand_in_a_tensor(tmp_path: Path) -> None:
    """transformers reads the file without them: a model that computes, and wrongly."""
    scaling = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 32.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    plain, _ = rotations({"rope_theta": 10000.0}, 64)
    factors = (plain / rotations(scaling, 64)[0]).numpy()
    write_gguf(tmp_path / "m.gguf", "llama", Kind.F16, factors)
    model = load_causal(resolve(str(tmp_path / "m.gguf"), cache=tmp_path / "cache"), "float32")
    assert model.config.rope_parameters == scaling
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, plain / torch.from_numpy(factors))
    write_gguf(tmp_path / "n.gguf", "llama", Kind.F16, factors + np.linspace(0, 1, 32, dtype=np.float32))
    with pytest.raises(ValueError, match=r"rope_freqs\.weight: factors that are not Llama 3's"):
        resolve(str(tmp_path / "n.gguf"), cache=tmp_path / "cache")


def test_an_unknown_gguf_is_said(tmp_path: Path) -> None:
    out = gguf.GGUFWriter(tmp_path / "m.gguf", "nosuch")
    out.add_tensor("x", np.zeros((4, 4), np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    with pytest.raises(ValueError, match=r"m\.gguf.*nosuch"):
        resolve(str(tmp_path / "m.gguf"), cache=tmp_path / "cache")


def test_shards_of_weights_are_hashed_and_read_whole(folder: Path, tmp_path: Path) -> None:
    """A file beside the index that it does not name is not read (some repositories hold another format too)."""
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    before = load_file(folder / "model.safetensors")
    (folder / "consolidated.safetensors").write_bytes(b"something else")
    assert torch.equal(load_causal(folder, "float32").state_dict()["model.norm.weight"], before["model.norm.weight"])
