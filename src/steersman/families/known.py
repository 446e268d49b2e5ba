"""Which family a model is of."""

from __future__ import annotations

from typing import Any

from steersman.families import decoder, encoder_decoder
from steersman.families.family import Family

FAMILIES: tuple[Family, ...] = (encoder_decoder, decoder)
"""The first that serves a config is its family; the decoder serves all that is left."""


def family_of(model: Any) -> Family:
    """Of a model, or of its config."""
    config = getattr(model, "config", model)
    return next(family for family in FAMILIES if family.serves(config))
