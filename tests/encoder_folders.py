"""Small random encoders of every tested architecture, with a WordPiece vocabulary of Chinese and English."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *"我你的在哪里订单退款发票要一个什么时候到货取消不好天气今多少钱北京是中国首都有人口万",
    *("where", "is", "my", "order", "refund", "please", "invoice", "the", "card", "lost", "how", "much", "cancel"),
    *("it", "when", "will", "arrive"),
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    *"abcdefghijklmnopqrstuvwxyz0123456789?.,，。？",
]
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
OWN = {
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4},
    "deberta-v2": {
        **SIZES,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "pooler_hidden_size": 32,
    },
    "big_bird": {**SIZES, "block_size": 4, "num_random_blocks": 1, "attention_type": "block_sparse"},
    "longformer": {**SIZES, "attention_window": 8},
    "electra": {**SIZES, "embedding_size": 16},
    "modernbert": {**SIZES, "local_attention": 8, "global_attn_every_n_layers": 2},
}


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*MARKS, *WORDS]))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), MARKS, strict=True)),
    )


def encoder_folder(folder: Path, kind: str = "bert", seed: int = 0) -> Path:
    """A masked language model's folder, as pretraining leaves one."""
    words = tokenizer()
    more = {"pad_token_id": 0, "vocab_size": len(words), "max_position_embeddings": 130}
    if kind == "modernbert":
        more |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    if kind in ("longformer", "roberta", "xlm-roberta"):
        more["type_vocab_size"] = 1
    config = AutoConfig.for_model(kind, **OWN.get(kind, SIZES), **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForMaskedLM.from_config(config)
        for parameter in model.parameters():  # so that no part of the numbers is nearly zero
            parameter.data += 0.05 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
