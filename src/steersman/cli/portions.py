"""`steersman data mix | split`: a mixture of data sets, and splits of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.artifact.files import hash_json
from steersman.artifact.workspace import Workspace
from steersman.cli.framework import DATA, Works, add, say
from steersman.cli.import_options import ReplaceOption
from steersman.data import dataset
from steersman.data.dataset import DatasetInfo
from steersman.progress import activity, progress
from steersman.rounds.data_sets import info_of

if TYPE_CHECKING:
    from steersman.data.mixing import Part


def data_mix(
    call: Works,
    sources: Annotated[list[str], typer.Argument(metavar="NAME[:WEIGHT]...", help="Data sets, with weights (1).")],
    into: Annotated[str, typer.Option("--into", metavar="NAME", help="The mixture's name.")],
    count: Annotated[int, typer.Option("--count", min=0, help="Records in all; 0: as many as the weights allow.")] = 0,
    cap: Annotated[
        list[str] | None, typer.Option("--cap", metavar="NAME=N", help="Most records of a set; may be repeated.")
    ] = None,
    smoothing: Annotated[
        float | None,
        typer.Option("--smoothing", help="Shares by weight and records to this power: 1 as they are, 0 all alike."),
    ] = None,
    most: Annotated[int, typer.Option("--most-each", min=0, help="A cap for every set without one of its own.")] = 0,
    seed: Annotated[int | None, typer.Option("--seed", help="Default: project.seed.")] = None,
    replace: ReplaceOption = False,
) -> None:
    """Mix data sets by weight, with caps; the same seed gives the same mixture.

    A record is taken once at most. The mixture takes the sets' place: they stay, but nothing learns from them.
    With --smoothing a set that has fewer records than its share gives what is missing to the others.
    """
    from steersman.cli.data import warn_of_overlap
    from steersman.data import mixing

    space = call.open()
    seed = space.config.project.seed if seed is None else seed
    caps = dict(_cap(text) for text in cap or ())
    if len(caps) < len(cap or ()):
        raise ValueError("--cap: expected each data set once")
    parts = []
    for text in sources:
        name, weight = _setting(text, "data mix", ":") if ":" in text else (text, 1.0)
        parts.append(mixing.Part(info_of(space, name), weight, caps.pop(name, most)))
    if caps:
        raise ValueError(f"--cap {', '.join(caps)}: expected sets of the mixture")
    counts = mixing.shares(parts, count) if smoothing is None else _smoothed(parts, count, smoothing)
    taken = {p.info.name: n for p, n in zip(parts, counts, strict=True)}
    config = {
        "mixed": _mixed(parts, counts),
        "seed": seed,
        **({} if smoothing is None else {"smoothing": smoothing}),
        "made_of": {p.info.name: p.info.sha256 for p in parts},
    }
    left = {
        f"of {i.name}, beyond its share": i.count - taken[i.name] for p in parts if (i := p.info).count > taken[i.name]
    }
    first = parts[0].info
    with progress("mix", sum(counts), unit="record") as shown:
        info = dataset.write_dataset(
            space.data, into, first.kind, first.split, mixing.mixed(parts, counts, seed, shown.update),
            " + ".join(taken), config, replace=replace, purpose=first.purpose,
            simulated=any(p.info.simulated for p in parts),
            source_sha256=hash_json([p.info.sha256 for p in parts]),
            skipped=left,
        )  # fmt: skip
    warn_of_overlap(space, [info])
    lines = [f"{info.name}: {info.count} {info.kind}", *_told(parts, counts)]
    call.emit({"dataset": info.to_json(), "taken": taken}, "\n".join(lines))


def _mixed(parts: Sequence[Part], counts: Sequence[int]) -> dict[str, Any]:
    """What the manifest says of each part."""
    return {
        p.info.name: {"weight": p.weight, "cap": p.cap, "taken": n, "of": p.info.count, "sha256": p.info.sha256}
        for p, n in zip(parts, counts, strict=True)
    }


def _told(parts: Sequence[Part], counts: Sequence[int]) -> list[str]:
    return [
        f"  {p.info.name}: {n} of {p.info.count} ({n / max(1, sum(counts)):.1%}), weight {p.weight:g}"
        + (f", cap {p.cap}" if p.cap else "")
        for p, n in zip(parts, counts, strict=True)
    ]


def _smoothed(parts: Sequence[Part], count: int, smoothing: float) -> list[int]:
    """Records of each part, `count` together (0: all that the caps leave)."""
    from steersman.corpus.mixture import Mixture
    from steersman.data import mixing

    mixing.shares(parts)  # the same things are refused
    have = {p.info.name: p.most for p in parts}
    total = sum(have.values())
    if count > total:
        raise ValueError(f"--count {count}: expected at most {total}, what the sets have")
    weights = {p.info.name: p.weight for p in parts}
    shares = Mixture(weights, smoothing, 1.0).shares(have, count or total)
    exact = [shares[p.info.name] * (count or total) for p in parts]
    return mixing.whole(exact, [p.most for p in parts], count or total)


def _cap(text: str) -> tuple[str, int]:
    name, most = _setting(text, "--cap", "=")
    if not (most >= 1 and most.is_integer()):
        raise ValueError(f"--cap {text}: expected a whole number of records from 1 on")
    return name, int(most)


def _setting(text: str, where: str, by: str) -> tuple[str, float]:
    name, _, number = text.rpartition(by)
    try:
        return name, float(number)
    except ValueError:
        raise ValueError(f"{where} {text}: expected NAME{by}NUMBER") from None


def data_split(
    call: Works,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set's name.")],
    shares: Annotated[
        str, typer.Option("--shares", help="auto (90, 5 and 5 %), or shares of train,validation,test.")
    ] = "auto",
    near: Annotated[
        float, typer.Option("--near", help="Share in common that makes two questions near repeats.")
    ] = 0.75,
    replace: ReplaceOption = False,
) -> None:
    """Split a data set so that dialogues and near-repeated questions stay together.

    Makes NAME-train, NAME-validation and NAME-test, which take NAME's place: it stays, but nothing learns from it.
    """
    from steersman.cli.data import LEAST, parse_split, warn_of_overlap
    from steersman.data import dividing

    if not 0.5 <= near <= 1:
        raise ValueError(f"--near {near:g}: expected a share from 0.5 to 1")
    space = call.open()
    info, fractions = info_of(space, name), parse_split(shares)
    if len(fractions) < 2:
        raise ValueError(f"--shares {shares}: expected auto, or three shares that add up to 1 (0.9,0.05,0.05)")
    of = dividing.divided(info, fractions, LEAST if shares == "auto" else 0, near, space.data)
    infos = _written(
        space,
        info,
        of,
        list(fractions),
        {"split": shares, "near": near, "clusters": of.clusters, "made_of": {name: info.sha256}},
        replace,
    )
    warn_of_overlap(space, infos)
    lines = [f"{i.name}: {i.count} {i.kind} ({i.split})" for i in infos]
    lines.append(f"  {info.count} records in {of.clusters} groups that stay together, the largest of {of.largest}")
    if of.joined:
        lines.append(f"  {of.joined} of these stay with a record that holds nearly their question")
    if of.near:
        lines.append(f"  caution: {of.near} of the records held out stand nearly in the training split")
    if apart := of.count(""):
        lines.append(f"  left out {apart}: augmented, of records that are held out")
    data = {
        "datasets": [i.to_json() for i in infos],
        "augmented_left_out": apart,
        "clusters": of.clusters,
        "largest": of.largest,
        "joined": of.joined,
        "near_training": of.near,
    }
    call.emit(data, "\n".join(lines))


def _written(
    space: Workspace, info: DatasetInfo, of: Any, splits: Sequence[str], config: dict[str, Any], replace: bool
) -> list[DatasetInfo]:
    """One data set for each split that has records."""
    from steersman.data import dividing

    infos = []
    filled = [split for split in splits if of.count(split)]
    with activity("split: writing", info.count * len(filled), "record") as shown:
        for split in filled:
            infos.append(
                dataset.write_dataset(
                    space.data,
                    f"{info.name}-{split}",
                    info.kind,
                    split,
                    dividing.part_of(shown.counted(dataset.stream_records(info.path)), of, split),
                    info.name,
                    config,
                    replace=replace,
                    purpose=info.purpose,
                    simulated=info.simulated,
                    source_sha256=info.sha256,
                )
            )
    for split in splits:
        if split not in filled:
            say(f"note: no record fell into {split}")
    return infos


def register_in(group: typer.Typer) -> None:
    mixes = [
        "steersman data mix chats:3 faq:1 --into train",
        "steersman data mix chats faq --cap faq=500 --count 4000 --seed 7 --into train",
        "steersman data mix news-train intents-train reading-train --smoothing 0.5 --most-each 2000 --into tasks",
    ]
    add(group, data_mix, name="mix", panel=DATA, examples=mixes)
    splits = ["steersman data split chats", "steersman data split chats --shares 0.8,0.1,0.1"]
    add(group, data_split, name="split", panel=DATA, examples=splits)
