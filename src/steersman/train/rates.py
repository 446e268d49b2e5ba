"""Learning rates that adapt to how far the steps move the model.

Adam's first steps have one length whatever the gradient: the same rate moves one base model by a tenth of a nat and
another by ten nats. So the length of an iteration's steps is measured where it matters, in nats per answer for the
policy and in deviations of the returns for the critic, and the rate follows.

Why so: decisions 48 and 59 in docs/LOG.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

START = 1 / 16
"""Share of the peak rate to begin with."""
FASTER, SLOWER = 4.0, 1 / 4
"""Most by which the share changes from one iteration to the next."""
TOO_FAR = 4.0
"""An iteration's updates end where they have moved the model by so many times what is wanted."""


@dataclass
class Trust:
    """How far an iteration's updates may move a model (`wanted`), and the share of its peak rate that moves it so far.

    Distances (KL, squared deviations) grow with the square of the rate: twice the rate moves four times as far.
    """

    wanted: float
    """KL in nats per answer, or squared deviations of the returns; 0: the rate does not adapt."""
    share: float = 1.0

    @staticmethod
    def begin(wanted: float) -> Trust:
        """At the start of a run: a small share, or the whole rate where nothing is wanted."""
        return Trust(wanted, START if wanted else 1.0)

    def exceeded(self, moved: float) -> bool:
        """Whether updates that have moved the model by `moved` must end for this iteration."""
        return self.wanted > 0 and moved > TOO_FAR * self.wanted

    def settle(self, moved: float | None, scheduled: float) -> None:
        """Set the share for the next iteration after updates that moved the model by `moved`; None: there were none.

        `scheduled`: the iteration's share of the peak rate by the schedule; both shares multiply the rate.
        """
        if self.wanted > 0 and moved is not None:
            wanted = self.wanted * scheduled**2
            factor = min(max(math.sqrt(wanted / max(moved, 1e-12)), SLOWER), FASTER)
            self.share = min(1.0, self.share * factor)
