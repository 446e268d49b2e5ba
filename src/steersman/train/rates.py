"""Learning rates that follow what the steps do, not what a base model happens to bear.

Adam's first steps have one length whatever the gradient: the same rate moves one base by a tenth of a nat and throws
another by ten. So the length of an iteration's steps is measured where it matters, in nats per answer for the policy
and in deviations of the returns for the critic, and the rate follows.

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
    """How far one model may be moved by an iteration's updates, and the share of its peak rate that does it.

    Distances are squared lengths: a rate twice as high moves four times as far.
    """

    wanted: float
    """0: the rate is as it is set."""
    share: float = 1.0

    @staticmethod
    def begin(wanted: float) -> Trust:
        return Trust(wanted, START if wanted else 1.0)

    def exceeded(self, moved: float) -> bool:
        return self.wanted > 0 and moved > TOO_FAR * self.wanted

    def settle(self, moved: float | None, scheduled: float) -> None:
        """Set the share for the next iteration, whose updates moved the model by `moved` before; None: not at all.

        `scheduled`: the iteration's share of the peak rate by the schedule, which goes on beside this one.
        """
        if self.wanted > 0 and moved is not None:
            wanted = self.wanted * scheduled**2
            factor = min(max(math.sqrt(wanted / max(moved, 1e-12)), SLOWER), FASTER)
            self.share = min(1.0, self.share * factor)
