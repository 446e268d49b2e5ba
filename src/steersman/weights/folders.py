"""Loading and saving Hugging Face folders, and checking them before use."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import logging as hf_logging

from steersman.artifact.files import naming, umask, write_json
from steersman.artifact.manifest import MANIFEST_NAME, verify
from steersman.compute.vocabulary import grow_embedding
from steersman.config import ModelConfig
from steersman.distributed import parallel
from steersman.families.encoder_decoder import as_published, untied
from steersman.families.heads import saved_scale
from steersman.families.known import family_of
from steersman.families.outputs import layer_count
from steersman.progress import activity, note
from steersman.text.bases import add_chat_template, take_beside, unlike
from steersman.text.template import Template
from steersman.text.text2text import NAME as TEXT2TEXT
from steersman.weights import checks, languages, pieces
from steersman.weights.ends import agree_on_ends
from steersman.weights.gguf import completed, cut_words, parsed_once
from steersman.weights.resolve import TOKENIZERS

Model = Any
"""A transformers model; its classes carry no usable types."""

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
PADS = ("<pad>", "<|pad|>", "[PAD]", "<|endoftext|>", "<|finetune_right_pad_id|>", "<unk>")
SHARD = "5GB"
"""Most in one file of weights."""
LOADED, SAVED = 100e6, 200e6
"""Least bytes per second from and to a usual disk, for the ETA before anything was measured."""
TEXT_PART = {
    r"^(model\.)?language_model\.model\.": "model.",
    r"^model\.language_model\.": "model.",
    r"^language_model\.lm_head": "lm_head",
}
"""Prefixes of a decoder's weights inside a multimodal model -> the same in a text-only model."""


def pick_device(name: str) -> torch.device:
    """'auto' is the first GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("model.device = 'cuda', but torch sees no GPU here; use 'cpu' or 'auto'")
    return torch.device(name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Switch off transformers' own progress bars and advice inside the context."""
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
    checks.check_files(folder)
    checks.read_object(folder / "config.json")
    if (folder / MANIFEST_NAME).is_file():
        verify(folder)
    checks.check_config(folder, len(checks.stored_tensors(folder)))


def read_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """transformers' config of a folder, without the weights. Raises ValueError where it cannot be read."""
    checks.check_files(folder)
    try:
        tensors = len(checks.stored_tensors(folder))
    except ValueError:
        tensors = 1 << 12  # a config without weights; code that needs weights reports their absence
    checks.check_config(folder, tensors)
    with quiet():
        try:
            config = AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
            text_config(config)
            return config
        except Exception as error:  # a config class may raise any error
            told = checks.said(error)
            if "custom code" in told:
                told = "the model is Python code of its own; once you have read it: --set model.trust_remote_code=true"
            raise ValueError(f"{folder / 'config.json'}: transformers cannot read it: {told}") from None


def read_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer as it is. Raises ValueError where there is none that works."""
    checks.check_files(folder)
    checks.check_replacements(folder)
    if (folder / "config.json").is_file():  # transformers reads the config to find the tokenizer's class
        checks.check_config(folder, 1 << 12)
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"):
        if (folder / name).is_file():
            checks.read_object(folder / name)
    with quiet():
        try:
            tokenizer = pieces.with_unknown(pieces.only_tokens(pieces.from_files(folder)))
            ids = tokenizer("a 1\n您é😀")["input_ids"]
            tokenizer.decode(ids)
            set_pad_token(tokenizer)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # its parsers may raise any error, even panics outside of Exception
            if (folder / "config.json").is_file() and pieces.CODE not in str(error):
                read_config(folder)  # which says so where that is what cannot be read
            raise ValueError(f"{folder}: no usable tokenizer: {checks.said(error)}") from None
    checks.check_entries(tokenizer, ids, folder)
    return tokenizer


@functools.lru_cache(maxsize=64)
def _tokens(folder: Path, *_version: int) -> tuple[int, dict[int, str]]:
    """(rows that an embedding needs for the folder's tokenizer, its added tokens by id)."""
    tokenizer = read_tokenizer(folder)
    added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items()}
    return max(tokenizer.get_vocab().values(), default=-1) + 1, added


def _fit_vocabulary(model: Model, folder: Path) -> None:
    files = [folder / name for name in (*TOKENIZERS, "tokenizer_config.json", "added_tokens.json")]
    if there := [path for path in files if path.is_file()]:
        grow_embedding(model, folder, *_tokens(folder, *(path.stat().st_mtime_ns for path in there)))


def load_tokenizer(folder: Path, template: str = "auto") -> Any:
    """The folder's tokenizer, with a pad token that is not the end-of-turn token.

    `template`: the chat template for a tokenizer without one (`text.bases`); "auto" adds none for unknown tokenizers.
    """
    tokenizer = read_tokenizer(folder)
    if tokenizer.chat_template or take_beside(tokenizer, folder):
        if unlike(tokenizer.chat_template, template):
            note(f"{folder}: has a chat template of its own; model.template = '{template}' is not used")
    else:
        try:
            name = TEXT2TEXT if template == "auto" and _is_encoder_decoder(folder) else template
            note(f"{folder}: no chat template; {add_chat_template(tokenizer, name)} is used (model.template)")
        except ValueError:
            if template != "auto":
                raise
    return tokenizer


