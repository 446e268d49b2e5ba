"""Characters that a tokenizer does not have: what a model reads in their place is one token for all, and it learns to
say that. T5's tokenizer has no Chinese, BERT's English ones little."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def unknown_id(tokenizer: Any) -> int | None:
    """The token that stands for what the tokenizer does not have; None where there is none, or it has another role too
    (GPT-2's ends texts)."""
    found = tokenizer.unk_token_id
    others = (tokenizer.eos_token_id, tokenizer.bos_token_id)
    return None if found is None or found in others else int(found)


def unknown_said(tokenizer: Any, texts: Iterable[Sequence[int]]) -> str:
    """How many tokens of texts, as ids, are unknown; '' where none is."""
    token = unknown_id(tokenizer)
    if token is None:
        return ""
    count = size = 0
    for ids in texts:
        count, size = count + ids.count(token), size + len(ids)
    if not count:
        return ""
    what = f"{count} of {size} tokens ({count / size:.1%}) are {tokenizer.unk_token}"
    return f"{what}: words that the tokenizer does not have, of which the model sees nothing else"
