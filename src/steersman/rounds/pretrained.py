"""Pretrained models of a workspace: `models/NAME`, which `model.base` names, as it names any other model.

They belong to no round: a base is made once, in hours, and every round begins from it or from what a round before made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steersman import locks
from steersman.artifact.files import hash_json, read_object
from steersman.artifact.manifest import MANIFEST_NAME, read_manifest, sweep, verify
from steersman.artifact.workspace import Workspace
from steersman.config import NO_MATTER, PretrainConfig, to_dict
from steersman.config.pretraining import DECODERS, ENCODER_DECODERS, ENCODERS
from steersman.progress import note as say

if TYPE_CHECKING:
    from steersman.corpus.folder import Corpus
    from steersman.corpus.mixture import Mixture
    from steersman.train.dial import Recipe, Sizes
    from steersman.train.session import Origin

STAGE = "pretrain"


@dataclass(frozen=True)
class Wanted:
    """A model to make: of which tokens, and from which model if it is continued."""

    name: str
    corpus: Corpus
    tokenizer: str
    """Name of its shards"""
    tokenizer_folder: Path
    mixture: Mixture
    base: Path | None = None
    """A model to go on from; None: a new one"""
    replace: bool = False


@dataclass(frozen=True)
class Made:
    folder: Path
    metrics: Mapping[str, Any]
    made: bool
    """False where it was there already, from the same inputs and settings"""


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first step."""

    recipe: Recipe
    sizes: Sizes
    base: Path | Sizes
    lines: list[str]


def inputs_of(wanted: Wanted) -> dict[str, str]:
    from steersman.corpus.tokenizing import FILE, shards_folder
    from steersman.rounds.inputs import model_hash

    shards = read_object(shards_folder(wanted.corpus.path, wanted.tokenizer) / FILE, "a list of shards")
    mixture = hash_json([dict(wanted.mixture.weights), wanted.mixture.smoothing, str(wanted.mixture.most_epochs)])
    found = {f"corpus:{wanted.corpus.name}/{wanted.tokenizer}": shards["identity"], "mixture": mixture}
    return {**found, **({"base": model_hash(wanted.base)} if wanted.base else {})}


def make(space: Workspace, wanted: Wanted, plan: Plan) -> Made:
    """The model, trained unless it is there. ValueError where another one has its name."""
    from steersman.corpus.mixed_rows import reading
    from steersman.train import pretrain
    from steersman.train.session import Origin
    from steersman.weights.folders import load_tokenizer

    config, output = space.config, space.root / "models" / wanted.name
    section, seed = config.pretrain, config.project.seed
    origin = Origin(STAGE, output, section, config.model, seed, inputs_of(wanted))
    output.parent.mkdir(exist_ok=True)
    with locks.making(output):
        if (there := _there(output, origin, wanted.replace)) is not None:
            return Made(output, there, False)
        documents = wanted.corpus.documents(wanted.tokenizer)
        tokens = reading(documents, wanted.mixture, plan.recipe.tokens, section.context, seed, section.lays_whole)
        texts = {source: wanted.corpus.texts(source, "validation") for source in tokens.sources}
        tokenizer = ready(load_tokenizer(wanted.tokenizer_folder), section)
        if section.rope:
            tokenizer.model_max_length = section.context
        text = pretrain.Text(tokenizer, tokens, texts)
        return Made(output, pretrain.run(origin, text, plan.recipe, plan.base), True)


