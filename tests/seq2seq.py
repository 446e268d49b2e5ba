"""Small random encoder-decoders of the kinds that people use: T5 and BART and their relatives."""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers

import tiny
from steersman.weights.folders import save_model

T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
    "initializer_factor": 0.5,
}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "init_std": 0.3,
    "max_position_embeddings": 512,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "T5": ("t5", T5),
    "T5 1.1, Flan-T5": ("t5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mT5": ("mt5", T5 | {"tie_word_embeddings": False}),
    "umT5": ("umt5", T5),
    "LongT5": ("longt5", T5),
    "BART": ("bart", BART | {"decoder_start_token_id": 2}),
    "mBART": ("mbart", BART | {"scale_embedding": True}),
    "Pegasus": ("pegasus", BART),
    "Marian": ("marian", BART | {"scale_embedding": True}),
    "M2M100, NLLB": ("m2m_100", BART | {"decoder_start_token_id": 2}),
    "Blenderbot": ("blenderbot", BART),
    "Blenderbot small": ("blenderbot-small", BART),
    "PLBART": ("plbart", BART),
    "MVP": ("mvp", BART),
}
"""What docs/MODELS.md calls it -> transformers' model type, sizes."""
UNTIED = ("T5 1.1, Flan-T5", "mT5")


def random_model(name: str, vocabulary: int, seed: int = 0) -> Any:
    """float32; norms and biases random too, the logits' bias among them, so that what is left out changes numbers."""
    kind, sizes = KINDS[name]
    torch.manual_seed(seed)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}
    config = transformers.AutoConfig.for_model(kind, **{"vocab_size": vocabulary, **ends, **sizes})
    model: Any = transformers.AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        if hasattr(model, "final_logits_bias"):
            model.final_logits_bias.normal_()
    if name in UNTIED:  # transformers 5 ties them unless a checkpoint holds both
        model.lm_head.weight = torch.nn.Parameter(torch.randn(model.lm_head.weight.shape) * 0.3)
        for keys in ("_tied_weights_keys", "all_tied_weights_keys"):
            setattr(model, keys, {k: v for k, v in getattr(model, keys).items() if k != "lm_head.weight"})
    if name == "BART":  # as its published configs say
        model.generation_config.forced_bos_token_id = 1
    return model.eval()


def make_folder(name: str, tokenizer: Any, folder: Path, seed: int = 0) -> Path:
    save_model(random_model(name, len(tokenizer), seed), tokenizer, folder)
    return folder


def greedy(folder: Path, ids: Sequence[int], count: int) -> list[int]:
    """What plain transformers says, without Steersman and without a cache."""
    model: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    settings = model.generation_config
    opening = [settings.decoder_start_token_id, settings.forced_bos_token_id]
    whole = [token for token in opening if token is not None]
    first = len(whole)
    with torch.no_grad():
        for _ in range(count):
            given = {"input_ids": torch.tensor([ids]), "decoder_input_ids": torch.tensor([whole])}
            whole.append(int(model(**given, use_cache=False).logits[0, -1].argmax()))
    return whole[first:]


@functools.cache
def sentences() -> Any:
    """T5's kind of tokenizer, trained here: SentencePiece's unigrams, no newline, no chat template."""
    trained = io.BytesIO()
    text = [line + part for line in tiny.CORPUS for part in ("", "\\n", " 用户：小元：")]
    text += ["".join(chr(c) for c in range(33, 127))] * 2
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=trained,
        vocab_size=200,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        character_coverage=1.0,
        minloglevel=2,
        num_threads=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "spiece.model").write_bytes(trained.getvalue())
        return transformers.T5Tokenizer.from_pretrained(folder, extra_ids=3)
