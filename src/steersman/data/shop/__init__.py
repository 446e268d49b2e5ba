"""A fictional bilingual online shop's customer service: `generate` makes conversations, `judge` scores answers."""

from steersman.data.shop.cases import INTENT_WEIGHTS
from steersman.data.shop.generate import generate
from steersman.data.shop.judge import judge

__all__ = ["INTENT_WEIGHTS", "generate", "judge"]
