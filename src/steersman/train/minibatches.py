"""Sampled answers as the models compute them: a minibatch is some prompts with their answers, packed into rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.compute.packing import Row, Tree, build_row, fill_rows, to_device
from steersman.distributed import parallel
from steersman.families.family import Trunk
from steersman.text.template import Template
from steersman.types import Completion, Conversation


@dataclass(frozen=True)
class PackedRow:
    """A row of answers with their prompts."""

    row: Row
    still: Row
    """The same, with what the models that do not learn have in common computed"""
    episodes: list[int]
    """Number, within the minibatch, of each answer in the row; in the order of the row's branches."""
    weight: float
    """Weight of the row's loss; 0 for another process's row."""

    def per_answer(self, flat: Tensor) -> list[Tensor]:
        """Split a value per target [N] into one tensor per answer."""
        counts = torch.bincount(self.row.target_branch, minlength=len(self.row.branch_ends))
        return list(torch.split(flat, counts.tolist()))


@dataclass(frozen=True)
class Minibatch:
    """The prompts of one optimizer step and their answers. Each of several processes holds its share of the rows."""

    prompts: Sequence[Conversation]
    completions: Sequence[Sequence[Completion]]
    """Answers of each prompt."""
    rows: list[PackedRow]

    @property
    def answers(self) -> list[Completion]:
        """All answers, prompt by prompt."""
        return [answer for group in self.completions for answer in group]

    @property
    def tokens(self) -> int:
        """Tokens of all answers, including those in other processes' rows."""
        return sum(len(answer.token_ids) for answer in self.answers)


def pack(
    template: Template,
    prompts: Sequence[Conversation],
    completions: Sequence[Sequence[Completion]],
    row_tokens: int,
    device: torch.device,
    trunk: Trunk | None = None,
    still: Trunk | None = None,
) -> Minibatch:
    """One tree per prompt, its answers the branches; `trunk` computes the layers that all models share, `still` those
    of the models that do not learn.

    The same rows serve scoring and every epoch, so the first ratio is 1 exactly.
    """
    trees = [
        Tree(template.prompt_ids(p), tuple(c.token_ids for c in cs)) for p, cs in zip(prompts, completions, strict=True)
    ]
    first = [0]
    for tree in trees:
        first.append(first[-1] + len(tree.branches))
    rows = []
    for group, weight in parallel.share(fill_rows([tree.size for tree in trees], row_tokens)):
        row = to_device(build_row([trees[i] for i in group]), device)
        episodes = [episode for i in group for episode in range(first[i], first[i + 1])]
        row = trunk(row) if trunk else row
        rows.append(PackedRow(row, still(row) if still else row, episodes, weight))
    return Minibatch(prompts, completions, rows)
