"""Settings of TRL and LLaMA-Factory -> settings of ours: one function a topic, each with what it changed.

Facts on both are of their sources of July and August 2026; older names are read too.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from steersman.elsewhere.argument_files import Entry

TRL, FACTORY, NEWER = "TRL", "LLaMA-Factory", "LLaMA-Factory v1"
USUAL: dict[str, dict[str, Any]] = {
    FACTORY: {"lr": 5e-5, "epochs": 3, "batch": 8, "length": 2048, "rank": 8, "schedule": "linear"},
    NEWER: {"lr": 1e-4, "epochs": 3, "batch": 1, "length": 2048, "rank": 8, "schedule": "constant", "alpha": 16.0},
    TRL: {"lr": 2e-5, "epochs": 3, "batch": 8, "length": 1024, "rank": 16, "schedule": "linear"},
}
"""What each takes where the file says nothing."""
TRL_RATES = {"sft": 2e-5, "reward": 1e-4, "dpo": 1e-6, "kto": 1e-6, "ppo": 3e-6, "grpo": 1e-6, "rloo": 1e-6}
LOSS, LOST, NO_METHOD = "the loss of this stage", "no such loss here", "no such method here"
TOKENS = 256
"""Tokens of a dialogue that are assumed where nobody says: a step is measured in dialogues there, in tokens here."""


@dataclass
class Taken:
    """The entries of a file, what was made of each, and the settings so far (by dotted names)."""

    program: str
    stage: str
    entries: dict[str, Entry]
    devices: int
    tokens: int
    method: str = ""
    """grpo or rloo, whose stage runs as [ppo] says but for what their own section says."""
    settings: dict[str, Any] = field(default_factory=dict)
    said: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)
    """Key of an entry -> the settings made of it, and how."""
    assumed: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    """(what the file does not say, the settings, why)."""

    def find(self, *names: str) -> Entry | None:
        """The entry under the first of these names that the file has (`null` counts as not said)."""
        found = (self.entries[n] for n in names if n in self.entries)
        return next((e for e in found if e.value is not None), None)

    def number(self, *names: str, otherwise: float | None = None) -> float | None:
        """The entry's value as a number; `otherwise` where there is none, or a text that is none (said)."""
        entry = self.find(*names)
        if entry is None:
            return otherwise
        value = _number(entry.value)
        if value is None:
            self.tell(entry, {}, f"expected a number, found {str(entry.value)[:40]!r}; taken as not said")
            return otherwise
        return value

    def flag(self, *names: str) -> bool | None:
        entry = self.find(*names)
        return None if entry is None else str(entry.value).strip().lower() in ("true", "1", "yes", "on")

    def tell(self, entry: Entry | None, settings: dict[str, Any], how: str) -> None:
        """Settings made of an entry, or where there is none assumed."""
        self.settings |= settings
        if entry is not None:
            before = self.said.get(entry.key)
            merged = {**before[0], **settings} if before else settings
            self.said[entry.key] = (merged, f"{before[1]}; {how}".strip("; ") if before else how)

    def assume(self, what: str, settings: dict[str, Any], why: str) -> None:
        self.settings |= settings
        self.assumed.append((what, settings, why))

    def plain(self, names: Iterable[str], setting: str, how: str = "", convert: Callable[[float], Any] = float) -> None:
        """A number that has one counterpart."""
        entry = self.find(*names)
        value = self.number(*names)
        if entry is not None and value is not None:
            self.tell(entry, {setting: convert(value)}, how)


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) and not isinstance(value, bool) else None


