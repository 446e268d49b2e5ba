"""`steersman index build | search | eval`: documents cut into passages that are found by words and by meaning."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.framework import DATA, JsonOption, SetOption, Works, add, emit, say
from steersman.cli.import_options import EncodingOption
from steersman.progress import activity

if TYPE_CHECKING:
    from steersman.retrieval.index import Embed, Index, Vectors
    from steersman.retrieval.passages import Passage

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="An index that `index build` made.")]
HowOption = Annotated[str, typer.Option("--how", help="hybrid, dense or bm25; default: hybrid where it has vectors.")]
ModelOption = Annotated[
    str,
    typer.Option("--model", metavar="MODEL", help="The model of embeddings it was made with, if that lies elsewhere."),
]


def index_build(
    call: Works,
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Files or folders: text, Markdown, HTML, JSON lines, tables, an FAQ."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to make.")],
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="A model of embeddings; without one: BM25 alone.")
    ] = "",
    size: Annotated[float, typer.Option("--size", min=16, help="Most tokens of a passage, about.")] = 200.0,
    overlap: Annotated[float, typer.Option("--overlap", min=0, help="Of them repeated in the next one, about.")] = 40.0,
    field: Annotated[str, typer.Option("--field", help="The field of records that holds the text.")] = "",
    query_prefix: Annotated[
        str, typer.Option("--query-prefix", help="What the model wants before questions; default: as its files say.")
    ] = "",
    passage_prefix: Annotated[
        str, typer.Option("--passage-prefix", help="What it wants before passages; default: as its files say.")
    ] = "",
    encoding: EncodingOption = "auto",
) -> None:
    """Cut documents into passages and make an index of them; the same command goes on after a stop.

    What had no text is counted. `serve.indexes` lets programs search it.
    """
    from steersman.cli.bench import found_space
    from steersman.config import Config
    from steersman.config_file import with_overrides
    from steersman.corpus.documents import LeftOut
    from steersman.data.reading import Reading
    from steersman.retrieval import index

    if inside := [s for s in sources if s.is_dir() and output.resolve().is_relative_to(s.resolve())]:
        raise ValueError(f"--output {output}: is part of {inside[0]}; expected a folder that is not read itself")
    if overlap > size / 2:
        raise ValueError(f"--overlap: expected at most half of --size ({size / 2:g}), got {overlap:g}")
    space = found_space(call.workspace, call.settings or [])
    config = space.config if space else with_overrides(Config(), call.settings or [])
    limits = {n: getattr(config.data, n) for n in ("max_line_mb", "max_unpacked_mb")}
    reading, left_out = Reading(encoding=encoding, tell=say, **limits), LeftOut()
    vectors = None
    if model:
        vectors = _model(space.named(model) if space else model, config.model, (query_prefix, passage_prefix))
    about = {"size": size, "overlap": overlap}
    told = index.build(output, _passages(sources, reading, left_out, field, (size, overlap)), about, vectors)
    lines = [f"{output}: {told['passages']} passages of {told['documents']} documents, {told['terms']} terms"]
    lines.append(f"vectors of {told['dimensions']} numbers by {told['model']}" if vectors else "no vectors: BM25 alone")
    if repeated := told["repeated_ids"]:
        lines.append(f"caution: {repeated} documents have the id of another: a search counts them as one document")
    lines += [f"left out {n}: {why}" for why, n in left_out.dropped.items()]
    call.emit({"index": str(output), **told, **left_out.to_json()}, "\n".join(lines))


def _passages(
    sources: Sequence[Path], reading: Any, left_out: Any, field: str, sizes: tuple[float, float]
) -> Iterator[Passage]:
    from steersman.corpus.documents import files_of, placed
    from steersman.retrieval.passages import pair_of, passages

    for source in sources:
        files, others = files_of(source)
        if others:
            say(f"note: {source}: {others} files of other kinds are not read")
        for document in placed(files, reading, left_out, field, pair_of):
            place = document.place.removeprefix(f"{source.parent}{os.sep}")
            yield from passages(dataclasses.replace(document, place=place), *sizes)


def _model(name: str, config: Any, prefixes: tuple[str, str] = ("", "")) -> Vectors:
    from steersman.engine.backends.labelling import VectorEngine, headed_engine
    from steersman.retrieval.index import Vectors
    from steersman.rounds.inputs import model_hash, resolved
    from steersman.weights.sentence_files import prompts_of

    folder = resolved(name)
    usual = prompts_of(folder)
    query, passage = (given or own for given, own in zip(prefixes, usual, strict=True))
    with activity(f"loading {folder.name}"):
        engine = headed_engine(folder, config.dtype, config.device, config.trust_remote_code, folder.name, folder.name)
    if not isinstance(engine, VectorEngine):
        raise ValueError(f"--model: {folder} gives labels; expected a model of embeddings")
    return Vectors(str(folder), model_hash(folder), engine.vectors, query, passage)


def _opened(folder: Path, model: str, how: str, settings: Sequence[str]) -> Index:
    """With the model that it was made with, unless words are enough."""
    from steersman.config import Config
    from steersman.config_file import with_overrides
    from steersman.retrieval.index import Index

    about = Index(folder).about
    embed: Embed | None = None
    if how != "bm25" and about["dimensions"]:
        made = _model(model or about["model"], with_overrides(Config(), list(settings)).model)
        if made.hash != about["hash"]:
            raise ValueError(f"{made.model}: not the model that {folder} was made with; expected that, or --how bm25")
        embed = made.embed
    return Index(folder, embed)


def index_search(
    folder: Folder,
    question: Annotated[str, typer.Argument(metavar="QUESTION")],
    most: Annotated[int, typer.Option("-n", min=1, help="Passages to show.")] = 5,
    how: HowOption = "",
    model: ModelOption = "",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages that fit a question best."""
    index = _opened(folder, model, how, settings or [])
    hits = index.search(question, most, how)
    lines = [
        f"{i}. {h.passage.document} {h.passage.title} ({h.score:.4f})\n{h.passage.text}" for i, h in enumerate(hits, 1)
    ]
    found = [{"score": hit.score, **dataclasses.asdict(hit.passage)} for hit in hits]
    emit(as_json, {"how": how or index.usual, "found": found}, "\n\n".join(lines) or "nothing found")


