"""`steersman tokenizer train | extend | eval`: a tokenizer of a corpus, and how well tokenizers suit texts."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman import locks
from steersman.artifact.workspace import Workspace
from steersman.cli.cleaning import listed
from steersman.cli.corpus import WeightsOption, read_weights
from steersman.cli.extend_vocabulary import tokenizer_extend
from steersman.cli.framework import MODELS, Reads, add, emit, say
from steersman.cli.import_options import ReplaceOption
from steersman.progress import activity

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steersman.corpus.folder import Corpus

SPECIAL = "<|endoftext|>,<|im_start|>,<|im_end|>"
TRAINING = "training.json"
LOOKED = 300
"""Documents of each source that `eval` looks at."""


def tokenizer_train(
    call: Reads,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus of `steersman corpus build`.")],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The tokenizer's name.")] = "",
    vocabulary: Annotated[int, typer.Option("--vocabulary", help="Entries, special tokens too.")] = 32_768,
    kind: Annotated[str, typer.Option("--kind", help="bpe or unigram, both of bytes.")] = "bpe",
    digits: Annotated[
        str, typer.Option("--digits", help="Digits in one token: one, three (at most) or any.")
    ] = "three",
    spaces: Annotated[str, typer.Option("--spaces", help="White space in runs, or single.")] = "runs",
    special: Annotated[str, typer.Option("--special", help="Special tokens, the first ends a text.")] = SPECIAL,
    characters: Annotated[int, typer.Option("--characters", min=1, help="Read of all sources, at most.")] = 50_000_000,
    beside: Annotated[
        str, typer.Option("--beside", help="Measured beside these, or none; default: gpt2, smollm2-135m, gemma3-270m.")
    ] = "",
    weights: WeightsOption = None,
    replace: ReplaceOption = False,
) -> None:
    """Train a tokenizer on a corpus's training texts, and measure it on those held out.

    What is read of a source is in proportion to its size and --weight: of more Chinese it learns longer Chinese entries
    and fewer English ones. It is written to tokenizers/NAME as transformers reads it, with a chat template.
    """
    from steersman.artifact.files import now, write_json
    from steersman.corpus import tokenizer as making
    from steersman.corpus.folder import corpus_of, whole_folder
    from steersman.data import dataset

    space = call.open()
    found = corpus_of(space, corpus)
    name = into or corpus
    dataset.check_name(name, "--into")
    wanted = making.Wanted(vocabulary, kind, digits, spaces, tuple(listed(special)))
    folder = space.root / "tokenizers" / name
    parts = portions(found, characters, read_weights(weights or ()))
    about: dict[str, Any] = {"corpus": found.about["identity"], "characters": parts}
    about["wanted"] = dataclasses.asdict(wanted) | {"special": list(wanted.special)}
    if folder.exists() and not replace:
        _is_there(folder, about, call.as_json)
        return
    found.check()
    others = _beside(space, beside)
    with activity(f"learning {vocabulary} entries of {sum(parts.values()) / 1e6:.0f} million characters"):
        made = making.train(read_portions(found, parts), wanted)
    if len(made) < vocabulary:
        say(f"note: the texts give {len(made)} entries, not {vocabulary}")
    measured = measured_on(space, {**others, name: made}, found)
    about["made"] = now()
    if made.chat_template is None:
        say(f"note: no chat template, which needs {' and '.join(making.SPECIAL[1:])} among --special")
    with locks.making(folder), whole_folder(folder) as partial:
        made.save_pretrained(str(partial))
        write_json(partial / TRAINING, about | {"measured": measured})
    lines = [f"{folder}: {len(made)} entries", *table(measured)]
    call.emit({"tokenizer": str(folder), "entries": len(made), **about, "measured": measured}, "\n".join(lines))


def _is_there(folder: Path, about: Mapping[str, Any], as_json: bool) -> None:
    """Tells of the tokenizer that is there already. ValueError where it was made of something else."""
    from steersman.artifact.files import read_object
    from steersman.weights.folders import load_tokenizer as load

    found = read_object(folder / TRAINING, "a tokenizer's making") if (folder / TRAINING).is_file() else {}
    if any(found.get(key) != value for key, value in about.items()):
        raise ValueError(
            f"{folder}: a tokenizer of other texts or settings is there; --replace it, or take another --into"
        )
    entries = len(load(folder))
    lines = [f"{folder}: {entries} entries, is up to date", *table(found["measured"])]
    emit(as_json, {"tokenizer": str(folder), "entries": entries, **found}, "\n".join(lines))


def tokenizer_eval(
    call: Reads,
    tokenizers: Annotated[
        list[str], typer.Argument(metavar="TOKENIZER...", help="Names of the workspace, folders, or models.")
    ],
    corpus: Annotated[str, typer.Option("--corpus", metavar="NAME", help="Held-out texts of this corpus.")] = "",
    files: Annotated[
        list[Path] | None, typer.Option("--file", metavar="FILE", help="Texts of a file; may be repeated.")
    ] = None,
) -> None:
    """Bytes per token of tokenizers on the same texts, by source and language, with intervals over documents."""
    from steersman.corpus.folder import corpora, corpus_of

    space = call.open()
    named = {}
    for text in tokenizers:
        name, _, loaded = load_tokenizer(space, text)
        named[text if name in named else name] = loaded
    if len(named) < len(tokenizers):
        raise ValueError(f"tokenizers: expected each once, got {', '.join(tokenizers)}")
    known = [c.name for c in corpora(space)]
    if not corpus and not files and len(known) != 1:
        which = f"; the workspace has {', '.join(known)}" if known else ""
        raise ValueError(f"expected --corpus NAME or --file FILE: texts to measure on{which}")
    chosen = corpus_of(space, corpus or known[0]) if corpus or not files else None
    measured = measured_on(space, named, chosen, files or ())
    call.emit({"measured": measured}, "\n".join(table(measured)))


def load_tokenizer(space: Workspace, named: str) -> tuple[str, Path, PreTrainedTokenizerBase]:
    """(name, folder, tokenizer) of the workspace's tokenizer, a folder, or a model's specification.

    ValueError where there is none. The name is good for a folder of shards.
    """
    from steersman.weights.folders import load_tokenizer as load
    from steersman.weights.published import fetched
    from steersman.weights.resolve import TOKENIZERS

    if not named:
        raise ValueError("--tokenizer: expected a name of steersman tokenizer train, or a model's folder")
    own = space.root / "tokenizers" / named
    if Path(named).name == named and (own / "tokenizer.json").is_file():  # of a whole path the name would be that path
        return named, own, load(own)
    named = space.named(named)
    if Path(named).is_file():
        if Path(named).name not in TOKENIZERS:
            raise ValueError(f"--tokenizer {named}: expected a folder; SentencePiece is read there as tokenizer.model")
        named = str(Path(named).parent)
    local = any((Path(named) / name).is_file() for name in TOKENIZERS)
    try:
        path = Path(named) if local else fetched(named, say)
    except ValueError as error:
        known = sorted(path.parent.name for path in space.root.glob("tokenizers/*/tokenizer.json"))
        there = ", ".join(known) or "it has none yet, steersman tokenizer train makes one"
        raise ValueError(f"{named}: no tokenizer of the workspace ({there}) and no model: {error}") from None
    name = named if Path(named).name == named else path.resolve().name
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".-")
    if (space.root / "tokenizers" / safe).exists():  # another's name
        safe += "-" + hashlib.sha256(str(path).encode()).hexdigest()[:8]
    return safe, path, load(path)


def _beside(space: Workspace, names: str) -> dict[str, PreTrainedTokenizerBase]:
    """The named tokenizers; without names those of published models that are on this machine."""
    from steersman.weights.folders import load_tokenizer as load
    from steersman.weights.published import BESIDE, here

    if names == "none":
        return {}
    if names:
        return {name: load_tokenizer(space, name)[2] for name in listed(names)}
    there = {name: path for name in BESIDE if (path := here(name)) is not None}
    if missing := [name for name in BESIDE if name not in there]:
        say(f"note: not measured beside {', '.join(missing)}; --beside {','.join(BESIDE)} fetches them")
    return {name: load(path) for name, path in there.items()}


def portions(corpus: Corpus, characters: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Characters to read of each source: in proportion to its size and weight, no more than it has."""
    from steersman.corpus.mixture import Mixture

    have = {s: of["kept"]["train"]["characters"] for s, of in corpus.about["sources"].items()}
    mixture = Mixture(weights, 1.0, 1.0)
    heaviest = max((weights.get(s, 1.0) for s in have), default=1.0) or 1.0
    # of more than this the weights would say nothing, since sources that have no more give way to others
    wanted = min(characters, round(sum(n * weights.get(s, 1.0) / heaviest for s, n in have.items())))
    shares = mixture.shares(have, max(wanted, 1))
    return {source: round(share * wanted) for source, share in shares.items()}


