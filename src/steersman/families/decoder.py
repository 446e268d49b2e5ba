"""The decoder family: hidden states, log-probabilities, scalar scores and values of packed rows.

Three ways lead through a decoder; `steersman.families.traits` says which.

Why so: decision 13 in docs/LOG.md.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from steersman.compute import layers as own_layers
from steersman.compute.attention import NAME
from steersman.compute.layers import final_norm, is_known, run_layers
from steersman.compute.packing import MULTIPLE, Below, Row
from steersman.compute.vocabulary import embed, token_logprobs
from steersman.distributed import parallel
from steersman.families import traits, unpacked
from steersman.families.family import Beginning, Trunk
from steersman.families.shape import Shape, shape_of
from steersman.families.twins import twin


def serves(config: Any) -> bool:
    """True but for encoder-decoders; models that have no decoder class in transformers are refused on loading."""
    return not getattr(config, "is_encoder_decoder", False)


def causal_class(config: Any) -> Any:
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"model_type '{config.model_type}' is no decoder that transformers knows")
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def scalar_class(config: Any) -> Any:
    """transformers' sequence classifier; where it has only a decoder, a classifier made as transformers makes them."""
    if type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    causal = causal_class(config)
    plain = next(base for base in causal.__mro__[1:] if issubclass(base, PreTrainedModel))
    name = causal.__name__.replace("ForCausalLM", "ForSequenceClassification")
    # transformers looks up the conversion of weight names by the class's module
    own = {"__module__": plain.__module__, "base_model_prefix": plain.base_model_prefix, "forward": _score_every}
    return type(name, (GenericForSequenceClassification, plain), own)


def _score_every(self: Any, input_ids: Tensor, use_cache: bool = False) -> SequenceClassifierOutput:
    """Scores of every token: transformers' own forward pass reads a cache that state space models do not return."""
    states = self.base_model(input_ids=input_ids, use_cache=use_cache).last_hidden_state
    return SequenceClassifierOutput(logits=self.score(states))


def scalar_over(base: Any, heads: int) -> Any:
    model: Any = nn.Module()
    model.base_model_prefix, model.config = base.base_model_prefix, copy.deepcopy(base.config)
    setattr(model, base.base_model_prefix, traits.backbone(twin(base)))
    model.score = nn.Linear(base.config.hidden_size, heads, bias=False, device=base.device, dtype=base.dtype)
    nn.init.zeros_(model.score.weight)
    return model


def trial(ids: Tensor) -> dict[str, Any]:
    return {"input_ids": ids}


def prepare(model: Any) -> None:
    """Switch to attention over packed rows, where rows may be packed; the model then takes nothing else."""
    if model.config.model_type in traits.SERVED_ONLY:
        raise ValueError(f"model type '{model.config.model_type}' is served and not trained; expected another decoder")
    if traits.packs(model.config):
        model.set_attn_implementation(NAME)
    elif parallel.size() > 1:
        raise ValueError(f"model type '{model.config.model_type}' trains in one process only; expected --processes 1")


def layers(model: Any) -> Sequence[Any]:
    found: Sequence[Any] = traits.layers(model)
    return found


def last_norms(model: Any) -> Sequence[Any]:
    return [traits.last_norm(model)]


def embedding(model: Any) -> Any:
    return (
        model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else traits.backbone(model).embed_tokens
    )


def units(model: Any) -> Sequence[Any]:
    return [*traits.layers(model), model]


def adapter_targets(model: Any, names: Sequence[str]) -> dict[str, Any]:
    numbers = sorted({int(found[1]) for name in names if (found := re.search(r"\.(\d+)\.", name))})
    return {
        "task_type": "SEQ_CLS" if hasattr(model, "score") else "CAUSAL_LM",
        "target_modules": sorted({name.rpartition(".")[2] for name in names}),
        "layers_to_transform": numbers if len(numbers) < len(traits.layers(model)) else None,
    }


def use_checkpointing(model: Any) -> None:
    own_layers.use_checkpointing(model)


def begin(model: Any, prompt: Tensor) -> Beginning:
    return Beginning({}, "input_ids", prompt)


def room(config: Any, prompt: int) -> int:
    return context(config) - prompt


def told(config: Any) -> str:
    way = "transformers' forward pass, a dialogue at a time"
    if is_known(config):
        way = "our layers over packed rows"
    elif traits.packs(config):
        way = "transformers' layers over packed rows"
    return f"{config.model_type}, a decoder; trained by {way}"


def context(config: Any) -> int:
    return traits.context_of(config)


def shape(config: Any) -> Shape:
    return shape_of(config)


def states_at(model: Any, row: Row, places: Tensor) -> Tensor:
    """[N, hidden]: the last layer's normalised output at some places [N] of one packed row, which may repeat."""
    if not traits.is_packed(model):
        return unpacked.states(model, row)[places]
    backbone = traits.backbone(model)
    if is_known(backbone.config):
        below = row.below or Below(embed(backbone.embed_tokens, row.ids), 0)
        some, which = torch.unique(places, return_inverse=True)
        some = F.pad(some, (0, -len(some) % MULTIPLE))
        every = not len(some) or len(some) >= len(row.ids)
        above = backbone.layers[below.layers :]
        states = final_norm(backbone, run_layers(backbone, above, below.states, row, None if every else some))
        return states[places if every else which]
    # a 4-D mask is passed through by transformers untouched; ours is made by the attention function itself
    mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=row.ids.device)
    kinds = set(getattr(backbone.config, "layer_types", None) or ())
    output = backbone(
        input_ids=row.ids[None],
        attention_mask=dict.fromkeys({"full_attention", *kinds}, mask) if kinds - {"full_attention"} else mask,
        position_ids=row.positions[None],
        use_cache=False,
        packed_row=row,
    )
    found: Tensor = output.last_hidden_state[0][places]
    return found


def _same_weights(a: Any, b: Any) -> bool:
    ours, theirs = dict(a.named_parameters()), dict(b.named_parameters())  # names differ where one has an adapter
    return ours.keys() == theirs.keys() and all(p is theirs[n] or torch.equal(p, theirs[n]) for n, p in ours.items())


def share_trunk(models: Sequence[Any], frozen: int) -> Trunk | None:
    backbones = [traits.backbone(m) for m in models]
    first, *others = backbones
    count = 0
    if frozen and is_known(first.config) and all(_same_weights(first.embed_tokens, o.embed_tokens) for o in others):
        while count < frozen and all(_same_weights(first.layers[count], o.layers[count]) for o in others):
            count += 1
    if not count:
        return None

    def lowest(row: Row) -> Tensor:
        below = row.below or Below(embed(first.embed_tokens, row.ids), 0)
        return run_layers(first, first.layers[below.layers : count], below.states, row)

    @torch.no_grad()
    def trunk(row: Row) -> Row:
        return replace(row, below=Below(parallel.call(models[0], lowest, row), count))

    return trunk


def target_logprobs(model: Any, row: Row, temperature: float, entropy: bool) -> tuple[Tensor, Tensor]:
    if not traits.is_packed(model):
        return unpacked.target_logprobs(model, row, temperature)
    hidden = states_at(model, row, row.predictors)
    scale = temperature * traits.head_scale(model.config)
    cap = getattr(model.config, "final_logit_softcapping", None) or 0.0
    return token_logprobs(hidden, model.lm_head.weight, row.target_ids, scale, entropy, cap)


def target_states(model: Any, row: Row) -> Tensor:
    return states_at(model, row, row.predictors)


def branch_states(model: Any, row: Row) -> Tensor:
    return states_at(model, row, row.branch_ends)
