"""`steersman tokenizer extend`: a model whose vocabulary has grown by entries of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman import locks
from steersman.artifact.workspace import Workspace
from steersman.cli.corpus import WeightsOption, read_weights
from steersman.cli.framework import Works, say
from steersman.cli.import_options import ReplaceOption
from steersman.progress import activity

if TYPE_CHECKING:
    from steersman.corpus.extension import Extension
    from steersman.corpus.folder import Corpus

SHOWN = 12
"""New entries that are printed."""


def tokenizer_extend(
    call: Works,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the workspace, a folder, or any base.")],
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus of `steersman corpus build`.")],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The new model's name.")],
    entries: Annotated[int, typer.Option("--entries", help="New entries; fewer where the texts give no more.")] = 8192,
    start: Annotated[
        str,
        typer.Option(
            "--start", help="New rows: pieces (mean of the old tokens that an entry stands for), random, or average."
        ),
    ] = "pieces",
    ascii_too: Annotated[
        bool, typer.Option("--ascii", help="Also entries with English letters, digits and spaces.")
    ] = False,
    characters: Annotated[int, typer.Option("--characters", min=1, help="Read of all sources, at most.")] = 20_000_000,
    weights: WeightsOption = None,
    replace: ReplaceOption = False,
) -> None:
    """Teach a model's tokenizer a language that it writes in many pieces: into models/NAME, to be trained on.

    Old entries, special tokens and ids stay, and a text that no new entry occurs in is cut as before; without --ascii
    that is all text in ASCII. The model then needs training on such text: steersman pretrain CORPUS --from NAME.
    """
    from steersman.artifact.manifest import MANIFEST_NAME
    from steersman.corpus.folder import corpus_of
    from steersman.data.dataset import check_name
    from steersman.rounds.inputs import resolved
    from steersman.weights.new_rows import STARTS

    if start not in STARTS:
        raise ValueError(f"--start: expected one of {', '.join(STARTS)}, got {start}")
    space = call.open()
    check_name(into, "--into")
    found, base = corpus_of(space, corpus), resolved(space.named(model))
    found.check()
    folder = space.root / "models" / into
    if (folder / MANIFEST_NAME).is_file() and not replace:
        raise ValueError(f"{folder}: a model is there; --replace it, or take another --into")
    extension, measured = _learned(space, found, base, entries, ascii_too, characters, read_weights(weights or ()))
    config = {
        "entries": entries,
        "start": start,
        "ascii": ascii_too,
        "characters": characters,
        "weights": weights or [],
    }
    facts = _saved(space, folder, base, extension, config, found.about["identity"])
    lines = [
        f"{folder}: {facts['new']} new entries, {facts['entries']} in all; {facts['rows']} rows of embeddings, "
        f"{facts['rows_before']} before",
        f"  such as {' '.join(extension.entries[:SHOWN])} ... {' '.join(extension.entries[-SHOWN:])}",
        *measured["lines"],
        f"to train it: steersman pretrain {corpus} --from {into} --into {into}-trained",
    ]
    call.emit({"model": str(folder), **facts, "measured": measured["found"]}, "\n".join(lines))


def _learned(
    space: Workspace,
    corpus: Corpus,
    base: Path,
    entries: int,
    ascii_too: bool,
    characters: int,
    weights: Mapping[str, float],
) -> tuple[Extension, dict[str, Any]]:
    """The new tokenizer, measured beside the old one."""
    from steersman.cli.tokenizers import measured_on, portions, read_portions, table
    from steersman.corpus.extension import extend
    from steersman.weights.folders import check_causal, load_tokenizer
    from steersman.weights.new_rows import check_growable

    config, old = check_causal(base), load_tokenizer(base)
    check_growable(config, config.vocab_size, max(old.get_vocab().values()) + 1)
    parts = portions(corpus, characters, weights)
    with activity(f"learning {entries} entries of {sum(parts.values()) / 1e6:.1f} million characters"):
        extension = extend(old, lambda: read_portions(corpus, parts), entries, ascii_too)
    if not extension.pieces:
        raise ValueError(
            f"{corpus.name}: its texts give no entry that {base.name} lacks; with --ascii others count too"
        )
    if len(extension.pieces) < entries:
        say(f"note: the texts give {len(extension.pieces)} entries, not {entries}")
    found = measured_on(space, {"before": old, "extended": extension.tokenizer}, corpus)
    return extension, {"found": found, "lines": table(found)}


def _saved(
    space: Workspace, folder: Path, base: Path, extension: Extension, config: Mapping[str, Any], text: str
) -> dict[str, Any]:
    """The model in a folder of its own, whole or absent."""
    from steersman.artifact.manifest import write_manifest
    from steersman.corpus.folder import whole_folder
    from steersman.rounds.inputs import model_hash
    from steersman.weights.folders import load_causal, save_model
    from steersman.weights.new_rows import grow

    model = load_causal(base, space.config.model.dtype)
    before = model.get_input_embeddings().weight.shape[0]
    rows = grow(model, min(extension.pieces), extension.pieces, config["start"], space.config.project.seed)
    facts = {"entries": len(extension.tokenizer), "new": len(extension.pieces), "rows": rows, "rows_before": before}
    folder.parent.mkdir(exist_ok=True)
    with locks.making(folder), whole_folder(folder) as partial:
        save_model(model, extension.tokenizer, partial)
        write_manifest(partial, "extend", dict(config), {"base": model_hash(base), "texts": text}, facts)
    return facts