def read_portions(corpus: Corpus, parts: Mapping[str, int]) -> Iterator[str]:
    for source, left in parts.items():
        for text in corpus.texts(source, "train"):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                break


def measured_on(
    space: Workspace,
    named: Mapping[str, PreTrainedTokenizerBase],
    corpus: Corpus | None,
    files: Sequence[Path] = (),
) -> dict[str, Any]:
    """'source SOURCE' and 'language CODE' -> tokenizer -> figures."""
    from steersman.corpus import tokenizer as making
    from steersman.corpus.documents import LeftOut, documents
    from steersman.data.cleaning.tongues import tongue
    from steersman.data.reading import AS_THEY_ARE, Reading

    texts = (
        {f"source {s}": making.sample(corpus.texts(s, "validation"), LOOKED) for s in corpus.sources} if corpus else {}
    )
    names = [path.name for path in files]
    for path in files:
        left_out = LeftOut()
        found = documents([path], Reading(encoding="auto", tell=say, mapping=AS_THEY_ARE), left_out)
        texts[f"file {path.name if names.count(path.name) == 1 else path}"] = making.sample(found, LOOKED)
        for line in left_out.lines():
            say(f"note: {path}: not read {line}")
    if empty := [where for where, some in texts.items() if not some]:
        say(f"note: nothing to measure on in {', '.join(empty)}: no documents are held out")
    by_language: dict[str, list[str]] = {}
    for text in (text for some in texts.values() for text in some):
        by_language.setdefault(f"language {tongue(text)}", []).append(text)
    with activity("measuring"):
        return making.compared(named, {**texts, **dict(sorted(by_language.items()))})


