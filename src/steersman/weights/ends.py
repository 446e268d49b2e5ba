"""The tokens that end an answer, as a folder names them for other software.

Why so: decision 122 in docs/LOG.md.
"""

from __future__ import annotations

from typing import Any

from steersman.text.template import Template
from steersman.types import Conversation, Message


def agree_on_ends(model: Any, tokenizer: Any) -> None:
    """Config, generation config and tokenizer name the tokens that end a turn, so that other software stops there.

    Control tokens at which the model's own settings stopped before stay: a base may end what it writes by several.
    """
    template = Template(tokenizer)
    before, probe = tokenizer.eos_token, Conversation("probe", (Message("user", "?"), Message("assistant", "!")))
    rows = template.examples(probe)
    said = {i for row in rows for i, learned in zip(row.ids[:-1], row.learn, strict=False) if learned}
    added = tokenizer.added_tokens_decoder.items()
    control = {*tokenizer.all_special_ids, *(i for i, token in added if token.special)}
    others = template.ends | (_stops(model) & control - said)
    ends: int | list[int] = template.end_of_turn
    if others != {ends}:
        ends = [template.end_of_turn, *sorted(others - {template.end_of_turn})]
    model.config.eos_token_id = ends
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = ends
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(template.end_of_turn)
    if Template(tokenizer).examples(probe) != rows:  # the template also writes the old end token elsewhere
        tokenizer.eos_token = before


def _stops(model: Any) -> set[int]:
    """Tokens at which the model's own settings end what it writes."""
    settings = (getattr(model, "generation_config", None), model.config)
    named = next((ends for s in settings if (ends := getattr(s, "eos_token_id", None)) is not None), ())
    return set(named) if isinstance(named, list | tuple) else {named}
