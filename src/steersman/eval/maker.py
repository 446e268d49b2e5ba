"""How a model was made, as far as evaluation needs it; the registry of stages (`steersman.rounds`) provides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Maker:
    """The stage that made a model; the defaults stand for a model of unknown origin."""

    method: str = ""
    """'PPO'; '' where no known stage made it."""
    learned_from: Literal["", "reward", "rankings"] = "reward"
    """The signal that improved it: the reward model's score, the rankings themselves, or neither."""
    against: tuple[str, ...] = ("sft", "served")
    """Names of the models it is compared with, if present; it must not be worse than the first."""

    @property
    def improved(self) -> bool:
        """Whether a known stage made it out of the SFT model."""
        return bool(self.method and self.learned_from)


UNKNOWN = Maker()
MakerOf = Callable[[str], Maker]
"""A model's name -> its maker."""


@dataclass(frozen=True)
class Evaluated:
    """A model to evaluate."""

    label: str
    """Label shown to readers, such as 'PPO'."""
    folder: Path
    maker: Maker = UNKNOWN