def _is_encoder_decoder(folder: Path) -> bool:
    return (folder / "config.json").is_file() and bool(read_config(folder).is_encoder_decoder)


def load_template(folder: Path, config: ModelConfig) -> Template:
    """A stage's renderer with the folder's tokenizer, configured by the section [model] of the settings."""
    return Template(load_tokenizer(folder, config.template), config.thinking, today=False)


def set_pad_token(tokenizer: Any) -> None:
    """Padding must not be the end-of-turn token, or models never learn to stop (Huang et al. 2024)."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    vocabulary = tokenizer.get_vocab()
    for name in (*PADS, tokenizer.unk_token):
        if name in vocabulary and vocabulary[name] != tokenizer.eos_token_id:
            tokenizer.pad_token = name
            return


def _load(scalar: bool, folder: Path, dtype: str, trust_remote_code: bool, **extra: Any) -> Model:
    check_folder(folder)
    config = read_config(folder, trust_remote_code)
    options: dict[str, Any] = {"dtype": DTYPES[dtype], "trust_remote_code": trust_remote_code, **extra}
    if "auto_map" in config.to_dict():
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        kind = AutoModelForSequenceClassification if scalar else kind
    else:
        whole, config = config, text_config(config)
        kind = _class_for(scalar, config, folder)
        options["config"] = config
        if config is not whole:
            options["key_mapping"] = TEXT_PART
        if "num_labels" in options:
            config.num_labels = options.pop("num_labels")
        _compare(scalar, kind, config, folder)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    with quiet(), activity(f"loading {folder.name}", about=size / LOADED):
        try:
            model, info = kind.from_pretrained(str(folder), output_loading_info=True, **options)
        except Exception as error:  # a bad folder may raise errors of many types
            raise ValueError(f"{folder}: transformers cannot load it: {checks.said(error)}") from None
    if conversions := getattr(model, "_weight_conversions", None):  # converted names are not converted back on saving
        model._weight_conversions = [c for c in conversions if not set(c._original_source_patterns) & set(TEXT_PART)]
    _check_names(model, folder, info)
    checks.check_finite(model, folder)
    as_published(model, folder / "config.json")
    if config.model_type in languages.TYPES and not scalar:
        languages.take_language(model, read_tokenizer(folder), folder)
    _fit_vocabulary(model, folder)
    use_plain_attention(model)
    model.eval()
    if not (folder / MANIFEST_NAME).is_file():  # a stage's own folder was verified
        checks.tell_scale(config, folder)
        ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
        checks.check_forward(model, family_of(model).trial(ids), folder)
    model.config.use_cache = False
    return model


def _compare(scalar: bool, kind: Any, config: Any, folder: Path) -> None:
    """ValueError unless the weights' names and shapes match the config; compared without loading either."""
    file = folder / "config.json"
    try:
        with quiet(), torch.device("meta"):
            model = kind(copy.deepcopy(config))
    except Exception as error:  # the same attention as on loading
        raise ValueError(f"{file}: transformers cannot build this model: {checks.said(error)}") from None
    if scalar and not hasattr(model, "score"):
        raise ValueError(f"{file}: '{config.model_type}' is no reward model or critic: its class has no `score`")
    checks.check_shapes(model, checks.stored_tensors(folder), TEXT_PART, file)


def _check_names(model: Model, folder: Path, info: Mapping[str, Any]) -> None:
    """ValueError where weights are missing or known modules would lose some; other unused weights are printed."""
    scalar = hasattr(model, "score")
    missing = sorted(set(info["missing_keys"]) - ({"score.weight"} if scalar else set()))
    if missing:
        raise ValueError(f"{folder}: weights missing from the checkpoint: {', '.join(missing[:3])}")
    unused = sorted(set(info["unexpected_keys"]) - ({"lm_head.weight", "lm_head.bias"} if scalar else {"score.weight"}))
    within = r"^\w+\.(?:decoder\.)?(?:layers|h|blocks)\.(\d+)\."
    layers = checks.computed_without(model, unused, within, layer_count(model))
    if layers:
        raise ValueError(
            f"{folder}: weights that this model would be computed without: {', '.join(layers[:3])}; config.json says "
            f"nothing of them ({len(layers)} in all)"
        )
    if unused:
        parts = ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in unused))
        note(f"{folder}: {len(unused)} tensors are not of the decoder and are left out ({parts[:200]})")


def text_config(config: Any) -> Any:
    """The decoder's part of a multimodal model's config; any other config unchanged."""
    part = config if config.is_encoder_decoder else config.get_text_config()
    if part is not config:
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if getattr(part, name, None) is None:
                setattr(part, name, getattr(config, name, None))
        part.tie_word_embeddings = config.tie_word_embeddings or part.tie_word_embeddings
    if getattr(part, "attention_type", None) == "block_sparse":
        part.attention_type = "original_full"  # BigBird's: transformers leaves sparse blocks for good at a short text
    return part


