"""Who judges PPO's checkpoints, and whether one is better than the SFT model at all.

The judge is a second reward model, learned from the rankings that the first was not shown (`reward.validator`): what
PPO found out about the first, the second does not share. A checkpoint is kept where its gain over the SFT model's
answers to the same held-out prompts is above 0, with confidence if asked; the largest such gain wins. Where there is
none, the SFT model is kept, and that is a result. Where the judge is not shown to know more than which answer is
longer, a gain is what is left of it at equal length.

Why so: decision 59 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from steersman.artifact.manifest import MANIFEST_NAME, read_manifest
from steersman.artifact.names import VALIDATOR
from steersman.config import PpoConfig
from steersman.stats import Interval, paired_bootstrap

SFT = "sft"
"""What was kept, where no checkpoint was better."""
KEPT_SFT = "not better than SFT: kept SFT"


def validator_of(reward: Path, config: PpoConfig) -> tuple[Path | None, str]:
    """(folder of the validation reward model, ''), or (None, why the reward that PPO maximises judges instead)."""
    if config.selection.judge == "reward":
        return None, ""
    folder = reward / VALIDATOR
    instead = "; checkpoints are chosen by the reward that PPO maximises"
    if not (folder / MANIFEST_NAME).is_file():
        return None, f"the reward model was trained without a validation model (reward.validator){instead}"
    accuracy = read_manifest(folder).metrics.get("accuracy", {})
    if (accuracy.get("low") or 0.0) <= 0.5:
        return None, (
            f"the validation reward model is not shown to be better than chance "
            f"({100 * accuracy.get('value', 0.5):.0f} % on rankings it did not see){instead}: rank more prompts, or "
            "raise reward.holdout_fraction"
        )
    return folder, ""


def length_only(reward: Path, config: PpoConfig) -> str:
    """Why gains are judged at equal length, where the reward model that judges is not shown to beat "longer wins".

    '' where it is, where it was not measured (others' models), and where rules count too, which may ask for a length.
    """
    folder = validator_of(reward, config)[0] or reward
    if config.selection.judge == "reward" or config.score.rules or not (folder / MANIFEST_NAME).is_file():
        return ""
    metrics = read_manifest(folder).metrics
    lead, length = metrics.get("lead_over_length"), metrics.get("length_baseline", {})
    if lead is None or (lead.get("low") or 0.0) > 0:
        return ""
    return (
        f"the reward model that judges checkpoints is not shown to know more than which answer is longer "
        f"({100 * metrics['accuracy']['value']:.0f} % of pairs beside {100 * length['value']:.0f} %): its gain is "
        "judged at equal length"
    )


def slope(scores: Tensor, lengths: Tensor) -> float:
    """Least-squares slope of scores [E] over lengths [E] in tokens; 0 where all are of one length."""
    apart = lengths.double() - lengths.double().mean()
    return float(apart @ scores.double() / (apart @ apart)) if bool(apart.any()) else 0.0


def told_level(config: PpoConfig) -> float:
    """One-sided confidence of the lower bound that is reported: what is asked for, or 95 % where the mean decides."""
    return config.selection.confidence if config.selection.confidence > 0.5 else 0.95


def gain_over(first: Sequence[float], now: Sequence[float], confidence: float) -> Interval:
    """Mean of now - first, prompt by prompt; `low` is its lower bound at one-sided `confidence`."""
    return paired_bootstrap(now, first, level=max(2 * confidence - 1, 0.01))


def is_kept(found: Mapping[str, float], best: Mapping[str, float], config: PpoConfig) -> bool:
    """Whether an evaluated checkpoint replaces the best so far; both as `evaluate` and `gain_over` measured them."""
    if not best:
        return True
    if not found["eval_kl"] <= config.kl.ceiling:
        return False
    if not config.selection.confidence:
        return found["eval_reward"] > best["eval_reward"]
    decides = "eval_gain_low" if config.selection.confidence > 0.5 else "eval_gain"
    return found[decides] > 0 and found["eval_gain"] > best.get("eval_gain", 0.0)


def outcome(best: Mapping[str, float], tried: Mapping[str, float], config: PpoConfig, judge: str) -> dict[str, Any]:
    """For the manifest: what was kept, and the gain of it, or of the best that was tried, over the SFT model.

    `tried`: the evaluated checkpoint of the largest gain within the KL ceiling, {} where there was none.
    """
    kept = SFT if best["iteration"] == 0 else "learned"
    shown = best if kept != SFT else tried
    names = {"eval_gain": "value", "eval_gain_low": "low", "eval_kl": "kl", "iteration": "iteration"}
    gain = {name: shown[key] for key, name in names.items() if key in shown}
    return {"kept": kept, "judge": judge, "confidence": told_level(config), "gain": gain}
