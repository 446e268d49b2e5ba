"""Encoders (BERT, RoBERTa, XLM-R, ELECTRA, DeBERTa, ModernBERT): a text goes in whole, states come out.

They learn labels, spans and vectors (`steersman.train.encoding`), not dialogues: what a stage of the loop asks of a
model that answers is refused by name. The layers are transformers' own, over texts padded to similar length.

Why so: decision 83 in docs/LOG.md.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NoReturn

from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.models.auto import modeling_auto as known

from steersman.compute.packing import Row
from steersman.families.family import Beginning, Trunk
from steersman.families.shape import Shape

TESTED = {"bert", "deberta-v2", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"}
"""Model types whose numbers tests compare with transformers' heads and losses."""
SHIFTED = {
    *("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod"),
}
"""Model types whose positions begin behind the padding's."""
OWN_POOLINGS: dict[str, dict[str, str]] = {"eurobert": {"cls": "bos"}, "modernbert": {}}
"""Model types whose classifier knows `classifier_pooling` -> its own names."""
STACKS = ("encoder", "transformer")
"""Where the list of layers lies below the backbone, where not in the backbone itself."""
TASKS = ("single_label", "multi_label", "regression", "span", "embedding")


def serves(config: Any) -> bool:
    """Whether transformers has a masked language model of this config, and none that generates is meant."""
    masked = type(config) in known.MODEL_FOR_MASKED_LM_MAPPING
    return masked and not getattr(config, "is_encoder_decoder", False) and not getattr(config, "is_decoder", False)


def _refuse(config: Any) -> NoReturn:
    raise ValueError(
        f"'{config.model_type}' is an encoder, which writes no answers; expected a model that does. To use it: "
        "steersman encoder, serve.embeddings, serve.moderation, serve.router"
    )


# loading


def headed_class(config: Any, task: str) -> Any:
    """transformers' class for one of `TASKS`, of an encoder or a decoder. Raises ValueError where it has none."""
    heads = {"span": known.MODEL_FOR_QUESTION_ANSWERING_MAPPING, "embedding": known.MODEL_MAPPING}
    mapping = heads.get(task, known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING)
    if type(config) not in mapping:
        raise ValueError(f"transformers has no class of '{config.model_type}' for the task '{task}'")
    if config.model_type == "funnel":
        raise ValueError("'funnel' is not computed: what it says of a text changes with the length of texts beside it")
    return mapping[type(config)]


def causal_class(config: Any) -> Any:
    _refuse(config)


def scalar_class(config: Any) -> Any:
    _refuse(config)


def scalar_over(base: Any, heads: int) -> Any:
    _refuse(base.config)


def trial(ids: Tensor) -> dict[str, Any]:
    return {"input_ids": ids}


def prepare(model: Any) -> None:
    _refuse(model.config)


# parts


def averages(config: Any) -> bool:
    """Whether a classifier reads the mean of the states where transformers' class reads the first; some classes know
    the setting themselves."""
    return getattr(config, "classifier_pooling", "cls") == "mean" and config.model_type not in OWN_POOLINGS


def set_pooling(model: Any, pooling: str) -> None:
    """Let a classifier read the first state (cls) or the mean."""
    named = OWN_POOLINGS.get(model.config.model_type, {}).get(pooling, pooling)
    model.config.classifier_pooling = named
    if hasattr(model, "classifier_pooling"):
        model.classifier_pooling = named


def layers(model: Any) -> Sequence[Any]:
    body = model.base_model
    for part in (body, *(getattr(body, name) for name in STACKS if hasattr(body, name))):
        for name in ("layers", "layer", "albert_layer_groups"):
            if hasattr(part, name):
                found: Sequence[Any] = getattr(part, name)
                return found
    raise ValueError(f"model type '{model.config.model_type}' has no list of layers; expected one as in BERT")


def last_norms(model: Any) -> Sequence[Any]:
    """ModernBERT's; the layers of the others end in norms of their own."""
    return [model.base_model.final_norm] if hasattr(model.base_model, "final_norm") else []


def heads(model: Any) -> Sequence[Any]:
    """What lies behind the layers: a task's head, and the backbone's pooler."""
    body = model.base_model
    own = [part for name, part in model.named_children() if part is not body]
    return [*(own if model is not body else ()), *([body.pooler] if getattr(body, "pooler", None) is not None else [])]


def embedding(model: Any) -> Any:
    return model.get_input_embeddings()


def units(model: Any) -> Sequence[Any]:
    return [*layers(model), model]


def adapter_targets(model: Any, names: Sequence[str]) -> dict[str, Any]:
    return {"task_type": "FEATURE_EXTRACTION", "target_modules": sorted(names), "layers_to_transform": None}


def use_checkpointing(model: Any) -> None:
    for layer in layers(model):
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)


# what only models that answer have


def target_logprobs(model: Any, row: Row, temperature: float, entropy: bool) -> tuple[Tensor, Tensor]:
    _refuse(model.config)


def target_states(model: Any, row: Row) -> Tensor:
    _refuse(model.config)


def branch_states(model: Any, row: Row) -> Tensor:
    _refuse(model.config)


def share_trunk(models: Sequence[Any], frozen: int) -> Trunk | None:
    return None


def begin(model: Any, prompt: Tensor) -> Beginning:
    _refuse(model.config)


def room(config: Any, prompt: int) -> int:
    return 0


# facts


def told(config: Any) -> str:
    tested = "" if config.model_type in TESTED else ", not tested here"
    return f"{config.model_type}, an encoder{tested}: it learns labels, spans and vectors (steersman encoder)"


def context(config: Any) -> int:
    most = int(getattr(config, "max_position_embeddings", 0) or 512)
    return most - (int(config.pad_token_id or 0) + 1) if config.model_type in SHIFTED else most


def shape(config: Any) -> Shape:
    _refuse(config)
