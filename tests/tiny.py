"""Tiny random models of each family, with a real tokenizer and chat template, saved as Hugging Face folders."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from steersman.text.template import CHATML
from steersman.types import Conversation, Message
from steersman.weights.folders import save_model

CORPUS = [
    "Where is my order? Your parcel was shipped on 3 May and arrives on 6 May.",
    "I would like to return the blue kettle. You can send it back within 30 days, free of charge.",
    "您好，请问我的订单什么时候到？您的包裹预计明天送达，请耐心等待。",
]


@functools.cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of some 350 tokens with ChatML's turn tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", bos_token="<|im_start|>", pad_token="<|endoftext|>"
    )
    wrapped.chat_template = CHATML
    return wrapped


def config(family: str) -> transformers.PretrainedConfig:
    size = len(tokenizer())
    common = {
        "vocab_size": size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        # larger than usual, so that logits are far from flat and a wrong step changes the text
        "initializer_range": 0.2,
    }
    if family in ("qwen3", "gemma3_text"):
        common["head_dim"] = 16
    if family == "gemma3_text":
        common |= {
            "num_key_value_heads": 1,  # as the smallest has
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "sliding_window": 8,
            "query_pre_attn_scalar": 16,
        }
    if family == "mistral":
        common |= {"sliding_window": 8, "tie_word_embeddings": False}
    return transformers.AutoConfig.for_model(family, **common)


def make_model(folder: Path, family: str = "llama", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config(family), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight") or name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    save_model(model, tokenizer(), folder)
    return folder


def conversation(text: str, answer: str | None = None, system: str = "", id: str = "c") -> Conversation:
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", text))
    if answer is not None:
        messages.append(Message("assistant", answer))
    return Conversation(id, tuple(messages))


def write_jsonl(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path
