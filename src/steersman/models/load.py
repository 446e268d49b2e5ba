"""Loading and saving Hugging Face folders, and checking them before use."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from steersman.config import ModelConfig
from steersman.models import parallel
from steersman.models.objectives import saved_scale
from steersman.progress import activity, note
from steersman.text.bases import add_chat_template
from steersman.text.template import Template
from steersman.types import Conversation, Message
from steersman.workspace import MANIFEST_NAME, naming, umask, verify

Model = Any
"""A transformers model; its classes carry no usable types."""

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def pick_device(name: str) -> torch.device:
    """'auto' is the first GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("model.device = 'cuda', but torch sees no GPU here; use 'cpu' or 'auto'")
    return torch.device(name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """transformers' own progress bars and advice, off for a while."""
    from transformers.utils import logging as hf_logging

    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()


def check_folder(folder: Path) -> None:
    """ValueError unless `folder` is a whole model: config, weights, tokenizer; its manifest, if any, agrees."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such model folder")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json; expected a Hugging Face model folder")
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: not valid JSON: {error}") from None
    if (folder / MANIFEST_NAME).is_file():
        verify(folder)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{folder}: no .safetensors weights (pickled .bin weights are not loaded)")
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: damaged or truncated weights: {error}") from None


def read_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """The model's shape and family, without its weights."""
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder}: transformers cannot read its config: {str(error).splitlines()[0]}") from None


def load_tokenizer(folder: Path, template: str = "auto") -> Any:
    """The folder's tokenizer, with a pad token that is not the end-of-turn token.

    `template`: what a tokenizer without a chat template is given (`text.bases`); "auto" leaves it without where its
    tokens tell nothing.
    """
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder}: no usable tokenizer: {str(error).splitlines()[0]}") from None
    if not tokenizer.chat_template:
        try:
            note(f"{folder}: no chat template; {add_chat_template(tokenizer, template)} is used (model.template)")
        except ValueError:
            if template != "auto":
                raise
    set_pad_token(tokenizer)
    return tokenizer


def load_template(folder: Path, config: ModelConfig) -> Template:
    """The renderer of the folder's dialogues, as the section [model] of the settings says."""
    return Template(load_tokenizer(folder, config.template), config.thinking)


def set_pad_token(tokenizer: Any) -> None:
    """Padding must not be the end-of-turn token, or models never learn to stop (Huang et al. 2024)."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    vocabulary = tokenizer.get_vocab()
    for name in (
        "<pad>",
        "<|pad|>",
        "[PAD]",
        "<|endoftext|>",
        "<|finetune_right_pad_id|>",
        "<unk>",
        tokenizer.unk_token,
    ):
        if name in vocabulary and vocabulary[name] != tokenizer.eos_token_id:
            tokenizer.pad_token = name
            return


def _load(kind: Any, folder: Path, dtype: str, trust_remote_code: bool, **extra: Any) -> Model:
    check_folder(folder)
    with _quiet(), activity(f"loading {folder.name}"):
        try:
            model, info = kind.from_pretrained(
                str(folder),
                dtype=DTYPES[dtype],
                trust_remote_code=trust_remote_code,
                attn_implementation="sdpa",
                output_loading_info=True,
                **extra,
            )
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"{folder}: transformers cannot load it: {str(error).splitlines()[0]}") from None
    allowed = {"score.weight"} if kind is AutoModelForSequenceClassification else set()
    missing = sorted(set(info["missing_keys"]) - allowed)
    if missing:
        raise ValueError(f"{folder}: weights missing from the checkpoint: {', '.join(missing[:3])}")
    model.eval()
    model.config.use_cache = False
    return model


def load_causal(folder: Path, dtype: str = "bfloat16", trust_remote_code: bool = False, **extra: Any) -> Model:
    """A decoder with its vocabulary head; `extra` is for transformers. ValueError on a missing or damaged one."""
    return _load(AutoModelForCausalLM, folder, dtype, trust_remote_code, **extra)


def load_generating(folder: Path, dtype: str = "bfloat16", trust_remote_code: bool = False) -> Model:
    """A model that generates: a decoder, or an encoder-decoder where its config says so."""
    check_folder(folder)
    config = read_config(folder, trust_remote_code)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return _load(kind, folder, dtype, trust_remote_code)


def use_packed_rows(model: Model) -> Model:
    """Switch a model to attention over packed rows (`steersman.models.decoder`); it then takes nothing else."""
    from steersman.models.attention import NAME

    model.set_attn_implementation(NAME)
    return model


def load_scalar(
    folder: Path, dtype: str = "bfloat16", trust_remote_code: bool = False, heads: int = 0, **extra: Any
) -> Model:
    """A decoder with a scalar output per token and objective (`score`); new heads are zero until initialised.

    `heads`: how many; 0 takes those that the folder's reward model has, 1 where it is none.
    """
    heads = heads or len(saved_scale(folder).get("objectives", ())) or 1
    return _load(AutoModelForSequenceClassification, folder, dtype, trust_remote_code, num_labels=heads, **extra)


def save_model(model: Model, tokenizer: Any, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Write a plain Hugging Face folder (safetensors, tokenizer, chat template). `state` overrides the weights.

    Of several processes, all of which call it, the first writes.
    """
    if parallel.size() > 1:
        state = parallel.whole_state(model) if state is None else state
        if not parallel.is_first():
            return
    folder.mkdir(parents=True, exist_ok=True)
    use_cache, model.config.use_cache = model.config.use_cache, True
    if tokenizer.chat_template:
        agree_on_ends(model, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    with _quiet(), naming(folder), activity("saving the model"):
        model.save_pretrained(str(folder), state_dict=state)
        tokenizer.save_pretrained(str(folder))
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o666 & ~umask())  # they are written as if they were secrets
    model.config.use_cache = use_cache


def agree_on_ends(model: Model, tokenizer: Any) -> None:
    """Config, generation config and tokenizer name the tokens that end a turn, so that other software stops there."""
    template = Template(tokenizer)
    ends: int | list[int] = template.end_of_turn
    if template.ends != {ends}:
        ends = [template.end_of_turn, *sorted(template.ends - {template.end_of_turn})]
    model.config.eos_token_id = ends
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.eos_token_id = ends
    before, probe = tokenizer.eos_token, Conversation("probe", (Message("user", "?"), Message("assistant", "!")))
    rows = template.examples(probe)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(template.end_of_turn)
    if Template(tokenizer).examples(probe) != rows:  # the template writes the old one elsewhere
        tokenizer.eos_token = before


def convert_gguf(file: Path, folder: Path) -> None:
    """De-quantise a GGUF file into a plain bfloat16 Hugging Face folder."""
    from transformers import modeling_gguf_pytorch_utils as reader

    where, name = str(file.parent), file.name
    reader.tqdm = functools.partial(reader.tqdm, disable=True)  # a bar that heeds no setting of transformers'
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
            quantised = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32)
        except (ImportError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(f"{file}: transformers cannot read this GGUF: {str(error).splitlines()[0]}") from None
        config = AutoConfig.for_model(quantised.config.model_type, **_plain(quantised.config))
        model = getattr(transformers, type(quantised).__name__)(config)
        model.load_state_dict(quantised.state_dict())
        model.to(torch.bfloat16)
        if not tokenizer.chat_template:
            add_chat_template(tokenizer)
    set_pad_token(tokenizer)
    save_model(model, tokenizer, folder)


def _plain(config: Any) -> dict[str, Any]:
    """A config's values without what tied it to the quantised file."""
    values: dict[str, Any] = config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path", "model_type", "transformers_version"):
        values.pop(key, None)
    return values
