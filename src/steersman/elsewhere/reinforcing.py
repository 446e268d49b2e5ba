"""Settings of PPO, GRPO and RLOO of TRL and of PPO of LLaMA-Factory -> those of [ppo], [grpo] and [rloo]."""

from __future__ import annotations

import math
from typing import Any

from steersman.elsewhere.argument_files import Entry
from steersman.elsewhere.counterparts import FACTORY, SIZES, Taken

SAME = {
    ("num_ppo_epochs", "ppo_epochs"): ("ppo.epochs", int),
    ("cliprange", "clip_range"): ("ppo.loss.clip_range", float),
    ("cliprange_value",): ("ppo.critic.value_clip_range", float),
    ("vf_coef",): ("ppo.critic.value_coef", float),
    ("gamma",): ("ppo.advantage.gamma", float),
    ("lam",): ("ppo.advantage.lam", float),
    ("temperature",): ("ppo.rollouts.temperature", float),
}
MULTIPLES = ("gradient_accumulation_steps", "ppo_buffer_size")
USUAL: dict[str, Any] = {
    "ppo.epochs": 4,
    "ppo.critic.value_coef": 0.1,
    "ppo.advantage.whiten_rewards": False,
    "ppo.score.normalise": False,
    "ppo.optimizer.final_lr_fraction": 0.0,
    "ppo.optimizer.warmup_iterations": 0,
    "ppo.optimizer.adam_eps": 1e-8,
}
"""What both take where the file says nothing, and we take another value."""


def ppo(t: Taken, prompts: int) -> None:
    """`prompts`: an iteration's, without LLaMA-Factory's buffer."""
    factory = t.program == FACTORY
    for names, (setting, convert) in SAME.items():
        t.plain(names, setting, convert=convert)
    buffer = int(t.number("ppo_buffer_size", otherwise=1) or 1) if factory else 1
    count = prompts * buffer
    sizes: list[Entry | None] = [e for n in (*SIZES, *MULTIPLES) if (e := t.find(n))]
    settings: dict[str, Any] = {"ppo.rollouts.prompts_per_iteration": count, "ppo.rollouts.answers_per_prompt": 1}
    for entry in sizes or [None]:
        _or_assumed(t, entry, settings, f"batch x accumulation x devices{' x buffer' * factory} = {count} an iteration")
    steps = t.find("ppo_buffer_size", "num_mini_batches")
    parts = buffer if factory else int(t.number("num_mini_batches", otherwise=1) or 1)
    _or_assumed(t, steps, {"ppo.minibatches": max(1, parts)}, "steps an inner epoch")
    iterations = _iterations(t, count, count)
    _answers(t)
    _kl(t)
    _scores(t)
    _rates(t, iterations)
    t.assume("the rest of PPO", {name: value for name, value in USUAL.items() if name not in t.settings}, "")


GROUPS: dict[str, dict[str, Any]] = {
    "grpo": {"answers": 8, "beta": 0.0, "paid_in": "loss", "loss_type": "dapo"},
    "rloo": {"answers": 2, "beta": 0.05, "paid_in": "reward", "loss_type": ""},
}
"""What TRL's GRPO and RLOO (1.16) take where the file says nothing; `paid_in`: where they pay the KL."""
LONGEST, OLDER = 512, "TRL up to 1.8 had answers of 256 tokens"
SAME_LOSS = ("grpo", "bnpo", "dapo")
"""Losses of TRL's GRPO that differ in how answers of different lengths are averaged alone."""


