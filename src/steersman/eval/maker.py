"""What evaluation is told of how a model was made. The registry of stages (`steersman.rounds`) knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Maker:
    """The stage that made a model; the defaults are what is taken of a model that nothing is known of."""

    method: str = ""
    """'PPO'; '' where no known stage made it."""
    learned_from: Literal["", "reward", "rankings"] = "reward"
    """What it was improved by: the reward model's score, the rankings themselves, or neither."""
    against: tuple[str, ...] = ("sft",)
    """Names of the models that it is compared with where they are there; it must not be worse than the first."""

    @property
    def improved(self) -> bool:
        """Whether a known stage made it out of the SFT model."""
        return bool(self.method and self.learned_from)


UNKNOWN = Maker()
MakerOf = Callable[[str], Maker]
"""A model's name -> what made it."""


@dataclass(frozen=True)
class Evaluated:
    """A model to evaluate."""

    label: str
    """What readers see, such as 'PPO'."""
    folder: Path
    maker: Maker = UNKNOWN
