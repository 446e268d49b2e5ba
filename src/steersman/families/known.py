"""Which family a model is of."""

from __future__ import annotations

from typing import Any

from steersman.families import decoder, encoder, encoder_decoder
from steersman.families.family import Family

FAMILIES: tuple[Family, ...] = (encoder_decoder, encoder, decoder)
"""A config's family is the first whose `serves` is true; the decoder serves all others."""


def family_of(model: Any) -> Family:
    """The family of a model or a config."""
    config = getattr(model, "config", model)
    return next(family for family in FAMILIES if family.serves(config))
