"""`steersman corpus build | tokenize | show`: raw text to shards of tokens that pretraining reads."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.artifact.workspace import Workspace
from steersman.cli import clean_options as cleans
from steersman.cli.cleaning import check_needed, listed
from steersman.cli.framework import DATA, Reads, Works, add, say
from steersman.cli.import_options import EncodingOption, ReplaceOption
from steersman.progress import activity, progress

if TYPE_CHECKING:
    from steersman.corpus.folder import Corpus
    from steersman.corpus.texts import Gathering, Origin
    from steersman.data.reading import Reading, Tell
    from steersman.messages import Conversation

USUAL = "exact,language,quality,near,contamination"
"""Cleaning of raw text unless --steps says otherwise: personal data and unsafe words are not looked for."""

NOTES = 5
"""Notes of a kind that are told."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="A corpus's name.")]
TokenizerOption = Annotated[
    str, typer.Option("--tokenizer", metavar="NAME", help="A tokenizer of `tokenizer train`, or any model's folder.")
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option("--weight", metavar="SOURCE=FACTOR", help="Read a source this many times as often; may be repeated."),
]


def corpus_build(
    call: Works,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]PATH...", help="Files or folders: text, Markdown, HTML, JSON lines, parquet."),
    ],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The corpus's name.")] = "text",
    tokenizer: TokenizerOption = "",
    field: Annotated[str, typer.Option("--field", help="The records' field of the text; a.b is b within a.")] = "",
    steps: Annotated[str, typer.Option("--steps", help=f"Of: {cleans.NAMES}. Default: {USUAL}.")] = USUAL,
    languages: cleans.LanguagesOption = "",
    min_chars: cleans.MinCharsOption = 2,
    max_chars: cleans.MaxCharsOption = 0,
    near: cleans.NearOption = 0.75,
    mask: cleans.MaskOption = "",
    drop_unsafe: cleans.DropUnsafeOption = False,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="Test questions that must not be in the text; with the workspace's own test sets. May be repeated.",
        ),
    ] = None,
    validation: Annotated[
        float, typer.Option("--validation", min=0, max=0.5, help="Share of documents held out.")
    ] = 0.01,
    encoding: EncodingOption = "auto",
    replace: ReplaceOption = False,
) -> None:
    """Read raw text, clean it and keep it by source; with --tokenizer make shards of tokens too.

    Memory does not grow with the text. Everything left out is counted; `corpus/NAME/cleaning.jsonl` says of each
    document why. The same texts and settings make nothing anew.
    """
    from steersman.corpus.texts import Gathering
    from steersman.data import dataset
    from steersman.data.cleaning import cleaners
    from steersman.data.pii import KINDS

    space = call.open()
    dataset.check_name(into, "--into")
    wishes = cleaners.Wishes(
        tuple(listed(languages)), min_chars, max_chars, near, tuple(listed(mask)) or KINDS, drop_unsafe
    )
    chosen = cleaners.chosen(listed(steps))
    check_needed([step.name for step in chosen], wishes, None, "")
    tests = _tests(space, against or (), "contamination" in {step.name for step in chosen})
    if not tests and steps != USUAL and "contamination" in listed(steps):
        say("caution: contamination: no test prompts here and no --against, so nothing is compared")
    chosen = [s for s in chosen if s.name != "contamination" or tests]
    if tokenizer:
        _tokenizer_of(space, tokenizer)  # which is there, before hours of reading
    what = Gathering(_origins(sources, field), _reading(space, encoding), chosen, wishes, tests, validation)
    made = _built(space, into, what, replace)
    shards = shards_of(space, made, tokenizer)[2] if tokenizer else None
    _page(space, made)
    call.emit({"corpus": made.name, **made.about, "shards": shards}, "\n".join(_lines(made)))


def _reading(space: Workspace, encoding: str) -> Reading:
    from steersman.data.reading import AS_THEY_ARE, Reading

    limits = {n: getattr(space.config.data, n) for n in ("max_line_mb", "max_unpacked_mb")}
    return Reading(encoding=encoding, tell=say, mapping=AS_THEY_ARE, **limits)


@contextlib.contextmanager
def few_notes(tell: Tell) -> Iterator[Tell]:
    """A `tell` for readings of many files, each several times: of a kind the first notes, and how many more there were.

    A note's kind is its first words after the file's name.
    """
    counts, told = Counter[str](), set[int]()

    def some(text: str) -> None:
        if hash(text) in told:
            return
        told.add(hash(text))
        said = re.split(r": | is | holds ", text.partition(": ")[2], maxsplit=1)[-1]
        kind = " ".join(re.sub(r"\b\d+\b", "N", said).split()[:3])
        counts[kind] += 1
        if counts[kind] <= NOTES:
            tell(text)

    yield some
    for kind, count in counts.items():
        if count > NOTES:
            tell(f"note: {count - NOTES} more of such notes ({kind} ...)")


