"""Models with a head for labels or spans, or without one for vectors: transformers' own classes, loaded and saved."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from steersman.families.encoder import averages, headed_class
from steersman.progress import activity, note
from steersman.weights import checks
from steersman.weights.folders import (
    DTYPES,
    LOADED,
    Model,
    check_folder,
    quiet,
    read_config,
    read_tokenizer,
    text_config,
    use_plain_attention,
)

HEADS = {"ForSequenceClassification": "classifier", "ForQuestionAnswering": "span"}
"""End of a class's name in config.json -> what its head computes."""
FLOAT32 = ("deberta", "fnet", "mra")
"""Model types whose code in transformers computes in float32 alone."""
AVERAGED = "mean_pooled."
"""Before the names of a head's weights that read the mean of the states: transformers' class, which would give it the
first state, says that they are missing."""


def task_of(folder: Path) -> str:
    """What the folder's model was trained for: a name of `families.encoder.TASKS`; embedding where it has no head.

    Raises ValueError for a reward model, and for a model without the labels' names.
    """
    config = checks.read_object(folder / "config.json")
    if "objectives" in config or "reward_shift" in config:
        raise ValueError(f"{folder}: a reward model; expected a classifier or a model of embeddings")
    names = config.get("architectures") or [""]
    head = next((task for end, task in HEADS.items() if str(names[0]).endswith(end)), "embedding")
    if head != "classifier":
        return head
    kinds = {"multi_label_classification": "multi_label", "regression": "regression"}
    return kinds.get(str(config.get("problem_type")), "single_label")


def load_headed(
    folder: Path,
    task: str,
    dtype: str = "float32",
    labels: Sequence[str] = (),
    trust_remote_code: bool = False,
    seed: int | None = None,
) -> Model:
    """A model for a task: with `seed` its head is new where the folder has none for these labels, else an error.

    Raises ValueError on a missing or damaged folder, and where transformers has no such class.
    """
    check_folder(folder)
    config = text_config(read_config(folder, trust_remote_code))
    if config.model_type == "xmod" and not config.default_language:
        raise ValueError(
            f"{folder / 'config.json'}: default_language: expected one of {', '.join(config.languages)}: the adapters "
            "that texts go through"
        )
    _check_backbone(config, folder)
    _check_end(config, task, folder)
    if task in ("span", "embedding") and hasattr(config, "classifier_pooling") and averages(config):
        del config.classifier_pooling
    if labels:
        config.id2label, config.label2id = dict(enumerate(labels)), {name: i for i, name in enumerate(labels)}
    try:
        kind = headed_class(config, task)
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    if config.model_type in FLOAT32 and dtype != "float32":
        note(f"{folder.name}: transformers computes '{config.model_type}' in float32 alone; so it is here")
        dtype = "float32"
    options: dict[str, Any] = {"config": config, "dtype": DTYPES[dtype], "output_loading_info": True}
    options |= _unpooled(kind) if task == "embedding" else {}
    options["key_mapping"] = {rf"^{re.escape(AVERAGED)}": ""}
    if any(name.startswith("model.") for name in checks.stored_tensors(folder)) and kind.base_model_prefix != "model":
        options["key_mapping"] |= {r"^model\.": f"{kind.base_model_prefix}."}  # Llama's class for spans
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    with quiet(), activity(f"loading {folder.name}", about=size / LOADED), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        try:
            model, info = kind.from_pretrained(str(folder), ignore_mismatched_sizes=seed is not None, **options)
        except Exception as error:  # a bad folder may raise errors of many types
            raise ValueError(f"{folder}: transformers cannot load it: {checks.said(error)}") from None
    _check_heads(model, info, folder, seed is not None)
    checks.check_finite(model, folder)
    use_plain_attention(model)
    model.config.use_cache = False
    return model.eval()


def _unpooled(kind: Any) -> dict[str, bool]:
    """Arguments that leave out the backbone's own pooler, which masked language models lack and vectors do not need."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}


def _check_backbone(config: Any, folder: Path) -> None:
    """ValueError unless the weights below the head are of the sizes that config.json says."""
    kind = headed_class(config, "embedding")
    with quiet(), torch.device("meta"):
        try:
            body = kind(config, **_unpooled(kind))
        except Exception as error:
            told = f"transformers cannot build this model: {checks.said(error)}"
            raise ValueError(f"{folder / 'config.json'}: {told}") from None
    prefixes = {rf"^{body.base_model_prefix}\.": "", r"\.gamma$": ".weight", r"\.beta$": ".bias"}
    checks.check_shapes(body, checks.stored_tensors(folder), prefixes, folder / "config.json")


def _check_end(config: Any, task: str, folder: Path) -> None:
    """ValueError for an encoder-decoder whose tokenizer writes no end token: transformers' head reads its state."""
    if not getattr(config, "is_encoder_decoder", False) or task in ("embedding", "span"):
        return
    if config.eos_token_id not in read_tokenizer(folder)("a").input_ids:
        raise ValueError(
            f"{folder}: the classifier of '{config.model_type}' reads the end token, which this tokenizer does not "
            "write; expected an encoder or a decoder, or text-to-text tasks: steersman tasks build"
        )


def _check_heads(model: Model, info: Any, folder: Path, new: bool) -> None:
    """ValueError where the backbone lacks weights, or a head that must be there does; a new head is said."""
    missing = set(info["missing_keys"])
    missing |= {key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]}
    body = f"{model.base_model_prefix}." if model.base_model is not model else ""
    below = sorted(name for name in missing if name.startswith(body) and ".pooler." not in f".{name}")
    if below:
        raise ValueError(f"{folder}: weights missing from the checkpoint: {', '.join(below[:3])}")
    if missing and not new:
        raise ValueError(f"{folder}: no trained head ({', '.join(sorted(missing)[:3])}); train it: steersman encoder")
    if missing:
        parts = ", ".join(dict.fromkeys(name.removeprefix(body).split(".")[0] for name in sorted(missing)))
        note(f"{folder.name}: new weights, drawn by the seed: {parts}")
    unused = sorted(info["unexpected_keys"])
    within = rf"^(?:{model.base_model_prefix}\.)?(?:encoder\.|transformer\.)?layers?\.(\d+)\."
    below = [name for name in unused if name.startswith(body) or re.match(within, name)]  # heads may share a name
    if wrong := checks.computed_without(model, below, within, model.config.num_hidden_layers):
        raise ValueError(
            f"{folder}: weights that this model would be computed without: {', '.join(wrong[:3])} ({len(wrong)} in all)"
        )
    if unused:
        parts = ", ".join(dict.fromkeys(".".join(name.split(".")[:2]) for name in unused))
        note(f"{folder.name}: {len(unused)} tensors of another head are left out ({parts[:200]})")


def saved_names(model: Model) -> dict[str, torch.Tensor] | None:
    """The weights as they are saved where the head reads means; None where that is as they are named."""
    if not averages(model.config) or model.base_model is model:
        return None
    body = f"{model.base_model_prefix}."
    return {name if name.startswith(body) else AVERAGED + name: x for name, x in model.state_dict().items()}