def model(t: Taken) -> None:
    """What [model] and [project] say."""
    if entry := t.find("model_name_or_path", "model_name", "model_path", "model"):
        t.tell(entry, {"model.base": str(entry.value)}, "")
    bf16, fp16 = t.find("bf16", "pure_bf16", "compute_type"), t.find("fp16")
    if entry := t.find("torch_dtype", "dtype"):
        _dtype(t, entry, str(entry.value).removeprefix("torch."))
    if bf16 is not None and str(bf16.value).lower() in ("true", "bf16", "pure_bf16"):
        t.tell(bf16, {"model.dtype": "bfloat16"}, "")
    elif bf16 is not None and str(bf16.value).lower() == "fp32":
        t.tell(bf16, {"model.dtype": "float32"}, "")
    for entry in (fp16, bf16 if bf16 and str(bf16.value).lower() == "fp16" else None):
        if entry is not None and str(entry.value).lower() in ("true", "fp16"):
            t.tell(entry, {"model.dtype": "bfloat16"}, "float16 is not computed here; bfloat16 takes as much room")
    if entry := t.find("template", "chat_template_path", "chat_template"):
        _template(t, entry)
    if (bits := t.find("quantization_bit")) is not None:
        value = _number(bits.value)
        if value in (4, 8):
            t.tell(bits, {"model.quantize": f"{int(value)}bit"}, "bitsandbytes, on CUDA")
    for name, kind in (("load_in_4bit", "4bit"), ("load_in_8bit", "8bit")):
        if t.flag(name):
            t.tell(t.find(name), {"model.quantize": kind}, "bitsandbytes, on CUDA")
    t.plain(("seed", "train_seed"), "project.seed", convert=int)
    if entry := t.find("report_to"):
        names = entry.value if isinstance(entry.value, list) else str(entry.value).split(",")
        kept = [n for n in map(str.strip, map(str, names)) if n in ("tensorboard", "wandb", "trackio")]
        known = kept or str(entry.value) in ("none", "all", "[]")
        how = "" if known else "no such tracker here; metrics.jsonl holds them in any case"
        t.tell(entry, {"project.trackers": ",".join(kept)} if kept or str(entry.value) == "none" else {}, how)


def _dtype(t: Taken, entry: Entry, name: str) -> None:
    kinds = {"bfloat16": "bfloat16", "float32": "float32", "auto": "auto", "float16": "bfloat16"}
    if name in kinds:
        how = "float16 is not computed here; bfloat16 takes as much room" if name == "float16" else ""
        t.tell(entry, {"model.dtype": kinds[name]}, how)


def _template(t: Taken, entry: Entry) -> None:
    name = str(entry.value)
    same = {"chatml": "chatml", "llama3": "llama3", "gemma": "gemma", "gemma2": "gemma", "gemma3": "gemma"}
    if name in same:
        t.tell(entry, {"model.template": same[name]}, "used where the base has no template of its own")
    else:
        t.tell(entry, {}, "the base's own chat template is used; name a Jinja file in model.template for another")


def schedule(t: Taken) -> None:
    """Learning rate, its warm-up and its fall; epochs, decay and the clip of the gradient."""
    at = f"{t.stage}.optimizer"
    usual = TRL_RATES[t.method or t.stage] if t.program == TRL else USUAL[t.program]["lr"]
    rate = t.number("learning_rate", "lr", otherwise=usual) or usual
    critic = t.stage == "ppo" and not t.method
    rates = {f"{at}.lr": rate} | ({f"{at}.critic_lr": rate} if critic else {})
    how = "of policy and critic alike" if critic else ""
    if entry := t.find("learning_rate", "lr"):
        t.tell(entry, rates, how)
    else:
        t.assume("learning_rate", rates, how)
    t.plain(("max_grad_norm",), f"{at}.grad_clip")
    if t.stage == "ppo":
        t.plain(("adam_epsilon",), f"{at}.adam_eps")
        return
    t.plain(("weight_decay",), f"{at}.weight_decay", "on matrices alone here")
    epochs = t.find("num_train_epochs", "num_epochs")
    count = t.number("num_train_epochs", "num_epochs", otherwise=USUAL[t.program]["epochs"]) or 1
    whole = max(1, math.ceil(count))
    steps = t.number("max_steps") or 0
    how = "there max_steps says how long" * (steps > 0)
    if epochs:
        rounded = "whole passes alone; rounded up" * (whole != count)
        t.tell(epochs, {f"{t.stage}.epochs": whole}, "; ".join(filter(None, (rounded, how))))
    else:
        t.assume("num_train_epochs", {f"{t.stage}.epochs": whole}, how)
    if steps < 0:
        t.tell(t.find("max_steps"), {}, "so here")
    _warmup(t, f"{at}.warmup_fraction")
    _fall(t, f"{at}.final_lr_fraction", rate)