def table(measured: Mapping[str, Any]) -> list[str]:
    lines = ["bytes per token on texts held out (95 % interval over documents):"] if measured else []
    for where, each in measured.items():
        cells = []
        for name, found in each.items():
            low, high = found["interval"]
            lost = "" if found["lossless"] else ", NOT lossless"
            cells.append(f"{name} {found['bytes_per_token']:.2f} ({low:.2f} to {high:.2f}{lost})")
        lines.append(f"  {where}: {', '.join(cells)}")
    return lines


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Tokenizers: trained on a corpus, and measured.")
    trains = ["steersman tokenizer train mixed", "steersman tokenizer train mixed --vocabulary 16384 --weight news=0.2"]
    add(group, tokenizer_train, name="train", panel=MODELS, examples=trains)
    extends = ["steersman tokenizer extend HuggingFaceTB/SmolLM2-135M chinese --entries 8192 --into smollm-zh"]
    add(group, tokenizer_extend, name="extend", panel=MODELS, examples=extends, slow=True)
    evals = ["steersman tokenizer eval mixed HuggingFaceTB/SmolLM2-135M --corpus mixed"]
    add(group, tokenizer_eval, name="eval", panel=MODELS, examples=evals)
    app.add_typer(group, name="tokenizer", rich_help_panel=MODELS)
