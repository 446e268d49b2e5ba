"""Encoder-decoders (T5, BART and their relatives): the prompt goes through the encoder, answers through the decoder.

Rows have the decoder family's format, with another meaning. A branch's source is the whole trunk of its tree, encoded
once for all its branches; in a trunk each run of learned tokens is a target, and its source is all that comes before.
The decoder reads `opening` and then the target, so an answer's numbers equal those of generation.

The layers are transformers' own. Texts of similar length are computed together, padded.

Why so: decision 55 in docs/LOG.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING

from steersman.artifact.files import read_object
from steersman.compute.packing import Row
from steersman.compute.vocabulary import token_logprobs
from steersman.distributed import parallel
from steersman.families.family import Beginning, Trunk
from steersman.families.shape import Shape
from steersman.families.twins import twin

TESTED = {
    *("bart", "blenderbot", "blenderbot-small", "longt5", "m2m_100", "marian", "mbart", "mt5", "mvp", "pegasus"),
    *("plbart", "t5", "umt5"),
}
"""Models that may be trained: tests compare their numbers over rows with transformers' over single texts."""
SCALED = {"longt5": "scale_decoder_outputs", "t5": "scale_decoder_outputs", "umt5": "tie_word_embeddings"}
"""Model types that scale states before the head -> the config setting that switches it on."""
UNTIED = ("longt5", "mt5", "t5")
"""Model types whose published configs say by tie_word_embeddings = false that they have a head of their own."""
NAMELESS = ("t5gemma", "t5gemma2")
"""Model types whose answers begin with bos_token_id."""
CACHED_WRONG = ("prophetnet",)
"""Model types whose cached steps give other answers than their whole pass, in transformers 5.23."""
NEVER = -1e4
"""Added to the logit of a token that is never said."""
SLACK = 1.25
"""Texts share a pass while their padded size is at most so many times their own."""
UNBOUNDED = 512
"""Context in tokens of a model without learned positions: the length that T5 was trained on."""


def serves(config: Any) -> bool:
    return bool(getattr(config, "is_encoder_decoder", False))


# loading


def causal_class(config: Any) -> Any:
    if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        raise ValueError(f"model_type '{config.model_type}' is no encoder-decoder of texts that transformers knows")
    if config.model_type in CACHED_WRONG:
        raise ValueError(f"model_type '{config.model_type}': transformers generates other text of it than it computes")
    if config.model_type == "encoder-decoder":
        raise ValueError("model_type 'encoder-decoder', two models joined, is not computed; expected one such as t5")
    return MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[type(config)]


def scalar_class(config: Any) -> Any:
    """The causal class with `score` on the decoder's states in the place of its head.

    transformers' own classes for classification pool otherwise (the state of the source's copy, at its end).
    """
    causal = causal_class(config)

    def begin(self: Any, config: Any) -> None:
        causal.__init__(self, config)
        _exchange_head(self, config.num_labels)
        self.post_init()

    def weights(self: Any, module: Any) -> None:
        causal._init_weights(self, module)
        if hasattr(self, "score") and module is self.score:
            nn.init.zeros_(module.weight)

    def forward(self: Any, input_ids: Tensor, decoder_input_ids: Tensor, **_: Any) -> Any:
        encoded = self.get_encoder()(input_ids=input_ids).last_hidden_state
        states = self.get_decoder()(input_ids=decoder_input_ids, encoder_hidden_states=encoded).last_hidden_state
        return SequenceClassifierOutput(logits=self.score(states))

    own = {"__init__": begin, "_init_weights": weights, "forward": forward, "get_output_embeddings": lambda _: None}
    name = causal.__name__.replace("ForConditionalGeneration", "").replace("MTModel", "") + "ForScores"
    return type(name, (causal,), {**own, "__module__": causal.__module__})


def _exchange_head(model: Any, heads: int) -> None:
    like = embedding(model).weight
    del model.lm_head
    tied = model._tied_weights_keys or {}
    model._tied_weights_keys = {name: other for name, other in tied.items() if not name.startswith("lm_head")}
    model.score = nn.Linear(like.shape[1], heads, bias=False, device=like.device, dtype=like.dtype)


def scalar_over(base: Any, heads: int) -> Any:
    model = twin(base)
    _exchange_head(model, heads)
    nn.init.zeros_(model.score.weight)
    return model


def as_published(model: Any, file: Path) -> None:
    """What config.json (`file`) says of a model and transformers 5 does not do."""
    if model.config.model_type == "umt5" and read_object(file, "a config").get("tie_word_embeddings") is False:
        model.config.tie_word_embeddings = False  # a head of its own, before which states are not scaled
    bias, settings = getattr(model, "final_logits_bias", None), getattr(model, "generation_config", None)
    never = [word[0] for word in getattr(settings, "bad_words_ids", None) or () if len(word) == 1]
    if bias is not None and never:  # Marian's padding, whose logit is 0: neither sampled nor given a share in training
        bias[0, never] = NEVER