def _warmup(t: Taken, setting: str) -> None:
    entry, steps, total = t.find("warmup_ratio"), t.find("warmup_steps"), t.number("max_steps")
    count = t.number("warmup_steps", otherwise=0) or 0
    if entry and (ratio := t.number("warmup_ratio")) is not None:
        t.tell(entry, {setting: min(1.0, ratio)}, "")
    elif steps and 0 <= count < 1:
        t.tell(steps, {setting: count}, "a share of the steps" if count else "")
    elif steps and total and total > 0:
        t.tell(steps, {setting: min(1.0, round(count / total, 6))}, f"{count:g} of {total:g} steps")
    elif steps:
        t.tell(steps, {}, f"a share of the steps here, whose number only the data tells: set {setting}")
    if setting not in t.settings and not steps:
        t.assume("warmup_ratio", {setting: 0.0}, "")


def _fall(t: Taken, setting: str, rate: float) -> None:
    entry = t.find("lr_scheduler_type", "lr_scheduler")
    kind = str(entry.value) if entry else USUAL[t.program]["schedule"]
    extra = t.find("lr_scheduler_kwargs")
    values = extra.value if extra else {}
    if isinstance(values, str):  # as a command gives it
        with contextlib.suppress(ValueError):
            values = json.loads(values)
    values = values if isinstance(values, dict) else {}
    least = _number(values.get("min_lr_rate")) or (_number(values.get("min_lr")) or 0.0) / rate
    if kind.startswith("constant"):
        settings, how = {setting: 1.0}, ""
    elif kind.startswith("cosine"):
        settings, how = {setting: round(min(1.0, least), 6)}, "" if "restarts" not in kind else "without restarts"
    else:
        settings, how = {setting: 0.0}, f"rates fall on a cosine here, not as '{kind}'; both end at 0"
    if extra and least:
        t.tell(extra, settings, "")
    if entry:
        t.tell(entry, settings, how)
    else:
        t.assume("lr_scheduler_type", settings, how)


SIZES = ("per_device_train_batch_size", "train_batch_size", "batch_size", "micro_batch_size")


def batch(t: Taken) -> int:
    """Records a step: per device x accumulation x devices; for SFT in tokens. Returns their number."""
    usual = USUAL[t.program]["batch"]
    size = t.find(*SIZES)
    steps = t.find("gradient_accumulation_steps", "accumulation_steps")
    each = int(t.number(*SIZES, otherwise=usual) or usual)
    times = int(t.number("gradient_accumulation_steps", "accumulation_steps", otherwise=1) or 1)
    count = max(1, each * times * t.devices)
    said = f"{each} a device x {times} accumulated x {t.devices} device{'s' * (t.devices > 1)} = {count} a step"
    if (whole := t.find("global_batch_size")) and (records := t.number("global_batch_size")):
        count, said = max(1, int(records)), f"{max(1, int(records))} a step, as global_batch_size says"
        if size and count % max(1, each * t.devices):
            said += f", which is no multiple of {each} a device x {t.devices} devices"
        size = size or whole
        t.tell(whole, {}, "of all devices together")
    if t.stage == "ppo":
        return count
    if t.stage == "sft":
        settings, how = _tokens(t, count)
    else:
        one = "an answer" if t.stage == "kto" else "a pair"
        settings, how = {f"{t.stage}.rows.batch_prompts": count}, f"{one} there, a prompt with its answers here"
    if size or steps:
        for entry in (size, steps):
            t.tell(entry, settings, f"{said}; {how}")
    else:
        t.assume("per_device_train_batch_size", settings, f"{said}; {how}")
    return count


