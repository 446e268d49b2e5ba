"""Small random models of the architectures that people use now, each with the chat template of a published model.

`FAMILIES` is what docs/MODELS.md has a row for; `bench/families.py` writes it, tests/test_families.py holds it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import tiny
from steersman.text.template import CHATML
from steersman.weights.folders import save_model

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
    "attention_dropout": 0.0,
}
SLIDING = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 64.0,
    "original_max_position_embeddings": 8,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
MIXED = {"num_local_experts": 4, "num_experts_per_tok": 2}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


@dataclass(frozen=True)
class Family:
    """One row: what it is called, transformers' model type, sizes that differ from `SIZES`, its template's file."""

    name: str
    model_type: str
    template: str
    sizes: dict[str, Any] = field(default_factory=dict)

    def config(self, **tokens: Any) -> Any:
        wanted = SIZES | self.sizes | tokens
        kind = transformers.CONFIG_MAPPING[self.model_type]
        known = {f.name for f in dataclasses.fields(kind)} | set(getattr(kind, "attribute_map", {}))
        return kind(**{key: value for key, value in wanted.items() if key in known})


FAMILIES = (
    Family("Llama 3.x", "llama", "meta-llama-Llama-3.2-3B-Instruct"),
    Family("Qwen 2.5", "qwen2", "Qwen-Qwen2.5-7B-Instruct"),
    Family("Qwen 3", "qwen3", "Qwen-QwQ-32B"),
    Family(
        "Qwen 3.5",
        "qwen3_5_text",
        "Qwen3.5-4B",
        {
            "layer_types": ["linear_attention", "full_attention"],
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
    Family("Gemma 2", "gemma2", "google-gemma-2-2b-it", SLIDING | {"query_pre_attn_scalar": 8}),
    Family("Gemma 3", "gemma3_text", "google-gemma-2-2b-it", SLIDING | {"query_pre_attn_scalar": 8}),
    Family(
        "Gemma 4",
        "gemma4_text",
        "google-gemma-4-31B-it-interleaved",
        SLIDING
        | {
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 0,
            "global_head_dim": 8,
            "enable_moe_block": False,
        },
    ),
    Family("Mistral", "mistral", "Mistral-Small-3.2-24B-Instruct-2506", {"tie_word_embeddings": False}),
    Family(
        "Ministral 3",
        "ministral3",
        "mistralai-Ministral-3-14B-Reasoning-2512",
        {"tie_word_embeddings": False, "rope_parameters": YARN | {"llama_4_scaling_beta": 0.1}},
    ),
    Family(
        "Phi 3 and 4", "phi3", "microsoft-Phi-3.5-mini-instruct", {"sliding_window": 8, "tie_word_embeddings": False}
    ),
    Family("DeepSeek R1 distilled (Llama)", "llama", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B"),
    Family("DeepSeek R1 distilled (Qwen)", "qwen2", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"),
    Family("GLM 4", "glm4", "GLM-4.6", {"tie_word_embeddings": False}),
    Family(
        "GLM 4.5 and later",
        "glm4_moe",
        "GLM-4.6",
        {
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "tie_word_embeddings": False,
        },
    ),
    Family("SmolLM2", "llama", "chatml"),
    Family("SmolLM3", "smollm3", "HuggingFaceTB-SmolLM3-3B"),
    Family(
        "Granite 3",
        "granite",
        "ibm-granite-granite-3.3-2B-Instruct",
        {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
    ),
    Family(
        "Granite 4",
        "granitemoehybrid",
        "ibm-granite-granite-4.0",
        {
            "logits_scaling": 4.0,
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 32,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 16,
            "mamba_expand": 2,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 16,
        },
    ),
    Family("LFM2", "lfm2", "LFM2.5-Instruct", {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3}),
    Family(
        "gpt-oss",
        "gpt_oss",
        "openai-gpt-oss-120b",
        SLIDING
        | {"num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False, "rope_parameters": YARN},
    ),
    Family("Qwen 3 mixture of experts", "qwen3_moe", "Qwen3-Coder", MOE),
    Family(
        "Mixtral", "mixtral", "Mistral-Small-3.2-24B-Instruct-2506", {"num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    Family("OLMoE", "olmoe", "chatml", {"num_experts": 4, "num_experts_per_tok": 2}),
    Family(
        "MiniCPM",
        "minicpm3",
        "openbmb-MiniCPM5-1B",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    Family("MiniCPM 4 and 5 (Llama)", "llama", "openbmb-MiniCPM5-1B"),
    Family(
        "Falcon",
        "falcon",
        "chatml",
        {"ffn_hidden_size": 48, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False, "bias": False},
    ),
    Family(
        "Falcon H1",
        "falcon_h1",
        "chatml",
        {
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 16,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 16,
            "lm_head_multiplier": 0.5,
        },
    ),
    Family("OLMo 2", "olmo2", "chatml", {"tie_word_embeddings": False}),
    Family("OLMo 3", "olmo3", "chatml", SLIDING),
    Family(
        "Cohere Command R7B",
        "cohere2",
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        SLIDING | {"logit_scale": 0.25},
    ),
    Family("Seed-OSS", "seed_oss", "ByteDance-Seed-OSS"),
    Family("Apertus", "apertus", "Apertus-8B-Instruct"),
    Family("Nemotron 3", "nemotron_h", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"),
)

OTHERS = (
    Family("EXAONE 4", "exaone4", "chatml", SLIDING),
    Family("ERNIE 4.5", "ernie4_5", "chatml"),
    Family("GLM 4 9B", "glm", "chatml"),
    Family("Granite 3 mixture of experts", "granitemoe", "chatml", MIXED | {"logits_scaling": 4.0}),
    Family("Ministral", "ministral", "chatml", SLIDING),
    Family(
        "OPT",
        "opt",
        "chatml",
        {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False, "init_std": 0.3},
    ),
)
"""What rows are computed of, without a line of its own in docs/MODELS.md."""


def random_model(family: Family, vocabulary: int, seed: int = 0) -> Any:
    """float32, every weight random, norms and biases too: a step that is left out changes the numbers."""
    torch.manual_seed(seed)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = family.config(vocab_size=vocabulary, **ends)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1 or "norm" in name or "bias" in name or "sinks" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


LONG = {"row_tokens": 4096}
"""Some templates write two thousand tokens of the tiny tokenizer before the first turn."""
TEMPLATES = Path(__file__).parents[2] / "shared" / "data" / "templates"
"""Chat templates of published models, as data; not part of this repository."""
MARK = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|</?s>|<(?:start|end)_of_turn>|\[/?[A-Z_]{3,25}\]|<\|?turn\|?>|<bos>|<eos>"
)


def template_text(family: Family) -> str | None:
    """The chat template of a published model of the family; None where its file is not here."""
    if family.template == "chatml":
        return CHATML
    file = TEMPLATES / f"{family.template}.jinja"
    return file.read_text(encoding="utf-8") if file.is_file() else None


def tokenizer_for(template: str) -> Any:
    """Byte-level BPE of some 350 tokens, and whatever looks like a special token in the template.

    The end of an answer is the special token that follows one in the rendered template.
    """
    marks = [m for m in dict.fromkeys(MARK.findall(template)) if not m.startswith("<|im_")]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tiny.tokenizer().backend_tokenizer.to_str()),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    made.add_special_tokens({"additional_special_tokens": marks})
    made.chat_template = template
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "Rzq"}]
    after = str(made.apply_chat_template(turns, tokenize=False)).rpartition("Rzq")[2]
    found = [m for m in (*marks, "<|im_end|>") if after.lstrip().startswith(m)]
    if found:
        made.eos_token = max(found, key=len)
    return made


def make_folder(family: Family, tokenizer: Any, folder: Path) -> Path:
    save_model(random_model(family, len(tokenizer)), tokenizer, folder)
    return folder


def greedy(folder: Path, ids: Sequence[int], count: int, dtype: str = "float32") -> list[int]:
    """What plain transformers says, without Steersman and without a cache."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    whole = list(ids)
    with torch.no_grad():
        for _ in range(count):
            whole.append(int(model(torch.tensor([whole]), use_cache=False).logits[0, -1].argmax()))
    return whole[len(ids) :]
