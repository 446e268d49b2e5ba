"""One file of another trainer -> settings of ours, and what became of every line of it.

Why so: decision 65 in docs/LOG.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman.config import Config
from steersman.config_file import below, from_dict, toml_text
from steersman.elsewhere import argument_files, counterparts
from steersman.elsewhere.argument_files import Given
from steersman.elsewhere.counterparts import FACTORY, LOSS, NEWER, TOKENS, TRL, Taken
from steersman.elsewhere.reinforcing import group, ppo

STAGES = ("sft", "reward", "dpo", "kto", "ppo", "grpo", "rloo")
GROUPED = ("grpo", "rloo")
"""Stages that run as [ppo] says but for their own section; TRL has them."""
NAMED_SO = {"rm": "reward", "reward_modeling": "reward", "rlhf": "ppo", **{name: name for name in STAGES}}
BOARD = {
    "supervised fine-tuning": "sft",
    "reward modeling": "reward",
    **{"ppo": "ppo", "dpo": "dpo", "kto": "kto"},
}
"""Names of stages in files that LLaMA-Factory's page saved."""
OF_FACTORY = ("pref_beta", "cutoff_len", "finetuning_type", "dataset_dir", "lora_rank", "stage", "template", "top.lang")
OF_V1 = {
    "peft_config.name": "finetuning_type",
    "peft_config.freeze_trainable_layers": "freeze_trainable_layers",
    "lr_scheduler_config.name": "lr_scheduler_type",
    **dict.fromkeys(("optim_config.wd", "optim_config.weight_decay"), "weight_decay"),
    "quant_config.quantization_bit": "quantization_bit",
}
"""What LLaMA-Factory v1 nests -> the name that it had before."""
SIGNS_OF_V1 = frozenset(("micro_batch_size", "global_batch_size", "train_dataset", "model_class", "sample_backend"))
NO_TRAINING = frozenset(("infer_backend", "export_dir", "do_predict"))
"""Settings of files that use a model and train none."""
HINTS = {
    "grpo": ("num_generations", "reward_funcs", "scale_rewards", "epsilon_high", "steps_per_generation"),
    "rloo": ("rloo_k",),
    "ppo": ("total_episodes", "num_ppo_epochs", "kl_coef", "cliprange", "ppo_epochs", "response_length"),
    "kto": ("desirable_weight", "undesirable_weight", "kto_chosen_weight"),
    "reward": ("center_rewards_coefficient",),
    "dpo": ("precompute_ref_log_probs", "max_prompt_length", "dpo_alpha", "pref_loss", "rpo_alpha"),
    "sft": ("dataset_text_field", "assistant_only_loss", "completion_only_loss", "max_seq_length", "packing"),
}
PAIRED = frozenset(("exo_pair", "robust", "apo_zero", "apo_down", "discopop", "sppo_hard", "aot", "aot_pair"))
"""Losses that TRL's DPO alone has; others (sigmoid, hinge, ipo) are CPO's and Online DPO's too."""
_DATA = """dataset dataset_name dataset_dir dataset_mixer dataset_mixture datasets dataset_config dataset_splits
    dataset_train_split dataset_test_split dataset_config_name eval_dataset max_samples streaming mix_strategy
    interleave_probs train_dataset tokenized_path media_dir train_file validation_file dataset_text_field text_column
    buffer_size"""
_PACE = """preprocessing_num_workers dataloader_num_workers dataset_num_proc ddp_timeout deepspeed fsdp fsdp_config
    flash_attn
    attn_implementation use_flash_attention_2 use_unsloth use_unsloth_gc enable_liger_kernel use_liger_kernel
    num_processes nproc_per_node config_file main_process_port master_port dataloader_pin_memory tf32 low_cpu_mem_usage
    local_rollout_forward_batch_size per_device_eval_batch_size eval_accumulation_steps preprocessing_batch_size
    gradient_checkpointing_kwargs overwrite_cache use_cache torch_compile group_by_length num_machines nnodes node_rank
    mixed_precision use_fast_tokenizer padding_free padding_side remove_unused_columns dataloader_drop_last
    packing_strategy dist_config kernel_config init_config batching_strategy batching_workers cp_size cp_mode
    model_class quant_config use_vllm vllm_mode
    activation_offloading precompute_ref_log_probs data_shared_file_system upcast_layernorm"""
