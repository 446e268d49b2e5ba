"""`steersman cold custom | distill | augment`: data that a model writes, or a rule, each record saying so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from steersman.artifact.workspace import Workspace
from steersman.cli import cold_options as options
from steersman.cli.cold_sources import asked_of, held_out, not_held, prompts_of
from steersman.cli.framework import DATA, Works, add, say
from steersman.cli.import_options import ReplaceOption
from steersman.data import dataset
from steersman.data.clean import clean
from steersman.data.made import INVENTED
from steersman.types import Conversation, Message, SamplingParams

if TYPE_CHECKING:
    from steersman.cold.proposals import Proposal
    from steersman.cold.requests import Asked
    from steersman.cold.self_instruct import Invented
    from steersman.cold.teacher import Taught


def custom(
    call: Works,
    seeds: options.SeedsArgument,
    count: options.CountOption = 50,
    task: options.TaskOption = "",
    drafts: options.DraftsOption = False,
    url: options.UrlOption = "",
    model: options.TeacherOption = "",
    key: options.KeyOption = "",
    temperature: options.HeatOption = 0.9,
    max_tokens: options.TokensOption = 512,
    seed: options.SeedOption = 17,
    name: options.SheetName = "custom",
    dry_run: options.DryOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Let a model write prompts like some seeds (self-instruct); people approve them in a sheet before they count."""
    from steersman.cold import proposals
    from steersman.cold.self_instruct import invented

    space = call.open()
    texts = [p.last_user for p in prompts_of(space, seeds)]
    asked = asked_of(space, url, model, key, SamplingParams(max_tokens=max_tokens, temperature=temperature))
    known = [p.last_user for p in held_out(space)]
    found = invented(texts, count, asked, task=task, known=known, seed=seed, say=say)
    made = _proposals(found, asked, name, drafts)
    lines = [*found.told(), *(f"  {text[:90]}  (likeness {score:.2f})" for text, score, _ in found.kept[:12])]
    data: dict[str, Any] = found.to_json() | {"proposals": [p.to_json() for p in made], "sheet": ""}
    if not dry_run and made:
        _, sheet = proposals.write(space.root, name, made, replace)
        data["sheet"] = str(sheet)
        lines.append(f"{sheet}: correct questions and answers, write yes or no in 'approve'; then:")
        lines.append(f"  steersman cold approve {name}")
    call.emit(data, "\n".join(lines))


def _proposals(found: Invented, asked: Asked, name: str, drafts: bool) -> list[Proposal]:
    from steersman.cold.proposals import Proposal
    from steersman.cold.requests import answers

    prompts = [Conversation(f"{name}-{i}", (Message("user", text),)) for i, (text, _, _) in enumerate(found.kept, 1)]
    told = [a[0].text.strip() for a in answers(asked, prompts, "drafts")] if drafts and prompts else [""] * len(prompts)
    return [
        Proposal(f"c{i}", p, draft, (), f"{score:.2f} {like}", {"how": INVENTED, "likeness": score, **asked.about})
        for i, (p, draft, (_, score, like)) in enumerate(zip(prompts, told, found.kept, strict=True), 1)
    ]