def _there(output: Path, origin: Origin[PretrainConfig], replace: bool) -> Mapping[str, Any] | None:
    """Metrics of the model that was made there already; a damaged one is put aside. ValueError where another has its
    name, unless it may be replaced."""
    from steersman.artifact import unfinished

    if not (output / MANIFEST_NAME).is_file():
        return None
    manifest, usual = read_manifest(output), to_dict(type(origin.config)())
    # a setting that did not exist when the model was made had its default's effect
    now, then = (
        {k: v for k, v in {**usual, **x}.items() if k not in NO_MATTER} for x in (origin.recorded, manifest.config)
    )
    if now != then or manifest.inputs != origin.inputs:
        if not replace:
            raise ValueError(f"{output}: a model of other text or settings is there; --replace, or another --into")
        return None
    try:
        verify(output)
    except ValueError as error:
        say(f"{error}. Put aside as {unfinished.put_aside(output)}; making it again")
        return None
    sweep(output)
    return manifest.metrics


def draw(space: Workspace, folder: Path, lines: list[str]) -> Path:
    """The model's page, `models/NAME.html`, beside the other models of the same text and tokenizer."""
    from steersman.eval import pretraining_page
    from steersman.train.log import read_metrics

    made = {path.parent: read_manifest(path.parent) for path in sorted(folder.parent.glob(f"*/{MANIFEST_NAME}"))}
    mine = made[folder]
    alike = [other for other in made if other != folder and _text(made[other].inputs) == _text(mine.inputs)]
    runs = {}
    for other in (folder, *alike):
        batch = made[other].metrics["batch_tokens"]
        rows = read_metrics(other)
        evals = [row for row in rows if "eval_bpb_before" in row or "eval_loss_before" in row]
        key = "eval_bpb" if "bpb" in made[other].metrics else "eval_loss"
        start = [{"tokens_read": 0, key: evals[-1][f"{key}_before"]}] if evals else []
        runs[other.name] = [*start, *({**row, "tokens_read": row["step"] * batch} for row in rows)]
    facts = {**mine.inputs, **{f"plan {i}": line for i, line in enumerate(lines, 1)}, "made": mine.created}
    path = folder.with_name(f"{folder.name}.html")
    language = "zh" if space.config.project.language == "zh" else "en"
    pretraining_page.draw(path, mine.metrics, facts, runs, language)
    return path


def _text(inputs: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in inputs.items() if name.startswith("corpus:")}


def of_kind(space: Workspace, base: Path) -> Workspace:
    """The settings for going on with a model: its own architecture."""
    from steersman.families.fresh import kind_of
    from steersman.weights.folders import read_config

    section = space.config.pretrain
    section = replace(section, shape=replace(section.shape, kind=kind_of(read_config(base))))
    return replace(space, config=replace(space.config, pretrain=section))


def check_ids(tokenizer: Any, base: Path, named: str) -> None:
    """ValueError where an id stands for another entry than in the tokenizer of the model that is gone on with."""
    from steersman.weights.folders import load_tokenizer

    own, other = load_tokenizer(base).get_vocab(), tokenizer.get_vocab()
    if strange := sum(own.get(entry) != number for entry, number in other.items()):
        raise ValueError(
            f"--tokenizer {named}: {strange} of its {len(other)} entries have no or another id in the tokenizer of "
            f"{base}, so the model would learn from wrong ids; leave --tokenizer out"
        )


def ready(tokenizer: Any, section: PretrainConfig) -> Any:
    """The tokenizer with what the architecture's objectives need: sentinels or masks, and the form of a prompt."""
    from steersman.corpus.objectives import prepare
    from steersman.text.bases import add_chat_template

    kind = section.shape.kind
    if kind in ENCODER_DECODERS:
        prepare(tokenizer, masked=False)
        add_chat_template(tokenizer, "text2text")
    elif kind in ENCODERS:
        prepare(tokenizer, masked=True)
        tokenizer.chat_template = None
    return tokenizer