def _built(space: Workspace, into: str, what: Gathering, replace: bool) -> Corpus:
    from steersman.corpus import folder

    with activity("reading the files' hashes"):
        inputs = folder.inputs_of(what, lambda name: None)
    with few_notes(say) as tell, progress("corpus", None, unit="document") as shown:
        what = dataclasses.replace(what, reading=dataclasses.replace(what.reading, tell=tell))
        return folder.build(space, into, what, inputs, shown.update, replace)


def corpus_tokenize(call: Reads, name: Name, tokenizer: TokenizerOption) -> None:
    """Make shards of tokens of a corpus; goes on after a stop, and does nothing where they are there."""
    from steersman.corpus.folder import corpus_of

    space = call.open()
    corpus = corpus_of(space, name)
    shards = shards_of(space, corpus, tokenizer)[2]
    _page(space, corpus)
    call.emit({"corpus": name, "shards": shards}, "\n".join(_lines(corpus)))


def corpus_show(
    call: Reads,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A corpus's name; none: all of them.")] = "",
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="How a training run of so many would mix it.")] = 0,
    weights: WeightsOption = None,
    smoothing: Annotated[float, typer.Option("--smoothing", help="1: shares as the text has; 0: all alike.")] = 1.0,
    max_epochs: Annotated[float, typer.Option("--max-epochs", help="How often a source is read at most.")] = 4.0,
) -> None:
    """Say what a corpus holds, what was left out, and with --tokens how a run would mix its sources."""
    from steersman.corpus.folder import corpora, corpus_of, tokens_of
    from steersman.corpus.mixture import Mixture

    space = call.open()
    found = [corpus_of(space, name)] if name else corpora(space)
    if not found:
        raise ValueError("no corpus yet; make one with: steersman corpus build PATH...")
    lines = [line for corpus in found for line in _lines(corpus)]
    data: dict[str, Any] = {"corpora": [{"name": c.name, **c.about, "tokenizers": c.tokenizers()} for c in found]}
    if tokens:
        mixture = Mixture(read_weights(weights or ()), smoothing, max_epochs)
        data["mixtures"] = {}
        for corpus, which in ((c, t) for c in found for t in c.tokenizers()):
            have = tokens_of(corpus.documents(which), "train")
            shares = mixture.shares(have, tokens)
            epochs = {s: share * tokens / have[s] for s, share in shares.items()}
            data["mixtures"][f"{corpus.name}/{which}"] = {"shares": shares, "epochs": epochs}
            lines += [f"{tokens} tokens of {corpus.name} by {which}:"]
            lines += [f"  {s}: {share:.1%}, read {epochs[s]:.2f} times" for s, share in shares.items()]
    call.emit(data, "\n".join(lines))


def _origins(sources: Sequence[str], field: str) -> list[Origin]:
    from steersman.corpus.documents import CODE, files_of, kinds_of
    from steersman.corpus.texts import Origin

    out: list[Origin] = []
    for text in sources:
        name, equals, path = text.partition("=") if re.match(r"[\w-]+=", text) else ("", "", text)
        files, others = files_of(Path(path))
        if others:
            code = "; files of source code are read where each is named" if {p.suffix for p in others} & {*CODE} else ""
            say(f"note: {path}: {len(others)} files of other kinds are not read ({kinds_of(others)}){code}")
        name = name if equals else re.sub(r"[^\w-]+", "-", Path(path).name.partition(".")[0]).strip("-") or "text"
        if name in {o.name for o in out}:
            raise ValueError(f"{text}: two sources are called {name}; name one: OTHER={path}")
        out.append(Origin(name, tuple(files), field))
    return out


def _tests(space: Workspace, files: Sequence[Path], compared: bool) -> list[Conversation]:
    """The workspace's test prompts, and every text of the files, whatever its field is called. ValueError for files
    that nothing is compared with."""
    from steersman.corpus.documents import questions
    from steersman.data import dataset
    from steersman.data.reading import Reading
    from steersman.messages import Conversation, Message

    if files and not compared:
        raise ValueError("--against: expected the step contamination among --steps")
    found: list[Conversation] = []
    for path in files:
        for place, text in questions(path, Reading(encoding="auto", tell=say)):
            found.append(Conversation(place, (Message("user", text),)))
    for path in dataset.find(space, "prompts", "test"):
        found += dataset.load_conversations(path)
    return found