_RUN = """output_dir overwrite_output_dir logging_steps logging_dir logging_strategy logging_first_step log_level
    run_name
    plot_loss save_only_model do_train do_eval do_predict eval_steps eval_strategy evaluation_strategy push_to_hub
    hub_model_id hub_strategy hub_private_repo resume_from_checkpoint include_num_input_tokens_seen
    num_sample_generations predict_with_generate load_best_model_at_end metric_for_best_model save_safetensors
    wandb_project swanlab_project print_param_status include_tokens_per_second ray_run_name ray_storage_path
    ray_num_workers resources_per_worker placement_strategy eval_on_start compute_accuracy log_completions"""
WHY = {
    **dict.fromkeys(_DATA.split(), "data are imported: steersman data import FILE"),
    **dict.fromkeys(_PACE.split(), "of how it computes, not of what; chosen by itself here"),
    **dict.fromkeys(_RUN.split(), "of that program's run; a round keeps its own folder and metrics.jsonl"),
    "trust_remote_code": "a file does not decide that: --set model.trust_remote_code=true",
    "optim": "AdamW is the only optimizer here",
    "optim_config": "AdamW is the only optimizer here, with betas of its own",
    **dict.fromkeys(("sample_backend", "max_new_tokens"), "of trying a model, which `steersman talk` does"),
    "config": "its settings are in that file: name it too",
    "use_muon": "AdamW is the only optimizer here but for pretraining",
    "eos_token": "the end of a turn is the chat template's",
    "adam_beta1": "AdamW's betas are 0.9 and 0.95 here",
    "adam_beta2": "AdamW's betas are 0.9 and 0.95 here",
    "lora_dropout": "adapters have no dropout here",
    "adapter_name_or_path": "adapters are merged first: name the merged folder with --base",
    "ref_model": "the reference is the round's SFT model",
    "neftune_noise_alpha": "no noise on embeddings here",
    "max_steps": "a run's length is said in passes here",
    "max_prompt_length": "a prompt and its answers share one length here",
    "model_revision": "name a folder, or the hub's present revision is taken",
    "pref_ftx": "no SFT term beside the preference loss here",
}
"""Settings without a counterpart -> why."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the file (0: none, assumed) and what became of it; `settings` by dotted names."""

    line: int
    key: str
    value: str
    settings: Mapping[str, Any]
    why: str

    @property
    def same(self) -> bool:
        """Whether no setting is needed, since it is so here anyway."""
        return not self.settings and self.why in SO_HERE

    def __str__(self) -> str:
        at = f"{self.line:>4}  " if self.line else "   -  "
        made = ", ".join(f"{name} = {toml_text(value)}" for name, value in self.settings.items())
        if not made and self.same:
            return f"{at}{self.key}: {self.value}  ->  so here{f' ({self.why})' if self.why not in ('', SO) else ''}"
        of = f"{self.key}: {self.value}" if self.line else f"({self.key}, not in the file)"
        return f"{at}{of}  ->  {made or 'no counterpart'}{f'  ({self.why})' if self.why else ''}"


@dataclass(frozen=True)
class Adopted:
    """What a file came to."""

    path: Path
    program: str
    stage: str
    settings: Mapping[str, Any]
    lines: list[Told]

    @property
    def counts(self) -> dict[str, int]:
        """Lines of the file in all, of which so many became settings, are so here anyway or have no counterpart."""
        own = [told for told in self.lines if told.line]
        made = sum(bool(told.settings) for told in own)
        same = sum(told.same for told in own)
        return {"lines": len(own), "converted": made, "same": same, "no_counterpart": len(own) - made - same}

    def to_json(self) -> dict[str, Any]:
        lines = [
            {"line": t.line, "key": t.key, "value": t.value, "settings": dict(t.settings), "why": t.why}
            for t in self.lines
        ]
        about = {"file": str(self.path), "program": self.program, "stage": self.stage, "counts": self.counts}
        return about | {"settings": dict(self.settings), "lines": lines}