def group(t: Taken, count: int) -> None:
    """GRPO or RLOO. `count`: answers a step there, of which every `num_generations` are of one prompt."""
    usual, at = GROUPS[t.method], t.method
    names = ("num_generations", "rloo_k")
    each = max(2, int(t.number(*names, otherwise=usual["answers"]) or usual["answers"]))
    steps = int(t.number("steps_per_generation", otherwise=0) or 0)
    every = int(t.number("generation_batch_size", otherwise=0) or 0) or count
    held = max(1, int(t.number("gradient_accumulation_steps", otherwise=1) or 1))
    if steps and not t.find("generation_batch_size"):
        every = every * steps // held
    prompts = max(1, every // each)
    sizes = {f"{at}.rollouts.prompts_per_iteration": prompts, f"{at}.rollouts.answers_per_prompt": each}
    how = f"{every} answers an iteration / {each} of a prompt = {prompts} prompts"
    entries: list[Entry | None] = [
        e for n in (*SIZES, *MULTIPLES, *names, "steps_per_generation", "generation_batch_size") if (e := t.find(n))
    ]
    for entry in entries or [None]:
        _or_assumed(t, entry, sizes, how)
    parts = max(1, every // count)
    t.assume("optimizer steps an inner epoch", {"ppo.minibatches": parts}, "")
    t.plain(("num_iterations", "num_ppo_epochs"), "ppo.epochs", convert=int)
    t.plain(("epsilon", "cliprange"), "ppo.loss.clip_range")
    t.plain(("temperature",), "ppo.rollouts.temperature")
    t.plain(("max_completion_length", "response_length"), "ppo.rollouts.max_tokens", convert=int)
    beta = t.number("beta", "kl_coef", otherwise=usual["beta"])
    _or_assumed_as(
        t,
        t.find("beta", "kl_coef"),
        "the price of the KL",
        {f"{at}.kl.coef": beta, f"{at}.kl.paid_in": usual["paid_in"], "ppo.kl.target": 0.0},
    )
    _group_told(t)
    each_time = parts * int(t.settings.get("ppo.epochs", 1))
    _rates(t, _iterations(t, every, prompts, each_time), each_time)
    rest = {
        "ppo.epochs": 1,
        "ppo.rollouts.temperature": 1.0,
        "ppo.rollouts.max_tokens": LONGEST,
        "ppo.score.normalise": False,
    }
    rest |= {n: v for n, v in USUAL.items() if n.startswith("ppo.optimizer.")}
    made = {n: v for n, v in rest.items() if n not in t.settings}
    t.assume(f"the rest of {at.upper()}", made, OLDER if "ppo.rollouts.max_tokens" in made else "")


def _group_told(t: Taken) -> None:
    """What has no counterpart in GRPO and RLOO here, or is so anyway."""
    for name in ("reward_funcs", "reward_weights", "reward_model_name_or_path"):
        t.tell(t.find(name), {}, "the round's reward model is taken; functions of yours: ppo.score.rules")
    if kind := t.find("loss_type"):
        same = str(kind.value) in SAME_LOSS
        t.tell(kind, {}, "every token counts alike here, over all answers of a step" if same else "no such loss here")
    if scale := t.find("scale_rewards"):
        whole = t.method == "grpo" and str(scale.value).lower() in ("true", "group")
        t.tell(
            scale, {}, "so here" if whole else "GRPO divides by the deviation of a prompt's answers here, RLOO does not"
        )
    if high := t.find("epsilon_high"):
        t.tell(high, {}, "one range for both sides here")
    for name in ("top_p", "top_k", "min_p", "repetition_penalty"):
        t.tell(t.find(name), {}, "answers are sampled from the policy's whole distribution here")


def _or_assumed_as(t: Taken, entry: Entry | None, what: str, settings: dict[str, Any]) -> None:
    if entry:
        t.tell(entry, settings, "")
    else:
        t.assume(what, settings, "")


def _or_assumed(t: Taken, entry: Entry | None, settings: dict[str, Any], how: str) -> None:
    if entry:
        t.tell(entry, settings, how)
    else:
        t.assume("the batch", settings, how)


def _iterations(t: Taken, count: int, prompts: int, each: int = 1) -> int:
    """`count` and `prompts`: answers and prompts an iteration; `each`: the other program's steps an iteration."""
    episodes, steps = t.number("total_episodes"), t.number("max_steps")
    epochs = t.find("num_train_epochs")
    if episodes and (entry := t.find("total_episodes")):
        found = max(1, math.ceil(episodes / count))
        t.tell(entry, {"ppo.iterations": found}, f"{episodes:g} episodes / {count} an iteration")
    elif steps and steps > 0 and (entry := t.find("max_steps")):
        found = max(1, math.ceil(steps / each))
        t.tell(entry, {"ppo.iterations": found}, f"{steps:g} steps / {each} an iteration" if each > 1 else "")
    else:
        t.tell(epochs, {}, f"iterations here: passes x prompts / {prompts}; set ppo.iterations")
        return 0
    t.tell(epochs, {}, f"{found} iterations are said elsewhere in the file")
    return found


def _answers(t: Taken) -> None:
    names = ("response_length", "max_new_tokens", "max_completion_length")
    entry, value = t.find(*names), t.number(*names)
    usual = 1024 if t.program == FACTORY else 53
    if entry and value:
        t.tell(entry, {"ppo.rollouts.max_tokens": int(value)}, "")
    else:
        t.assume("the longest answer", {"ppo.rollouts.max_tokens": usual}, "")
    if "ppo.rollouts.temperature" not in t.settings:
        factory = t.program == FACTORY
        how = "beside top_p 0.7 and top_k 50; here answers are sampled from the whole distribution" if factory else ""
        t.assume("temperature", {"ppo.rollouts.temperature": 0.95 if factory else 0.7}, how)
    for name in ("top_p", "top_k"):
        if entry := t.find(name):
            t.tell(entry, {}, "answers are sampled from the policy's whole distribution here")


def _kl(t: Taken) -> None:
    """LLaMA-Factory has an adaptive price that begins at 0.2; TRL a fixed one."""
    if t.program == FACTORY:
        target = t.number("ppo_target", otherwise=6.0) or 6.0
        settings: dict[str, Any] = {"ppo.kl.target": target, "ppo.kl.coef": 0.2}
        entry, how = t.find("ppo_target"), "adaptive, from a price of 0.2"
    else:
        coef = t.number("kl_coef", "init_kl_coef", otherwise=0.05)
        settings = {"ppo.kl.coef": coef, "ppo.kl.target": 0.0}
        entry, how = t.find("kl_coef", "init_kl_coef"), "a fixed price"
    if entry:
        t.tell(entry, settings, how)
    else:
        t.assume("the price of the KL", settings, how)
    if kind := t.find("kl_estimator"):
        t.tell(kind, {}, "so here" if str(kind.value) == "k1" else "the KL is estimated by k1 where the reward pays it")
    if stop := t.find("stop_token"):
        t.tell(stop, {}, "so here" if str(stop.value) == "eos" else "an answer ends at the model's end of turn")


def _scores(t: Taken) -> None:
    for names, setting in (
        (("whiten_rewards", "ppo_whiten_rewards"), "ppo.advantage.whiten_rewards"),
        (("whiten_advantages",), "ppo.advantage.whiten_advantages"),
        (("ppo_score_norm", "use_score_norm"), "ppo.score.normalise"),
    ):
        if entry := t.find(*names):
            t.tell(entry, {setting: bool(t.flag(*names))}, "")
    penalty, entry = t.number("missing_eos_penalty"), t.find("missing_eos_penalty")
    if entry and penalty is not None:
        how = "the score of an answer without an end here, not what is taken off its score"
        t.tell(entry, {"ppo.score.no_eos_reward": -penalty}, how)
    for name in ("reward_model", "reward_model_path", "reward_model_adapters", "reward_model_type", "sft_model_path"):
        if entry := t.find(name):
            t.tell(entry, {}, "the round's own reward model and SFT model are taken (`steersman reward`, `sft`)")


def _rates(t: Taken, iterations: int, each: int = 1) -> None:
    """`each`: the other program's steps an iteration."""
    entry = t.find("lr_scheduler_type")
    kind = str(entry.value) if entry else "linear"
    name = next((n for n in ("cosine", "constant", "linear") if kind.startswith(n)), "")
    if entry:
        t.tell(entry, {"ppo.optimizer.lr_schedule": name or "linear"}, "" if name else "no such schedule; linear")
    warm = t.find("warmup_ratio", "warmup_steps")
    count = t.number("warmup_ratio", "warmup_steps")
    if warm and count is not None and (warm is t.find("warmup_ratio") or 0 < count < 1):  # steps below 1: a share too
        made = {"ppo.optimizer.warmup_iterations": round(count * iterations)} if iterations else {}
        how = f"{count:g} of {iterations} iterations" if iterations else "iterations here, whose number is not said"
        t.tell(warm, made, how)
    elif warm and count is not None:
        how = f"{count:g} steps / {each} an iteration" if each > 1 else ""
        t.tell(warm, {"ppo.optimizer.warmup_iterations": math.ceil(count / each)}, how)