def distill(
    call: Works,
    prompts: options.PromptsArgument,
    number: options.AnswersOption = 1,
    system: options.SystemOption = "",
    most: options.MostOption = 0,
    url: options.UrlOption = "",
    model: options.TeacherOption = "",
    key: options.KeyOption = "",
    temperature: options.HeatOption = 0.7,
    max_tokens: options.TokensOption = 512,
    seed: options.SeedOption = 17,
    name: options.NameOption = "distilled",
    dry_run: options.DryOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Take a stronger model's answers as demonstrations, or several to each prompt as candidates to rank.

    Each record says of which model, at which host, when and how. Prompts of test and validation splits are not asked.
    """
    from steersman.cold.teacher import taught

    space = call.open()
    every = prompts_of(space, prompts)
    kept, apart = not_held(space, every)
    wanted = kept[: most or None]
    lines = [f"  {len(every)} prompts, {apart} held out, {len(wanted)} to ask"]
    if not wanted:
        raise ValueError(f"{', '.join(prompts)}: expected prompts that are not held out; {lines[0].strip()}")
    asked = asked_of(space, url, model, key, SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed))
    found = taught(wanted[:3] if dry_run else wanted, asked, number, system)
    lines += [*found.lines(), *_shown([*found.demonstrations[:3], *(c.prompt for c in found.candidates[:3])])]
    data: dict[str, Any] = {"prompts": len(every), "held_out": apart, "asked": found.asked}
    data |= {"refused": dict(found.refused), "about": asked.about}
    data |= {"demonstrations": len(found.demonstrations), "candidates": len(found.candidates)}
    if dry_run:
        lines.append("nothing written (--dry-run asks three prompts)")
    else:
        more, told = _taught(space, found, asked, name, replace)
        data, lines = data | more, lines + told
    call.emit(data, "\n".join(lines))


def _taught(
    space: Workspace, found: Taught, asked: Asked, name: str, replace: bool
) -> tuple[dict[str, Any], list[str]]:
    """Demonstrations as a data set, candidates as tasks to rank; what was written."""
    if found.demonstrations:
        records, dropped = clean(found.demonstrations)
        origin: dict[str, Any] = {"replace": replace, "skipped": {**found.refused, **dropped}}
        about = {"cold": "distill", **asked.about}
        source = f"distilled: {asked.about['model']} at {asked.about['host']}"
        info = dataset.write_dataset(space.data, name, "demonstrations", "train", records, source, about, **origin)
        told = [*(f"  left out {n}: {why}" for why, n in dropped.items()), f"{info.name}: {info.count} {info.kind}"]
        return {"dataset": info.to_json(), "dropped": dropped}, told
    if not found.candidates:
        return {}, ["nothing written: no answer can be used"]
    from steersman.store import Store

    with Store.open(space.store) as store:
        new = store.add_candidates(space.round, iter(found.candidates))
    return {"tasks": new}, [f"{new} new tasks to rank in round {space.round}: steersman rank"]


def _shown(records: Sequence[Conversation]) -> list[str]:
    return [line for r in records for line in ("", *(f"  {m.role}: {m.text[:300]}" for m in r.messages))]


def augment(
    call: Works,
    sources: options.DataArgument,
    how: options.HowOption = None,
    times: options.TimesOption = 1,
    most: options.MostOption = 0,
    url: options.UrlOption = "",
    model: options.TeacherOption = "",
    key: options.KeyOption = "",
    temperature: options.HeatOption = 0.7,
    max_tokens: options.TokensOption = 512,
    seed: options.SeedOption = 17,
    name: options.NameOption = "",
    dry_run: options.DryOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Make variants of training data: typing errors, noise, paraphrases, translations between Chinese and English.

    Each says of what and how it was made. They are for the training split alone, and none is made of what is held out.
    """
    from steersman.cold.augment import BY_MODEL, augmented

    space, methods = call.open(), how or ["typing"]
    kind, every = _training(space, sources)
    kept, apart = not_held(space, every)
    params = SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=seed)
    needs = any(method in BY_MODEL for method in methods)
    asked = asked_of(space, url, model, key, params) if needs else None
    found = augmented(kept[: most or None], methods, times, seed, asked)
    records, dropped = clean(found.records)
    lines = [f"  {len(every)} records, {apart} of them held out", *found.lines()]
    lines += [f"  left out {n}: {why}" for why, n in dropped.items()]
    lines += _shown([r for r in records[:3] if isinstance(r, Conversation)])
    data: dict[str, Any] = {"records": len(every), "held_out": apart, "attempts": found.attempts}
    data |= {"made": len(found.records), "methods": dict(found.methods), "refused": dict(found.refused)}
    data |= {"dropped": dropped, "dataset": None}
    if dry_run or not records:
        lines.append("nothing written (--dry-run)" if dry_run else "nothing written: no variant was made")
    else:
        about = {"cold": "augment", "how": list(methods), "times": times, "seed": seed}
        origin: dict[str, Any] = {"replace": replace, "skipped": {**found.refused, **dropped}}
        stem, source = name or f"{sources[0]}-augmented", f"augmented: {', '.join(sources)}"
        about |= asked.about if asked else {}
        info = dataset.write_dataset(space.data, stem, kind, "train", records, source, about, **origin)
        data["dataset"] = info.to_json()
        lines.append(f"{info.name}: {info.count} {info.kind} ({info.split})")
    call.emit(data, "\n".join(lines))


def _training(space: Workspace, names: Sequence[str]) -> tuple[str, list[Conversation]]:
    """(kind, records) of data sets of the training split."""
    infos = {info.name: info for info in dataset.datasets(space)}
    for name in names:
        if name not in infos or infos[name].kind not in ("demonstrations", "prompts"):
            known = ", ".join(infos) or "there is none"
            raise ValueError(f"{name}: expected a data set of demonstrations or prompts ({known})")
        if infos[name].split != "train":
            raise ValueError(
                f"{name}: expected a training split, this is {infos[name].split}: variants are for training"
            )
    kinds = {infos[name].kind for name in names}
    if len(kinds) > 1:
        raise ValueError(f"{', '.join(names)}: expected one kind, demonstrations or prompts")
    kind = kinds.pop()
    return kind, [c for n in names for c in dataset.load_conversations(infos[n].path, kind, max_line_mb=1024)]


def add_to(group: typer.Typer) -> None:
    api = "--url http://127.0.0.1:8000/v1 --model big"
    add(group, custom, panel=DATA, slow=True, examples=[f"steersman cold custom seeds.txt --count 100 {api}"])
    teach = [f"steersman cold distill prompts {api}", f"steersman cold distill prompts -n 4 {api}"]
    add(group, distill, panel=DATA, slow=True, examples=teach)
    variants = [
        "steersman cold augment chats --how typing --how noise --dry-run",
        f"steersman cold augment chats --how translate {api}",
    ]
    add(group, augment, panel=DATA, examples=variants)
