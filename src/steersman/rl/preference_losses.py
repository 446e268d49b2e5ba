"""Losses that learn from preferences without a reward model: pure functions on tensors.

Both take the log-ratios [K] of one prompt's answers, log pi(y|x) - log pi_ref(y|x) in nats. beta times a log-ratio is
the reward for which the policy would be optimal under a KL price of beta (Rafailov et al. 2023, equation 5), up to a
constant of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def dpo_loss(ratios: Tensor, pairs: Sequence[tuple[int, int]], beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Mean over one prompt's pairs (winner, loser) of DPO's loss (Rafailov et al. 2023, equation 7), a scalar in nats.

    `label_smoothing` is the share of pairs taken to be the wrong way round (Mitchell 2023, conservative DPO).
    """
    assert pairs, "a ranking without a strict preference has no loss"
    winners, losers = torch.tensor(list(zip(*pairs, strict=True)), device=ratios.device)
    margins = beta * (ratios[winners] - ratios[losers])
    return (-(1 - label_smoothing) * F.logsigmoid(margins) - label_smoothing * F.logsigmoid(-margins)).mean()


def kto_loss(
    ratios: Tensor,
    labels: Sequence[int],
    reference_point: float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """KTO's loss (Ethayarajh et al. 2024, equation 8) of each labelled answer [at most K], from 0 to its weight.

    labels: 1 desirable, -1 undesirable, 0 left out. `reference_point` is z0 in nats, an estimate of
    KL(pi || pi_ref) through which no gradient flows.
    """
    signs = torch.tensor(labels, dtype=ratios.dtype, device=ratios.device)
    known = signs != 0
    weights = torch.where(signs > 0, desirable_weight, undesirable_weight)
    values = torch.sigmoid(beta * signs * (ratios - reference_point))
    return (weights * (1 - values))[known]
