"""Pretraining: a model, new or continued, learns from rows of raw text; a causal decoder every token of them.

shards -> rows of a mixture by number -> passes of whole rows -> mean -log p (and z-loss) -> Muon and AdamW under a
warm-up-stable-decay schedule; bits per byte of held-out text and samples on the way

Why so: decision 81 in docs/LOG.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from steersman import stopping
from steersman.compute.packing import Row, lines_row, to_device
from steersman.compute.vocabulary import log_sums, token_logprobs
from steersman.config import PretrainConfig
from steersman.config.pretraining import ENCODERS
from steersman.corpus.mixed_rows import Reading
from steersman.distributed import parallel
from steersman.families.fresh import decoder_config, new_decoder, new_other, other_config
from steersman.families.known import family_of
from steersman.families.longer import lengthen
from steersman.families.outputs import shard, use_checkpointing
from steersman.progress import note
from steersman.train.average import held
from steersman.train.bits import HeldOut, bits_per_byte, held_out, samples
from steersman.train.denoising import Asking, MaskedRows, is_causal, outputs
from steersman.train.dial import Recipe, Sizes
from steersman.train.order import evenly_spaced
from steersman.train.session import Origin, Session, working
from steersman.train.trajectory import Trajectory
from steersman.train.update import Rule, Updater
from steersman.weights.folders import DTYPES, load_causal, pick_device, use_packed_rows

SAID = {"eval_bpb": "bits per byte", "eval_loss": "held-out loss"}
SAMPLE = 40
"""Tokens of a sample."""


@dataclass(frozen=True)
class Text:
    """What is read: tokens to learn from, and texts held out, by source."""

    tokenizer: Any
    reading: Reading
    validation: Mapping[str, Iterable[str]]


def build(origin: Origin[PretrainConfig], sizes: Sizes, tokenizer: Any) -> Any:
    """A new model of these sizes."""
    config, dtype = origin.config, DTYPES[origin.model.dtype]
    made = new_config(config, sizes, tokenizer)
    return new_decoder(made, origin.seed, dtype) if is_causal(config) else new_other(made, origin.seed, dtype)


def new_config(config: PretrainConfig, sizes: Sizes, tokenizer: Any) -> Any:
    """The config of a new model of these sizes."""
    if not is_causal(config):
        named = {name: getattr(sizes, name) for name in ("layers", "width", "intermediate", "heads", "vocabulary")}
        return other_config(config.shape.kind, named, config.context, tokenizer)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return decoder_config(
        config.shape.kind,
        sizes.layers,
        sizes.width,
        sizes.intermediate,
        sizes.heads,
        theta=config.shape.rope_theta,
        window=config.shape.window,
        vocab_size=sizes.vocabulary,
        max_position_embeddings=config.context,
        tie_word_embeddings=sizes.tied,
        pad_token_id=tokenizer.pad_token_id,
        **ids,
    )


def rules(model: Any, config: PretrainConfig, decay: float) -> Callable[[str, Tensor], Rule]:
    """Matrices of layers decay, and take Muon's steps if it is asked for; embeddings, head and norms do neither."""
    head = model.get_output_embeddings()
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)} | {id(head.weight)}
    apart = {name for name, p in model.named_parameters() if id(p) in tables}
    updates = config.updates
    embedding = {name for name, p in model.named_parameters() if p is model.get_input_embeddings().weight}

    def rule(name: str, weight: Tensor) -> Rule:
        if name in apart or weight.dim() < 2:
            return Rule(updates.embedding_lr if name in embedding else 1.0, 0.0)
        return Rule(1.0, decay, updates.optimizer == "muon")

    return rule


def passes(reading: Reading, config: PretrainConfig, recipe: Recipe, batch: int) -> list[Row]:
    """The rows of an optimizer step, side by side in passes."""
    length = config.context
    count, most = recipe.batch_tokens // length, max(1, config.pass_tokens // length)
    tokens, document = (torch.from_numpy(x) for x in reading.lines(batch * count, count))
    if config.attention == "row":
        document = torch.zeros_like(document)
    pairs = zip(torch.split(tokens, most), torch.split(document, most), strict=True)
    return [lines_row(some, owner) for some, owner in pairs]