def _class_for(scalar: bool, config: Any, folder: Path) -> Any:
    """transformers' class for the model. Raises ValueError where it has none."""
    family = family_of(config)
    try:
        return family.scalar_class(config) if scalar else family.causal_class(config)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None


def use_plain_attention(model: Model) -> None:
    """Select transformers' fused attention, or its plain one for models that the fused one does not support."""
    capped = getattr(model.config, "attn_logit_softcapping", None)
    model.set_attn_implementation("sdpa" if model._supports_sdpa and not capped else "eager")


def load_causal(folder: Path, dtype: str = "bfloat16", trust_remote_code: bool = False, **extra: Any) -> Model:
    """A model of any family with its vocabulary's head; `extra` is for transformers.

    Raises ValueError on a missing or damaged one.
    """
    return _load(False, folder, dtype, trust_remote_code, **extra)


def check_causal(folder: Path, trust_remote_code: bool = False) -> Any:
    """The config of a folder that `load_causal` can load, without reading its weights. ValueError for another."""
    check_folder(folder)
    config = read_config(folder, trust_remote_code)
    _class_for(False, config, folder)
    return text_config(config)


def use_packed_rows(model: Model) -> Model:
    """Make a model ready for rows (`steersman.families.outputs`); a decoder may take nothing else afterwards."""
    family_of(model).prepare(model)
    return model


def load_scalar(
    folder: Path, dtype: str = "bfloat16", trust_remote_code: bool = False, heads: int = 0, **extra: Any
) -> Model:
    """A model with a scalar output per token and objective (`score`); new heads are zero until initialised.

    `heads`: how many; 0 takes those that the folder's reward model has, 1 where it is none.
    """
    checks.check_files(folder)
    names = saved_scale(folder).get("objectives")
    heads = heads or (len(names) if isinstance(names, list) else 0) or 1
    return _load(True, folder, dtype, trust_remote_code, num_labels=heads, **extra)


def save_model(model: Model, tokenizer: Any, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Write a plain Hugging Face folder (safetensors, tokenizer, chat template). `state` overrides the weights.

    Several processes must call it together; the first writes.
    """
    if parallel.size() > 1:
        state = parallel.whole_state(model) if state is None else state
        if not parallel.is_first():
            return
    if state is not None:  # buffers, which training never changes: routers' biases, scales of layers
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        state = {**{n: x for n, x in model.state_dict().items() if n not in parameters}, **state}
    folder.mkdir(parents=True, exist_ok=True)
    use_cache, model.config.use_cache = getattr(model.config, "use_cache", True), True
    if tokenizer.chat_template:
        agree_on_ends(model, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    size = sum(x.nbytes for x in (state or model.state_dict()).values())
    with quiet(), naming(folder), activity("saving the model", about=size / SAVED):
        model.save_pretrained(str(folder), state_dict=state, max_shard_size=SHARD)
        tokenizer.save_pretrained(str(folder))
    if untied(model):
        path = folder / "config.json"
        write_json(path, checks.read_object(path) | {"tie_word_embeddings": False})
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o666 & ~umask())  # files are created readable for their owner only
    model.config.use_cache = use_cache


@parsed_once()
def convert_gguf(file: Path, folder: Path) -> None:
    """De-quantise a GGUF file into a plain bfloat16 Hugging Face folder."""
    from transformers import modeling_gguf_pytorch_utils as reader

    where, name = str(file.parent), file.name
    reader.tqdm = functools.partial(reader.tqdm, disable=True)  # a progress bar that ignores transformers' settings
    with quiet():
        try:
            settings = completed(file, AutoConfig.from_pretrained(where, gguf_file=name, trust_remote_code=False))
            if settings.is_encoder_decoder:
                raise ValueError("an encoder-decoder; expected its Hugging Face folder, which loads")
            tokenizer = cut_words(file, AutoTokenizer.from_pretrained(where, gguf_file=name, trust_remote_code=False))
            quantised, info = AutoModelForCausalLM.from_pretrained(
                where, gguf_file=name, dtype=torch.float32, config=settings, output_loading_info=True
            )
        except (ImportError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(f"{file}: transformers cannot read this GGUF: {checks.said(error)}") from None
        if info["missing_keys"]:
            raise ValueError(f"{file}: weights missing: {', '.join(sorted(info['missing_keys'])[:3])}")
        config = AutoConfig.for_model(quantised.config.model_type, **_plain(quantised.config))
        model = getattr(transformers, type(quantised).__name__)(config)
        model.load_state_dict(quantised.state_dict())
        model.to(torch.bfloat16)
        if not tokenizer.chat_template:
            add_chat_template(tokenizer)
    set_pad_token(tokenizer)
    save_model(model, tokenizer, folder)


def _plain(config: Any) -> dict[str, Any]:
    """A config's values without the entries on the quantised file."""
    values: dict[str, Any] = config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path", "model_type", "transformers_version"):
        values.pop(key, None)
    return values
