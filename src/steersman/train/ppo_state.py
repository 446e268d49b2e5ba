"""Contents of PPO's resume points: weights and optimizer states, and how far the run has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from steersman.artifact.stage_folder import StageFolder
from steersman.config import PpoConfig
from steersman.rl.rewards import KlController
from steersman.train.actors import Actors
from steersman.train.average import Average
from steersman.train.iteration import Iteration
from steersman.train.rates import Trust
from steersman.train.update import Updater


@dataclass
class State:
    policy: Updater
    critic: Updater | None
    average: Average | None
    """Version of the policy's weights."""
    kl: KlController
    iteration: int = 0
    """Iterations that are done."""
    stopped: str = ""
    """Why the run ends before its last iteration."""
    start: dict[str, float] = field(default_factory=dict)
    """Errors of the first iteration against its known exact values (`monitors.starting_point`)."""
    best: dict[str, float] = field(default_factory=dict)
    """Held-out numbers of the best weights so far, which lie in a separate file."""
    tried: dict[str, float] = field(default_factory=dict)
    """Held-out numbers of the evaluated checkpoint with the largest gain so far, kept or not."""
    first: list[float] = field(default_factory=list)
    """The judge's rewards of the SFT model's held-out answers."""
    scales: dict[str, list[float]] = field(default_factory=dict)
    """By what scores are moved and divided (`scores.measured_scales`)."""
    rates: dict[str, Trust] = field(default_factory=dict)
    """Shares of the peak rates of "policy" and "critic"."""
    now: Iteration | None = None
    """The iteration under way, from its evaluation to its last step."""

    @staticmethod
    def begin(actors: Actors, config: PpoConfig) -> State:
        """The state before the first iteration."""
        options: dict[str, Any] = {
            "weight_decay": 0.0,
            "grad_clip": config.optimizer.grad_clip,
            "eps": config.optimizer.adam_eps,
        }
        policy = Updater(actors.policy, lr=config.optimizer.lr, **options)
        critic = Updater(actors.critic, lr=config.optimizer.critic_lr, **options) if actors.critic else None
        average = Average(policy, config.optimizer.ema_decay) if config.optimizer.ema_decay else None
        rollouts = config.rollouts
        episodes = config.iterations * rollouts.prompts_per_iteration * rollouts.answers_per_prompt
        horizon = config.kl.horizon or max(1, episodes // 10)
        price = config.kl
        kl = KlController(price.coef, price.target, horizon, price.error_clip, price.coef, price.ahead)
        wanted = {"policy": config.optimizer.step_kl, "critic": config.critic.step**2}
        rates = {name: Trust.begin(length) for name, length in wanted.items()}
        return State(policy, critic, average, kl, rates=rates)

    def resume(self, folder: StageFolder) -> None:
        """Load the folder's newest resume point, where it has one."""
        if (point := folder.load()) is None:
            return
        tensors, state = point
        self.policy.restore(tensors, "policy.")
        if self.critic is not None:
            self.critic.restore(tensors, "critic.")
        if self.average is not None:
            self.average.restore(tensors)
        self.iteration, self.kl.coef, self.start = state["iteration"], state["kl_coef"], state["start"]
        self.stopped = state.get("stopped", "")
        self.now = Iteration.from_point(tensors, state["round"]) if "round" in state else None
        self.best = folder.load_best()[1]
        # points of runs that began before decision 59 have none of these
        self.kl.seen, self.tried = state.get("kl_seen", []), state.get("tried", {})
        self.first, self.scales = state.get("first", []), state.get("scales", {})
        for name, share in state.get("rates", {}).items():
            self.rates[name].share = share

    def point(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """(tensors, state) to go on from; None before the SFT model is evaluated: nothing to keep yet."""
        if not self.best:
            return None
        tensors = self.policy.state("policy.") | (self.critic.state("critic.") if self.critic else {})
        tensors |= self.average.state() if self.average else {}
        state: dict[str, Any] = {"iteration": self.iteration, "kl_coef": self.kl.coef, "start": self.start}
        state |= {"stopped": self.stopped} if self.stopped else {}
        state |= {"tried": self.tried, "first": self.first, "scales": self.scales}
        state["kl_seen"] = self.kl.seen
        state["rates"] = {name: trust.share for name, trust in self.rates.items()}
        if self.now is not None:
            more, state["round"] = self.now.to_point()
            tensors |= more
        return tensors, state
