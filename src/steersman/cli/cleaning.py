"""`steersman data clean | unmask | report`: cleaning a data set, taking masks off, a page of what is in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.artifact.files import read_object
from steersman.artifact.workspace import Workspace
from steersman.cli.clean_options import (
    AgainstOption,
    DropUnsafeOption,
    DryRunOption,
    EmbedOption,
    IntoOption,
    KeyOption,
    LanguagesOption,
    MaskOption,
    MaxCharsOption,
    MinCharsOption,
    NameArgument,
    NearOption,
    SimilarOption,
    StepsOption,
)
from steersman.cli.framework import DATA, Reads, Works, add, free_file, say
from steersman.cli.import_options import ReplaceOption
from steersman.cli.page_language import LanguageOption, checked_language
from steersman.data import dataset
from steersman.data.dataset import DatasetInfo
from steersman.data.shelves import Shelf
from steersman.eval.page_languages import page_of
from steersman.messages import Conversation
from steersman.progress import progress
from steersman.rounds.data_sets import info_of

if TYPE_CHECKING:
    from steersman.data.cleaning.cleaners import Embed, Step, Wishes
    from steersman.data.cleaning.passes import Cleaned


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def data_clean(
    call: Works,
    name: NameArgument,
    steps: StepsOption = "",
    into: IntoOption = "",
    dry_run: DryRunOption = False,
    languages: LanguagesOption = "",
    min_chars: MinCharsOption = 2,
    max_chars: MaxCharsOption = 0,
    near: NearOption = 0.75,
    mask: MaskOption = "",
    key: KeyOption = None,
    drop_unsafe: DropUnsafeOption = False,
    against: AgainstOption = None,
    embed: EmbedOption = "",
    similar: SimilarOption = 0.85,
    replace: ReplaceOption = False,
) -> None:
    """Clean a data set into a new one; every record dropped, changed or flagged is accounted for.

    The original stays as it is, and the new set takes its place: nothing learns from both. Beside the new set lie
    NAME.cleaning.json (counts and examples), NAME.cleaning.jsonl (a line for each record dropped, changed or flagged)
    and NAME.report.html.
    """
    from steersman.data.cleaning import cleaners, passes
    from steersman.data.pii import KINDS

    space = call.open()
    info = info_of(space, name)
    into = into or f"{name}-clean"
    dataset.check_name(into, "--into")
    wishes = cleaners.Wishes(
        tuple(listed(languages)), min_chars, max_chars, near, tuple(listed(mask)) or KINDS, drop_unsafe, similar
    )
    every = cleaners.chosen(listed(steps))
    check_needed([step.name for step in every], wishes, key, embed)
    tests = _tests(space, info, against, every, into)
    every = [s for s in every if s.name != "contamination" or tests or listed(steps)]
    if not tests and not listed(steps):
        say("note: no test prompts in the workspace to compare with, so contamination is not looked for")
    if embed and not tests:
        raise ValueError(f"--embed {embed}: expected test prompts to compare with; name a test set with --against")
    what = passes.Cleaning(info, every, wishes, tests, _embedding(space, embed) if embed else None)
    with progress("clean", passes.readings(what) * info.count, unit="reading") as shown:
        what = dataclasses.replace(what, tick=shown.update)
        done = passes.preview(what) if dry_run else passes.clean_dataset(what, into, replace=replace, key=key)
        shown.update(passes.readings(what) * info.count)  # later readings are of what was left
    page = _page(space, done.info) if done.info else None
    found = done.to_json() | {
        "dataset": done.info.to_json() if done.info else None,
        "report": str(page) if page else None,
    }
    call.emit(found, "\n".join(summary(done, into, page, key)))


def check_needed(steps: Sequence[str], wishes: Wishes, key: Path | None, embed: str) -> None:
    """ValueError for an option whose step is not done: nobody who gives a key may think that names are masked."""
    usual = type(wishes)()
    given = {
        "--languages": (wishes.languages != usual.languages, "language"),
        "--min-chars": (wishes.min_chars != usual.min_chars, "length"),
        "--max-chars": (wishes.max_chars != usual.max_chars, "length"),
        "--near": (wishes.near != usual.near, "near"),
        "--embed": (embed, "contamination"),
        "--drop-unsafe": (wishes.drop_unsafe, "unsafe"),
        "--mask": (wishes.kinds != usual.kinds, "pii"),
        "--key": (key, "pii"),
    }
    for option, (value, step) in given.items():
        if value and step not in steps:
            raise ValueError(f"{option}: expected the step {step} among --steps")
    if wishes.similar != usual.similar and not embed:
        raise ValueError(f"--similar {wishes.similar:g}: expected --embed MODEL, whose cosines it is about")


def _tests(
    space: Workspace, info: DatasetInfo, names: Sequence[str] | None, steps: Sequence[Step], into: str
) -> Sequence[Conversation]:
    """Prompts of the named data sets, or of all test sets but those made of this one; [] without the step."""
    if all(step.name != "contamination" for step in steps):
        if names:
            raise ValueError("--against: expected the step contamination among --steps")
        return []
    if names:
        sets = [info_of(space, name) for name in names]
    else:
        every = dataset.datasets(space)
        gone = dataset.superseded(every)
        sets = [i for i in every if i.split == "test" and i.name != info.name and i.name not in gone]
        sets = [] if info.split == "test" else sets
        if own := _made_of(info.name, gone) & {i.name for i in sets}:
            say(
                f"note: {', '.join(sorted(own))}: made of {info.name} itself, so not compared with it; before anything "
                f"is learned, split {into} anew and remove the old splits, or clean the training split instead"
            )
        sets = [i for i in sets if i.name not in own]
    records = (r for i in sets for r in dataset.stream_records(i.path))
    return Shelf(r if isinstance(r, Conversation) else r.prompt for r in records if not isinstance(r, str))


def _made_of(name: str, superseded: Mapping[str, Sequence[str]]) -> set[str]:
    """Sets that were made of one, at any remove."""
    out, left = set[str](), [name]
    while left:
        new = set(superseded.get(left.pop(), ())) - out
        out |= new
        left += new
    return out


def _embedding(space: Workspace, model: str) -> Embed:
    from steersman.cli.talk import choose
    from steersman.cold.hidden import embedder

    config = space.config.model
    return embedder(choose(space, model)[0], config.dtype, config.device, config.trust_remote_code, centred=False)


def summary(done: Cleaned, into: str, page: Path | None, key: Path | None) -> list[str]:
    """What cleaning did, for a terminal."""
    verb = f"{into}: kept" if done.info else f"preview of {done.source.name}: would keep"
    out = [f"{verb} {done.kept} of {done.source.count} records"]
    for c in done.counts:
        counted = ", ".join(f"{what} {n}" for what, n in c.counted.most_common(8))
        out.append(
            f"  {c.name}: {c.read} in, {c.read - c.kept} dropped, {c.changed_records} changed, {c.kept} left"
            + (f" ({counted})" if counted else "")
        )
        for what, counts in (("dropped", c.dropped), ("changed", c.changed), ("flagged", c.flagged)):
            for why, n in counts.most_common():
                out.append(f"    {what} {n}: {why}")
                if not done.info:
                    out += [f"      - {text}" for text in c.examples.get(why, ())]
    if page:
        out.append(f"  {into} takes the place of {done.source.name}, which stays; report: {page}")
    if key and done.info:
        out.append(f"  what masks hide lies in {into}.vault; only {key} opens it: keep that apart from the data")
    return out


def data_unmask(
    call: Reads,
    name: NameArgument,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The key given to `data clean`.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the file of --output.")] = False,
) -> None:
    """Write a masked data set with what its masks hide, for who has the key.

    Without --output to exports/, where nothing learns from it.
    """
    from steersman.data.formats import to_line
    from steersman.data.pii import masking, vault
    from steersman.rounds.export import write_lines

    space = call.open()
    info = info_of(space, name)
    path = vault.vault_path(info.path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a data set that was cleaned with --key")
    marks = vault.opened(path, vault.key_of(key, make=False))

    def lines() -> Iterator[str]:
        number, kept = next(marks, (0, {}))
        for place, record in enumerate(dataset.stream_records(info.path), 1):
            if place == number:
                record = masking.unmask(record, kept)
                number, kept = next(marks, (0, {}))
            yield to_line(record)

    to = free_file(output, replace) if output else space.root / "exports" / f"{name}.unmasked.jsonl"
    count = write_lines(to, lines())
    call.emit({"path": str(to), "count": count}, f"{to}: {count} records, unmasked")


def data_report(call: Works, name: NameArgument, language: LanguageOption = "") -> None:
    """A page on a data set: lengths, languages, personal data, flags, and what cleaning did; with pictures."""
    space = call.open()
    info = info_of(space, name)
    described, page = _described(space, info, checked_language(language))
    lines = [
        f"{info.name}: {info.count} {info.kind} ({info.split}), {described['characters']} characters",
        f"  answers: characters at {described['percentiles']} %: {list(described['answers'])}",
        *(
            f"  {key}: {', '.join(f'{k} {n}' for k, n in described[key].items()) or 'none'}"
            for key in ("languages", "personal", "flags", "sources")
        ),
        *(f"  left out {n}: {why}" for why, n in info.skipped.items()),
        *(f"  changed, {n} times: {what}" for what, n in info.changed.items()),
        f"  (languages and personal data: of {described['looked']} records looked at)",
        f"  report: {page}",
    ]
    call.emit({"dataset": info.to_json(), "described": described, "report": str(page)}, "\n".join(lines))


def _page(space: Workspace, info: DatasetInfo) -> Path:
    return _described(space, info)[1]


def _described(space: Workspace, info: DatasetInfo, language: str = "") -> tuple[dict[str, Any], Path]:
    """What is in a data set, and the path of the page that was written on it."""
    from steersman.data.describing import describe
    from steersman.eval import data_page

    with progress("report", info.count, unit="record") as shown:
        described = describe(info, shown.update).to_json()
    told = info.path.with_name(f"{info.name}.cleaning.json")
    cleaning = read_object(told, "what cleaning did") if told.is_file() else None
    usual = "zh" if space.config.project.language == "zh" else "en"
    path = info.path.with_name(f"{info.name}.report.html")
    path = path if language in ("", usual) else page_of(path, language)
    data_page.draw(path, info.to_json(), described, cleaning, language or usual)
    return described, path


def register_in(group: typer.Typer) -> None:
    cleans = [
        "steersman data clean chats --dry-run",
        "steersman data clean chats --into chats2 --languages zh,en",
        "steersman data clean chats --steps exact,near,pii --key ~/chats.key",
    ]
    add(group, data_clean, name="clean", panel=DATA, examples=cleans)
    add(group, data_unmask, name="unmask", panel=DATA, examples=["steersman data unmask chats-clean --key ~/chats.key"])
    add(group, data_report, name="report", panel=DATA, examples=["steersman data report chats"])