def learn(model: Any, updater: Updater, rows: list[Any], z_loss: float) -> float:
    """Gather the gradients of one step's passes; returns its loss in nats per token, without the z-loss."""
    total, targets = 0.0, sum(len(row.targets) for row in rows)
    for row, weight in parallel.share(rows):
        parallel.halt()
        logprobs, price = _outputs(model, row, z_loss)
        loss = -weight * logprobs.sum() / targets
        (loss + weight * price / targets).backward()  # type: ignore[no-untyped-call]
        updater.gather()
        total += float(loss.detach())
    return sum(parallel.add(total))


def _outputs(model: Any, row: Row | MaskedRows, z_loss: float) -> tuple[Tensor, Tensor | float]:
    """(log p of the row's targets, z-loss summed over them)."""
    if not z_loss or isinstance(row, MaskedRows):
        return outputs(model, row), 0.0
    row = to_device(row, model.device)

    def compute() -> tuple[Tensor, Tensor]:
        states, head = family_of(model).target_states(model, row), model.get_output_embeddings().weight
        logprobs, _ = token_logprobs(states, head, row.target_ids, entropy=False)
        return logprobs, z_loss * log_sums(states, head, row.target_ids, logprobs).square().sum()

    found: tuple[Tensor, Tensor] = parallel.call(model, compute)
    return found


def prepare_texts(text: Text, config: PretrainConfig) -> dict[str, HeldOut]:
    """Held-out texts of each source, in proportion to its share. ValueError where no source has any."""
    found = {}
    for source, share in text.reading.shares.items():
        tokens = max(config.context, round(config.eval_tokens * share))
        read = held_out(text.validation[source], text.tokenizer, tokens, config.context, config.pass_tokens)
        if read.bytes:
            found[source] = read
        else:
            note(f"pretrain: source {source} has no held-out text, so none of its bits per byte")
    if not found:
        raise ValueError("no source has held-out text; build the corpus with --validation above 0")
    return found