def _tokens(t: Taken, count: int) -> tuple[dict[str, Any], str]:
    longest = int(t.number(*LENGTHS, otherwise=USUAL[t.program]["length"]) or USUAL[t.program]["length"])
    packed = bool(t.flag("packing") or t.flag("neat_packing"))
    each = longest if packed else min(longest, t.tokens)
    for name in ("packing", "neat_packing"):
        if entry := t.find(name):
            t.tell(entry, {}, "rows are packed here in any case")
    how = f"a step is measured in tokens here: {count} x {each}" + (
        ", full rows" if packed else " tokens a dialogue, assumed; say yours with --tokens-per-dialogue"
    )
    return {"sft.rows.batch_tokens": count * each}, how


LENGTHS = ("cutoff_len", "max_length", "max_seq_length", "max_seq_len", "model_max_length")


def lengths(t: Taken) -> None:
    entry = t.find(*LENGTHS)
    value = t.number(*LENGTHS, otherwise=USUAL[t.program]["length"])
    rows, mode = f"{t.stage}.rows", t.find("truncation_mode")
    settings: dict[str, Any] = {f"{rows}.row_tokens": int(value or 0)}
    if t.stage == "reward" and t.program == TRL:
        settings[f"{rows}.long"], how = "skip", "a longer record is left out, as there"
    elif t.stage == "sft":
        settings[f"{rows}.long_dialogues"], how = "keep_end", "a longer dialogue keeps its end"
    else:
        settings[f"{rows}.long"], how = "cut", "a longer prompt loses its beginning"
    if mode and str(mode.value) == "keep_end":
        t.tell(mode, {}, "so here")
    elif t.stage in ("sft", "dpo", "kto"):
        how = f"{how}; there the end of all is cut off"
        t.tell(mode, {}, how)
    if entry and value:
        t.tell(entry, settings, how)
    elif (none := next((e for n in LENGTHS if (e := t.entries.get(n))), None)) and none.value is None:
        t.tell(none, {}, f"no limit there; set {rows}.row_tokens to hold your longest")
    elif value and t.stage != "ppo":
        t.assume("the longest record", settings, how)
    names = ("gradient_checkpointing", "enable_activation_checkpointing", "disable_gradient_checkpointing")
    checkpointing = t.find(*names)
    if checkpointing:
        on = bool(t.flag(checkpointing.key)) != checkpointing.key.startswith("disable")
        t.tell(checkpointing, {f"{rows}.checkpointing": on}, "")


def adapters(t: Taken) -> None:
    """LoRA, frozen layers, or the whole model."""
    kind = t.find("finetuning_type")
    use = t.find("use_peft", "use_lora", "use_qlora")
    at = f"{t.stage}.adapters"
    method = str(kind.value) if kind else "lora" if t.program == FACTORY or (use and t.flag(use.key)) else "full"
    if kind and method == "freeze":
        layers = t.number("freeze_trainable_layers", otherwise=2) or 0
        entry = t.find("freeze_trainable_layers") or kind
        if layers >= 0:
            for one in {entry.key: entry, kind.key: kind}.values():
                t.tell(one, {f"{at}.train_layers": int(layers), f"{at}.lora_rank": 0}, "the last layers")
        else:
            t.tell(entry, {}, "the last layers can be trained alone here, not the first ones")
        return
    if method != "lora":
        known = method == "full"
        made = {f"{at}.lora_rank": 0} if known else {}
        if t.program == NEWER and not kind:
            t.assume("peft_config", made, "all weights learn")
        t.tell(kind or use, made, "" if known else f"{NO_METHOD}; all weights learn")
        return
    usual = USUAL[t.program]["rank"]
    names = ("lora_rank", "lora_r", "peft_config.r", "lora.r")
    rank = int(t.number(*names, otherwise=usual) or usual)
    _lora(t, t.find(*names), kind or use, rank)
    for name in ("lora_target", "lora_target_modules", "peft_config.target_modules"):
        if target := t.find(name):
            every = str(target.value) in ("all", "all-linear", "['all-linear']")
            t.tell(target, {}, "" if every else "adapters lie on every matrix of a layer here")
    for name in ("lora_dropout", "peft_config.lora_dropout"):
        if (dropout := t.find(name)) and _number(dropout.value) == 0:
            t.tell(dropout, {}, "none here either")


