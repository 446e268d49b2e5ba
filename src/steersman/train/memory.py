"""How much memory a training stage takes at its peak, counted from the model's shape and the stage's settings.

Counted is what the code keeps: parameters (`weights/folders.py`), masters, moments and gradients (`train/update.py`),
what each layer saves for its backward pass (`compute/layers.py`), a chunk of the vocabulary (`compute/vocabulary.py`),
and PPO's four models with the engine's copy (`train/actors.py`, `engine/`). Measured are the constants below, nothing
else. On a CPU the peak is the process's largest resident size; on a GPU what torch has allocated there.
`bench/memory.py` holds the prediction against the measured peak.

Why so: decision 16 in docs/LOG.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from steersman.compute.packing import MOST_SCORES, MULTIPLE
from steersman.compute.vocabulary import CHUNK, PART, keeps
from steersman.engine.backends.local.cache import rounded
from steersman.families.shape import Shape

MIB = 2**20
PROCESS = 345 * MIB
"""Resident size of Python with torch, transformers and TensorBoard imported, before a model is loaded."""
TOKENIZER_ENTRY = 2200
"""Bytes per entry of the vocabulary that a loaded tokenizer takes (80 MiB for 49k entries, 560 MiB for 262k)."""
DATA_TOKEN = 48
"""Bytes per token of data kept as Python integers, with the text they came from."""
LEFTOVERS = 220 * MIB
"""Bytes that loading and the first steps leave on a CPU: compiled products, scratch buffers, Python's garbage."""
LEFTOVERS_KERNELS = 40 * MIB
"""The same where our kernels compute instead."""
GAPS = 0.05
"""Share of a CPU's heap that lies in gaps no later tensor fits into (`keep_freed_memory`: the heap never shrinks)."""
CACHE_BYTES = 2 << 30
"""Most memory for states of frozen layers; where they take more, none are kept."""
FLOAT = 4


@dataclass(frozen=True)
class Setting:
    """The part of a stage's settings and data that decides its memory."""

    stage: str
    """sft, reward, ppo, dpo or kto"""
    row_tokens: int
    """Tokens of the longest row."""
    accumulate: bool
    """Whether an optimizer step gathers the gradients of more than one row."""
    train_layers: int = 0
    lora_rank: int = 0
    checkpointing: bool = False
    itemsize: int = 2
    """Bytes of a number in the compute dtype."""
    on_gpu: bool = False
    kernels: bool = False
    """Whether products are computed by `steersman.kernels.ops`."""
    longest: int = 0
    """Tokens of the longest document; 0: as long as a row."""
    data_tokens: int = 0
    """Tokens of all data, kept as Python integers."""
    cached_tokens: int = 0
    """Reward model, DPO and KTO over frozen layers: tokens whose states are kept for later passes."""
    answers: int = 0
    """PPO: answers decoded together."""
    answer_length: int = 0
    """PPO: tokens of the longest prompt and answer."""
    averaged: bool = False
    """PPO: whether a moving average of the policy's weights is kept."""
    reward_models: int = 1
    """PPO: reward models in the ensemble."""
    critic: bool = True
    """PPO: whether there is a critic; GRPO and RLOO have none."""
    shared_base: bool = False
    """PPO with adapters: whether the reward model is an adapter on the same weights."""


def layer_parameters(shape: Shape) -> int:
    norms = (4 if shape.sandwich_norms else 2) * shape.hidden + (2 * shape.head_dim if shape.qk_norm else 0)
    return sum(rows * columns for rows, columns in layer_matrices(shape)) + norms


def layer_matrices(shape: Shape) -> list[tuple[int, int]]:
    """(outputs, inputs) of q, k, v, o, gate, up and down."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = [(query, shape.hidden), (key, shape.hidden), (key, shape.hidden), (shape.hidden, query)]
    wide = (shape.intermediate, shape.hidden)
    return [*attention, wide, wide, (shape.hidden, shape.intermediate)]


def embedding_parameters(shape: Shape) -> int:
    return shape.vocabulary * shape.hidden


def model_parameters(shape: Shape, head: bool) -> int:
    """Number of all parameters, with the vocabulary's head (a separate matrix unless tied) or a scalar head."""
    tables = embedding_parameters(shape) * (2 if head and not shape.tied else 1)
    return tables + shape.layers * layer_parameters(shape) + shape.hidden + (0 if head else shape.hidden)


