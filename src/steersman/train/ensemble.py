"""Several reward models instead of one (`reward.members`), so that PPO sees where they disagree.

Coste et al. 2023: members that differ in their head and in the order of the data exploit different accidents of the
rankings; an answer that all of them score high is more likely to be good. Separate models, not heads on one body:
heads share the body's mistakes. The first member is the stage's folder itself, so that code for one reward model reads
it unchanged; the others lie in it as `member-2` and so on, each a whole stage with its own resume point while it
trains.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.artifact.manifest import MANIFEST_NAME, read_manifest
from steersman.artifact.names import MEMBER, NURSERY, VALIDATOR
from steersman.distributed import parallel

Pairs = Sequence[tuple[int, int]]


def nursery(output: Path) -> Path:
    """The folder in which further members lie until the first member is done."""
    return output.with_name(f"{output.name}{NURSERY}")


def train_members(
    train: Callable[[int, Path, Mapping[str, str]], None],
    output: Path,
    members: int,
    inputs: Mapping[str, str],
    validator: bool = False,
) -> list[Path]:
    """Folders of members 2 to `members`, and of the validator (number 0) after them.

    `train(number, folder, inputs)` makes each folder that does not exist yet.
    """
    folders = []
    for number in [*range(2, members + 1), *([0] if validator else [])]:
        name = f"{MEMBER}{number}" if number else VALIDATOR
        folder, mine = nursery(output) / name, {**inputs, "member": str(number)}
        folder.parent.mkdir(exist_ok=True)
        if parallel.is_first() and (folder / MANIFEST_NAME).is_file() and read_manifest(folder).inputs != mine:
            shutil.rmtree(folder)
        parallel.wait()
        if not (folder / MANIFEST_NAME).is_file():
            train(number, folder, mine)
        folders.append(folder)
    return folders


def member_folders(reward: Path) -> list[Path]:
    """Folders of an ensemble's members 2, 3, ... inside the folder of member 1, in order."""
    return sorted(reward.glob(f"{MEMBER}*"), key=lambda path: int(path.name.removeprefix(MEMBER)))


def accuracy(scores: Sequence[Tensor], pairs: Sequence[Pairs]) -> float:
    """Share of pairs (winner, loser) in which the winner scores higher; scores [K] per prompt, a tie counts a half."""
    margins = [float(s[w] - s[l]) for s, mine in zip(scores, pairs, strict=True) for w, l in mine]
    return sum(1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins) / len(margins)


def agreement(members: Sequence[Sequence[Tensor]], pairs: Sequence[Pairs]) -> dict[str, Any]:
    """Held-out accuracy of each member and of the mean score, and the members' standard deviation per answer.

    members: per member, scores [K] of each prompt's answers.
    """
    together = [torch.stack(list(scores)) for scores in zip(*members, strict=True)]
    spread = torch.cat([s.std(dim=0, unbiased=False) for s in together])
    return {
        "accuracies": [round(accuracy(scores, pairs), 4) for scores in members],
        "ensemble_accuracy": round(accuracy([s.mean(dim=0) for s in together], pairs), 4),
        "reward_std": round(float(spread.mean()), 4),
    }