def index_eval(
    folder: Folder,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="Lines of JSON: question, document (its id).")],
    model: ModelOption = "",
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how often the right document is found: recall at 1, 5 and 10, MRR, with intervals, beside BM25."""
    from steersman.retrieval import measure

    asked = measure.read(questions)
    index = _opened(folder, model, "", settings or [])
    found = measure.measured(index, asked, ["bm25"] if index.usual == "bm25" else ["bm25", "dense", "hybrid"])
    lines = [f"{len(asked)} questions, {index.count} passages of {index.about['documents']} documents"]
    for way, values in found.items():
        cells = [f"{name} {_figure(value)}" for name, value in values.items()]
        lines.append(f"{way}: {', '.join(cells)}")
    emit(as_json, {"questions": len(asked), **found}, "\n".join(lines))


def _figure(value: Mapping[str, Any]) -> str:
    if value["low"] is None:  # one question has no interval
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Search documents by words and by meaning.")
    builds = ["steersman index build docs faq.csv --model out/vectors -o out/help"]
    add(group, index_build, name="build", panel=DATA, examples=builds, slow=True)
    searches = ["steersman index search out/help 'how do I get a refund'"]
    add(group, index_search, name="search", panel=DATA, examples=searches)
    evals = ["steersman index eval out/help questions.jsonl"]
    add(group, index_eval, name="eval", panel=DATA, examples=evals, slow=True)
    app.add_typer(group, name="index", rich_help_panel=DATA)