def trained_parameters(shape: Shape, s: Setting, head: bool) -> int:
    """Number of parameters that the optimizer updates, in a model with the vocabulary's head or a scalar head."""
    layers = s.train_layers or shape.layers
    scalar = 0 if head else shape.hidden
    if s.lora_rank:
        return layers * s.lora_rank * sum(map(sum, layer_matrices(shape))) + scalar
    if s.train_layers:
        return layers * layer_parameters(shape) + shape.hidden + scalar
    return model_parameters(shape, head)


def layer_activations(shape: Shape, s: Setting) -> int:
    """Bytes per token that one decoder layer keeps for its backward pass."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    numbers = 2 * shape.hidden  # the residual stream before attention and before the MLP, kept by the norms
    numbers += 2 * shape.hidden  # what the norms return, kept by the projections
    numbers += query + 2 * key + query  # q, k, v, and what attention returns
    # gate, up, and their product; PyTorch also keeps the gate's activation, kernels a number per query instead
    numbers += (3 if s.kernels else 4) * shape.intermediate
    inverses = 2 + (shape.heads if s.kernels else 0)
    if shape.sandwich_norms:
        numbers += 2 * shape.hidden
        inverses += 2
    if shape.qk_norm:
        numbers += query + key
        inverses += shape.heads + shape.kv_heads
    if s.lora_rank:
        numbers += s.lora_rank * len(layer_matrices(shape))
    return numbers * s.itemsize + inverses * FLOAT


def activations(shape: Shape, s: Setting) -> int:
    """Bytes held when the backward pass of one row begins."""
    tokens = -(-s.row_tokens // MULTIPLE) * MULTIPLE
    layers = s.train_layers or shape.layers
    one = tokens * layer_activations(shape, s)
    stream = tokens * shape.hidden * s.itemsize
    if s.on_gpu and s.itemsize == FLOAT:  # scaled_dot_product_attention keeps the row's mask, and its additive form
        one += tokens * tokens * (1 + s.itemsize)
    masks = 0
    if not (s.on_gpu or s.kernels):
        kept_length = math.isqrt(MOST_SCORES // shape.heads)  # masks of longer documents are not kept
        masks = len(set(shape.windows)) * tokens * min(tokens, s.longest or tokens, kept_length) * s.itemsize
    kept = layers * stream + one if s.checkpointing else layers * one
    return kept + 3 * stream + masks  # the final norm's input and output, and the states that predict


def _summed(s: Setting) -> bool:
    """Whether gradients are summed in float32 where they are made: `compute/gradients.py`."""
    return not s.on_gpu and s.itemsize < FLOAT


def _vocabulary(shape: Shape, s: Setting) -> int:
    """Bytes that the backward pass of `token_logprobs` takes for a moment."""
    itemsize = s.itemsize if s.kernels else FLOAT
    kept = s.row_tokens * shape.vocabulary * itemsize if keeps(s.row_tokens, shape.vocabulary, itemsize) else 0
    if s.kernels:
        return kept + s.row_tokens * (PART * s.itemsize + shape.hidden * FLOAT)
    logits = kept + CHUNK * shape.vocabulary * (FLOAT + (s.itemsize if s.itemsize < FLOAT else 0))
    if _summed(s):
        return logits + CHUNK * (shape.vocabulary + shape.hidden) * FLOAT
    learned = not (s.train_layers or s.lora_rank)
    return logits + (embedding_parameters(shape) * (FLOAT + s.itemsize) if learned else 0)


def _attention_backward(shape: Shape, s: Setting) -> int:
    """Bytes of a block of scores, its softmax, both gradients and its mask, where PyTorch computes attention on a CPU
    (`compute/attention.py`): little for short documents, over a gigabyte for one of 16,384 tokens."""
    if s.on_gpu or s.kernels:
        return 0
    longest = min(s.longest or s.row_tokens, s.row_tokens)
    scores = min(shape.heads * longest * longest, MOST_SCORES)
    return (4 * scores + scores // shape.heads) * s.itemsize


def _layer_backward(shape: Shape, s: Setting) -> int:
    """Bytes that the backward pass of one layer takes for a moment: gradients in the MLP, a norm in float32, or
    attention."""
    product = 2 * shape.intermediate * s.itemsize
    if _summed(s) and not s.kernels:  # both sides of a weight's gradient are widened
        product += (shape.intermediate + shape.hidden) * FLOAT
    return max(s.row_tokens * max(product, 5 * shape.hidden * FLOAT), _attention_backward(shape, s))


def predict(shape: Shape, s: Setting) -> dict[str, int]:
    """Bytes of each part (weights, moments, activations, ...) at the peak; their sum is the peak."""
    parts = {"weights": _weights(shape, s)} | (_engine(shape, s) if s.stage == "ppo" else {})
    heads: tuple[bool, ...] = (s.stage != "reward",)
    if s.stage == "ppo" and s.critic:
        heads = (True, False)
    trained = [trained_parameters(shape, s, head) for head in heads]
    parts |= {"master weights": FLOAT * sum(trained), "Adam's moments": 2 * FLOAT * sum(trained)}
    if s.averaged:
        parts["moving average"] = FLOAT * trained[0]
    if not s.on_gpu:  # `artifact/stage_folder.py`: what is being written is a copy
        best = trained[0] * (s.itemsize + (FLOAT if s.averaged else 0)) if s.stage == "ppo" else 0
        parts["copy for resume points"] = 3 * FLOAT * sum(trained) + best
    if (states := s.cached_tokens * shape.hidden * s.itemsize) <= CACHE_BYTES:
        parts["states of frozen layers"] = states
    parts |= sorted(_moments(shape, s, heads, trained), key=lambda moment: sum(moment.values()))[-1]
    if s.on_gpu:
        return parts
    gaps = round(GAPS * sum(parts.values()))
    leftovers = LEFTOVERS_KERNELS if s.kernels else LEFTOVERS
    process = PROCESS + leftovers + TOKENIZER_ENTRY * shape.vocabulary + DATA_TOKEN * s.data_tokens
    return {"Python, libraries, data": process} | parts | {"gaps in the heap": gaps}


def _weights(shape: Shape, s: Setting) -> int:
    causal, scalar = (s.itemsize * model_parameters(shape, head) for head in (True, False))
    if s.stage != "ppo":
        return scalar if s.stage == "reward" else causal
    if (
        s.lora_rank
    ):  # `train/shared_base.py`: policy and reference share a base; critic and reward model share it or another
        return causal if s.shared_base else causal + s.reward_models * scalar
    return 2 * causal + (s.critic + s.reward_models) * scalar


def _engine(shape: Shape, s: Setting) -> dict[str, int]:
    """Bytes of the engine's copy of the policy, and of keys and values of the answers decoded together."""
    token = 2 * shape.layers * shape.kv_heads * shape.head_dim * s.itemsize
    cache = s.answers * rounded(s.answer_length) * token
    return {"engine": s.itemsize * model_parameters(shape, True) + cache}