def planned(section: PretrainConfig, wanted: Wanted, model: Any) -> Plan:
    """Sizes, rates and steps, with the memory and time that they take. ValueError where it does not fit.

    `model`: the [model] section. A continued model keeps its shape; its rate, where none is set, is a tenth of a new
    one's, and so is, at any rate, what a weight decay that is not set takes off its weights.
    """
    from steersman.corpus.folder import tokens_of
    from steersman.corpus.tokenizing import FILE, shards_folder
    from steersman.train import dial
    from steersman.train.denoising import objectives_of
    from steersman.train.pretraining_plan import cost, parameters, sizes_of
    from steersman.weights.folders import load_tokenizer

    shards = read_object(shards_folder(wanted.corpus.path, wanted.tokenizer) / FILE, "a list of shards")
    objectives_of(section)  # a wrong name is told before anything is read
    tokenizer = ready(load_tokenizer(wanted.tokenizer_folder), section)
    vocabulary = max(shards["vocabulary"], len(tokenizer))
    longer = lengthened(section, wanted.base)
    sizes = dial.sizes(section, vocabulary) if wanted.base is None else sizes_of(wanted.base, vocabulary)
    recipe = dial.recipe(section, sizes)
    if wanted.base is not None and not section.updates.lr:
        recipe = replace(recipe, lr=recipe.lr / 10)
    elif wanted.base is not None and section.updates.weight_decay < 0:
        recipe = replace(recipe, weight_decay=recipe.weight_decay / 10)
    documents = wanted.corpus.documents(wanted.tokenizer)
    have = tokens_of(documents, "train")
    shares = wanted.mixture.shares(have, recipe.tokens)
    check_text({s: have[s] for s in shares}, tokens_of(documents, "validation"), section)
    mixed = (f"{s} {share:.1%} (read {share * recipe.tokens / have[s]:.2f} times)" for s, share in shares.items())
    count = parameters(section, wanted.base or sizes, tokenizer)
    lines = [*recipe.lines(sizes, section, count), f"text: {', '.join(mixed)}"]
    if wanted.base is not None and not section.updates.lr:
        lines.append(f"rate: {recipe.lr:.3g}, a tenth of a new model's, as {wanted.base} goes on")
    elif wanted.base is not None and section.updates.weight_decay < 0 and recipe.weight_decay:
        lines.append(f"weight decay: {recipe.weight_decay:.3g}, a tenth of the law's, as {wanted.base} goes on")
    lines += [*longer, *cost(section, sizes, recipe, model, count)]
    return Plan(recipe, sizes, wanted.base or sizes, lines)


def check_text(have: Mapping[str, int], held: Mapping[str, int], section: PretrainConfig) -> None:
    """ValueError for what training would end with: a source of less than a row, or no text to evaluate on."""
    for source, tokens in have.items():
        if tokens < section.context:
            raise ValueError(
                f"source {source}: expected at least {section.context} tokens for one row, found {tokens}; build the "
                "corpus of more text, take shorter rows, or leave it out: --weight NAME=0"
            )
    least = 1 if section.shape.kind in DECODERS else section.context
    if max(held.get(source, 0) for source in have) < least:
        raise ValueError(
            f"no source has {least} tokens of held-out text, on which the model is evaluated; build the corpus with "
            "more --validation"
        )


def lengthened(section: PretrainConfig, base: Path | None) -> list[str]:
    """What becomes of a continued model's context, said. ValueError where it cannot be extended."""
    from steersman.families.longer import extend
    from steersman.families.outputs import context_of
    from steersman.weights.folders import read_config, text_config

    if base is None:
        if section.rope:
            raise ValueError(f"pretrain.rope={section.rope}: extends a model; expected --from MODEL")
        return []
    config = text_config(read_config(base))
    before = context_of(config)
    if section.rope:
        try:
            factor = extend(config, section.context, section.rope)
        except ValueError as error:
            raise ValueError(f"{base}: {error}") from None
        return [f"context: {before} -> {section.context}, {section.rope} by {factor:g}"]
    if section.shape.kind in (*DECODERS, *ENCODERS) and section.context > before:
        way = ", or --rope linear, ntk or yarn" if section.shape.kind in DECODERS else ""
        raise ValueError(
            f"{base}: pretrain.context={section.context} is beyond its {before}; expected at most that{way}"
        )
    return []
