"""`steersman context`: how far back models read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steersman import config as configs
from steersman import config_file
from steersman.artifact.files import file_sha256
from steersman.cli.bench import found_space
from steersman.cli.framework import MODELS, Makes, add
from steersman.rounds.inputs import base_model, model_hash, resolved

if TYPE_CHECKING:
    from steersman.artifact.workspace import Workspace
    from steersman.eval.context_measure import Asked

SHORTEST = 256
"""Tokens of a text."""


def context(
    call: Makes,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]MODEL[@ROPE]...",
            help="A folder or a name as model.base takes it; @linear, @ntk or @yarn: with its positions scaled to the "
            "longest length, untrained. The others are compared with the first.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to make.")],
    length: Annotated[
        list[int] | None,
        typer.Option(
            "--length", min=SHORTEST, help="Tokens of a text; may be repeated. Default: to the longest context."
        ),
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", metavar="FILE", help="Texts in any language; default: the bundled shop's dialogues."),
    ] = None,
    haystacks: Annotated[
        int, typer.Option("--haystacks", min=1, help="Of each length and language, ten needles each.")
    ] = 2,
    windows: Annotated[
        int, typer.Option("--windows", min=0, help="Windows of text, for perplexity by position; 0: none.")
    ] = 4,
) -> None:
    """Find needles at ten depths of texts of several lengths, and measure perplexity by position.

    In Chinese and English, as far as the texts are; context.html in the folder shows both as pictures. Interrupted, the
    same command goes on.
    """
    space = found_space(call.workspace, call.settings or [])
    config = space.config if space else config_file.with_overrides(configs.Config(), call.settings or [])
    from steersman.corpus.documents import files_of
    from steersman.eval import context_measure, context_texts
    from steersman.eval.context_verdict import text as said

    asked = [_asked(one, space) for one in models]
    if len({one.name for one in asked}) < len(asked):
        raise ValueError("models: expected a different name for each: NAME=MODEL")
    page = "zh" if config.project.language == "zh" else "en"
    seed = config.project.seed
    texts = context_texts.of_files(text, page) if text else context_texts.bundled(seed, page)
    manner = context_measure.Manner(
        tuple(sorted(set(length or _lengths(asked, tuple(texts.documents))))), haystacks, windows, seed
    )
    inputs = {f"model {one.name}": model_hash(one.folder) for one in asked}
    for path in text or []:
        for file in files_of(path)[0]:
            inputs[f"text {file}"] = file_sha256(file)
    result = context_measure.run(asked, texts, manner, config.model, output, inputs)
    where = output / context_measure.PAGE
    call.emit({**result, "output": str(output)}, f"{said(result)}\n{where}")


def _asked(given: str, space: Workspace | None) -> Asked:
    from steersman.eval.context_measure import Asked
    from steersman.families.longer import METHODS

    name, equals, what = given.partition("=")
    what = what if equals else name
    model, at, rope = what.rpartition("@")
    if not at or rope not in METHODS:
        model, rope = what, ""
    found = space.named(model) if space else model
    folder = base_model(space) if space and found == "base" else resolved(found)
    return Asked(name if equals else f"{Path(model).name}{f'@{rope}' if rope else ''}", folder, rope)


def _lengths(asked: list[Asked], languages: Sequence[str]) -> list[int]:
    """The longest context of all, and an eighth, a quarter and a half of it where the needles find room in that."""
    from steersman.eval.context_measure import least_of
    from steersman.families.outputs import context_of
    from steersman.weights.folders import read_config, text_config

    longest = max(context_of(text_config(read_config(one.folder))) for one in asked)
    shortest = max(SHORTEST, least_of([one.folder for one in asked], languages))
    if longest < shortest:
        raise ValueError(f"the longest context is {longest} tokens; expected --length, {shortest} or more")
    return [longest >> k for k in (3, 2, 1, 0) if longest >> k >= shortest]


def register(app: typer.Typer) -> None:
    examples = [
        "steersman context small small-32k -o bench/context",
        "steersman context plain=small small@linear small@ntk small@yarn --length 16384 --text books/ -o bench/ropes",
    ]
    add(app, context, panel=MODELS, examples=examples, slow=True)
