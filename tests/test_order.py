"""Orders in which training stages learn follow from names; experience is cut as its minibatches are."""

from __future__ import annotations

import itertools
import random

import torch

from steersman.config import AdvantageConfig
from steersman.rl.experience import Episodes, make_experience
from steersman.train.order import evenly_spaced, plan_batches, shuffled, without_end


def test_a_name_decides_an_order() -> None:
    order = list(range(9))
    random.Random("17/sft/0").shuffle(order)
    assert shuffled(9, "17/sft/0") == order
    endless = list(itertools.islice(without_end(9, "17/ppo"), 20))
    assert endless == [*shuffled(9, "17/ppo/0"), *shuffled(9, "17/ppo/1"), *shuffled(9, "17/ppo/2")[:2]]


def test_batches_are_cut_where_the_budget_would_be_passed() -> None:
    sizes = [5, 3, 9, 1, 4]
    batches = plan_batches(sizes, 8, 2, "1/x")
    ends = list(itertools.accumulate(map(len, batches)))
    assert 5 in ends, "no batch is of two epochs"
    for epoch, learned in enumerate((batches[: ends.index(5) + 1], batches[ends.index(5) + 1 :])):
        assert list(itertools.chain.from_iterable(learned)) == shuffled(5, f"1/x/{epoch}")
        assert all(sum(sizes[i] for i in batch) <= 8 or len(batch) == 1 for batch in learned)
        for one, other in itertools.pairwise(learned):  # a batch ends only where the next item would not fit
            assert sum(sizes[i] for i in one) + sizes[other[0]] > 8
    order = shuffled(5, "1/x/0/2")
    assert plan_batches([1] * 5, 2, 1, "1/x", "/2") == [order[:2], order[2:4], order[4:]]
    assert plan_batches([], 4, 3, "1/x") == []
    assert evenly_spaced(12, 3) == {3, 6, 9}


def test_parts_of_an_experience_hold_their_episodes() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(n) for n in (2, 4, 3)]
    episodes = Episodes(parts, parts, parts, torch.arange(3.0), torch.ones(3, dtype=torch.bool))
    whole = make_experience(episodes, AdvantageConfig(), answers=1, kl_coef=0.1, no_eos_reward=-1.0)
    first, second = whole.split([1, 2])
    assert first.scores.tolist() == [0.0]
    for name, tensor in vars(whole).items():
        assert torch.equal(torch.cat([getattr(first, name), getattr(second, name)]), tensor)
    assert second.mask.sum(dim=1).tolist() == [4, 3]