def trial(ids: Tensor) -> dict[str, Any]:
    return {"input_ids": ids, "decoder_input_ids": ids}


def prepare(model: Any) -> None:
    kind = model.config.model_type
    if kind not in TESTED:
        raise ValueError(
            f"model type '{kind}', an encoder-decoder, can be served but not trained; expected one of "
            f"{', '.join(sorted(TESTED))}"
        )
    _opening(model)
    # PyTorch's fused attention is another one where a position bias learns, and PPO's first ratios would not be 1
    model.set_attn_implementation("eager")


# parts


def layers(model: Any) -> Sequence[Any]:
    """The encoder's, then the decoder's."""
    return [*_stack(model.get_encoder()), *_stack(model.get_decoder())]


def _stack(part: Any) -> Any:
    part = getattr(part, "text_model", part)  # T5Gemma 2, beside what sees
    for name in ("layers", "block"):
        if hasattr(part, name):
            return getattr(part, name)
    raise ValueError(f"model type '{part.config.model_type}' has no list of layers; expected one as in T5 or BART")


def last_norms(model: Any) -> Sequence[Any]:
    """The decoder's final norm; none for BART, whose layers end in norms of their own."""
    body = model.get_decoder()
    return [getattr(body, name) for name in ("final_layer_norm", "layer_norm") if hasattr(body, name)]


def embedding(model: Any) -> Any:
    found: Any = model.get_input_embeddings()
    return found


def units(model: Any) -> Sequence[Any]:
    return [*layers(model), model]


def adapter_targets(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """By their whole paths, since encoder and decoder number their layers alike."""
    task = "SEQ_CLS" if hasattr(model, "score") else "SEQ_2_SEQ_LM"
    return {"task_type": task, "target_modules": sorted(names), "layers_to_transform": None}


def use_checkpointing(model: Any) -> None:
    for layer in layers(model):
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)


# rows


@dataclass(frozen=True)
class Pieces:
    """A row as token ids for encoder and decoder; targets in the row's order."""

    sources: list[list[int]]
    targets: list[tuple[int, list[int]]]
    """(number of its source, tokens)"""
    branches: list[int]
    """Numbers of the targets that are branches, in the order of the branches"""


def read_row(row: Row) -> Pieces:
    """Split a row into sources and targets. Raises ValueError for a target with nothing before it as source."""
    ids, document, branch = row.ids.tolist(), row.document.tolist(), row.branch.tolist()
    learned = set(row.targets[row.target_branch == -1].tolist())
    sources: list[list[int]] = []
    targets: list[tuple[int, list[int]]] = []
    branches: list[int] = []
    owners = [document[end] for end in row.branch_ends.tolist()]
    start, size = 0, len(ids) - row.padding
    while start < size:
        end = next((i for i in range(start, size) if document[i] != document[start]), size)
        trunk = next((i for i in range(start, end) if branch[i] != -1), end)
        at = start
        while at < trunk:
            stop = next((i for i in range(at, trunk) if (i in learned) != (at in learned)), trunk)
            if at in learned:
                sources.append(ids[start:at])
                targets.append((len(sources) - 1, ids[at:stop]))
            at = stop
        mine = [number for number, owner in enumerate(owners) if owner == document[start]]
        if mine:
            sources.append(ids[start:trunk])
        for number in mine:
            branches.append(len(targets))
            targets.append((len(sources) - 1, [ids[i] for i in range(trunk, end) if branch[i] == number]))
        start = end
    if not all(sources):
        raise ValueError("an encoder-decoder was given an answer without a prompt; expected at least one token of it")
    return Pieces(sources, targets, branches)


def _opening(model: Any) -> list[int]:
    """Tokens that the decoder reads before an answer: its start token, and the first token if generation forces one."""
    settings = (getattr(model, "generation_config", None), model.config)

    def set_to(name: str) -> Any:
        return next((value for s in settings if (value := getattr(s, name, None)) is not None), None)

    start = set_to("decoder_start_token_id")
    if start is None and model.config.model_type in NAMELESS:
        start = set_to("bos_token_id")
    if start is None:
        raise ValueError(
            f"model type '{model.config.model_type}': config.json names no decoder_start_token_id, with which answers "
            "begin (of mBART: the token of their language)"
        )
    forced = set_to("forced_bos_token_id")
    return [int(start)] if forced is None else [int(start), int(forced)]


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of texts that are computed together, the longest first.

    A single group where several processes share the weights: each process must gather them equally often.
    """
    group: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        padded = lengths[group[0]] * (len(group) + 1) if group else 0
        if group and parallel.size() == 1 and padded > SLACK * (sum(lengths[n] for n in group) + lengths[number]):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _batch(model: Any, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """Ids [B, L], padded behind, and their mask, None where nothing is padded. Raises ValueError for a text that is
    longer than learned positions."""
    longest = max(map(len, texts))
    most = getattr(model.config, "max_position_embeddings", None)
    if most and longest > most:
        raise ValueError(f"a text of {longest} tokens; expected at most max_position_embeddings = {most}")
    pad = model.config.pad_token_id or 0
    ids = torch.tensor([[*text, *[pad] * (longest - len(text))] for text in texts], device=model.device)
    if all(len(text) == longest for text in texts):
        return ids, None
    return ids, torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=model.device)


@dataclass(frozen=True)
class Pass:
    """Answers that go through the decoder together, with their inputs."""

    numbers: list[int]
    ids: Tensor
    """[B, L] the decoder's input ids"""
    encoded: Tensor
    """[B, S, hidden] the encoder's states"""
    mask: Tensor | None
    """[B, S] mask of the encoder's states"""


