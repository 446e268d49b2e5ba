"""`steersman scaling`: what a larger model would reach, from small ones of the same text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.base_models import EpochsOption, SmoothingOption, TokenizerOption, only_tokenizer
from steersman.cli.corpus import WeightsOption, read_weights, shards_of
from steersman.cli.framework import MODELS, Makes, add, say

if TYPE_CHECKING:
    from steersman.artifact.workspace import Workspace
    from steersman.rounds.pretrained import Plan, Wanted


def scaling(
    call: Makes,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus of `steersman corpus build`.")],
    depths: Annotated[str, typer.Option("--depths", help="Models that are trained, at least four sizes.")] = "1,2,3,4",
    predict: Annotated[str, typer.Option("--predict", help="Depths whose loss is predicted.")] = "6",
    check: Annotated[bool, typer.Option("--check", help="Train what is predicted too, and compare.")] = False,
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="Models are NAME-dN; default: CORPUS-dN.")] = "",
    tokenizer: TokenizerOption = "",
    weights: WeightsOption = None,
    smoothing: SmoothingOption = 1.0,
    epochs: EpochsOption = 4.0,
    plan: Annotated[bool, typer.Option("--plan", help="Print what would be trained, and end.")] = False,
) -> None:
    """Train small models by the dial of `pretrain`, fit a law to their held-out loss, and predict larger ones.

    Tokens follow from size (pretrain.tokens_per_parameter), as they do in `pretrain`. What is trained already is taken
    as it is, so the command goes on after a stop. A prediction far beyond the largest run is worth little.
    """
    from steersman.corpus.folder import corpus_of
    from steersman.corpus.mixture import Mixture
    from steersman.data.dataset import check_name
    from steersman.rounds import pretrained
    from steersman.train.scaling_law import FEWEST

    small, large = _depths(depths, "--depths", FEWEST), _depths(predict, "--predict", 1)
    if both := sorted({*small} & {*large}):
        raise ValueError(f"--predict: {both[0]} is among --depths too; expected depths that the law is not fitted to")
    space = call.open()
    if space.config.pretrain.tokens:
        raise ValueError(
            "pretrain.tokens: expected empty, tokens follow from size here (pretrain.tokens_per_parameter)"
        )
    found = corpus_of(space, corpus)
    name, folder, _ = shards_of(space, found, tokenizer or only_tokenizer(found, None), check=not plan)
    mixture = Mixture(read_weights(weights or ()), smoothing, epochs or math.inf)
    plans: dict[int, tuple[Workspace, Wanted, Plan]] = {}
    for depth in (*small, *large):
        trained = check or depth in small
        at = _of_depth(space, depth, trained)
        read = mixture if trained else replace(mixture, most_epochs=math.inf)
        wanted = pretrained.Wanted(f"{into or corpus}-d{depth}", found, name, folder, read)
        check_name(wanted.name, "--into")
        plans[depth] = (at, wanted, pretrained.planned(at.config.pretrain, wanted, at.config.model))
    if plan:
        lines = {depth: plans[depth][2].lines for depth in (small if not check else plans)}
        text = "\n".join(f"depth {depth}: {line}" for depth, some in lines.items() for line in some)
        call.emit({"plans": lines}, text)
        return
    made = {depth: _made(*plans[depth]) for depth in (*small, *(large if check else ()))}
    data, law = _fitted(plans, made, small)
    page = _drawn(space, space.root / "models" / f"{into or corpus}-scaling.html", data, law)
    call.emit({**data, "page": str(page)}, _text(data, law, page))


def _drawn(space: Workspace, page: Path, data: dict[str, Any], law: Any) -> Path:
    from steersman.eval import scaling_page

    scaling_page.draw(page, data, law, "zh" if space.config.project.language == "zh" else "en")
    return page


def _depths(text: str, option: str, fewest: int) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        found = []
    if len(found) < fewest or found[0] < 1:
        raise ValueError(
            f"{option}: expected at least {fewest} depths, such as {'1,2,3,4'[: 2 * fewest - 1]}, got {text!r}"
        )
    return found


def _of_depth(space: Workspace, depth: int, trained: bool) -> Workspace:
    """The settings of a depth; what is only predicted need not fit into this machine's memory."""
    section, model = space.config.pretrain, space.config.model
    section = replace(section, shape=replace(section.shape, depth=depth, params=""))
    model = replace(model, memory_check=model.memory_check and trained)
    return replace(space, config=replace(space.config, pretrain=section, model=model))


def _made(space: Workspace, wanted: Wanted, plan: Plan) -> dict[str, Any]:
    from steersman.rounds import pretrained

    for line in (f"{wanted.name}:", *plan.lines):
        say(line)
    return dict(pretrained.make(space, wanted, plan).metrics)


def _fitted(
    plans: dict[int, tuple[Workspace, Wanted, Plan]], made: dict[int, dict[str, Any]], small: list[int]
) -> tuple[dict[str, Any], Any]:
    """(what is printed, the law)."""
    from steersman.train import scaling_law as laws

    measure = "bpb" if "bpb" in made[small[0]] else "loss"

    def run(depth: int) -> dict[str, Any]:
        _, wanted, plan = plans[depth]
        sizes = {"parameters": plan.sizes.parameters, "tokens": plan.recipe.tokens}
        return {"name": wanted.name, "depth": depth, **sizes, "operations": plan.recipe.operations}

    points = [(plans[depth][2].recipe.operations, float(made[depth][measure])) for depth in small]
    said = []
    for depth in (d for d in plans if d not in small):
        one = run(depth)
        measured = made[depth][measure] if depth in made else None
        said.append({**one, **vars(laws.predict(points, one["operations"])), "measured": measured})
    law = laws.fit(points)
    runs = [{**run(depth), measure: made[depth][measure]} for depth in small]
    return {"measure": measure, "law": vars(law), "runs": runs, "predictions": said}, law


def _text(data: dict[str, Any], law: Any, page: Path) -> str:
    measure = data["measure"]
    what = {"bpb": "bits per byte", "loss": "nats per token"}[measure]
    lines = [f"scaling: {page}"]
    for run in data["runs"]:
        lines.append(f"  {_run(run)}: {run[measure]:.4f} {what}")
    lines.append(f"law: {law}")
    largest = max(run["operations"] for run in data["runs"])
    for one in data["predictions"]:
        came = "" if one["measured"] is None else f"; measured {one['measured']:.4f}"
        lines.append(
            f"  {_run(one)}, {one['operations'] / largest:.1f} times the largest run: {one['loss']:.4f} predicted, "
            f"{one['low']:.4f} to {one['high']:.4f} where one run is left out ({one['laws']} of {len(data['runs'])} "
            f"times the others follow a law){came}"
        )
    return "\n".join(lines)


def _run(run: dict[str, Any]) -> str:
    return f"depth {run['depth']}, {run['parameters']:,} parameters, {run['tokens']:,} tokens"


def register(app: typer.Typer) -> None:
    examples = [
        "steersman scaling books --predict 6",
        "steersman scaling books --depths 1,2,3,4 --predict 5 --check -s pretrain.tokens_per_parameter=5",
    ]
    add(app, scaling, panel=MODELS, examples=examples, slow=True)
