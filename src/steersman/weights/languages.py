"""The language of answers, in models that translate between many (mBART-50, M2M100, NLLB): an answer begins with its
token, which whoever asks names to transformers; published folders leave it open, and without it answers end at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steersman.progress import note

TYPES = ("m2m_100", "mbart")


def take_language(model: Any, tokenizer: Any, folder: Path) -> None:
    """Where no setting names the first token of answers, take the language that the tokenizer names as its target
    (`tgt_lang`). Printed, as is that there is none."""
    settings, config = model.generation_config, model.config
    start = settings.decoder_start_token_id
    start = getattr(config, "decoder_start_token_id", None) if start is None else start
    if config.model_type not in TYPES or start != config.eos_token_id:
        return  # an answer begins with its language (mBART) or with what the model was made with
    if settings.forced_bos_token_id is not None or getattr(config, "forced_bos_token_id", None) is not None:
        return
    code_of = getattr(tokenizer, "get_lang_id", None) or tokenizer.convert_tokens_to_ids
    named, source = (getattr(tokenizer, name, None) for name in ("tgt_lang", "src_lang"))
    tokens = tokenizer.get_vocab()
    if source not in tokens and f"__{source}__" not in tokens:
        return  # no language is marked
    read = f"prompts are marked as {source} (src_lang in tokenizer_config.json)"
    if named in tokens or f"__{named}__" in tokens:
        settings.forced_bos_token_id = code_of(named)
        note(f"{folder}: answers begin with the token of {named} (tgt_lang in tokenizer_config.json); {read}")
    else:
        unknown = f"{named} (tgt_lang) is no token of it, and " if named else ""
        note(
            f"{folder}: {unknown}nothing says in which language it answers, and until training teaches that, answers "
            f"may be empty; expected forced_bos_token_id in generation_config.json, such as {code_of(source)} ({source}"
            f"); {read}"
        )