def _passes(model: Any, pieces: Pieces, numbers: Sequence[int], whole: bool) -> Iterator[Pass]:
    """The targets `numbers` with their sources encoded; the decoder reads their last token too if `whole`."""
    opening = _opening(model)
    wanted = sorted({pieces.targets[n][0] for n in numbers})
    for group in _groups([len(pieces.sources[s]) for s in wanted]):
        sources = [wanted[k] for k in group]
        ids, mask = _batch(model, [pieces.sources[s] for s in sources])
        encoded = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        place = {source: k for k, source in enumerate(sources)}
        mine = [n for n in numbers if pieces.targets[n][0] in place]
        read = [opening + (pieces.targets[n][1] if whole else pieces.targets[n][1][:-1]) for n in mine]
        for part in _groups(list(map(len, read))):
            at = torch.tensor([place[pieces.targets[mine[k]][0]] for k in part], device=ids.device)
            given = _batch(model, [read[k] for k in part])[0]
            yield Pass([mine[k] for k in part], given, encoded[at], None if mask is None else mask[at])


def _decoded(model: Any, pieces: Pieces, numbers: Sequence[int], whole: bool) -> list[Tensor]:
    """States of each of the targets `numbers`, [t, hidden] before each of its tokens; if `whole` those behind its last
    token alone, [1, hidden]."""
    first = len(_opening(model)) - 1
    found: dict[int, Tensor] = {}
    for one in _passes(model, pieces, numbers, whole):
        states = model.get_decoder()(
            input_ids=one.ids, encoder_hidden_states=one.encoded, encoder_attention_mask=one.mask, use_cache=False
        ).last_hidden_state
        for k, number in enumerate(one.numbers):
            end = first + len(pieces.targets[number][1])
            found[number] = states[k, end : end + 1] if whole else states[k, first:end]
    return [found[number] for number in numbers]


def target_states(model: Any, row: Row) -> Tensor:
    pieces = read_row(row)
    return torch.cat(_decoded(model, pieces, range(len(pieces.targets)), False))


def branch_states(model: Any, row: Row) -> Tensor:
    pieces = read_row(row)
    return torch.cat(_decoded(model, pieces, pieces.branches, True))


def target_logprobs(model: Any, row: Row, temperature: float, entropy: bool) -> tuple[Tensor, Tensor]:
    states = target_states(model, row)
    if getattr(model.config, SCALED.get(model.config.model_type, ""), False):
        states = states * model.config.d_model**-0.5
    bias = getattr(model, "final_logits_bias", None)
    bias = bias[0] if bias is not None and bool(bias.any()) else None
    return token_logprobs(states, model.lm_head.weight, row.target_ids, temperature, entropy, bias=bias)


def share_trunk(models: Sequence[Any], frozen: int) -> Trunk | None:
    """None: a trunk holds one state per token of a row, but here sources and targets have separate states."""
    return None


# generation and facts


def begin(model: Any, prompt: Tensor) -> Beginning:
    encoded = model.get_encoder()(input_ids=prompt)
    return Beginning({"encoder_outputs": encoded}, "decoder_input_ids", prompt.new_tensor([_opening(model)]))


def room(config: Any, prompt: int) -> int:
    return context(config)


def told(config: Any) -> str:
    trained = "trained by transformers' layers, padded" if config.model_type in TESTED else "served but not trained"
    return f"{config.model_type}, an encoder-decoder: the prompt is encoded, the answer decoded; {trained}"


def untied(model: Any) -> bool:
    """Whether the folder must say that the head is a matrix of its own, as T5 1.1 has one: transformers 5 writes that
    it is the embedding, which older readers would take for it, with states scaled."""
    config, head = model.config, model.get_output_embeddings()
    if config.model_type not in UNTIED or head is None or getattr(config, "scale_decoder_outputs", False):
        return False
    return head.weight is not model.get_input_embeddings().weight


def context(config: Any) -> int:
    for name in ("max_position_embeddings", "n_positions"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return UNBOUNDED


def shape(config: Any) -> Shape:
    raise ValueError(
        f"'{config.model_type}' is an encoder-decoder, which the local engine does not compute and whose memory and "
        "time are not predicted"
    )
