"""A head that begins where a linear probe ends instead of as noise: logistic regression on the frozen states.

A random head spends its first steps turning states that were good (Kumar et al. 2022: fit the head, then tune all).
The fit goes through every class of transformers alike: what its last linear layer is given is collected, standardised
and fitted with the task's own loss; mean and deviation are folded into the layer's weights.

Why so: decision 89 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from steersman.compute.padding import passes
from steersman.distributed import parallel
from steersman.families import encoder as family
from steersman.families.encoded import run
from steersman.progress import activity
from steersman.train.label_task import Item, LabelTask
from steersman.train.order import shuffled

MOST = 20_000
"""Examples that are looked at, drawn by the seed."""
PRICES = (1000.0, 100.0, 10.0, 1.0, 0.1)
"""Of the squares of the weights, over standardised states; the one with the least loss on a fifth is taken."""
STEPS = 60


def last_linear(model: Any) -> torch.nn.Linear:
    """The layer whose outputs are the logits."""
    parts = [m for part in family.heads(model) for m in part.modules() if isinstance(m, torch.nn.Linear)]
    return next(m for m in reversed(parts) if m.out_features == model.config.num_labels)


def fit_head(model: Any, task: Any, items: Sequence[Any], seed: int) -> None:
    """Set the last linear layer's weights for a `LabelTask` and its items; everything below it stays as it is."""
    chosen = [items[i] for i in shuffled(len(items), f"{seed}/encoder/head")[:MOST]]
    with activity("states of the texts", len(chosen), task.unit) as shown:
        states = _states(model, task, chosen, shown.update)
    layer = last_linear(model)
    middle = states.mean(0) if layer.bias is not None else torch.zeros(states.shape[1])
    spread = (states - middle).square().mean(0).sqrt().clamp_min(1e-6)
    x = (states - middle) / spread
    with activity("fitting the head to them"):
        weight, bias = _chosen(task, x, chosen, layer)
    with torch.no_grad():
        layer.weight.copy_((weight / spread[:, None]).T)
        if layer.bias is not None:  # with the weights as they were rounded
            moved = bias - layer.weight.float().cpu() @ middle
            layer.bias.copy_(moved - moved.mean() if task.kind == "single_label" else moved)


def _chosen(task: LabelTask, x: Tensor, items: Sequence[Item], layer: torch.nn.Linear) -> tuple[Tensor, Tensor]:
    """The fit by the best price: from the highest down until the loss on a fifth rises, each from the one before."""
    found = torch.zeros(x.shape[1], layer.out_features), torch.zeros(layer.out_features)
    cut, best, price = len(items) // 5, float("inf"), 10.0
    for lower in PRICES if cut > 1 else ():
        tried = _fit(task, x[cut:], items[cut:], layer, lower, found)
        loss = float(task.loss(x[:cut] @ tried[0] + tried[1], items[:cut])) / task.share(items[:cut])
        if loss >= best:
            break
        found, best, price = tried, loss, lower
    return _fit(task, x, items, layer, price, found)


@torch.no_grad()
def _states(model: Any, task: LabelTask, items: Sequence[Item], tick: Any) -> Tensor:
    """[N, width] float32 on the CPU: what the last linear layer is given, without dropout."""
    model.eval()
    found: list[Tensor] = []
    handle = last_linear(model).register_forward_pre_hook(lambda _, given: found.append(given[0].float().cpu()))
    out: Tensor | None = None
    done = 0
    try:
        for group in passes([len(i.marked.ids) for i in items], task.config.rows.row_tokens):
            parallel.halt()
            rows = [items[i].marked for i in group]
            run(model, rows)
            states = torch.cat(found)  # some models take texts one by one
            found.clear()
            if states.dim() == 3:  # a decoder's head reads the last token
                states = states[torch.arange(len(rows)), torch.tensor([len(row.ids) - 1 for row in rows])]
            out = torch.empty(len(items), states.shape[1]) if out is None else out
            out[group] = states
            done += len(group)
            tick(done)
    finally:
        handle.remove()
    assert out is not None
    return out


def _fit(
    task: LabelTask,
    x: Tensor,
    items: Sequence[Item],
    layer: torch.nn.Linear,
    price: float,
    start: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """(weight [width, labels], bias [labels]) of the least loss, looked for from `start` on."""
    weight, bias = start[0].clone().requires_grad_(), start[1].clone().requires_grad_(layer.bias is not None)
    parameters = [weight, bias] if layer.bias is not None else [weight]
    optimizer = torch.optim.LBFGS(parameters, max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = task.loss(x @ weight + bias, items) / task.share(items) + price * weight.square().sum() / len(x)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