OTHERS = re.compile(r"(?<![a-z])(?:orpo|simpo|cpo|bco|gkd|xpo|nash|online_dpo|prm)(?![a-z])")
SO = "so here"
AGAIN = "given again later: the last one counts, there as here"
SO_HERE = ("", SO, "none here either", "as adapters", "rows are packed here in any case", LOSS)
"""What is said of settings that need no counterpart."""


def adopt(path: Path, stage: str = "", devices: int = 0, tokens: int = TOKENS) -> Adopted:
    """The settings in a file of TRL or LLaMA-Factory. Raises ValueError where it is none, or of no stage of ours.

    `stage`: one of STAGES, where the file does not tell; `devices`: 0 takes what its command says, else one.
    """
    given = argument_files.read(path)
    entries = {_bare(e.key): e for e in given.entries if not _unset(e.value)}
    program, found = _what(given, {_bare(e.key): e.value for e in given.entries}, stage)
    if found in GROUPED and program != TRL:
        raise ValueError(f"{path}: LLaMA-Factory has no {found}; expected a file of TRL")
    method = found if found in GROUPED else ""
    t = Taken(program, "ppo" if method else found, entries, devices or given.devices or 1, tokens, method)
    counterparts.model(t)
    counterparts.schedule(t)
    prompts = counterparts.batch(t)
    counterparts.lengths(t)
    counterparts.adapters(t)
    counterparts.saving(t)
    counterparts.preference(t)
    if found == "ppo":
        ppo(t, prompts)
    elif method:
        group(t, prompts)
    if "model.quantize" in t.settings and not t.settings.get(f"{found}.adapters.lora_rank"):
        del t.settings["model.quantize"]
        for name in ("quantization_bit", "load_in_4bit", "load_in_8bit"):
            t.tell(t.find(name), {}, "weights are quantized below LoRA alone here")
    lines = [_told(t, e.line, e.key, e.value) for e in given.entries]
    lines += [Told(max(1, e.line), e.key, _short(e.value), {}, AGAIN) for e in given.again]
    lines = sorted(lines, key=lambda told: told.line) if given.again else lines
    lines += [Told(0, what, "", made, f"{program}'s own{f'; {why}' if why else ''}") for what, made, why in t.assumed]
    return Adopted(path, program, found, t.settings, lines)


def _bare(key: str) -> str:
    """A key without the sections of LLaMA-Factory's page (top., train.) and of newer files; v1's by its older name."""
    return OF_V1.get(key) or re.sub(r"^(?:top|train|model_args|training_args|data_args|training|method)\.", "", key)


def _unset(value: Any) -> bool:
    """Whether a value is of a variable that the file does not set."""
    return isinstance(value, str) and argument_files.VARIABLE.search(value) is not None


def _told(t: Taken, line: int, key: str, value: Any) -> Told:
    made, how = t.said.get(key, ({}, None))
    made = {name: v for name, v in made.items() if t.settings.get(name) == v}
    if how is None:
        parts = _bare(key).split(".")  # dataset_mixer.NAME is one of dataset_mixer, deepspeed.x of deepspeed
        how = next((WHY[part] for part in (parts[-1], parts[0]) if part in WHY), "nothing of the kind here")
        if parts[0] in ("stage", "training_stage") or (parts[-1] == "assistant_only_loss" and value):
            how = SO
        if value in (None, False, "none", "", []):
            how = SO  # switched off there, not there here
    if _unset(value):
        how = "a variable that the file does not set"
    return Told(max(1, line), key, _short(value), made, how)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _what(given: Given, values: Mapping[str, Any], stage: str) -> tuple[str, str]:
    """(the program that the file is of, the stage)."""
    words = " ".join(given.words)
    factory = bool(re.search(r"llamafactory|train_bash|LLaMA-?Factory", words, re.I))
    factory = factory or (" trl " not in f" {words} " and any(name in values for name in OF_FACTORY))
    v1 = "model" in values and "model_name_or_path" not in values and SIGNS_OF_V1 & values.keys()
    program = (NEWER if v1 else FACTORY) if factory else TRL
    if factory and NO_TRAINING & values.keys() and "learning_rate" not in values and not values.get("do_train"):
        what = ", ".join(sorted(NO_TRAINING & values.keys()))
        raise ValueError(f"{given.path}: expected settings of a training run, found those of using a model ({what})")
    if stage:
        if stage not in STAGES:
            raise ValueError(f"--stage {stage}: expected one of {', '.join(STAGES)}")
        return program, stage
    named = str(values.get("stage") or values.get("training_stage") or "").strip().lower()
    if named:
        found = NAMED_SO.get(named) or BOARD.get(named)
        if not found:
            raise ValueError(
                f"{given.path}: stage {named!r}: expected {', '.join(STAGES)} (or rm); continued pretraining and other "
                "methods have no stage here"
            )
        return program, found
    return program, _guessed(given, values, factory)