def read_weights(given: Sequence[str]) -> dict[str, float]:
    out = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            out[name] = float(value)
        except ValueError:
            raise ValueError(f"--weight {text}: expected SOURCE=FACTOR, such as news=0.5") from None
    return out


def _tokenizer_of(space: Workspace, named: str) -> tuple[str, Path, Any]:
    from steersman.cli.tokenizers import load_tokenizer

    return load_tokenizer(space, named)


def shards_of(space: Workspace, corpus: Corpus, named: str, check: bool = True) -> tuple[str, Path, dict[str, Any]]:
    """(the tokenizer's name, its folder, the list of shards), made where they are not there, or, unless `check` is
    false, where they are damaged."""
    from steersman.corpus import folder

    name, path, tokenizer = _tokenizer_of(space, named)
    kept = (of["kept"] for of in corpus.about["sources"].values())
    total = sum(split["documents"] for splits in kept for split in splits.values())
    with progress("tokenize", total, unit="document") as shown:
        sha256 = folder.tokenizer_sha256(path)
        return name, path, folder.tokenise(corpus, name, tokenizer, sha256, shown.update, check=check)


def _lines(corpus: Corpus) -> list[str]:
    from steersman.corpus.documents import LeftOut
    from steersman.corpus.folder import tokens_of

    lines = [f"{corpus.name}: {corpus.path} (report.html)"]
    for source in corpus.sources:
        of = corpus.about["sources"][source]
        kept = of["kept"]
        split = ", ".join(f"{name} {n['documents']}" for name, n in kept.items())
        lines.append(f"  {source}: {of['read']} documents read, kept {split}; {_size(kept)}")
        lines += [f"    not read {line}" for line in LeftOut.from_json(of["left_out"]).lines()]
        lines += [f"    {n} {what}" for what, n in of["left_out"]["changed"].items()]
    for step in corpus.about["steps"]:
        lines += [f"  {step['step']}: dropped {n}: {why}" for why, n in step["dropped"].items()]
        lines += [f"  {step['step']}: flagged {n}: {what}" for what, n in step["flagged"].items()]
        if step["step"] == "language":
            lines.append("  languages: " + ", ".join(f"{code} {n}" for code, n in step["counted"].items()))
    for name in corpus.tokenizers():
        docs = corpus.documents(name)
        counted = {split: tokens_of(docs, split) for split in ("train", "validation")}
        each = ", ".join(f"{source} {n}" for source, n in counted["train"].items())
        lines.append(f"  tokens by {name}: {each}; held out {sum(counted['validation'].values())}")
        if unknown := corpus.unknown(name):
            share = unknown / sum(map(sum, (of.values() for of in counted.values())))
            lines.append(f"    {unknown} ({share:.1%}) of them unknown: of words that {name} does not have")
    return lines


def _size(kept: Mapping[str, Mapping[str, int]]) -> str:
    return f"{sum(n['bytes'] for n in kept.values()) / 1e6:.1f} MB"


def _page(space: Workspace, corpus: Corpus) -> None:
    """Written again whenever the corpus or its shards change."""
    from steersman.eval import corpus_page

    lengths: dict[str, dict[str, list[int]]] = {}
    for name in corpus.tokenizers():
        of = corpus.documents(name)
        lengths[name] = {source: of[source, "train"].lengths.tolist() for source in corpus.sources}
    language = "zh" if space.config.project.language == "zh" else "en"
    corpus_page.draw(corpus.path / "report.html", corpus.name, corpus.about, lengths, language)


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Raw text to shards of tokens that pretraining reads.")
    builds = [
        "steersman corpus build books/ news=news.jsonl.gz --into mixed --languages zh,en",
        "steersman corpus build pages/ --tokenizer ours --against exam.jsonl",
    ]
    add(group, corpus_build, name="build", panel=DATA, examples=builds)
    add(
        group,
        corpus_tokenize,
        name="tokenize",
        panel=DATA,
        examples=["steersman corpus tokenize mixed --tokenizer ours"],
    )
    shows = [
        "steersman corpus show",
        "steersman corpus show mixed --tokens 100000000 --weight news=0.5 --smoothing 0.7",
    ]
    add(group, corpus_show, name="show", panel=DATA, examples=shows)
    app.add_typer(group, name="corpus", rich_help_panel=DATA)
