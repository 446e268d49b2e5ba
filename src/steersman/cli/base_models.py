"""`steersman pretrain`: a base model from raw text."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.corpus import WeightsOption, read_weights, shards_of
from steersman.cli.framework import MODELS, Makes, add, open_workspace, say
from steersman.cli.import_options import ReplaceOption
from steersman.cli.tokenizers import load_tokenizer
from steersman.config.pretraining import ENCODERS

if TYPE_CHECKING:
    from steersman.rounds.pretrained import Made


TokenizerOption = Annotated[
    str, typer.Option("--tokenizer", metavar="NAME", help="Of `tokenizer train`; default: the corpus's only shards.")
]
SmoothingOption = Annotated[
    float, typer.Option("--smoothing", min=0, max=1, help="1: sources by their size, 0: all alike.")
]
EpochsOption = Annotated[float, typer.Option("--epochs", help="Read no source more often; 0: any number.")]
ContextOption = Annotated[
    int, typer.Option("--context", min=0, help="Tokens of a row; default: pretrain.context (512).")
]
KindOption = Annotated[
    str,
    typer.Option(
        "--kind", help="qwen3, llama, gemma3_text, t5, bart, bert or modernbert; default: pretrain.shape.kind."
    ),
]
RopeOption = Annotated[
    str, typer.Option("--rope", help="With --from: extend the model to --context by linear, ntk or yarn.")
]


def pretrain(
    call: Makes,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus of `steersman corpus build`.")],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The model's name; default: the corpus's.")] = "",
    depth: Annotated[int, typer.Option("--depth", min=0, help="The dial: layers; all else follows from it.")] = 0,
    params: Annotated[str, typer.Option("--params", help="Or the model's size, such as 15M.")] = "",
    tokens: Annotated[str, typer.Option("--tokens", help="Tokens to train on, such as 20M; default: by size.")] = "",
    tokenizer: TokenizerOption = "",
    base: Annotated[str, typer.Option("--from", metavar="MODEL", help="Go on from this model instead.")] = "",
    context: ContextOption = 0,
    rope: RopeOption = "",
    kind: KindOption = "",
    weights: WeightsOption = None,
    smoothing: SmoothingOption = 1.0,
    epochs: EpochsOption = 4.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, its memory and time, and end.")
    ] = False,
    replace: ReplaceOption = False,
) -> None:
    """Train a base model on a corpus, from nothing or from another model, into models/NAME.

    Size, batch, rates, weight decay and tokens follow from --depth or --params and are printed first. `model.base =
    "NAME"` in steersman.toml, or --set model.base=NAME, then takes it as any other base.
    """
    from steersman.corpus.folder import corpus_of
    from steersman.corpus.mixture import Mixture
    from steersman.data.dataset import check_name
    from steersman.rounds import pretrained
    from steersman.rounds.inputs import resolved

    if base and (depth or params or kind):
        raise ValueError("--from: the model keeps its size and kind; leave out --depth, --params and --kind")
    space = open_workspace(
        call.workspace,
        [*(call.settings or ()), *_settings(depth, params, tokens=tokens, context=context, rope=rope, kind=kind)],
    )
    found = corpus_of(space, corpus)
    start = resolved(space.named(base)) if base else None
    space = pretrained.of_kind(space, start) if start else space
    if start and tokenizer:
        pretrained.check_ids(load_tokenizer(space, tokenizer)[2], start, tokenizer)
    name, folder, _ = shards_of(space, found, tokenizer or only_tokenizer(found, start), check=not plan)
    mixture = Mixture(read_weights(weights or ()), smoothing, epochs or math.inf)
    wanted = pretrained.Wanted(into or corpus, found, name, folder, mixture, start, replace)
    check_name(wanted.name, "--into")
    made = pretrained.planned(space.config.pretrain, wanted, space.config.model)
    if plan:
        call.emit({"recipe": made.recipe.to_json(), "lines": made.lines}, "\n".join(made.lines))
        return
    for line in made.lines:
        say(line)
    outcome = pretrained.make(space, wanted, made)
    page = pretrained.draw(space, outcome.folder, made.lines)
    data = {"model": str(outcome.folder), "made": outcome.made, "metrics": dict(outcome.metrics)}
    call.emit(data, _text(outcome, page.name))


def _settings(depth: int, params: str, kind: str, **more: str | int) -> list[str]:
    """The options as settings, which are checked with the others; depth and params exclude each other."""
    sizes: dict[str, str | int] = {"shape.depth": depth, "shape.params": params} if depth or params else {}
    given = {name: value for name, value in {**more, "shape.kind": kind}.items() if value}
    return [f"pretrain.{name}={json.dumps(value)}" for name, value in (sizes | given).items()]


def only_tokenizer(corpus: Any, start: Any) -> str:
    """The tokenizer meant where none is named: the continued model's, or the one that the corpus has shards of.

    Shards for models that were gone on with do not count beside those of a tokenizer of the workspace."""
    if start is not None:
        return str(start)
    known = corpus.tokenizers()
    known = [name for name in known if (corpus.path.parents[1] / "tokenizers" / name).is_dir()] or known
    if len(known) != 1:
        raise ValueError(f"--tokenizer: expected one of {', '.join(known) or 'tokenizer train, none is used here yet'}")
    return str(known[0])


def _text(outcome: Made, page: str) -> str:
    m = outcome.metrics
    head = f"pretrain: {outcome.folder} ({page})" + ("" if outcome.made else " is up to date")
    key, what = ("bpb", "bits per byte of held-out text") if "bpb" in m else ("loss", "held-out loss, nats per token")
    parts = {name.removeprefix(f"{key}_"): value for name, value in m.items() if name.startswith(f"{key}_")}
    by = ", ".join(f"{name} {value:.3f}" for name, value in parts.items() if name != "before")
    spikes = f"; {len(m['spikes'])} spikes of the loss, gone back from" if m["spikes"] else ""
    verb = "encoder --set encoder.model" if m["kind"] in ENCODERS else "sft --set model.base"
    lines = [
        head,
        f"{what} {parts['before']:.3f} -> {m[key]:.3f}{f' ({by})' if by else ''}; "
        f"{m['parameters']:,} parameters, {m['tokens']:,} tokens in {m['steps']:,} steps{spikes}",
        f"to use it: steersman {verb}={outcome.folder.name}",
    ]
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    examples = [
        "steersman pretrain mixed --tokenizer mixed --depth 4",
        "steersman pretrain mixed --params 15M --tokens 20M --into small --plan",
        "steersman pretrain domain --from models/small --tokens 5M --into small-domain",
        "steersman pretrain books --from small --context 32768 --rope yarn --tokens 5M --into small-32k",
    ]
    add(app, pretrain, panel=MODELS, examples=examples, slow=True)