def _guessed(given: Given, values: Mapping[str, Any], factory: bool) -> str:
    """The stage of a file that does not name it: by its command, its settings, its name."""
    for word in given.words:
        if re.search(r"(?:^|[/_])(?:online_dpo|dpo_online)(?![a-z])", word.lower()):
            raise ValueError(f"{given.path}: expected a file of {', '.join(STAGES)}; online DPO is no stage here")
        if match := re.search(r"(?:^|[/_])(sft|dpo|kto|ppo|grpo|rloo|reward|rm)(?:[_.]\w*)*$", word.lower()):
            return NAMED_SO[match[1]]
    name = f"{given.path.parent.name}/{given.path.stem}".lower()
    if match := OTHERS.search(name):
        raise ValueError(f"{given.path}: expected a file of {', '.join(STAGES)}; {match[0]} is no stage here")
    if match := re.search(r"(?<![a-z])(grpo|rloo)(?![a-z])", name):
        return match[1]
    known = [stage for stage, names in HINTS.items() if any(name in values for name in names)]
    if not known and PAIRED & {str(loss) for loss in _list(values.get("loss_type"))}:
        known = ["dpo"]
    if known:
        return known[0]
    if match := re.search(r"(?<![a-z])(sft|dpo|kto|ppo|grpo|rloo|reward|rm)(?![a-z])", name):
        return NAMED_SO[match[1]]
    if factory:
        return "sft"
    trains = {"learning_rate", "model_name_or_path", "num_train_epochs", "per_device_train_batch_size"} & values.keys()
    if not trains:
        raise ValueError(
            f"{given.path}: expected settings of a training run of TRL or LLaMA-Factory, found "
            f"{', '.join(list(values)[:6])}"
        )
    raise ValueError(f"{given.path}: which stage it is of is not said; name it: --stage {' | '.join(STAGES)}")


def together(every: Sequence[Adopted]) -> list[Adopted]:
    """Files of several stages: what all stages share (the base, the seed) is the earliest stage's, and so told.

    Later files name as their model what the stage before made. ValueError for two files of one stage.
    """
    order = sorted(range(len(every)), key=lambda i: STAGES.index(every[i].stage))
    first: dict[str, Adopted] = {}
    out = list(every)
    for at, one in ((i, every[i]) for i in order):
        for other in every[:at]:
            if other.stage == one.stage:
                raise ValueError(f"{one.path} and {other.path} are both of {one.stage}; expected one file a stage")
        given = {n: first[n] for n, value in one.settings.items() if n in first and first[n].settings[n] != value}
        lines = [_given_before(told, given) for told in one.lines]
        settings = {name: value for name, value in one.settings.items() if name not in given}
        out[at] = replace(one, settings=settings, lines=lines)
        first = dict.fromkeys(settings, out[at]) | first
    return out


def _given_before(told: Told, given: Mapping[str, Adopted]) -> Told:
    lost = [name for name in told.settings if name in given]
    if not lost:
        return told
    whose = "; ".join(f"{name} is one for all stages and {given[name].path.name}'s" for name in lost)
    kept = {name: value for name, value in told.settings.items() if name not in given}
    return replace(told, settings=kept, why=f"{told.why}; {whose}".removeprefix("; "))


def applied(config: Config, found: Adopted) -> Config:
    """The configuration with a file's settings; ValueError where one is out of our bounds."""
    for name, value in found.settings.items():
        section, _, rest = name.partition(".")
        config = from_dict({section: below(rest, value)}, f"{found.path}: {name}", config)
    return config