@dataclass(frozen=True)
class Reciting:
    """The causal objective: what is read, and what an evaluation looks at."""

    key: ClassVar[str] = "eval_bpb"
    model: Any
    tokenizer: Any
    texts: Mapping[str, HeldOut]
    samples: int

    def passes(self, reading: Reading, config: PretrainConfig, recipe: Recipe, batch: int) -> list[Row]:
        return passes(reading, config, recipe, batch)

    def quick(self) -> dict[str, Any]:
        found = bits_per_byte(self.model, self.texts)
        by_source = {f"eval_bpb_{name}": value for name, value in found.items() if name and len(self.texts) > 1}
        return {"eval_bpb": found[""], **by_source}

    def __call__(self) -> dict[str, Any]:
        every = [ids for of in self.texts.values() for ids in of.beginnings]
        step = max(1, len(every) // max(1, self.samples))
        chosen = every[::step][: self.samples]
        return self.quick() | ({"samples": samples(self.model, self.tokenizer, chosen, SAMPLE)} if chosen else {})


Aim = Reciting | Asking


def objective(origin: Origin[PretrainConfig], model: Any, text: Text) -> Aim:
    """What the model learns."""
    config = origin.config
    if is_causal(config):
        return Reciting(model, text.tokenizer, prepare_texts(text, config), config.samples)
    asking = Asking(model, text.tokenizer, config, origin.seed)
    asking.hold_out(text.validation, text.reading.shares)
    return asking


def load(base: Path, origin: Origin[PretrainConfig]) -> Any:
    """A model to go on with."""
    dtype = origin.model.dtype
    if origin.config.shape.kind in ENCODERS:
        return AutoModelForMaskedLM.from_pretrained(base, dtype=DTYPES[dtype], trust_remote_code=False)
    model = load_causal(base, dtype)
    return lengthen(model, origin.config.context, origin.config.rope) if origin.config.rope else model


def run(origin: Origin[PretrainConfig], text: Text, recipe: Recipe, base: Path | Sizes) -> dict[str, Any]:
    """Train a model of these sizes, or the one in a folder, into `origin.output`; returns the manifest's metrics.

    Resumes by itself.
    """
    config, device = origin.config, pick_device(origin.model.device)
    masked = config.shape.kind in ENCODERS
    if parallel.size() > 1 and masked:
        raise ValueError("encoders are pretrained by one process; expected --processes 1")
    if parallel.size() > 1 and config.updates.optimizer == "muon":
        raise ValueError("Muon needs whole matrices: --set pretrain.updates.optimizer=adamw, or --processes 1")

    def ready() -> Any:
        model = build(origin, base, text.tokenizer) if isinstance(base, Sizes) else load(base, origin)
        model = (model if masked else use_packed_rows(model)).to(device).train()
        if config.checkpointing:
            use_checkpointing(model)
        if not masked:
            shard(model)
        return model

    with working(origin, ready) as session:
        model = session.model
        chosen = rules(model, config, recipe.weight_decay)
        updater = Updater(
            model, lr=recipe.lr, weight_decay=recipe.weight_decay, grad_clip=config.updates.grad_clip, rules=chosen
        )
        steps = Trajectory(session, updater, recipe)
        evaluate = objective(origin, model, text)
        if "before" not in steps.kept:
            steps.kept["before"] = evaluate.quick()
        _train(session, steps, text.reading, evaluate)
        return _finish(session, steps, evaluate, {"new": isinstance(base, Sizes), **text.reading.shares})


def _train(session: Session[PretrainConfig, Any], steps: Trajectory, reading: Reading, evaluate: Aim) -> None:
    config, recipe = session.origin.config, steps.recipe
    evaluated = evenly_spaced(recipe.steps, config.evals)
    for batch in steps:
        rows = evaluate.passes(reading, config, recipe, batch)
        loss = learn(session.model, steps.updater, rows, config.updates.z_loss)
        metrics: dict[str, Any] = steps.update(loss)
        metrics |= {"tokens": recipe.batch_tokens}
        if "loss" in metrics and steps.updates in evaluated:
            with stopping.held():  # a point of this step must have its line
                metrics |= evaluate()
        speed = session.speed(recipe.batch_tokens)
        shown = {"held_out": metrics[evaluate.key]} if evaluate.key in metrics else {}
        session.write(steps.done, metrics, {"tokens_per_second": speed}, loss=loss, tok_s=round(speed), **shown)


def _finish(
    session: Session[PretrainConfig, Any], steps: Trajectory, evaluate: Aim, about: dict[str, Any]
) -> dict[str, Any]:
    """Evaluate, keep the averaged weights where they are better, save, and write the manifest."""
    before, after, key = steps.kept["before"], evaluate(), evaluate.key
    metrics: dict[str, Any] = dict(after)
    state = None
    if steps.average is not None:
        with held(steps.updater, steps.average.weights, lambda: None):
            averaged = evaluate.quick()
            better = averaged[key] < after[key]
            if better:
                named = session.model.named_parameters(remove_duplicate=False)
                state = {name: parallel.whole(weight.detach()).clone() for name, weight in named}
        metrics |= {"average": averaged[key], "averaged": better}
        note(
            f"pretrain: {SAID[key]} {after[key]:.4f}, of the averaged weights {averaged[key]:.4f}: "
            f"{'the average is' if better else 'the last weights are'} kept"
        )
        after = averaged if better else after
    session.write(steps.done + 1, {**metrics, f"{key}_before": before[key]})
    session.save(session.model, evaluate.tokenizer, state)
    found = {name.removeprefix("eval_"): round(v, 5) for name, v in after.items() if name.startswith(key)}
    recipe = steps.recipe
    return session.finish(
        {
            f"{key.removeprefix('eval_')}_before": round(before[key], 5),
            **found,
            "train_loss": round(steps.losses[-1], 5),
            "kind": session.origin.config.shape.kind,
            "steps": recipe.steps,
            "tokens": recipe.tokens,
            "batch_tokens": recipe.batch_tokens,
            "lr": recipe.lr,
            "weight_decay": recipe.weight_decay,
            "parameters": sum(p.numel() for p in session.model.parameters()),
            "spikes": steps.spikes,
            "averaged": state is not None,
            "from": "scratch" if about.pop("new") else "a model",
            "shares": {name: round(share, 4) for name, share in about.items()},
            "tokens_per_second": session.mean_speed(),
        }
    )