def _moments(shape: Shape, s: Setting, heads: tuple[bool, ...], trained: list[int]) -> list[dict[str, int]]:
    """Bytes by part, beyond those always held, when each model's backward pass begins and when it ends."""
    out: list[dict[str, int]] = []
    tables = 0 if s.train_layers or s.lora_rank else embedding_parameters(shape) * s.itemsize
    kept = activations(shape, s)
    if _summed(s):  # and that room is never given back
        brief = max(_vocabulary(shape, s) if any(heads) else 0, _layer_backward(shape, s))
        return [{"gradients": FLOAT * sum(trained), "activations": kept, "backward pass": brief}]
    for number, head in enumerate(heads):
        # models computed earlier have gathered this row's gradients already
        gathered = FLOAT * sum(n for i, n in enumerate(trained) if s.accumulate or i < number)
        brief = max(_vocabulary(shape, s) if head else 0, _layer_backward(shape, s))
        out.append({"gradients": gathered, "activations": kept, "backward pass": brief})
        # a tied embedding's gradient comes in two parts, which are added
        own = s.itemsize * trained[number] + tables
        fresh = 0 if s.accumulate else FLOAT * trained[number] + tables
        out.append({"gradients": gathered + max(own, fresh), "activations": 0, "backward pass": 0})
    return out