def _lora(t: Taken, entry: Entry | None, method: Entry | None, rank: int) -> None:
    at = f"{t.stage}.adapters"
    alpha = t.find("lora_alpha", "peft_config.lora_alpha", "lora.lora_alpha")
    usual = 2.0 * rank if t.program == FACTORY else USUAL[t.program].get("alpha", 32.0)
    scale = t.number("lora_alpha", "peft_config.lora_alpha", "lora.lora_alpha", otherwise=usual) or usual
    how = ""
    if t.flag("use_rslora"):
        scale, how = round(scale * math.sqrt(rank), 6), "rsLoRA divides by the root of the rank: alpha x sqrt(rank)"
        t.tell(t.find("use_rslora"), {}, how)
    t.tell(method, {}, "as adapters")
    if entry:
        t.tell(entry, {f"{at}.lora_rank": rank}, "")
    else:
        t.assume("lora_rank", {f"{at}.lora_rank": rank}, "")
    if alpha:
        t.tell(alpha, {f"{at}.lora_alpha": scale}, how)
    else:
        t.assume("lora_alpha", {f"{at}.lora_alpha": scale}, how or "twice the rank" * (t.program == FACTORY))


def saving(t: Taken) -> None:
    """What is held out and what is kept on the way."""
    held = {"sft": "sft.eval_fraction", "ppo": ""}.get(t.stage, f"{t.stage}.holdout_fraction")
    if (entry := t.find("val_size")) and (size := t.number("val_size")) is not None:
        if 0 <= size < 1 and held:
            t.tell(entry, {held: size}, "")
        else:
            t.tell(entry, {}, f"a share is held out here, not a number of records: set {held or 'eval_prompts'}")
    if (entry := t.find("save_total_limit")) and (limit := t.number("save_total_limit")):
        t.tell(entry, {f"{t.stage}.resume.keep_checkpoints": max(1, int(limit))}, "resume points")
    for name in ("save_steps", "save_strategy"):
        t.tell(t.find(name), {}, f"resume points are written by time: {t.stage}.resume.save_seconds")


def preference(t: Taken) -> None:
    """Losses of DPO, KTO and the reward model."""
    if t.stage == "sft" and (loss := t.find("loss_type")):
        t.tell(loss, {}, LOSS if str(loss.value) in ("nll", "chunked_nll") else f"{LOST}; nll is computed")
    if t.stage in ("dpo", "kto"):
        t.plain(("pref_beta", "beta", "dpo_beta", "kto_beta"), f"{t.stage}.beta")
        loss = t.find("pref_loss", "loss_type")
        names = [
            str(v) for v in (loss.value if loss and isinstance(loss.value, list) else [loss.value] if loss else [])
        ]
        same = {"sigmoid"} if t.stage == "dpo" else {"kto", "sigmoid"}
        if loss and set(names) <= same:
            t.tell(loss, {}, LOSS)
        elif loss:
            t.tell(loss, {}, f"{LOST}; {'sigmoid' if t.stage == 'dpo' else 'KTO'} is computed")
    if t.stage == "dpo":
        t.plain(("dpo_label_smoothing", "label_smoothing"), "dpo.label_smoothing")
    if t.stage == "kto":
        t.plain(("kto_chosen_weight", "desirable_weight"), "kto.desirable_weight")
        t.plain(("kto_rejected_weight", "undesirable_weight"), "kto.undesirable_weight")
