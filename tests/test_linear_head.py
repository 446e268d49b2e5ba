"""The solved head: it minimises the loss that it says, ties its price to rankings left out, and leaves the layers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import tiny as t
from steersman.compute.packing import Tree
from steersman.config import ModelConfig, PpoConfig, RewardConfig, replaced
from steersman.families.outputs import branch_heads, layer_count, response_logprobs
from steersman.rl.losses import kwise_loss, label_loss
from steersman.train import reward
from steersman.train.actors import Actors
from steersman.train.linear_head import comparisons, fitted, solved
from steersman.train.minibatches import pack
from steersman.train.rankings import RankedTree
from steersman.types import Completion, Ranking


def trees(count: int, generator: random.Random) -> list[RankedTree]:
    out = []
    for number in range(count):
        answers = generator.randint(2, 5)
        pairs = [(i, k) for i in range(answers) for k in range(answers) if i < k and generator.random() < 0.8]
        steps = tuple(generator.randint(1, 2) for _ in pairs or [0])
        tree = Tree((1,), ((2,),) * answers)
        out.append(RankedTree(tree, tuple(pairs or [(0, 1)]), (1,) * answers, steps, weight=0.5 + number % 2))
    return out


def test_the_loss_is_that_of_training_and_the_solution_its_least() -> None:
    items = trees(12, random.Random(1))
    items.append(RankedTree(Tree((1,), ((2,),)), (), (1,), label=-1))
    features = torch.randn(sum(len(i.tree.branches) for i in items), 5, generator=torch.Generator().manual_seed(2))
    features, price, margin = features.double(), 0.1, 0.3

    def loss(weights: torch.Tensor) -> torch.Tensor:
        scores = torch.split(features @ weights, [len(i.tree.branches) for i in items])
        told = [
            i.weight * (label_loss(s[0], i.label) if i.label else kwise_loss(s, i.pairs, [margin * n for n in i.steps]))
            for i, s in zip(items, scores, strict=True)
        ]
        return torch.stack(told).mean() + price * weights.square().sum()

    told = comparisons(items, margin)
    some = torch.linspace(-1, 1, 5).double()
    assert float(told.loss(features @ some) + price * some.square().sum()) == pytest.approx(
        float(loss(some)), abs=1e-12
    )
    best = solved(features, told, price).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(best), best)
    assert float(gradient.norm()) < 1e-4, "convex: where the gradient vanishes the loss is least"


def test_the_price_follows_what_rankings_left_out_say() -> None:
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(30, generator=generator).double()
    prices = {}
    for noise in (0.0, 1e6):
        features = torch.randn(4 * 150, 30, generator=generator).double() * torch.logspace(-2, 2, 30).double()
        seen = (features / features.std(dim=0)) @ truth + noise * torch.randn(600, generator=generator)
        items = []
        for scores in seen.split(4):
            order = scores.argsort(descending=True).tolist()
            pairs = tuple((order[i], order[k]) for i in range(4) for k in range(i + 1, 4))
            items.append(RankedTree(Tree((1,), ((2,),) * 4), pairs, (1,) * 4))
        weights, prices[noise], loss = fitted(features, comparisons(items, 0.0), "order")
        if not noise:
            agreed = F.cosine_similarity(weights * features.std(dim=0), truth, dim=0)
            assert agreed > 0.98, "features of any scale count alike"
            assert loss is not None
            assert loss < 0.4
        else:
            assert loss == pytest.approx(0.693, abs=0.03), "chance"
    assert prices[0.0] == 0.01
    assert prices[1e6] == 3.0


def test_labels_are_fitted_as_the_head_scores() -> None:
    """The head has no bias, so single answers must not be fitted around the features' mean."""
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(4)).double() + 3
    tree = Tree((1,), ((2,),))
    told = comparisons([RankedTree(tree, (), (1,), label=1 if row[0] > 3 else -1) for row in features], 0.0)
    weights, price, _ = fitted(features, told, "order")
    weights.requires_grad_()
    deviation = features.std(dim=0, unbiased=False)
    loss = told.loss(features @ weights) + price * (weights * deviation).square().sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    assert float(gradient.norm()) < 1e-4


def run(model: Path, output: Path, **changes: Any) -> dict[str, Any]:
    prompts = [t.conversation(f"Where is parcel {i}?", id=f"p{i}") for i in range(16)]
    answers = ("On its way.", "No.", "Your parcel arrives on 6 May, thank you.", "blue kettle")
    settings = replaced(RewardConfig(holdout_fraction=0.25, head_init="solved"), train_layers=1, **changes)
    return reward.run(
        base=model,
        rankings=[Ranking(f"r{i}", p, answers, (2, 4, 1, 3)) for i, p in enumerate(prompts)],
        demonstrations=[],
        output=output,
        config=settings,
        model_config=ModelConfig(dtype="float32"),
        seed=3,
        inputs={},
    )


def test_without_epochs_the_layers_stay_and_the_order_is_learned(tmp_path: Path) -> None:
    model = t.make_model(tmp_path / "tiny")
    metrics = run(model, tmp_path / "reward", epochs=0, validator_epochs=0)
    assert metrics["accuracy"]["value"] > 0.9
    before, after = load_file(model / "model.safetensors"), load_file(tmp_path / "reward" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before if name in after)
    run(model, tmp_path / "alone", epochs=0, validator=False)
    alone = load_file(tmp_path / "alone" / "model.safetensors")
    torch.testing.assert_close(after, alone)
    further = run(model, tmp_path / "further", epochs=2, validator=False)
    assert further["accuracy"]["value"] > 0.9
    first = (tmp_path / "further" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert '"accuracy": 1' in first, "training begins where the head was solved"


def test_one_body_is_computed_once_in_ppo(tmp_path: Path) -> None:
    """The reference, the reward model and the validator differ in their heads alone."""
    model = t.make_model(tmp_path / "tiny")
    run(model, tmp_path / "reward", epochs=0, validator_epochs=0)
    actors = Actors.load(model, tmp_path / "reward", PpoConfig(), ModelConfig(dtype="float32"))
    ids = [actors.template.answer_ids(text) for text in ("No.", "On its way.")]
    answers = [[Completion("", i, (0.0,) * len(i), "stop", "0") for i in ids]]
    prompts = [t.conversation("Where is my parcel?")]
    packing = actors.template, prompts, answers, 512, torch.device("cpu"), actors.trunk
    (once,), (each,) = pack(*packing, actors.still).rows, pack(*packing).rows
    assert once.still.below is not None
    assert once.still.below.layers == layer_count(actors.reference)
    assert once.row.below is None, "the policy learns all layers"
    for scorer in (actors.reward, actors.validator):
        torch.testing.assert_close(branch_heads(scorer, once.still), branch_heads(scorer, each.still))
    ours, theirs = (response_logprobs(actors.reference, packed.still)[0] for packed in (once, each))
    torch.testing.assert_close(ours, theirs)


def test_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reward\.epochs = 0 learns nothing"):
        run(tmp_path, tmp_path / "out", epochs=0, head_init="random")
    with pytest.raises(ValueError, match=r"reward\.validator_epochs = 0 learns nothing"):
        run(tmp_path, tmp_path / "out", epochs=1, validator_epochs=0, head_init="random")
    with pytest.raises(ValueError, match=r"reward\.members = 2: without epochs"):
        run(tmp_path, tmp_path / "out", epochs=0, validator_epochs=0, members=2)
